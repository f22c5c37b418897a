"""What a page and a terminal say of three or more models on the same images, in sentences.

Everything here is plain text: whoever prints it escapes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from candid.records.compare import Comparison
from candid.records.compare_runs import GroupAcross, RunComparison
from candid.text import words
from candid.text.comparison import change_figures, change_name

_TOLD = 3  # groups that the summary names


def run_comparison_summary(found: RunComparison) -> list[str]:
    """Which model is better, how sure that is, for whom they differ, what could not be seen."""
    return [*_better(found), *_for_whom(found), *_unseen(found)]


def _better(found: RunComparison) -> Iterator[str]:
    best, *others = found.ranked()
    rest_right = [f"“{one.name}” {words.share_of(one.accuracy)}" for one in others]
    yield (
        f"Most were right with “{best.name}”: "
        f"{words.percent_interval(best.accuracy)} of {words.count(found.n)} {found.split} "
        f"images; with {words.listed(rest_right)}."
    )
    surely = [pair for pair in found.pairs if pair.overall.state == "found"]
    for pair in surely:
        yield pair_said(pair)
    if rest := [pair for pair in found.pairs if pair.overall.state != "found"]:
        names = [f"“{pair.a}” and “{pair.b}”" for pair in rest]
        yield f"No more than chance explains lies between {words.listed(names)}."


def pair_said(pair: Comparison) -> str:
    """Which of two is surely better, and by how much."""
    e = pair.overall.accuracy_change
    better, worse = (pair.b, pair.a) if e.value > 0 else (pair.a, pair.b)
    low, high = (e.low, e.high) if e.value > 0 else (-e.high, -e.low)
    return (
        f"“{better}” is right more often than “{worse}”: by {words.size_in_points(e)} "
        f"points ({words.number(100 * low, 1)} to {words.number(100 * high, 1)}; p "
        f"{words.significant(pair.overall.adjusted_p, 2)} after Holm over "
        "all pairs)."
    )


def _for_whom(found: RunComparison) -> Iterator[str]:
    across = found.across()
    differ = [g for g in across if g.found]
    for g in differ[:_TOLD]:
        yield f"{across_said(g, found)}."
    if len(differ) > _TOLD:
        more = words.many(
            len(differ) - _TOLD, "more class or group differs", "more classes and groups differ"
        )
        yield f"{more}; the table says."
    if not differ:
        yield (
            "For no class and no group do any two of them differ by more than chance explains, in "
            f"{words.count(found.looked_at)} looks."
        )


def across_said(g: GroupAcross, found: RunComparison) -> str:
    """Between which two models a group differs most, and by how much."""
    pair, change = found.pairs[g.widest], g.changes[g.widest]
    accuracy = change.metrics["accuracy"]
    return (
        f"For {change_name(change)}, {words.percent(accuracy.a)} are right with “{pair.a}” and "
        f"{words.percent(accuracy.b)} with “{pair.b}” ({change_figures(change)})"
    )


def across_state(g: GroupAcross) -> str:
    """Found where any two differ for sure, else what is said of the widest difference."""
    return "found" if g.found else g.changes[g.widest].state


def looks(found: RunComparison) -> str:
    """How the many looks are accounted for."""
    return (
        f"Which model is better was asked of {words.count(len(found.pairs))} pairs; their p-values "
        "are adjusted by Holm’s procedure, so that any of the differences called found is false "
        f"with a chance of at most {words.percent(found.alpha, 0)}. For whom they differ was asked "
        f"{words.count(found.looked_at)} times, of every class and group with enough people in "
        "every pair; there p-values are adjusted after Benjamini and Hochberg, as in an audit: at "
        f"most {words.percent(found.alpha, 0)} of the differences found are chance, on average."
    )


def _unseen(found: RunComparison) -> Iterator[str]:
    visible = words.middle(g.smallest_visible for pair in found.pairs for g in pair.judged())
    if visible is not None:
        yield (
            "Half of the classes and groups would have to differ by at least "
            f"{words.number(100 * visible, 1)} points between two models for "
            "that to be likely (80%) seen: “not found” does not mean equal."
        )


def run_comparison_lines(found: RunComparison, page: str) -> Iterator[str]:
    """What a terminal shows; `page` is a file, "" where there is none."""
    yield f"{found.target} on {words.images(found.n, found.people)} of {found.split}"
    width = max(map(len, found.names))
    for one in found.ranked():
        yield (
            f"  {one.name.ljust(width)}  accuracy {words.with_ends(one.accuracy)}  "
            f"weighted F1 {words.with_ends(one.weighted_f1)}"
        )
    yield from run_comparison_summary(found)[1:]
    yield looks(found)
    yield from (f"note: {note}" for note in found.notes)
    if page:
        yield f"comparison: {page}"
