"""Streams of pictures held against validation pictures: what is scored, watched, kept and said."""

import json
import math
import threading
from dataclasses import replace

import numpy as np
import pytest

from candid.errors import RunError
from candid.inference.abstaining import Rule
from candid.inference.classifier import Classifier, Framed
from candid.inference.classify import Labeller
from candid.inference.drift import (
    DriftWatch,
    JobDriftWatch,
    drift_scores,
    fit_reference,
    read_reference,
    score_names,
    write_reference,
)
from candid.inference.label_file import label_to_file
from candid.inference.promise import describe_drift, promise_here
from candid.inference.sources import Item
from candid.records import ModelCard
from inference.tiny import CLASSES, SIDE, encoded

NAMES = ("sharpness", "confidence", "p_yes")
PROMISE = Rule(0.0, "At most 1% are wrong.", 0.01)


def red(batch):
    """A model that can be worked out by hand: "yes" is as probable as the picture is red."""
    share = batch[..., 0].mean((1, 2)) / 255
    return np.stack([1 - share, share], 1).astype(np.float32)


red.name = "by hand"


def labeller(rule=None, **more):
    card = ModelCard(
        "plain", {}, "Hat", CLASSES, SIDE, (0, 0, 0), (1, 1, 1), 1.0, 0, 0, (), 1, "last"
    )
    return Labeller(Classifier(card, "stretch", 10_000, rule, red), **more)


def pictures(n, *, seed, redder=0, coarse=4):
    """(n, side, side, 3): blocks of even colour; fewer blocks are less sharp."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256 - redder, (n, 1, 1, 3))
    fine = rng.integers(0, 40, (n, coarse, coarse, 3))
    base[..., 0] += redder
    each = SIDE // coarse
    return np.clip(base + fine.repeat(each, 1).repeat(each, 2), 0, 255).astype(np.uint8)


def scores_of(pixels):
    framed = Framed(pixels, np.zeros((len(pixels), 3, 3), np.float32), np.ones(len(pixels), bool))
    return drift_scores(framed, red(pixels).astype(np.float64), None)


@pytest.fixture(scope="module")
def reference():
    return fit_reference(NAMES, scores_of(pictures(3000, seed=0)), None)


def items(*parts):
    every = [p for part in parts for p in part]
    return [Item(f"{i}.png", lambda p=p: encoded(p), False) for i, p in enumerate(every)]


# --- scores --------------------------------------------------------------------------------------


def test_scores_are_what_they_are_called():
    model = labeller().classifier
    assert score_names(model, None) == NAMES
    pixels = pictures(5, seed=1)
    found = scores_of(pixels)
    probability = red(pixels)
    assert found[:, 1] == pytest.approx(probability.max(1), abs=1e-6)
    assert found[:, 2] == pytest.approx(probability[:, 1], abs=1e-6)
    for picture, sharpness in zip(pixels[..., 1].astype(float), found[:, 0], strict=True):
        energy = [
            (4 * picture[y, x] - picture[y - 1, x] - picture[y + 1, x]
             - picture[y, x - 1] - picture[y, x + 1]) ** 2
            for y in range(1, SIDE - 1) for x in range(1, SIDE - 1)
        ]  # fmt: skip
        expected = math.log((np.mean(energy) + 1) / (picture.var() + 1))
        assert sharpness == pytest.approx(expected, abs=1e-5)


def test_what_frames_and_what_tells_strange_pictures_add_their_scores(monkeypatch):
    model = labeller().classifier
    framed = replace(model, framer=red)
    assert score_names(framed, object()) == ("distance", "frame", *NAMES)
    pixels, rest = pictures(3, seed=1), np.array([0.0, 1.0, 2.0], np.float32)
    seen = Framed(pixels, np.zeros((3, 3, 3), np.float32), np.ones(3, bool), rest)
    found = drift_scores(seen, red(pixels).astype(np.float64), np.array([7.0, 8.0, 9.0]))
    assert found[:, :2].tolist() == [[7, 0], [8, 1], [9, 2]]


def test_a_prediction_bears_scores_only_where_somebody_wants_them(reference):
    def scores(some):
        crops = [crop for item in items(pictures(2, seed=1)) for crop in some.crops(item.read())]
        return [answer.scores for answer in some.answers(crops)]

    expected = scores_of(pictures(2, seed=1)).tolist()
    assert scores(labeller()) == [[], []]
    assert scores(labeller(with_scores=True)) == scores(labeller(reference=reference)) == expected


# --- watching ------------------------------------------------------------------------------------


def test_an_alarm_comes_once_and_says_what_has_changed(reference):
    watch = DriftWatch(reference)
    assert not watch.add(scores_of(pictures(2000, seed=2)))
    assert watch.state.after is None and watch.state.change == ""
    raised = [watch.add(scores_of(pictures(50, seed=s, coarse=2))) for s in range(3, 13)]
    assert sum(raised) == 1
    state = watch.state
    assert 2000 < state.after <= 2500 == state.pictures
    assert state.change == "the sharpness is lower"
    assert state.log_capital > state.log_limit


def test_groups_that_come_in_other_shares_are_seen_and_several_threads_may_tell(reference):
    watch, raised = DriftWatch(reference), []

    def tell(seed):
        for part in np.split(scores_of(pictures(600, seed=seed, redder=120)), 60):
            raised.append(watch.add(part))

    threads = [threading.Thread(target=tell, args=(seed,)) for seed in range(20, 24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(raised) == 1 and len(raised) == 240
    assert watch.state.pictures == 2400
    assert watch.state.change == "the probability of yes is higher"


def test_sorted_pictures_of_home_are_home(reference):
    home = scores_of(pictures(4000, seed=5))
    by_group = home[np.argsort(home[:, 2])]
    watch = JobDriftWatch(reference)
    for block in np.split(by_group, 100):
        watch.add([*block.tolist(), []])  # a picture that could not be read has no scores
    found = watch.end()
    assert found.drawn.pictures == found.ordered.pictures == 4000
    assert found.ordered.after is not None and found.drawn.after is None
    assert JobDriftWatch(reference).end() is None


# --- jobs ----------------------------------------------------------------------------------------


def job(tmp_path, some, given, **options):
    return label_to_file(some, given, tmp_path / "out.csv", "csv", {"job": 1}, **options)


def test_a_job_says_that_its_promise_does_not_hold(reference, tmp_path):
    some = labeller(PROMISE, reference=reference)
    tally = job(tmp_path, some, items(pictures(300, seed=6), pictures(900, seed=7, redder=150)))
    assert 300 < tally.drift.ordered.after <= 1200
    assert tally.drift.drawn.after is not None
    found = promise_here(some, tally)
    assert found.holds is False and PROMISE.sentence not in found.sentence
    assert found.sentence.startswith("No promise: the pictures are not like the validation")
    assert "the probability of yes is higher" in found.sentence
    assert f"in their order it showed after {tally.drift.ordered.after:,}" in describe_drift(tally)


def test_a_job_at_home_keeps_its_promise(reference, tmp_path):
    some = labeller(PROMISE, reference=reference)
    tally = job(tmp_path, some, items(pictures(800, seed=8)))
    assert promise_here(some, tally).sentence == PROMISE.sentence
    assert describe_drift(tally) == "drift: none seen in 800 pictures"
    few = labeller(PROMISE, reference=fit_reference(NAMES, scores_of(pictures(9, seed=0)), None))
    tally = job(tmp_path, few, items(pictures(60, seed=8, redder=200)), force=True)
    assert describe_drift(tally) == "drift: the validation pictures are too few to tell"
    nobody = job(tmp_path, labeller(PROMISE), items(pictures(3, seed=8)), force=True)
    assert nobody.drift is None and describe_drift(nobody) == ""


def test_a_sorted_job_keeps_its_promise_and_says_so(reference, tmp_path):
    home = pictures(1500, seed=9)
    some = labeller(PROMISE, reference=reference)
    tally = job(tmp_path, some, items(home[np.argsort(home[..., 0].mean((1, 2)))]))
    assert promise_here(some, tally).sentence == PROMISE.sentence
    assert "together are like the validation pictures, but not in their order" in describe_drift(
        tally
    )


def test_a_job_that_goes_on_finds_what_one_that_was_not_stopped_finds(reference, tmp_path):
    given = items(pictures(400, seed=10), pictures(600, seed=11, redder=100))
    some = labeller(PROMISE, reference=reference)
    whole = job(tmp_path, some, given)

    def stopped():
        yield from given[:500]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job(tmp_path, some, stopped(), force=True)
    resumed = job(tmp_path, some, given, force=True)
    assert 0 < resumed.resumed < 1000
    assert resumed.drift == whole.drift
    assert json.dumps(resumed.drift.drawn.after)


# --- as a file -----------------------------------------------------------------------------------


def test_what_was_written_is_read_again(reference, tmp_path):
    path, model = tmp_path / "drift.npz", labeller().classifier
    assert read_reference(path, model, None) is None
    write_reference(path, reference)
    again = read_reference(path, model, None)
    assert again.names == NAMES and again.pictures == 3000
    for name in ("scores", "low", "high"):
        assert np.array_equal(getattr(again.home, name), getattr(reference.home, name))
    assert read_reference(path, model, object()) is None  # scores that it does not hold
    assert read_reference(path, replace(model, made_from="another"), None) is None
    quantised = replace(model, _engine=type("Int8", (), {"name": "int8"})())
    assert read_reference(path, quantised, None) is None


@pytest.mark.parametrize("damage", ["cut", "format", "shapes", "limits"])
def test_a_damaged_file_is_an_error(reference, tmp_path, damage):
    path = tmp_path / "drift.npz"
    write_reference(path, reference)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    else:
        with np.load(path) as file:
            arrays = dict(file)
        arrays |= {
            "format": {"format": np.int64(99)},
            "shapes": {"low": np.zeros((9, 9))},
            "limits": {"high": np.zeros_like(arrays["high"])},
        }[damage]
        np.savez(path, **arrays)
    with pytest.raises(RunError):
        read_reference(path, labeller().classifier, None)
