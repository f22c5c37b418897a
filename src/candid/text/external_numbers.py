"""What is said of a number on pictures from elsewhere, in sentences and rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from candid.records import Estimate
from candid.records.external_number import NumberFigures, NumberSource, NumberTransfer
from candid.text import words
from candid.text.external import HOME, NOBODY_LOOKED, frame_sentences, uncounted_sentences
from candid.text.findings import group_name
from candid.text.number import figure_in_unit, groups_behind, interval_in_unit

HEAD = (
    *("Pictures", "n", "Mean absolute error", "Less home", "RMSE", "R²", "Near", "Mean error"),
    *("Intervals hold", "Flagged"),
)


def number_transfer_sentences(transfer: NumberTransfer | None) -> list[str]:
    """How the model does on every source, in short sentences."""
    if transfer is None or not transfer.sources:
        return [NOBODY_LOOKED]
    return [
        sentence
        for source in transfer.sources
        for sentence in number_source_sentences(source, transfer)
    ]


def number_source_sentences(source: NumberSource, transfer: NumberTransfer) -> list[str]:
    """One source: error, difference from home, coverage, flags, and the worst group."""
    e, m = source.figures.evaluation, source.figures.evaluation.metrics
    mae, split = m["mae"], f" ({source.split})" if source.split else ""
    return [
        f"{source.name}{split}: off by {figure_in_unit(mae)} on average "
        f"({words.confidence(mae.confidence)} {interval_in_unit(mae)}; "
        f"{words.images(e.n, e.people)}){_difference_clause(source.differences.get('mae'))}.",
        f"RMSE {_format_figure(m['rmse'])}, R² {words.with_ends(m['r2'])}; within "
        f"{transfer.tolerance:.4g}: {words.share_with_ends(m['within'])}.",
        _coverage_sentence(m["coverage"], transfer.coverage),
        *_flagged_sentences(source.figures),
        *uncounted_sentences(source),
        *_group_sentences(source),
        *frame_sentences(source),
        *source.notes,
    ]


def number_rows(transfer: NumberTransfer) -> list[list[str]]:
    """The run's own test images, then every source, as text under `HEAD`."""
    rows = [[*_cells(s.name, s.figures, s.differences.get("mae"))] for s in transfer.sources]
    return rows if transfer.home is None else [[*_cells(HOME, transfer.home, None)], *rows]


def _cells(name: str, figures: NumberFigures, difference: Estimate | None) -> Iterator[str]:
    e, m = figures.evaluation, figures.evaluation.metrics
    yield name
    yield words.count(e.n) + words.of_people(e.people)
    yield _format_figure(m["mae"])
    yield "–" if difference is None else _format_figure(difference)
    yield _format_figure(m["rmse"])
    yield words.with_ends(m["r2"])
    yield words.share_with_ends(m["within"])
    yield _format_figure(m["bias"])
    yield words.share_with_ends(m["coverage"])
    yield "–" if math.isnan(figures.flagged.value) else words.share_with_ends(figures.flagged)


def _format_figure(e: Estimate) -> str:
    return f"{figure_in_unit(e)} ({interval_in_unit(e)})"


def _difference_clause(e: Estimate | None) -> str:
    """The difference from home, for a sentence's end; "" where it is undefined."""
    if e is None or math.isnan(e.value):
        return ""
    verdict = f"not surely more or less than on {HOME}"
    if e.low > 0:
        verdict = f"{figure_in_unit(e)} more than on {HOME}"
    elif e.high < 0:
        verdict = f"{figure_in_unit(e).removeprefix('−')} less than on {HOME}"
    return f", {verdict} ({interval_in_unit(e)})"


def _coverage_sentence(e: Estimate, nominal: float) -> str:
    verdict = "which agrees"
    if e.high < nominal:
        verdict = "fewer"
    elif e.low > nominal:
        verdict = "more than they need to"
    return (
        f"Its intervals, made to hold {words.percent(nominal)} of the true values of pictures "
        f"like the validation images, hold {words.share_with_ends(e)}: {verdict}."
    )


def _flagged_sentences(figures: NumberFigures) -> Iterator[str]:
    e, flagged, rest = figures.flagged, figures.flagged_mae, figures.unflagged_mae
    if math.isnan(e.value):
        return
    sentence = f"It called {words.share_with_ends(e)} unlike its training data"
    if flagged.n and rest.n:
        sentence += (
            f"; there it is off by {_format_figure(flagged)} (n = {words.count(flagged.n)}), and "
            f"by {_format_figure(rest)} on the others (n = {words.count(rest.n)})"
        )
    yield f"{sentence}."


def _group_sentences(source: NumberSource) -> Iterator[str]:
    """The group that is furthest behind, if any was found to be."""
    worse = [] if source.audit is None else groups_behind(source.audit)
    if source.audit is not None and worse:
        group, gap = worse[0]
        yield (
            f"Furthest behind the others there is {group_name(group.conditions)}, by "
            f"{figure_in_unit(gap)} ({interval_in_unit(gap)}; {words.images(gap.n, gap.people)}), "
            f"the widest of {words.gaps(source.audit.gaps_looked_at)} looked at."
        )
