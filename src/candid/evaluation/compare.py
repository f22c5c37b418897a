"""Two models on the same images: what changed, for whom, and how sure that is.

Everything is paired. Images are matched by their ids, both models are judged on the same bootstrap
draws of people, and only images that one model has right and the other wrong carry a p-value: that
of an exact randomisation test by person (see `paired`).

The interval is value ± Student's quantile · √(se² + 2 / (n + 2)²), with the draws' standard error.
The second term is what Bonett and Price (2012) add to a paired difference by counting one more
image of either flip, so that no flip at all among 20 people is not taken for certainty. There n is
the size of a simple random sample that would have the same standard error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.evaluation.paired import Pair, match, randomisation_p, same_classes
from candid.predictions import Predictions, binned
from candid.records import Estimate, Split, State
from candid.records.compare import Change, Comparison, GroupChange
from candid.stats import metrics
from candid.stats.clusters import draw_counts, normal_quantile, student_quantile, sums_by_cluster
from candid.stats.intervals import Resample, resample
from candid.stats.significance import adjusted, cutoff

Floats = NDArray[np.float64]

# Marks per block of groups, and numbers per block of draws: 64 MiB at most.
_BLOCK = 16_000_000
# With more classes than these, groups within a label are too many and too small.
_MOST_LABELS = 10


def compare(
    a: Predictions,
    b: Predictions,
    *,
    names: tuple[str, str] = ("A", "B"),
    split: Split = "test",
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    rate: float = 0.05,
    least: int = 20,
) -> Comparison:
    """What changed from A to B for every group of the images that both speak of.

    Parameters
    ----------
    a, b
        Two models' predictions. Images with the same id are the same; others do not count.
    names
        What to call the models.
    split
        Which images.
    draws, confidence, seed
        Of the bootstrap by person (by image where identities are unknown).
    rate
        False discovery rate (Benjamini & Hochberg) over all classes and groups.
    least
        Groups with fewer people (images, where identities are unknown) are too few to say.

    Raises
    ------
    PredictionsError
        Where the two have no labelled image in common, or not the same classes.
    """
    classes = same_classes(a, b)
    pair = match(a, b, classes, split)
    n = len(pair.label)
    drawing = resample(n, pair.identity, draws=draws, seed=seed, confidence=confidence)
    groups = _groups(pair, classes)
    everyone = _Group("", "", np.ones(n, np.bool_), np.zeros(n, np.bool_))
    changes = list(_changes([everyone, *groups], pair, classes, drawing, least))
    overall, rest = changes[0], _adjusted(changes[1:], rate, confidence)
    per_class, per_group = rest[: len(classes)], rest[len(classes) :]
    return Comparison(
        a=names[0],
        b=names[1],
        target=a.target,
        classes=classes,
        split=split,
        n=n,
        people=drawing.units if drawing.by_person else None,
        only_a=pair.only_a,
        only_b=pair.only_b,
        relabelled=pair.relabelled,
        overall=_stated(overall, overall.p, rate, rate, confidence),
        classes_changed=tuple(per_class),
        groups=tuple(sorted(per_group, key=_order)),
        looked_at=sum(not math.isnan(g.adjusted_p) for g in rest),
        alpha=rate,
        notes=tuple(_notes(a, b, names, pair, drawing)),
    )


# --- groups --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Group:
    attribute: str
    value: str
    mask: NDArray[np.bool_]
    rest: NDArray[np.bool_]
    label: str | None = None


def _groups(pair: Pair, classes: tuple[str, ...]) -> list[_Group]:
    """Each class; each value of each attribute that some image bears; each within each label."""
    nobody = np.zeros(len(pair.label), np.bool_)
    found = [_Group("label", c, pair.label == i, nobody) for i, c in enumerate(classes)]
    bears: list[_Group] = []
    everything = np.arange(len(pair.label))
    for attribute in pair.attributes:
        if attribute.kind == "numeric" and np.isnan(attribute.data).all():
            continue
        cut = binned(attribute, everything)
        masks = ((value, cut.data == code) for code, value in enumerate(cut.values))
        bears += [
            _Group(cut.name, value, mask, (cut.data >= 0) & ~mask)
            for value, mask in masks
            if mask.any()
        ]
    if len(classes) <= _MOST_LABELS:
        bears += [
            replace(g, mask=g.mask & inside, rest=g.rest & inside, label=c)
            for i, c in enumerate(classes)
            for g in bears
            if (g.mask & (inside := pair.label == i)).any()
        ]
    return found + bears


def _changes(
    groups: Sequence[_Group],
    pair: Pair,
    classes: tuple[str, ...],
    drawing: Resample,
    least: int,
) -> Iterator[GroupChange]:
    """What changed for each group, before p-values are adjusted."""
    count = len(classes)
    width = max(1, _BLOCK // max(1, len(pair.label) * 4 * count**2))
    for start in range(0, len(groups), width):
        block = groups[start : start + width]
        many = len(block)
        cells = np.concatenate(
            [_cells(pair.label, x, count, block) for x in (pair.answer_a, pair.answer_b)], axis=1
        )
        sums = sums_by_cluster(cells, drawing.unit).astype(np.float32)
        shape = (2, 2 * len(block), count, count)
        value = _figures(sums.sum(axis=0, dtype=np.float64).reshape(1, *shape), classes)
        drawn = [_figures(t.reshape(-1, *shape), classes) for t in _tables(sums, drawing)]
        for i, group in enumerate(block):
            figures = {
                name: (both[0, :, i::many], np.concatenate([d[name][:, :, i::many] for d in drawn]))
                for name, both in value.items()
            }
            yield _change(group, figures, pair, classes, drawing, least)


def _cells(
    label: NDArray[np.intp], answer: NDArray[np.intp], count: int, groups: Sequence[_Group]
) -> NDArray[np.bool_]:
    """(n, 2 groups * classes²): in which cell of each group's confusion matrix an image is.

    First the groups, then their rests.
    """
    hot = np.zeros((len(label), count * count), np.bool_)
    hot[np.arange(len(label)), label * count + answer] = True
    masks = np.stack([*(g.mask for g in groups), *(g.rest for g in groups)], axis=1)
    return (masks[:, :, None] & hot[:, None, :]).reshape(len(label), -1)


def _tables(sums: NDArray[np.float32], drawing: Resample) -> Iterator[Floats]:
    """Blocks of draws of the cells' sums; the same draws for every block of groups."""
    rng = np.random.default_rng(drawing.seed)
    step = max(1, _BLOCK // (4 * max(*sums.shape, 1)))
    for start in range(0, drawing.draws, step):
        weights = draw_counts(drawing.units, min(step, drawing.draws - start), rng)
        yield (weights @ sums).astype(np.float64)


def _figures(confusion: Floats, classes: tuple[str, ...]) -> dict[str, Floats]:
    """Each figure from (m, 2, 2 groups, classes, classes) tables, as (m, 2, 2 groups)."""
    recall = metrics.recall_score(confusion)
    return {
        "accuracy": metrics.accuracy_score(confusion),
        "weighted_f1": metrics.weighted_f1_score(confusion),
        **{f"error:{c}": 1 - recall[..., i] for i, c in enumerate(classes)},
    }


def _change(
    group: _Group,
    figures: dict[str, tuple[Floats, Floats]],
    pair: Pair,
    classes: tuple[str, ...],
    drawing: Resample,
    least: int,
) -> GroupChange:
    found = {}
    for name, (value, drawn) in figures.items():
        _, _, only = name.partition(":")
        mask = group.mask & (pair.label == classes.index(only)) if only else group.mask
        if only and group.attribute == "label" and group.value != only:
            continue  # a class has no errors of another one
        if only and group.label is not None and group.label != only:
            continue
        value, drawn = value[:, 0], drawn[:, :, 0]
        found[name] = Change(
            float(value[0]), float(value[1]), _difference(value, drawn, mask, pair, drawing)
        )
    balance = pair.balance[group.mask]
    unit = drawing.unit[group.mask]
    by_unit = np.bincount(unit, balance, minlength=1).astype(np.int64)
    units = len(np.unique(unit))
    return GroupChange(
        attribute=group.attribute,
        value=group.value,
        n=int(np.count_nonzero(group.mask)),
        people=units if drawing.by_person else None,
        metrics=found,
        lost=int(np.count_nonzero(balance < 0)),
        gained=int(np.count_nonzero(balance > 0)),
        lost_people=int(np.count_nonzero(by_unit < 0)),
        gained_people=int(np.count_nonzero(by_unit > 0)),
        p=randomisation_p(by_unit) if units else math.nan,
        adjusted_p=math.nan,
        smallest_visible=math.nan,
        state="too few to say" if units < least else "not found",
        label=group.label,
        gap=_gap(group, *figures["accuracy"], pair, drawing) if group.rest.any() else None,
    )


def _gap(group: _Group, value: Floats, drawn: Floats, pair: Pair, drawing: Resample) -> Change:
    """The gap in accuracy to the rest in either model, and how it changed.

    `value` is (2, 2): A's and B's, of the group and of its rest; `drawn` (draws, 2, 2) as well.
    """
    a, b = (float(x) for x in value[:, 0] - value[:, 1])
    sides = drawn[:, 1] - drawn[:, 0]  # (draws, 2): what changed in the group, and in the rest
    draws = sides[:, 0] - sides[:, 1]
    defined = sides[~np.isnan(draws)]
    masks = (group.mask, group.rest)
    units = [len(np.unique(drawing.unit[mask])) for mask in masks]
    fewer = min(units)
    low, high = -2.0, 2.0  # one person says nothing about others
    if fewer > 1 and len(defined) > 1:
        own = float(np.var(defined[:, 0] - defined[:, 1], ddof=1)) * fewer / (fewer - 1)
        own += sum(
            _one_more(defined[:, k], pair.balance[mask], units[k]) for k, mask in enumerate(masks)
        )
        reach = float(student_quantile(drawing.confidence, fewer - 1)) * math.sqrt(own)
        low, high = max(b - a - reach, -2.0), min(b - a + reach, 2.0)
    return Change(a, b, _estimate(b - a, low, high, group.mask, draws, drawing))


def _difference(
    value: Floats, drawn: Floats, mask: NDArray[np.bool_], pair: Pair, drawing: Resample
) -> Estimate:
    """B's figure less A's with its interval; `value` is (2,), `drawn` (draws, 2): A's and B's."""
    units = len(np.unique(drawing.unit[mask]))
    difference, draws = float(value[1] - value[0]), drawn[:, 1] - drawn[:, 0]
    defined = draws[~np.isnan(draws)]
    low = high = math.nan
    if not math.isnan(difference):
        low, high = -1.0, 1.0  # one person says nothing about others
        if units > 1 and len(defined) > 1:
            spread = _spread(defined, pair.balance[mask], units)
            reach = float(student_quantile(drawing.confidence, units - 1)) * spread
            low, high = max(difference - reach, -1.0), min(difference + reach, 1.0)
    return _estimate(difference, low, high, mask, draws, drawing)


def _estimate(
    value: float,
    low: float,
    high: float,
    mask: NDArray[np.bool_],
    draws: Floats,
    drawing: Resample,
) -> Estimate:
    """A paired difference; its images and people are those of `mask`."""
    return Estimate(
        value=value,
        low=low,
        high=high,
        n=int(np.count_nonzero(mask)),
        method="bootstrap by person, paired" if drawing.by_person else "bootstrap by image, paired",
        people=len(np.unique(drawing.unit[mask])) if drawing.by_person else None,
        draws=drawing.draws,
        undefined_draws=int(np.count_nonzero(np.isnan(draws))),
        confidence=drawing.confidence,
    )


def _spread(draws: Floats, balance: NDArray[np.int64], units: int) -> float:
    """The draws' standard error, and what one flip more of either kind would add to it."""
    own = float(np.var(draws, ddof=1)) * units / (units - 1)
    return math.sqrt(own + _one_more(draws, balance, units))


def _one_more(draws: Floats, balance: NDArray[np.int64], units: int) -> float:
    """The variance that one flip more of either kind would add."""
    own = float(np.var(draws, ddof=1)) * units / max(units - 1, 1)
    n = len(balance)
    # The variance that as many flips would have, were every image another person's.
    simple = float(np.var(balance)) / n
    effective = min(n * simple / own, n) if own > 0 and simple > 0 else units
    return 2 / (effective + 2) ** 2


# --- what counts as found -------------------------------------------------------------------------


def _adjusted(changes: Sequence[GroupChange], rate: float, confidence: float) -> list[GroupChange]:
    """The same with adjusted p-values, over the groups that are not too few."""
    p = np.array([math.nan if c.state == "too few to say" else c.p for c in changes])
    threshold = cutoff(p, rate)
    after = adjusted(p)
    return [
        _stated(c, float(q), rate, threshold, confidence)
        for c, q in zip(changes, after, strict=True)
    ]


def _stated(
    change: GroupChange, after: float, rate: float, threshold: float, confidence: float
) -> GroupChange:
    state: State = change.state
    if state != "too few to say":
        state = "found" if after <= rate else "not found"
    estimate = change.metrics["accuracy"].difference
    units = estimate.n if estimate.people is None else estimate.people
    visible = math.nan
    if units > 1 and threshold > 0 and not math.isnan(estimate.value):
        # The interval may have been cut at -1 or 1 on one side.
        reach = max(estimate.high - estimate.value, estimate.value - estimate.low)
        spread = reach / float(student_quantile(confidence, units - 1))
        quantile = float(student_quantile(1 - threshold, units - 1)) + normal_quantile(0.6)
        visible = quantile * spread
    return replace(
        change,
        adjusted_p=after,
        smallest_visible=visible if visible <= 1 else math.nan,
        state=state,
    )


def _order(change: GroupChange) -> tuple[int, float]:
    """Found before not found before too few; of those found, the largest loss first."""
    difference = change.metrics["accuracy"].difference.value
    rank = ("found", "not found", "too few to say").index(change.state)
    return rank, difference if change.state == "found" else -abs(difference)


def _notes(
    a: Predictions, b: Predictions, names: tuple[str, str], pair: Pair, drawing: Resample
) -> Iterator[str]:
    for name, count in ((names[0], pair.only_a), (names[1], pair.only_b)):
        if count:
            yield f"{count:,} labelled images are in {name} alone and do not count."
    if pair.relabelled:
        yield f"{pair.relabelled:,} images are labelled differently in the two and do not count."
    if a.target != b.target:
        yield f"The label is called {a.target!r} in {names[0]} and {b.target!r} in {names[1]}."
    extra = {*a.classes} ^ {*b.classes}
    if extra:
        yield f"Only one of the two knows the classes {', '.join(sorted(extra))}."
    if not drawing.by_person:
        yield (
            "Nobody knows who is in the images: intervals and p-values take each for another "
            "person's, and are too sure where that is wrong."
        )
