"""From maps, checks and masks to the record: shares of regions, claims, examples, pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from candid.explanation.regions import Regions
from candid.explanation.sample import Sample
from candid.records import Estimate
from candid.records.explanation import (
    Claim,
    ExplainedImage,
    Masking,
    Method,
    Region,
    RegionShare,
    Subset,
    Verdict,
)
from candid.stats.intervals import ratios

_NO_REGION = 255


def shares(
    method: str,
    maps: NDArray[np.float32],
    regions: Regions,
    found: Sequence[tuple[Subset, NDArray[np.bool_]]],
    sample: Sample,
    confidence: float,
) -> list[RegionShare]:
    """How much of the maps lies in each region, per subset, beside its share of the area.

    Of the (n, side, side) maps only the absolute values count; a map of zeros has no shares.
    """
    strength = np.abs(maps)
    total = strength.sum(axis=(1, 2), dtype=np.float64)[:, None]
    share = np.divide(
        regions.sums(strength), total, out=np.full((len(maps), len(regions.names)), np.nan),
        where=total > 0,
    )  # fmt: skip
    area = regions.areas(len(maps))
    share = np.where(area > 0, share, np.nan)
    cluster, made = sample.cluster, []
    for subset, mask in found:
        who = None if cluster is None else cluster[mask]
        each = ratios(share[mask], None, who, confidence=confidence)
        dense = ratios(share[mask], area[mask], who, confidence=confidence)
        for i, region in enumerate(regions.names):
            mine = area[mask, i][area[mask, i] > 0]
            mean_area = float(mine.mean()) if len(mine) else float("nan")
            made.append(RegionShare(method, subset.key, region, each[i], mean_area, dense[i]))
    return made


def region_records(regions: Regions, n: int) -> tuple[Region, ...]:
    """How often each region is to be seen, and how large it is there."""
    areas = regions.areas(n)
    made = []
    for i, name in enumerate(regions.names):
        mine = areas[:, i][areas[:, i] > 0]
        made.append(Region(name, len(mine), float(mine.mean()) if len(mine) else float("nan")))
    return tuple(made)


def claims(
    methods: Sequence[Method],
    shares: Sequence[RegionShare],
    maskings: Sequence[Masking],
    skill: Estimate,
) -> tuple[Claim, ...]:
    """Which regions the answers rest on, by every method that may say so; see `Claim`."""
    dense = {(s.method, s.region): s.density for s in shares if s.subset == "all"}
    names = list(dict.fromkeys(s.region for s in shares))
    costs = {name: [m.excess_f1_loss for m in maskings if m.region == name] for name in names}
    able = bool(skill.low > 0)

    def state(method: Method, region: str) -> Verdict:
        known = [e for e in costs[region] if not np.isnan(e.low)]
        if method.state != "passed" or not able or not known or len(known) < len(costs[region]):
            return "not applicable"
        rests = dense[method.name, region].low > 1 and all(e.low > 0 for e in known)
        return "passed" if rests else "failed"

    return tuple(Claim(m.name, region, state(m, region)) for m in methods for region in names)


# --- examples ------------------------------------------------------------------------------------


def example_rows(sample: Sample, probability: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Rows of the images whose maps are kept: a third each right, wrong and unsure.

    Right answers come evenly from the labels, the surest first; mistakes the surest first. Where
    there are too few of a kind, others take their place.
    """
    answers, sure = probability.argmax(1), probability.max(1)
    label = sample.label
    order = np.argsort(-sure, kind="stable")
    right = _in_turns([r for r in order if label[r] == answers[r]], label)
    wrong = [int(r) for r in order if label[r] >= 0 and label[r] != answers[r]]
    unsure = [int(r) for r in order[::-1]]
    kinds = [right, wrong, unsure, right, unsure]
    taken: list[int] = []
    for i, kind in enumerate(kinds):
        room = count - len(taken) if i > 2 else -(-(count - len(taken)) // (3 - i))
        taken += [r for r in kind if r not in set(taken)][: max(0, room)]
    return np.array(taken[:count], np.intp)


def _in_turns(rows: Sequence[np.intp], label: NDArray[np.int16]) -> list[int]:
    """The rows, one of each label after the other."""
    queues = [[int(r) for r in rows if label[r] == c] for c in np.unique(label)]
    longest = max((len(q) for q in queues), default=0)
    return [q[i] for i in range(longest) for q in queues if i < len(q)]


def examples(
    sample: Sample,
    classes: tuple[str, ...],
    probability: NDArray[np.float64],
    chosen: NDArray[np.intp],
    rows: NDArray[np.intp],
) -> tuple[ExplainedImage, ...]:
    """What is known of the images whose maps are kept."""
    made = []
    for row in rows:
        label, answer = int(sample.label[row]), int(probability[row].argmax())
        kind = "wrong" if label not in (-1, answer) else "right" if label == answer else "unsure"
        if probability[row].max() < 0.75:
            kind = "unsure"
        made.append(
            ExplainedImage(
                id=str(sample.ids[row]),
                label=classes[label] if label >= 0 else "",
                prediction=classes[answer],
                probability=float(probability[row, answer]),
                explained=classes[int(chosen[row])],
                kind=kind,
            )
        )
    return tuple(made)


# --- pictures ------------------------------------------------------------------------------------


def mean_images(
    pictures: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]]
) -> NDArray[np.uint8]:
    """(S, side, side, 3): the mean picture of each subset; grey where it is empty."""
    made = np.full((len(masks), *pictures.shape[1:]), 128, np.uint8)
    for i, mask in enumerate(masks):
        if mask.any():
            made[i] = pictures[mask].mean(axis=0).round()
    return made


def example_regions(
    regions: Regions | None, rows: NDArray[np.intp], side: int
) -> NDArray[np.uint8]:
    """(E, side, side) index of the region at each pixel, 255 where there are none."""
    made = np.full((len(rows), side, side), _NO_REGION, np.uint8)
    for i, row in enumerate(rows):
        if regions is not None:
            made[i] = regions.of(int(row))
    return made


def commonest(regions: Regions | None, side: int) -> NDArray[np.uint8]:
    """(side, side) index of the region that most images have at each pixel; 255: none."""
    if regions is None:
        return np.full((side, side), _NO_REGION, np.uint8)
    counts = np.stack([(regions.masks == i).sum(0) for i in range(len(regions.names))])
    most: NDArray[np.uint8] = counts.argmax(0).astype(np.uint8)
    return most
