"""What a run's network sees: aligned pictures in which one knows where the labels stand."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import candid
from candid.data.dataset import Dataset
from candid.models.forward import Images
from candid.pipeline.views import choose_window
from candid.records import ModelCard, read_record, write_record
from candid.records.model import MOST_LOST, TriedViews
from candid.text.window import view_sentence
from candid.training import views
from candid.training.state import Task
from candid.training.window import face_windows

SIDE = 32
NAMES = ("middle", "brow", "below", "nothing")
QUICK = (
    f"data.side={SIDE}", "data.workers=1", "train.steps=300", "train.batch_size=48",
    "train.evaluations=1", "train.threads=1", "framing.steps=0", "network.width=8",
)  # fmt: skip


def aligned(n: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise around one pattern, and labels: its middle, its brow, what is below it, a coin."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, (n, 4))
    pixels = rng.integers(0, 256, (n, SIDE, SIDE, 3)).astype(float)
    half = rng.integers(0, 160, (20, 8, 3))
    pattern = np.concatenate([half, half[:, ::-1]], axis=1)
    pixels[:, 6:26, 8:24] = pattern + rng.normal(0, 10, (n, 20, 16, 3))
    pixels[label[:, 0] == 1, 15:19, 13:19] += 90
    pixels[label[:, 1] == 1, 6:8, 9:23] += 90
    pixels[label[:, 2] == 1, 28:] += 120
    pixels[label[:, 2] == 0, 28:] -= 120
    return pixels.clip(0, 255).astype(np.uint8), label


def task_of(*columns: int) -> Task:
    pixels, label = aligned()
    label = label[:, columns].astype(np.int16)
    sizes = (2,) * len(columns) if len(columns) > 1 else ()
    images = Images(pixels, (0.5,) * 3, (0.3,) * 3)
    train, validation = np.arange(500), np.arange(500, 900)
    return Task(
        images, label if sizes else label[:, 0], 2 * len(columns), train, validation, sizes=sizes
    )


def named(columns: tuple[int, ...]) -> Dataset:
    """The data set of `task_of`: what its labels and classes are called."""
    pixels, label = aligned()
    first, *more = columns
    groups = {NAMES[c]: label[:, c] for c in more}
    split = np.repeat(["train", "validation"], [500, 400])
    faces = candid.load_images(
        pixels, label[:, first], target=NAMES[first], groups=groups or None, split=split
    )
    return dataclasses.replace(faces, further_targets=tuple(groups))


def seen(*columns: int, window: str = "auto", steps: int = 300):
    config = candid.load_config(
        overrides=[*QUICK, f'network.window="{window}"', f"train.steps={steps}"]
    )
    found = choose_window(task_of(*columns), config, named(columns), quiet=True)
    return found.config.network.window, found.views


def test_the_smallest_part_that_tells_the_label_is_seen():
    inner, face = face_windows(task_of(0).images, np.arange(500))
    window, views = seen(0)
    assert window == inner
    assert [(v.window, v.target, v.n) for v in views] == [
        (inner, "middle", 400), (face, "middle", 400)
    ]  # fmt: skip
    assert views[0].suffices and views[0].high <= 0.05 and views[0].part < 0.4 < views[0].base
    assert seen(1)[0] == face  # the brow is cut off
    assert seen(2)[0] == ""  # what stands below is not the face's


def test_nothing_is_left_out_where_nothing_is_known():
    window, views = seen(3)
    assert window == "" and all(np.isnan(view.high) for view in views)
    assert seen(0, steps=4) == ("", ())  # too short to try anything


def test_one_label_that_needs_more_decides_for_all():
    window, views = seen(0, 2)
    assert window == ""
    assert {v.target for v in views if v.suffices} == {"middle"}
    assert {v.target for v in views if not v.suffices} == {"below"}


def test_a_rare_class_that_needs_more_decides_for_all():
    """Of a hundredth of the images, which hardly move the mean: a class that stands below."""
    pixels, label = aligned(3000)
    rare = np.random.default_rng(1).random(3000) < 0.01
    many = 4 * label[:, 0] + 2 * label[:, 1] + np.arange(3000) % 2
    pixels[np.arange(3000) % 2 == 1, 19:22, 10:22] //= 4  # a third mark in the face
    pixels[:, 28:] = 128
    pixels[rare, 28:] = 255
    config = candid.load_config(overrides=[*QUICK, 'network.window="auto"', "train.steps=600"])
    images, sets = Images(pixels, (0.5,) * 3, (0.3,) * 3), (np.arange(2000), np.arange(2000, 3000))
    names = tuple("abcdefgh")
    without = choose_window(Task(images, many.astype(np.int16), 8, *sets), config, quiet=True)
    assert without.config.network.window and not without.views[-1].lost_class
    words = np.where(rare, "rare", np.array(names)[many])
    split = np.repeat(["train", "validation"], [2000, 1000])
    faces = candid.load_images(pixels, words, target="Kind", split=split)
    task = Task(images, faces.label, 9, *sets)
    found = choose_window(task, config, faces, quiet=True)
    face = found.views[-1]
    assert found.config.network.window == ""
    assert face.lost_class == "rare" and face.high <= MOST_LOST
    card = SimpleNamespace(options={}, views=[face])
    assert "more than 25% of what the whole tells of those labelled “rare”" in view_sentence(card)


def test_of_a_label_that_is_hardly_told_yet_nothing_is_left_out():
    """The middle tells four fifths; what decides the others may be small, and learned late."""
    pixels, label = aligned(3000)
    flipped = np.random.default_rng(2).random(3000) < 0.2
    config = candid.load_config(overrides=[*QUICK, 'network.window="auto"', "train.steps=600"])
    images, sets = Images(pixels, (0.5,) * 3, (0.3,) * 3), (np.arange(2000), np.arange(2000, 3000))
    task = Task(images, (label[:, 0] ^ flipped).astype(np.int16), 2, *sets)
    found = choose_window(task, config, quiet=True)
    assert found.config.network.window == ""
    assert all(
        0.1 < v.skill < 0.3 and v.high <= MOST_LOST and not v.lost_class for v in found.views
    )
    assert "told too little" in view_sentence(SimpleNamespace(options={}, views=found.views))


def test_what_is_named_is_not_tried():
    face = face_windows(task_of(0).images, np.arange(500))[1]
    assert seen(2, window="face") == (face, ())
    assert seen(2, window="0.1 0.2 0.9 1") == ("0.1 0.2 0.9 1", ())
    assert seen(0, window="") == ("", ())


def test_a_training_that_goes_on_sees_what_it_saw(tmp_path, monkeypatch):
    """Whatever a trial would say on the machine where it goes on."""
    pixels, label = aligned()
    split = np.repeat(["train", "validation"], [500, 400])
    faces = candid.load_images(pixels, label[:, 0], target="Middle", split=split)
    config = candid.load_config(overrides=QUICK)
    run = candid.train(faces, config, out=tmp_path / "run", cache=tmp_path / "cache")
    card = read_record(run.model_file, ModelCard)
    run.model_file.unlink()  # as if it was killed before it was done
    monkeypatch.setattr(views, "view_losses", lambda *args, **how: pytest.fail("tried again"))
    candid.train(faces, config, resume=run.path, cache=tmp_path / "cache")
    assert read_record(run.model_file, ModelCard) == card and card.views
    # What a machine that chose otherwise would have written down.
    lost = dataclasses.replace(card.views[0], high=0.06)
    write_record(run.views, TriedViews((lost, *card.views[1:])))
    found = choose_window(task_of(0), config, record=run.views)
    assert found.config.network.window == card.views[1].window


def test_a_check_of_labels_finds_the_part_once_for_all_folds(tmp_path, monkeypatch):
    pixels, label = aligned()
    faces = candid.load_images(pixels, label[:, 0], target="Middle", split=None)
    calls, known = [], views.view_losses
    monkeypatch.setattr(
        views, "view_losses", lambda *args, **how: calls.append(1) or known(*args, **how)
    )
    words = [*QUICK, "check.folds=2", "check.steps=20", "evaluate.draws=50"]
    config = candid.load_config(overrides=words)
    cache = tmp_path / "cache"
    candid.check(faces, config, out=tmp_path / "check", cache=cache)
    assert len(calls) == 1
    found = read_record(tmp_path / "check/checkpoint/views.json", TriedViews)
    assert found.views[0].suffices


def test_a_run_says_what_it_sees_and_hands_it_on(tmp_path):
    pixels, label = aligned()
    split = np.repeat(["train", "validation"], [500, 400])
    faces = candid.load_images(pixels, label[:, 0], target="Middle", split=split)
    config = candid.load_config(overrides=QUICK)
    run = candid.train(faces, config, out=tmp_path / "run", cache=tmp_path / "cache")
    card = read_record(run.model_file, ModelCard)
    inner = card.views[0].window
    assert card.options["window"] == inner and card.views[0].suffices
    assert run.settings.network.window == "auto"  # as it was asked for
    left, top, right, bottom = (round(100 * float(edge)) for edge in inner.split())
    said = view_sentence(card)
    assert f"from {left}% to {right}% of its width and from {top}% to {bottom}% of its" in said
    train = dataclasses.replace(config.train, initial=str(run.path), steps=10)
    again = dataclasses.replace(config, train=train)
    more = candid.train(faces, again, out=tmp_path / "more", cache=tmp_path / "cache")
    taken = read_record(more.model_file, ModelCard)
    assert taken.options["window"] == inner and taken.views == ()


@pytest.mark.parametrize("trials", [1, 3])
def test_a_search_finds_the_part_once_for_all_trials(tmp_path, monkeypatch, trials):
    pixels, label = aligned()
    faces = candid.load_images(
        pixels, label[:, 0], target="Middle", split=np.repeat(["train", "validation"], [500, 400])
    )
    calls = []
    known = views.view_losses
    monkeypatch.setattr(
        views, "view_losses", lambda *args, **how: calls.append(1) or known(*args, **how)
    )
    search = 'tune.search=["train.optimizer=adam,sgd"]'
    words = [*QUICK, f"tune.trials={trials}", "tune.seeds=0", search, "train.steps=40"]
    config = candid.load_config(overrides=[*words, "explain.images=0", "evaluate.draws=50"])
    candid.tune(faces, config, out=tmp_path / "study", cache=tmp_path / "cache")
    assert len(calls) == 2  # for the search, and for the run of the winner
