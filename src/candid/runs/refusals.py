"""Errors for runs with which something cannot be done."""

from __future__ import annotations

from dataclasses import replace

from candid.errors import RunError, resume_advice
from candid.records import ModelCard, read_record
from candid.records.targets import Targets
from candid.runs import Run


def refuse_untrained(run: Run, *, several: bool = False, number: bool = False) -> None:
    """Raise a RunError, with the command that goes on, where a run's training is not finished.

    Also for a run of several labels, unless `several`, and for a number, unless `number`.
    """
    if (several and run.target_runs()) or (number and is_number_run(run)):
        return
    refuse_several(run)
    refuse_number(run)
    if not run.model_file.is_file():
        raise RunError(
            f"{run.path} holds no trained network.",
            expected="a run whose training was finished",
            todo=resume_advice(run.path),
        )


def refuse_several(run: Run) -> None:
    """Raise a RunError, with the folder of one of them, where a run learned several labels."""
    label_runs = run.target_runs()
    labels = read_record(run.targets, Targets).labels if label_runs else ()
    class_runs = [r for r, a in zip(label_runs, labels, strict=True) if a.number is None]
    if label_runs and not class_runs:
        raise _number_error(run, labels[0].name)
    if label_runs:
        raise RunError(
            f"{run.path} learned {len(label_runs)} labels, and this is for one.",
            expected="the folder of one of them",
            todo=f"name one, such as {class_runs[0].path}",
        )


def is_number_run(run: Run) -> bool:
    """Whether a run is the folder of a label that is a number."""
    if run.parent is None or not run.model_file.is_file():
        return False
    return read_record(run.model_file, ModelCard).number is not None


def answering_run(run: Run) -> Run:
    """The run that answers for a folder: for a number learned alone, the run above it.

    Raises RunError for the folder of one of several labels that is a number.
    """
    if not is_number_run(run) or run.parent is None:
        return run
    shared_run = replace(run, path=run.parent)
    if len(shared_run.target_runs()) > 1:
        raise RunError(
            f"{run.path} is of a number that is answered together with other labels.",
            expected="the run above it, which gives the number, its interval, and the others",
            todo=f"name {shared_run.path}",
        )
    return shared_run


def refuse_number(run: Run) -> None:
    """Raise a RunError where a run, or all that it learned, is a number."""
    labels = read_record(run.targets, Targets).labels if run.target_runs() else ()
    if labels and all(label.number is not None for label in labels):
        raise _number_error(run, labels[0].name)
    if is_number_run(run):
        raise _number_error(run, read_record(run.model_file, ModelCard).target)


def _number_error(run: Run, name: str) -> RunError:
    above, folder = run.parent or run.path, run.path if run.parent else run.target_runs()[0].path
    return RunError(
        f"{run.path} learned {name!r}, which is a number, and this is for a label with classes.",
        expected="a label with classes",
        todo=f"candid predict {above} gives its value with an interval; candid evaluate, audit, "
        f"compare, explain and report take {folder}",
    )
