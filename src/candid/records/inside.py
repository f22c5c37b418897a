"""What a network looks like from inside: filters, what excites its units, whom a mistake resembles.

Faces are named by id (`inside.json`). Their pixels, and the filters and weights as pictures
(n, height, width, 3) uint8, lie beside the record (`inside.npz`) in the order in which the record
has them, by the names below; what there is none of is absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candid.records.explanation import open_explain_file
from candid.records.number import NumberExample
from candid.storage.archives import write_archive

FILTERS_ARRAY, FACES_ARRAY, WEIGHTS_ARRAY = "filters", "faces", "weights"
_ARRAYS = (FILTERS_ARRAY, FACES_ARRAY, WEIGHTS_ARRAY)


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of the first layer: what each unit answers to in the picture itself."""

    layer: str  # its name in the network
    height: int  # pixels of the picture that one unit sees
    width: int
    count: int  # how many filters the layer has; `norms` may hold fewer
    # The length (root of the sum of squares) of each filter that is shown, the largest first. A
    # filter that learned nothing is as short as it was drawn.
    norms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Activation:
    """How strongly one face excites a unit, and where in the picture."""

    id: str
    value: float
    # Shares of height and width, at the middle of the cell of the layer's map that answered; NaN
    # where the layer gives no map.
    row: float = math.nan
    column: float = math.nan


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of a layer, and the faces that excite it most and least, the extreme first."""

    number: int  # its place among the layer's units, from 0
    mean: float  # of its activation over all faces that were looked at
    sd: float
    # How far it moves the answer: the standard deviation of what it adds to the logits, where the
    # layer feeds the classifier; NaN elsewhere. Of a number, of what it adds to the mean of the
    # distribution, in the number's own unit: how much larger that is than with the unit alone at
    # its mean over all faces.
    weight: float
    most: tuple[Activation, ...]
    least: tuple[Activation, ...]
    # Of a number, the share of faces in which more of it raises the number: it adds to it where it
    # lies above its mean, or takes from it where it lies below. NaN of classes.
    raises: float = math.nan


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training image, and how much it resembles another in the last hidden layer (cosine)."""

    id: str
    label: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Resemblance:
    """A mistake, and the training images that look most like it to the network.

    There are none where no unit of the hidden layer answered to the picture: the cosine is
    undefined then.
    """

    id: str
    label: str
    prediction: str
    confidence: float  # the probability that the prediction got
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class NumberNeighbour:
    """A training image with its number, and how much it resembles another, as `Neighbour`."""

    id: str
    value: float
    similarity: float


@dataclass(frozen=True, slots=True)
class NumberResemblance(NumberExample):
    """An image whose number is predicted far off, and the training images most like it.

    There are none where there are none in `Resemblance`.
    """

    neighbours: tuple[NumberNeighbour, ...]


@dataclass(frozen=True, slots=True)
class NumberInside:
    """What the mistakes of a number are: predictions further off than counts as near."""

    tolerance: float  # how far off counts as near, in the number's own unit
    resemblances: tuple[NumberResemblance, ...]  # those furthest off, the furthest first


@dataclass(frozen=True, slots=True)
class Inside:
    """A network seen from inside."""

    filters: Filters | None  # None where what the first layer computes is no weighted sum of pixels
    layer: str  # whose units were looked at
    units_in_layer: int
    units: tuple[Unit, ...]  # those that are shown
    n: int  # faces that were shown to the units
    hidden_size: int  # numbers per image in the last hidden layer, in which images are compared
    mistakes: int  # how many of the n faces the network gets wrong, or a number far off
    resemblances: tuple[Resemblance, ...]  # the surest of them, the surest first
    training_n: int  # training images that they were compared with
    faces: tuple[str, ...]  # every id that stands above, once
    weights: tuple[str, ...] = ()  # of a linear classifier: what each picture of its weights shows
    number: NumberInside | None = None  # of a number, which has no `resemblances` of classes

    @property
    def worst(self) -> tuple[Resemblance, ...] | tuple[NumberResemblance, ...]:
        """The mistakes that are shown, the worst first, of classes or of a number."""
        return self.resemblances if self.number is None else self.number.resemblances


def write_inside_arrays(path: Path, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
    """Write `inside.npz`, whole or not at all; the same arrays give the same bytes."""
    write_archive(path, dict(sorted(arrays.items())))


def read_inside_arrays(path: Path) -> dict[str, NDArray[np.uint8]]:
    """Read what `write_inside_arrays` wrote.

    Raises
    ------
    RunError
        Where the file is missing, damaged, or holds no pictures.
    """
    with open_explain_file(path, "pictures") as archive:
        arrays = {name: archive[name] for name in _ARRAYS if name in archive}
        if not all(a.dtype == np.uint8 and a.shape[3:] == (3,) for a in arrays.values()):
            raise ValueError("no pictures")
    return arrays
