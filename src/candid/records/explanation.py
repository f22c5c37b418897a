"""What a network looks at (`explanation.json`), and the maps behind it (`explanation.npz`).

The record holds every figure with its interval; the arrays hold the pictures. The two are joined
by order: `arrays.means[m, s]` is the mean map of `record.methods[m]` over `record.subsets[s]`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from candid.records import Estimate
from candid.storage.files import atomic, open_regular, reading

Verdict = Literal["passed", "failed", "not applicable"]
SubsetKind = Literal["all", "class", "outcome", "class and outcome", "group"]


@dataclass(frozen=True, slots=True)
class MapCheck:
    """One test of whether a method's maps are worth anything.

    Attributes
    ----------
    code
        "RANDOMISATION", "DELETION", "INSERTION", "COMPLETENESS", "STABILITY" or "AGREEMENT".
    title
        A few words for a heading.
    state
        "not applicable" where the test says nothing about this method (completeness of anything
        but integrated gradients; agreement where there is only one method).
    figure
        What was measured, with its interval.
    threshold
        What the figure was held against.
    direction
        Whether the whole interval must lie above or below the threshold to pass.
    detail
        What was seen, in one or two sentences with its figures.
    parts
        What the figure is made of, for a chart: the similarity after each layer that was
        randomised, the advantage over each baseline, the agreement with each other method.
    """

    code: str
    title: str
    state: Verdict
    figure: Estimate
    threshold: float
    direction: Literal["above", "below"]
    detail: str
    parts: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make a map, and its badge.

    Attributes
    ----------
    name, title
        "integrated_gradients", "Integrated gradients".
    about
        One sentence: how the map is made.
    signed
        Whether a map says for (above 0) and against (below 0) the explained class, or only how
        much (0 or above).
    layer
        Where Grad-CAM hooks in; "" for the others.
    state
        The badge: "failed" where any check failed, "passed" where some passed and none failed.
    checks
        Every check, in a fixed order.
    seconds
        How long the maps of the whole sample took.
    """

    name: str
    title: str
    about: str
    signed: bool
    layer: str
    state: Verdict
    checks: tuple[MapCheck, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of the explained images: a class, the mistakes, the pictures annotated so.

    Attributes
    ----------
    key
        Unique: "all", "class:Male", "right", "class:Male,wrong", "group:Eyeglasses=yes".
    kind
        "class" is what the annotator wrote; "outcome" whether the answer was right.
    title
        For a reader: "labelled Male, answered wrongly".
    attribute, value
        Of a group: "Eyeglasses", "yes"; "" otherwise.
    n, people
        How many images, and of how many people (None where identities are unknown).
    """

    key: str
    kind: SubsetKind
    title: str
    attribute: str
    value: str
    n: int
    people: int | None


@dataclass(frozen=True, slots=True)
class MapDifference:
    """The mean map of one subset less that of another, pixel by pixel.

    Attributes
    ----------
    first, second
        Keys of the subsets.
    marked
        By method: the share of pixels whose interval leaves out 0. Chance alone marks
        1 - confidence of them.
    """

    first: str
    second: str
    marked: dict[str, float]


@dataclass(frozen=True, slots=True)
class Region:
    """One part of the face.

    Attributes
    ----------
    name
        "mouth".
    n
        The explained images in which it is to be seen.
    area
        Its mean share of the image's area, among these.
    """

    name: str
    n: int
    area: float


@dataclass(frozen=True, slots=True)
class RegionShare:
    """How much of a method's maps lies in a region, over the images of a subset that show it.

    Attributes
    ----------
    method, subset, region
        Names and a subset's key.
    share
        The region's share of the sum of the map's absolute values.
    area
        Its share of the area in the same images.
    density
        Share over area: 1 where the map is spread evenly.
    """

    method: str
    subset: str
    region: str
    share: Estimate
    area: float
    density: Estimate


@dataclass(frozen=True, slots=True)
class Masking:
    """What happens when a region is painted over with one fill.

    Attributes
    ----------
    region, fill
        "mouth"; "mean", "blur", "noise" or "other" (the same pixels of another image).
    f1_loss
        Weighted F1 of the untouched images less that of the masked ones; NaN without labels.
    flips
        The share of images whose answer changes.
    control_f1_loss, control_flips
        The same for the region's shape moved to a random place: the same area, elsewhere.
    excess_f1_loss, excess_flips
        The region's loss (flips) less the control's, from the same images and draws.
    """

    region: str
    fill: str
    f1_loss: Estimate
    flips: Estimate
    control_f1_loss: Estimate
    control_flips: Estimate
    excess_f1_loss: Estimate
    excess_flips: Estimate


@dataclass(frozen=True, slots=True)
class SubsetMasking:
    """What painting over a region does to the answers for some of the images.

    Means over the fills, less the same at the shape's random places (the control), of the images
    that show the region.

    Attributes
    ----------
    region, subset
        "mouth"; the key of a class or a group: "class:Male", "group:Eyeglasses=yes".
    right_loss
        The share of images answered rightly before, but not after; less that of the other way
        round. NaN without labels. (Within one class there is no F1 to lose.)
    flips
        The share of images whose answer changes.
    """

    region: str
    subset: str
    right_loss: Estimate
    flips: Estimate


@dataclass(frozen=True, slots=True)
class Claim:
    """That the answers rest on a region: what a method says, and what masking says.

    Attributes
    ----------
    method, region
        Names.
    state
        "passed": the method bears a passing badge, its density lies above 1, and under every fill
        the loss of F1 is above that of the control (each with its whole interval). "failed": one of
        them does not hold. "not applicable": the badge failed or could not be had, the network does
        not beat guessing, or nothing was masked.
    """

    method: str
    region: str
    state: Verdict


@dataclass(frozen=True, slots=True)
class ExplainedImage:
    """One image whose maps are kept, in the order of the arrays.

    `explained` is the class that the maps speak for or against; `kind` says why it was chosen:
    "right", "wrong" or "unsure".
    """

    id: str
    label: str
    prediction: str
    probability: float
    explained: str
    kind: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a network looks at, and how far its maps can be trusted (`explanation.json`).

    Attributes
    ----------
    target, classes
        The label's name and values.
    split
        Where the images come from.
    n, people
        How many were explained, and how many people they show.
    side
        Pixels per side of a map.
    explained
        Which class each map speaks for: "prediction" or "label".
    template
        Where the regions come from: "masks", "landmarks", "celeba", …; "" where there are none.
    skill
        Balanced accuracy on these images less that of guessing (1 / classes).
    methods, subsets, differences, examples
        In the order of the arrays.
    regions, shares, maskings, claims
        Empty where there are no regions.
    confidence, seed
        Of all intervals; of everything random.
    notes
        What a reader must know: a smaller sample, a method left out and why.
    subset_maskings
        What painting over each region does for each class and group; see `SubsetMasking`.
    """

    target: str
    classes: tuple[str, ...]
    split: str
    n: int
    people: int | None
    side: int
    explained: str
    template: str
    skill: Estimate
    methods: tuple[Method, ...]
    subsets: tuple[Subset, ...]
    differences: tuple[MapDifference, ...]
    examples: tuple[ExplainedImage, ...]
    regions: tuple[Region, ...]
    shares: tuple[RegionShare, ...]
    maskings: tuple[Masking, ...]
    claims: tuple[Claim, ...]
    confidence: float
    seed: int
    notes: tuple[str, ...] = ()
    subset_maskings: tuple[SubsetMasking, ...] = ()


@dataclass(frozen=True, eq=False)
class ExplanationArrays:
    """The maps, M methods of S subsets, D differences and E examples of H × H pixels.

    Every image's map is divided by its mean absolute value first, so that 1 is the average pixel
    and an image with large gradients counts no more than another.

    Attributes
    ----------
    means
        (M, S, H, H) float16: mean map per subset, with its sign; NaN where the subset is empty.
    strengths
        (M, S, H, H) float16: mean of the absolute maps: where the method looks, for or against.
    differences
        (M, D, H, H) float16: strength of the first subset less that of the second.
    half_widths
        (M, D, H, H) float16: half the per-pixel interval of the difference, by person.
    examples
        (M, E, H, H) float16: the examples' maps, with their sign.
    example_images
        (E, H, H, 3) uint8: the images as the network saw them.
    example_regions
        (E, H, H) uint8: index into `Explanation.regions`; 255 where there are none.
    mean_images
        (S, H, H, 3) uint8: the mean image of each subset, to lay maps over.
    template
        (H, H) uint8: the commonest region at each pixel, index into `Explanation.regions`; 255
        where there are none.
    """

    means: NDArray[np.float16]
    strengths: NDArray[np.float16]
    differences: NDArray[np.float16]
    half_widths: NDArray[np.float16]
    examples: NDArray[np.float16]
    example_images: NDArray[np.uint8]
    example_regions: NDArray[np.uint8]
    mean_images: NDArray[np.uint8]
    template: NDArray[np.uint8]


def write_explanation_arrays(path: Path, arrays: ExplanationArrays) -> None:
    """Write `explanation.npz`, whole or not at all; the same arrays give the same bytes."""
    with atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **{f.name: getattr(arrays, f.name) for f in fields(arrays)})


def read_explanation_arrays(path: Path) -> ExplanationArrays:
    """Read what `write_explanation_arrays` wrote.

    Raises
    ------
    RunError
        Where the file is missing, damaged, or holds something else.
    """
    with (
        reading(
            path,
            expected="the maps that candid explain wrote",
            todo=f"candid explain {path.parent}",
        ),
        open_regular(path) as file,
        np.load(file, allow_pickle=False) as found,
    ):
        return ExplanationArrays(**{f.name: found[f.name] for f in fields(ExplanationArrays)})
