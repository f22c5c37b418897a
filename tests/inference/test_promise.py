"""A promise is printed where it was made for such pictures, and nowhere else."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from candid.inference.abstaining import Rule
from candid.inference.promise import promise_here
from candid.inference.rows import Outcome
from candid.records.framing import CommonFrame

MADE = Rule(0.9, "At most 1% are wrong.", 0.01)


def tally(unlike, pictures=1000):
    reasons = {"unlike the training data": unlike, "not sure": 100} if unlike else {}
    abstained = sum(reasons.values())
    return Outcome(pictures, pictures, pictures - abstained, abstained, 0, reasons, {}, 0)


def labeller(rule, checked=3000):
    unfamiliar = SimpleNamespace(checked=checked, false_alarms=0.01) if checked else None
    model = SimpleNamespace(rule=rule, shift=None)
    return SimpleNamespace(classifier=model, unfamiliar=unfamiliar)


def test_at_home_the_promise_is_told_with_what_was_flagged():
    found = promise_here(labeller(MADE), tally(9))
    assert found.holds and found.unlike == 9 and found.pictures == 1000
    assert found.sentence.startswith(MADE.sentence)
    assert "9 of these 1,000 are unlike the training data" in found.sentence


@pytest.mark.parametrize("unlike", [40, 900])
def test_elsewhere_there_is_none(unlike):
    found = promise_here(labeller(MADE), tally(unlike))
    assert found.holds is False
    assert MADE.sentence not in found.sentence
    assert found.sentence.startswith(f"No promise: {unlike} of these 1,000")
    assert "at most 1.0% of pictures like the validation pictures" in found.sentence


def test_where_nobody_looks_or_nothing_is_promised():
    assert promise_here(labeller(MADE, checked=0), tally(0)).sentence == MADE.sentence
    assert promise_here(labeller(MADE, checked=0), tally(0)).holds is None
    assert promise_here(labeller(None), tally(500)).sentence == ""
    chosen = Rule(0.8, "Chosen by the user.")
    assert promise_here(labeller(chosen), tally(500)).sentence == chosen.sentence


HOME = CommonFrame((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), alike=True, far=0.02, pictures=256)
TIGHTER = replace(HOME, matrix=(1.9, 0.1, 0.0, -0.1, 1.9, -0.5))


def test_pictures_that_lie_otherwise_in_their_frame_get_none():
    found = promise_here(labeller(MADE), replace(tally(0), frame=TIGHTER))
    assert found.holds is False and MADE.sentence not in found.sentence
    assert found.sentence.startswith("No promise: most of these pictures show 0.53 times as much")
    assert "moved by 25% of it and turned by −3°" in found.sentence
    assert promise_here(labeller(MADE), replace(tally(0), frame=HOME)).holds


def test_a_calibration_s_promise_is_for_its_own_frame():
    some = labeller(MADE, checked=0)
    some.classifier.shift = object()
    assert promise_here(some, replace(tally(0), frame=TIGHTER)).sentence == MADE.sentence
