"""The groups that a model does worst for, as a table of a terminal."""

from __future__ import annotations

import math

from candid.records.audit import Group, SplitAudit
from candid.text import words
from candid.text.findings import group_name, worse_ends

_HEAD = ("group", "images", "people", "wrong, %", "interval", "gap, points", "interval", "state")


def worst_groups(split: SplitAudit, limit: int) -> list[Group]:
    """The groups that do worse than the rest, those found first, by the near end of their gap."""
    worse = [g for g in split.groups if "accuracy" in g.gaps and g.gaps["accuracy"].value < 0]
    worse.sort(key=lambda g: (_state(g) != "found", _near_end(g), g.gaps["accuracy"].value))
    return worse[:limit]


def group_table(split: SplitAudit, limit: int) -> list[str]:
    """A table of the `limit` worst groups, with their errors; empty where none does worse."""
    rows = [_cells(group) for group in worst_groups(split, limit)]
    words_at = (0, len(_HEAD) - 1)
    return [*words.align_columns([_HEAD, *rows], right=lambda i: i not in words_at)] if rows else []


def _cells(group: Group) -> tuple[str, ...]:
    right, gap = group.metrics["accuracy"], group.gaps["accuracy"]
    wrong, more = words.decimals(right, 1, 100), words.decimals(gap, 1, 100)
    return (
        group_name(group.conditions, group.label),
        words.count(group.n),
        "unknown" if group.people is None else words.count(group.people),
        words.number(100 * (1 - right.value), wrong),
        f"{words.number(100 * (1 - right.high), wrong)} to "
        f"{words.number(100 * (1 - right.low), wrong)}",
        words.points(-gap.value, more),
        " to ".join(words.points(end, more) for end in worse_ends(gap)),
        _state(group),
    )


def _state(group: Group) -> str:
    """The state of the gap that the line shows: another gap of the group may have been found."""
    return group.state if group.state == "too few to say" else group.gaps["accuracy"].state


def _near_end(group: Group) -> float:
    """The sort key: the widest sure gaps first, undefined intervals last."""
    end = worse_ends(group.gaps["accuracy"])[0]
    return -end if math.isfinite(end) else math.inf
