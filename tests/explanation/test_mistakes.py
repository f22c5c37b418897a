"""Which mistakes are shown, and which training images they resemble."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn

from candid.errors import ConfigError
from candid.explanation.faces import Faces
from candid.explanation.mistakes import Nearest, NumberOutputs, class_neighbours
from candid.explanation.units import look_inside
from candid.records import from_plain, to_plain
from candid.records.inside import Inside
from explanation.hidden_networks import CLASSES, Patches, Small, everything, faces, made, prepare
from explanation.test_unit_weights import NUMBER, aged, looked, read, telling_ages


@pytest.fixture(params=[Small, Patches])
def network(request: pytest.FixtureRequest) -> nn.Module:
    return telling_ages(request.param)


def test_no_direction_is_near_none_and_none_is_near_it() -> None:
    nearest = Nearest(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), 3)
    nearest.add(0, torch.tensor([[0.0, 0.0], [-1.0, 0.0], [1.0, 1.0]]))
    training = Faces(np.zeros((3, 2, 2, 3), np.uint8), np.arange(3), ["a", "b", "c"], ["no"] * 3)
    assert class_neighbours(nearest, 0, training) == ()
    found = class_neighbours(nearest, 1, training)
    assert [n.id for n in found] == ["c", "b"]
    assert [n.similarity for n in found] == pytest.approx([math.sqrt(0.5), -1])


@pytest.mark.parametrize("batch_size", [3, 50])
def test_mistakes_of_a_number_are_those_of_brute_force(network: nn.Module, batch_size: int) -> None:
    images, training = aged(40, 5), aged(50, 6, "t")
    record, arrays = look_inside(
        network, images, training, prepare,
        number=NUMBER, temperature=2.5, most_mistakes=6, neighbours=4, batch_size=batch_size,
    )  # fmt: skip
    _, hidden, logits = everything(network, images, "head")
    taught = everything(network, training, "head")[1]
    predicted, low, high = read((logits.double() / 2.5).softmax(1).numpy())
    off = np.abs(predicted - np.array(images.labels))
    order = np.argsort(-off, kind="stable")[:6]
    assert record.number is not None and record.number.tolerance == 5
    assert record.mistakes == (off > 5).sum() > 6
    assert record.training_n == 50 and record.resemblances == ()
    found = record.number.resemblances
    assert [r.id for r in found] == [images.ids[i] for i in order]
    assert [r.value for r in found] == [images.labels[i] for i in order]
    for name, column in (("predicted", predicted), ("low", low), ("high", high)):
        np.testing.assert_allclose([getattr(r, name) for r in found], column[order], rtol=1e-5)
    cosine = cosine_similarity(hidden[order].numpy(), taught.numpy())
    for r, row in zip(found, cosine, strict=True):
        near = np.argsort(-row, kind="stable")[:4]
        assert [n.id for n in r.neighbours] == [training.ids[j] for j in near]
        assert [n.value for n in r.neighbours] == [training.labels[j] for j in near]
        np.testing.assert_allclose([n.similarity for n in r.neighbours], row[near], atol=1e-5)
    shown = {r.id for r in found} | {n.id for r in found for n in r.neighbours}
    assert shown <= set(record.faces) and len(record.faces) == len(arrays["faces"])
    first = record.faces.index(found[0].id)
    assert (arrays["faces"][first] == images.pixels[images.rows[order[0]]]).all()


def test_known_predictions_decide_what_is_far_off(network: nn.Module) -> None:
    images = aged(20, 5)
    rng = np.random.default_rng(0)
    said = np.array(images.labels) + rng.normal(0, 10, 20)
    known = (said, said - 2, said + rng.uniform(0, 9, 20))
    record = looked(network, images, number=replace(NUMBER, known=known), batch_size=6)
    off = np.abs(said - np.array(images.labels))
    assert record.number is not None and record.mistakes == (off > 5).sum() < 20
    order = np.argsort(-off)[: min(12, record.mistakes)]
    assert [r.id for r in record.number.resemblances] == [images.ids[i] for i in order]
    for r, i in zip(record.number.resemblances, order, strict=True):
        assert (r.predicted, r.low, r.high) == tuple(x[i] for x in known)


def test_where_all_are_near_there_is_no_resemblance(network: nn.Module) -> None:
    record = looked(network, aged(10, 1), number=replace(NUMBER, tolerance=100.0))
    assert record.number is not None and record.number.resemblances == ()
    assert (record.mistakes, record.training_n) == (0, 0)


def test_a_number_off_by_exactly_what_is_near_is_no_mistake(network: nn.Module) -> None:
    images = replace(aged(4, 1), labels=[10.0, 20.0, 30.0, 40.0])
    said = np.array([15.0, 14.0, 30.0, 45.5])
    record = looked(network, images, number=replace(NUMBER, known=(said, said, said)))
    assert record.number is not None
    assert [r.id for r in record.number.resemblances] == ["v1", "v3"]


def test_a_file_has_a_number_or_none() -> None:
    record = looked(telling_ages(Small), aged(30, 1))
    back = from_plain(Inside, to_plain(record))
    assert back.number == record.number and back.worst == record.worst
    assert back.units[0].raises == record.units[0].raises
    classes, _ = look_inside(made(Small), faces(9, 1), faces(8, 2, "t"), prepare, classes=CLASSES)
    assert "number" not in to_plain(classes)
    assert from_plain(Inside, to_plain(classes)).worst == classes.resemblances


def test_bad_input_is_refused_with_what_to_do(network: nn.Module) -> None:
    images = aged(6, 1)
    for who, changed, word in (
        (images, {"number": None}, "Nothing says"),
        (images, {"classes": CLASSES}, "two things do"),
        (images, {"probabilities": np.zeros((6, 6))}, "two things do"),
        (replace(images, labels=["no"] * 6), {}, "The label 'no' is no number"),
        (replace(images, labels=[1, 2, math.nan, 4, 5, 6]), {}, "The label nan is no number"),
        (images, {"number": NumberOutputs((1.0, 2.0), read, 5)}, "6 numbers per image for 2 bins"),
        (images, {"number": replace(NUMBER, known=(np.zeros(5),) * 3)}, "5, 5, 5 predictions"),
    ):
        with pytest.raises(ConfigError, match=word) as caught:
            looked(network, who, **changed)
        assert caught.value.expected and caught.value.todo
