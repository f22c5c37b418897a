"""What decisions amount to, by hand and beside simulations with a known truth."""

from __future__ import annotations

import math

import numpy as np

from candid.records.review import Showing
from candid.reviewing.plan import plan_review
from candid.reviewing.summary import Review, summarise
from candid.reviewing.suspects import Suspects
from candid.stats.intervals import wilson
from candid.tables.corrections import Correction


def said(image, now, was="a", kind="label", blind=True, who="ann") -> Correction:  # type: ignore[no-untyped-def]
    return Correction(image, was, now, kind, who, "", 1.0, blind)


SHOWN = (
    Showing("s1", "likely wrong"),
    Showing("s2", "likely wrong"),
    Showing("d1", "decoy"),
    Showing("s3", "person"),
    Showing("d2", "decoy"),
    Showing("s1", "likely wrong", time=2),
    Showing("p", "copy", "q"),
)


def test_the_figures_by_hand() -> None:
    rows = [
        said("s1", "b"),
        said("s2", "a"),
        said("d1", "a"),
        said("s3", "b", blind=False),
        said("d2", "", kind="cannot say"),
        said("s1", "b"),
        said("q", "p", was="", kind="same image"),
        said("s1", "a", who="ben"),  # another's word
    ]
    s = summarise(Review(SHOWN, 100), rows, "ann")
    assert (s.decided, s.shown, s.suspected, s.unsuspected) == (7, 7, 3, 97)
    assert (s.suspects.value, s.suspects.n) == (0.5, 2)
    assert (s.suspects.low, s.suspects.high) == wilson(1, 2)
    assert (s.decoys.value, s.decoys.n) == (0.0, 1)
    assert (s.consistency.value, s.consistency.n) == (1.0, 1)
    assert (s.cannot_say, s.left_out, s.not_blind, s.copies, s.not_copies) == (1, 0, 1, 1, 0)
    assert [(r.why, r.judged, r.otherwise) for r in s.reasons] == [
        ("likely wrong", 2, 1), ("person", 0, 0),
    ]  # fmt: skip


def test_nothing_decided_is_undefined() -> None:
    s = summarise(Review(SHOWN, 100), [], "ann")
    assert s.decided == 0
    for figure in (s.suspects, s.decoys, s.labels, s.consistency):
        assert math.isnan(figure.value) and figure.n == 0


def test_all_labels_are_the_suspects_as_found_and_the_rest_as_the_decoys() -> None:
    shown = [Showing(f"s{i}", "person") for i in range(10)]
    shown += [Showing(f"d{i}", "decoy") for i in range(40)]
    rows = [said(f"s{i}", "b" if i < 7 else "a") for i in range(10)]
    rows += [said(f"d{i}", "b" if i < 2 else "a") for i in range(40)]
    s = summarise(Review(shown, 500), rows, "ann")
    low, high = wilson(2, 40)
    expected = [(7 + 490 * rate) / 500 for rate in (0.05, low, high)]
    assert np.allclose([s.labels.value, s.labels.low, s.labels.high], expected)
    # Suspects that are not judged: from the rate of the decoys to that of the others.
    part = summarise(Review(shown, 500), rows[3:], "ann")
    of_rest = [(4 / 7 + 0.05) / 2, low, wilson(4, 7)[1]]
    rates = zip(of_rest, (0.05, low, high), strict=True)
    expected = [(4 + 3 * rest + 490 * rate) / 500 for rest, rate in rates]
    assert np.allclose([part.labels.value, part.labels.low, part.labels.high], expected)


def test_the_interval_holds_the_true_rate() -> None:
    """Of 300 reviews of labels of which some are wrong, suspected or not."""
    held, times = 0, 300
    for seed in range(times):
        rng = np.random.default_rng(seed)
        n, rate = 3000, rng.uniform(0.03, 0.2)
        wrong = rng.random(n) < rate
        names = [f"i{k}" for k in range(n)]
        # The search finds half of the wrong labels, and as many right ones.
        chance = np.where(wrong, 0.5, rate / 2)
        some = {names[k]: "likely wrong" for k in np.flatnonzero(rng.random(n) < chance)}
        shown = plan_review(Suspects(some), names, seed=seed)  # type: ignore[arg-type]
        rows = [
            said(s.image, "b" if wrong[int(s.image[1:])] else "a") for s in shown if s.time == 1
        ]
        found = summarise(Review(shown, n), rows, "ann").labels
        held += found.low <= wrong.mean() <= found.high
    assert 0.92 <= held / times <= 0.99
