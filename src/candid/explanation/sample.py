"""The images to explain, their annotations, and sets of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candid.arrays import BoolArray
from candid.errors import CandidError
from candid.models.forward import Images
from candid.predictions import Attribute
from candid.records.explanation import Subset, SubsetKind
from candid.settings import ExplainConfig
from candid.stats.associations import cramers_v
from candid.table import Table

FEWEST = 10  # people in a mean map that is compared with another, pixel by pixel


@dataclass(frozen=True, eq=False)
class Sample(Table):
    """n images and their annotations."""

    PER_IMAGE = (*Table.PER_IMAGE, "images")

    images: NDArray[Any]  # (n, side, side, 3) uint8, or (n, 3, side, side) normalised floats
    mean: tuple[float, float, float]  # per channel, of pixels scaled to 0…1
    std: tuple[float, float, float]

    @property
    def side(self) -> int:
        """Pixels per side."""
        return int(self.images.shape[2])

    def tensor(self, rows: NDArray[Any] | slice = slice(None)) -> Tensor:
        """(rows, 3, side, side) float32, normalised."""
        images = np.ascontiguousarray(self.images[rows])
        if images.dtype != np.uint8:
            return torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
        return Images(images, self.mean, self.std).normalised(torch.from_numpy(images))

    def pictures(self) -> NDArray[np.uint8]:
        """(n, side, side, 3) uint8, for display."""
        if self.images.dtype == np.uint8:
            return self.images
        mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        pixels = ((self.images * std + mean) * 255).round().clip(0, 255)
        return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).astype(np.uint8)


def make_sample(
    images: NDArray[Any] | Tensor,
    classes: Sequence[str] = (),
    target: str = "label",
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    label: NDArray[Any] | None = None,
    person: NDArray[Any] | None = None,
    ids: NDArray[Any] | None = None,
    attributes: Mapping[str, Attribute] | None = None,
) -> Sample:
    """A sample of arrays.

    Raises CandidError where shapes do not fit each other, pixels are not finite, or uint8 images
    come without mean and std.
    """
    array = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    _check_pixels(array, mean, std)
    n, attributes = len(array), attributes or {}
    arrays = {"label": label, "person": person, "ids": ids}
    arrays |= {name: a.data for name, a in attributes.items()}
    for name, values in arrays.items():
        if values is not None and np.shape(values) != (n,):
            raise CandidError(
                f"{name} has the shape {np.shape(values)}, and there are {n} images.",
                expected="one value per image",
                todo=f"pass {name} in the order of the images",
            )
    return Sample(
        target=target,
        classes=tuple(classes),
        ids=np.arange(n).astype(np.str_) if ids is None else np.asarray(ids, np.str_),
        split=np.full(n, "test"),
        label=np.full(n, -1, np.int16) if label is None else np.asarray(label, np.int16),
        images=array,
        mean=mean or (0.5, 0.5, 0.5),
        std=std or (0.25, 0.25, 0.25),
        person=None if person is None else np.asarray(person, np.int64),
        attributes=attributes,
    )


def _check_pixels(array: NDArray[Any], mean: object, std: object) -> None:
    """Raise a CandidError where an array has no images, or they cannot be normalised."""
    is_uint8 = array.dtype == np.uint8
    channels = array.shape[-1] if is_uint8 and array.ndim == 4 else (array.shape[1:2] or (0,))[0]
    is_square = array.ndim == 4 and array.shape[2] == array.shape[1 if is_uint8 else 3]
    if not is_square or channels != 3 or not len(array) or array.dtype.kind not in "uf":
        raise CandidError(
            f"The images have the shape {array.shape} and the type {array.dtype}.",
            expected="at least one image: uint8 (n, side, side, 3), or normalised floats "
            "(n, 3, side, side)",
            todo="convert them",
        )
    if is_uint8 and (mean is None or std is None):
        raise CandidError(
            "The images are uint8, and nothing says how they are normalised.",
            expected="mean and std per channel, of pixels scaled to 0…1",
            todo="pass mean= and std=, or normalised floats",
        )
    if not is_uint8 and not np.isfinite(array).all():
        raise CandidError(
            "Some pixels are not finite.", expected="finite numbers", todo="check the images"
        )


# --- sets of images ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set of images: its record, and its mask (n,)."""

    about: Subset
    mask: NDArray[np.bool_]

    @property
    def too_few(self) -> bool:
        """Whether there are too few people (images, where people are unknown) to compare."""
        return (self.about.n if self.about.people is None else self.about.people) < FEWEST

    def restrict(self, rows: NDArray[np.intp], sample: Sample) -> ImageSet:
        """The set restricted to rows, of which `sample` is the sample."""
        mask = self.mask[rows]
        about = replace(self.about, n=int(mask.sum()), people=sample.n_people(mask))
        return ImageSet(about, mask)


@dataclass(frozen=True, slots=True)
class SetNames:
    """The names of sets of images: those of a class, those with right and wrong answers."""

    of_class: str
    right: str
    wrong: str
    crossed: bool  # whether there are sets of class and outcome


_CLASS_NAMES = SetNames("labelled", "answered rightly", "answered wrongly", True)


def make_image_sets(
    sample: Sample, is_right: BoolArray, config: ExplainConfig, names: SetNames = _CLASS_NAMES
) -> list[ImageSet]:
    """The sets of images with mean maps: all, classes, right and wrong, both, groups.

    `is_right` (n,) is whether an answer is right, of images with a label.
    """
    label, all_images = sample.label, np.ones(len(sample), np.bool_)
    sets: list[ImageSet] = []

    def add(key: str, kind: SubsetKind, title: str, mask: BoolArray, *group: str) -> None:
        attribute, value = group or ("", "")
        sizes = int(mask.sum()), sample.n_people(mask)
        subset = Subset(key, kind, title, attribute, value, *sizes)
        sets.append(ImageSet(subset, mask))

    add("all", "all", "all images", all_images)
    is_labelled = label >= 0
    if is_labelled.any():
        of_class = {name: label == c for c, name in enumerate(sample.classes)}
        titles = {name: f"{names.of_class} {name}" for name in of_class}
        outcomes = {
            "right": (names.right, is_labelled & is_right),
            "wrong": (names.wrong, is_labelled & ~is_right),
        }
        for name, mask in of_class.items():
            add(f"class:{name}", "class", titles[name], mask)
        for outcome, (title, mask) in outcomes.items():
            add(outcome, "outcome", title, mask)
        for name, mask in of_class.items() if names.crossed else ():
            for outcome, (title, outcome_mask) in outcomes.items():
                title_ = f"{titles[name]}, {title}"
                add(f"class:{name},{outcome}", "class and outcome", title_, outcome_mask & mask)
    for a in _grouping_attributes(sample, config):
        for code, value in enumerate(a.values):
            mask = a.data == code
            if int(mask.sum()) >= config.min_group:
                title = f"annotated {a.name}: {value}"
                add(f"group:{a.name}={value}", "group", title, mask, a.name, value)
    return sets


def _grouping_attributes(sample: Sample, config: ExplainConfig) -> list[Attribute]:
    """The attributes whose groups have mean maps: by name, or by association with the label.

    Numbers have no groups. Without names, an attribute needs two groups of `min_group` images.
    """
    coded = {n: a for n, a in sample.attributes.items() if a.kind != "numeric"}
    if config.groups:
        return [coded[name] for name in config.groups if name in coded]
    association = {}
    for name, a in coded.items():
        sizes = np.bincount(a.data[a.data >= 0], minlength=len(a.values))
        if np.count_nonzero(sizes >= config.min_group) < 2:
            continue
        table = np.zeros((len(a.values), len(sample.classes)))
        is_known = (a.data >= 0) & (sample.label >= 0)
        np.add.at(table, (a.data[is_known], sample.label[is_known]), 1)
        association[name] = float(np.nan_to_num(cramers_v(table), nan=-1.0))
    order = sorted(association, key=lambda name: (-association[name], name))
    return [coded[name] for name in order[: config.max_groups]]


def comparable_pairs(sets: Sequence[ImageSet]) -> list[tuple[ImageSet, ImageSet]]:
    """The pairs of sets to compare: classes, wrong and right, the groups of an attribute.

    Without sets of too few people, whose intervals would be meaningless.
    """
    large = [s for s in sets if not s.too_few]
    families = [[s for s in large if s.about.kind == "class"]]
    families.append([s for s in large if s.about.kind == "outcome"][::-1])
    attributes = dict.fromkeys(s.about.attribute for s in large if s.about.kind == "group")
    families += [[s for s in large if s.about.attribute == name] for name in attributes]
    return [(b, a) for family in families for i, a in enumerate(family) for b in family[i + 1 :]]
