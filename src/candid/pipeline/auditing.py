"""The stage that audits: a run, anyone's predictions, two models on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from candid import __version__
from candid.arrays import IndexArray
from candid.errors import ConfigError, RunError, resume_advice
from candid.pipeline.opening import Data, sole_label_run
from candid.predictions import Predictions, read_predictions
from candid.predictions.choosing import Columns
from candid.predictions.from_table import (
    holds_number,
    must_name_columns,
    number_answers_from,
    predictions_from,
    written_by_candid,
)
from candid.predictions.numbers import (
    AnyPredictions,
    NumberAnswers,
    read_number_predictions,
)
from candid.records import read_record
from candid.records.audit import Audit, Gap, Group, SplitAudit
from candid.records.compare import Comparison
from candid.records.tone import ToneSummary
from candid.runs import Run, open_run
from candid.runs.folders import TARGETS
from candid.runs.refusals import is_number_run
from candid.settings import AuditConfig
from candid.storage.files import write_text
from candid.text import words
from candid.text.number import behind

if TYPE_CHECKING:
    from candid.auditing.skin_tone import Tone


def audited_split(run: Run) -> SplitAudit | None:
    """The audit of the first split; None where there is none."""
    if not run.audit.is_file():
        return None
    splits = read_record(run.audit, Audit).splits
    return splits[0] if splits else None


def furthest_behind(audit: Audit | None, *, is_number: bool) -> tuple[Group, Gap] | None:
    """The group furthest behind the rest, in accuracy, or in error of a number."""
    if is_number:
        return next(iter(behind(audit)), None)
    return audit.splits[0].furthest_behind() if audit is not None and audit.splits else None


def read_any(path: Path, columns: Columns) -> Predictions:
    """Predictions from a run folder, from a file that Candid wrote, or from a stranger's table.

    Raises RunError where there are none; ConfigError where columns are named needlessly, or must
    be.
    """
    is_own_format = path.is_dir() or (path.is_file() and written_by_candid(path))
    if not path.exists():
        raise RunError(
            f"There is no {path}.",
            expected="a run folder, or a file with predictions (CSV, TSV, JSON lines, Parquet)",
            todo="check the path",
        )
    if is_own_format and columns.named():
        raise ConfigError(
            f"{path} was written by Candid, and columns are named for it.",
            expected="column names (--label, --prediction, …) for other people's tables only",
            todo="leave them out; --set audit.attributes=[...] picks the groups",
        )
    if path.is_dir():
        run = open_run(path)
        if not run.predictions_file.is_file():
            raise RunError(
                f"There is no {run.predictions_file.name} in {path}.",
                expected="a run that has predicted",
                todo=resume_advice(path),
            )
        return read_predictions(run.predictions_file)
    if is_own_format:
        return read_predictions(path)
    if columns.label is None or not columns.prediction:
        raise must_name_columns(path, columns.encoding)
    return predictions_from(path, columns)


def read_any_number(path: Path, columns: Columns) -> NumberAnswers:
    """Answers about a number from a run, a file that Candid wrote, or a stranger's table.

    Raises as `read_any`; PredictionsError for columns without numbers; RunError for runs of
    classes.
    """
    if path.is_dir():
        run = sole_label_run(open_run(path))
        if is_number_run(run):
            return read_number_predictions(run.predictions_file)
        raise RunError(
            f"{path} is not of a number.",
            expected="the folder of a label that is a number, or a table of one",
            todo=f"name a folder in {path / TARGETS}, if there is one",
        )
    unnamed = replace(columns, number=False) if path.exists() and holds_number(path) else columns
    if not path.exists() or (written_by_candid(path) and unnamed.named()):
        read_any(path, unnamed)  # says why not
    if holds_number(path):
        return read_number_predictions(path)
    if columns.label is None or not columns.prediction:
        raise must_name_columns(path, columns.encoding)
    return number_answers_from(path, columns)


def compare_options(config: AuditConfig) -> dict[str, Any]:
    """Options to compare models with, from the settings of an audit."""
    return {
        "draws": config.draws,
        "confidence": config.confidence,
        "seed": config.seed,
        "rate": config.false_discovery_rate,
        "least": config.smallest,
    }


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write what changed between two models, and for whom, as one HTML file."""
    from candid.reporting.page import render_comparison

    write_text(path, render_comparison(comparison, __version__))


def audit_predictions(
    answers: AnyPredictions,
    config: AuditConfig,
    *,
    source: str = "",
    before: AnyPredictions | None = None,
    names: tuple[str, str] = ("A", "B"),
) -> Audit:
    """The audit of any model's answers, with a comparison where there are `before`."""
    result = audit_function(answers)(answers, config, source=source)
    return result if before is None else add_comparison(result, answers, config, before, names)


def audit_function(answers: AnyPredictions) -> Callable[..., Audit]:
    """The function that audits answers of this kind."""
    if isinstance(answers, NumberAnswers):
        from candid.auditing.number_gaps import audit_number

        return audit_number
    from candid.auditing.audit import audit_groups

    return audit_groups


def add_comparison(
    audit: Audit,
    answers: AnyPredictions,
    config: AuditConfig,
    before: AnyPredictions,
    names: tuple[str, str] = ("A", "B"),
) -> Audit:
    """The audit with what changed from another model's answers."""
    from candid.evaluation.several_models import compare_two

    options = compare_options(config) | {"names": names, "split": audit.splits[0].split}
    comparison = compare_two(before, answers, **options)
    return replace(audit, comparison=comparison)


class ToneCache:
    """Skin tone of a data set's images, each measured once: several labels share their images."""

    def __init__(self, data: Data, *, quiet: bool = False) -> None:
        self.data, self.quiet = data, quiet
        self._measured: Tone | None = None  # of the pictures that were asked for, in that order

    @cached_property
    def _row(self) -> dict[str, int]:
        return {str(name): row for row, name in enumerate(self.data.dataset.ids)}

    @cached_property
    def _position(self) -> IndexArray:
        """(images,) the place of each among the measured; -1: not measured."""
        return np.full(len(self.data.dataset.ids), -1, np.intp)

    def of(self, ids: Sequence[str] | NDArray[Any]) -> Tone:
        """Measure these images; raises RunError where some are no longer in the data."""
        from candid.auditing.skin_tone import measure_tone

        absent = [str(name) for name in ids if str(name) not in self._row]
        if absent:
            raise RunError(
                f"{words.many(len(absent), 'predicted image is', 'predicted images are')} not in "
                f"the data, such as {absent[0]!r}.",
                expected="the data that the run was made from",
                todo="audit without measuring skin tone, or make the predictions again",
            )
        rows = np.asarray([self._row[str(name)] for name in ids], dtype=np.intp)
        fresh = np.asarray([*dict.fromkeys(rows[self._position[rows] < 0].tolist())], np.intp)
        if self._measured is None or len(fresh):
            measured = measure_tone(self.data.store.pixels, rows=fresh, quiet=self.quiet)
            count = 0 if self._measured is None else len(self._measured.ita)
            self._position[fresh] = count + np.arange(len(fresh))
            self._measured = measured if self._measured is None else self._measured.joined(measured)
        return self._measured.at(self._position[rows])


AnyAnswers = TypeVar("AnyAnswers", bound=AnyPredictions)


def add_tone(predictions: AnyAnswers, tones: ToneCache) -> tuple[AnyAnswers, ToneSummary]:
    """The predictions with measured skin tone as further attributes; raises as `ToneCache.of`."""
    tone = tones.of(predictions.ids)
    attributes = dict(predictions.attributes) | tone.attributes()
    return replace(predictions, attributes=attributes), tone.summary()
