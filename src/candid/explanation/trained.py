"""A trained model explained: over a data set, and in single pictures."""

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
from candid.explanation.numbers import NumberFacts
from candid.explanation.region_sources import regions_of
from candid.explanation.sample import sample_of
from candid.explanation.scoring import scoring
from candid.models.outputs import ExpectedValue
from candid.records import ModelCard
from candid.records.explanation import Explanation, ExplanationArrays
from candid.settings import Config, ExplainConfig
from candid.table import drawn_rows
from candid.tables.numbers import numbers_of
from candid.text import number as text


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
    return drawn_rows(rows, how.images or len(rows), np.random.default_rng(how.seed))


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
