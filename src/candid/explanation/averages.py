"""Summaries of maps: their means over sets of images, their differences, and examples.

Faces are aligned, so mean maps over many of them are meaningful: by class, for right and wrong
answers, for groups; and the difference of two, with an interval for every pixel. A group's mean map
is confounded with everything that correlates with the group, such as the classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from candid.explanation.sample import ImageSet, Sample
from candid.stats.intervals import mean_difference

_Half = NDArray[np.float16]
Labels = NDArray[np.int16]


def normalise_maps(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each of the (n, side, side) maps divided by its mean absolute value; zeros stay zeros."""
    size = np.abs(maps).mean(axis=(1, 2), keepdims=True)
    normalised: NDArray[np.float32] = np.divide(maps, size, out=np.zeros_like(maps), where=size > 0)
    return normalised


def mean_maps(maps: NDArray[np.float32], sets: Sequence[ImageSet]) -> tuple[_Half, _Half]:
    """(S, side, side) means of (n, side, side) normalised maps, and of their absolute values."""
    means, strengths = (np.full((len(sets), *maps.shape[1:]), np.nan, np.float16) for _ in range(2))
    for i, image_set in enumerate(sets):
        if image_set.about.n:
            means[i] = maps[image_set.mask].mean(0)
            strengths[i] = np.abs(maps[image_set.mask]).mean(0)
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
    differences, half_widths = np.full((2, len(pairs), *maps.shape[1:]), np.nan, np.float16)
    shares = []
    for i, (a, b) in enumerate(pairs):
        if a.too_few or b.too_few:
            shares.append(float("nan"))
            continue
        d, h = mean_difference(strength, a.mask, b.mask, sample.persons(), confidence=confidence)
        differences[i], half_widths[i] = d.reshape(maps.shape[1:]), h.reshape(maps.shape[1:])
        defined = np.isfinite(h).all()
        shares.append(float(np.mean(np.abs(d) > h)) if defined else float("nan"))
    return differences, half_widths, shares


def mean_images(pictures: NDArray[np.uint8], sets: Sequence[ImageSet]) -> NDArray[np.uint8]:
    """(S, side, side, 3): the mean image of each set; grey where it is empty."""
    means = np.full((len(sets), *pictures.shape[1:]), 128, np.uint8)
    for i, image_set in enumerate(sets):
        if image_set.about.n:
            means[i] = pictures[image_set.mask].mean(axis=0).round()
    return means


# --- examples ------------------------------------------------------------------------------------


def example_rows(
    right: Sequence[int], wrong: Sequence[int], unsure: Sequence[int], label: Labels, count: int
) -> NDArray[np.intp]:
    """Rows of the examples: a third each right, wrong and unsure, in order within each.

    Right answers alternate between the labels. Where there are too few of a kind, others take their
    place.
    """
    right = _interleave(right, label)
    chosen: list[int] = []
    for i, kind in enumerate([right, wrong, unsure, right, unsure]):
        room = count - len(chosen) if i > 2 else -(-(count - len(chosen)) // (3 - i))
        chosen += [r for r in kind if r not in set(chosen)][: max(0, room)]
    return np.array(chosen[:count], np.intp)


def _interleave(rows: Sequence[int], label: Labels) -> list[int]:
    """The rows, alternating between the labels."""
    queues = [[r for r in rows if label[r] == c] for c in np.unique(label)]
    longest = max((len(q) for q in queues), default=0)
    return [q[i] for i in range(longest) for q in queues if i < len(q)]
