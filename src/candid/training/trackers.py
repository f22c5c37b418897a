"""Experiment trackers: TensorBoard, MLflow, Weights & Biases, Trackio.

Each takes the settings when it is opened, rows of the history as they are written, and the final
figures. A run's earlier log is replaced (Weights & Biases keeps the steps that it has, and so does
a Trackio that is not on this machine). Only the leading process opens a tracker.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

from candid.errors import ConfigError, DependencyError, OutputError, did_you_mean
from candid.progress import write_line
from candid.records import HistoryRow

TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]
_Setting = bool | int | float | str

_RUN_TAG = "candid.run"  # identifies a run in a tracker
_BATCH_SIZE = 100  # MLflow's limit for params; that for metrics is ten times as high
_SUMMARY = ("validation/f1", "final/test/weighted_f1")  # TensorBoard's metrics of hyperparameters


@dataclass(frozen=True)
class Subject:
    """The run that is tracked."""

    folder: Path
    started: float  # seconds since 1970; a row's `seconds` count from there
    fingerprint: str  # of its data
    settings: Mapping[str, _Setting]  # all of them by "section.name"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.absolute().name

    @property
    def id(self) -> str:
        """An identifier of this run."""
        key = f"{self.name} {self.started} {self.fingerprint}"
        return hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8).hexdigest()


class Tracker(Protocol):
    """A tracker that is open for a run."""

    def rows(self, rows: Sequence[HistoryRow]) -> None:
        """Log new rows."""

    def figures(self, figures: Mapping[str, float], step: int, seconds: float) -> None:
        """Log figures of the run."""

    def close(self, ended_well: bool) -> None:
        """Close the log."""


class Trackers:
    """Several trackers of a run; one that fails is reported and dropped, and training goes on."""

    def __init__(self, opened: dict[str, Tracker], subject: Subject) -> None:
        self._opened, self._subject = opened, subject
        self._last = HistoryRow(0, 0, 0.0, math.nan, math.nan, math.nan)

    def rows(self, history: Sequence[HistoryRow]) -> None:
        """Log the new rows of a history, which ascend by step."""
        new_rows = [row for row in history if row.step > self._last.step]
        if new_rows:
            self._last = new_rows[-1]
            self._each(lambda tracker: tracker.rows(new_rows))

    def figures(self, figures: Mapping[str, float]) -> None:
        """Log final figures; undefined ones are left out."""
        defined = {name: value for name, value in figures.items() if math.isfinite(value)}
        if defined:
            last = self._last
            self._each(lambda tracker: tracker.figures(defined, last.step, last.seconds))

    def close(self, ended_well: bool) -> None:
        """Close them all."""
        self._each(lambda tracker: tracker.close(ended_well))

    def _each(self, act: Callable[[Tracker], object]) -> None:
        for name, tracker in list(self._opened.items()):
            try:
                act(tracker)
            except Exception as error:  # no error of a tracker's library stops training
                del self._opened[name]
                write_line(
                    f"candid: {name} takes nothing more: {error}; later: candid runs log "
                    f"{self._subject.folder} --to {name}"
                )


def scalars(row: HistoryRow) -> dict[str, float]:
    """A row's figures by the names that trackers show; undefined ones are left out."""
    named = {
        "train/loss": row.train_loss,
        "train/f1": row.train_f1,
        "train/learning_rate": row.learning_rate,
        "validation/loss": row.validation_loss,
        "validation/f1": row.validation_f1,
        "validation/accuracy": row.validation_accuracy,
    }
    return {name: value for name, value in named.items() if not math.isnan(value)}


def needs_trackers(names: Iterable[str]) -> None:
    """Raise a ConfigError for an unknown tracker, a DependencyError for a missing library."""
    choices = get_args(TrackerName)
    for name in _as_names(names):
        if name not in choices:
            raise ConfigError(
                f"There is no tracker {name!r}.",
                expected=f"one of: {', '.join(choices)}",
                todo=did_you_mean(name, choices),
            )
        if importlib.util.find_spec(name) is None:
            raise DependencyError(
                f"To log to {name} needs a library that is not installed: {name}.",
                expected=f"the extra {name!r}",
                todo=f"pip install 'candid-faces[{name}]'",
            )


def _as_names(names: Iterable[str]) -> Iterable[str]:
    """The names; a single one need not be in a list."""
    return (names,) if isinstance(names, str) else names


@contextlib.contextmanager
def trackers_of(names: Sequence[str], subject: Subject) -> Iterator[Trackers]:
    """Open trackers for a run, and close them when the block ends, well or not.

    Raises ConfigError, DependencyError as `needs_trackers`; OutputError where one of them cannot be
    opened.
    """
    needs_trackers(names)
    trackers: dict[str, Tracker] = {}
    group = Trackers(trackers, subject)
    try:
        for name in dict.fromkeys(_as_names(names)):
            trackers[name] = _open(name, subject)
        yield group
    except BaseException:
        group.close(ended_well=False)
        raise
    group.close(ended_well=True)


def _open(name: str, subject: Subject) -> Tracker:
    kinds: dict[str, Callable[[Subject], Tracker]] = {
        "tensorboard": _TensorBoard,
        "mlflow": _MLflow,
        "wandb": _WeightsAndBiases,
        "trackio": _Trackio,
    }
    try:
        return kinds[name](subject)
    except Exception as error:
        raise OutputError(
            f"{name} cannot be opened: {error}",
            expected=f"a place where {name} may write, as its own settings name it",
            todo=f"mend these, or leave --log {name} out",
        ) from error


class _TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir runs` shows all runs below it."""

    def __init__(self, subject: Subject) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._started, folder = subject.started, subject.folder / "tensorboard"
        for file in folder.glob("events.out.tfevents.*"):
            file.unlink()
        self._writer = cast(Any, SummaryWriter(str(folder)))
        metrics = dict.fromkeys(_SUMMARY, 0.0)
        *summaries, self._end_summary = cast(Any, hparams)(dict(subject.settings), metrics)
        for summary in summaries:
            self._writer.file_writer.add_summary(summary)
        self._writer.flush()

    def rows(self, rows: Sequence[HistoryRow]) -> None:
        for row in rows:
            self._add(scalars(row), row.step, row.seconds)
        self._writer.flush()

    def figures(self, figures: Mapping[str, float], step: int, seconds: float) -> None:
        self._add(figures, step, seconds)

    def _add(self, values: Mapping[str, float], step: int, seconds: float) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step, walltime=self._started + seconds)

    def close(self, ended_well: bool) -> None:
        if ended_well and self._writer.file_writer is not None:
            self._writer.file_writer.add_summary(self._end_summary)
        self._writer.close()


class _MLflow:
    """MLflow at MLFLOW_TRACKING_URI, in the experiment MLFLOW_EXPERIMENT_NAME, else "candid"."""

    def __init__(self, subject: Subject) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._started, self._client = subject.started, MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "candid")
        experiment = self._client.get_experiment_by_name(name)
        home = experiment.experiment_id if experiment else self._client.create_experiment(name)
        for previous in self._client.search_runs([home], f"tags.`{_RUN_TAG}` = '{subject.id}'"):
            self._client.delete_run(previous.info.run_id)
        run = self._client.create_run(
            home,
            start_time=round(1000 * subject.started),
            tags={_RUN_TAG: subject.id},
            run_name=subject.name,
        )
        self._id = run.info.run_id
        params = [Param(name, str(value)[:6000]) for name, value in subject.settings.items()]
        for start in range(0, len(params), _BATCH_SIZE):
            self._client.log_batch(self._id, params=params[start : start + _BATCH_SIZE])

    def rows(self, rows: Sequence[HistoryRow]) -> None:
        self._log([(n, v, row.step, row.seconds) for row in rows for n, v in scalars(row).items()])

    def figures(self, figures: Mapping[str, float], step: int, seconds: float) -> None:
        self._log([(name, value, step, seconds) for name, value in figures.items()])

    def _log(self, values: Sequence[tuple[str, float, int, float]]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(_mlflow_name(name), value, round(1000 * (self._started + seconds)), step)
            for name, value, step, seconds in values
        ]
        for start in range(0, len(metrics), 10 * _BATCH_SIZE):
            self._client.log_batch(self._id, metrics=metrics[start : start + 10 * _BATCH_SIZE])

    def close(self, ended_well: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if ended_well else "FAILED")


def _mlflow_name(name: str) -> str:
    """A name with only the characters that MLflow accepts."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-. /") else "_" for c in name)


class _WeightsAndBiases:
    """A project of Weights & Biases: WANDB_PROJECT, else "candid"."""

    def __init__(self, subject: Subject) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "candid"),
            name=subject.name,
            id=subject.id,
            resume="allow",
            config=dict(subject.settings),
            dir=str(subject.folder),
        )

    def rows(self, rows: Sequence[HistoryRow]) -> None:
        for row in rows:
            self._run.log(scalars(row), step=row.step)

    def figures(self, figures: Mapping[str, float], step: int, seconds: float) -> None:
        self._run.summary.update(dict(figures))

    def close(self, ended_well: bool) -> None:
        self._run.finish(exit_code=0 if ended_well else 1)


class _Trackio:
    """A project of Trackio's: TRACKIO_PROJECT, else "candid"."""

    def __init__(self, subject: Subject) -> None:
        import trackio

        self._trackio: Any = trackio
        project = os.environ.get("TRACKIO_PROJECT", "candid")
        _delete_trackio_run(project, subject.id)
        with _prints_to_stderr():
            trackio.init(
                project=project,
                name=subject.name,
                config={**subject.settings, _RUN_TAG: subject.id},
                embed=False,  # in a notebook it would start a server
            )

    def rows(self, rows: Sequence[HistoryRow]) -> None:
        for row in rows:
            self._trackio.log(scalars(row), step=row.step)

    def figures(self, figures: Mapping[str, float], step: int, seconds: float) -> None:
        self._trackio.log(dict(figures), step=step)

    def close(self, ended_well: bool) -> None:
        with _prints_to_stderr():
            self._trackio.finish()


def _delete_trackio_run(project: str, run_id: str) -> None:
    """Delete a run from Trackio's store on this machine."""
    import trackio

    try:
        runs = list(trackio.Api().runs(project))
    except ValueError:  # it has no such project
        return
    for run in runs:
        if (run.config or {}).get(_RUN_TAG) == run_id:
            run.delete()


def _prints_to_stderr() -> contextlib.AbstractContextManager[object]:
    """Keep a library's prints out of a command's output, which may be JSON."""
    return contextlib.redirect_stdout(sys.stderr)


def to_setting(value: Any) -> _Setting:
    """A setting as trackers take it: numbers, booleans and strings; others as strings."""
    return value if isinstance(value, bool | int | float | str) else str(value)
