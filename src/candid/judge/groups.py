"""All groups at once: sums per person, and the bootstrap as one matrix product.

Every figure of a group that follows from counts is a function of a few sums over its images: how
many bear each label, how many of those are classified so, how much confidence went in. So a
person's part in a group is a few numbers, and a bootstrap draw, which takes each person
0, 1, 2, … times, is a product of a row of counts with those numbers: (draws, people) by
(people, groups), once per sum, for all draws and groups. Only running moments of the figures are
kept, so memory does not grow with the draws.

A group is a key: a sorted tuple of (attribute, value) pairs, both as numbers. (a, KNOWN) stands for
"attribute a is known", (LABEL, c) for "labelled c". The rest of a group is the known ones less the
group, so it needs no sums of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.judge.intervals import Resample
from candid.judge.metrics import confidence_bins
from candid.judge.significance import Side
from candid.predictions import Attribute, Predictions, binned
from candid.statistics import draw_counts

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Key = tuple[tuple[int, int], ...]

KNOWN, LABEL = -1, -1
EVERYONE: Key = ()

# Numbers per block: of people × groups × sums (128 MiB), and of images × groups × sums (32 MiB).
_BLOCK, _ROWS = 32_000_000, 8_000_000
_DRAWN, _KEPT = 2_000_000, 64_000_000
_BLOCK_DRAWN = 1_000_000  # figures are taken of draws × sides × sums in blocks of this (4 MiB)
_ROUNDING = 2e-6

# More units than this are put together at random into so many before they are drawn: the standard
# error stays right (random groups, Wolter 2007, §2.2) and is known to √(2 / 8000) = 1.6% of
# itself, half of what 1,000 draws leave open.
MOST_DRAWN = 8000


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled images of one split, with their attributes as codes.

    Attributes
    ----------
    predictions
        Only the images that count.
    attributes
        Categorical or binary; numeric ones in bins.
    drawing
        How images are drawn, from `intervals.resample`.
    bins
        Of the calibration error.
    """

    predictions: Predictions
    attributes: tuple[Attribute, ...]
    drawing: Resample
    bins: int = 15

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, rows: NDArray[Any]) -> Rows:
        """Some of the rows; their units are numbered anew."""
        some = self.predictions[rows]
        names, unit = np.unique(self.drawing.unit[rows], return_inverse=True)
        old = self.drawing
        drawing = Resample(
            unit.reshape(-1), len(names), old.by_person, old.draws, old.seed, old.confidence
        )
        return Rows(some, tuple(a[rows] for a in self.attributes), drawing, self.bins)

    @property
    def classes(self) -> int:
        """How many classes the label has."""
        return len(self.predictions.classes)

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """(n,) whether the image is classified otherwise than labelled."""
        wrong: NDArray[np.bool_] = self.predictions.prediction != self.predictions.label
        return wrong

    @cached_property
    def complete(self) -> tuple[bool, ...]:
        """Per attribute, whether its value is known for every image."""
        return tuple(bool((a.data >= 0).all()) for a in self.attributes)

    def key(self, *pairs: tuple[int, int]) -> Key:
        """The one way to write a key: sorted, without what holds for every image anyway."""
        fixed = {a for a, value in pairs if value != KNOWN or a == LABEL}
        kept = {
            (a, value)
            for a, value in pairs
            if a == LABEL or value != KNOWN or (a not in fixed and not self.complete[a])
        }
        return tuple(sorted(kept))

    def mask(self, key: Key) -> NDArray[np.bool_]:
        """(n,) which images belong to a group."""
        inside = np.ones(len(self), dtype=np.bool_)
        for a, value in key:
            data = self.predictions.label if a == LABEL else self.attributes[a].data
            inside &= (data >= 0) if value == KNOWN and a != LABEL else (data == value)
        return inside

    @cached_property
    def by_unit(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows in the order of their units, and where each unit starts among them."""
        order = np.argsort(self.drawing.unit, kind="stable")
        starts = np.searchsorted(self.drawing.unit[order], np.arange(self.drawing.units))
        return order, starts

    @property
    def strata(self) -> int:
        """How many units, or random groups of units, are drawn."""
        return min(self.drawing.units, MOST_DRAWN)

    @cached_property
    def in_order(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows in the order of what is drawn, and where each of those starts among them."""
        if self.drawing.units <= MOST_DRAWN:
            return self.by_unit
        rng = np.random.default_rng(self.drawing.seed)
        stratum = (rng.permutation(self.drawing.units) * MOST_DRAWN) // self.drawing.units
        mine = stratum[self.drawing.unit]
        order = np.argsort(mine, kind="stable")
        return order, np.searchsorted(mine[order], np.arange(MOST_DRAWN))

    @cached_property
    def _kept(self) -> list[NDArray[np.uint8]]:
        return []

    def counts(self) -> Iterator[Singles]:
        """Blocks (m, strata) of how often each was drawn; the same ones at every call."""
        if self._kept:
            yield from (block.astype(np.float32) for block in self._kept)
            return
        rng, draws = np.random.default_rng(self.drawing.seed), self.drawing.draws
        step = max(1, _DRAWN // max(1, self.strata))
        fits = self.strata * draws <= _KEPT
        kept = []
        for start in range(0, draws if self.strata else 0, step):
            block = draw_counts(self.strata, min(step, draws - start), rng)
            fits = fits and block.max() < 256
            if fits:
                kept.append(block.astype(np.uint8))
            yield block
        if fits:
            self._kept.extend(kept)


def rows_of(
    predictions: Predictions, drawing: Resample, *, bins: int = 15, of: Predictions | None = None
) -> Rows:
    """Labelled images with their attributes as codes; numbers are cut at the quartiles of `of`.

    Parameters
    ----------
    predictions
        Only images with a label.
    drawing
        How they are drawn.
    bins
        Of the calibration error.
    of
        All the model's predictions, so that every split has the same bins; None: these.
    """
    whole = predictions if of is None else of
    everything = np.arange(len(whole))
    attributes = []
    for name, attribute in predictions.attributes.items():
        if attribute.kind == "numeric":
            both = Attribute(
                name,
                "numeric",
                (),
                np.concatenate([whole.attributes[name].data, attribute.data]),
            )
            cut = binned(both, everything)
            attributes.append(cut[np.arange(len(whole), len(both.data))])
        else:
            attributes.append(attribute)
    return Rows(predictions, tuple(attributes), drawing, bins)


# --- sums and figures ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Figures:
    """Which figures come from which sums.

    Attributes
    ----------
    classes
        The label's values.
    rich
        Whether more than counts is summed: confidence and calibration, precision and predicted
        shares too. Single attributes have them; intersections do not.
    bins
        Of the calibration error.
    standard
        (classes, sides) weights of the classes' errors in `standardised_error`; None: without it.
    """

    classes: tuple[str, ...]
    rich: bool
    bins: int = 15
    standard: Floats | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The figures in their order."""
        per_class = ["error", *(["false"] if len(self.classes) > 2 else [])]
        names = ["accuracy", "weighted_f1", *(f"{m}:{c}" for m in per_class for c in self.classes)]
        if self.standard is not None:
            names.append("standardised_error")
        if self.rich:
            names += [f"{m}:{c}" for m in ("precision", "predicted") for c in self.classes]
            names += ["confidence", "overconfidence", "calibration_error", "calibration_noise"]
        return tuple(names)

    def columns(self, rows: Rows) -> Floats:
        """(n, sums) what each image adds: support, hits, answers per class; confidence, excess."""
        p = rows.predictions
        count = len(self.classes)
        label = p.label[:, None] == np.arange(count)
        answer = p.prediction[:, None] == np.arange(count)
        parts = [label, label & answer, *([answer] if count > 2 else [])]
        if self.rich:
            # What needs degrees is undefined where the model only gave answers.
            confidence = p.probability.max(axis=1) * (np.nan if p.hard else 1.0)
            excess = np.zeros((len(rows), self.bins))
            excess[np.arange(len(rows)), confidence_bins(p.probability.max(axis=1), self.bins)] = (
                confidence - ~rows.wrong
            )
            parts += [confidence[:, None], excess]
        return np.concatenate(parts, axis=1, dtype=np.float64)

    def of(self, sums: NDArray[Any], around: NDArray[Any] | None = None) -> NDArray[Any]:
        """(figures, ...) from (sums, ...); NaN where undefined.

        `around` holds the sample's own sums: the calibration noise is Σ |drawn part - part|.
        """
        count = len(self.classes)
        support, hit = sums[:count], sums[count : 2 * count]
        answered = sums[2 * count : 3 * count] if count > 2 else hit + (support - hit)[::-1]
        n = support.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            f1 = 2 * hit / (support + answered)
            weighted = np.where(support > 0, f1 * support, 0).sum(0) / n
            parts = [hit.sum(0)[None] / n, weighted[None], (support - hit) / support]
            if count > 2:
                parts.append((answered - hit) / (n - support))
            if self.standard is not None:
                shares = self.standard.astype(sums.dtype)
                shares = shares.reshape(len(shares), *[1] * (sums.ndim - 2), -1)
                weighed = np.where(shares > 0, shares * parts[2], 0).sum(0)
                parts.append(np.where(shares.sum(0) > 0, weighed, np.nan)[None])
            if self.rich:
                here = 3 * count if count > 2 else 2 * count
                confidence, excess = sums[here], sums[here + 1 :]
                part = excess / n
                noise = 0 if around is None else np.abs(part - _parts(around, here, count)).sum(0)
                parts += [hit / answered, answered / n, (confidence / n)[None]]
                parts += [part.sum(0)[None], np.abs(part).sum(0)[None]]
                parts.append(np.where(n > 0, noise, np.nan)[None])
        figures: NDArray[Any] = np.concatenate(parts)
        return figures

    def behind(self, rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Which images stand behind each figure: (n, kinds) marks, and each figure's kind."""
        p, count = rows.predictions, len(self.classes)
        label = p.label[:, None] == np.arange(count)
        marks = [np.ones((len(rows), 1), np.bool_), label]
        kinds = [0, 0, *range(1, count + 1)]
        if count > 2:
            marks.append(~label)
            kinds += range(count + 1, 2 * count + 1)
        if self.standard is not None:
            kinds.append(0)
        if self.rich:
            top = sum(m.shape[1] for m in marks)
            marks.append(p.prediction[:, None] == np.arange(count))
            kinds += [*range(top, top + count), *([0] * (count + 4))]
        return np.concatenate(marks, axis=1), np.asarray(kinds, dtype=np.intp)


def _parts(around: NDArray[Any], here: int, count: int) -> NDArray[Any]:
    parts: NDArray[Any] = around[here + 1 :] / around[:count].sum(0)
    return parts


# --- moments -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Moments:
    """Figures of k sides with their standard errors, and how c pairs of them go together.

    A side is a group, or what is left of a larger group without it.

    Attributes
    ----------
    figures
        Their names; rows of the arrays below.
    value, spread
        (figures, k): the figure on the images themselves, and its standard error.
    units, images
        (figures, k): units and images behind it.
    undefined
        (figures, k): draws that left it undefined.
    mean
        (figures, k): its mean over the draws.
    pairs
        (c, 2) the sides that were compared.
    correlation
        (figures, c) between the two sides.
    lost
        (figures, c) draws that left one of them undefined.
    """

    figures: tuple[str, ...]
    value: Floats
    spread: Floats
    units: NDArray[np.int64]
    images: NDArray[np.int64]
    undefined: NDArray[np.int64]
    mean: Floats
    pairs: NDArray[np.intp]
    correlation: Floats
    lost: NDArray[np.int64]

    def row(self, name: str) -> int:
        """Where a figure stands."""
        return self.figures.index(name)

    def side(self, name: str, sides: Any) -> Side:
        """A figure of some sides, as `significance` takes it."""
        i = self.row(name)
        return Side(self.value[i][sides], self.spread[i][sides], self.units[i][sides])


@dataclass(eq=False)
class Plan:
    """Which sides and which pairs of them are wanted; `measure` fills in the figures.

    A side is (group, None), or (larger, group): the larger group without the group.
    """

    sides: list[tuple[Key, Key | None]] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    _where: dict[tuple[Key, Key | None], int] = field(default_factory=dict)

    def side(self, key: Key, less: Key | None = None) -> int:
        """The number of a side, new or known."""
        place = self._where.setdefault((key, less), len(self.sides))
        if place == len(self.sides):
            self.sides.append((key, less))
        return place

    def pair(self, left: int, right: int) -> int:
        """The number of a new pair of sides."""
        self.pairs.append((left, right))
        return len(self.pairs) - 1


def measure(rows: Rows, plan: Plan, figures: Figures) -> Moments:
    """Every side's figures with standard errors from all draws, one matrix product per sum.

    The sums of all groups of the plan are held at once: `blocks` says how many fit.
    """
    keys = list(dict.fromkeys(k for side in plan.sides for k in side if k is not None))
    place = {key: i for i, key in enumerate(keys)}
    plus = np.asarray([place[key] for key, _ in plan.sides], dtype=np.intp)
    minus = np.asarray([-1 if less is None else place[less] for _, less in plan.sides], np.intp)
    pairs = np.asarray(plan.pairs, dtype=np.intp).reshape(-1, 2)

    whole, exact = _sums(rows, figures.columns(rows), keys)
    units, images = _behind(rows, figures, keys, plus, minus)
    sums = Sums(whole, exact, plus, minus, units, images)
    return moments_of(sums, pairs, figures, rows.counts())


@dataclass(frozen=True, eq=False)
class Sums:
    """What is summed over k keys, and how s sides are made of them.

    Attributes
    ----------
    whole
        (sums, strata, keys) in single precision: what is drawn.
    exact
        (sums, keys) over all images.
    plus, minus
        (sides,) each side is a key, less another one; -1: less nothing.
    units, images
        (figures, sides) behind each figure.
    """

    whole: Singles
    exact: Floats
    plus: NDArray[np.intp]
    minus: NDArray[np.intp]
    units: NDArray[np.int64]
    images: NDArray[np.int64]


def moments_of(
    sums: Sums, pairs: NDArray[np.intp], figures: Figures, counts: Iterator[Singles]
) -> Moments:
    """Every side's figures with standard errors from all draws, and how pairs of sides go together.

    `counts` gives blocks (m, strata) of how often each stratum was drawn.
    """
    whole, plus, minus, units = sums.whole, sums.plus, sums.minus, sums.units
    own = _less(sums.exact, plus, minus)
    value = figures.of(own)
    moments = _Running(value, pairs)
    around = own.astype(np.float32)[:, None, :]
    step = max(4, _BLOCK_DRAWN // (len(plus) * len(whole)))
    for block in counts:
        for start in range(0, len(block), step):
            weight = block[start : start + step]
            drawn = np.stack([weight @ s for s in whole])  # (sums, m, keys)
            moments.add(figures.of(_less(drawn, plus, minus), around))
    spread, undefined, mean, correlation, lost = moments.finish()
    # Drawing units from themselves loses one of those behind the figure.
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(units > 1, spread * np.sqrt(units / (units - 1)), np.nan)
    return Moments(
        figures=figures.names,
        value=value,
        spread=spread,
        units=units,
        images=sums.images,
        undefined=undefined,
        mean=mean,
        pairs=pairs,
        correlation=correlation,
        lost=lost,
    )


def blocks(rows: Rows, figures: Figures) -> int:
    """How many groups a plan may hold so that their sums fit into 128 MiB, and their marks too."""
    sums = 3 * len(figures.classes) + (figures.bins + 1 if figures.rich else 0)
    return max(16, min(_BLOCK // max(1, rows.strata * sums), 4 * _BLOCK // max(1, len(rows))))


def _less(sums: NDArray[Any], plus: NDArray[np.intp], minus: NDArray[np.intp]) -> NDArray[Any]:
    """(…, sides) from (…, keys)."""
    sides: NDArray[Any] = np.take(sums, plus, axis=-1)
    some = np.flatnonzero(minus >= 0)
    if len(some):
        sides[..., some] -= np.take(sums, minus[some], axis=-1)
    return sides


def _sums(rows: Rows, columns: Floats, keys: Sequence[Key]) -> tuple[Singles, Floats]:
    """(sums, strata, keys) in single precision for the draws, and (sums, keys) exactly."""
    count = columns.shape[1]
    whole = np.empty((count, rows.strata, len(keys)), np.float32)
    exact = np.empty((count, len(keys)))
    order, starts = rows.in_order
    ordered = columns[order]
    for start in range(0, len(keys), step := max(1, _ROWS // max(1, len(rows)))):
        some = slice(start, start + step)
        inside = np.stack([rows.mask(key)[order] for key in keys[some]], axis=1)  # (n, k)
        exact[:, some] = ordered.T @ inside
        for i in range(count):
            part = np.where(inside, ordered[:, i : i + 1].astype(np.float32), np.float32(0))
            whole[i, :, some] = np.add.reduceat(part, starts, axis=0) if len(starts) else 0
    return whole, exact


def _behind(
    rows: Rows,
    figures: Figures,
    keys: Sequence[Key],
    plus: NDArray[np.intp],
    minus: NDArray[np.intp],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(figures, sides) units and images."""
    marks, kinds = figures.behind(rows)
    order, starts = rows.by_unit
    units = np.zeros((marks.shape[1], len(plus)), np.int64)
    images = np.zeros_like(units)
    inside = np.stack([rows.mask(key)[order] for key in keys], axis=1)  # (n, keys)
    for kind in range(marks.shape[1]):
        mine = inside & marks[order, kind][:, None]
        images[kind] = _less(mine.sum(0), plus, minus)
        if rows.drawing.units == len(rows):
            units[kind] = images[kind]
            continue
        per_unit = np.add.reduceat(mine, starts, axis=0, dtype=np.int32)  # (units, keys)
        for start in range(0, len(plus), step := max(1, _ROWS // max(1, len(per_unit)))):
            some = slice(start, start + step)
            here = _less(per_unit, plus[some], minus[some])
            units[kind, some] = np.count_nonzero(here, axis=0)
    return units[kinds], images[kinds]


class _Running:
    """Moments of figures over draws, block by block, around the figures themselves."""

    def __init__(self, value: Floats, pairs: NDArray[np.intp]) -> None:
        self.value = np.nan_to_num(value).astype(np.float32)[:, None, :]
        self.left, self.right = pairs[:, 0], pairs[:, 1]
        shape, both = value.shape, (len(value), len(pairs))
        self.draws = 0
        self.defined, self.sum, self.square = (np.zeros(shape) for _ in range(3))
        self.shared, self.cross = np.zeros(both), np.zeros(both)
        self.sum_left, self.sum_right = np.zeros(both), np.zeros(both)

    def add(self, drawn: NDArray[Any]) -> None:
        """One block: (figures, draws, sides)."""
        away = drawn - self.value
        missing = np.isnan(away)
        holes = bool(missing.any())
        if holes:
            away[missing] = 0
        self.draws += drawn.shape[1]
        self.defined += drawn.shape[1] - (missing.sum(1) if holes else 0)
        self.sum += away.sum(1, dtype=np.float64)
        self.square += np.einsum("fms,fms->fs", away, away)
        left, right = away[..., self.left], away[..., self.right]
        if holes:
            gone = missing[..., self.left] | missing[..., self.right]
            self.shared += drawn.shape[1] - gone.sum(1)
            left[gone], right[gone] = 0, 0
        else:
            self.shared += drawn.shape[1]
        self.sum_left += left.sum(1, dtype=np.float64)
        self.sum_right += right.sum(1, dtype=np.float64)
        self.cross += np.einsum("fmc,fmc->fc", left, right)

    def finish(
        self,
    ) -> tuple[Floats, NDArray[np.int64], Floats, Floats, NDArray[np.int64]]:
        """Standard errors, undefined draws, means, correlations, draws lost to a pair."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.sum / self.defined
            variance = (self.square - self.defined * mean**2) / (self.defined - 1)
            spread = np.sqrt(np.maximum(variance, 0))
            covariance = self.cross / self.shared
            covariance -= self.sum_left * self.sum_right / self.shared**2
            correlation = covariance / (spread[:, self.left] * spread[:, self.right])
        spread = np.where(spread < _ROUNDING, 0.0, spread)  # one rounding is no spread
        correlation = np.clip(np.nan_to_num(correlation, posinf=0, neginf=0), -1, 1)
        undefined = (self.draws - self.defined).astype(np.int64)
        lost = (self.draws - self.shared).astype(np.int64)
        return spread, undefined, mean + self.value[:, 0, :], correlation, lost
