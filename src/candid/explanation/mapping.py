"""Each method's maps of a sample: of as many images as it takes, and what is made of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candid.explanation import averages
from candid.explanation.answers import NetworkAnswers
from candid.explanation.attribution import Attributor
from candid.explanation.regions import Regions, map_shares
from candid.explanation.sample import ImageSet, Sample
from candid.records.explanation import RegionShare, Verdict
from candid.stats.sequential import Looks, leaves_out, looks_at

_FEWEST = 50  # images before the first look
_EVEN = 1.0  # the density of a region where a map is spread evenly

Map = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MapsJob:
    """What every step of an explanation needs."""

    by: Attributor
    sample: Sample
    regions: Regions | None
    tensor: Tensor  # the normalised images
    answers: NetworkAnswers
    sets: list[ImageSet]
    pairs: list[tuple[ImageSet, ImageSet]]  # the sets that are compared
    shown: NDArray[np.intp]  # rows of the examples
    order: NDArray[np.intp]  # all rows at random: the first ones are looked at first
    ends: float  # when nothing more is begun, on `time.monotonic`'s clock
    quiet: bool

    @property
    def tested(self) -> NDArray[np.intp]:
        """Rows on which maps are checked."""
        return self.order[: self.by.config.check_images]

    def is_over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() >= self.ends

    def classes_of(self, rows: NDArray[np.intp]) -> Tensor:
        """The class that the maps of some images speak for."""
        return torch.from_numpy(self.answers.explained[rows])

    def maps(self, name: str, rows: NDArray[np.intp]) -> Map:
        """(rows, side, side) maps by a method."""
        maps = np.empty((len(rows), *self.tensor.shape[2:]), np.float32)
        size = self.by.scorer.batch_size
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            maps[start : start + size] = self.by.maps(
                name, self.tensor[torch.from_numpy(some)], self.classes_of(some)
            )
        return maps


@dataclass(frozen=True, eq=False)
class Begun:
    """The maps that a method makes in any case: of the images of the checks, and the examples."""

    tested: Map
    shown: Map
    seconds: float


def begin_maps(job: MapsJob, name: str) -> Begun:
    """Make them; an image that is both has one map."""
    began = time.monotonic()
    tested = job.maps(name, job.tested)
    place = {int(row): i for i, row in enumerate(job.tested)}
    new = np.array([row for row in job.shown if int(row) not in place], np.intp)
    others = iter(job.maps(name, new))
    shown = np.empty((len(job.shown), *job.tensor.shape[2:]), np.float32)
    for i, row in enumerate(job.shown):
        shown[i] = tested[place[int(row)]] if int(row) in place else next(others)
    return Begun(tested, shown, time.monotonic() - began)


@dataclass(frozen=True, eq=False)
class Mapped:
    """What one method's maps come to."""

    n: int  # images whose maps were made, beside the examples'
    subset_n: tuple[int, ...]  # and of each set
    cut: bool  # whether the time was used up before they decided
    seconds: float
    marked: list[float]
    shares: list[RegionShare]
    arrays: dict[str, NDArray[np.float16]]


def mapped(
    job: MapsJob, name: str, begun: Begun, state: Verdict, advance: Callable[[int], object]
) -> Mapped:
    """A method's maps, and everything that is made of them; the maps themselves are let go.

    A method that `failed` makes no more maps than it has. One that `passed` makes as many as it
    takes to decide of every region whether maps are denser there than if they were spread evenly,
    which is what a claim needs (`candid.stats.sequential`); any other makes all.
    """
    began, total = time.monotonic(), len(job.sample)
    confidence = job.by.config.confidence
    looks = Looks((total,), confidence)
    if state == "passed" and job.regions is not None:
        looks = looks_at(total, confidence, fewest=_FEWEST)
    elif state == "failed":
        looks = Looks((len(job.tested),), confidence)
    maps, cut, level = begun.tested, False, confidence
    for look, size in enumerate(looks.sizes):
        if cut := job.is_over() and len(maps) > 0 and len(maps) < size:
            break
        more = job.order[len(maps) : size]
        if len(more):
            maps = np.concatenate([maps, job.maps(name, more)])
        advance(len(more))
        level = looks.level(look)
        if look + 1 < len(looks.sizes) and _is_decided(job, name, maps, level):
            break
    seconds = begun.seconds + time.monotonic() - began
    return _summed(job, name, maps, begun, level, cut=cut, seconds=seconds)


def _is_decided(job: MapsJob, name: str, maps: Map, level: float) -> bool:
    """Whether every region that is to be seen is denser or less dense than an even map."""
    some, rows = _of_rows(job, len(maps))
    everyone = [job.sets[0].among(rows, some)]
    if job.regions is None:
        return False
    dense = map_shares(name, maps, job.regions[rows], everyone, some, level)
    return all(leaves_out(s.density, _EVEN) or np.isnan(s.density.low) for s in dense)


def _of_rows(job: MapsJob, n: int) -> tuple[Sample, NDArray[np.intp]]:
    """The first n images of the order, and which rows they are."""
    rows = job.order[:n]
    return job.sample[rows], rows


def _summed(
    job: MapsJob, name: str, maps: Map, begun: Begun, level: float, *, cut: bool, seconds: float
) -> Mapped:
    """What the maps of the first images of the order come to."""
    some, rows = _of_rows(job, len(maps))
    maps = averages.normalised(maps)
    among = {s.about.key: s.among(rows, some) for s in job.sets}
    sets = [*among.values()]
    pairs = [(among[a.about.key], among[b.about.key]) for a, b in job.pairs]
    means, strengths = averages.mean_maps(maps, sets)
    gaps, halves, marked = averages.map_differences(maps, pairs, some, level)
    shares: list[RegionShare] = []
    if job.regions is not None:
        shares = map_shares(name, maps, job.regions[rows], sets, some, level)
    arrays = {
        "means": means,
        "strengths": strengths,
        "differences": gaps,
        "half_widths": halves,
        "examples": averages.normalised(begun.shown).astype(np.float16),
    }
    counts = tuple(s.about.n for s in sets)
    return Mapped(len(maps), counts, cut, seconds, marked, shares, arrays)
