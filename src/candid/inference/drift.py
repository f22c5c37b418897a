"""Detection of drift: a stream of images compared with the validation images.

The model's and the unfamiliarity check's outputs become a few scores per image, and a test
martingale (`candid.stats.martingale`) watches them. Single images unlike the training images are
flagged one by one (`candid.inference.unfamiliar`); here the whole stream changes: other groups,
another crop, slightly less sharp images.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.inference.classifier import Classifier, Framed
from candid.inference.unfamiliar import Unfamiliar
from candid.stats.martingale import LEVELS, DriftMartingale, ReferenceSet, reference_set
from candid.storage.archives import reading_archive, write_archive
from candid.storage.files import FORMAT, check_format

Scores = NDArray[np.float64]

# The scores besides one probability per class, each with its name in a sentence.
_DISTANCE, _FRAME = "distance", "frame"
_MEANINGS = {
    _DISTANCE: "the distance from the training pictures",
    _FRAME: "how they lie in their frame",
    "sharpness": "the sharpness",
    "confidence": "the highest probability",
}
_PROBABILITY = "p_"
_DECIMALS = 6  # of scores, so that they are equal on every machine


def score_names(classifier: Classifier, unfamiliar: Unfamiliar | None) -> tuple[str, ...]:
    """The names of a model's drift scores, in order."""
    missing = {
        *(() if unfamiliar is not None else (_DISTANCE,)),
        *(() if classifier.framer is not None else (_FRAME,)),
    }
    names = [name for name in _MEANINGS if name not in missing]
    # The first class's follows from the others'.
    return (*names, *(_PROBABILITY + name for name in classifier.classes[1:]))


def drift_scores(
    framed: Framed, probability: NDArray[np.float64], distances: NDArray[np.float64] | None
) -> Scores:
    """(n, scores) of images, in the order of `score_names`.

    `probability` is (n, classes); `distances` (n,) or None without a check for unfamiliar images.
    """
    columns = [] if distances is None else [distances]
    if framed.found is not None:
        columns.append(framed.found.astype(np.float64))
    columns += [_sharpness(framed.pixels), probability.max(axis=1)]
    return np.column_stack([*columns, probability[:, 1:]]).round(_DECIMALS)


def _sharpness(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n,) logarithms of the energy of the Laplacian by the variance, in the green channel."""
    green = pixels[..., 1].astype(np.float32)
    neighbours = green[:, 1:-1, :-2] + green[:, 1:-1, 2:] + green[:, :-2, 1:-1] + green[:, 2:, 1:-1]
    energy = np.square(4 * green[:, 1:-1, 1:-1] - neighbours).mean((1, 2), dtype=np.float64)
    # 1 grey level keeps a constant image defined.
    sharpness: NDArray[np.float64] = np.log(
        (energy + 1) / (green.var((1, 2), dtype=np.float64) + 1)
    )
    return sharpness


@dataclass(frozen=True, eq=False)
class DriftReference:
    """The scores of validation images: their names, and the model's `made_from`."""

    names: tuple[str, ...]
    home: ReferenceSet
    model: str = ""

    @property
    def pictures(self) -> int:
        """How many validation images there are."""
        return len(self.home.scores)


def fit_reference(
    names: tuple[str, ...],
    scores: Scores,
    person: NDArray[np.int64] | None,
    *,
    model: str = "",
    seed: int = 0,
) -> DriftReference:
    """The reference for new images, of (n, k) scores; `person` is as for `reference_set`."""
    return DriftReference(names, reference_set(scores, person, seed=seed), model)


# --- watching ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drift:
    """The state of a drift test."""

    pictures: int  # compared with the reference
    # Of the scores' shares, that are bet on; 0: there are too few validation images.
    limits: int
    log_capital: float  # logarithm of the martingale, which bets on a change and starts at 1
    log_limit: float  # above which there is an alarm
    after: int | None  # images until the alarm; None: there was none
    change: str  # the largest change, in words; "" without an alarm

    @property
    def alarm(self) -> bool:
        """Whether there was an alarm."""
        return self.after is not None


class DriftWatch:
    """Watches a stream; thread-safe."""

    def __init__(self, reference: DriftReference, *, seed: int = 0) -> None:
        self._reference = reference
        self._martingale = DriftMartingale(reference.home)
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()

    def add(self, scores: Scores) -> bool:
        """Add (m, k) scores of images; whether they raise the alarm."""
        with self._lock:
            previous = self._martingale.alarm
            self._martingale.add(self._reference.home.codes(scores, self._rng))
            return previous is None and self._martingale.alarm is not None

    @property
    def state(self) -> Drift:
        """The state of the test."""
        with self._lock:
            return _describe(self._reference, self._martingale)


def _describe(reference: DriftReference, martingale: DriftMartingale) -> Drift:
    alarm, change = martingale.alarm, ""
    if alarm is not None:
        name = reference.names[alarm.score]
        quantity = _MEANINGS.get(name) or f"the probability of {name.removeprefix(_PROBABILITY)}"
        change = f"{quantity} is {'lower' if alarm.lower else 'higher'}"
    return Drift(
        pictures=martingale.seen,
        limits=reference.home.limits,
        log_capital=martingale.log_value,
        log_limit=martingale.log_limit,
        after=None if alarm is None else alarm.after,
        change=change,
    )


@dataclass(frozen=True, slots=True)
class JobDrift:
    """Whether the images of a finished job drifted.

    `ordered`, in the order of the job, says when they change; `drawn`, in a random order, whether
    all together differ. Where the images are sorted, by person or by group, only the first
    has an alarm for that.
    """

    ordered: Drift
    drawn: Drift


class JobDriftWatch:
    """Collects the scores of a job for a `JobDrift` at its end: a byte per score."""

    def __init__(self, reference: DriftReference) -> None:
        self._reference = reference
        self._codes: list[NDArray[np.uint8]] = []

    def add(self, scores: Iterable[list[float]]) -> None:
        """Add the scores of the next block's images; those without any are skipped."""
        complete = [row for row in scores if len(row) == len(self._reference.names)]
        if complete:
            # Seeded by the block, so that a resumed job draws as one that was not stopped.
            rng = np.random.default_rng((0, len(self._codes)))
            self._codes.append(self._reference.home.codes(np.array(complete, np.float64), rng))

    def end(self) -> JobDrift | None:
        """The result; None where there were no images."""
        if not self._codes:
            return None
        codes = np.concatenate(self._codes)
        order = np.random.default_rng(0).permutation(len(codes))
        drifts = []
        for ordered_codes in (codes, codes[order]):
            martingale = DriftMartingale(self._reference.home)
            martingale.add(ordered_codes)
            drifts.append(_describe(self._reference, martingale))
        return JobDrift(*drifts)


# --- as a file -----------------------------------------------------------------------------------


def write_reference(path: Path, reference: DriftReference) -> None:
    """Write it atomically."""
    home = reference.home
    arrays: dict[str, Any] = {"scores": home.scores, "low": home.low, "high": home.high}
    strings: dict[str, Any] = {
        "names": np.array(reference.names, np.str_),
        "model": np.str_(reference.model),
    }
    write_archive(path, {"format": np.int64(FORMAT), **strings, **arrays}, compressed=False)


def read_reference(
    path: Path, classifier: Classifier, unfamiliar: Unfamiliar | None
) -> DriftReference | None:
    """Read the reference if its scores are those of this model; else None.

    None for int8, too: its probabilities are not quite those of the reference. Raises RunError
    where the file is damaged or has the format of another release.
    """
    if not path.is_file() or classifier.engine == "int8":
        return None
    with reading_archive(
        path,
        expected="scores of the run's validation pictures",
        todo="remove it (nobody watches for drift then), or run candid export to make it again",
    ) as file:
        check_format(path, int(file["format"]) if "format" in file else None)
        scores, low, high = (file[n].astype(np.float64) for n in ("scores", "low", "high"))
        names = tuple(map(str, file["names"].tolist()))
        if not (
            scores.ndim == 2
            and low.shape == high.shape == (len(names), len(LEVELS))
            and scores.shape[1] == len(names)
            and ((low >= 0) & (low < high) & (high <= 1)).all()
        ):
            raise ValueError("no scores with their limits")
        reference = DriftReference(names, ReferenceSet(scores, low, high), str(file["model"]))
    if names != score_names(classifier, unfamiliar) or reference.model != classifier.made_from:
        return None
    return reference
