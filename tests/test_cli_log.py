"""A run in a tracker: as it is trained, and later with candid runs log."""

import importlib.util
import json
from typing import get_args

import numpy as np
import pytest

import candid
from candid import runs
from candid.cli.options import trackers
from candid.errors import ConfigError
from candid.pipeline.provenance import collect_provenance
from candid.pipeline.tracking import final_figures, log_to_trackers
from candid.predictions import write_predictions
from candid.records import Evaluation, HistoryRow, read_record
from candid.runs import create, open_run
from candid.training.trackers import TrackerName
from commands import candid as command

HISTORY = [HistoryRow(s, 8 * s, 0.5 * s, 0.1, 1 / s, 0.5, 0.5, 0.2 * s, 0.7) for s in (1, 2, 3)]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def run(tmp_path):
    """A run that was evaluated, without a network and without a history."""
    config = candid.load_config(overrides=["evaluate.draws=50", "data.target=Hat"])
    about = collect_provenance(seed=0, data="x", data_fingerprint="f")
    made = create(tmp_path / "hats", config, about)
    label = np.random.default_rng(0).integers(0, 2, 80)
    words = np.array(["no", "yes"])[label]
    write_predictions(
        made.predictions_file,
        candid.Predictions.from_arrays(words, 0.2 + 0.5 * label, target="Hat"),
    )
    candid.evaluate(made)
    return open_run(made.path)


def scalars(run):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    read = accumulator(str(run.path / "tensorboard")).Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_what_is_written_goes_to_the_tracker_at_once_and_figures_at_the_end(run):
    pytest.importorskip("tensorboard")
    with log_to_trackers(run, ["tensorboard"]) as followed:
        for rows in (1, 3):
            runs.write_history(followed, HISTORY[:rows])
            assert [step for step, _ in scalars(run)["train/loss"]] == [*range(1, rows + 1)]
    found, figures = scalars(run), final_figures(run)
    f1 = read_record(run.evaluation, Evaluation).splits[0].metrics["weighted_f1"]
    at = f"final/{read_record(run.evaluation, Evaluation).splits[0].split}/weighted_f1"
    ends = {"": f1.value, ".low": f1.low, ".high": f1.high, ".n": 80}
    for end, value in ends.items():
        assert found[f"{at}{end}"] == [(3, pytest.approx(value))]
        assert figures[f"{at}{end}"] == pytest.approx(value)


def test_candid_log_sends_the_whole_run_and_says_what(run, capsys):
    pytest.importorskip("tensorboard")
    said = command(capsys, "runs", "log", run.path, "--to", "tensorboard", code=2).err
    assert "no history of a training" in said
    runs.write_history(run, HISTORY)
    told = json.loads(command(capsys, "runs", "log", run.path, "--to", "tensorboard", "--json").out)
    assert told == {"steps": 3, "figures": len(final_figures(run))}
    assert "3 steps and" in command(capsys, "runs", "log", run.path, "--to", "tensorboard").out
    assert [step for step, _ in scalars(run)["validation/f1"]] == [1, 2, 3]
    assert candid.log_run(run.path, "tensorboard") == candid.log_run(run, ["tensorboard"]) == told
    with pytest.raises(ConfigError, match="no tracker 'tensor'"):
        candid.log_run(run.path, "tensor")


def test_without_its_library_nothing_begins(tmp_path, capsys):
    pytest.importorskip("torch")
    if importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed")
    out = tmp_path / "out"
    said = command(capsys, "train", tmp_path, "--out", out, "--log", "wandb", code=2).err
    assert "candid-faces[wandb]" in said and not out.exists()


def test_the_choices_are_all_trackers_there_are():
    assert tuple(trackers.choices) == get_args(TrackerName)
