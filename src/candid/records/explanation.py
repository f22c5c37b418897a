"""What a network looks at (`explanation.json`), and the maps behind it (`explanation.npz`).

The record holds every figure with its interval; the arrays hold the pictures. The two are joined
by order: `arrays.means[m, s]` is the mean map of `record.methods[m]` over `record.subsets[s]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from candid.records import Estimate
from candid.records.frames import Tabular, html_of, in_short, with_figure
from candid.storage.archives import reading_archive, write_archive

Verdict = Literal["passed", "failed", "not applicable"]
SubsetKind = Literal["all", "class", "outcome", "class and outcome", "group"]


@dataclass(frozen=True, slots=True)
class MapCheck:
    """One test of whether a method's maps are worth anything.

    "not applicable" where it says nothing about the method (completeness of anything but integrated
    gradients; agreement where there is only one method).
    """

    code: str  # RANDOMISATION, DELETION, INSERTION, COMPLETENESS, STABILITY or AGREEMENT
    title: str
    state: Verdict
    figure: Estimate
    threshold: float
    direction: Literal["above", "below"]  # of the threshold must the whole interval lie to pass
    detail: str  # what was seen, in one or two sentences with its figures
    # What the figure is made of, for a chart: the similarity after each layer that was randomised,
    # the advantage over each baseline, the agreement with each other method.
    parts: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make a map, and its badge."""

    name: str  # "integrated_gradients"
    title: str
    about: str  # one sentence: how the map is made
    signed: bool  # says for (above 0) and against (below 0) the explained class, or only how much
    layer: str  # where Grad-CAM hooks in; "" for the others
    state: Verdict  # the badge: "failed" where any check failed, "passed" where some passed
    checks: tuple[MapCheck, ...]  # in a fixed order
    seconds: float  # that the maps took
    # Images whose maps were made, drawn at random from those of the record: fewer where the method
    # failed its checks before, or where fewer decided. And those of each subset, in their order;
    # empty: all.
    n: int = 0
    subset_n: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of the explained images: a class, the mistakes, the pictures annotated so."""

    key: str  # unique: "all", "class:Male", "right", "class:Male,wrong", "group:Eyeglasses=yes"
    kind: SubsetKind  # "class" is what the annotator wrote; "outcome" whether the answer was right
    title: str  # for a reader: "labelled Male, answered wrongly"
    attribute: str  # of a group; "" otherwise
    value: str
    n: int
    people: int | None  # None where people are unknown


@dataclass(frozen=True, slots=True)
class MapDifference:
    """The mean map of one subset less that of another (their keys), pixel by pixel."""

    first: str
    second: str
    # By method: the share of pixels whose interval leaves out 0; chance marks 1 - confidence.
    marked: dict[str, float]


@dataclass(frozen=True, slots=True)
class Region:
    """One part of the face."""

    name: str  # "mouth"
    n: int  # the explained images in which it is to be seen
    area: float  # its mean share of the image's area, among these


@dataclass(frozen=True, slots=True)
class RegionShare:
    """How much of a method's maps lies in a region, over the images of a subset that show it."""

    method: str
    subset: str  # its key
    region: str
    share: Estimate  # of the sum of the map's absolute values
    area: float  # the region's share of the area in the same images
    density: Estimate  # share over area: 1 where the map is spread evenly


@dataclass(frozen=True, slots=True)
class Masking:
    """What happens when a region is painted over with one fill.

    The control is the region's shape moved to a random place: the same area, elsewhere. The excess
    is the region's less the control's, from the same images and draws.
    """

    region: str  # "mouth"
    fill: str  # "mean", "blur", "noise" or "other" (the same pixels of another image)
    f1_loss: Estimate  # weighted F1 untouched less masked; NaN without labels
    flips: Estimate  # the share of images whose answer changes
    control_f1_loss: Estimate
    control_flips: Estimate
    excess_f1_loss: Estimate
    excess_flips: Estimate

    @property
    def cost(self) -> Estimate:
        """What painting the region over costs."""
        return self.f1_loss

    @property
    def excess_cost(self) -> Estimate:
        """The cost less that of the control, which decides."""
        return self.excess_f1_loss


@dataclass(frozen=True, slots=True)
class NumberMasking:
    """As `Masking` of a number: how far it moves, in its own unit.

    `moved` is the mean distance between the number with the region painted over and without,
    `shift` the mean of the first less the second (below 0: it falls), `error_rise` by how much the
    mean absolute error grows.
    """

    region: str
    fill: str
    moved: Estimate
    control_moved: Estimate
    excess_moved: Estimate
    shift: Estimate
    control_shift: Estimate
    excess_shift: Estimate
    error_rise: Estimate
    control_error_rise: Estimate
    excess_error_rise: Estimate

    @property
    def cost(self) -> Estimate:
        """How far the number moves."""
        return self.moved

    @property
    def excess_cost(self) -> Estimate:
        """The cost less that of the control, which decides."""
        return self.excess_moved


@dataclass(frozen=True, slots=True)
class SubsetMasking:
    """What painting over a region does to the answers for some of the images.

    Means over the fills, less the same at the shape's random places (the control), of the images
    that show the region.
    """

    region: str  # "mouth"
    subset: str  # the key of a class or a group
    # The share of images answered rightly before, but not after; less that of the other way round.
    # NaN without labels. (Within one class there is no F1 to lose.)
    right_loss: Estimate
    flips: Estimate  # the share of images whose answer changes


@dataclass(frozen=True, slots=True)
class NumberSubsetMasking:
    """As `SubsetMasking` of a number, in its own unit: `moved` and `shift` less the control's."""

    region: str
    subset: str  # the key of a range of the true value or of a group
    moved: Estimate
    shift: Estimate


@dataclass(frozen=True, slots=True)
class Claim:
    """That the answers rest on a region: what a method says, and what masking says.

    "passed": the method bears a passing badge, its density lies above 1, and under every fill the
    loss of F1 (of a number, how far it moves) is above that of the control (each with its whole
    interval). "failed": one of them does not hold. "not applicable": the badge failed or could not
    be had, the network does not beat guessing, or nothing was masked.
    """

    method: str
    region: str
    state: Verdict


@dataclass(frozen=True, slots=True)
class ExplainedImage:
    """One image whose maps are kept, in the order of the arrays.

    Of a number: what is true, what is predicted with its interval, NaN, and the mean that the maps
    raise and lower; `kind` is "near", "far" or "unsure".
    """

    id: str
    label: str
    prediction: str
    probability: float
    explained: str  # the class that the maps speak for or against
    kind: str  # why it was chosen: "right", "wrong" or "unsure"


@dataclass(frozen=True, slots=True)
class NumberExplained:
    """What else an explanation of a number holds, all in its own unit.

    Attributes
    ----------
    median
        Of the training values: what there is to say without looking.
    blank
        What the network says where there is nothing to see: of the mean colour alone.
    error
        The mean absolute error on the explained images of the mean that is explained.
    tolerance
        How far off a prediction may be to count as near.
    maskings, subset_maskings
        As those of an explanation of classes, whose own are empty.
    """

    median: float
    blank: float
    error: Estimate
    tolerance: float
    maskings: tuple[NumberMasking, ...] = ()
    subset_maskings: tuple[NumberSubsetMasking, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation(Tabular):
    """What a network looks at, and how far its maps can be trusted (`explanation.json`).

    Methods, subsets, differences and examples are in the order of the arrays. Of a number, the maps
    say what raises and what lowers the mean of its distribution; its subsets are ranges of the true
    value in place of classes, near and far off in place of right and wrong.
    """

    target: str
    classes: tuple[str, ...]
    split: str  # where the images come from
    n: int  # images that were drawn; how many of them a figure took, it says itself
    people: int | None  # whom they show
    side: int  # pixels per side of a map
    # which class each map speaks for: "prediction" or "label"; of a number "mean"
    explained: str
    template: str  # where the regions come from: "masks", "landmarks", "celeba", …; "" without
    # Balanced accuracy on these images less that of guessing (1 / classes); of a number, how much
    # smaller its mean absolute error is than that of always answering the training median.
    skill: Estimate
    methods: tuple[Method, ...]
    subsets: tuple[Subset, ...]
    differences: tuple[MapDifference, ...]
    examples: tuple[ExplainedImage, ...]
    regions: tuple[Region, ...]  # these and the next three are empty where there are no regions
    shares: tuple[RegionShare, ...]
    maskings: tuple[Masking, ...]
    claims: tuple[Claim, ...]
    confidence: float
    seed: int
    notes: tuple[str, ...] = ()  # what a reader must know: a smaller sample, a method left out
    subset_maskings: tuple[SubsetMasking, ...] = ()
    number: NumberExplained | None = None  # of a number; else not in the file

    @property
    def region_maskings(self) -> tuple[Masking, ...] | tuple[NumberMasking, ...]:
        """What painting over every region costs, of classes or of a number."""
        return self.maskings if self.number is None else self.number.maskings

    @property
    def region_subset_maskings(
        self,
    ) -> tuple[SubsetMasking, ...] | tuple[NumberSubsetMasking, ...]:
        """What it costs classes and groups, or ranges and groups."""
        return self.subset_maskings if self.number is None else self.number.subset_maskings

    def rows(self) -> list[dict[str, Any]]:
        """One row for each method, subset and region: how dense the maps are there."""
        return [
            with_figure({"method": s.method, "subset": s.subset, "region": s.region}, s.density)
            for s in self.shares
        ]

    def _repr_html_(self) -> str:
        rows = [in_short(r, "method", "region") for r in self.rows() if r["subset"] == "all"]
        return html_of(rows, f"{self.target}: how dense the maps are (1: spread evenly)")

    def mean_loss(self, region: str) -> float:
        """The mean cost over all fills (weighted F1 lost; of a number, how far it moves); NaN where
        nothing was measured.
        """
        costs = [m.cost.value for m in self.region_maskings if m.region == region]
        finite = [cost for cost in costs if math.isfinite(cost)]
        return sum(finite) / len(finite) if finite else math.nan

    def by_cost(self, regions: Iterable[str]) -> list[str]:
        """Regions, the costliest to paint over first; without maskings as they come."""
        costs = {name: self.mean_loss(name) for name in regions}
        return sorted(costs, key=lambda n: -costs[n] if math.isfinite(costs[n]) else math.inf)


@dataclass(frozen=True, eq=False)
class ExplanationArrays:
    """The maps, M methods of S subsets, D differences and E examples of H × H pixels.

    Every image's map is divided by its mean absolute value first, so that 1 is the average pixel
    and an image with large gradients counts no more than another.
    """

    means: NDArray[np.float16]  # (M, S, H, H) with their sign; NaN where the subset is empty
    strengths: NDArray[np.float16]  # (M, S, H, H) means of absolute maps: for or against
    differences: NDArray[np.float16]  # (M, D, H, H) strength of the first less that of the second
    half_widths: NDArray[np.float16]  # (M, D, H, H) half the per-pixel interval, by person
    # (M, E, H, H) with their sign; of an image that was framed first, where it was looked at
    examples: NDArray[np.float16]
    example_images: NDArray[np.uint8]  # (E, H, H, 3) as the network saw them, or before framing
    example_regions: NDArray[np.uint8]  # (E, H, H) index into `regions`; 255 where there are none
    mean_images: NDArray[np.uint8]  # (S, H, H, 3) of each subset, to lay maps over
    template: NDArray[np.uint8]  # (H, H) the commonest region at each pixel; 255: none


def write_explanation_arrays(path: Path, arrays: ExplanationArrays) -> None:
    """Write `explanation.npz`, whole or not at all; the same arrays give the same bytes."""
    write_archive(path, {f.name: getattr(arrays, f.name) for f in fields(arrays)})


def read_explanation_arrays(path: Path) -> ExplanationArrays:
    """Read what `write_explanation_arrays` wrote.

    Raises
    ------
    RunError
        Where the file is missing, damaged, or holds something else.
    """
    with open_explain_file(path, "maps") as arrays:
        return ExplanationArrays(**{f.name: arrays[f.name] for f in fields(ExplanationArrays)})


def open_explain_file(path: Path, kind: str) -> AbstractContextManager[Mapping[str, NDArray[Any]]]:
    """The arrays in a file that `candid explain` wrote; errors as of `reading_archive`."""
    return reading_archive(
        path,
        expected=f"the {kind} that candid explain wrote",
        todo=f"candid explain {path.parent}",
    )
