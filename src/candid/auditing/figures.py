"""Figures of groups that follow from sums over their images, for all groups and draws at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.auditing.rows import Rows
from candid.stats.metrics import confidence_bins

Floats = NDArray[np.float64]


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
        # Of a side without images what is summed may be a rounding, and not 0.
        n = np.where(n > 0, n, np.nan)
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
