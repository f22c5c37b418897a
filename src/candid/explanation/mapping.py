"""Each method's maps of a sample, of as many images as needed, and their summaries."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candid.explanation import averages
from candid.explanation.attribution import Attributor
from candid.explanation.classes import ClassAnswers
from candid.explanation.numbers import ExplainedNumbers
from candid.explanation.regions import Regions, map_shares
from candid.explanation.sample import ImageSet, Sample
from candid.records.explanation import RegionShare, Verdict
from candid.stats.sequential import Looks, excludes, looks_at

_MIN_IMAGES = 50  # images before the first look
_UNIFORM_DENSITY = 1.0  # the density of a region where a map is spread evenly

Map = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MapsJob:
    """The input of all steps of an explanation."""

    attributor: Attributor
    sample: Sample
    regions: Regions | None
    tensor: Tensor  # the normalised images
    answers: ClassAnswers | ExplainedNumbers
    sets: list[ImageSet]
    pairs: list[tuple[ImageSet, ImageSet]]  # the sets that are compared
    example_rows: NDArray[np.intp]  # rows of the examples
    order: NDArray[np.intp]  # a random permutation of the rows
    deadline: float  # after which nothing is begun, on `time.monotonic`'s clock
    quiet: bool

    @property
    def checked_rows(self) -> NDArray[np.intp]:
        """Rows on which maps are checked."""
        return self.order[: self.attributor.config.check_images]

    def is_over(self) -> bool:
        """Whether time is up."""
        return time.monotonic() >= self.deadline

    def classes_of(self, rows: NDArray[np.intp]) -> Tensor:
        """The classes that the maps of some images explain."""
        return torch.from_numpy(self.answers.explained[rows])

    def maps(self, name: str, rows: NDArray[np.intp]) -> Map:
        """(rows, side, side) maps by a method."""
        maps = np.empty((len(rows), *self.tensor.shape[2:]), np.float32)
        size = self.attributor.scorer.batch_size
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            maps[start : start + size] = self.attributor.maps(
                name, self.tensor[torch.from_numpy(batch)], self.classes_of(batch)
            )
        return maps


@dataclass(frozen=True, eq=False)
class InitialMaps:
    """The maps that every method needs: those of the checks, and of the examples."""

    checked: Map
    examples: Map
    seconds: float


def start_maps(job: MapsJob, name: str) -> InitialMaps:
    """Make a method's initial maps; an image that is in both has one map."""
    start = time.monotonic()
    checked = job.maps(name, job.checked_rows)
    index = {int(row): i for i, row in enumerate(job.checked_rows)}
    remaining = np.array([row for row in job.example_rows if int(row) not in index], np.intp)
    remaining_maps = iter(job.maps(name, remaining))
    examples = np.empty((len(job.example_rows), *job.tensor.shape[2:]), np.float32)
    for i, row in enumerate(job.example_rows):
        examples[i] = checked[index[int(row)]] if int(row) in index else next(remaining_maps)
    return InitialMaps(checked, examples, time.monotonic() - start)


@dataclass(frozen=True, eq=False)
class MethodMaps:
    """The summary of a method's maps."""

    n: int  # images with maps, besides the examples
    subset_n: tuple[int, ...]  # of each set
    cut: bool  # whether time ran out before they decided
    seconds: float
    marked: list[float]
    shares: list[RegionShare]
    arrays: dict[str, NDArray[np.float16]]


def complete_maps(
    job: MapsJob, name: str, initial: InitialMaps, state: Verdict, advance: Callable[[int], object]
) -> MethodMaps:
    """Make a method's remaining maps, and summarise all.

    A method that `failed` makes no more maps. One that `passed` makes as many as needed to decide
    for every region whether maps are denser there than uniform ones, which is what a claim needs
    (`candid.stats.sequential`); any other makes all.
    """
    start, total = time.monotonic(), len(job.sample)
    confidence = job.attributor.config.confidence
    looks = Looks((total,), confidence)
    if state == "passed" and job.regions is not None:
        looks = looks_at(total, confidence, fewest=_MIN_IMAGES)
    elif state == "failed":
        looks = Looks((len(job.checked_rows),), confidence)
    maps, cut, level = initial.checked, False, confidence
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
    seconds = initial.seconds + time.monotonic() - start
    return _summarise(job, name, maps, initial.examples, level, cut=cut, seconds=seconds)


def _is_decided(job: MapsJob, name: str, maps: Map, level: float) -> bool:
    """Whether every visible region is denser or less dense than a uniform map."""
    sample, rows = _first_rows(job, len(maps))
    sets = [job.sets[0].restrict(rows, sample)]
    if job.regions is None:
        return False
    shares = map_shares(name, maps, job.regions[rows], sets, sample, level)
    return all(excludes(s.density, _UNIFORM_DENSITY) or np.isnan(s.density.low) for s in shares)


def _first_rows(job: MapsJob, n: int) -> tuple[Sample, NDArray[np.intp]]:
    """The first n images of the order, and their rows."""
    rows = job.order[:n]
    return job.sample[rows], rows


def _summarise(
    job: MapsJob, name: str, maps: Map, examples: Map, level: float, *, cut: bool, seconds: float
) -> MethodMaps:
    """Summarise the maps of the first images of the order."""
    sample, rows = _first_rows(job, len(maps))
    maps = averages.normalise_maps(maps)
    by_key = {s.about.key: s.restrict(rows, sample) for s in job.sets}
    sets = [*by_key.values()]
    pairs = [(by_key[a.about.key], by_key[b.about.key]) for a, b in job.pairs]
    means, strengths = averages.mean_maps(maps, sets)
    differences, half_widths, marked = averages.map_differences(maps, pairs, sample, level)
    shares: list[RegionShare] = []
    if job.regions is not None:
        shares = map_shares(name, maps, job.regions[rows], sets, sample, level)
    arrays = {
        "means": means,
        "strengths": strengths,
        "differences": differences,
        "half_widths": half_widths,
        "examples": averages.normalise_maps(examples).astype(np.float16),
    }
    counts = tuple(s.about.n for s in sets)
    return MethodMaps(len(maps), counts, cut, seconds, marked, shares, arrays)
