"""What is said of a promise of few wrong answers where it is to be kept."""

from __future__ import annotations

from typing import Protocol

from candid.text import words


class DriftState(Protocol):
    """The state of a drift test."""

    @property
    def pictures(self) -> int: ...  # noqa: D102
    @property
    def limits(self) -> int: ...  # noqa: D102
    @property
    def after(self) -> int | None: ...  # noqa: D102
    @property
    def change(self) -> str: ...  # noqa: D102


def flagged_clause(unlike: int, pictures: int) -> str:
    """How many of some pictures are unlike the training data."""
    verb = words.plural(unlike, "is", "are")
    return f"{words.count(unlike)} of these {pictures:,} {verb} unlike the training data"


def promise_sentence(promise: str, unlike: int, pictures: int) -> str:
    """A promise, and how many pictures it is not for."""
    return f"{promise} {flagged_clause(unlike, pictures)}."


def too_many_flagged(unlike: int, pictures: int, false_alarms: float, target_error: float) -> str:
    """No promise, since more pictures are flagged than chance explains."""
    return (
        f"No promise: {flagged_clause(unlike, pictures)}, where at most {false_alarms:.1%} of "
        f"pictures like the validation pictures would be. {_promise_scope(target_error)}"
    )


def withdrawn(alarm: str, target_error: float) -> str:
    """No promise, since an alarm says that the pictures are others."""
    return f"No promise: {alarm} {_promise_scope(target_error)}"


def _promise_scope(target_error: float) -> str:
    return (
        "For those it was promised that at most "
        f"{100 * target_error:.3g}% of the answers are wrong; for these nothing is known. "
        "candid evaluate RUN DATA says how it does on labelled ones, and candid calibrate makes a "
        "promise for them."
    )


def drifted(after: int, change: str, false_alarms: float) -> str:
    """What an alarm says; `false_alarms` is the share of streams from home that raise one."""
    return f"{_drift_clause(after, change, false_alarms)}."


def _drift_clause(after: int, change: str, false_alarms: float) -> str:
    return (
        f"the pictures are not like the validation pictures, which showed after {after:,} of "
        f"them (most of all, {change}; streams of pictures like those raise at most "
        f"{100 * false_alarms:.0f} false alarms in 100)"
    )


def drift_line(ordered: DriftState, drawn: DriftState, false_alarms: float) -> str:
    """What a job's summary says of its pictures in their order, and in one drawn at random."""
    if not drawn.limits:
        return "drift: the validation pictures are too few to tell"
    if drawn.after is not None:
        after = ordered.after
        order = "" if after is None else f"; in their order it showed after {after:,}"
        return f"drift: {_drift_clause(drawn.after, drawn.change, false_alarms)}{order}"
    if ordered.after is not None:
        return (
            f"drift: all {drawn.pictures:,} together are like the validation pictures, but "
            f"not in their order, which showed after {ordered.after:,} (most of all, "
            f"{ordered.change}): they are sorted, or change on the way"
        )
    return f"drift: none seen in {drawn.pictures:,} pictures"
