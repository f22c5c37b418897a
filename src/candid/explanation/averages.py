"""What is kept of the maps: their means over sets of images, and a few images' own.

Faces are aligned, so the mean of a map over many of them means something: per class, for right and
wrong answers, for groups; and the difference of two, with an interval for every pixel. A mean map
of a group mixes everything that goes with the group: more of one class, for example.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from candid.explanation.sample import ImageSet, Sample
from candid.stats.intervals import mean_difference

_Half = NDArray[np.float16]
Labels = NDArray[np.int16]


def normalised(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each of the (n, side, side) maps over its mean absolute value; a map of zeros stays one."""
    size = np.abs(maps).mean(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.float32] = np.divide(maps, size, out=np.zeros_like(maps), where=size > 0)
    return scaled


def mean_maps(maps: NDArray[np.float32], sets: Sequence[ImageSet]) -> tuple[_Half, _Half]:
    """(S, side, side) means of (n, side, side) normalised maps, and of their absolute values."""
    means, strengths = (np.full((len(sets), *maps.shape[1:]), np.nan, np.float16) for _ in range(2))
    for i, each in enumerate(sets):
        if each.about.n:
            means[i] = maps[each.mask].mean(0)
            strengths[i] = np.abs(maps[each.mask]).mean(0)
    return means, strengths


def map_differences(
    maps: NDArray[np.float32],
    pairs: Sequence[tuple[ImageSet, ImageSet]],
    sample: Sample,
    confidence: float,
) -> tuple[_Half, _Half, list[float]]:
    """(D, side, side) differences of mean strengths and half their intervals, by person.

    The third is the share of pixels whose interval leaves out 0; NaN where none is defined.
    """
    strength = np.abs(maps).reshape(len(maps), -1)
    gaps, halves = np.full((2, len(pairs), *maps.shape[1:]), np.nan, np.float16)
    marked = []
    for i, (a, b) in enumerate(pairs):
        if a.too_few or b.too_few:
            marked.append(float("nan"))
            continue
        gap, half = mean_difference(
            strength, a.mask, b.mask, sample.persons(), confidence=confidence
        )
        gaps[i], halves[i] = gap.reshape(maps.shape[1:]), half.reshape(maps.shape[1:])
        defined = np.isfinite(half).all()
        marked.append(float(np.mean(np.abs(gap) > half)) if defined else float("nan"))
    return gaps, halves, marked


def mean_images(pictures: NDArray[np.uint8], sets: Sequence[ImageSet]) -> NDArray[np.uint8]:
    """(S, side, side, 3): the mean picture of each set; grey where it is empty."""
    made = np.full((len(sets), *pictures.shape[1:]), 128, np.uint8)
    for i, each in enumerate(sets):
        if each.about.n:
            made[i] = pictures[each.mask].mean(axis=0).round()
    return made


# --- examples ------------------------------------------------------------------------------------


def example_rows(
    right: Sequence[int], wrong: Sequence[int], unsure: Sequence[int], label: Labels, count: int
) -> NDArray[np.intp]:
    """Rows of the images whose maps are kept: a third each right, wrong and unsure.

    Right answers come evenly from the labels; the first of each kind first. Where there are too few
    of a kind, others take their place.
    """
    right = _in_turns(right, label)
    taken: list[int] = []
    for i, kind in enumerate([right, wrong, unsure, right, unsure]):
        room = count - len(taken) if i > 2 else -(-(count - len(taken)) // (3 - i))
        taken += [r for r in kind if r not in set(taken)][: max(0, room)]
    return np.array(taken[:count], np.intp)


def _in_turns(rows: Sequence[int], label: Labels) -> list[int]:
    """The rows, one of each label after the other."""
    queues = [[r for r in rows if label[r] == c] for c in np.unique(label)]
    longest = max((len(q) for q in queues), default=0)
    return [q[i] for i in range(longest) for q in queues if i < len(q)]
