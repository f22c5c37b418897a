"""The table of runs that a terminal shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from candid.records import Estimate
from candid.records.listing import RunList, RunSummary, WorstGap
from candid.text import words

_HEAD = (
    *("run", "data", "target", "recipe", "images", "accuracy", "weighted F1", "worst group"),
    *("time", "MB"),
)
_NONE = "–"


def run_lines(run_list: RunList) -> Iterator[str]:
    """A table of the runs, in their order; below it what is wrong with those that are not whole."""
    if not run_list.runs:
        yield f"no runs in {run_list.folder}"
        return
    yield from words.align_columns([_HEAD, *map(_cells, run_list.runs)])
    # Labels of one run of which the same is to be said have one line.
    problems: dict[tuple[str, str, str], list[RunSummary]] = {}
    for r in run_list.runs:
        if r.state != "finished":
            problems.setdefault((r.whole or r.run, r.state, r.why), []).append(r)
    for (run, state, reason), rows in problems.items():
        subject = rows[0].run if len(rows) == 1 else f"{run}, {words.count(len(rows))} labels"
        yield f"{subject}: {state}{f': {reason}' if reason else ''}"


def _cells(r: RunSummary) -> tuple[str, ...]:
    return (
        r.run,
        r.data or _NONE,
        r.target or _NONE,
        r.recipe or _NONE,
        _format_images(r),
        _format_figure(r.accuracy),
        _format_figure(r.weighted_f1) if r.mae is None else f"MAE {_format_figure(r.mae)}",
        _format_gap(r.worst) if r.mae is None else _format_error_gap(r.worst),
        _format_time(r.seconds),
        f"{r.size / 1e6:.1f}",
    )


def _format_images(r: RunSummary) -> str:
    """The number and the split of the images behind its figures."""
    figure = r.accuracy if r.mae is None else r.mae
    return _NONE if figure is None else f"{figure.n:,} {r.split}"


def _format_figure(figure: Estimate | None) -> str:
    return _NONE if figure is None else words.with_ends(figure)


def _format_gap(worst: WorstGap | None) -> str:
    if worst is None:
        return _NONE
    return f"{worst.group}: {words.points_with_ends(worst)}"


def _format_error_gap(worst: WorstGap | None) -> str:
    """Of a number: in its own units, where more is worse."""
    if worst is None:
        return _NONE
    sign = "+" if worst.value > 0 else ""
    return f"{worst.group}: MAE {sign}{words.with_ends(worst)}"


def _format_time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def removed_lines(removed: Iterable[str]) -> Iterator[str]:
    """What was removed."""
    yield from (f"removed {run}" for run in removed)


def logged_line(run: str, trackers: Sequence[str], steps: int, figures: int) -> str:
    """What of a run was logged where."""
    logged = f"{words.many(steps, 'step', 'steps')} and {words.many(figures, 'figure', 'figures')}"
    return f"{run}: {logged} to {words.conjoin([*trackers])}"
