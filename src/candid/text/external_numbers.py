"""What is said of a number on pictures from elsewhere, in sentences and rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from candid.records import Estimate
from candid.records.external_number import NumberFigures, NumberSource, NumberTransfer
from candid.text import words
from candid.text.external import HOME, NOBODY_LOOKED, from_elsewhere, left_out
from candid.text.findings import group_name
from candid.text.number import behind_in, in_unit, of_interval

HEAD = (
    *("Pictures", "n", "Mean absolute error", "Less home", "RMSE", "R²", "Near", "Mean error"),
    *("Intervals hold", "Flagged"),
)


def number_said(transfer: NumberTransfer | None) -> list[str]:
    """How far from home, in short sentences; that nobody looked where nobody did."""
    if transfer is None or not transfer.sources:
        return [NOBODY_LOOKED]
    return [said for source in transfer.sources for said in number_source_said(source, transfer)]


def number_source_said(source: NumberSource, transfer: NumberTransfer) -> list[str]:
    """One source: how far off, beside home, what intervals hold, what was flagged, for whom."""
    found = source.figures.evaluation
    mae, m = found.metrics["mae"], found.metrics
    of = f" ({source.split})" if source.split else ""
    return [
        f"{source.name}{of}: off by {in_unit(mae)} on average ({words.confidence(mae.confidence)} "
        f"{of_interval(mae)}; {words.images(found.n, found.people)})"
        f"{_apart(source.differences.get('mae'))}.",
        f"RMSE {_own(m['rmse'])}, R² {words.with_ends(m['r2'])}; within {transfer.tolerance:.4g}: "
        f"{words.share_with_ends(m['within'])}.",
        _held(m["coverage"], transfer.coverage),
        *_flagged(source.figures),
        *left_out(source),
        *_groups(source),
        *from_elsewhere(source),
        *source.notes,
    ]


def number_rows(transfer: NumberTransfer) -> list[list[str]]:
    """The run's own test images, then every source, as text under `HEAD`."""
    parts: list[tuple[str, NumberFigures, Estimate | None]] = []
    if transfer.home is not None:
        parts.append((HOME, transfer.home, None))
    parts += [(s.name, s.figures, s.differences.get("mae")) for s in transfer.sources]
    return [list(_cells(name, figures, apart)) for name, figures, apart in parts]


def _cells(name: str, figures: NumberFigures, apart: Estimate | None) -> Iterator[str]:
    e, m = figures.evaluation, figures.evaluation.metrics
    yield name
    yield words.count(e.n) + words.of_people(e.people)
    yield _own(m["mae"])
    yield "–" if apart is None else _own(apart)
    yield _own(m["rmse"])
    yield words.with_ends(m["r2"])
    yield words.share_with_ends(m["within"])
    yield _own(m["bias"])
    yield words.share_with_ends(m["coverage"])
    yield "–" if math.isnan(figures.flagged.value) else words.share_with_ends(figures.flagged)


def _own(e: Estimate) -> str:
    return f"{in_unit(e)} ({of_interval(e)})"


def _apart(e: Estimate | None) -> str:
    """How far from home, for a sentence's end; empty where nobody knows."""
    if e is None or math.isnan(e.value):
        return ""
    way = f"not surely more or less than on {HOME}"
    if e.low > 0:
        way = f"{in_unit(e)} more than on {HOME}"
    elif e.high < 0:
        way = f"{in_unit(e).removeprefix('−')} less than on {HOME}"
    return f", {way} ({of_interval(e)})"


def _held(e: Estimate, made_for: float) -> str:
    verdict = "which agrees"
    if e.high < made_for:
        verdict = "fewer"
    elif e.low > made_for:
        verdict = "more than they need to"
    return (
        f"Its intervals, made to hold {words.percent(made_for)} of the true values of pictures "
        f"like the validation images, hold {words.share_with_ends(e)}: {verdict}."
    )


def _flagged(figures: NumberFigures) -> Iterator[str]:
    e, there, others = figures.flagged, figures.flagged_mae, figures.unflagged_mae
    if math.isnan(e.value):
        return
    told = f"It called {words.share_with_ends(e)} unlike its training data"
    if there.n and others.n:
        told += (
            f"; there it is off by {_own(there)} (n = {words.count(there.n)}), and by "
            f"{_own(others)} on the others (n = {words.count(others.n)})"
        )
    yield f"{told}."


def _groups(source: NumberSource) -> Iterator[str]:
    """The group that is furthest behind, if any was found to be."""
    found = [] if source.audit is None else behind_in(source.audit)
    if source.audit is not None and found:
        group, gap = found[0]
        yield (
            f"Furthest behind the others there is {group_name(group.conditions)}, by "
            f"{in_unit(gap)} ({of_interval(gap)}; {words.images(gap.n, gap.people)}), the widest "
            f"of {words.gaps(source.audit.gaps_looked_at)} looked at."
        )
