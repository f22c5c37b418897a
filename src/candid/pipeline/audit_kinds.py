"""The audit of each kind of answers: in memory, in tables, of a model that is asked, of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from candid.errors import ConfigError
from candid.pipeline.audit_page import Audited, named_columns
from candid.pipeline.auditing import (
    MeasuredTone,
    audit_predictions,
    read_any,
    read_any_number,
)
from candid.pipeline.data_places import labels_or_place
from candid.pipeline.opening import Data, path_of
from candid.pipeline.steps import audit_run
from candid.predictions import Predictions
from candid.predictions.arrays import as_number_answers, as_predictions
from candid.predictions.choosing import Columns
from candid.predictions.from_table import holds_number, written_by_candid
from candid.predictions.numbers import AnyPredictions, NumberAnswers
from candid.records.audit import Audit
from candid.runs import Run
from candid.runs.refusals import (
    is_number_run,
    refuse_number,
    refuse_several,
)
from candid.settings import AuditConfig, Config
from candid.text.inputs import AuditedSource


def audit_tables(
    path: Path, before: Any, named: Columns, config: AuditConfig, quiet: bool
) -> Audited:
    """The audit of anybody's table, or of a folder of them."""
    source = AuditedSource("file", path.name, columns=named_columns(named))
    number = named.number or are_numbers(path, named.number)
    if path.is_dir() and number:
        raise ConfigError(
            f"{path} is a folder.", expected="one table of numbers", todo="name one table"
        )
    if path.is_dir():
        from candid.pipeline.summing import audit_folder

        summed = audit_folder(path, named, config, quiet=quiet)
        files = {file.relative_to(path).as_posix(): file for file in summed.files}
        return Audited(summed.audit, summed, replace(source, kind="folder"), files)
    how = _compared(before, named, path, number=number)
    answers = read_any_number(path, named) if number else read_any(path, named)
    audit = audit_predictions(answers, config, source=path.name, **how)
    return Audited(audit, answers, source, {path.name: path})


def audit_into_run(
    run: Run, before: Any, named: Columns, tone: bool, loaded: Callable[[], Data | None]
) -> Audit:
    """The audit of a run of classes or of a number, into its folder."""
    if replace(named, number=False).named():
        read_any(run.path, named)  # says why columns cannot be named for a run
    is_number = is_number_run(run)
    how = _compared(before, named, run.path, number=is_number)
    data = loaded() if tone or not is_number else None
    with run.doing("audit"):
        measured = MeasuredTone(data, quiet=run.quiet) if tone and data is not None else None
        found = audit_run(run, measured, **how)
    if how or tone is is_number:  # the main job measures skin tone for classes alone
        run.forget("audit")
    return found


def audit_asked(
    place: Any, model: str | Callable[..., Any], config: Config, keep: Path | None, quiet: bool
) -> Audited:
    """The audit of somebody's model on a data set, or on labelled pictures at a place."""
    from candid.data.joining import load_places
    from candid.pipeline.other_models import ask_other

    there = labels_or_place(place)
    dataset = load_places(there, config.data) if isinstance(there, Path | tuple) else there
    answers = ask_other(dataset, model, config, keep=keep, quiet=quiet)
    audit = audit_predictions(answers, config.audit, source=dataset.name)
    asked, labelled = answers.provenance["model"], int((dataset.label >= 0).sum())
    source = AuditedSource("pictures", dataset.name, model=asked, asked=labelled)
    return Audited(audit, answers, source, dataset=dataset)


def audit_arrays(
    y_true: Any,
    y_prob: Any,
    arrays: dict[str, Any],
    before: Any,
    columns: Columns,
    config: AuditConfig,
    *,
    number: bool,
) -> Audited:
    """The audit of labels beside what a model says of them, and of what `before` said."""
    kind, made = (NumberAnswers, as_number_answers) if number else (Predictions, as_predictions)
    judged: AnyPredictions = made(y_true, y_prob, **arrays)
    if before is not None:
        given = isinstance(before, kind | Run | str | PathLike)
        before = _read(before, columns, number) if given else made(y_true, before, **arrays)
    return Audited(audit_predictions(judged, config, before=before), judged)


def _compared(before: Any, columns: Columns, path: Path, *, number: bool) -> dict[str, Any]:
    """Another model's predictions and both names; nothing where there is none."""
    if before is None:
        return {}
    in_memory = isinstance(before, Predictions | NumberAnswers)
    name = "A" if in_memory else path_of(before).name
    return {"before": _read(before, columns, number), "names": (name, path.name)}


def are_numbers(judged: Any, number: bool) -> bool:
    """Whether these are answers about a number: in memory, or in a file of Candid's."""
    if isinstance(judged, Run | str | PathLike):
        path = path_of(judged)
        return path.is_file() and holds_number(path)
    return number or isinstance(judged, NumberAnswers)


def _read(before: Any, columns: Columns, number: bool) -> AnyPredictions:
    """The first of two models; the columns that are named hold for a table alone."""
    if isinstance(before, NumberAnswers if number else Predictions):
        return before
    path = path_of(before)
    if not number and Run(path).config.is_file():
        refuse_several(Run(path))
        refuse_number(Run(path))
    ours = path.is_dir() or (path.is_file() and written_by_candid(path))
    read = read_any_number if number else read_any
    return read(path, Columns(number=number) if ours else columns)
