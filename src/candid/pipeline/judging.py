"""The verbs that look at a run, or at anybody's predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from candid.errors import ConfigError, RunError
from candid.pipeline.audit_page import Audited, named_columns, require_page, write_page
from candid.pipeline.auditing import (
    MeasuredTone,
    audit_number_answers,
    audit_predictions,
    read_any,
    read_any_number,
)
from candid.pipeline.data_places import Places, labels_or_place
from candid.pipeline.explaining import explain_images, show_inside
from candid.pipeline.numbers import audit_number_run, evaluate_number_run, write_number_report
from candid.pipeline.opening import Data, Place, needs_torch, only_label, path_of, reload, run_at
from candid.pipeline.overview import summarise_targets, write_overview_report
from candid.pipeline.steps import audit_run, evaluate_run, predict_splits, write_report
from candid.predictions import Predictions
from candid.predictions.arrays import as_number_answers, as_predictions
from candid.predictions.choosing import Columns
from candid.predictions.from_table import holds_number, written_by_candid
from candid.predictions.numbers import NumberAnswers
from candid.records import Evaluation, read_record
from candid.records.audit import Audit
from candid.records.explanation import Explanation
from candid.records.number import NumberEvaluation
from candid.runs import Run
from candid.runs.refusals import (
    is_number_run,
    refuse_number,
    refuse_several,
    refuse_untrained,
)
from candid.settings import AuditConfig, Config
from candid.text.inputs import AuditedSource


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

    y_prob, config = _settings_last(y_prob, config)
    named = {"classes": classes, "person": person, "groups": groups, "split": split}
    if _are_numbers(y_true, number):
        answers = as_number_answers(y_true, y_prob, **named)
        return evaluate_number(answers, (config or Config()).evaluate)
    if not _is_arrays(y_true, y_prob, named) and not path_of(y_true).exists():
        raise RunError(
            f"There is no {path_of(y_true)}.",
            expected="a run, its folder, or a file of predictions that Candid wrote",
            todo="check the path",
        )
    if _is_arrays(y_true, y_prob, named) or path_of(y_true).is_file():
        judged = as_predictions(y_true, y_prob, **named)
        return evaluate_predictions(judged, (config or Config()).evaluate)
    run = only_label(run_at(y_true, config, quiet))
    if is_number_run(run):
        with run.doing("evaluate"):
            return evaluate_number_run(run)
    _predicted(run, data, cache)
    with run.doing("evaluate"):
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
        Labels, beside `y_prob`; `Predictions`, or of a number `NumberAnswers`; or where they lie: a
        run, whose `audit.json` is then written; anybody's table, or a folder of Parquet tables.
    y_prob
        The probability of the second class, (n,), or of every class, (n, classes); of a number,
        what is predicted, (n,).
    config
        None: the run's own, else the defaults.
    classes, person, groups, split
        As in `Predictions.from_arrays`.
    number
        Whether labels and predictions are numbers, such as ages; gaps are in mean absolute error.
    before
        Another model's predictions for the same images, as a run, its folder, a file or
        `Predictions`; beside labels, its probabilities. Then the audit says what changed for whom.
    columns, keep
        What the columns of somebody's table hold; a Parquet file for what `model` says.
    model
        Somebody's model, which is asked about the labelled pictures that `y_true` is the place of:
        a function of a list of uint8 RGB arrays (height, width, 3) that gives probabilities for
        each (of a number, the number), or None for no answer; its name,
        "package.module:function"; an ONNX file that Candid exported; or the address of a server
        like `candid serve`.
    page
        An HTML file for all that is found, to be read by people: how good the answers are, for whom
        they fail, what could not be seen. With `before`, for what changed. A run alone has its
        report instead (`candid.report`).
    tone, data, cache, quiet
        Of a run: whether to measure skin tone from the images and to audit it, where its data lie
        now, where packed images are kept, and no progress bars.
    """
    y_prob, config = _settings_last(y_prob, config)
    named, settings = columns or Columns(), config or Config()
    encoding = named.encoding or settings.data.encoding
    named = replace(named, encoding=encoding, number=named.number or number)
    arrays = {"classes": classes, "person": person, "groups": groups, "split": split}
    if page is not None:
        require_page(Path(page), keep, *_files_of(y_true, before, model))
    if model is not None:
        found = _audit_other(y_true, model, settings, keep, quiet)
    elif _is_arrays(y_true, y_prob, arrays):
        audit_them = _audit_numbers if _are_numbers(y_true, number) else _audit_arrays
        found = audit_them(y_true, y_prob, arrays, before, named, settings.audit)
    elif _is_tables(path := path_of(y_true), before):
        found = _audit_tables(path, before, named, settings.audit, quiet)
    else:
        if page is not None and before is None:
            raise _has_report(path)
        run = only_label(run_at(path, config, quiet))
        loaded = partial(_predicted, run, data, cache, always=tone)
        found = Audited(_audit_run(run, before, named, tone, loaded))
    if page is not None:
        write_page(Path(page), found, settings)
    return found.audit


def _files_of(*given: Any) -> list[Path]:
    """The files that are named among what is to be audited."""
    places = [Path(one) for one in given if isinstance(one, str | PathLike)]
    return [place for place in places if place.is_file()]


def _is_tables(path: Path, before: Any) -> bool:
    """Whether it is anybody's table, or a folder of them, and no run."""
    from candid.predictions.opening import tables_in

    return not path.is_dir() or (before is None and bool(tables_in(path)))


def _has_report(path: Path) -> ConfigError:
    return ConfigError(
        f"A page was asked for, and {path} is a run, which has its report.",
        expected="a file or a folder of predictions, or DATA with a model; of runs, two",
        todo=f"candid report {path} writes report.html there",
    )


def _audit_tables(
    path: Path, before: Any, named: Columns, config: AuditConfig, quiet: bool
) -> Audited:
    """The audit of anybody's table, or of a folder of them."""
    source = AuditedSource("file", path.name, columns=named_columns(named))
    if named.number or _are_numbers(path, named.number):
        if path.is_dir():
            raise ConfigError(
                f"{path} is a folder.", expected="one table of numbers", todo="name one table"
            )
        numbers = read_any_number(path, named)
        how = _compared(before, named, path, _read_numbers)
        audit = audit_number_answers(numbers, config, source=path.name, **how)
        return Audited(audit, numbers, source, {path.name: path})
    if path.is_dir():
        from candid.pipeline.summing import audit_folder

        summed = audit_folder(path, named, config, quiet=quiet)
        files = {file.relative_to(path).as_posix(): file for file in summed.files}
        return Audited(summed.audit, summed, replace(source, kind="folder"), files)
    how = _compared(before, named, path, _read)
    answers = read_any(path, named)
    audit = audit_predictions(answers, config, source=path.name, **how)
    return Audited(audit, answers, source, {path.name: path})


def _audit_run(
    run: Run, before: Any, named: Columns, tone: bool, loaded: Callable[[], Data | None]
) -> Audit:
    """The audit of a run of classes or of a number, into its folder."""
    if replace(named, number=False).named():
        read_any(run.path, named)  # says why columns cannot be named for a run
    is_number = is_number_run(run)
    audit_it: Callable[..., Audit] = audit_number_run if is_number else audit_run
    how = _compared(before, named, run.path, _read_numbers if is_number else _read)
    data = loaded() if tone or not is_number else None
    with run.doing("audit"):
        measured = MeasuredTone(data, quiet=run.quiet) if tone and data is not None else None
        found = audit_it(run, measured, **how)
    if how or tone is is_number:  # the main job measures skin tone for classes alone
        run.forget("audit")
    return found


def _audit_other(
    place: Any, model: str | Callable[..., Any], config: Config, keep: Path | None, quiet: bool
) -> Audited:
    """The audit of somebody's model on a data set, or on labelled pictures at a place."""
    from candid.data.joining import load_places
    from candid.pipeline.other_models import ask_other

    there = labels_or_place(place)
    dataset = load_places(there, config.data) if isinstance(there, Path | tuple) else there
    answers = ask_other(dataset, model, config, keep=keep, quiet=quiet)
    if isinstance(answers, NumberAnswers):
        audit = audit_number_answers(answers, config.audit, source=dataset.name)
    else:
        audit = audit_predictions(answers, config.audit, source=dataset.name)
    asked, labelled = answers.provenance["model"], int((dataset.label >= 0).sum())
    source = AuditedSource("pictures", dataset.name, model=asked, asked=labelled)
    return Audited(audit, answers, source, dataset=dataset)


def _audit_arrays(
    y_true: Any,
    y_prob: Any,
    arrays: dict[str, Any],
    before: Any,
    columns: Columns,
    config: AuditConfig,
) -> Audited:
    judged = as_predictions(y_true, y_prob, **arrays)
    if before is not None:
        given = isinstance(before, Predictions | Run | str | PathLike)
        before = _read(before, columns) if given else as_predictions(y_true, before, **arrays)
    return Audited(audit_predictions(judged, config, before=before), judged)


def _audit_numbers(
    y_true: Any,
    y_pred: Any,
    arrays: dict[str, Any],
    before: Any,
    columns: Columns,
    config: AuditConfig,
) -> Audited:
    """The same of answers about a number."""
    judged = as_number_answers(y_true, y_pred, **arrays)
    if before is not None:
        given = isinstance(before, NumberAnswers | Run | str | PathLike)
        whole = _read_numbers(before, columns) if given else None
        before = as_number_answers(y_true, before, **arrays) if whole is None else whole
    return Audited(audit_number_answers(judged, config, before=before), judged)


def _compared(
    before: Any, columns: Columns, path: Path, read: Callable[[Any, Columns], Any]
) -> dict[str, Any]:
    """Another model's predictions and both names; nothing where there is none."""
    if before is None:
        return {}
    in_memory = isinstance(before, Predictions | NumberAnswers)
    name = "A" if in_memory else path_of(before).name
    return {"before": read(before, columns), "names": (name, path.name)}


def _settings_last(y_prob: Any, config: Config | None) -> tuple[Any, Config | None]:
    """Of (predictions, settings) the settings stand where those of (labels, …) have theirs not."""
    return (None, y_prob) if isinstance(y_prob, Config) else (y_prob, config)


def _are_numbers(judged: Any, number: bool) -> bool:
    """Whether these are answers about a number: in memory, or in a file of Candid's."""
    if isinstance(judged, Run | str | PathLike):
        path = path_of(judged)
        return path.is_file() and holds_number(path)
    return number or isinstance(judged, NumberAnswers)


def _is_arrays(judged: Any, y_prob: Any, named: dict[str, Any]) -> bool:
    """Whether it is no place: `Predictions`, or labels beside probabilities."""
    place = isinstance(judged, Run | str | PathLike)
    return not place or y_prob is not None or any(v is not None for v in named.values())


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
    folder = only_label(run_at(run, config, quiet))
    refuse_untrained(folder, number=True)
    asked = replace(folder.settings.explain, make=True)
    folder = replace(folder, settings=replace(folder.settings, explain=asked))
    loaded = reload(folder, data, cache=cache)
    with folder.doing("explain"):
        explain_images(folder, loaded)
    with folder.doing("inside"):
        show_inside(folder, loaded)
    return read_record(folder.explanation, Explanation)


def report(run: Run | Place) -> Path:
    """Write the report and the model card again, from a run's files; the report's path.

    Of a run that learned several labels, the overview; each label's folder has its own report.
    """
    folder = run_at(run)
    write = write_number_report if is_number_run(folder) else write_report
    if folder.of_targets():
        write = write_overview_report
        with folder.doing("overview"):
            summarise_targets(folder)
    with folder.doing("report"):
        write(folder)
    return folder.report


def _predicted(
    run: Run, where: Places | None, cache: Path | None, *, always: bool = False
) -> Data | None:
    """Predict where the run has not; its data, where that needs them or they are always wanted."""
    missing = not run.predictions_file.is_file()
    if missing:
        refuse_untrained(run)
    if not missing and not always:
        return None
    data = reload(run, where, cache=cache)
    if missing:
        run.step("predict", predict_splits, data)
    return data


def _read(before: Predictions | Run | Place, columns: Columns) -> Predictions:
    """The first of two models; the columns that are named hold for a table alone."""
    if isinstance(before, Predictions):
        return before
    path = path_of(before)
    if Run(path).config.is_file():
        refuse_several(Run(path))
        refuse_number(Run(path))
    ours = path.is_dir() or (path.is_file() and written_by_candid(path))
    return read_any(path, Columns() if ours else columns)


def _read_numbers(before: NumberAnswers | Run | Place, columns: Columns) -> NumberAnswers:
    """The same of a number."""
    if isinstance(before, NumberAnswers):
        return before
    path = path_of(before)
    ours = path.is_dir() or (path.is_file() and written_by_candid(path))
    return read_any_number(path, replace(Columns(), number=True) if ours else columns)
