"""Parts of a group's people, and what trainings on them say of how many more would halve a gap."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import candid
from candid.pipeline.growing import _CurveTrainer, _Group, build_curve
from candid.records import Estimate
from candid.records.collecting import CurvePoint
from candid.stats.learning_curve import fit_power_law

N = 90


@pytest.fixture(scope="module")
def growing():
    """Two images of each of thirty people, and thirty of people that nobody knows."""
    images = np.zeros((N, 4, 4, 3), np.uint8)
    person = [str(i // 2) if i < 60 else None for i in range(N)]
    label = ["a" if i % 4 < 2 else "b" for i in range(N)]
    dataset = candid.load_images(images, label, person=person)
    dataset = replace(dataset, split=np.full(N, "train"))
    run = SimpleNamespace(settings=SimpleNamespace(train=SimpleNamespace(seed=3)))
    retraining = SimpleNamespace(run=run, data=SimpleNamespace(dataset=dataset))
    return _CurveTrainer(retraining, None)


def test_parts_hold_whole_people_and_whoever_is_unknown_is_one_of_them(growing):
    group = _Group(None, np.ones(N, np.bool_), np.zeros(N, np.bool_))
    assert growing._count_people(group.inside) == 60
    before = np.zeros(N, np.bool_)
    for part in (0.25, 0.5, 1.0):
        kept = growing._select_images(group, part)
        assert growing._count_people(kept) == round(part * 60)
        assert (kept[:60:2] == kept[1:60:2]).all()  # both images of a person, or neither
        assert (kept | ~before).all()  # what smaller parts hold
        before = kept
    assert before.all()


def test_more_people_are_those_of_the_power_law():
    """error = 0.8 / √n: from 5% at 256 people, half of the way to 1% takes (0.8 / 0.03)²."""
    sizes = np.array([64.0, 128.0, 256.0, 256.0])
    n = 4000
    wrong = np.stack([np.arange(n) < round(n * 0.8 / np.sqrt(size)) for size in sizes])
    law = fit_power_law(sizes, wrong, draws=200)
    points = tuple(
        CurvePoint(int(size), 3 * int(size), 0, Estimate(float(w.mean()), 0.0, 1.0, n, "m"))
        for size, w in zip(sizes, wrong, strict=True)
    )
    condition = SimpleNamespace(attribute="Hat", value="yes")
    curve = build_curve(SimpleNamespace(conditions=(condition,), label=None), points, law, 0.01)
    assert curve.error == pytest.approx(0.05, rel=0.01) and curve.why == ""
    wanted = (0.8 / 0.03) ** 2 - 256
    assert curve.more_people.value == pytest.approx(wanted, rel=0.03)
    assert curve.more_people.low <= curve.more_people.value <= curve.more_people.high
    assert curve.more_images.value == pytest.approx(3 * curve.more_people.value)
