"""Explanations of a trained model: over a data set, and for single images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from candid.arrays import FloatArray
from candid.data.dataset import Dataset
from candid.data.store import Store
from candid.data.targets import cut_into_ranges
from candid.errors import DataError
from candid.explanation.assembly import explain_network, explain_number
from candid.explanation.attribution import saliency_maps
from candid.explanation.drawing import ExplainedPicture
from candid.explanation.numbers import NumberFacts
from candid.explanation.region_sources import load_regions
from candid.explanation.sample import make_sample
from candid.explanation.scoring import scoring
from candid.models.outputs import ExpectedValue
from candid.records import ModelCard
from candid.records.explanation import Explanation, ExplanationArrays
from candid.settings import Config, ExplainConfig
from candid.table import sample_rows
from candid.tables.numbers import to_numbers
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
    """Explain a network on `explain.images` images of `explain.split`, drawn at random.

    Raises DataError where the split has no labelled images.
    """
    explain = config.explain
    rows = _draw_rows(dataset, store, explain)
    regions, note = load_regions(dataset, store, rows, config)
    record, arrays = explain_network(
        network,
        store.pixels[rows],
        classes=card.classes,
        **_annotations(dataset, rows),
        regions=regions,
        mean=card.mean,
        std=card.std,
        config=explain,
        target=card.target,
        bfloat16=bfloat16,
        flip_tta=card.flip_tta,
        quiet=quiet,
    )
    return _with_source(record, explain, note), arrays


def explain_number_dataset(
    network: nn.Module,
    card: ModelCard,
    dataset: Dataset,
    store: Store,
    config: Config,
    read: Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]],
    tolerance: float,
    *,
    bfloat16: bool = False,
    quiet: bool = True,
) -> tuple[Explanation, ExplanationArrays]:
    """`explain_dataset` for a number: what raises and lowers the mean of its distribution.

    `read` maps distributions (n, bins) to values and the ends of their intervals; `tolerance` is
    the largest error that counts as near.
    """
    if card.number is None:
        raise ValueError(f"{card.target!r} is no number")
    explain = config.explain
    rows = _draw_rows(dataset, store, explain)
    regions, note = load_regions(dataset, store, rows, config)
    ranges, pixels = cut_into_ranges(dataset), store.pixels[rows]
    sample = make_sample(
        pixels, ranges.classes, card.target, card.mean, card.std, **_annotations(ranges, rows)
    )
    with scoring(
        network, batch_size=explain.batch_size, bfloat16=bfloat16, flip_tta=card.flip_tta
    ) as scorer:
        logits = scorer.all_logits(sample.tensor()).double().cpu()
    facts = NumberFacts(
        to_numbers(dataset.classes)[dataset.label[rows]],
        *read(logits.softmax(1).numpy()),
        median=card.number.median,
        tolerance=tolerance,
    )
    record, arrays = explain_number(
        ExpectedValue(network, card.number.centres),
        sample,
        facts,
        regions=regions,
        config=explain,
        bfloat16=bfloat16,
        flip_tta=card.flip_tta,
        quiet=quiet,
    )
    return _with_source(record, explain, note), arrays


def _annotations(dataset: Dataset, rows: NDArray[np.intp]) -> dict[str, Any]:
    """The annotations of some images."""
    return {
        "label": dataset.label[rows],
        "person": None if dataset.person is None else dataset.person[rows],
        "ids": dataset.ids[rows],
        "attributes": {name: a[rows] for name, a in dataset.attributes.items()},
    }


def _with_source(record: Explanation, explain: ExplainConfig, note: str) -> Explanation:
    """The record with the split of its images, and the note on its regions."""
    notes = (note, *record.notes) if note else record.notes
    return replace(record, split=explain.split, notes=notes)


def _draw_rows(dataset: Dataset, store: Store, explain: ExplainConfig) -> NDArray[np.intp]:
    """The rows to explain."""
    rows = dataset.rows(explain.split, store.usable)
    if not len(rows):
        raise DataError(
            f"The split {explain.split!r} of {dataset.name} holds no labelled images.",
            expected="images to explain",
            todo="set explain.split",
        )
    return sample_rows(rows, explain.images or len(rows), np.random.default_rng(explain.seed))


def explained_pictures(
    network: nn.Module,
    card: ModelCard,
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    config: ExplainConfig,
    badges: dict[str, str],
) -> list[ExplainedPicture]:
    """The answer for each named image (side, side, 3), and its maps by every method."""
    images, probability = _predict(network, card, pictures)
    answers = probability.argmax(1)
    maps = _make_maps(network, card, images, answers, config)
    return [
        ExplainedPicture(
            name=name,
            pixels=pixels,
            prediction=card.classes[answers[i]],
            probability=float(probability[i, answers[i]]),
            maps={method: method_maps[i] for method, method_maps in maps.items()},
            badges={method: badges.get(method, "") for method in maps},
        )
        for i, (name, pixels) in enumerate(pictures)
    ]


def explained_numbers(
    network: nn.Module,
    card: ModelCard,
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    config: ExplainConfig,
    read: Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]],
    badges: dict[str, str],
) -> list[ExplainedPicture]:
    """`explained_pictures` for a number: its value in each image, and what raises and lowers it.

    The mean of the network's distribution (n, bins) is explained, in the number's own unit; `read`
    maps distributions to values and the ends of their intervals.
    """
    if card.number is None:
        raise ValueError(f"{card.target!r} is no number")
    images, probability = _predict(network, card, pictures)
    expected = ExpectedValue(network, card.number.centres)
    maps = _make_maps(expected, card, images, np.ones(len(images), np.intp), config)
    return [
        ExplainedPicture(
            name=name,
            pixels=pixels,
            prediction=text.value_with_interval(value, low, high),
            probability=math.nan,
            maps={method: method_maps[i] for method, method_maps in maps.items()},
            badges={method: badges.get(method, "") for method in maps},
            number=(float(value), float(low), float(high)),
        )
        for i, ((name, pixels), value, low, high) in enumerate(
            zip(pictures, *read(probability), strict=True)
        )
    ]


def _predict(
    network: nn.Module, card: ModelCard, pictures: Sequence[tuple[str, NDArray[np.uint8]]]
) -> tuple[torch.Tensor, FloatArray]:
    """The images as the network takes them, and its probabilities (n, classes)."""
    pixels = np.stack([picture for _, picture in pictures])
    images = make_sample(pixels, mean=card.mean, std=card.std).tensor()
    with scoring(network, flip_tta=card.flip_tta) as scorer:
        logits = scorer.all_logits(images).double().cpu()
    probability: FloatArray = (logits / card.temperature).softmax(1).numpy()
    return images, probability


def _make_maps(
    network: nn.Module,
    card: ModelCard,
    images: torch.Tensor,
    explained: NDArray[np.intp],
    config: ExplainConfig,
) -> dict[str, NDArray[np.float32]]:
    """(n, side, side) maps by method."""
    return {
        method: saliency_maps(
            network, images, explained, method=method, config=config, flip_tta=card.flip_tta
        )
        for method in config.methods
    }
