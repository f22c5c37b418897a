"""What cannot be done with a run: errors that say which run it can be done with."""

from __future__ import annotations

from dataclasses import replace

from candid.errors import RunError, go_on_with
from candid.records import ModelCard, read_record
from candid.records.targets import Targets
from candid.runs import Run


def refuse_untrained(run: Run, *, several: bool = False, number: bool = False) -> None:
    """Raise a RunError, with the command that goes on, where a run's training is not finished.

    Also, unless `several` will do, where it learned several labels: what is asked of one is asked
    of one of them; and, unless `number` will do, where that is one.
    """
    if (several and run.of_targets()) or (number and is_number_run(run)):
        return
    refuse_several(run)
    refuse_number(run)
    if not run.model_file.is_file():
        raise RunError(
            f"{run.path} holds no trained network.",
            expected="a run whose training was finished",
            todo=go_on_with(run.path),
        )


def refuse_several(run: Run) -> None:
    """Raise a RunError, with the folder of one of them, where a run learned several labels."""
    several = run.of_targets()
    labels = read_record(run.targets, Targets).labels if several else ()
    classes = [one for one, a in zip(several, labels, strict=True) if a.number is None]
    if several and not classes:
        raise _number_error(run, labels[0].name)
    if several:
        raise RunError(
            f"{run.path} learned {len(several)} labels, and this is for one.",
            expected="the folder of one of them",
            todo=f"name one, such as {classes[0].path}",
        )


def is_number_run(run: Run) -> bool:
    """Whether a run is the folder of a label that is a number."""
    if run.whole is None or not run.model_file.is_file():
        return False
    return read_record(run.model_file, ModelCard).number is not None


def run_that_answers(run: Run) -> Run:
    """The run that answers for a folder: of a number that was learned alone, the run above it.

    Raises RunError for the folder of one of several labels that is a number.
    """
    if not is_number_run(run) or run.whole is None:
        return run
    whole = replace(run, path=run.whole)
    if len(whole.of_targets()) > 1:
        raise RunError(
            f"{run.path} is of a number that is answered together with other labels.",
            expected="the run above it, which gives the number, its interval, and the others",
            todo=f"name {whole.path}",
        )
    return whole


def refuse_number(run: Run) -> None:
    """Raise a RunError where a run, or all that it learned, is a number."""
    labels = read_record(run.targets, Targets).labels if run.of_targets() else ()
    if labels and all(label.number is not None for label in labels):
        raise _number_error(run, labels[0].name)
    if is_number_run(run):
        raise _number_error(run, read_record(run.model_file, ModelCard).target)


def _number_error(run: Run, name: str) -> RunError:
    above, folder = (
        (run.path, run.of_targets()[0].path) if run.whole is None else (run.whole, run.path)
    )
    return RunError(
        f"{run.path} learned {name!r}, which is a number, and this is for a label with classes.",
        expected="a label with classes",
        todo=f"candid predict {above} gives its value with an interval; candid evaluate, audit, "
        f"compare, explain and report take {folder}",
    )
