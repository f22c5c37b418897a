"""Where others keep the curves of trainings: TensorBoard, MLflow, Weights & Biases, Trackio.

Each takes the settings when it is opened, rows of the history as they are written, and the final
figures. A run is written whole: where one was logged before, its log is replaced (Weights & Biases
keeps the steps that it has, and so does a Trackio that is not on this machine). Nobody but the
process that leads opens a tracker.
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
from candid.progress import say
from candid.records import HistoryRow

TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]
_Setting = bool | int | float | str

_TRACKED = "candid.run"  # by which a run is found again
_MOST = 100  # params of MLflow in one batch, and metrics times ten
_SHOWN = ("validation/f1", "final/test/weighted_f1")  # what TensorBoard sets against settings


@dataclass(frozen=True)
class Subject:
    """The run that is tracked."""

    folder: Path  # its folder
    started: float  # when it began, in seconds since 1970: a row's `seconds` count from there
    fingerprint: str  # of its data
    settings: Mapping[str, _Setting]  # all of them by "section.name"

    @property
    def name(self) -> str:
        """What it is called."""
        return self.folder.absolute().name

    @property
    def id(self) -> str:
        """The same for this run alone."""
        about = f"{self.name} {self.started} {self.fingerprint}"
        return hashlib.blake2b(about.encode("utf-8", "replace"), digest_size=8).hexdigest()


class Tracker(Protocol):
    """One of them, opened for a run."""

    def rows(self, rows: Sequence[HistoryRow]) -> None:
        """Take rows that it has not had before."""

    def figures(self, figures: Mapping[str, float], step: int, seconds: float) -> None:
        """Take figures that hold for the run."""

    def close(self, ended_well: bool) -> None:
        """Nothing more will come."""


class Trackers:
    """Several trackers of a run; one that fails is told of and left out, and training goes on."""

    def __init__(self, opened: dict[str, Tracker], subject: Subject) -> None:
        self._opened, self._subject = opened, subject
        self._last = HistoryRow(0, 0, 0.0, math.nan, math.nan, math.nan)

    def rows(self, history: Sequence[HistoryRow]) -> None:
        """Hand on what is new in a history, whose rows ascend by step."""
        fresh = [row for row in history if row.step > self._last.step]
        if fresh:
            self._last = fresh[-1]
            self._each(lambda tracker: tracker.rows(fresh))

    def figures(self, figures: Mapping[str, float]) -> None:
        """Hand on final figures; undefined ones are left out."""
        known = {name: value for name, value in figures.items() if math.isfinite(value)}
        if known:
            self._each(lambda tracker: tracker.figures(known, self._last.step, self._last.seconds))

    def close(self, ended_well: bool) -> None:
        """Close them all."""
        self._each(lambda tracker: tracker.close(ended_well))

    def _each(self, act: Callable[[Tracker], object]) -> None:
        for name, tracker in list(self._opened.items()):
            try:
                act(tracker)
            except Exception as error:  # whatever another's library raises is no reason to stop
                del self._opened[name]
                say(
                    f"candid: {name} takes nothing more: {error}; later: candid runs log "
                    f"{self._subject.folder} --to {name}"
                )


def scalars(row: HistoryRow) -> dict[str, float]:
    """What a row says, by the names that trackers show; undefined figures are left out."""
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
    """Raise where one of these is no tracker, or its library is not installed.

    Raises
    ------
    ConfigError, DependencyError
        For either.
    """
    known = get_args(TrackerName)
    for name in _each(names):
        if name not in known:
            raise ConfigError(
                f"There is no tracker {name!r}.",
                expected=f"one of: {', '.join(known)}",
                todo=did_you_mean(name, known),
            )
        if importlib.util.find_spec(name) is None:
            raise DependencyError(
                f"To log to {name} needs a library that is not installed: {name}.",
                expected=f"the extra {name!r}",
                todo=f"pip install 'candid-faces[{name}]'",
            )


def _each(names: Iterable[str]) -> Iterable[str]:
    """The names; one alone need not stand in a list."""
    return (names,) if isinstance(names, str) else names


@contextlib.contextmanager
def trackers_of(names: Sequence[str], subject: Subject) -> Iterator[Trackers]:
    """Open trackers for a run, and close them when the block ends, well or not.

    Raises
    ------
    ConfigError, DependencyError
        As `needs_trackers`.
    OutputError
        Where one of them cannot be opened.
    """
    needs_trackers(names)
    opened: dict[str, Tracker] = {}
    all_of_them = Trackers(opened, subject)
    try:
        for name in dict.fromkeys(_each(names)):
            opened[name] = _opened(name, subject)
        yield all_of_them
    except BaseException:
        all_of_them.close(ended_well=False)
        raise
    all_of_them.close(ended_well=True)


def _opened(name: str, subject: Subject) -> Tracker:
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
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = cast(Any, SummaryWriter(str(folder)))
        *begun, self._ended = cast(Any, hparams)(dict(subject.settings), dict.fromkeys(_SHOWN, 0.0))
        for summary in begun:
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
            self._writer.file_writer.add_summary(self._ended)
        self._writer.close()


class _MLflow:
    """Where MLFLOW_TRACKING_URI says, in the experiment MLFLOW_EXPERIMENT_NAME, else "candid"."""

    def __init__(self, subject: Subject) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._started, self._client = subject.started, MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "candid")
        found = self._client.get_experiment_by_name(name)
        home = self._client.create_experiment(name) if found is None else found.experiment_id
        for old in self._client.search_runs([home], f"tags.`{_TRACKED}` = '{subject.id}'"):
            self._client.delete_run(old.info.run_id)
        run = self._client.create_run(
            home,
            start_time=round(1000 * subject.started),
            tags={_TRACKED: subject.id},
            run_name=subject.name,
        )
        self._id = run.info.run_id
        params = [Param(name, str(value)[:6000]) for name, value in subject.settings.items()]
        for start in range(0, len(params), _MOST):
            self._client.log_batch(self._id, params=params[start : start + _MOST])

    def rows(self, rows: Sequence[HistoryRow]) -> None:
        self._log([(n, v, row.step, row.seconds) for row in rows for n, v in scalars(row).items()])

    def figures(self, figures: Mapping[str, float], step: int, seconds: float) -> None:
        self._log([(name, value, step, seconds) for name, value in figures.items()])

    def _log(self, values: Sequence[tuple[str, float, int, float]]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(_plain(name), value, round(1000 * (self._started + seconds)), step)
            for name, value, step, seconds in values
        ]
        for start in range(0, len(metrics), 10 * _MOST):
            self._client.log_batch(self._id, metrics=metrics[start : start + 10 * _MOST])

    def close(self, ended_well: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if ended_well else "FAILED")


def _plain(name: str) -> str:
    """A name with nothing but what MLflow takes."""
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
        _forget_in_trackio(project, subject.id)
        with _prints_to_stderr():
            trackio.init(
                project=project,
                name=subject.name,
                config={**subject.settings, _TRACKED: subject.id},
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


def _forget_in_trackio(project: str, run_id: str) -> None:
    """Delete what Trackio's store on this machine has of a run."""
    import trackio

    try:
        before = list(trackio.Api().runs(project))
    except ValueError:  # it has no such project
        return
    for run in before:
        if (run.config or {}).get(_TRACKED) == run_id:
            run.delete()


def _prints_to_stderr() -> contextlib.AbstractContextManager[object]:
    """What another's library prints is no answer of a command's, which may be JSON."""
    return contextlib.redirect_stdout(sys.stderr)


def checked(value: Any) -> _Setting:
    """A setting as trackers take it: numbers, booleans and words as they are, others in words."""
    return value if isinstance(value, bool | int | float | str) else str(value)
