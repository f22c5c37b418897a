"""Runs side by side: what each learned from what, how well, for whom worst, at what price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from candid.records import Estimate
from candid.records.frames import Tabular, html_of

RunState = Literal["finished", "no report", "not evaluated", "unfinished", "damaged"]
RunOrder = Literal["started", "run", "f1", "accuracy", "mae", "worst", "seconds", "size"]

_SUMMARY_COLUMNS = (
    *("run", "state", "data", "target", "recipe", "accuracy", "weighted_f1"),
    *("worst_group", "gap", "seconds"),
)


@dataclass(frozen=True, slots=True)
class WorstGap:
    """The group of one attribute that is furthest behind the rest in accuracy, for sure.

    `value` is its accuracy less that of the rest, `low` and `high` are the ends of its interval. Of
    a number: the mean absolute error, in the number's own units.
    """

    group: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run, or one of several labels that a run learned.

    Attributes
    ----------
    run
        Its folder; of one label among several, the label's own.
    whole
        Of one label among several, the folder of the run that learned them; else "".
    state
        How far it is; of one that is damaged, `why` says where.
    started, candid
        When, in ISO 8601, and by which version.
    data, target, classes, network, recipe
        What was learned from what, by which network, and with which recipe: the one that its
        command named, else the network's.
    split, accuracy, weighted_f1
        Of the test images, or of validation where nothing was held out for a test; None before it
        was evaluated.
    mae
        Of a label that is a number, its mean absolute error, in place of these two.
    worst
        None where no group was found to be behind, or none was looked for.
    seconds
        Of all its steps together; of one label among several, with those of the network.
    size
        Bytes of all its files; of one label among several, of the whole run.
    """

    run: str
    state: RunState
    size: int
    why: str = ""
    started: str = ""
    candid: str = ""
    data: str = ""
    target: str = ""
    classes: tuple[str, ...] = ()
    network: str = ""
    recipe: str = ""
    split: str = ""
    accuracy: Estimate | None = None
    weighted_f1: Estimate | None = None
    mae: Estimate | None = None
    worst: WorstGap | None = None
    seconds: float = 0.0
    whole: str = ""


@dataclass(frozen=True, slots=True)
class RunList(Tabular):
    """The runs below a folder."""

    folder: str
    runs: tuple[RunSummary, ...]

    def rows(self) -> list[dict[str, Any]]:
        """One row for each; figures with the ends of their intervals, None where there are none."""
        return [
            {
                "run": r.run,
                "state": r.state,
                "started": r.started,
                "data": r.data,
                "target": r.target,
                "network": r.network,
                "recipe": r.recipe,
                "split": r.split,
                **_interval_columns("accuracy", r.accuracy),
                **_interval_columns("weighted_f1", r.weighted_f1),
                **_interval_columns("mae", r.mae),
                "worst_group": r.worst and r.worst.group,
                **_interval_columns("gap", r.worst),
                "seconds": r.seconds,
                "bytes": r.size,
                "why": r.why,
            }
            for r in self.runs
        ]

    def _repr_html_(self) -> str:
        columns = [{name: row[name] for name in _SUMMARY_COLUMNS} for row in self.rows()]
        return html_of(columns, self.folder)


def _interval_columns(name: str, figure: Estimate | WorstGap | None) -> dict[str, float | None]:
    ends = ("", "value"), ("_low", "low"), ("_high", "high")
    return {f"{name}{end}": None if figure is None else getattr(figure, key) for end, key in ends}
