"""Conditions that fail an audit: "gap>0.05" where some group's gap is wider than that.

For continuous integration: a condition that holds is a failure with its figures in the message.
"""

from __future__ import annotations

import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from candid.errors import ConfigError, did_you_mean
from candid.records.audit import Audit, Gap, SplitAudit
from candid.text import audit as text
from candid.text.findings import group_name, value_name

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"^\s*([a-z_.0-9]+)\s*(>=|<=|>|<)\s*([-+0-9.eE]+)\s*$")

_NAMES = ("demographic_parity", "equal_opportunity", "equalized_odds", "predictive_parity")
_RATIOS = tuple(f"{name}_ratio" for name in _NAMES)
_FAIRNESS = (*(f"{name}_difference" for name in _NAMES), *_RATIOS)
_LEAST = {*_RATIOS, "worst_group_accuracy"}  # of these the lowest is the worst
_OVERALL = ("accuracy", "weighted_f1", "roc_auc", "overconfidence", "calibration_error")

# What may stand before the comparison, and what it is.
FIGURES: dict[str, str] = {
    "gap": "the widest gap that was found: more mistakes in a group than in the rest, as a share "
    "(of a number, more mean absolute error, in its own unit)",
    "gap.low": "the widest gap that is nearly sure: the near end of its interval",
    "findings": "how many findings there are, of classes",
    "serious": "how many of them are serious",
    "worst_group_accuracy": "the lowest accuracy of any group that is large enough",
    "accuracy_max_min": "the largest difference in accuracy between two groups of an attribute",
    **dict.fromkeys(_FAIRNESS, "the worst over all attributes"),
    **dict.fromkeys(_OVERALL, "of all images"),
    "mae": "of a number: the mean absolute error of all images",
}


@dataclass(frozen=True, slots=True)
class Demand:
    """One condition: it fails the audit where it holds."""

    figure: str
    comparison: str
    limit: float

    def __str__(self) -> str:
        return f"{self.figure}{self.comparison}{self.limit:g}"


def parse(words: Iterable[str]) -> tuple[Demand, ...]:
    """Conditions from "gap>0.05", several in one word with commas.

    Raises ConfigError where a word is no condition.
    """
    demands = []
    for word in (part for w in words for part in w.split(",")):
        match = _FORM.match(word)
        try:
            limit = float(match[3]) if match else math.nan
        except ValueError:
            limit = math.nan
        if not match or math.isnan(limit):
            raise ConfigError(
                f"{word!r} is no condition.",
                expected="a figure, a comparison and a number, such as gap>0.05 or accuracy<0.9",
                todo=f"use one of: {', '.join(FIGURES)}",
            )
        if match[1] not in FIGURES:
            raise ConfigError(
                f"{word!r} names the figure {match[1]!r}.",
                expected=f"one of: {', '.join(FIGURES)}",
                todo=did_you_mean(match[1], FIGURES),
            )
        demands.append(Demand(match[1], match[2], limit))
    return tuple(demands)


def failures(audit: Audit, demands: Sequence[Demand]) -> list[str]:
    """One sentence per condition and split that fails; an undefined figure fails as well."""
    sentences = []
    for split in audit.splits:
        for demand in demands:
            value, group = _figure(split, demand.figure)
            if math.isnan(value):
                sentences.append(text.condition_unchecked(str(demand), split.split, demand.figure))
            elif _COMPARE[demand.comparison](value, demand.limit):
                sentence = text.condition_holds(
                    str(demand), split.split, demand.figure, value, group
                )
                sentences.append(sentence)
    return sentences


def _figure(split: SplitAudit, name: str) -> tuple[float, str]:
    """A figure's value on a split, and its group."""
    if name in ("gap", "gap.low"):
        return _find_widest_gap(split, near=name == "gap.low")
    if name in ("findings", "serious"):
        return _count_findings(split, serious=name == "serious"), ""
    if name in (*_OVERALL, "mae"):
        estimate = split.metrics.get(name)  # of a number there is mae alone, of classes all others
        return math.nan if estimate is None else estimate.value, ""
    figures = [f for f in split.fairness if f.name == name and not math.isnan(f.estimate.value)]
    if not figures:
        return math.nan, ""
    worst = (min if name in _LEAST else max)(figures, key=lambda f: f.estimate.value)
    return worst.estimate.value, value_name(worst.attribute, worst.lowest)


def _count_findings(split: SplitAudit, *, serious: bool) -> float:
    """How many findings there are, listed or not; NaN for a number, which has none but gaps."""
    if "mae" in split.metrics:
        return math.nan
    listed = Counter(f.finding.severity for f in split.findings)
    counts = split.severities or listed
    return float(counts.get("serious", 0) if serious else sum(counts.values()))


def _find_widest_gap(split: SplitAudit, *, near: bool) -> tuple[float, str]:
    """The widest gap among the single groups that was found, 0 where none was."""
    gaps = [
        (_measure_disadvantage(metric, gap, near=near), group, metric)
        for group in split.groups
        for metric, gap in group.gaps.items()
        if gap.state == "found"
    ]
    size, group, metric = max(gaps, key=lambda item: item[0], default=(0.0, None, ""))
    if group is None or size <= 0:
        return 0.0, ""
    label = metric.removeprefix("error:") if metric.startswith("error:") else group.label
    return size, group_name(group.conditions[:1], label)


def _measure_disadvantage(metric: str, gap: Gap, *, near: bool) -> float:
    """How much more often the group is mistaken; of a number, how much larger its error is."""
    if metric == "accuracy":
        return -(gap.high if near else gap.value)
    is_error = metric == "mae" or metric.startswith("error:")
    return (gap.low if near else gap.value) if is_error else 0.0
