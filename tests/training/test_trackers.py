"""What trackers are told of a run, read back with their own readers."""

import math

import pytest

from candid.errors import ConfigError, DependencyError, OutputError
from candid.records import HistoryRow
from candid.training import trackers
from candid.training.trackers import Subject, Trackers, needs_trackers, trackers_of

BEGAN = 1_700_000_000.0


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
    settings = {"train.steps": 4, "train.learning_rate": 0.1, "network.name": "deep", "a.b": True}
    return Subject(tmp_path / "hats", BEGAN, "f", settings)


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
