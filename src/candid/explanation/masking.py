"""Cause, not only colour: paint over one region, and see what it does to the answers.

A fill is a change of its own (a grey patch is not an absent mouth), so there are several fills, and
a control: the same shape, at the same images, moved to a random place. What a region is needed for
is what it costs beyond the control, under every fill: a region is painted over in more and more
images until that is decided (`candid.stats.sequential`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from candid.arrays import Floats
from candid.explanation.attribution import generator_of
from candid.explanation.regions import Regions
from candid.explanation.sample import ImageSet, Sample
from candid.explanation.scoring import ScoredNumbers, Scorer, SecondLook
from candid.records import Estimate
from candid.records.explanation import Masking, SubsetMasking
from candid.settings import ExplainConfig
from candid.stats.bootstrap import Resample, bootstrap_sums, resample
from candid.stats.intervals import mean
from candid.stats.metrics import balanced_accuracy_score, confusion_cells, weighted_f1_score
from candid.stats.sequential import is_settled, looks_at

_Answered = NDArray[Any]

_FEWEST = 50  # images before the first look

# Under each fill, what a region costs beyond the control.
Costs = Callable[["Masked", str, Sample, ExplainConfig], list[Estimate]]


@dataclass(frozen=True, eq=False)
class Masked:
    """Answers before and after masking."""

    before: _Answered  # (n,) what the network answers: classes, or numbers in their own unit
    after: Mapping[tuple[str, str], _Answered]  # by region and fill, with the region painted over
    control: Mapping[tuple[str, str], _Answered]  # the same with its shape painted elsewhere
    # By region: (n,) which of the images in which it was painted over show it.
    present: Mapping[str, NDArray[np.bool_]]
    level: Mapping[str, float]  # by region: the confidence of its intervals
    cut: bool = False  # whether the time was used up before everything was decided


def masked_answers(
    scorer: Scorer,
    sample: Sample,
    regions: Regions,
    config: ExplainConfig,
    *,
    costs: Costs | None = None,
    order: NDArray[np.intp] | None = None,
    advance: Callable[[int], object] = lambda images: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Masked:
    """The network's answers to images with every region painted over, as many as it takes.

    A region is settled where its `costs` are; None: `class_costs`. `order` is a random one of the
    rows, in which they are taken; None: as they come. `advance` is called with a number of images
    after each look; no second one begins once `is_over`.
    """
    n, fills, costs = len(sample), config.fills, costs or class_costs
    order = np.arange(n) if order is None else order
    looks = looks_at(n, config.confidence, fewest=_FEWEST)
    looking = ScoredNumbers(scorer) if scorer.number else SecondLook(scorer)
    work = _Work(looking, sample, regions, config, partners(sample, config.seed))
    before = work.answers.of(sample.tensor()).numpy()
    keys = [(region, fill) for region in regions.names for fill in fills]
    after, control = ({key: before.copy() for key in keys} for _ in range(2))
    shown = {name: regions.areas(n)[:, i] > 0 for i, name in enumerate(regions.names)}
    present = {name: np.zeros(n, np.bool_) for name in regions.names}
    level = dict.fromkeys(regions.names, looks.level(0))
    masked, left, start = Masked(before, after, control, present, level), [*regions.names], 0
    for look, stop in enumerate(looks.sizes):
        if look and left and is_over():
            return replace(masked, cut=True)
        for at in range(start, stop, scorer.batch_size):
            rows = order[at : min(at + scorer.batch_size, stop)]
            work.paint(masked, left, rows)
        for name in left:
            present[name][order[:stop]] = shown[name][order[:stop]]
            level[name] = looks.level(look)
        advance(stop - start)
        start = stop
        if stop < n:
            left = [
                name
                for name in left
                if not is_settled(costs(masked, name, sample, config), looks, look)
            ]
    return masked


@dataclass(frozen=True, eq=False)
class _Work:
    """What images are painted with."""

    answers: SecondLook | ScoredNumbers
    sample: Sample
    regions: Regions
    config: ExplainConfig
    other: NDArray[np.intp]  # (n,) another image for each

    def paint(self, masked: Masked, names: Sequence[str], rows: NDArray[np.intp]) -> None:
        """Fill in the answers to some images with some regions painted over."""
        images, seed = self.sample.tensor(rows), self.config.seed
        painted = {
            fill: _fill(fill, images, self.sample, self.other[rows], seed)
            for fill in self.config.fills
        }
        shifts = [random_shift(image, seed) for image in images]
        for name in names:
            number = self.regions.names.index(name)
            here = [torch.from_numpy(self.regions.of(int(row)) == number) for row in rows]
            there = [m.roll(s, (0, 1)) for m, s in zip(here, shifts, strict=True)]
            for fill, shows in painted.items():
                for answers, masks in ((masked.after, here), (masked.control, there)):
                    covered = torch.where(torch.stack(masks)[:, None], shows, images)
                    answers[name, fill][rows] = self.answers.of(covered).numpy()


def class_costs(
    masked: Masked, region: str, sample: Sample, config: ExplainConfig
) -> list[Estimate]:
    """Under each fill, the weighted F1 that a region costs beyond the control."""
    return [m.excess_cost for m in maskings(masked, sample, config, [region])]


def maskings(
    masked: Masked, sample: Sample, config: ExplainConfig, regions: Sequence[str] | None = None
) -> tuple[Masking, ...]:
    """What regions (None: all) cost under every fill, with intervals from the same draws."""
    chosen = [*masked.level] if regions is None else regions
    people = {
        level: _people(sample, config, level) for level in {masked.level[name] for name in chosen}
    }
    return tuple(
        _masking(masked, key, sample, people[masked.level[key[0]]])
        for key in masked.after
        if key[0] in chosen
    )


def _masking(masked: Masked, key: tuple[str, str], sample: Sample, people: Resample) -> Masking:
    """One region under one fill."""
    label, n_classes = sample.label, len(sample.classes)
    before, after, control = masked.before, masked.after[key], masked.control[key]
    tables = {"before": before, "after": after, "control": control}
    cells = {name: confusion_cells(label, a, n_classes) for name, a in tables.items()}
    changes = np.column_stack([after != before, control != before, np.ones(len(label))])

    def losses(sums: Mapping[str, Floats]) -> dict[str, Floats]:
        f1 = {name: weighted_f1_score(_square(sums[name], n_classes)) for name in tables}
        return {
            "f1_loss": f1["before"] - f1["after"],
            "control_f1_loss": f1["before"] - f1["control"],
            "excess_f1_loss": f1["control"] - f1["after"],
        }

    def flips(sums: Mapping[str, Floats]) -> dict[str, Floats]:
        with np.errstate(divide="ignore", invalid="ignore"):
            share, elsewhere = (sums["changes"][..., i] / sums["changes"][..., 2] for i in (0, 1))
        return {"flips": share, "control_flips": elsewhere, "excess_flips": share - elsewhere}

    shown = masked.present[key[0]]
    found = bootstrap_sums(losses, cells, shown & (label >= 0), people)
    found |= bootstrap_sums(flips, {"changes": changes}, shown, people)
    region, fill = key
    return Masking(region=region, fill=fill, **found)


def subset_maskings(
    masked: Masked, sample: Sample, sets: Sequence[ImageSet]
) -> tuple[SubsetMasking, ...]:
    """What every region costs each of some sets of images, beyond the control, over all fills."""
    label, before = sample.label, masked.before
    found = []
    for region, present in masked.present.items():
        keys = [key for key in masked.after if key[0] == region]
        flips, lost = np.zeros((2, len(sample)))
        for key in keys:
            after, control = masked.after[key], masked.control[key]
            flips += ((after != before).astype(float) - (control != before)) / len(keys)
            lost += ((control == label).astype(float) - (after == label)) / len(keys)
        lost[label < 0] = np.nan
        for each in sets:
            rows = each.mask & present
            who = sample.persons(rows)
            level = masked.level[region]
            both = (mean(v[rows], who, confidence=level) for v in (lost, flips))
            found.append(SubsetMasking(region, each.about.key, *both))
    return tuple(found)


def skill(answers: _Answered, sample: Sample, config: ExplainConfig) -> Estimate:
    """Balanced accuracy less that of guessing; NaN without labels."""
    n_classes = len(sample.classes)

    def beyond(sums: Mapping[str, Floats]) -> dict[str, Floats]:
        counts = _square(sums["counts"], n_classes)
        with np.errstate(divide="ignore"):
            guessing = 1 / (counts.sum(-1) > 0).sum(-1)
        return {"skill": balanced_accuracy_score(counts) - guessing}

    cells = {"counts": confusion_cells(sample.label, answers, n_classes)}
    return bootstrap_sums(
        beyond, cells, sample.label >= 0, _people(sample, config, config.confidence)
    )["skill"]


def _people(sample: Sample, config: ExplainConfig, confidence: float) -> Resample:
    """The same draws for everything that is said of a sample."""
    how = {"draws": config.draws, "seed": config.seed}
    return resample(len(sample), sample.person, confidence=confidence, **how)


def _square(cells: Floats, n_classes: int) -> Floats:
    return cells.reshape(*cells.shape[:-1], n_classes, n_classes)


# --- what shows instead, and where ---------------------------------------------------------------


def _fill(fill: str, images: Tensor, sample: Sample, other: NDArray[np.intp], seed: int) -> Tensor:
    """(n, 3, side, side): what shows where a region is painted over."""
    match fill:
        case "mean":  # of the training images, which is 0
            return torch.zeros_like(images)
        case "blur":
            return blurred(images, images.shape[-1] / 8)
        case "noise":
            return torch.stack([shuffled(i, generator_of(i, seed + 3)) for i in images])
        case _:
            return sample.tensor(other)


def partners(sample: Sample, seed: int) -> NDArray[np.intp]:
    """(n,) another image for each, everyone once; of another person but by bad luck."""
    n = len(sample)
    order = np.random.default_rng(seed).permutation(n)
    partner = np.empty(n, np.intp)
    partner[order] = np.roll(order, 1)
    return partner


def random_shift(image: Tensor, seed: int) -> tuple[int, int]:
    """How far the control's shape moves, down and to the right, around the edges."""
    generator = generator_of(image, seed + 5)
    height, width = image.shape[-2:]
    # Not all the way round, which would be no move at all.
    down = int(torch.randint(0, height, (1,), generator=generator))
    right = int(torch.randint(1, width, (1,), generator=generator))
    return down, right


def blurred(images: Tensor, sigma: float) -> Tensor:
    """(n, 3, height, width) after a Gaussian blur; borders are mirrored."""
    radius = max(1, math.ceil(2.5 * sigma))
    radius = min(radius, images.shape[-1] - 1, images.shape[-2] - 1)
    place = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-(place**2) / (2 * sigma**2)).to(images.dtype)
    kernel = kernel / kernel.sum()
    planes = images.flatten(0, 1)[:, None]
    planes = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
    planes = F.conv2d(planes, kernel[None, None, :, None])
    planes = F.conv2d(planes, kernel[None, None, None, :])
    return planes.reshape(images.shape)


def shuffled(image: Tensor, generator: torch.Generator) -> Tensor:
    """(3, height, width): the image's own pixels in another order, so its colours and no shapes."""
    order = torch.randperm(image[0].numel(), generator=generator).to(image.device)
    return image.flatten(1)[:, order].reshape(image.shape)
