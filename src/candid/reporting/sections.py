"""The sections that a run's report and the page of an audit have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from candid.records import Evaluation, Example, SplitEvaluation
from candid.records.audit import Audit
from candid.records.number import NumberEvaluation
from candid.reporting import audit_tables
from candid.reporting.document import data_uri
from candid.text import audit as audit_words
from candid.text import label_check, number, stories
from candid.text.findings import group_name
from candid.text.metrics import metric_text

if TYPE_CHECKING:
    from candid.reporting.figures.chart import Figure


def answer_sections(
    evaluation: Evaluation,
    audit: Audit | None,
    headline: SplitEvaluation | None,
    *,
    caveats: Sequence[str],
    sources: Sequence[str] = (),
    thumbnails: Mapping[str, bytes],
    pictured: bool = True,
    elsewhere: str = "audit.json",
    notes_open: bool = False,
) -> dict[str, Any]:
    """What `performance.html`, `images.html` and `audit.html` name.

    Parameters
    ----------
    evaluation, audit
        How good the answers are, and for whom they fail; None: nobody looked.
    headline
        The split that speaks for the model; None where none does.
    caveats
        What to know of the figures of performance.
    sources
        The names of several data sets that were joined.
    thumbnails, pictured
        A small picture of some images by id; whether there are pictures at all. Without them single
        images are listed.
    elsewhere, notes_open
        Where the figures are that the page leaves out; whether what was assumed is unfolded.
    """
    from candid.reporting.figures.chart import MOST_CLASSES

    return {
        "evaluation": evaluation,
        "audit": audit,
        "caveats": caveats,
        "by_source": audit_tables.by_source(audit, sources),
        "galleries": galleries(evaluation, headline),
        "thumbnail": partial(data_uri, thumbnails),
        "pictured": pictured,
        "elsewhere": elsewhere,
        "notes_open": notes_open,
        "most_classes": MOST_CLASSES,
        "metric_keys": metric_keys,
        "class_columns": class_columns,
        "metric_text": metric_text,
        "group_name": group_name,
        "audit_words": audit_words,
        "audit_tables": audit_tables,
        "story_words": stories,
        "check_words": label_check,
    }


def number_sections(evaluation: NumberEvaluation, audit: Audit | None) -> dict[str, Any]:
    """What `number_performance.html`, `number_audit.html` and `number_furthest.html` name."""
    split = evaluation.headline
    audited = audit.splits[0] if audit is not None and audit.splits else None
    return {
        "evaluation": evaluation,
        "headline_split": split,
        "has_intervals": split is not None and "coverage" in split.metrics,
        "audit": audit,
        "audited": audited,
        "number_groups": [] if audited is None else audit_tables.number_groups(audited),
        "number_words": number,
        "metric_text": metric_text,
        "group_name": group_name,
    }


def performance_charts(evaluation: Evaluation) -> list[Figure | None]:
    """The charts of performance; None for each that there is nothing to draw for."""
    from candid.reporting.figures import confusions, performance

    kinds: list[Callable[[SplitEvaluation], Figure | None]] = [
        confusions.confusion,
        performance.roc,
        performance.precision_recall,
        lambda split: performance.reliability(split, evaluation.splits),
    ]
    figures = [kind(split) for split in evaluation.splits if split.n for kind in kinds]
    return [performance.scores(evaluation.splits), *figures]


def audit_charts(audit: Audit | None) -> list[Figure | None]:
    """The charts of for whom it fails; None for each that there is nothing to draw for."""
    from candid.reporting.figures import audit as figures

    if audit is None or not audit.splits:
        return []
    charts = [figures.gap_forest(audit.splits[0]), figures.pairs(audit.splits[0])]
    return charts if audit.abstention is None else [*charts, figures.coverage(audit.abstention)]


def metric_keys(splits: Sequence[SplitEvaluation]) -> tuple[list[str], list[str]]:
    """Which figures any of the splits has, and which of theirs are undefined in all of them.

    Where no temperature was fitted, there is nothing from before it.
    """
    has_temperature = any(s.reliability_before for s in splits)
    keys = list(dict.fromkeys(key for s in splits for key in s.metrics))
    keys = [key for key in keys if has_temperature or key != "calibration_error_before"]
    figures = [item for s in splits for item in s.metrics.items()]
    defined = {name for name, e in figures if math.isfinite(e.value)}.intersection(keys)
    if not defined:
        return keys, []
    return [k for k in keys if k in defined], [k for k in keys if k not in defined]


def class_columns(split: SplitEvaluation) -> list[str]:
    """Which figures of a class any of them has."""
    figures = [item for c in split.classes for item in c.metrics.items()]
    defined = {name for name, e in figures if math.isfinite(e.value)}
    return [name for name in dict(figures) if name in defined]


@dataclass(frozen=True)
class Gallery:
    """Images of one split that deserve a look."""

    split: str
    n: int
    mistakes: int
    surest_mistakes: tuple[Example, ...]
    least_sure: tuple[Example, ...]
    folded: bool


def galleries(evaluation: Evaluation, headline: SplitEvaluation | None) -> list[Gallery]:
    """The headline split's examples first, the other splits' folded below."""
    splits = sorted((s for s in evaluation.splits if s.n), key=lambda s: s is not headline)
    return [
        Gallery(
            s.split,
            s.n,
            s.n - sum(row[i] for i, row in enumerate(s.confusion)),
            s.surest_mistakes,
            s.least_sure,
            folded=s is not headline,
        )
        for s in splits
    ]
