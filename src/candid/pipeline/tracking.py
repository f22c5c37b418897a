"""A run in experiment trackers: settings, history, final figures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from candid.errors import RunError, resume_advice
from candid.pipeline.auditing import furthest_behind
from candid.pipeline.opening import Place, is_main_process, reopen_run
from candid.records import Estimate, Evaluation, Provenance, read_record
from candid.records.audit import Audit, Gap
from candid.records.number import NumberEvaluation
from candid.runs import Run, read_history
from candid.runs.refusals import is_number_run
from candid.training.trackers import Subject, to_setting, trackers_of


@contextlib.contextmanager
def log_to_trackers(run: Run, names: Sequence[str]) -> Iterator[Run]:
    """The run whose history goes to trackers as it is written, and in the end its figures.

    Of several processes, the main one does so.
    """
    if not names or not is_main_process():
        yield run
        return
    with trackers_of(names, _build_subject(run)) as trackers:
        yield replace(run, follow=trackers.rows)
        trackers.rows(read_history(run))  # of a training that was finished before
        trackers.figures(final_figures(run))


def log_run(run: Run | Place, to: Sequence[str], *, quiet: bool = True) -> dict[str, int]:
    """Log a run that is there: `candid runs log RUN --to …` from Python; what was logged, counted.

    Parameters
    ----------
    run
        A run with a history.
    to
        "tensorboard", "mlflow", "wandb" or "trackio"; or several. What one of them has of this run
        is replaced.
    quiet
        As for `train`.

    Raises
    ------
    RunError
        Where nothing was trained.
    ConfigError, DependencyError, OutputError
        Where there is no such tracker, it is not installed, or it cannot be opened.
    """
    existing = reopen_run(run, quiet=quiet)
    history = read_history(existing)
    if not history:
        raise RunError(
            f"{existing.path} has no history of a training.",
            expected="a run that was trained",
            todo=resume_advice(existing.path),
        )
    figures = final_figures(existing)
    with trackers_of(to, _build_subject(existing)) as trackers:
        trackers.rows(history)
        trackers.figures(figures)
    return {"steps": len(history), "figures": len(figures)}


def _build_subject(run: Run) -> Subject:
    provenance = read_record(run.provenance, Provenance)
    sections = {f.name: getattr(run.settings, f.name) for f in fields(run.settings)}
    settings = {
        f"{name}.{f.name}": to_setting(getattr(section, f.name))
        for name, section in sections.items()
        for f in fields(section)
    }
    try:
        started = datetime.fromisoformat(provenance.started).timestamp()
    except ValueError:  # a run without a date
        started = 0.0
    return Subject(run.path, started, provenance.data_fingerprint, settings)


def final_figures(run: Run) -> dict[str, float]:
    """The figures of a run's evaluation and of its widest gap, each with its interval and its n.

    "final/test/weighted_f1", also with ".low", ".high", ".n"; of several labels, "final/<label>/…".
    """
    label_runs = run.target_runs()
    figures: dict[str, float] = {}
    for label_run in label_runs or [run]:
        prefix = f"final/{label_run.path.name}" if label_runs else "final"
        for name, estimate in _iterate_estimates(label_run):
            figure = f"{prefix}/{name}"
            figures |= {figure: estimate.value, f"{figure}.n": float(estimate.n)}
            figures |= {f"{figure}.low": estimate.low, f"{figure}.high": estimate.high}
    return figures


def _iterate_estimates(run: Run) -> Iterator[tuple[str, Estimate | Gap]]:
    """Figures by split and metric, and the gap of the group furthest behind."""
    is_number = is_number_run(run)
    if run.evaluation.is_file():
        kind: Any = NumberEvaluation if is_number else Evaluation
        for split in read_record(run.evaluation, kind).splits:
            for name, estimate in split.metrics.items():
                yield f"{split.split}/{name}", estimate
    audit = read_record(run.audit, Audit) if run.audit.is_file() else None
    if furthest := furthest_behind(audit, is_number=is_number):
        yield "widest_gap", furthest[1]
