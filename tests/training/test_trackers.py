"""What trackers are told of a run, read back with their own readers."""

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from candid.errors import ConfigError, DependencyError, OutputError
from candid.records import HistoryRow
from candid.training import trackers
from candid.training.trackers import Subject, Trackers, needs_trackers, trackers_of

BEGAN = 1_700_000_000.0
SETTINGS = {"train.steps": 4, "train.learning_rate": 0.1, "network.name": "deep", "a.b": True}


def history(steps: int) -> list[HistoryRow]:
    """Validation every second step."""
    return [
        HistoryRow(
            *(step, 8 * step, 0.5 * step, 0.1 / step, 1 / step, 0.5),
            *((2 / step, 0.25 * step, 0.75) if step % 2 == 0 else ()),
        )
        for step in range(1, steps + 1)
    ]


@pytest.fixture
def subject(tmp_path):
    return Subject(tmp_path / "hats", BEGAN, "f", SETTINGS)


def logged(name, subject, rows):
    with trackers_of([name], subject) as opened:
        opened.rows(rows[:2])
        opened.rows(rows)  # the whole history again: what is new goes on
        opened.figures({"final/test/weighted_f1": 0.9, "final/test/nothing": math.nan})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_was_logged_and_nothing_of_a_log_before(subject):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged("tensorboard", subject, history(9))
    logged("tensorboard", subject, history(4))
    read = EventAccumulator(str(subject.folder / "tensorboard")).Reload()
    loss, f1 = read.Scalars("train/loss"), read.Scalars("validation/f1")
    assert [(e.step, e.value) for e in loss] == [(s, pytest.approx(1 / s)) for s in (1, 2, 3, 4)]
    assert [e.wall_time for e in loss] == [BEGAN + 0.5 * s for s in (1, 2, 3, 4)]
    assert [(e.step, e.value) for e in f1] == [(2, 0.5), (4, 1.0)]
    final = read.Scalars("final/test/weighted_f1")
    assert [(e.step, e.value) for e in final] == [(4, pytest.approx(0.9))]
    assert "final/test/nothing" not in read.Tags()["scalars"]
    kept = {k: v.plugin_data for k, v in read.summary_metadata.items()}
    assert "hparams" in {data.plugin_name for data in kept.values()}
    begun = kept["_hparams_/session_start_info"].content
    assert b"train.learning_rate" in begun and b"deep" in begun


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_reads_what_was_logged_once(subject, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "faces")
    for steps in (9, 4):
        logged("mlflow", subject, history(steps))
    client = mlflow.MlflowClient()
    home = client.get_experiment_by_name("faces")
    (run,) = client.search_runs([home.experiment_id])
    assert run.info.run_name == "hats" and run.info.status == "FINISHED"
    assert run.data.params == {name: str(value) for name, value in subject.settings.items()}
    curve = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in curve] == [(s, 1 / s) for s in (1, 2, 3, 4)]
    assert curve[0].timestamp == 1000 * BEGAN + 500
    f1 = client.get_metric_history(run.info.run_id, "validation/f1")
    assert [(m.step, m.value) for m in f1] == [(2, 0.5), (4, 1.0)]
    assert run.data.metrics["final/test/weighted_f1"] == 0.9


def log_by_itself(name, folder):
    """Log two runs of one name and, again and shorter, the first."""
    folder = Path(folder)
    first, other = (Subject(folder / "hats", BEGAN, data, SETTINGS) for data in ("f", "g"))
    for subject, steps in ((first, 9), (other, 2), (first, 4)):
        subject.folder.mkdir(exist_ok=True)
        logged(name, subject, history(steps))


def logged_by_another_process(name, folder, **environment):
    """Its answer must stay empty: what a tracker says of itself goes elsewhere."""
    code = "import sys, test_trackers as here; here.log_by_itself(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, name, str(folder)], capture_output=True, text=True,
        cwd=Path(__file__).parent, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_trackio_reads_what_was_logged_once(tmp_path):
    pytest.importorskip("trackio")
    where = {"TRACKIO_DIR": str(tmp_path / "store"), "TRACKIO_PROJECT": "faces"}
    logged_by_another_process("trackio", tmp_path, **where)

    def ask(*question):
        command = [sys.executable, "-m", "trackio.cli", *question, "--project", "faces", "--json"]
        return json.loads(subprocess.check_output(command, text=True, env=os.environ | where))

    def curve(metric):
        found = ask("get", "metric", "--run", "hats", "--metric", metric)["values"]
        return [(value["step"], value["value"]) for value in found]

    assert ask("list", "runs")["runs"] == ["hats", "hats"]  # the other, and the first once
    assert curve("train/loss") == [(s, 1 / s) for s in (1, 2, 3, 4)]  # of the newest
    assert curve("validation/f1") == [(2, 0.5), (4, 1.0)]
    assert curve("final/test/weighted_f1") == [(4, 0.9)]
    about = ask("get", "run", "--run", "hats")
    assert {name: about["config"][name] for name in SETTINGS} == SETTINGS
    assert "final/test/nothing" not in about["metrics"]


def wandb_records(path):
    """What a .wandb file holds: LevelDB's log format after a header of 7 bytes, protobuf within."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), 7, []
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no room for a header: the next block
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            yield wandb_internal_pb2.Record.FromString(b"".join(parts))
            parts = []


def wandb_items(items):
    """By name, as they were given."""
    return {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}


def test_weights_and_biases_offline_keeps_what_was_logged(tmp_path):
    pytest.importorskip("wandb")
    where = {"WANDB_MODE": "offline", "WANDB_PROJECT": "faces", "WANDB_SILENT": "true"}
    logged_by_another_process("wandb", tmp_path, **where)
    kept = sorted((tmp_path / "hats" / "wandb").glob("offline-run-*/*.wandb"))
    by_run = {}
    for path in kept:
        records = list(wandb_records(path))
        (run,) = (r.run for r in records if r.WhichOneof("record_type") == "run")
        assert (run.project, run.display_name) == ("faces", "hats")
        config = {u.key: json.loads(u.value_json) for u in run.config.update}
        assert {name: config[name] for name in SETTINGS} == SETTINGS
        rows = [wandb_items(r.history.item) for r in records if r.HasField("history")]
        summary = {}
        for record in records:
            summary |= wandb_items(record.summary.update)
        assert (record.exit.exit_code if record.HasField("exit") else 0) == 0
        assert summary["final/test/weighted_f1"] == 0.9
        assert "final/test/nothing" not in summary
        by_run.setdefault(run.run_id, []).append(rows)
    assert sorted(len(logs) for logs in by_run.values()) == [1, 2]
    (other,), (first, again) = sorted(by_run.values(), key=len)
    assert [len(rows) for rows in (other, first, again)] == [2, 9, 4]
    assert [(r["_step"], r["train/loss"]) for r in again] == [(s, 1 / s) for s in (1, 2, 3, 4)]
    f1 = [(r["_step"], r["validation/f1"]) for r in again if "validation/f1" in r]
    assert f1 == [(2, 0.5), (4, 1.0)]


class Taken:
    """A tracker that keeps what it takes, and may fail."""

    def __init__(self, fails: bool = False) -> None:
        self.steps, self.figs, self.ended, self.fails = [], {}, None, fails

    def rows(self, rows):
        if self.fails:
            raise ConnectionError("no route")
        self.steps += [row.step for row in rows]

    def figures(self, figures, step, seconds):
        self.figs = figures

    def close(self, ended_well):
        self.ended = ended_well


def test_one_that_fails_is_told_of_and_training_goes_on(subject, capsys):
    good, bad = Taken(), Taken(fails=True)
    both = Trackers({"good": good, "bad": bad}, subject)
    for steps in (2, 2, 5):
        both.rows(history(steps))
    both.figures({"a": 1.0})
    both.close(True)
    assert good.steps == [1, 2, 3, 4, 5] and good.figs == {"a": 1.0} and good.ended is True
    assert bad.ended is None and bad.figs == {}
    said = capsys.readouterr().err
    assert said.count("bad takes nothing more: no route") == 1 and "candid runs log" in said


def test_what_cannot_be_opened_is_said_before_anything_is_done(subject, monkeypatch):
    with pytest.raises(ConfigError, match="no tracker 'tensorbord'"):
        needs_trackers(["tensorbord"])
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="wandb") as missing:
        needs_trackers(["wandb"])
    assert "candid-faces[wandb]" in missing.value.todo
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: name)
    first = Taken()
    monkeypatch.setattr(trackers, "_TensorBoard", lambda subject: first)
    monkeypatch.setattr(trackers, "_MLflow", lambda subject: 1 / 0)
    names = ["tensorboard", "mlflow"]
    with pytest.raises(OutputError, match="mlflow cannot be opened"), trackers_of(names, subject):
        pass
    assert first.ended is False
