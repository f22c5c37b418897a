"""What a network looks like from inside: filters, what excites its units, whom a mistake resembles.

Faces are named by id (`inside.json`). Their pixels, and the filters as pictures, lie beside the
record (`inside.npz`):

`filters`
    (filters, height, width, 3) uint8: in the order of `Filters.norms`; absent without filters.
`faces`
    (faces, side, side, 3) uint8: the pictures of `Inside.faces`, in that order.
`weights`
    (weights, side, side, 3) uint8: the pictures of `Inside.weights`, in that order; absent without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.storage.files import atomic, open_regular, reading

FILTERS_ARRAY, FACES_ARRAY, WEIGHTS_ARRAY = "filters", "faces", "weights"
_ARRAYS = (FILTERS_ARRAY, FACES_ARRAY, WEIGHTS_ARRAY)


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of the first layer: what each unit answers to in the picture itself.

    Attributes
    ----------
    layer
        The layer's name in the network.
    height, width
        Pixels of the picture that one unit sees.
    count
        How many filters the layer has; `norms` may hold fewer.
    norms
        The length (root of the sum of squares) of each filter that is shown, the largest first.
        A filter that learned nothing is as short as it was drawn.
    """

    layer: str
    height: int
    width: int
    count: int
    norms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Activation:
    """How strongly one face excites a unit, and where in the picture.

    `row` and `column` are shares of the picture's height and width, at the middle of the cell of
    the layer's map that answered; NaN where the layer gives no map.
    """

    id: str
    value: float
    row: float = math.nan
    column: float = math.nan


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of a layer, and the faces that excite it most and least.

    Attributes
    ----------
    number
        Its place among the layer's units, from 0.
    mean, sd
        Of its activation over all faces that were looked at.
    weight
        How far it moves the answer: the standard deviation of what it adds to the logits, where
        the layer feeds the classifier; NaN elsewhere.
    most, least
        The faces with the highest and with the lowest activation, the extreme first.
    """

    number: int
    mean: float
    sd: float
    weight: float
    most: tuple[Activation, ...]
    least: tuple[Activation, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training image, and how much it resembles another in the last hidden layer (cosine)."""

    id: str
    label: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Resemblance:
    """A mistake, and the training images that look most like it to the network.

    `confidence` is the probability that the prediction got. There are no neighbours where no unit
    of the hidden layer answered to the picture: the cosine is undefined then.
    """

    id: str
    label: str
    prediction: str
    confidence: float
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Inside:
    """A network seen from inside.

    Attributes
    ----------
    filters
        Of the first layer; None where what it computes is no weighted sum of pixels.
    layer, units_in_layer, units
        The layer whose units were looked at, how many it has, and those that are shown.
    n
        How many faces were shown to the units.
    hidden_size
        Numbers per image in the last hidden layer, in which images are compared.
    mistakes, resemblances
        How many of the n faces the network gets wrong; the surest of them, the surest first.
    training_n
        How many training images they were compared with.
    faces
        Every id that stands above, once.
    weights
        Of a linear classifier on fixed features: what each picture of its weights shows.
    """

    filters: Filters | None
    layer: str
    units_in_layer: int
    units: tuple[Unit, ...]
    n: int
    hidden_size: int
    mistakes: int
    resemblances: tuple[Resemblance, ...]
    training_n: int
    faces: tuple[str, ...]
    weights: tuple[str, ...] = ()


def write_inside_arrays(path: Path, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
    """Write `inside.npz`, whole or not at all; the same arrays give the same bytes."""
    with atomic(path) as part, part.open("wb") as file:
        named: dict[str, Any] = dict(sorted(arrays.items()))
        np.savez_compressed(file, **named)


def read_inside_arrays(path: Path) -> dict[str, NDArray[np.uint8]]:
    """Read what `write_inside_arrays` wrote.

    Raises
    ------
    RunError
        Where the file is missing, damaged, or holds no pictures.
    """
    with reading(
        path,
        expected="the pictures that candid explain wrote",
        todo=f"candid explain {path.parent}",
    ):
        # Opened here: of a file that is no archive, NumPy would leave its own open.
        with open_regular(path) as file, np.load(file, allow_pickle=False) as found:
            arrays = {n: found[n] for n in _ARRAYS if n in found.files}
        if not all(
            a.dtype == np.uint8 and a.ndim == 4 and a.shape[3] == 3 for a in arrays.values()
        ):
            raise ValueError("no pictures")
    return arrays
