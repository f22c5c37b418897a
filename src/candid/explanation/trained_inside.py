"""A trained model seen from inside: its units, its mistakes, and what resembles a picture."""

from __future__ import annotations

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
from candid.explanation.faces import Faces, Prepare
from candid.explanation.filters import weight_pictures
from candid.explanation.hidden import layers_of, watched
from candid.explanation.mistakes import Nearest, NumberOutputs, class_neighbours
from candid.explanation.units import look_inside
from candid.models.forward import Images
from candid.predictions import Predictions
from candid.predictions.numbers import NumberPredictions
from candid.records import ModelCard
from candid.records.inside import WEIGHTS_ARRAY, Inside, Neighbour
from candid.table import drawn_rows
from candid.tables.numbers import numbers_of

_MOST_TRAINING = 10_000  # training images among which those nearest to others are sought
_NEAREST = 5


def look_into(
    network: nn.Module,
    card: ModelCard,
    dataset: Dataset,
    store: Store,
    known: Predictions | None,
    *,
    most_training: int = _MOST_TRAINING,
    bfloat16: bool = False,
    quiet: bool = True,
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    """Look into a network over validation: units, and mistakes beside `most_training` others.

    Those are training images, drawn at random; 0: all. Mistakes are what the `known` predictions
    call so, where they have the whole split.
    """
    shown, training = _shown_and_training(dataset, store, most_training)
    place = None if known is None else _places(known.ids, shown.ids)
    record, arrays = _looked(
        network,
        card,
        shown,
        training,
        bfloat16,
        classes=dataset.classes,
        probabilities=None if known is None or place is None else known.probability[place],
        quiet=quiet,
    )
    titles, pictures = weight_pictures(network, dataset.classes, card.side)
    if titles:
        return replace(record, weights=titles), arrays | {WEIGHTS_ARRAY: pictures}
    return record, arrays


def look_into_number(
    network: nn.Module,
    card: ModelCard,
    dataset: Dataset,
    store: Store,
    known: NumberPredictions | None,
    read: Callable[[Floats], tuple[Floats, Floats, Floats]],
    tolerance: float,
    *,
    most_training: int = _MOST_TRAINING,
    bfloat16: bool = False,
    quiet: bool = True,
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    """As `look_into` of a number; mistakes are predictions further off than `tolerance`.

    `read` makes of distributions (n, bins) the value and the ends of its interval.
    """
    if card.number is None:
        raise ValueError(f"{card.target!r} is no number")
    shown, training = _shown_and_training(dataset, store, most_training)
    place = None if known is None else _places(known.ids, shown.ids)
    said = None
    if known is not None and place is not None:
        said = (known.predicted[place], known.low[place], known.high[place])
    number = NumberOutputs(card.number.centres, read, tolerance, said)
    return _looked(network, card, shown, training, bfloat16, number=number, quiet=quiet)


def _looked(
    network: nn.Module,
    card: ModelCard,
    shown: Faces,
    training: Faces,
    bfloat16: bool,
    **how: Any,
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    device, prepare = _prepared(network, card)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        return look_inside(
            *(network, shown, training, prepare),
            temperature=card.temperature,
            batch_size=128,
            **how,
        )


def _shown_and_training(dataset: Dataset, store: Store, most: int) -> tuple[Faces, Faces]:
    """The images of validation, and at most so many of train."""
    shown, train = (dataset.rows(name, store.usable) for name in ("validation", "train"))
    return _faces(dataset, store, shown), _faces(dataset, store, _some(train, most))


def _some(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most so many of the rows, drawn at random, in their order; 0: all."""
    return drawn_rows(rows, most or len(rows), np.random.default_rng(0))


def _faces(dataset: Dataset, store: Store, rows: NDArray[np.intp]) -> Faces:
    """The rows with their classes, or with what the label is where it is a number."""
    words = [dataset.classes[i] for i in dataset.label[rows]]
    labels = numbers_of(words).tolist() if dataset.is_number else words
    return Faces(store.pixels, rows, [str(id) for id in dataset.ids[rows]], labels)


def _places(known: NDArray[np.str_], ids: Sequence[str]) -> list[int] | None:
    """Where each of the ids stands among those that are known; None where one does not."""
    place = {id: i for i, id in enumerate(known.tolist())}
    return [place[id] for id in ids] if all(id in place for id in ids) else None


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
    training = _faces(dataset, store, _some(others, _MOST_TRAINING))
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
    return {name: class_neighbours(alike, i, training) for i, name in enumerate(asked.ids)}
