"""Two models on the same images: what changed, for which groups, and how sure that is.

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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray
from candid.evaluation.paired import (
    PairedAnswers,
    PairedNumbers,
    has_row_ids,
    match_predictions,
    merge_classes,
)
from candid.predictions import Attribute, Predictions
from candid.records import Estimate, Split, State
from candid.records.compare import Change, Comparison, GroupChange
from candid.records.metrics import metric_named
from candid.stats import metrics
from candid.stats.bootstrap import Resample, resample
from candid.stats.exact import randomisation_p
from candid.stats.intervals import normal_quantile, student_quantile
from candid.stats.multiple_testing import benjamini_hochberg, cutoff
from candid.text import notes as text

# Marks per block of groups, and numbers per block of draws: 64 MiB at most.
_BLOCK = 16_000_000
# With more classes than these, groups within a label are too many and too small.
_MOST_LABELS = 10


def compare_predictions(
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
    """What changed from A to B for every group of the images that both answer.

    Images with the same id are the same; others do not count. `rate` is the false discovery rate
    (Benjamini & Hochberg) over all classes and groups; groups with fewer people than `least`
    (images, where people are unknown) are too few to say.

    Raises PredictionsError where the two have no labelled image in common, or not the same classes.
    """
    classes = merge_classes(a, b)
    pair = match_predictions(a, b, classes, split)
    n = len(pair)
    resampling = resample(n, pair.person, draws=draws, seed=seed, confidence=confidence)
    groups = _build_groups(pair, classes)
    everyone = ComparedGroup("", "", np.ones(n, np.bool_), np.zeros(n, np.bool_))
    changes = list(_compare_groups([everyone, *groups], pair, classes, resampling, least))
    comparison = build_comparison(
        pair,
        changes,
        len(classes),
        resampling,
        names=names,
        targets=(a.target, b.target),
        split=split,
        rate=rate,
    )
    return replace(comparison, classes=classes, notes=(*comparison.notes, *_extra_classes(a, b)))


def build_comparison(
    pair: PairedAnswers | PairedNumbers,
    changes: Sequence[GroupChange],
    first: int,
    resampling: Resample,
    *,
    names: tuple[str, str],
    targets: tuple[str, str],
    split: Split,
    rate: float,
) -> Comparison:
    """The record of a comparison, without classes.

    `changes` are, before p-values are adjusted, of everyone, of `first` classes or ranges, and of
    groups.
    """
    confidence, overall = resampling.confidence, changes[0]
    rest = adjust_changes(changes[1:], rate, confidence)
    return Comparison(
        a=names[0],
        b=names[1],
        target=targets[0],
        classes=(),
        split=split,
        n=len(pair),
        people=resampling.units if resampling.by_person else None,
        only_a=pair.only_a,
        only_b=pair.only_b,
        relabelled=pair.relabelled,
        overall=decide_state(overall, overall.p, rate, rate, confidence),
        classes_changed=tuple(rest[:first]),
        groups=tuple(sorted(rest[first:], key=sort_key)),
        looked_at=sum(not math.isnan(g.adjusted_p) for g in rest),
        alpha=rate,
        notes=tuple(_pair_notes(pair, targets, names, resampling)),
    )


# --- groups --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ComparedGroup:
    """Images that share something, and the rest of those whose value is known."""

    attribute: str
    value: str
    mask: BoolArray
    rest: BoolArray
    label: str | None = None


def attribute_groups(attributes: Iterable[Attribute]) -> list[ComparedGroup]:
    """Each value of each attribute that has images."""
    return [
        ComparedGroup(a.name, value, a.data == code, (a.data >= 0) & (a.data != code))
        for a in attributes
        for code, value in enumerate(a.values)
        if (a.data == code).any()
    ]


def _build_groups(pair: PairedAnswers, classes: tuple[str, ...]) -> list[ComparedGroup]:
    """Each class; each value of each attribute that has images; each within each label."""
    empty = np.zeros(len(pair), np.bool_)
    labels = [ComparedGroup("label", c, pair.label == i, empty) for i, c in enumerate(classes)]
    groups = attribute_groups(pair.with_bins().attributes.values())
    if len(classes) <= _MOST_LABELS:
        groups += [
            replace(g, mask=g.mask & inside, rest=g.rest & inside, label=c)
            for i, c in enumerate(classes)
            for g in groups
            if (g.mask & (inside := pair.label == i)).any()
        ]
    return labels + groups


def _compare_groups(
    groups: Sequence[ComparedGroup],
    pair: PairedAnswers,
    classes: tuple[str, ...],
    resampling: Resample,
    least: int,
) -> Iterator[GroupChange]:
    """What changed for each group, before p-values are adjusted."""
    count = len(classes)
    width = max(1, _BLOCK // max(1, len(pair) * 4 * count**2))
    one_hot = [
        metrics.confusion_cells(pair.label, answer, count).astype(np.bool_)
        for answer in (pair.answer_a, pair.answer_b)
    ]
    for start in range(0, len(groups), width):
        block = groups[start : start + width]
        # (n, 2 models, groups and then their rests, cells of a confusion matrix)
        masks = np.stack([*(g.mask for g in block), *(g.rest for g in block)], axis=1)
        cells = masks[:, None, :, None] & np.stack(one_hot, axis=1)[:, :, None]
        shape = (-1, *cells.shape[1:3], count, count)
        value, replicates = resampling.evaluate_sums(
            cells.reshape(len(cells), -1),
            lambda sums, shape=shape: _figures(sums.reshape(shape), classes),  # type: ignore[misc]
        )
        for i, group in enumerate(block):
            columns = slice(i, None, len(block))
            figures = {n: (v[:, columns], replicates[n][..., columns]) for n, v in value.items()}
            yield _compare_group(group, figures, pair, classes, resampling, least)


def _figures(confusion: FloatArray, classes: tuple[str, ...]) -> dict[str, FloatArray]:
    """Each figure (…) from (…, classes, classes) tables."""
    recall = metrics.recall_score(confusion)
    return {
        "accuracy": metrics.accuracy_score(confusion),
        "weighted_f1": metrics.weighted_f1_score(confusion),
        **{f"error:{c}": 1 - recall[..., i] for i, c in enumerate(classes)},
    }


def _compare_group(
    group: ComparedGroup,
    figures: dict[str, tuple[FloatArray, FloatArray]],
    pair: PairedAnswers,
    classes: tuple[str, ...],
    resampling: Resample,
    least: int,
) -> GroupChange:
    """What changed for a group; `figures` are (2 models, 2 sides), and the same in every draw."""
    changes = {}
    for name, mask in _iterate_figures(group, pair, classes):
        value, replicates = figures[name]
        sides = replicates[:, 1, :1] - replicates[:, 0, :1]
        changes[name] = _measure_change(value[0, 0], value[1, 0], sides, [mask], pair, resampling)
    gap = None
    if group.rest.any():
        value, replicates = figures["accuracy"]
        gaps, sides = value[:, 0] - value[:, 1], replicates[:, 1] - replicates[:, 0]
        gap = _measure_change(gaps[0], gaps[1], sides, [group.mask, group.rest], pair, resampling)
    balance = pair.balance[group.mask]
    by_unit = np.bincount(resampling.unit[group.mask], balance, minlength=1).astype(np.int64)
    p = randomisation_p(by_unit) if group.mask.any() else math.nan
    return build_change(group, changes, gap, balance, by_unit, p, resampling, least)


def build_change(
    group: ComparedGroup,
    metrics: dict[str, Change],
    gap: Change | None,
    balance: NDArray[Any],
    by_unit: NDArray[Any],
    p: float,
    resampling: Resample,
    least: int,
) -> GroupChange:
    """The record of a group, before p-values are adjusted.

    `balance` (n,) and `by_unit` (units,) are above 0 where B is better and below 0 where A is.
    """
    return GroupChange(
        attribute=group.attribute,
        value=group.value,
        n=int(np.count_nonzero(group.mask)),
        people=resampling.count_people(group.mask),
        metrics=metrics,
        lost=int(np.count_nonzero(balance < 0)),
        gained=int(np.count_nonzero(balance > 0)),
        lost_people=int(np.count_nonzero(by_unit < 0)),
        gained_people=int(np.count_nonzero(by_unit > 0)),
        p=p,
        adjusted_p=math.nan,
        smallest_visible=math.nan,
        state="too few to say" if resampling.count_units(group.mask) < least else "not found",
        label=group.label,
        gap=gap,
    )


def _iterate_figures(
    group: ComparedGroup, pair: PairedAnswers, classes: tuple[str, ...]
) -> Iterator[tuple[str, BoolArray]]:
    """The figures of a group and the images behind each; a label has no errors of other labels."""
    yield from (("accuracy", group.mask), ("weighted_f1", group.mask))
    only = group.value if group.attribute == "label" else group.label
    for i, c in enumerate(classes):
        if only in (None, c):
            yield f"error:{c}", group.mask & (pair.label == i)


def _measure_change(
    a: float,
    b: float,
    sides: FloatArray,
    masks: Sequence[BoolArray],
    pair: PairedAnswers,
    resampling: Resample,
) -> Change:
    """The change of a figure, or of a gap between two sides; images and people are of the first.

    `sides` is (draws, k): the change on each side in each draw.
    """
    draws = sides[:, 0] - sides[:, 1] if len(masks) == 2 else sides[:, 0]
    defined = ~np.isnan(draws)
    difference, bound = float(b - a), float(len(masks))
    units = [resampling.count_units(mask) for mask in masks]
    fewest = min(units)
    reach = math.inf  # one person says nothing about others
    if fewest > 1 and np.count_nonzero(defined) > 1:
        variance = float(np.var(draws[defined], ddof=1)) * fewest / (fewest - 1)
        variance += sum(
            _extra_variance(sides[defined, k], pair.balance[mask], units[k])
            for k, mask in enumerate(masks)
        )
        reach = float(student_quantile(resampling.confidence, fewest - 1)) * math.sqrt(variance)
    estimate = Estimate(
        value=difference,
        low=np.clip(difference - reach, -bound, bound).item(),
        high=np.clip(difference + reach, -bound, bound).item(),
        n=int(np.count_nonzero(masks[0])),
        method=f"{resampling.method}, paired",
        people=resampling.count_people(masks[0]),
        draws=resampling.draws,
        undefined_draws=int(np.count_nonzero(~defined)),
        confidence=resampling.confidence,
    )
    return Change(float(a), float(b), estimate)


def _extra_variance(draws: FloatArray, balance: NDArray[np.int64], units: int) -> float:
    """The variance that one flip more of either kind would add."""
    variance = float(np.var(draws, ddof=1)) * units / max(units - 1, 1)
    n = len(balance)
    # The variance that as many flips would have, were every image another person's.
    simple = float(np.var(balance)) / n
    effective = min(n * simple / variance, n) if variance > 0 and simple > 0 else units
    return 2 / (effective + 2) ** 2


# --- what counts as found -------------------------------------------------------------------------


def adjust_changes(
    changes: Sequence[GroupChange], rate: float, confidence: float
) -> list[GroupChange]:
    """The changes with p-values adjusted over the groups that are not too few."""
    p = np.array([math.nan if c.state == "too few to say" else c.p for c in changes])
    threshold = cutoff(p, rate)
    adjusted = zip(changes, benjamini_hochberg(p), strict=True)
    return [decide_state(c, float(q), rate, threshold, confidence) for c, q in adjusted]


def decide_state(
    change: GroupChange, adjusted_p: float, rate: float, threshold: float, confidence: float
) -> GroupChange:
    """The change with its adjusted p-value, its state at a rate, and the smallest visible change.

    `threshold` is the plain p up to which the adjustment says "found".
    """
    state: State = change.state
    if state != "too few to say":
        state = "found" if adjusted_p <= rate else "not found"
    estimate, is_score = change.change, metric_named(change.metric).kind == "score"
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
        adjusted_p=adjusted_p,
        smallest_visible=math.nan if is_score and visible > 1 else visible,
        state=state,
    )


def sort_key(change: GroupChange) -> tuple[int, float]:
    """Sorts found, not found, too few; of those found, the largest loss first."""
    rank = ("found", "not found", "too few to say").index(change.state)
    return rank, change.gain if change.state == "found" else -abs(change.gain)


def _pair_notes(
    pair: PairedAnswers | PairedNumbers,
    targets: tuple[str, str],
    names: tuple[str, str],
    resampling: Resample,
) -> Iterator[str]:
    """What a reader should know: images left out, other names, people unknown."""
    for name, count in ((names[0], pair.only_a), (names[1], pair.only_b)):
        if count:
            yield text.only_in(name, count)
    if pair.relabelled:
        yield text.relabelled(pair.relabelled)
    if has_row_ids(pair):
        yield text.PAIRED_BY_NUMBER
    if targets[0] != targets[1]:
        yield text.targets_differ(targets, names)
    if not resampling.by_person:
        yield text.COMPARED_WITHOUT_PEOPLE


def _extra_classes(a: Predictions, b: Predictions) -> Iterator[str]:
    if extra := {*a.classes} ^ {*b.classes}:
        yield text.classes_differ(sorted(extra))
