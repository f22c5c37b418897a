"""A contest of remedies against the run as it is: which groups each helps, and which one wins.

Every remedy answers each image by what was fitted and chosen without the image's person, and is
compared with the run as it is on the same images. What is aimed at is, by default, the group that
is worst off. Which group that is, is itself read off the other folds: a group that is last by bad
luck would look better under any other model. So the p-value of the gain, from a randomisation test
by person, holds whatever was chosen before; those of all remedies that could win go through
Benjamini and Hochberg together, and so do those of all groups under all remedies.

A remedy that trained anew is compared with the run trained again from another seed, too, and the
larger of both p-values is its own: it helps where it is better than either (an intersection-union
test: Berger, Technometrics 1982).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from candid.arrays import BoolArray
from candid.evaluation.comparison import compare_predictions
from candid.improvement.arena import Arena, Cell
from candid.improvement.remedies import Remedy
from candid.predictions import Predictions
from candid.records import Split, State
from candid.records.compare import Change, Comparison, GroupChange
from candid.records.improvement import Aim, CellAccuracy, CellCoverage, RemedyOutcome, TestLook
from candid.stats.intervals import mean, share
from candid.stats.multiple_testing import benjamini_hochberg

AS_IT_IS = "as it is"


@dataclass(frozen=True)
class Rules:
    """How remedies are compared.

    `alpha` is the false discovery rate, `draws` and `seed` are those of the intervals.
    """

    aim: Aim = "worst group"
    alpha: float = 0.05
    draws: int = 1000
    seed: int = 0


def hold_tournament(
    arena: Arena, remedies: Sequence[Remedy], rules: Rules
) -> tuple[tuple[RemedyOutcome, ...], str]:
    """What each remedy does, those that helped most first, and the winner's name ("": none helps).

    A remedy helps where the gain is beyond chance (of one that trained anew, over the control, too)
    and, where the worst group is aimed at, no other group is then worse off than that one was. Of
    those that help, the one that leaves the highest figure wins.
    """
    aimed = select_aimed(arena, rules.aim)
    control = next((r.after for r in remedies if r.kind == "another seed"), None)
    outcomes = [_build_outcome(arena, remedy, aimed, rules, control) for remedy in remedies]
    outcomes = _adjust_groups(outcomes, rules.alpha)
    outcomes = _decide_outcomes(outcomes, rules)
    ordered = sorted(outcomes, key=lambda o: (not o.eligible, -_aimed_figure(o, rules.aim)))
    helpful = [o.name for o in ordered if o.helps == "found"]
    return tuple(ordered), helpful[0] if helpful else ""


def select_aimed(arena: Arena, aim: Aim) -> BoolArray:
    """(n,) the images whose accuracy is to rise.

    For the worst group: in each fold those of the combination that is worst on the other folds.
    """
    everyone = np.ones(len(arena.before), np.bool_)
    cells = arena.large()
    if aim == "overall" or not cells:
        return everyone
    right, aimed = ~arena.before.wrong, ~everyone
    for k in range(int(arena.fold.max()) + 1):
        mask = arena.fold == k
        worst = min(cells, key=lambda c: _mean(right[c.mask & ~mask]))
        aimed |= worst.mask & mask
    return aimed


def _mean(right: BoolArray) -> float:
    return float(right.mean()) if len(right) else math.inf


def _build_outcome(
    arena: Arena, remedy: Remedy, aimed: BoolArray, rules: Rules, control: Predictions | None
) -> RemedyOutcome:
    before, after = arena.before, remedy.after
    comparison = _compare(arena, before, after, remedy.name, "validation", rules)
    aim = _compare(arena, before[aimed], after[aimed], remedy.name, "validation", rules).overall
    over_control = None
    if control is not None and remedy.trained and remedy.eligible:
        pair = control[aimed], after[aimed]
        over_control = _compare(arena, *pair, remedy.name, "validation", rules).overall
    cells = arena.large() or list(arena.cells())
    return RemedyOutcome(
        name=remedy.name,
        kind=remedy.kind,
        attribute=remedy.attribute,
        fitted_on=remedy.fitted_on,
        penalty=remedy.penalty,
        eligible=remedy.eligible,
        aim=aim,
        adjusted_p=math.nan,
        helps="not applicable",
        overall=comparison.overall,
        worst_before=find_worst(arena.accuracies(before, cells)),
        worst_after=find_worst(arena.accuracies(after, cells)),
        log_loss=_log_loss(before, after, arena.confidence),
        groups=(*comparison.classes_changed, *comparison.groups),
        coverage=_coverage(arena, cells, remedy.answered),
        beside_control=over_control,
    )


def _compare(
    arena: Arena, before: Predictions, after: Predictions, name: str, split: Split, rules: Rules
) -> Comparison:
    """The comparison of all images as of one split."""
    first, second = (replace(p, split=np.full(len(p), split)) for p in (before, after))
    return compare_predictions(
        first,
        second,
        names=(AS_IT_IS, name),
        split=split,
        draws=rules.draws,
        confidence=arena.confidence,
        seed=rules.seed,
        rate=rules.alpha,
        least=arena.smallest,
    )


def find_worst(cells: Sequence[CellAccuracy]) -> CellAccuracy:
    """The lowest accuracy; one that is undefined only where all are."""
    return min(cells, key=lambda c: c.accuracy.value if c.accuracy.n else math.inf)


def _log_loss(before: Predictions, after: Predictions, confidence: float) -> Change:
    rows = np.arange(len(before))
    tiny = np.finfo(np.float64).tiny
    loss_before, loss_after = (
        -np.log(np.maximum(p.probability[rows, before.label], tiny)) for p in (before, after)
    )
    difference = mean(loss_after - loss_before, before.persons(), confidence=confidence)
    return Change(float(loss_before.mean()), float(loss_after.mean()), difference)


def _coverage(
    arena: Arena, cells: Sequence[Cell], answered: BoolArray | None
) -> tuple[CellCoverage, ...]:
    if answered is None:
        return ()
    p = arena.before
    options: tuple[Any, float] = (p.persons(), arena.confidence)
    return tuple(
        CellCoverage(
            *c.key,
            share(answered & c.mask, c.mask, *options),
            share(p.wrong & answered & c.mask, answered & c.mask, *options),
        )
        for c in cells
    )


# --- what counts ---------------------------------------------------------------------------------


def _adjust_groups(outcomes: Sequence[RemedyOutcome], alpha: float) -> list[RemedyOutcome]:
    """The outcomes with the p-values of all groups under all remedies adjusted together."""
    groups = [g for o in outcomes for g in o.groups]
    tested = np.array([g.p if g.state != "too few to say" else math.nan for g in groups])
    adjusted_p = iter(benjamini_hochberg(tested))
    adjusted = []
    for outcome in outcomes:
        adjusted_groups = []
        for group in outcome.groups:
            p = float(next(adjusted_p))
            state: State = "found" if p <= alpha else "not found"
            state = "too few to say" if math.isnan(p) else state
            adjusted_groups.append(replace(group, adjusted_p=p, state=state))
        order = ("found", "not found", "too few to say")
        adjusted_groups.sort(key=lambda g: (order.index(g.state), -abs(g.change.value)))
        adjusted.append(replace(outcome, groups=tuple(adjusted_groups)))
    return adjusted


def _decide_outcomes(outcomes: Sequence[RemedyOutcome], rules: Rules) -> list[RemedyOutcome]:
    """The outcomes with whether each helps."""
    p = [np.max([c.p for c in _list_changes(o)]) if o.eligible else math.nan for o in outcomes]
    adjusted_p = benjamini_hochberg(np.array(p)).tolist()
    decided = []
    for outcome, adjusted in zip(outcomes, adjusted_p, strict=True):
        state: State = "not applicable"
        if outcome.eligible:
            helps = adjusted <= rules.alpha and _is_gain(outcome, rules.aim)
            state = "found" if helps else "not found"
        decided.append(replace(outcome, adjusted_p=adjusted, helps=state))
    return decided


def _list_changes(outcome: RemedyOutcome) -> list[GroupChange]:
    """The changes that must be gains: over the run, and over the control if there is one."""
    return [change for change in (outcome.aim, outcome.beside_control) if change is not None]


def _is_gain(outcome: RemedyOutcome, aim: Aim) -> bool:
    gain = all(change.change.value > 0 for change in _list_changes(outcome))
    if aim == "overall":
        return gain
    return gain and outcome.worst_after.accuracy.value > outcome.worst_before.accuracy.value


def _aimed_figure(outcome: RemedyOutcome, aim: Aim) -> float:
    if aim == "overall":
        return outcome.overall.metrics["accuracy"].b
    return outcome.worst_after.accuracy.value


# --- the one look at test ------------------------------------------------------------------------


def look_at_test(
    arena: Arena, before: Predictions, after: Predictions, name: str, rules: Rules
) -> TestLook:
    """What the winner does on test images, which had no part in choosing it or its group.

    `before` and `after` are of the same labelled images, with the attributes of the arena's.
    """
    large = {c.key for c in arena.large()}
    cells = [c for c in arena.cells(before) if not large or c.key in large]
    aimed = np.ones(len(before), np.bool_)
    if rules.aim == "worst group" and large:
        worst = find_worst(arena.accuracies(arena.before, arena.large()))
        matches = [c for c in cells if c.key == (worst.label, worst.attribute, worst.value)]
        aimed = matches[0].mask if matches and matches[0].mask.any() else aimed
    return TestLook(
        comparison=_compare(arena, before, after, name, "test", rules),
        aim=_compare(arena, before[aimed], after[aimed], name, "test", rules).overall,
        worst_before=find_worst(arena.accuracies(before, cells)),
        worst_after=find_worst(arena.accuracies(after, cells)),
    )
