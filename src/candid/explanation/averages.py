"""Mean maps: faces are aligned, so the mean of a map over many of them means something.

Per class, for right and wrong answers, for groups; and the difference of two, with an interval for
every pixel. A mean map of a group mixes everything that goes with the group: more of one class,
for example.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from candid.explanation.sample import Sample
from candid.predictions import Attribute
from candid.records.explanation import Subset
from candid.settings import ExplainConfig
from candid.stats.associations import cramers_v
from candid.stats.intervals import mean_difference

Mask = NDArray[np.bool_]

FEWEST = 10  # people that a mean map must stand on to be compared with another, pixel by pixel


def normalised(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each of the (n, side, side) maps over its mean absolute value; a map of zeros stays one."""
    size = np.abs(maps).mean(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.float32] = np.divide(maps, size, out=np.zeros_like(maps), where=size > 0)
    return scaled


def subsets(
    sample: Sample, answers: NDArray[np.intp], classes: Sequence[str], config: ExplainConfig
) -> list[tuple[Subset, Mask]]:
    """Which images a mean map is made of: all, classes, right and wrong, both, groups."""
    label, everyone = sample.label, np.ones(len(sample), np.bool_)
    known = label >= 0
    outcomes = {"right": known & (answers == label), "wrong": known & (answers != label)}
    found = [_subset(sample, "all", "all", "all images", everyone)]
    if known.any():
        for c, name in enumerate(classes):
            title = f"labelled {name}"
            found.append(_subset(sample, f"class:{name}", "class", title, label == c))
        for word, mask in outcomes.items():
            found.append(_subset(sample, word, "outcome", f"answered {word}ly", mask))
        for c, name in enumerate(classes):
            for word, mask in outcomes.items():
                title = f"labelled {name}, answered {word}ly"
                key = f"class:{name},{word}"
                found.append(_subset(sample, key, "class and outcome", title, mask & (label == c)))
    for attribute in groups(sample, len(classes), config):
        for code, value in enumerate(attribute.values):
            mask = attribute.data == code
            if int(mask.sum()) >= config.min_group:
                name = attribute.name
                key, title = f"group:{name}={value}", f"annotated {name}: {value}"
                found.append(_subset(sample, key, "group", title, mask, name, value))
    return found


def groups(sample: Sample, classes: int, config: ExplainConfig) -> list[Attribute]:
    """The attributes whose groups get a mean map: those named, or those nearest to the label.

    Numbers have no groups. Without names, an attribute needs two groups of `min_group` images.
    """
    coded = {n: a for n, a in sample.attributes.items() if a.kind != "numeric"}
    if config.groups:
        return [coded[name] for name in config.groups if name in coded]
    near = {}
    for name, a in coded.items():
        sizes = np.bincount(a.data[a.data >= 0], minlength=len(a.values))
        if np.count_nonzero(sizes >= config.min_group) < 2:
            continue
        table = np.zeros((len(a.values), classes))
        both = (a.data >= 0) & (sample.label >= 0)
        np.add.at(table, (a.data[both], sample.label[both]), 1)
        v = float(cramers_v(table))
        near[name] = v if np.isfinite(v) else -1.0
    order = sorted(near, key=lambda name: (-near[name], name))
    return [coded[name] for name in order[: config.max_groups]]


def too_few(subset: Subset) -> bool:
    """Whether it has too few people (or images, where nobody knows who is who) to compare."""
    return (subset.n if subset.people is None else subset.people) < FEWEST


def pairs(found: Sequence[tuple[Subset, Mask]]) -> list[tuple[str, str]]:
    """Which subsets are compared: classes, wrong and right, the groups of an attribute.

    Those with too few people are not: an interval per pixel from two of them says nothing.
    """
    some = [s for s, _ in found if not too_few(s)]
    by_kind = [[s.key for s in some if s.kind == "class"]]
    wrong = [s.key for s in some if s.key in ("right", "wrong")]
    by_kind.append(wrong[::-1])
    names = dict.fromkeys(s.attribute for s in some if s.kind == "group")
    by_kind += [[s.key for s in some if s.kind == "group" and s.attribute == n] for n in names]
    return [(b, a) for keys in by_kind for i, a in enumerate(keys) for b in keys[i + 1 :]]


def mean_maps(
    maps: NDArray[np.float32], found: Sequence[tuple[Subset, Mask]]
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """(S, side, side) means of (n, side, side) normalised maps, and of their absolute values."""
    side = maps.shape[1:]
    means, strengths = (np.full((len(found), *side), np.nan, np.float16) for _ in range(2))
    for i, (_, mask) in enumerate(found):
        if mask.any():
            means[i] = maps[mask].mean(0)
            strengths[i] = np.abs(maps[mask]).mean(0)
    return means, strengths


def map_differences(
    maps: NDArray[np.float32],
    found: Sequence[tuple[Subset, Mask]],
    which: Sequence[tuple[str, str]],
    sample: Sample,
    confidence: float,
) -> tuple[NDArray[np.float16], NDArray[np.float16], list[float]]:
    """(D, side, side) differences of mean strengths and half their intervals, by person.

    The third is the share of pixels whose interval leaves out 0; NaN where none is defined.
    """
    mask_of = {s.key: mask for s, mask in found}
    strength = np.abs(maps).reshape(len(maps), -1)
    shape = (len(which), *maps.shape[1:])
    gaps, halves = np.full(shape, np.nan, np.float16), np.full(shape, np.nan, np.float16)
    marked = []
    for i, (first, second) in enumerate(which):
        gap, half = mean_difference(
            strength, mask_of[first], mask_of[second], sample.cluster, confidence=confidence
        )
        gaps[i], halves[i] = gap.reshape(shape[1:]), half.reshape(shape[1:])
        defined = np.isfinite(half)
        marked.append(float(np.mean(np.abs(gap) > half)) if defined.all() else float("nan"))
    return gaps, halves, marked


def _subset(
    sample: Sample,
    key: str,
    kind: str,
    title: str,
    mask: Mask,
    attribute: str = "",
    value: str = "",
) -> tuple[Subset, Mask]:
    cluster = sample.cluster
    people = None if cluster is None else len(np.unique(cluster[mask]))
    return Subset(key, kind, title, attribute, value, int(mask.sum()), people), mask  # type: ignore[arg-type]
