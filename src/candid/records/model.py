"""How a model was made: its network, its history, where the run came from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

_LARGEST_SIDE = 1024  # as in data.side
_MOST_OUTPUTS = 10**6
# Of what the whole picture tells, where a network is to see a part of it: of a label, which must be
# sure, and of any of its classes, of whose images there may be too few to be sure.
MOST_LOST, MOST_LOST_OF_A_CLASS = 0.05, 0.25
# Of what there is to tell of a label: where a short training told less, what it has not learned yet
# may stand anywhere.
LEAST_SKILL = 0.5

# --- model.json, history.parquet -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as the report draws it: its output shape without the batch, and its parameters."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NumberCard:
    """How the outputs of a label that is a number become a value and an interval.

    Attributes
    ----------
    centres
        The values that its bins stand for, ascending.
    quartiles
        Of the training values; the second is what there is to say without looking.
    answer
        Which of its distribution's mean and median is the answer: that with the lower mean absolute
        error on validation.
    coverage
        The share of true values that the intervals are made to hold.
    reach
        How far from 1/2 the cumulative distribution is at their ends; calibrated on validation.
    ranges, reaches
        Where the intervals are made for every range of the true value: the ascending edges between
        the ranges, and the reach of each of these, one more. Else empty.
    """

    centres: tuple[float, ...]
    quartiles: tuple[float, float, float]
    answer: Literal["mean", "median"] = "median"
    coverage: float = 0.9
    reach: float = 0.45
    ranges: tuple[float, ...] = ()
    reaches: tuple[float, ...] = ()

    def problem(self) -> str:
        """What no training can have written, in words; "" where all is possible."""
        pairs = zip(self.centres, self.centres[1:], strict=False)
        if len(self.centres) < 2 or not all(a < b < math.inf for a, b in pairs):
            return "the centres of its bins do not ascend"
        if not (0 < self.coverage < 1 and 0 <= self.reach <= 0.5):
            return f"its intervals hold {self.coverage} within {self.reach}"
        ascending = all(a < b for a, b in zip(self.ranges, self.ranges[1:], strict=False))
        complete = len(self.reaches) == (len(self.ranges) + 1 if self.reaches or self.ranges else 0)
        finite = all(map(math.isfinite, self.ranges))
        if not (ascending and complete and finite and all(0 <= r <= 0.5 for r in self.reaches)):
            return f"its intervals between {self.ranges} hold within {self.reaches}"
        if not all(map(math.isfinite, self.quartiles)):
            return f"the quartiles of its training values are {self.quartiles}"
        return ""

    @property
    def median(self) -> float:
        """Of the training values."""
        return self.quartiles[1]


@dataclass(frozen=True, slots=True)
class TriedView:
    """How well a label was told from a part of the pictures, after a short training of several.

    Losses are mean cross-entropies in nats of the n validation images that have the label. `lost`
    is the share of what the whole tells beyond the base rates that the part does not tell, `high`
    its upper limit (95%, one-sided); both NaN where nothing is known. `lost_class` is the class of
    the label of which more than a quarter is lost, surely; "" where none is.
    """

    window: str
    target: str
    n: int
    base: float
    whole: float
    part: float
    lost: float
    high: float
    lost_class: str = ""

    @property
    def skill(self) -> float:
        """The share of what there is to tell of the label that the whole tells."""
        return 1 - self.whole / self.base if self.base > 0 else math.nan

    @property
    def suffices(self) -> bool:
        """Whether so little is lost, surely, that the network may see this part alone."""
        return self.high <= MOST_LOST and not self.lost_class and self.skill >= LEAST_SKILL


@dataclass(frozen=True, slots=True)
class TriedViews:
    """What was tried before a training began, kept beside its checkpoint for who goes on.

    The smallest part of the pictures comes first.
    """

    views: tuple[TriedView, ...]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """How to build and feed the network whose weights lie beside it (`model.json`).

    An image is `side` × `side` RGB; (pixel / 255 - mean) / std per channel goes in, and the logits
    divided by `temperature` are the calibrated logits of `classes`. Where `flip_tta`, the logits
    are the mean of those of the image and of its mirror image. `options` are those of the network:
    its width and depth. Of a network that learned several labels, `head` is the first of its
    outputs that are this label's and how many it has in all, and what is said of parameters and
    layers is said of the whole; None, and not in the file, where it learned one. `number` says how
    the outputs of a label that is a number are read; None, and not in the file, for classes.
    `views` are the parts of the pictures that were tried before it was trained, the smallest first.
    """

    network: str
    options: dict[str, int | float | str]
    target: str
    classes: tuple[str, ...]
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    temperature: float
    parameters: int
    multiply_adds: int
    layers: tuple[Layer, ...]
    step: int
    kept: Literal["best", "last"]
    flip_tta: bool = False
    head: tuple[int, int] | None = None
    number: NumberCard | None = None
    views: tuple[TriedView, ...] = ()

    def problem(self) -> str:
        """What no training can have written, in words; "" where all is possible."""
        if not 1 <= self.side <= _LARGEST_SIDE:
            return f"the side is {self.side} pixels"
        if not self.classes or len({*self.classes}) < len(self.classes):
            return f"the classes are {', '.join(map(repr, self.classes)) or 'none'}"
        if not all(-0.01 <= x <= 1.01 for x in self.mean):  # of pixels from 0 to 1; a NaN is not
            return f"the means of the pixels are {self.mean}"
        if not all(1e-7 <= x <= 1 for x in self.std):
            return f"the standard deviations of the pixels are {self.std}"
        if not 1e-9 <= self.temperature <= 1e9:
            return f"the temperature is {self.temperature}"
        if self.head is not None:
            first, outputs = self.head
            if not 0 <= first <= first + len(self.classes) <= outputs <= _MOST_OUTPUTS:
                return f"the outputs of {self.target!r} are {len(self.classes)} from {first}"
        if self.number is not None and len(self.number.centres) != len(self.classes):
            return f"{self.target!r} has {len(self.classes)} bins of {len(self.number.centres)}"
        return "" if self.number is None else self.number.problem()

    @property
    def n_outputs(self) -> int:
        """How many numbers the network gives for an image."""
        return len(self.classes) if self.head is None else self.head[1]


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One training step; the validation figures are NaN where the step ended without evaluation.

    `train_loss` is the loss of this step's batch, augmented and with dropout; `train_f1` is its
    weighted F1. `seconds` counts from the start of training, without time spent stopped. A fit that
    has no steps is one row, without a learning rate (NaN) and with the figures of all its images.
    """

    step: int
    images: int
    seconds: float
    learning_rate: float
    train_loss: float
    train_f1: float
    validation_loss: float = math.nan
    validation_f1: float = math.nan
    validation_accuracy: float = math.nan

    @property
    def is_fit(self) -> bool:
        """Whether this is the only row of a fit without steps."""
        return math.isnan(self.learning_rate)


# --- provenance.json -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Beginning:
    """The weights that a training began with.

    Attributes
    ----------
    place
        The run or the file that they are from.
    digest
        Of the file.
    target
        What the network there had learned; "" where that is not known.
    tensors, anew
        How many were taken over, and the names of those that began anew.
    """

    place: str
    digest: str
    target: str
    tensors: int
    anew: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a run came from: enough to make it again, or to say why that fails.

    `seconds` and `digests` are by step: how long it took, and what it read. `sources` says where
    each of several data sets lay, by its name; of one, `data` does. `initial` are the weights that
    training began with; None, and not in the file, where they were fresh.
    """

    candid: str
    command: str
    started: str
    seconds: dict[str, float]
    seed: int
    commit: str | None
    versions: dict[str, str]
    machine: dict[str, str]
    data: str
    data_fingerprint: str
    digests: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    initial: Beginning | None = None

    def problem(self) -> str:
        """What no run can have noted, in words; "" where all is possible."""
        wrong = [k for k, s in self.seconds.items() if not 0 <= s < math.inf]
        return f"the seconds of {wrong[0]!r} are {self.seconds[wrong[0]]}" if wrong else ""
