"""Two witnesses against a label: planted flips and swaps, beside cleanlab and brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from candid.auditing.label_check import check_labels, find_doubted_labels, person_agreement
from candid.auditing.label_noise import find_likely_wrong, label_quality
from candid.predictions import Predictions
from candid.records import from_plain, to_plain
from candid.records.label_check import LabelCheck
from candid.settings import CheckConfig, EvaluateConfig
from candid.text.label_check import check_lines

FEW = EvaluateConfig(draws=50)


def planted(seed, people=80, pictures=6, flipped=0.05, swapped=0.0, sharp=1.6):  # type: ignore[no-untyped-def]
    """A label of people; a model that is mostly right; which labels and whose names are wrong."""
    rng = np.random.default_rng(seed)
    n, person = people * pictures, np.repeat(np.arange(people), pictures)
    true = rng.integers(0, 2, people)[person]
    logit = rng.normal(np.where(true, sharp, -sharp), 1.3)
    flips = rng.random(n) < flipped
    swaps = ~flips & (rng.random(n) < swapped)
    other = [rng.choice(np.flatnonzero(true != k)) for k in true]
    p = Predictions.from_arrays(
        np.where(flips, 1 - true, true),
        1 / (1 + np.exp(-logit)),
        person=np.where(swaps, person[other], person),
        split=np.where(np.arange(n) % 5 < 4, "train", "test"),
        target="who",
    )
    return replace(p, out_of_fold=True), flips, swaps


def average_precision(ranked, bad) -> float:  # type: ignore[no-untyped-def]
    """Of a list that holds some of the rows: those that it lacks count as never found."""
    hits = bad[ranked]
    precision = np.cumsum(hits) / np.arange(1, len(ranked) + 1)
    return float((precision * hits).sum() / bad.sum())


@pytest.mark.parametrize("seed", range(4))
def test_two_witnesses_find_planted_flips_at_least_as_well_as_cleanlab(seed: int) -> None:
    filters = pytest.importorskip("cleanlab.filter")
    p, flips, _ = planted(seed, sharp=2.5)
    theirs = filters.find_label_issues(
        p.label.astype(int), p.probability, filter_by="confident_learning",
        return_indices_ranked_by="normalized_margin", n_jobs=1,
    )  # fmt: skip
    alone = find_doubted_labels(p, persons_count=False).wrong
    np.testing.assert_array_equal(alone, theirs)
    both = find_doubted_labels(p, persons_count=True).wrong
    before, now = average_precision(theirs, flips), average_precision(both, flips)
    assert now > before and now > 0.8
    assert now > 5 * flips.mean()  # which is what a list in any order would get
    assert flips[both[: int(1.5 * flips.sum())]].sum() >= 0.9 * flips.sum()


@pytest.mark.parametrize("seed", range(4))
def test_identity_swaps_stand_apart(seed: int) -> None:
    p, flips, swaps = planted(seed, flipped=0.03, swapped=0.03, sharp=3)
    found = find_doubted_labels(p, persons_count=True)
    assert swaps[found.by_person].mean() >= 0.9
    assert swaps[found.by_person].sum() >= 0.8 * swaps.sum()
    assert flips[found.by_both].mean() >= 0.9 and not swaps[found.by_both].sum() > 1


@pytest.mark.parametrize("seed", range(3))
def test_who_speaks_against_what_by_brute_force(seed: int) -> None:
    p, *_ = planted(seed, people=40, pictures=5, flipped=0.15, sharp=1)
    sure = set(find_likely_wrong(p.label, p.probability).tolist())
    both, model, person = set(), set(), set()
    for row in range(len(p)):
        theirs = p.label[p.person == p.person[row]]
        against = len(theirs) >= 3 and 2 * (theirs != p.label[row]).sum() > len(theirs)
        if against:
            (both if p.prediction[row] != p.label[row] else person).add(row)
        elif row in sure:
            model.add(row)
    found = find_doubted_labels(p, persons_count=True)
    assert both and model and person
    assert [set(x.tolist()) for x in (found.by_both, found.by_model, found.by_person)] == [
        both, model, person,
    ]  # fmt: skip
    margin = label_quality(p.label, p.probability)
    assert (np.diff(margin[found.by_both]) >= 0).all()
    assert (np.diff(margin[found.by_person]) <= 0).all()


def test_whom_the_person_s_pictures_support_comes_after_those_of_whom_nothing_is_known() -> None:
    p, *_ = planted(1, flipped=0.0)
    person = np.where(np.arange(len(p)) % 3 == 0, -1, p.person)
    found = find_doubted_labels(replace(p, person=person), persons_count=True).by_model
    known = person[found] >= 0
    assert 0 < known.sum() < len(known) and (np.diff(known.astype(int)) >= 0).all()
    margin = label_quality(p.label, p.probability)[found]
    for part in (known, ~known):
        assert (np.diff(margin[part]) >= 0).all()


def test_a_label_of_a_moment_lets_no_person_speak() -> None:
    p, *_ = planted(0)
    smile = np.random.default_rng(0).integers(0, 2, len(p)).astype(np.int16)
    found = check_labels(replace(p, label=smile), np.arange(len(p)) % 2, figures=FEW)
    assert found.person_agreement is not None and found.person_agreement.value < 0.8
    assert not found.persons_count and found.found_by_both == found.found_by_person == 0
    assert found.found_by_model == len(find_likely_wrong(smile, p.probability))
    assert any("too few to take their other pictures" in note for note in found.notes)
    assert "another person" not in "".join(check_lines(found, "x"))
    alone = replace(p, person=None)
    assert person_agreement(alone) is None
    assert not check_labels(alone, np.arange(len(p)) % 2, figures=FEW).persons_count


def test_the_record_has_every_figure_and_comes_back() -> None:
    p, flips, _ = planted(2, flipped=0.05, swapped=0.02, sharp=3)
    fold = (p.person % 4).astype(np.intp)  # type: ignore[operator]
    found = check_labels(p, fold, CheckConfig(listed=3), FEW)
    assert from_plain(LabelCheck, to_plain(found)) == found
    assert found.n == len(p) == sum(f.n for f in found.folds) == sum(found.of_split.values())
    assert [f.n for f in found.folds] == np.bincount(fold).tolist()
    right = (p.prediction == p.label).mean()
    assert found.accuracy.value == pytest.approx(right) and found.accuracy.people == found.people
    doubts = find_doubted_labels(p, persons_count=True)
    assert found.found_by_both == len(doubts.by_both) > 3 == len(found.by_both)
    assert [x.id for x in found.by_both] == p.ids[doubts.by_both[:3]].tolist()
    trained = p.split[doubts.wrong] == "train"
    assert found.wrong_in_split["train"] == trained.sum() > 0
    rate = found.noise.rate
    assert rate.low <= (flips.mean()) <= rate.high and found.noise.n == len(p)
    first = found.by_both[0]
    row = p.ids.tolist().index(first.id)
    mine = p.label[p.person == p.person[row]]
    assert first.others == len(mine) - 1
    assert first.agreeing == (mine == p.label[row]).sum() - 1
    assert first.person_label == first.answer != first.label
    said = list(check_lines(found, "runs/x"))
    assert any(
        line.startswith("confident learning takes about") and " to " in line for line in said
    )
    assert any(f"{first.id} (" in line for line in said) and said[-1].endswith("review runs/x")
    assert f"likely another person's picture: {found.found_by_person:,}" in said


def test_where_nobody_is_known_no_note_says_other_people() -> None:
    p, _, _ = planted(4, people=20)
    fold = (p.person % 4).astype(np.intp)  # type: ignore[operator]
    known = " ".join(check_labels(p, fold, None, FEW).notes)
    assert "learned from other people alone." in known
    unknown = " ".join(check_labels(replace(p, person=None), fold, None, FEW).notes)
    assert "other people alone" not in unknown
    assert "of which nobody knows whether they show the same person" in unknown
