"""How much is luck: networks that differ in the seed alone, on the same images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from candid.arrays import BoolArray, FloatArray, IndexArray
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

    Raises PredictionsError where there are fewer than two, or they are not about the same images
    and labels.

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
    setting = _Setting(seeds, rules, evaluate, audit)
    return Seeds(
        target=first.target,
        classes=first.classes,
        seeds=tuple(seeds),
        splits=tuple(_compare_splits(predictions, setting)),
    )


def _compare_splits(predictions: Sequence[Predictions], setting: _Setting) -> Iterator[SeedSplit]:
    first = predictions[0]
    for split in SPLITS:
        rows = np.flatnonzero((first.label >= 0) & (first.split == split))
        if len(rows):
            yield _compare_split(split, [p[rows] for p in predictions], setting)


def _compare_split(split: Split, models: Sequence[Predictions], setting: _Setting) -> SeedSplit:
    base, config = models[0], setting.evaluate
    person, confidence = base.persons(), config.confidence
    answers = np.stack([p.prediction for p in models])  # (seeds, n)
    changing = (answers != answers[0]).any(axis=0)
    resampling = resample_persons(
        len(base), person, draws=config.draws, seed=config.seed, confidence=confidence
    )
    everyone = np.ones(len(base), np.bool_)
    disagreement = mean(_disagreement(answers, len(base.classes)), person, confidence=confidence)
    return SeedSplit(
        split=split,
        n=len(base),
        people=resampling.units if resampling.by_person else None,
        figures=_measure_figures(models, resampling),
        changing=share(changing, everyone, person, confidence),
        disagreement=_clip_share(disagreement),
        changing_people=_estimate_people(changing, resampling),
        groups=tuple(_groups(base, changing, setting)),
        abstention=tuple(_withheld(base, changing, setting)),
        images=tuple(_list_images(base, answers, changing, config.examples)),
        persons=tuple(_list_persons(base, changing)),
    )


def _disagreement(answers: IndexArray, classes: int) -> FloatArray:
    """(n,) the share of the pairs of (seeds, n) answers that differ, for each image."""
    seeds = len(answers)
    counts = np.stack([(answers == k).sum(axis=0) for k in range(classes)])
    agreeing = (counts * (counts - 1)).sum(axis=0)
    disagreement: FloatArray = 1 - agreeing / (seeds * (seeds - 1))
    return disagreement


def _clip_share(share: Estimate) -> Estimate:
    """Clip the interval of a mean of shares to 0 and 1."""
    return replace(share, low=max(0.0, share.low), high=min(1.0, share.high))


def _estimate_people(changing: BoolArray, resampling: Resample) -> Estimate | None:
    if not resampling.by_person:
        return None
    people, changed = resampling.units, resampling.count_units(changing)
    estimate = wilson_share(changed, people, resampling.confidence)
    return replace(estimate, n=len(changing), people=people)


# --- figures -------------------------------------------------------------------------------------


def _measure_figures(answers: Sequence[Predictions], resampling: Resample) -> dict[str, SeedFigure]:
    """Every figure with each seed, and over all of them."""
    hard = any(p.hard for p in answers)
    names = [n for n in FIGURES if not (hard and metric_named(n).needs_probability)]
    values: dict[str, list[float]] = {name: [] for name in names}
    total = {name: np.zeros(resampling.draws) for name in names}
    for p in answers:  # one after the other, so that memory does not grow with the seeds
        figures, replicates = _evaluate(p, resampling)
        for name in names:
            values[name].append(float(figures[name]))
            total[name] += replicates[name]
    return {name: _figure(name, values[name], total[name], resampling) for name in names}


def _evaluate(
    p: Predictions, resampling: Resample
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """The figures of one seed, and in every draw of the people."""
    k, row = len(p.classes), np.arange(len(p))
    cells = np.zeros((len(p), 3 * k + 2))
    cells[row, p.label] = 1
    cells[row, k + p.prediction] = 1
    right = np.flatnonzero(~p.wrong)
    cells[right, 2 * k + p.label[right]] = 1
    cells[:, -2] = metrics.brier_losses(p.label, p.probability)
    cells[:, -1] = metrics.log_losses(p.label, p.probability)

    def figures(sums: FloatArray) -> dict[str, FloatArray]:
        support, predicted, hits = sums[:, :k], sums[:, k : 2 * k], sums[:, 2 * k : 3 * k]
        n, has_images = support.sum(axis=1), support > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            recall = np.where(has_images, hits / support, 0.0).sum(axis=1)
            return {
                "weighted_f1": metrics.support_times_f1(hits, support, predicted).sum(axis=1) / n,
                "accuracy": hits.sum(axis=1) / n,
                "balanced_accuracy": recall / has_images.sum(axis=1),
                "log_loss": sums[:, -1] / n,
                "brier_score": sums[:, -2] / n,
            }

    return resampling.evaluate_sums(cells, figures)


def _figure(name: str, values: list[float], total: FloatArray, resampling: Resample) -> SeedFigure:
    seeds = len(values)
    draws = total / seeds
    return SeedFigure(
        values=tuple(values),
        mean=over_seeds_and_people(values, draws, metric_named(name).kind, resampling),
        spread=spread_over_seeds(values, len(resampling.unit), resampling.confidence),
        seeds_variance=float(np.var(values, ddof=1)) / seeds,
        people_variance=standard_error(draws, resampling.units) ** 2,
    )


# --- whose answers change ------------------------------------------------------------------------


def _groups(base: Predictions, changing: BoolArray, setting: _Setting) -> Iterator[GroupChanges]:
    """Each label and each value of each attribute; of two that mirror each other, the second."""
    names, inside, outside, confidence = [], [], [], setting.evaluate.confidence
    columns = [(base.target, base.classes, base.label)]
    columns += [(a.name, a.values, a.data) for a in base.with_bins().attributes.values()]
    for name, values, data in columns:
        if len(values) > max(setting.audit.most_values, 2):
            continue
        for code, value in enumerate(values):
            mask = data == code
            if not mask.any() or (len(values) == 2 and code == 0):
                continue
            names.append((name, value))
            inside.append(mask)
            outside.append((data >= 0) & ~mask)
    if not names:
        return
    members, rest = np.stack(inside, axis=1), np.stack(outside, axis=1)
    gaps = error_gaps(changing, members, rest, base.persons(), confidence)
    p = difference_p(gaps.left, gaps.right, gaps.correlation, score=True)
    large_enough = np.minimum(gaps.left.units, gaps.right.units) >= setting.audit.smallest
    adjusted = benjamini_hochberg(np.where(large_enough, p, np.nan))
    order = sorted(
        range(len(names)), key=lambda i: (not large_enough[i], np.nan_to_num(p[i], nan=2.0))
    )
    for i in order:
        state: State = "too few to say"
        if large_enough[i]:
            state = "found" if adjusted[i] <= setting.audit.false_discovery_rate else "not found"
        yield GroupChanges(
            *names[i],
            changing=share(changing & inside[i], inside[i], base.persons(), confidence),
            rest=share(changing & outside[i], outside[i], base.persons(), confidence),
            difference=_build_difference(gaps, i, base, confidence),
            p=float(p[i]),
            adjusted_p=float(adjusted[i]),
            state=state,
        )


def _build_difference(gaps: Gaps, i: int, base: Predictions, confidence: float) -> Estimate:
    by_person = base.persons() is not None
    return Estimate(
        float(gaps.value[i]),
        float(gaps.low[i]),
        float(gaps.high[i]),
        n=int(gaps.n[i]),
        method=f"Newcombe by {'person' if by_person else 'image'}",
        people=int(gaps.left.units[i]) if by_person else None,
        confidence=confidence,
    )


def _list_images(
    base: Predictions, answers: IndexArray, changing: BoolArray, limit: int
) -> Iterator[ChangingImage]:
    """The most divided first, of equals the surest ones."""
    rows = np.flatnonzero(changing)
    disagreement = _disagreement(answers[:, rows], len(base.classes))
    for i in rows[np.lexsort((base.ids[rows], -base.confidence[rows], -disagreement))][:limit]:
        codes, counts = np.unique(answers[:, i], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        person = None if base.person is None or base.person[i] < 0 else int(base.person[i])
        yield ChangingImage(
            base.example(i), person, {base.classes[codes[j]]: int(counts[j]) for j in order}
        )


def _list_persons(base: Predictions, changing: BoolArray) -> Iterator[ChangingPerson]:
    """The people with most such images first."""
    if base.person is None:
        return
    has_person = base.person >= 0
    persons, first, count = np.unique(
        base.person[has_person & changing], return_index=True, return_counts=True
    )
    rows = np.flatnonzero(has_person & changing)[first]
    for j in np.lexsort((persons, -count))[:_PERSONS]:
        n = int(np.count_nonzero(base.person == persons[j]))
        yield ChangingPerson(int(persons[j]), str(base.ids[rows[j]]), n, int(count[j]))


# --- abstention ----------------------------------------------------------------------------------


def _withheld(
    base: Predictions, changing: BoolArray, setting: _Setting
) -> Iterator[WithheldChanges]:
    """For each threshold, whether the answers that it withholds are those that change."""
    if base.hard:
        return
    person, confidence = base.persons(), setting.evaluate.confidence
    ranked = np.sort(base.confidence)
    tenth = float(ranked[math.ceil(_LEAST_SURE * len(ranked)) - 1])
    thresholds = [(r.target_error, r.threshold) for r in setting.rules]
    for target, threshold in [*thresholds, (math.nan, float(np.nextafter(tenth, 2)))]:
        unsure = base.confidence < threshold
        yield WithheldChanges(
            target_error=target,
            threshold=threshold,
            withheld=share(changing & unsure, unsure, person, confidence),
            given=share(changing & ~unsure, ~unsure, person, confidence),
            caught=share(unsure & changing, changing, person, confidence),
        )
