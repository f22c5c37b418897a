"""Are the pictures still those that the promise was made for? Scores held against validation's.

What the model and the check of strange pictures say of each picture becomes a few scores, and a
test martingale (`candid.stats.martingale`) watches them in a stream. Single pictures that are
unlike the training pictures are flagged one by one (`candid.inference.unfamiliar`); here it is the
stream that is another: other groups, another crop, pictures that are a little less sharp.
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

# The scores beside one probability per class, each with what it is called in a sentence.
_DISTANCE, _FRAME = "distance", "frame"
_MEANINGS = {
    _DISTANCE: "the distance from the training pictures",
    _FRAME: "how they lie in their frame",
    "sharpness": "the sharpness",
    "confidence": "the highest probability",
}
_PROBABILITY = "p_"
_DECIMALS = 6  # of scores, everywhere the same: what is equal here must be equal there


def score_names(classifier: Classifier, unfamiliar: Unfamiliar | None) -> tuple[str, ...]:
    """What is watched of a model's pictures, in order."""
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
    """(n, scores) of pictures, in the order of `score_names`.

    `probability` is (n, classes); `distances` (n,) or None where nobody tells strange pictures.
    """
    columns = [] if distances is None else [distances]
    if framed.found is not None:
        columns.append(framed.found.astype(np.float64))
    columns += [_sharpness(framed.pixels), probability.max(axis=1)]
    return np.column_stack([*columns, probability[:, 1:]]).round(_DECIMALS)


def _sharpness(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n,) logarithms of the energy of the Laplacian by the variance, in the green channel."""
    green = pixels[..., 1].astype(np.float32)
    around = green[:, 1:-1, :-2] + green[:, 1:-1, 2:] + green[:, :-2, 1:-1] + green[:, 2:, 1:-1]
    energy = np.square(4 * green[:, 1:-1, 1:-1] - around).mean((1, 2), dtype=np.float64)
    # A grey level's worth keeps an even picture defined.
    sharpness: NDArray[np.float64] = np.log(
        (energy + 1) / (green.var((1, 2), dtype=np.float64) + 1)
    )
    return sharpness


@dataclass(frozen=True, eq=False)
class DriftReference:
    """The scores of validation pictures: which they are, and by which model (its `made_from`)."""

    names: tuple[str, ...]
    home: ReferenceSet
    model: str = ""

    @property
    def pictures(self) -> int:
        """How many there are."""
        return len(self.home.scores)


def fit_reference(
    names: tuple[str, ...],
    scores: Scores,
    person: NDArray[np.int64] | None,
    *,
    model: str = "",
    seed: int = 0,
) -> DriftReference:
    """What new pictures are held against, of (n, k) scores; `person` is as for `reference_set`."""
    return DriftReference(names, reference_set(scores, person, seed=seed), model)


# --- watching ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of the question whether pictures are those of home."""

    pictures: int  # held against the reference
    # Of their scores' shares, that are bet on; 0: the validation pictures are too few to tell.
    limits: int
    log_capital: float  # what bets that they are others have made of 1, as a logarithm
    log_limit: float  # from where on that is an alarm
    after: int | None  # how many were answered before the alarm; None: there was none
    change: str  # what had changed most, in words; "" without an alarm

    @property
    def alarm(self) -> bool:
        """Whether there was an alarm."""
        return self.after is not None


class DriftWatch:
    """Watches a stream; safe to use from several threads."""

    def __init__(self, reference: DriftReference, *, seed: int = 0) -> None:
        self._reference = reference
        self._martingale = DriftMartingale(reference.home)
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()

    def add(self, scores: Scores) -> bool:
        """Take in (m, k) scores of pictures that were answered; whether they raise the alarm."""
        with self._lock:
            before = self._martingale.alarm
            self._martingale.add(self._reference.home.codes(scores, self._rng))
            return before is None and self._martingale.alarm is not None

    @property
    def state(self) -> Drift:
        """How it stands."""
        with self._lock:
            return _drift(self._reference, self._martingale)


def _drift(reference: DriftReference, martingale: DriftMartingale) -> Drift:
    alarm, change = martingale.alarm, ""
    if alarm is not None:
        name = reference.names[alarm.score]
        what = _MEANINGS.get(name) or f"the probability of {name.removeprefix(_PROBABILITY)}"
        change = f"{what} is {'lower' if alarm.lower else 'higher'}"
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
    """Whether the pictures of a finished job are those of home.

    `ordered`, in the order of answering, says when they change; `drawn`, in an order drawn at
    random, whether all together are others. Where the pictures lie sorted, by person or by group,
    only the first says so.
    """

    ordered: Drift
    drawn: Drift


class JobWatch:
    """Keeps what is needed to say so at the end: a byte per score."""

    def __init__(self, reference: DriftReference) -> None:
        self._reference = reference
        self._codes: list[NDArray[np.uint8]] = []

    def add(self, scores: Iterable[list[float]]) -> None:
        """Take in the scores of the next block's pictures; those without any are passed over."""
        known = [one for one in scores if len(one) == len(self._reference.names)]
        if known:
            # Of the block's own seed, so that a job that goes on draws as one that was not stopped.
            rng = np.random.default_rng((0, len(self._codes)))
            self._codes.append(self._reference.home.codes(np.array(known, np.float64), rng))

    def end(self) -> JobDrift | None:
        """What came of it; None where there were no pictures."""
        if not self._codes:
            return None
        codes = np.concatenate(self._codes)
        order = np.random.default_rng(0).permutation(len(codes))
        found = []
        for some in (codes, codes[order]):
            martingale = DriftMartingale(self._reference.home)
            martingale.add(some)
            found.append(_drift(self._reference, martingale))
        return JobDrift(*found)


# --- as a file -----------------------------------------------------------------------------------


def write_reference(path: Path, reference: DriftReference) -> None:
    """Write it, whole or not at all."""
    home = reference.home
    arrays: dict[str, Any] = {"scores": home.scores, "low": home.low, "high": home.high}
    words: dict[str, Any] = {
        "names": np.array(reference.names, np.str_),
        "model": np.str_(reference.model),
    }
    write_archive(path, {"format": np.int64(FORMAT), **words, **arrays}, compressed=False)


def read_reference(
    path: Path, classifier: Classifier, unfamiliar: Unfamiliar | None
) -> DriftReference | None:
    """What was written, if this very model gave the scores that it can give now; else None.

    Nor does anybody where int8 answers: its probabilities are not quite those that were written.
    Raises RunError where the file is damaged or has the format of another release.
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
        found = DriftReference(names, ReferenceSet(scores, low, high), str(file["model"]))
    same = names == score_names(classifier, unfamiliar) and found.model == classifier.made_from
    return found if same else None
