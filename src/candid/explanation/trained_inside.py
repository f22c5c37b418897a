"""The inside of a trained model: its units, its mistakes, and the nearest training images."""

from __future__ import annotations

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
from candid.explanation.faces import Faces, Prepare
from candid.explanation.filters import weight_images
from candid.explanation.hidden import find_layers, recording
from candid.explanation.mistakes import Nearest, NumberOutputs, class_neighbours
from candid.explanation.units import look_inside
from candid.models.forward import Images
from candid.predictions import Predictions
from candid.predictions.numbers import NumberPredictions
from candid.records import ModelCard
from candid.records.inside import WEIGHTS_ARRAY, Inside, Neighbour
from candid.table import sample_rows
from candid.tables.numbers import to_numbers

_MAX_TRAINING = 10_000  # training images to search for the nearest
_NEIGHBOURS = 5


def look_into(
    network: nn.Module,
    card: ModelCard,
    dataset: Dataset,
    store: Store,
    known: Predictions | None,
    *,
    most_training: int = _MAX_TRAINING,
    bfloat16: bool = False,
    quiet: bool = True,
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    """Look into a network on validation: units, and mistakes with their nearest training images.

    The latter are searched among `most_training`, drawn at random; 0: all. Mistakes are those of
    the `known` predictions, where these have the whole split.
    """
    validation, training = _load_faces(dataset, store, most_training)
    indices = None if known is None else _find_rows(known.ids, validation.ids)
    record, arrays = _look(
        network,
        card,
        validation,
        training,
        bfloat16,
        classes=dataset.classes,
        probabilities=None if known is None or indices is None else known.probability[indices],
        quiet=quiet,
    )
    titles, pictures = weight_images(network, dataset.classes, card.side)
    if titles:
        return replace(record, weights=titles), arrays | {WEIGHTS_ARRAY: pictures}
    return record, arrays


def look_into_number(
    network: nn.Module,
    card: ModelCard,
    dataset: Dataset,
    store: Store,
    known: NumberPredictions | None,
    read: Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]],
    tolerance: float,
    *,
    most_training: int = _MAX_TRAINING,
    bfloat16: bool = False,
    quiet: bool = True,
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    """`look_into` for a number; mistakes are predictions with an error above `tolerance`.

    `read` maps distributions (n, bins) to values and the ends of their intervals.
    """
    if card.number is None:
        raise ValueError(f"{card.target!r} is no number")
    validation, training = _load_faces(dataset, store, most_training)
    indices = None if known is None else _find_rows(known.ids, validation.ids)
    outputs = None
    if known is not None and indices is not None:
        outputs = (known.predicted[indices], known.low[indices], known.high[indices])
    number = NumberOutputs(card.number.centres, read, tolerance, outputs)
    return _look(network, card, validation, training, bfloat16, number=number, quiet=quiet)


def _look(
    network: nn.Module,
    card: ModelCard,
    validation: Faces,
    training: Faces,
    bfloat16: bool,
    **kwargs: Any,
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    device, prepare = _make_prepare(network, card)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        return look_inside(
            *(network, validation, training, prepare),
            temperature=card.temperature,
            batch_size=128,
            **kwargs,
        )


def _load_faces(dataset: Dataset, store: Store, most: int) -> tuple[Faces, Faces]:
    """The images of validation, and at most `most` of train."""
    validation, train = (dataset.rows(name, store.usable) for name in ("validation", "train"))
    return _faces(dataset, store, validation), _faces(dataset, store, _sample_rows(train, most))


def _sample_rows(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most `most` of the rows, drawn at random, in their order; 0: all."""
    return sample_rows(rows, most or len(rows), np.random.default_rng(0))


def _faces(dataset: Dataset, store: Store, rows: NDArray[np.intp]) -> Faces:
    """The images of rows with their classes, or their numbers."""
    words = [dataset.classes[i] for i in dataset.label[rows]]
    labels = to_numbers(words).tolist() if dataset.is_number else words
    return Faces(store.pixels, rows, [str(id) for id in dataset.ids[rows]], labels)


def _find_rows(known: NDArray[np.str_], ids: Sequence[str]) -> list[int] | None:
    """The index of each id in `known`; None where one is missing."""
    index = {id: i for i, id in enumerate(known.tolist())}
    return [index[id] for id in ids] if all(id in index for id in ids) else None


def _make_prepare(network: nn.Module, card: ModelCard) -> tuple[torch.device, Prepare]:
    """The network's device, and a function from pixels to its input."""
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
    """The training images nearest to each of some others, in the classifier's input.

    They are among 10,000 labelled ones, drawn at random, without the `rows` themselves. Empty if
    `wanted` returns False before a batch. Raises ConfigError where the network has no hidden layer.
    """
    device, prepare = _make_prepare(network, card)
    others = np.setdiff1d(dataset.rows("train", store.usable), rows)
    training = _faces(dataset, store, _sample_rows(others, _MAX_TRAINING))
    if not len(rows) or not len(others):
        return {}
    # Also for rows without labels.
    queries = Faces(store.pixels, rows, dataset.ids[rows].tolist(), [""] * len(rows))
    layers = find_layers(network, prepare(store.pixels[rows[:4]]))
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=bfloat16),
        recording(network, layers) as run,
    ):
        hidden = [run(batch).hidden for _, batch in queries.batches(prepare, 128)]
        nearest = Nearest(torch.cat(hidden), _NEIGHBOURS)
        for start, batch in training.batches(prepare, 128):
            if not wanted():
                return {}
            nearest.add(start, run(batch).hidden)
    return {name: class_neighbours(nearest, i, training) for i, name in enumerate(queries.ids)}
