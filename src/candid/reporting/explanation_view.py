"""What the report shows of an explanation: pictures beside figures, in the order of the page.

Figures come from the record, pictures from its arrays. Texts are plain: the template escapes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import RunError
from candid.records.explanation import (
    Explanation,
    ExplanationArrays,
    MapCheck,
    Masking,
    Method,
    NumberMasking,
    NumberSubsetMasking,
    RegionShare,
    Subset,
    SubsetMasking,
)
from candid.records.inside import FACES_ARRAY, FILTERS_ARRAY, WEIGHTS_ARRAY, Inside
from candid.reporting import maps
from candid.text import explanation as prose
from candid.text import places, words


@dataclass(frozen=True)
class Overlay:
    """A map over a face."""

    title: str  # stands below it
    about: str  # what it shows, for those who cannot see it
    picture: str  # data URI
    backdrop: str  # the CSS variable that holds what it lies over


@dataclass(frozen=True)
class ExplainedFace:
    """One explained image, with a map by each method in their order."""

    about: str
    sentence: str
    backdrop: str
    overlays: tuple[Overlay, ...]


@dataclass(frozen=True)
class SideBySide:
    """Two subsets' mean maps, and where they differ by more than chance."""

    title: str
    note: str
    overlays: tuple[Overlay, ...]


@dataclass(frozen=True)
class MeanMaps:
    """One method's mean maps: of classes and outcomes, with their sign, in pairs, of groups."""

    method: Method
    overlays: tuple[Overlay, ...]
    signed: tuple[Overlay, ...]
    pairs: tuple[SideBySide, ...]
    groups: tuple[SideBySide, ...]
    other_groups: tuple[Overlay, ...]


@dataclass(frozen=True)
class RegionTable:
    """One method's shares: for each subset one share per region, None where there is none."""

    method: Method
    rows: tuple[tuple[Subset, tuple[RegionShare | None, ...]], ...]


@dataclass(frozen=True)
class Legend:
    """What a colour on the template stands for."""

    name: str
    colour: str
    area: float


@dataclass(frozen=True)
class ExplanationView:
    """Everything that the section shows."""

    record: Explanation
    columns: tuple[tuple[str, str, str], ...]  # of every check: code, title, threshold
    tables: tuple[RegionTable, ...]
    maskings: list[tuple[str, list[Masking | NumberMasking]]]
    subset_maskings: list[tuple[Subset, list[SubsetMasking | NumberSubsetMasking]]]
    legend: tuple[Legend, ...]
    faces: tuple[ExplainedFace, ...] = ()
    means: tuple[MeanMaps, ...] = ()
    template: Overlay | None = None
    backdrops: tuple[tuple[str, str], ...] = ()  # CSS variable and data URI: each once in the file

    @property
    def first(self) -> int:
        """The number of the method that is shown first: one that passed, where there is any."""
        states = [m.state for m in self.record.methods]
        return states.index("passed") if "passed" in states else 0

    @staticmethod
    def check(method: Method, code: str) -> MapCheck | None:
        """A method's check by its code, None where it was not made."""
        return next((c for c in method.checks if c.code == code), None)


def build_view(
    record: Explanation | None, arrays: ExplanationArrays | None
) -> ExplanationView | None:
    """Build the section's view; None where there is no explanation.

    Raises
    ------
    RunError
        Where the maps are not those of the record.
    """
    if record is None:
        return None
    colours = maps.REGION_COLOURS
    checks = {c.code: c for method in record.methods for c in method.checks}
    return ExplanationView(
        record=record,
        columns=tuple(
            (code, c.title, f"to lie {c.direction} {words.number(c.threshold, 2)}")
            for code, c in checks.items()
        ),
        tables=_region_tables(record),
        maskings=masking_table(record),
        subset_maskings=subset_masking_table(record),
        legend=tuple(
            Legend(r.name, colours[i % len(colours)], r.area) for i, r in enumerate(record.regions)
        ),
        **({} if arrays is None else _MapPictures(record, arrays).view_fields()),
    )


def _region_tables(record: Explanation) -> tuple[RegionTable, ...]:
    """Every subset's shares by every method that has any."""
    shares = {(s.method, s.subset, s.region): s for s in record.shares}
    names = [r.name for r in record.regions]
    tables = []
    for method in record.methods:
        rows = (
            (s, tuple(shares.get((method.name, s.key, r)) for r in names)) for s in record.subsets
        )
        tables.append(RegionTable(method, tuple(row for row in rows if any(row[1]))))
    return tuple(table for table in tables if table.rows)


def masking_table(e: Explanation) -> list[tuple[str, list[Masking | NumberMasking]]]:
    """The maskings of each region, the costliest first, undefined last."""
    rows: dict[str, list[Masking | NumberMasking]] = {r.name: [] for r in e.regions}
    for masking in e.region_maskings:
        rows.setdefault(masking.region, []).append(masking)
    return [(name, rows[name]) for name in e.by_cost(rows) if rows[name]]


def subset_masking_table(
    e: Explanation,
) -> list[tuple[Subset, list[SubsetMasking | NumberSubsetMasking]]]:
    """Of each class and group, what painting over each region costs, in the order of the regions.

    A region that none of its images shows has no figures, but keeps its place.
    """
    maskings = {(m.subset, m.region): m for m in e.region_subset_maskings}
    keys = {m.subset for m in e.region_subset_maskings}
    return [
        (s, [maskings[s.key, r.name] for r in e.regions if (s.key, r.name) in maskings])
        for s in e.subsets
        if s.key in keys
    ]


class _MapPictures:
    """The arrays of a record as pictures."""

    def __init__(self, record: Explanation, arrays: ExplanationArrays) -> None:
        self.record, self.arrays = record, arrays
        self.number = {s.key: i for i, s in enumerate(record.subsets)}
        m, s = len(record.methods), len(record.subsets)
        d, e = len(record.differences), len(record.examples)
        counts = {
            "means": (m, s),
            "strengths": (m, s),
            "differences": (m, d),
            "half_widths": (m, d),
            "examples": (m, e),
            "example_images": (e,),
            "mean_images": (s,),
        }
        for name, axes in counts.items():
            actual = getattr(arrays, name).shape
            shape = (*axes, *arrays.template.shape, *((3,) if len(axes) == 1 else ()))
            if actual != shape:
                raise RunError(
                    f"The maps are not those of the explanation: {name} has the shape {actual}.",
                    expected=f"the shape {shape}",
                    todo="run candid explain again, which writes both",
                )

    def view_fields(self) -> dict[str, Any]:
        """What an `ExplanationView` shows of them."""
        return {
            "faces": tuple(self._face(e) for e in range(len(self.record.examples))),
            "means": tuple(self._means(m) for m in range(len(self.record.methods))),
            "template": self._template(),
            "backdrops": self._backdrops(),
        }

    def _backdrops(self) -> tuple[tuple[str, str], ...]:
        """Each example, and the mean image of each subset."""
        examples = ((f"--e{i}", image) for i, image in enumerate(self.arrays.example_images))
        means = zip(self.record.subsets, self.arrays.mean_images, strict=True)
        subsets = ((f"--s{i}", image) for i, (s, image) in enumerate(means) if s.n)
        return tuple((name, maps.thumbnail_image(image)) for name, image in (*examples, *subsets))

    def _template(self) -> Overlay | None:
        """Where the regions lie, over the mean of all images."""
        regions = [r.name for r in self.record.regions]
        backdrop = next((i for i, s in enumerate(self.record.subsets) if s.n), None)
        if not regions or backdrop is None:
            return None
        picture = maps.regions_image(self.arrays.template, len(regions))
        masks = (self.arrays.template == i for i in range(len(regions)))
        fields = (places.strongest_fields(mask, 2) or "nowhere" for mask in masks)
        texts = "; ".join(map("{} {}".format, regions, fields))
        about = f"Where the regions lie over the mean image: {texts}"
        return Overlay("", about, picture, f"--s{backdrop}")

    def _face(self, e: int) -> ExplainedFace:
        """One example with a map by each method, each on its own scale."""
        x = self.record.examples[e]
        about = f"image {x.id}, labelled {x.label}, predicted {x.prediction}"
        sentence = prose.face_sentence(self.record, x)
        overlays = []
        for method, values in zip(self.record.methods, self.arrays.examples[:, e], strict=True):
            picture = maps.overlay_image(values, maps.full_strength(values))
            text = f"{method.title} for {x.explained} over image {x.id}: "
            text += self._describe_map(values, signed=method.signed)
            overlays.append(Overlay(method.title, text, picture, f"--e{e}"))
        return ExplainedFace(about, sentence, f"--e{e}", tuple(overlays))

    def _means(self, m: int) -> MeanMaps:
        """One method's mean maps, on one scale, so that they can be held against each other."""
        method, subsets = self.record.methods[m], [s for s in self.record.subsets if s.n]
        grouped = [s for s in subsets if s.kind == "group"]
        single = [s for s in subsets if s.kind != "group"]
        groups = {s.key for s in self.record.subsets if s.kind == "group"}
        pairs = [(d, self._pair(m, i)) for i, d in enumerate(self.record.differences)]
        paired = {key for d, _ in pairs for key in (d.first, d.second)}
        classes = [s for s in single if s.kind == "class" and method.signed]
        return MeanMaps(
            method=method,
            overlays=tuple(self._strength_mean(m, s) for s in single),
            signed=tuple(self._signed_mean(m, s) for s in classes),
            pairs=tuple(p for d, p in pairs if p and d.first not in groups),
            groups=tuple(p for d, p in pairs if p and d.first in groups),
            other_groups=tuple(self._strength_mean(m, s) for s in grouped if s.key not in paired),
        )

    def _mean(self, m: int, subset: Subset, array: str, title: str, about: str) -> Overlay:
        """One of a method's means, on the scale of all of them."""
        s, means = self.number[subset.key], getattr(self.arrays, array)[m]
        picture = maps.overlay_image(means[s], maps.full_strength(means))
        text = self._describe_map(means[s], signed=array == "means")
        about = f"{about}, {subset.title}: {text}"
        return Overlay(f"{subset.title}, {title}", about, picture, f"--s{s}")

    def _strength_mean(self, m: int, subset: Subset) -> Overlay:
        method = self.record.methods[m]
        about, support = f"Mean strength of {method.title}", words.images(subset.n, subset.people)
        if method.subset_n:
            support = f"{words.count(method.subset_n[self.number[subset.key]])} of {support}"
        return self._mean(m, subset, "strengths", support, about)

    def _signed_mean(self, m: int, subset: Subset) -> Overlay:
        about = f"Mean of {self.record.methods[m].title} with its sign"
        sides = " and ".join(prose.sign_names(self.record))
        return self._mean(m, subset, "means", sides, about)

    def _describe_map(self, values: NDArray[Any], *, signed: bool) -> str:
        """The fields where a map is strongest."""
        if signed:
            return places.signed_fields(values, *prose.sign_names(self.record))
        fields = places.strongest_fields(values, 2)
        return f"most {fields}" if fields else "empty"

    def _pair(self, m: int, d: int) -> SideBySide | None:
        """Two subsets' strengths, and where they differ; None where one of them is not shown."""
        difference, method = self.record.differences[d], self.record.methods[m]
        keys = (difference.first, difference.second)
        subsets = [self.record.subsets[self.number[k]] for k in keys if k in self.number]
        if len(subsets) < 2 or not all(s.n for s in subsets):
            return None
        first, second = subsets
        values = self.arrays.differences[m, d].astype(float)
        # An undefined half-width is no evidence: NaN compares as False.
        mask = abs(values) > self.arrays.half_widths[m, d].astype(float)
        text = places.signed_fields(values * mask, "more", "less") if mask.any() else "none found"
        overlay = Overlay(
            "where they differ: blue, more in the first; orange, more in the second",
            f"Difference of {method.title}: {first.title} less {second.title}; {text}",
            maps.overlay_image(values * mask, maps.full_strength(self.arrays.differences[m])),
            f"--s{self.number[first.key]}",
        )
        marked = difference.marked.get(method.name, math.nan)
        scope, remark = f"At {words.percent(marked)} of the pixels", ""
        if math.isnan(marked):
            scope, remark = "Where", ", the third map is coloured"
        confidence = self.record.confidence
        return SideBySide(
            f"{first.title} beside {second.title}",
            f"{scope} the {100 * confidence:g}% interval of the difference leaves out 0{remark}. "
            f"Were there no difference, chance would mark {words.percent(1 - confidence)}.",
            (self._strength_mean(m, first), self._strength_mean(m, second), overlay),
        )


# --- seen from inside ----------------------------------------------------------------------------


@dataclass(frozen=True)
class InsideView:
    """The network from inside: its record, and pictures by id, by number and by title."""

    record: Inside
    faces: dict[str, str]
    filters: tuple[str, ...]
    weights: tuple[Overlay, ...]


def build_inside_view(
    record: Inside | None, pictures: Mapping[str, NDArray[np.uint8]]
) -> InsideView | None:
    """Build the view of the network from inside; None without a record."""
    if record is None:
        return None
    faces = pictures.get(FACES_ARRAY, ())
    filters = pictures.get(FILTERS_ARRAY, ())
    weights = pictures.get(WEIGHTS_ARRAY, ())
    if len(faces) not in (0, len(record.faces)):
        raise RunError(
            f"{len(faces)} pictures came with {len(record.faces)} faces seen from inside.",
            expected="one picture for each",
            todo="run candid explain again, which writes both",
        )
    return InsideView(
        record,
        {id: maps.thumbnail_image(p) for id, p in zip(record.faces, faces, strict=False)},
        tuple(maps.lossless_image(p) for p in filters),
        tuple(_weights_overlay(t, p) for t, p in zip(record.weights, weights, strict=False)),
    )


def _weights_overlay(title: str, picture: NDArray[np.uint8]) -> Overlay:
    """A linear classifier's weights: lighter than mid-grey speaks for the label."""
    text = places.signed_fields(picture.astype(float).mean(axis=2) - 127.5, "for", "against")
    return Overlay(title, f"{title}: {text}", maps.lossless_image(picture), "")
