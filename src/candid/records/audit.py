"""For whom a model fails, and how sure that is (`audit.json`).

An `Audit` holds one `SplitAudit` per split that was looked at (test, unless more was asked for).
Undefined figures are NaN here and `null` in JSON. Names of figures, as keys of `metrics`:

- `accuracy`: share of images that are classified as labelled.
- `weighted_f1`: mean of the classes' F1 weighted by their shares of the labels.
- `error:<class>`: of the images labelled so, the share classified otherwise (false negatives).
- `false:<class>`: of the images labelled otherwise, the share that is classified so (false
  positives). With two classes it is the error of the other class, and is not listed twice.
- `precision:<class>`: of the images classified so, the share that is labelled so.
- `predicted:<class>`: share of images that are classified so (the selection rate).
- `roc_auc`: area under the ROC curve of the second class; for more classes, the mean of each
  against the rest.
- `confidence`: mean probability of the predicted class.
- `overconfidence`: mean confidence less accuracy, with its sign.
- `calibration_error`: the expected one, biased upwards for few images: gaps are of the one above.

Intersections have those that follow from counts: accuracy, weighted_f1, error, false.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from candid.records import Estimate, Example, Finding, Split, State
from candid.records.abstention import Abstention
from candid.records.collecting import Wanted
from candid.records.compare import Comparison
from candid.records.confounding import AdjustedGaps
from candid.records.fairness import FairnessFigure
from candid.records.frames import Tabular, html_of, text_of
from candid.records.noise import LabelNoise
from candid.records.stories import Story
from candid.records.tone import ToneSummary

# Of a gap, the columns of a frame, and those that a notebook shows.
_GAP_COLUMNS = (
    *("metric", "value", "low", "high", "p", "adjusted_p", "smallest_visible", "state"),
    *("n", "rest_n", "people", "rest_people"),
)
_SUMMARY_COLUMNS = ("split", "group", "label", "metric", "value", "low", "high", "adjusted_p", "n")
_MOST_ROWS = 20

# How a finding came up: a group of one attribute, a group of several that is worse than each of the
# groups that it is part of, a slice that a search found, a cue that the model leans on.
Kind = Literal["group", "intersection", "slice", "shortcut"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One value of one attribute, "Eyeglasses: yes"; numeric attributes come in bins."""

    attribute: str
    value: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A group's figure less that of the rest, and what can be said about it.

    Attributes
    ----------
    metric
        Which figure: a key of `metrics`.
    value, low, high
        The difference and its interval; NaN where undefined. Negative accuracy is bad for the
        group, so is a positive error.
    p
        Two-sided, of "there is no difference"; consistent with the interval at the level 0.05,
        and for few images the larger of that and an exact binomial tail. NaN where undefined.
    adjusted_p
        After Benjamini and Hochberg over all gaps that the split's audit looked at.
    smallest_visible
        The smallest difference, as a size, that groups like these would show in 80% of cases at
        the audit's threshold of p. NaN where even the largest possible would be missed.
    state
        "found", "not found" or "too few to say".
    n, rest_n, people, rest_people
        Images behind the group's figure and behind that of the rest; people behind them, None
        where people are unknown.
    method, confidence
        Of the interval.
    draws, undefined_draws
        Bootstrap draws, and in how many of them the group or the rest vanished or left the figure
        undefined. They are left out of the interval.
    """

    metric: str
    value: float
    low: float
    high: float
    p: float
    adjusted_p: float
    smallest_visible: float
    state: State
    n: int
    rest_n: int
    people: int | None
    rest_people: int | None
    method: str
    draws: int = 0
    undefined_draws: int = 0
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Group:
    """Images that share one, two or three values of attributes, perhaps with the same label.

    Attributes
    ----------
    conditions
        One for a single attribute, more for an intersection.
    label
        Only images that are labelled so count, in the group as in the rest; None: all images.
    n, people
        Images, and people behind them (None where people are unknown).
    share
        Of the images whose values are known for all of these attributes (and that are labelled so).
    prevalence
        Class → the share of the group's images that are labelled so; empty where `label` is set.
    metrics
        Name → figure, see the module.
    gaps
        Metric → gap to the rest: images whose values are known and differ.
    beyond
        Only for intersections: its accuracy less that of the rest of the larger group that is
        nearer to it ("Eyeglasses and Wearing_Hat, beyond Eyeglasses and beyond Wearing_Hat"); its p
        is 1 where it does not do worse than both. None for single attributes.
    state
        "too few to say" where the group, or its rest, has fewer people than the audit asks for;
        "found" where a gap in accuracy or error to the group's disadvantage was found; else
        "not found".
    """

    conditions: tuple[Condition, ...]
    label: str | None
    n: int
    people: int | None
    share: Estimate
    prevalence: dict[str, Estimate]
    metrics: dict[str, Estimate]
    gaps: dict[str, Gap]
    state: State
    beyond: Gap | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """A combination of up to three values with much excess error, found by search.

    It was found on one half of the people and is confirmed, or not, on the other half.

    Attributes
    ----------
    conditions
        One to three values.
    score, found_n, found_error
        On the half where it was found: SliceLine's score (Sagadeeva & Boehm 2021; above 0 is worse
        than average for its size), images and error.
    n, people, error, gap
        On the other half: images, people, error with its interval, and the gap in accuracy to the
        rest there. `gap.state` says whether it was confirmed.
    beyond
        As in `Group`, on the other half; None for one value.
    """

    conditions: tuple[Condition, ...]
    score: float
    found_n: int
    found_error: float
    n: int
    people: int | None
    error: Estimate
    gap: Gap
    beyond: Gap | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """All pairs of values at a glance, for a heat map.

    Attributes
    ----------
    conditions, n, accuracy, gap, found
        k values, and (k, k), symmetric: images, accuracy, its gap to the rest (negative: worse),
        whether that was found. Pairs that were not looked at, or are too small, have NaN and False;
        the diagonal holds the single values.
    low, high
        The ends of the gap's interval; empty where none was kept.
    """

    conditions: tuple[Condition, ...]
    n: tuple[tuple[int, ...], ...]
    accuracy: tuple[tuple[float, ...], ...]
    gap: tuple[tuple[float, ...], ...]
    found: tuple[tuple[bool, ...], ...]
    low: tuple[tuple[float, ...], ...] = ()
    high: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Shortcut:
    """An attribute that goes with the label: how the model does where it agrees and where not.

    Attributes
    ----------
    attribute, association, cue
        "Wearing_Lipstick"; Cramér's V with the label, 0 to 1; value → the class that it goes with.
    agrees, contradicts
        Accuracy where the label is the class that the value goes with, and where it is another.
    gap
        The error where the cue contradicts less the error where it agrees, compared within the
        classes of `within` and averaged by their shares of the labels, so that a class that is hard
        for another reason does not count. Positive: the model leans on the cue, or on what goes
        with it.
    within
        The classes with enough people on both sides; none: too few to say.
    """

    attribute: str
    association: Estimate
    cue: dict[str, str]
    agrees: Estimate
    contradicts: Estimate
    gap: Gap
    within: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """A finding, the group that it is about, its figures, and pictures that show it.

    Attributes
    ----------
    kind, finding
        How it came up; code (GROUP-GAP, INTERSECTION-GAP, SLICE, SHORTCUT), title, state, severity,
        and a detail with the figures in words. `count` mistakes `of` so many images.
    conditions, label, gap
        The group; for a shortcut one condition per value of the cue. The gap that decided.
    mistakes
        The surest among the group's images, at most as many as the settings say.
    errors
        The shares of mistakes whose difference the gap is: of the group, or where the cue
        contradicts the label, and of the rest; NaN in files that were written before there were
        any.
    """

    kind: Kind
    finding: Finding
    conditions: tuple[Condition, ...]
    label: str | None
    gap: Gap
    mistakes: tuple[Example, ...] = ()
    errors: tuple[float, ...] = (math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class SplitAudit:
    """The audit of one split.

    Attributes
    ----------
    split, n, people, metrics
        "test", unless more was asked for; labelled images, and people behind them (None where
        people are unknown); all images together: name → figure.
    groups
        Every value of every attribute, in the data's order; then every value within each label.
    intersections
        Pairs of values with at least as many people as the audit asks for, the surest
        disadvantages in accuracy first, at most as many as the settings say.
    intersections_looked_at
        How many pairs there were before the list was cut; they all count in `gaps_looked_at`.
    fairness, slices, shortcuts, findings
        Figures by their standard names, attribute by attribute; what the search found, best score
        first, whether or not it was confirmed; attributes that go with the label, the widest gap
        first; what was found, the surest first (empty: nothing was).
    gaps_looked_at, gaps_found, threshold, false_discovery_rate
        How many p-values went through Benjamini and Hochberg, and how many of them held; the p at
        or below which one did. At most this share of the gaps found is chance, on average.
    too_few, smallest_people
        How many single groups are too small to say anything: of fewer people (or images, where
        people are unknown).
    notes, grid, wanted
        What a reader might not expect; all pairs of values, None where they were not looked at;
        groups of which more people would let a gap be seen.
    stories
        The findings by the mistakes that they rest on, the widest sure gap first; empty in files
        that were written before there were any.
    severities
        Severity → how many findings bear it, those that are not listed, too; empty where there is
        none, and in files that were written before they were counted.
    """

    split: Split
    n: int
    people: int | None
    metrics: dict[str, Estimate]
    groups: tuple[Group, ...]
    intersections: tuple[Group, ...]
    intersections_looked_at: int
    fairness: tuple[FairnessFigure, ...]
    slices: tuple[Slice, ...]
    shortcuts: tuple[Shortcut, ...]
    findings: tuple[AuditFinding, ...]
    gaps_looked_at: int
    gaps_found: int
    false_discovery_rate: float
    threshold: float
    too_few: int
    smallest_people: int
    notes: tuple[str, ...] = ()
    grid: Grid | None = None
    stories: tuple[Story, ...] = ()
    wanted: tuple[Wanted, ...] = ()
    severities: dict[str, int] = field(default_factory=dict)

    def singles(self) -> list[Group]:
        """The groups of one value, among all images."""
        return [g for g in self.groups if len(g.conditions) == 1 and g.label is None]

    def furthest_behind(self) -> tuple[Group, Gap] | None:
        """The group of one value that was found to be furthest behind the rest in accuracy."""
        gaps = [(g, g.gaps["accuracy"]) for g in self.singles() if "accuracy" in g.gaps]
        behind = [pair for pair in gaps if pair[1].state == "found" and pair[1].value < 0]
        return min(behind, key=lambda pair: pair[1].value, default=None)

    def gaps(self) -> Iterator[tuple[Kind, Group | Slice, str | None, Gap]]:
        """Every gap to the rest: how it came up, of whom, within which label."""
        for kind, groups in (("group", self.groups), ("intersection", self.intersections)):
            for group in groups:
                for gap in group.gaps.values():
                    yield kind, group, group.label, gap  # type: ignore[misc]
        for part in self.slices:
            yield "slice", part, None, part.gap


@dataclass(frozen=True, slots=True)
class Audit(Tabular):
    """For whom the model fails (`audit.json`).

    Attributes
    ----------
    target, classes, source
        The label, and its values; what the predictions are of: the data's name, or the file's.
    splits
        In the order that was asked for; the first is the one to read.
    abstention, noise, confounding
        When the model had better not answer; labels that are likely wrong, and how much of each
        gap they could make; gaps with all other attributes held constant.
    tone, comparison
        What was measured of skin, where pictures were looked at; what changed from another model.
    notes
        Concern the whole file; among them why something above is None though it was asked for.
    """

    target: str
    classes: tuple[str, ...]
    source: str
    splits: tuple[SplitAudit, ...]
    abstention: Abstention | None = None
    noise: LabelNoise | None = None
    confounding: AdjustedGaps | None = None
    tone: ToneSummary | None = None
    comparison: Comparison | None = None
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """A row per gap of the groups, intersections and slices of every split."""
        return [
            {
                "split": split.split,
                "kind": kind,
                "group": ", ".join(f"{c.attribute}: {c.value}" for c in group.conditions),
                "label": label,
                **{name: getattr(gap, name) for name in _GAP_COLUMNS},
            }
            for split in self.splits
            for kind, group, label, gap in split.gaps()
        ]

    def __str__(self) -> str:
        return text_of(*self._summary())

    def _repr_html_(self) -> str:
        return html_of(*self._summary())

    def _summary(self) -> tuple[list[dict[str, Any]], str]:
        """The surest gaps that were found, and how many there are."""
        rows = [row for row in self.rows() if row["state"] == "found"]
        rows.sort(key=lambda row: (row["p"], -abs(row["value"])))
        summary = [{name: row[name] for name in _SUMMARY_COLUMNS} for row in rows[:_MOST_ROWS]]
        # A gap that two groups have in common stands in two rows, and counts once.
        count = sum(s.gaps_found for s in self.splits)
        total = sum(s.gaps_looked_at for s in self.splits)
        return summary, f"{self.target}: {count:,} of {total:,} gaps were found"
