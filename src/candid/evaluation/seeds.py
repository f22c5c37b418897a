"""How much is luck: what networks that differ in the seed alone say of the same images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Floats, Marks
from candid.errors import PredictionsError
from candid.predictions import Predictions
from candid.records import SPLITS, Estimate, Split, State
from candid.records.abstention import AbstentionRule
from candid.records.metrics import metric_named
from candid.records.seeds import (
    ChangingImage,
    ChangingPerson,
    GroupChanges,
    SeedFigure,
    Seeds,
    SeedSplit,
    WithheldChanges,
)
from candid.settings import AuditConfig, EvaluateConfig
from candid.stats import metrics
from candid.stats.bootstrap import Resample, resample_persons, standard_error
from candid.stats.crossed import over_seeds_and_people, spread_over_seeds
from candid.stats.differences import Gaps, difference_p, error_gaps
from candid.stats.intervals import mean, share, wilson_share
from candid.stats.multiple_testing import benjamini_hochberg

# Those that follow from sums over images, so that a thousand draws are one product of matrices.
FIGURES = ("weighted_f1", "accuracy", "balanced_accuracy", "log_loss", "brier_score")
_LEAST_SURE = 0.1  # share of the images that stand in where no threshold was promised
_PERSONS = 20  # that are listed


@dataclass(frozen=True, eq=False)
class _Setting:
    seeds: Sequence[int]
    rules: Sequence[AbstentionRule]
    evaluate: EvaluateConfig
    audit: AuditConfig


def compare_seeds(
    predictions: Sequence[Predictions],
    seeds: Sequence[int],
    rules: Sequence[AbstentionRule],
    evaluate: EvaluateConfig,
    audit: AuditConfig,
) -> Seeds:
    """The figures over all seeds, and whose answers depend on the seed.

    Parameters
    ----------
    predictions
        With each seed, of the same images in the same order; the first is the run's own.
    seeds
        Their seeds.
    rules
        When the run had better not answer, as its audit found; none: only its least sure tenth.
    evaluate
        Draws, confidence, how many images are listed, seed of the draws.
    audit
        How many people a group needs, how many values an attribute may have, false discoveries.

    Raises
    ------
    PredictionsError
        Where there are fewer than two, or they are not about the same images and labels.
    """
    first = predictions[0] if predictions else None
    if first is None or len(predictions) < 2 or len(predictions) != len(seeds):
        raise PredictionsError(
            f"{len(predictions)} predictions of {len(seeds)} seeds cannot be compared.",
            expected="predictions with two seeds or more",
            todo="train with another seed",
        )
    for seed, other in zip(seeds, predictions, strict=True):
        alike = first.classes == other.classes and np.array_equal(first.ids, other.ids)
        if not (alike and np.array_equal(first.label, other.label)):
            raise PredictionsError(
                f"The predictions with seed {seed} are of other images or labels.",
                expected=f"the {len(first)} images of the run, in their order",
                todo=f"remove what was trained with seed {seed}",
            )
    how = _Setting(seeds, rules, evaluate, audit)
    return Seeds(
        target=first.target,
        classes=first.classes,
        seeds=tuple(seeds),
        splits=tuple(_splits(predictions, how)),
    )


def _splits(predictions: Sequence[Predictions], how: _Setting) -> Iterator[SeedSplit]:
    first = predictions[0]
    for split in SPLITS:
        rows = np.flatnonzero((first.label >= 0) & (first.split == split))
        if len(rows):
            yield _split(split, [p[rows] for p in predictions], how)


def _split(split: Split, answers: Sequence[Predictions], how: _Setting) -> SeedSplit:
    own, sure = answers[0], how.evaluate.confidence
    person = own.persons()
    said = np.stack([p.prediction for p in answers])  # (seeds, n)
    changing = (said != said[0]).any(axis=0)
    drawing = resample_persons(
        len(own), person, draws=how.evaluate.draws, seed=how.evaluate.seed, confidence=sure
    )
    everyone = np.ones(len(own), np.bool_)
    return SeedSplit(
        split=split,
        n=len(own),
        people=drawing.units if drawing.by_person else None,
        figures=_figures(answers, drawing),
        changing=share(changing, everyone, person, sure),
        disagreement=_within(mean(_divided(said, len(own.classes)), person, confidence=sure)),
        changing_people=_people(changing, drawing),
        groups=tuple(_groups(own, changing, how)),
        abstention=tuple(_withheld(own, changing, how)),
        images=tuple(_images(own, said, changing, how.evaluate.examples)),
        persons=tuple(_persons(own, changing)),
    )


def _divided(said: NDArray[np.intp], classes: int) -> Floats:
    """(n,) the share of the pairs of (seeds, n) answers that differ, for each image."""
    seeds = len(said)
    counts = np.stack([(said == k).sum(axis=0) for k in range(classes)])
    alike = (counts * (counts - 1)).sum(axis=0)
    divided: Floats = 1 - alike / (seeds * (seeds - 1))
    return divided


def _within(share: Estimate) -> Estimate:
    """A mean of shares, whose interval knows no bounds, within those of a share."""
    return replace(share, low=max(0.0, share.low), high=min(1.0, share.high))


def _people(changing: Marks, drawing: Resample) -> Estimate | None:
    if not drawing.by_person:
        return None
    found = wilson_share(drawing.units_in(changing), drawing.units, drawing.confidence)
    return replace(found, n=len(changing), people=drawing.units)


# --- figures -------------------------------------------------------------------------------------


def _figures(answers: Sequence[Predictions], drawing: Resample) -> dict[str, SeedFigure]:
    """Every figure with each seed, and over all of them."""
    hard = any(p.hard for p in answers)
    names = [n for n in FIGURES if not (hard and metric_named(n).needs_probability)]
    values: dict[str, list[float]] = {name: [] for name in names}
    total = {name: np.zeros(drawing.draws) for name in names}
    for p in answers:  # one after the other, so that memory does not grow with the seeds
        found, drawn = _drawn(p, drawing)
        for name in names:
            values[name].append(float(found[name]))
            total[name] += drawn[name]
    return {name: _figure(name, values[name], total[name], drawing) for name in names}


def _drawn(p: Predictions, drawing: Resample) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The figures of one seed, and in every draw of the people."""
    k = len(p.classes)
    row = np.arange(len(p))
    cells = np.zeros((len(p), 3 * k + 2))
    cells[row, p.label] = 1
    cells[row, k + p.prediction] = 1
    right = np.flatnonzero(~p.wrong)
    cells[right, 2 * k + p.label[right]] = 1
    truth = np.zeros_like(p.probability)
    truth[row, p.label] = 1
    squares = np.square(p.probability - truth).sum(axis=1)
    cells[:, -2] = squares / 2 if k == 2 else squares
    eps = np.finfo(np.float64).eps
    cells[:, -1] = -np.log(np.clip(p.probability[row, p.label], eps, 1 - eps))

    def figures(sums: Floats) -> dict[str, Floats]:
        support, predicted, hits = sums[:, :k], sums[:, k : 2 * k], sums[:, 2 * k : 3 * k]
        n, there = support.sum(axis=1), support > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            recall = np.where(there, hits / support, 0.0).sum(axis=1)
            return {
                "weighted_f1": metrics.support_times_f1(hits, support, predicted).sum(axis=1) / n,
                "accuracy": hits.sum(axis=1) / n,
                "balanced_accuracy": recall / there.sum(axis=1),
                "log_loss": sums[:, -1] / n,
                "brier_score": sums[:, -2] / n,
            }

    return drawing.of_sums(cells, figures)


def _figure(name: str, values: Sequence[float], total: Floats, drawing: Resample) -> SeedFigure:
    seeds = len(values)
    draws = total / seeds
    return SeedFigure(
        values=tuple(values),
        mean=over_seeds_and_people(values, draws, metric_named(name).kind, drawing),
        spread=spread_over_seeds(values, len(drawing.unit), drawing.confidence),
        seeds_variance=float(np.var(values, ddof=1)) / seeds,
        people_variance=standard_error(draws, drawing.units) ** 2,
    )


# --- whose answers change ------------------------------------------------------------------------


def _groups(own: Predictions, changing: Marks, how: _Setting) -> Iterator[GroupChanges]:
    """Each label and each value of each attribute; of two that mirror each other, the second."""
    names, inside, outside, sure = [], [], [], how.evaluate.confidence
    columns = [(own.target, own.classes, own.label)]
    columns += [(a.name, a.values, a.data) for a in own.with_bins().attributes.values()]
    for name, values, data in columns:
        if len(values) > max(how.audit.most_values, 2):
            continue
        for code, value in enumerate(values):
            there = data == code
            if not there.any() or (len(values) == 2 and code == 0):
                continue
            names.append((name, value))
            inside.append(there)
            outside.append((data >= 0) & ~there)
    if not names:
        return
    gaps = error_gaps(changing, np.stack(inside, 1), np.stack(outside, 1), own.persons(), sure)
    p = difference_p(gaps.left, gaps.right, gaps.correlation, score=True)
    enough = np.minimum(gaps.left.units, gaps.right.units) >= how.audit.smallest
    adjusted = benjamini_hochberg(np.where(enough, p, np.nan))
    order = sorted(range(len(names)), key=lambda i: (not enough[i], np.nan_to_num(p[i], nan=2.0)))
    for i in order:
        state: State = "too few to say"
        if enough[i]:
            state = "found" if adjusted[i] <= how.audit.false_discovery_rate else "not found"
        yield GroupChanges(
            *names[i],
            changing=share(changing & inside[i], inside[i], own.persons(), sure),
            rest=share(changing & outside[i], outside[i], own.persons(), sure),
            difference=_difference(gaps, i, own, sure),
            p=float(p[i]),
            adjusted_p=float(adjusted[i]),
            state=state,
        )


def _difference(gaps: Gaps, i: int, own: Predictions, confidence: float) -> Estimate:
    known = own.persons() is not None
    return Estimate(
        float(gaps.value[i]),
        float(gaps.low[i]),
        float(gaps.high[i]),
        n=int(gaps.n[i]),
        method=f"Newcombe by {'person' if known else 'image'}",
        people=int(gaps.left.units[i]) if known else None,
        confidence=confidence,
    )


def _images(
    own: Predictions, said: NDArray[np.intp], changing: Marks, most: int
) -> Iterator[ChangingImage]:
    """The most divided first, of equals the surest ones."""
    rows = np.flatnonzero(changing)
    divided = _divided(said[:, rows], len(own.classes))
    for i in rows[np.lexsort((own.ids[rows], -own.confidence[rows], -divided))][:most]:
        codes, counts = np.unique(said[:, i], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        person = None if own.person is None or own.person[i] < 0 else int(own.person[i])
        yield ChangingImage(
            own.example(i), person, {own.classes[codes[j]]: int(counts[j]) for j in order}
        )


def _persons(own: Predictions, changing: Marks) -> Iterator[ChangingPerson]:
    """The people with most such images first."""
    if own.person is None:
        return
    known = own.person >= 0
    who, first, count = np.unique(
        own.person[known & changing], return_index=True, return_counts=True
    )
    rows = np.flatnonzero(known & changing)[first]
    for j in np.lexsort((who, -count))[:_PERSONS]:
        n = int(np.count_nonzero(own.person == who[j]))
        yield ChangingPerson(int(who[j]), str(own.ids[rows[j]]), n, int(count[j]))


# --- abstention ----------------------------------------------------------------------------------


def _withheld(own: Predictions, changing: Marks, how: _Setting) -> Iterator[WithheldChanges]:
    """Of each threshold, whether what it withholds are the answers that change."""
    if own.hard:
        return
    person, sure = own.persons(), how.evaluate.confidence
    ranked = np.sort(own.confidence)
    tenth = float(ranked[math.ceil(_LEAST_SURE * len(ranked)) - 1])
    thresholds = [(r.target_error, r.threshold) for r in how.rules]
    for target, threshold in [*thresholds, (math.nan, float(np.nextafter(tenth, 2)))]:
        unsure = own.confidence < threshold
        yield WithheldChanges(
            target_error=target,
            threshold=threshold,
            withheld=share(changing & unsure, unsure, person, sure),
            given=share(changing & ~unsure, ~unsure, person, sure),
            caught=share(unsure & changing, changing, person, sure),
        )
