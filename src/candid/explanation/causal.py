"""Cause, not only colour: paint over one region, and see what it does to the answers.

A fill is a change of its own (a grey patch is not an absent mouth), so there are several fills, and
a control: the same shape, at the same images, moved to a random place. What a region is needed for
is what it costs beyond the control, under every fill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candid.explanation.pixels import blurred, shuffled
from candid.explanation.regions import Regions
from candid.explanation.saliency import generator_of
from candid.explanation.sample import Sample
from candid.explanation.scoring import Scorer
from candid.records import Estimate
from candid.records.explanation import Masking, Subset, SubsetMasking
from candid.settings import ExplainConfig
from candid.stats.bootstrap import Resample, bootstrap_sums, resample
from candid.stats.intervals import mean
from candid.stats.metrics import balanced_accuracy_score, confusion_cells, weighted_f1_score

Answers = NDArray[np.intp]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Masked:
    """Answers before and after masking.

    Attributes
    ----------
    before
        (n,) the class that the network answers.
    after, control
        By (region, fill): (n,) its answers with the region painted over, and with the region's
        shape painted elsewhere.
    present
        By region: (n,) which images show it.
    """

    before: Answers
    after: Mapping[tuple[str, str], Answers]
    control: Mapping[tuple[str, str], Answers]
    present: Mapping[str, NDArray[np.bool_]]


def masked_answers(
    scorer: Scorer,
    sample: Sample,
    regions: Regions,
    config: ExplainConfig,
    advance: Callable[[int], object] = lambda images: None,
) -> Masked:
    """The network's answers to every image with every region painted over.

    Parameters
    ----------
    scorer
        The network.
    sample, regions
        The images, and where their parts are.
    config
        The fills and the seed.
    advance
        Called with a number of images after each block: for a progress bar.
    """
    n, fills = len(sample), config.fills
    before = np.empty(n, np.intp)
    keys = [(region, fill) for region in regions.names for fill in fills]
    after, control = ({key: np.empty(n, np.intp) for key in keys} for _ in range(2))
    present = {name: regions.areas(n)[:, i] > 0 for i, name in enumerate(regions.names)}
    other = _partners(sample, config.seed)
    for start in range(0, n, scorer.batch_size):
        rows = np.arange(start, min(start + scorer.batch_size, n))
        images = sample[rows].tensor()
        before[rows] = _answers(scorer, images)
        painted = {fill: _fill(fill, images, sample, other[rows], config.seed) for fill in fills}
        shifts = [_shift(image, config.seed) for image in images]
        for i, region in enumerate(regions.names):
            here = [torch.from_numpy(regions.of(int(row)) == i) for row in rows]
            there = [m.roll(s, (0, 1)) for m, s in zip(here, shifts, strict=True)]
            for fill in fills:
                for answers, masks in ((after, here), (control, there)):
                    mask = torch.stack(masks)[:, None]
                    covered = torch.where(mask, painted[fill], images)
                    answers[region, fill][rows] = _answers(scorer, covered)
        advance(len(rows))
    return Masked(before, after, control, present)


def maskings(
    masked: Masked, sample: Sample, classes: int, config: ExplainConfig
) -> tuple[Masking, ...]:
    """What every region and fill cost, with intervals by person from the same draws."""
    people = _people(sample, config)
    return tuple(
        _masking(masked, region, fill, sample.label, classes, people)
        for region, fill in masked.after
    )


def subset_maskings(
    masked: Masked,
    sample: Sample,
    subsets: Sequence[tuple[Subset, NDArray[np.bool_]]],
    confidence: float,
) -> tuple[SubsetMasking, ...]:
    """What every region costs each of some sets of images, beyond the control, over all fills."""
    label, before = sample.label, masked.before
    known = label >= 0
    regions = list(dict.fromkeys(region for region, _ in masked.after))
    found = []
    for region in regions:
        keys = [key for key in masked.after if key[0] == region]
        flips, lost = np.zeros((2, len(sample)))
        for key in keys:
            after, control = masked.after[key], masked.control[key]
            flips += ((after != before).astype(float) - (control != before)) / len(keys)
            lost += ((control == label).astype(float) - (after == label)) / len(keys)
        lost[~known] = np.nan
        for subset, mask in subsets:
            rows = mask & masked.present[region]
            cluster = None if sample.cluster is None else sample.cluster[rows]
            told = (mean(v[rows], cluster, confidence=confidence) for v in (lost, flips))
            found.append(SubsetMasking(region, subset.key, *told))
    return tuple(found)


def _people(sample: Sample, config: ExplainConfig) -> Resample:
    """The same draws for everything that is said of a sample."""
    return resample(
        len(sample),
        sample.identity,
        draws=config.draws,
        confidence=config.confidence,
        seed=config.seed,
    )


def skill(answers: Answers, sample: Sample, classes: int, config: ExplainConfig) -> Estimate:
    """Balanced accuracy less that of guessing; NaN without labels."""
    people = _people(sample, config)

    def beyond(sums: Mapping[str, Floats]) -> dict[str, Floats]:
        counts = _square(sums["counts"], classes)
        labelled = (counts.sum(-1) > 0).sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"skill": balanced_accuracy_score(counts) - 1 / labelled}

    cells = {"counts": confusion_cells(sample.label, answers, classes)}
    return bootstrap_sums(beyond, cells, sample.label >= 0, people)["skill"]


def _masking(
    masked: Masked, region: str, fill: str, label: NDArray[np.int16], classes: int, people: Resample
) -> Masking:
    """One region under one fill."""
    before, after = masked.before, masked.after[region, fill]
    control, shown = masked.control[region, fill], masked.present[region]
    tables = {"before": before, "after": after, "control": control}
    cells = {name: confusion_cells(label, answers, classes) for name, answers in tables.items()}
    changes = np.column_stack([after != before, control != before, np.ones(len(label))])

    def losses(sums: Mapping[str, Floats]) -> dict[str, Floats]:
        f1 = {name: weighted_f1_score(_square(sums[name], classes)) for name in tables}
        return {
            "loss": f1["before"] - f1["after"],
            "control": f1["before"] - f1["control"],
            "excess": f1["control"] - f1["after"],
        }

    def flips(sums: Mapping[str, Floats]) -> dict[str, Floats]:
        with np.errstate(divide="ignore", invalid="ignore"):
            share, elsewhere = (sums["changes"][..., i] / sums["changes"][..., 2] for i in (0, 1))
        return {"flips": share, "control": elsewhere, "excess": share - elsewhere}

    f1 = bootstrap_sums(losses, cells, shown & (label >= 0), people)
    flip = bootstrap_sums(flips, {"changes": changes}, shown, people)
    return Masking(
        region=region,
        fill=fill,
        f1_loss=f1["loss"],
        flips=flip["flips"],
        control_f1_loss=f1["control"],
        control_flips=flip["control"],
        excess_f1_loss=f1["excess"],
        excess_flips=flip["excess"],
    )


def _square(cells: Floats, classes: int) -> Floats:
    return cells.reshape(*cells.shape[:-1], classes, classes)


def _answers(scorer: Scorer, images: Tensor) -> Answers:
    return scorer.all_logits(images).argmax(1).cpu().numpy()


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
            return sample[other].tensor()


def _partners(sample: Sample, seed: int) -> NDArray[np.intp]:
    """(n,) another image for each, everyone once; of another person but by bad luck."""
    n = len(sample)
    order = np.random.default_rng(seed).permutation(n)
    partner = np.empty(n, np.intp)
    partner[order] = np.roll(order, 1)
    return partner


def _shift(image: Tensor, seed: int) -> tuple[int, int]:
    """How far the control's shape moves, down and to the right, around the edges."""
    generator = generator_of(image, seed + 5)
    height, width = image.shape[-2:]
    # Not all the way round, which would be no move at all.
    down = int(torch.randint(0, height, (1,), generator=generator))
    right = int(torch.randint(1, width, (1,), generator=generator))
    return down, right
