"""Causal effects of regions: paint over one region, and measure the change of the answers.

A fill is a change of its own (a grey patch is not an absent mouth), so there are several fills, and
a control: the same shape, in the same images, moved to a random place. A region's effect is its
cost beyond the control, under every fill: it is painted over in more and more images until that is
decided (`candid.stats.sequential`).
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

from candid.arrays import FloatArray
from candid.explanation.attribution import image_generator
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

_Answers = NDArray[Any]

_MIN_IMAGES = 50  # images before the first look

# Under each fill, what a region costs beyond the control.
Costs = Callable[["MaskingResult", str, Sample, ExplainConfig], list[Estimate]]


@dataclass(frozen=True, eq=False)
class MaskingResult:
    """Answers before and after masking."""

    before: _Answers  # (n,) classes, or numbers in their own unit
    after: Mapping[tuple[str, str], _Answers]  # by region and fill, with the region painted over
    control: Mapping[tuple[str, str], _Answers]  # the same with its shape painted elsewhere
    # By region: (n,) which images contain it, of those in which it was painted over.
    present: Mapping[str, NDArray[np.bool_]]
    level: Mapping[str, float]  # by region: the confidence of its intervals
    cut: bool = False  # whether time ran out before everything was decided


def answers_when_masked(
    scorer: Scorer,
    sample: Sample,
    regions: Regions,
    config: ExplainConfig,
    *,
    costs: Costs | None = None,
    order: NDArray[np.intp] | None = None,
    advance: Callable[[int], object] = lambda images: None,
    is_over: Callable[[], bool] = lambda: False,
) -> MaskingResult:
    """The network's answers for images with every region painted over, until it is decided.

    A region is decided when its `costs` are; None: `class_costs`. `order` is a random permutation
    of the rows; None: their own order. `advance` is called with a number of images after each look;
    no second look begins once `is_over`.
    """
    n, fills, costs = len(sample), config.fills, costs or class_costs
    order = np.arange(n) if order is None else order
    looks = looks_at(n, config.confidence, fewest=_MIN_IMAGES)
    predictor = ScoredNumbers(scorer) if scorer.number else SecondLook(scorer)
    painter = _Painter(predictor, sample, regions, config, partner_rows(sample, config.seed))
    before = predictor.predict(sample.tensor()).numpy()
    keys = [(region, fill) for region in regions.names for fill in fills]
    after, control = ({key: before.copy() for key in keys} for _ in range(2))
    visible = {name: regions.areas(n)[:, i] > 0 for i, name in enumerate(regions.names)}
    present = {name: np.zeros(n, np.bool_) for name in regions.names}
    level = dict.fromkeys(regions.names, looks.level(0))
    result = MaskingResult(before, after, control, present, level)
    undecided, start = [*regions.names], 0
    for look, stop in enumerate(looks.sizes):
        if look and undecided and is_over():
            return replace(result, cut=True)
        for batch_start in range(start, stop, scorer.batch_size):
            rows = order[batch_start : min(batch_start + scorer.batch_size, stop)]
            painter.paint(result, undecided, rows)
        for name in undecided:
            present[name][order[:stop]] = visible[name][order[:stop]]
            level[name] = looks.level(look)
        advance(stop - start)
        start = stop
        if stop < n:
            undecided = [
                name
                for name in undecided
                if not is_settled(costs(result, name, sample, config), looks, look)
            ]
    return result


@dataclass(frozen=True, eq=False)
class _Painter:
    """Paints over regions and predicts."""

    predictor: SecondLook | ScoredNumbers
    sample: Sample
    regions: Regions
    config: ExplainConfig
    other: NDArray[np.intp]  # (n,) another image for each

    def paint(self, result: MaskingResult, names: Sequence[str], rows: NDArray[np.intp]) -> None:
        """Fill in the answers for some images with some regions painted over."""
        images, seed = self.sample.tensor(rows), self.config.seed
        fills = {
            fill: _fill(fill, images, self.sample, self.other[rows], seed)
            for fill in self.config.fills
        }
        shifts = [random_shift(image, seed) for image in images]
        for name in names:
            region = self.regions.names.index(name)
            inside = [torch.from_numpy(self.regions.of(int(row)) == region) for row in rows]
            shifted = [m.roll(s, (0, 1)) for m, s in zip(inside, shifts, strict=True)]
            for fill, fill_pixels in fills.items():
                for answers, masks in ((result.after, inside), (result.control, shifted)):
                    painted = torch.where(torch.stack(masks)[:, None], fill_pixels, images)
                    answers[name, fill][rows] = self.predictor.predict(painted).numpy()


def class_costs(
    result: MaskingResult, region: str, sample: Sample, config: ExplainConfig
) -> list[Estimate]:
    """Under each fill, a region's cost in weighted F1 beyond the control."""
    return [m.excess_cost for m in maskings(result, sample, config, [region])]


def maskings(
    result: MaskingResult,
    sample: Sample,
    config: ExplainConfig,
    regions: Sequence[str] | None = None,
) -> tuple[Masking, ...]:
    """The costs of regions (None: all) under every fill, with intervals from the same draws."""
    level = result.level if regions is None else {name: result.level[name] for name in regions}
    resamples = {value: _resample(sample, config, value) for value in {*level.values()}}
    return tuple(
        _masking(result, key, sample, resamples[level[key[0]]])
        for key in result.after
        if key[0] in level
    )


def _masking(
    result: MaskingResult, key: tuple[str, str], sample: Sample, resampling: Resample
) -> Masking:
    """One region under one fill."""
    label, n_classes = sample.label, len(sample.classes)
    before, after, control = result.before, result.after[key], result.control[key]
    predictions = {"before": before, "after": after, "control": control}
    cells = {name: confusion_cells(label, a, n_classes) for name, a in predictions.items()}
    changes = np.column_stack([after != before, control != before, np.ones(len(label))])

    def losses(sums: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        f1 = {name: weighted_f1_score(_square(sums[name], n_classes)) for name in predictions}
        return {
            "f1_loss": f1["before"] - f1["after"],
            "control_f1_loss": f1["before"] - f1["control"],
            "excess_f1_loss": f1["control"] - f1["after"],
        }

    def flips(sums: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            share, control = (sums["changes"][..., i] / sums["changes"][..., 2] for i in (0, 1))
        return {"flips": share, "control_flips": control, "excess_flips": share - control}

    visible = result.present[key[0]]
    estimates = bootstrap_sums(losses, cells, visible & (label >= 0), resampling)
    estimates |= bootstrap_sums(flips, {"changes": changes}, visible, resampling)
    region, fill = key
    return Masking(region=region, fill=fill, **estimates)


def subset_maskings(
    result: MaskingResult, sample: Sample, sets: Sequence[ImageSet]
) -> tuple[SubsetMasking, ...]:
    """Every region's cost for each set of images, beyond the control, averaged over the fills."""
    label, before = sample.label, result.before
    records = []
    for region, present in result.present.items():
        keys = [key for key in result.after if key[0] == region]
        flips, losses = np.zeros((2, len(sample)))
        for key in keys:
            after, control = result.after[key], result.control[key]
            flips += ((after != before).astype(float) - (control != before)) / len(keys)
            losses += ((control == label).astype(float) - (after == label)) / len(keys)
        losses[label < 0] = np.nan
        for image_set in sets:
            rows = image_set.mask & present
            person = sample.persons(rows)
            level = result.level[region]
            estimates = (mean(v[rows], person, confidence=level) for v in (losses, flips))
            records.append(SubsetMasking(region, image_set.about.key, *estimates))
    return tuple(records)


def skill(predictions: _Answers, sample: Sample, config: ExplainConfig) -> Estimate:
    """Balanced accuracy less that of guessing; NaN without labels."""
    n_classes = len(sample.classes)

    def excess(sums: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        counts = _square(sums["counts"], n_classes)
        with np.errstate(divide="ignore"):
            guessing = 1 / (counts.sum(-1) > 0).sum(-1)
        return {"skill": balanced_accuracy_score(counts) - guessing}

    cells = {"counts": confusion_cells(sample.label, predictions, n_classes)}
    return bootstrap_sums(
        excess, cells, sample.label >= 0, _resample(sample, config, config.confidence)
    )["skill"]


def _resample(sample: Sample, config: ExplainConfig, confidence: float) -> Resample:
    """The same draws for all estimates on a sample."""
    options = {"draws": config.draws, "seed": config.seed}
    return resample(len(sample), sample.person, confidence=confidence, **options)


def _square(cells: FloatArray, n_classes: int) -> FloatArray:
    return cells.reshape(*cells.shape[:-1], n_classes, n_classes)


# --- fills and shifts ----------------------------------------------------------------------------


def _fill(fill: str, images: Tensor, sample: Sample, other: NDArray[np.intp], seed: int) -> Tensor:
    """(n, 3, side, side): the pixels with which regions are painted over."""
    match fill:
        case "mean":  # of the training images, which is 0
            return torch.zeros_like(images)
        case "blur":
            return gaussian_blur(images, images.shape[-1] / 8)
        case "noise":
            return torch.stack([shuffle_pixels(i, image_generator(i, seed + 3)) for i in images])
        case _:
            return sample.tensor(other)


def partner_rows(sample: Sample, seed: int) -> NDArray[np.intp]:
    """(n,) another image for each, each used once; almost always of another person."""
    n = len(sample)
    order = np.random.default_rng(seed).permutation(n)
    partner = np.empty(n, np.intp)
    partner[order] = np.roll(order, 1)
    return partner


def random_shift(image: Tensor, seed: int) -> tuple[int, int]:
    """The control's shift, down and to the right, with wrap-around."""
    generator = image_generator(image, seed + 5)
    height, width = image.shape[-2:]
    # Not by the full width, which would be no shift.
    down = int(torch.randint(0, height, (1,), generator=generator))
    right = int(torch.randint(1, width, (1,), generator=generator))
    return down, right


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """(n, 3, height, width) after a Gaussian blur; borders are mirrored."""
    radius = max(1, math.ceil(2.5 * sigma))
    radius = min(radius, images.shape[-1] - 1, images.shape[-2] - 1)
    offset = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-(offset**2) / (2 * sigma**2)).to(images.dtype)
    kernel = kernel / kernel.sum()
    planes = images.flatten(0, 1)[:, None]
    planes = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
    planes = F.conv2d(planes, kernel[None, None, :, None])
    planes = F.conv2d(planes, kernel[None, None, None, :])
    return planes.reshape(images.shape)


def shuffle_pixels(image: Tensor, generator: torch.Generator) -> Tensor:
    """(3, height, width): the image's pixels in random order: its colours without shapes."""
    order = torch.randperm(image[0].numel(), generator=generator).to(image.device)
    return image.flatten(1)[:, order].reshape(image.shape)
