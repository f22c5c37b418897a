"""How much is luck: the run's training again with another seed, from the outside."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from candid.config import load_config, to_toml
from candid.errors import ConfigError
from candid.pipeline import seeds
from candid.predictions import read_predictions
from candid.records import read_record
from candid.records.seeds import Seeds
from candid.runs import Run, open_run
from commands import call
from test_cli import QUICK, faces, finished

__all__ = ["faces", "finished"]  # fixtures


def test_run_with_two_seeds(faces, finished, tmp_path, capsys, monkeypatch):
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    weights = run.weights.read_bytes()
    cache = finished.path.parent / "cache"
    more = ("--target", "Face", "--out", run.path, "--cache", cache, *QUICK)

    trained = []
    predicted = seeds.predict_splits
    monkeypatch.setattr(seeds, "predict_splits", lambda *a: trained.append(a[0].path) or stop())

    def stop():
        raise KeyboardInterrupt

    assert call("run", faces, *more, "--seeds", "2", "--quiet") == 130  # killed after training
    assert trained == [run.path / "seeds" / "1"] and not run.seeds.exists()
    monkeypatch.setattr(seeds, "predict_splits", predicted)
    monkeypatch.setattr("candid.training.loop.start", None)  # nothing is trained from the start
    capsys.readouterr()
    assert call("run", "--resume", run.path, "--cache", cache, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    found = read_record(run.seeds, Seeds)
    assert found.seeds == (0, 1) and told["seeds"]["seeds"] == [0, 1]
    assert run.weights.read_bytes() == weights
    assert open_run(run.path).is_finished()

    one = open_run(run.path / "seeds" / "1")
    assert one.settings.train.seed == 1 and one.settings.seeds.count == 1
    assert one.weights.read_bytes() != weights
    assert one.framing_weights.read_bytes() == run.framing_weights.read_bytes()
    rows = pq.read_table(run.seed_answers).to_pylist()
    for seed, of in ((0, run), (1, one)):
        p = read_predictions(of.predictions_file)
        assert [r[f"seed {seed}"] for r in rows] == [p.classes[k] for k in p.prediction]
    page, card = run.report.read_text(), run.card.read_text()
    assert 'id="seeds"' in page and "Over 2 seeds" in page
    assert "Trained 2 times, each with another seed" in card and "Other seeds." not in card


def test_without_it_nothing_is_different(finished):
    assert "seeds" not in finished.steps and not (finished.path / "seeds").exists()
    assert "[seeds]" not in finished.config.read_text()
    assert "count = 3" in to_toml(load_config(overrides=["seeds.count=3"]))


def test_what_cannot_be_trained_again_is_refused(faces, tmp_path, capsys):
    more = ("--out", tmp_path / "run", "--cache", tmp_path / "cache", "--quiet", *QUICK)
    assert call("run", faces, "--target", "*", "--seeds", "2", *more) == 2
    assert "is for one label" in capsys.readouterr().err and not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="holds its weights"):
        seeds.refuse_seeds(load_config(overrides=["seeds.count=2"]), object())  # type: ignore
    assert seeds.seeds_of(load_config(overrides=["seeds.count=3", "train.seed=4294967295"])) == [
        4294967295, 0, 1,
    ]  # fmt: skip
