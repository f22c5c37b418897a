"""The verbs that look at a run, or at anybody's predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from candid.errors import ConfigError, RunError
from candid.pipeline.audit_kinds import (
    are_numbers,
    audit_arrays,
    audit_model,
    audit_run_folder,
    audit_tables,
)
from candid.pipeline.audit_page import AuditResult, require_page, write_page
from candid.pipeline.data_places import Places
from candid.pipeline.explaining import explain_images, show_inside
from candid.pipeline.numbers import evaluate_number_run, write_number_report
from candid.pipeline.opening import (
    Data,
    Place,
    needs_torch,
    path_of,
    reload,
    reopen_run,
    sole_label_run,
)
from candid.pipeline.overview import summarise_targets, write_overview_report
from candid.pipeline.steps import evaluate_run, predict_splits, write_report
from candid.predictions.arrays import as_number_answers, as_predictions
from candid.predictions.choosing import Columns
from candid.records import Evaluation, read_record
from candid.records.audit import Audit
from candid.records.explanation import Explanation
from candid.records.number import NumberEvaluation
from candid.runs import Run
from candid.runs.refusals import (
    is_number_run,
    refuse_untrained,
)
from candid.settings import Config


def evaluate(
    y_true: Any,
    y_prob: Any = None,
    config: Config | None = None,
    *,
    classes: Sequence[Any] | None = None,
    person: Any = None,
    groups: Any = None,
    split: Any = None,
    number: bool = False,
    data: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Evaluation | NumberEvaluation:
    """How well a model does, from its predictions alone; needs no torch.

    Of a run, or a run's folder, `evaluation.json` is written, and predictions are made where there
    are none; then `data` is where its data lie now. Of a number it is a `NumberEvaluation`, with
    mean absolute error, root mean squared error and R², of all and of each group.

    Parameters
    ----------
    y_true
        Labels, beside `y_prob`; `Predictions`, or of a number `NumberAnswers`; or a run, its
        folder, or a file of predictions.
    y_prob
        The probability of the second class, (n,), or of every class, (n, classes); of a number,
        what is predicted, (n,).
    config
        Its `evaluate` section says how; None: the run's own, else the defaults.
    classes, person, groups, split
        As in `Predictions.from_arrays`.
    number
        Whether labels and predictions in memory are numbers, such as ages.
    data, cache, quiet
        Of a run: where its data lie now, where packed images are kept, and no progress bars.
    """
    from candid.evaluation.numbers import evaluate_number
    from candid.evaluation.performance import evaluate_predictions

    y_prob, config = _shift_config(y_prob, config)
    arrays = {"classes": classes, "person": person, "groups": groups, "split": split}
    if are_numbers(y_true, number):
        answers = as_number_answers(y_true, y_prob, **arrays)
        return evaluate_number(answers, (config or Config()).evaluate)
    if _is_arrays(y_true, y_prob, arrays) or _require_existing(path_of(y_true)).is_file():
        predictions = as_predictions(y_true, y_prob, **arrays)
        return evaluate_predictions(predictions, (config or Config()).evaluate)
    run = sole_label_run(reopen_run(y_true, config, quiet))
    if is_number_run(run):
        with run.recording("evaluate"):
            return evaluate_number_run(run)
    _predict_missing(run, data, cache)
    with run.recording("evaluate"):
        evaluate_run(run)
    return read_record(run.evaluation, Evaluation)


def audit(
    y_true: Any,
    y_prob: Any = None,
    config: Config | None = None,
    *,
    classes: Sequence[Any] | None = None,
    person: Any = None,
    groups: Any = None,
    split: Any = None,
    number: bool = False,
    before: Any = None,
    columns: Columns | None = None,
    tone: bool = False,
    model: str | Callable[..., Any] | None = None,
    keep: Path | None = None,
    page: Place | None = None,
    data: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Audit:
    """For whom a model fails, and how sure that is, from its predictions alone; needs no torch.

    Parameters
    ----------
    y_true
        As for `evaluate` (a run gets its `audit.json`), or a table or a folder of Parquet tables.
    y_prob, config, classes, person, groups, split, data, cache, quiet
        As for `evaluate`.
    number
        Whether labels and predictions are numbers, such as ages; gaps are in mean absolute error.
    before
        Another model's predictions for the same images, as a run, its folder, a file or
        `Predictions`; beside labels, its probabilities. Then the audit says what changed for whom.
    columns, keep
        What the columns of somebody's table hold; a Parquet file for what `model` says.
    model
        Somebody's model, asked about the labelled pictures at `y_true`: a function of a list of
        uint8 RGB arrays (height, width, 3) that gives probabilities for each (of a number, the
        number), or None for no answer; its name, "package.module:function"; an ONNX file that
        Candid exported; or the address of a server like `candid serve`.
    page
        An HTML file to read: how good the answers are, for whom they fail, what could not be seen;
        with `before`, what changed. A run alone has its report instead (`candid.report`).
    tone
        Of a run: whether to measure skin tone from the images and to audit it.
    """
    y_prob, config = _shift_config(y_prob, config)
    settings = config or Config()
    columns = _complete_columns(columns or Columns(), settings, number)
    arrays = {"classes": classes, "person": person, "groups": groups, "split": split}
    require_page(page, keep, y_true, before, model)
    if model is not None:
        result = audit_model(y_true, model, settings, keep, quiet)
    elif _is_arrays(y_true, y_prob, arrays):
        result = audit_arrays(y_true, y_prob, arrays, before, columns, settings.audit, number)
    else:
        load_data = partial(_predict_missing, places=data, cache=cache, always=tone)
        result = _audit_path(y_true, before, columns, config, tone, load_data, page, quiet)
    write_page(page, result, settings)
    return result.audit


def _complete_columns(columns: Columns, config: Config, number: bool) -> Columns:
    encoding = columns.encoding or config.data.encoding
    return replace(columns, encoding=encoding, number=columns.number or number)


def _audit_path(
    y_true: Run | Place,
    before: Any,
    columns: Columns,
    config: Config | None,
    tone: bool,
    load_data: Callable[[Run], Data | None],
    page: Place | None,
    quiet: bool,
) -> AuditResult:
    """The audit of a table, a folder of tables, or a run."""
    from candid.predictions.opening import tables_in

    path = path_of(y_true)
    if not path.is_dir() or (before is None and tables_in(path)):
        return audit_tables(path, before, columns, (config or Config()).audit, quiet)
    if page is not None and before is None:
        raise ConfigError(
            f"A page was asked for, and {path} is a run, which has its report.",
            expected="a file or a folder of predictions, or DATA with a model; of runs, two",
            todo=f"candid report {path} writes report.html there",
        )
    run = sole_label_run(reopen_run(path, config, quiet))
    return AuditResult(audit_run_folder(run, before, columns, tone, partial(load_data, run)))


def _require_existing(path: Path) -> Path:
    if not path.exists():
        raise RunError(
            f"There is no {path}.",
            expected="a run, its folder, or a file of predictions that Candid wrote",
            todo="check the path",
        )
    return path


def _shift_config(y_prob: Any, config: Config | None) -> tuple[Any, Config | None]:
    """Move settings that came second, after `Predictions`, to their own place."""
    return (None, y_prob) if isinstance(y_prob, Config) else (y_prob, config)


def _is_arrays(y_true: Any, y_prob: Any, arrays: dict[str, Any]) -> bool:
    """Whether it is in memory: `Predictions`, or labels beside probabilities."""
    is_place = isinstance(y_true, Run | str | PathLike)
    return not is_place or y_prob is not None or any(v is not None for v in arrays.values())


def explain_run(
    run: Run | Place,
    config: Config | None = None,
    *,
    data: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Explanation:
    """What a run's network looks at, into the run's folder: `candid explain RUN` from Python.

    `config` is the run's own unless given; its `explain` section says how, but for
    `explain.make`: whoever asks for an explanation gets one. Of a label that is a number, whose
    folder is named, it is of what moves the number. `data` is where the
    run's data lie now; a URL that a run names is not followed unless it is given here. For a
    network that is not a run's, and for images in memory, see `explain_network`.
    """
    needs_torch()
    folder = sole_label_run(reopen_run(run, config, quiet))
    refuse_untrained(folder, number=True)
    explain = replace(folder.settings.explain, make=True)
    folder = replace(folder, settings=replace(folder.settings, explain=explain))
    packed = reload(folder, data, cache=cache)
    with folder.recording("explain"):
        explain_images(folder, packed)
    with folder.recording("inside"):
        show_inside(folder, packed)
    return read_record(folder.explanation, Explanation)


def report(run: Run | Place) -> Path:
    """Write the report and the model card again, from a run's files; the report's path.

    Of a run that learned several labels, the overview; each label's folder has its own report.
    """
    folder = reopen_run(run)
    write = write_number_report if is_number_run(folder) else write_report
    if folder.target_runs():
        write = write_overview_report
        with folder.recording("overview"):
            summarise_targets(folder)
    with folder.recording("report"):
        write(folder)
    return folder.report


def _predict_missing(
    run: Run, places: Places | None, cache: Path | None, *, always: bool = False
) -> Data | None:
    """Predict where the run has not; its data, where that needs them or `always`."""
    missing = not run.predictions_file.is_file()
    if missing:
        refuse_untrained(run)
    if not missing and not always:
        return None
    data = reload(run, places, cache=cache)
    if missing:
        run.step("predict", predict_splits, data)
    return data
