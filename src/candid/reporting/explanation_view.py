"""What the report shows of an explanation: pictures beside figures, in the order of the page.

Figures come from the record, pictures from its arrays. Texts are plain: the template escapes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from candid.errors import RunError
from candid.records.explanation import (
    Explanation,
    ExplanationArrays,
    MapCheck,
    Method,
    RegionShare,
    Subset,
)
from candid.records.inside import FACES_ARRAY, FILTERS_ARRAY, WEIGHTS_ARRAY, Inside
from candid.reporting import maps, words
from candid.reporting.explanation import support
from candid.reporting.inputs import ReportInput


@dataclass(frozen=True)
class Overlay:
    """A map over a face.

    Attributes
    ----------
    title
        What stands below it.
    about
        What it shows, for those who cannot see it.
    picture
        Data URI.
    backdrop
        The CSS variable that holds what it lies over.
    """

    title: str
    about: str
    picture: str
    backdrop: str


@dataclass(frozen=True)
class Face:
    """One explained image, with a map by each method in their order."""

    about: str
    sentence: str
    backdrop: str
    overlays: tuple[Overlay, ...]


@dataclass(frozen=True)
class Pair:
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
    pairs: tuple[Pair, ...]
    groups: tuple[Pair, ...]
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
    n: int


@dataclass(frozen=True)
class View:
    """Everything that the section shows.

    Attributes
    ----------
    columns
        Every check that was made of any method: its code, its title, and what its figure is held
        against.
    backdrops
        CSS variable → data URI: what maps lie over, each once in the file.
    """

    record: Explanation
    columns: tuple[tuple[str, str, str], ...]
    tables: tuple[RegionTable, ...]
    legend: tuple[Legend, ...]
    faces: tuple[Face, ...] = ()
    means: tuple[MeanMaps, ...] = ()
    template: Overlay | None = None
    backdrops: tuple[tuple[str, str], ...] = ()

    @property
    def first(self) -> int:
        """The number of the method that is shown first: one that passed, where there is any."""
        states = [m.state for m in self.record.methods]
        return states.index("passed") if "passed" in states else 0

    @staticmethod
    def check(method: Method, code: str) -> MapCheck | None:
        """A method's check by its code, None where it was not made."""
        return next((c for c in method.checks if c.code == code), None)


def view(inputs: ReportInput) -> View | None:
    """What the section shows; None where there is no explanation.

    Raises
    ------
    RunError
        Where the maps are not those of the record.
    """
    record, arrays = inputs.explanation, inputs.maps
    if record is None:
        return None
    pictures = None if arrays is None else _Pictures(record, arrays)
    return View(
        record=record,
        columns=tuple(_columns(record)),
        tables=_tables(record),
        legend=tuple(
            Legend(r.name, maps.REGION_COLOURS[i % len(maps.REGION_COLOURS)], r.area, r.n)
            for i, r in enumerate(record.regions)
        ),
        faces=pictures.faces() if pictures else (),
        means=tuple(pictures.means(m) for m in range(len(record.methods))) if pictures else (),
        template=pictures.template() if pictures else None,
        backdrops=pictures.backdrops() if pictures else (),
    )


def _columns(record: Explanation) -> Iterator[tuple[str, str, str]]:
    """Every check that was made of any method, once."""
    checks = {c.code: c for method in record.methods for c in method.checks}
    for code, c in checks.items():
        yield code, c.title, f"to lie {c.direction} {words.number(c.threshold, 2)}"


def _tables(record: Explanation) -> tuple[RegionTable, ...]:
    """Every subset's shares by every method that has any."""
    found = {(s.method, s.subset, s.region): s for s in record.shares}
    tables = []
    for method in record.methods:
        rows = [
            (subset, tuple(found.get((method.name, subset.key, r.name)) for r in record.regions))
            for subset in record.subsets
        ]
        some = tuple(row for row in rows if any(row[1]))
        if some:
            tables.append(RegionTable(method, some))
    return tuple(tables)


class _Pictures:
    """The arrays of a record as pictures."""

    def __init__(self, record: Explanation, arrays: ExplanationArrays) -> None:
        self.record, self.arrays = record, arrays
        self.number = {s.key: i for i, s in enumerate(record.subsets)}
        m, s = len(record.methods), len(record.subsets)
        d, e = len(record.differences), len(record.examples)
        square = arrays.template.shape
        wanted = {
            "means": (m, s, *square),
            "strengths": (m, s, *square),
            "differences": (m, d, *square),
            "half_widths": (m, d, *square),
            "examples": (m, e, *square),
            "example_images": (e, *square, 3),
            "mean_images": (s, *square, 3),
        }
        for name, shape in wanted.items():
            found = getattr(arrays, name).shape
            if found != shape:
                raise RunError(
                    f"The maps are not those of the explanation: {name} has the shape {found}.",
                    expected=f"the shape {shape}",
                    todo="run candid explain again, which writes both",
                )

    def backdrops(self) -> tuple[tuple[str, str], ...]:
        """Each example, and the mean image of each subset."""
        examples = [(f"--e{i}", maps.photo(p)) for i, p in enumerate(self.arrays.example_images)]
        means = [
            (f"--s{i}", maps.photo(self.arrays.mean_images[i]))
            for i, subset in enumerate(self.record.subsets)
            if subset.n
        ]
        return (*examples, *means)

    def template(self) -> Overlay | None:
        """Where the regions lie, over the mean of all images."""
        regions = [r.name for r in self.record.regions]
        if not regions or not any(s.n for s in self.record.subsets):
            return None
        first = next(i for i, s in enumerate(self.record.subsets) if s.n)
        picture = maps.regions(self.arrays.template, len(regions))
        about = f"Where the regions lie over the mean image: {', '.join(regions)}"
        return Overlay("", about, picture, f"--s{first}")

    def faces(self) -> tuple[Face, ...]:
        """Each example with a map by each method."""
        found = []
        for e, x in enumerate(self.record.examples):
            about = f"image {x.id}, labelled {x.label}, predicted {x.prediction}"
            sentence = (
                f"Image {x.id}: labelled “{x.label}”, predicted “{x.prediction}” with a "
                f"probability of {words.percent(x.probability)}. The maps show what speaks for "
                f"“{x.explained}”."
            )
            overlays = [
                self._overlay(
                    self.arrays.examples[m, e],
                    maps.full_strength(self.arrays.examples[m, e]),
                    method.title,
                    f"{method.title} for {x.explained} over {about}",
                    f"--e{e}",
                )
                for m, method in enumerate(self.record.methods)
            ]
            found.append(Face(about, sentence, f"--e{e}", tuple(overlays)))
        return tuple(found)

    def means(self, m: int) -> MeanMaps:
        """One method's mean maps, on one scale, so that they can be held against each other."""
        method = self.record.methods[m]
        plain = [s for s in self.record.subsets if s.n and s.kind != "group"]
        pairs = [(d, self._pair(m, i)) for i, d in enumerate(self.record.differences)]
        groups = {s.key for s in self.record.subsets if s.kind == "group"}
        paired = {k for d, _ in pairs for k in (d.first, d.second)}
        return MeanMaps(
            method=method,
            overlays=tuple(self._strength(m, s) for s in plain),
            signed=tuple(
                self._both_ways(m, s) for s in plain if s.kind == "class" and method.signed
            ),
            pairs=tuple(p for d, p in pairs if p and d.first not in groups),
            groups=tuple(p for d, p in pairs if p and d.first in groups),
            other_groups=tuple(
                self._strength(m, s)
                for s in self.record.subsets
                if s.n and s.kind == "group" and s.key not in paired
            ),
        )

    def _strength(self, m: int, subset: Subset) -> Overlay:
        s = self.number[subset.key]
        return self._overlay(
            self.arrays.strengths[m, s],
            maps.full_strength(self.arrays.strengths[m]),
            f"{subset.title}, {support(subset)}",
            f"Mean strength of {self.record.methods[m].title}: {subset.title}",
            f"--s{s}",
        )

    def _both_ways(self, m: int, subset: Subset) -> Overlay:
        s = self.number[subset.key]
        return self._overlay(
            self.arrays.means[m, s],
            maps.full_strength(self.arrays.means[m]),
            f"{subset.title}, for and against",
            f"Mean of {self.record.methods[m].title} with its sign: {subset.title}",
            f"--s{s}",
        )

    def _pair(self, m: int, d: int) -> Pair | None:
        difference = self.record.differences[d]
        both = [self.number.get(k) for k in (difference.first, difference.second)]
        if None in both:
            return None
        first, second = (self.record.subsets[s] for s in both if s is not None)
        if not (first.n and second.n):
            return None
        method = self.record.methods[m]
        values = self.arrays.differences[m, d].astype(float)
        half = self.arrays.half_widths[m, d].astype(float)
        marked = difference.marked.get(method.name, math.nan)
        # An undefined half-width is no evidence: NaN compares as False.
        sure = abs(values) > half
        overlay = self._overlay(
            values * sure,
            maps.full_strength(self.arrays.differences[m]),
            "where they differ: blue, more in the first; orange, more in the second",
            f"Difference of {method.title}: {first.title} less {second.title}",
            f"--s{self.number[first.key]}",
        )
        confidence = self.record.confidence
        at = "Where" if math.isnan(marked) else f"At {words.percent(marked)} of the pixels"
        return Pair(
            f"{first.title} beside {second.title}",
            f"{at} the {100 * confidence:g}% interval of the difference leaves out 0"
            + (", the third map is coloured" if math.isnan(marked) else "")
            + f". Were there no difference, chance would mark {words.percent(1 - confidence)}.",
            (self._strength(m, first), self._strength(m, second), overlay),
        )

    @staticmethod
    def _overlay(
        values: NDArray[Any], full: float, title: str, about: str, backdrop: str
    ) -> Overlay:
        return Overlay(title, about, maps.overlay(values, full), backdrop)


# --- seen from inside ----------------------------------------------------------------------------


@dataclass(frozen=True)
class InsideView:
    """The network from inside: its record, and pictures by id, by number and by title."""

    record: Inside
    faces: dict[str, str]
    filters: tuple[str, ...]
    weights: dict[str, str]


def inside_view(inputs: ReportInput) -> InsideView | None:
    """What is shown of the network from inside; None where nobody looked."""
    record, pictures = inputs.inside, inputs.inside_pictures
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
        {id: maps.photo(p) for id, p in zip(record.faces, faces, strict=False)},
        tuple(maps.exact(p) for p in filters),
        {t: maps.exact(p) for t, p in zip(record.weights, weights, strict=False)},
    )
