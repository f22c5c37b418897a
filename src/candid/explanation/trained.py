"""A trained model explained: over a data set, in single pictures, and from inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from candid.arrays import Floats
from candid.data.dataset import Dataset
from candid.data.store import Store
from candid.data.targets import in_ranges
from candid.errors import DataError
from candid.explanation.assembly import explain_network, explain_number
from candid.explanation.attribution import saliency_maps
from candid.explanation.drawing import ExplainedPicture
from candid.explanation.filters import weight_pictures
from candid.explanation.hidden import layers_of, watched
from candid.explanation.numbers import NumberFacts
from candid.explanation.region_sources import regions_of
from candid.explanation.sample import sample_of
from candid.explanation.scoring import scoring
from candid.explanation.units import Faces, Nearest, Prepare
from candid.explanation.units import look_inside as look
from candid.models.forward import Images
from candid.models.outputs import ExpectedValue
from candid.predictions import Predictions
from candid.records import ModelCard, Split
from candid.records.explanation import Explanation, ExplanationArrays
from candid.records.inside import WEIGHTS_ARRAY, Inside, Neighbour
from candid.settings import Config, ExplainConfig
from candid.table import drawn_rows
from candid.tables.numbers import numbers_of
from candid.text import number as text

_MOST_TRAINING = 10_000  # training images among which those nearest to others are sought
_NEAREST = 5


def explain_dataset(
    network: nn.Module,
    card: ModelCard,
    dataset: Dataset,
    store: Store,
    config: Config,
    *,
    bfloat16: bool = False,
    quiet: bool = True,
) -> tuple[Explanation, ExplanationArrays]:
    """What a network looks at in `explain.images` images of `explain.split`, drawn at random.

    A DataError where the split holds no labelled images.
    """
    how = config.explain
    rows = _sampled(dataset, store, how)
    regions, note = regions_of(dataset, store, rows, config)
    record, arrays = explain_network(
        network,
        store.pixels[rows],
        classes=card.classes,
        **_annotated(dataset, rows),
        regions=regions,
        mean=card.mean,
        std=card.std,
        config=how,
        target=card.target,
        bfloat16=bfloat16,
        flip_tta=card.flip_tta,
        quiet=quiet,
    )
    return _with_source(record, how, note), arrays


def explain_number_dataset(
    network: nn.Module,
    card: ModelCard,
    dataset: Dataset,
    store: Store,
    config: Config,
    read: Callable[[Floats], tuple[Floats, Floats, Floats]],
    tolerance: float,
    *,
    bfloat16: bool = False,
    quiet: bool = True,
) -> tuple[Explanation, ExplanationArrays]:
    """As `explain_dataset` of a number: what raises and lowers the mean of its distribution.

    `read` makes of distributions (n, bins) the value and the ends of its interval; `tolerance` is
    how far off it may be to count as near.
    """
    if card.number is None:
        raise ValueError(f"{card.target!r} is no number")
    how = config.explain
    rows = _sampled(dataset, store, how)
    regions, note = regions_of(dataset, store, rows, config)
    ranges, pixels = in_ranges(dataset), store.pixels[rows]
    sample = sample_of(
        pixels, ranges.classes, card.target, card.mean, card.std, **_annotated(ranges, rows)
    )
    with scoring(
        network, batch_size=how.batch_size, bfloat16=bfloat16, flip_tta=card.flip_tta
    ) as scorer:
        logits = scorer.all_logits(sample.tensor()).double().cpu()
    facts = NumberFacts(
        numbers_of(dataset.classes)[dataset.label[rows]],
        *read(logits.softmax(1).numpy()),
        median=card.number.median,
        tolerance=tolerance,
    )
    record, arrays = explain_number(
        ExpectedValue(network, card.number.centres),
        sample,
        facts,
        regions=regions,
        config=how,
        bfloat16=bfloat16,
        flip_tta=card.flip_tta,
        quiet=quiet,
    )
    return _with_source(record, how, note), arrays


def _annotated(dataset: Dataset, rows: NDArray[np.intp]) -> dict[str, Any]:
    """What was written about some of the images."""
    return {
        "label": dataset.label[rows],
        "person": None if dataset.person is None else dataset.person[rows],
        "ids": dataset.ids[rows],
        "attributes": {name: a[rows] for name, a in dataset.attributes.items()},
    }


def _with_source(record: Explanation, how: ExplainConfig, note: str) -> Explanation:
    """The record with where its images come from, and what is to be known of its regions."""
    notes = (note, *record.notes) if note else record.notes
    return replace(record, split=how.split, notes=notes)


def _sampled(dataset: Dataset, store: Store, how: ExplainConfig) -> NDArray[np.intp]:
    """The rows that are explained."""
    rows = dataset.rows(how.split, store.usable)
    if not len(rows):
        raise DataError(
            f"The split {how.split!r} of {dataset.name} holds no labelled images.",
            expected="images to explain",
            todo="set explain.split",
        )
    return _some(rows, how.images, how.seed)


def _some(rows: NDArray[np.intp], most: int, seed: int) -> NDArray[np.intp]:
    """At most so many of the rows, drawn at random, in their order; 0: all."""
    return drawn_rows(rows, most, np.random.default_rng(seed)) if most > 0 else rows


def explained_pictures(
    network: nn.Module,
    card: ModelCard,
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    config: ExplainConfig,
    badges: dict[str, str],
) -> list[ExplainedPicture]:
    """The answer to each of some named pictures (side, side, 3), and its maps by every method."""
    images, probability = _answered(network, card, pictures)
    answers = probability.argmax(1)
    maps = _maps(network, card, images, answers, config)
    return [
        ExplainedPicture(
            name=name,
            pixels=each,
            prediction=card.classes[answers[i]],
            probability=float(probability[i, answers[i]]),
            maps={method: made[i] for method, made in maps.items()},
            badges={method: badges.get(method, "") for method in maps},
        )
        for i, (name, each) in enumerate(pictures)
    ]


def explained_numbers(
    network: nn.Module,
    card: ModelCard,
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    config: ExplainConfig,
    read: Callable[[Floats], tuple[Floats, Floats, Floats]],
    badges: dict[str, str],
) -> list[ExplainedPicture]:
    """As `explained_pictures` of a number: its value in each, and what raises and lowers it.

    What is explained is the mean of the distribution that the network gives (n, bins), in the
    number's own unit; `read` makes of distributions the value and the ends of its interval.
    """
    if card.number is None:
        raise ValueError(f"{card.target!r} is no number")
    images, probability = _answered(network, card, pictures)
    expected = ExpectedValue(network, card.number.centres)
    maps = _maps(expected, card, images, np.ones(len(images), np.intp), config)
    return [
        ExplainedPicture(
            name=name,
            pixels=each,
            prediction=text.value_with_interval(value, low, high),
            probability=math.nan,
            maps={method: made[i] for method, made in maps.items()},
            badges={method: badges.get(method, "") for method in maps},
            number=(float(value), float(low), float(high)),
        )
        for i, ((name, each), value, low, high) in enumerate(
            zip(pictures, *read(probability), strict=True)
        )
    ]


def _answered(
    network: nn.Module, card: ModelCard, pictures: Sequence[tuple[str, NDArray[np.uint8]]]
) -> tuple[torch.Tensor, Floats]:
    """The pictures as the network takes them, and (n, classes) what it says of them."""
    pixels = np.stack([each for _, each in pictures])
    images = sample_of(pixels, mean=card.mean, std=card.std).tensor()
    with scoring(network, flip_tta=card.flip_tta) as scorer:
        logits = scorer.all_logits(images).double().cpu()
    probability: Floats = (logits / card.temperature).softmax(1).numpy()
    return images, probability


def _maps(
    network: nn.Module,
    card: ModelCard,
    images: torch.Tensor,
    explained: NDArray[np.intp],
    config: ExplainConfig,
) -> dict[str, NDArray[np.float32]]:
    """By method, (n, side, side)."""
    return {
        method: saliency_maps(
            network, images, explained, method=method, config=config, flip_tta=card.flip_tta
        )
        for method in config.methods
    }


def look_into(
    network: nn.Module,
    card: ModelCard,
    dataset: Dataset,
    store: Store,
    known: Predictions | None,
    *,
    split: Split = "validation",
    most_training: int = _MOST_TRAINING,
    bfloat16: bool = False,
    quiet: bool = True,
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    """Look into a network over a split: units, and mistakes beside `most_training` training images.

    Mistakes are what the `known` predictions call so, where they have the whole split.
    """
    device, prepare = _prepared(network, card)

    def faces(name: Split, most: int = 0) -> Faces:
        return _faces(dataset, store, _some(dataset.rows(name, store.usable), most, 0))

    shown = faces(split)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        record, arrays = look(
            network,
            shown,
            faces("train", most_training),
            prepare,
            classes=dataset.classes,
            temperature=card.temperature,
            probabilities=None if known is None else _probabilities(known, shown.ids),
            batch_size=128,
            quiet=quiet,
        )
        titles, pictures = weight_pictures(network, dataset.classes, card.side)
    if titles:
        return replace(record, weights=titles), arrays | {WEIGHTS_ARRAY: pictures}
    return record, arrays


def _faces(dataset: Dataset, store: Store, rows: NDArray[np.intp]) -> Faces:
    labels = [dataset.classes[i] for i in dataset.label[rows]]
    return Faces(store.pixels, rows, [str(id) for id in dataset.ids[rows]], labels)


def _prepared(network: nn.Module, card: ModelCard) -> tuple[torch.device, Prepare]:
    """The network's device, and what makes of pixels what it takes."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))

    def prepare(pixels: NDArray[np.uint8]) -> torch.Tensor:
        batch = Images(pixels, card.mean, card.std).batch(np.arange(len(pixels)), device)
        return batch.contiguous(memory_format=torch.channels_last)  # as the weights are

    return device, prepare


def nearest_in_training(
    network: nn.Module,
    card: ModelCard,
    dataset: Dataset,
    store: Store,
    rows: NDArray[np.intp],
    *,
    bfloat16: bool = False,
    wanted: Callable[[], bool] = lambda: True,
) -> dict[str, tuple[Neighbour, ...]]:
    """The training images nearest to each of some others, by what goes into the classifier.

    They are of 10,000 labelled ones, drawn at random, and none of the `rows` themselves.
    Before each batch it is asked whether they are still `wanted`; where not, there are none.
    A ConfigError where the network has no hidden layer.
    """
    device, prepare = _prepared(network, card)
    others = np.setdiff1d(dataset.rows("train", store.usable), rows)
    training = _faces(dataset, store, _some(others, _MOST_TRAINING, 0))
    if not len(rows) or not len(others):
        return {}
    # Of the rows, too, that nobody labelled.
    asked = Faces(store.pixels, rows, dataset.ids[rows].tolist(), [""] * len(rows))
    layers = layers_of(network, prepare(store.pixels[rows[:4]]))
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=bfloat16),
        watched(network, layers) as look,
    ):
        each = [look(batch).hidden for _, batch in asked.batches(prepare, 128)]
        alike = Nearest(torch.cat(each), _NEAREST)
        for start, batch in training.batches(prepare, 128):
            if not wanted():
                return {}
            alike.add(start, look(batch).hidden)
    return {name: alike.of(i, training) for i, name in enumerate(asked.ids)}


def _probabilities(known: Predictions, ids: Sequence[str]) -> NDArray[np.float64] | None:
    """What is known of these images; None where nothing is of some of them."""
    place = {id: i for i, id in enumerate(known.ids.tolist())}
    if not all(id in place for id in ids):
        return None
    return known.probability[[place[id] for id in ids]]
