"""The audit of answers in memory, in tables, of a model, and of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from candid.errors import ConfigError
from candid.pipeline.audit_page import AuditResult, columns_by_role
from candid.pipeline.auditing import (
    ToneCache,
    audit_predictions,
    read_any,
    read_any_number,
)
from candid.pipeline.data_places import as_data_source
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
    path: Path, before: Any, columns: Columns, config: AuditConfig, quiet: bool
) -> AuditResult:
    """The audit of anybody's table, or of a folder of them."""
    source = AuditedSource("file", path.name, columns=columns_by_role(columns))
    number = columns.number or are_numbers(path, columns.number)
    if path.is_dir() and number:
        raise ConfigError(
            f"{path} is a folder.", expected="one table of numbers", todo="name one table"
        )
    if path.is_dir():
        from candid.pipeline.summing import audit_folder

        folder_audit = audit_folder(path, columns, config, quiet=quiet)
        files = {file.relative_to(path).as_posix(): file for file in folder_audit.files}
        return AuditResult(folder_audit.audit, folder_audit, replace(source, kind="folder"), files)
    options = _before_options(before, columns, path, number=number)
    answers = read_any_number(path, columns) if number else read_any(path, columns)
    audit = audit_predictions(answers, config, source=path.name, **options)
    return AuditResult(audit, answers, source, {path.name: path})


def audit_run_folder(
    run: Run, before: Any, columns: Columns, tone: bool, load_data: Callable[[], Data | None]
) -> Audit:
    """The audit of a run of classes or of a number, into its folder."""
    if replace(columns, number=False).named():
        read_any(run.path, columns)  # says why columns cannot be named for a run
    is_number = is_number_run(run)
    options = _before_options(before, columns, run.path, number=is_number)
    data = load_data() if tone or not is_number else None
    with run.recording("audit"):
        tones = ToneCache(data, quiet=run.quiet) if tone and data is not None else None
        audit = audit_run(run, tones, **options)
    if options or tone is is_number:  # the main job measures skin tone for classes alone
        run.mark_begun("audit")
    return audit


def audit_model(
    place: Any, model: str | Callable[..., Any], config: Config, keep: Path | None, quiet: bool
) -> AuditResult:
    """The audit of somebody's model on a labelled data set."""
    from candid.data.joining import load_labels
    from candid.pipeline.other_models import predict_with_model

    location = as_data_source(place)
    dataset = load_labels(location, config.data) if isinstance(location, Path | tuple) else location
    answers = predict_with_model(dataset, model, config, keep=keep, quiet=quiet)
    audit = audit_predictions(answers, config.audit, source=dataset.name)
    model_name, n_labelled = answers.provenance["model"], int((dataset.label >= 0).sum())
    source = AuditedSource("pictures", dataset.name, model=model_name, asked=n_labelled)
    return AuditResult(audit, answers, source, dataset=dataset)


def audit_arrays(
    y_true: Any,
    y_prob: Any,
    arrays: dict[str, Any],
    before: Any,
    columns: Columns,
    config: AuditConfig,
    number: bool,
) -> AuditResult:
    """The audit of labels and a model's answers in memory, compared with `before`."""
    number = are_numbers(y_true, number)
    kind, build = (NumberAnswers, as_number_answers) if number else (Predictions, as_predictions)
    answers: AnyPredictions = build(y_true, y_prob, **arrays)
    if before is not None:
        if isinstance(before, kind | Run | str | PathLike):
            before = _read_before(before, columns, number)
        else:
            before = build(y_true, before, **arrays)
    return AuditResult(audit_predictions(answers, config, before=before), answers)


def _before_options(before: Any, columns: Columns, path: Path, *, number: bool) -> dict[str, Any]:
    """Another model's predictions and both names, for `audit_predictions`; nothing without it."""
    if before is None:
        return {}
    in_memory = isinstance(before, Predictions | NumberAnswers)
    name = "A" if in_memory else path_of(before).name
    return {"before": _read_before(before, columns, number), "names": (name, path.name)}


def are_numbers(answers: Any, number: bool) -> bool:
    """Whether these are answers about a number: in memory, or in a file of Candid's."""
    if isinstance(answers, Run | str | PathLike):
        path = path_of(answers)
        return path.is_file() and holds_number(path)
    return number or isinstance(answers, NumberAnswers)


def _read_before(before: Any, columns: Columns, number: bool) -> AnyPredictions:
    """The first of two models; `columns` are of a table alone."""
    if isinstance(before, NumberAnswers if number else Predictions):
        return before
    path = path_of(before)
    if not number and Run(path).config.is_file():
        refuse_several(Run(path))
        refuse_number(Run(path))
    is_own_format = path.is_dir() or (path.is_file() and written_by_candid(path))
    read_table = read_any_number if number else read_any
    return read_table(path, Columns(number=number) if is_own_format else columns)
