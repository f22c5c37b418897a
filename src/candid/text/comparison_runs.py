"""What a page and a terminal say of three or more models on the same images, in sentences.

Everything here is plain text: whoever prints it escapes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from candid.records.compare import Comparison
from candid.records.compare_runs import GroupAcross, RunComparison
from candid.text import words
from candid.text.comparison import (
    change_figures,
    change_name,
    figure_said,
    heads,
    kinds,
    visible_said,
)
from candid.text.number import in_digits, in_unit, of_interval

_TOLD = 3  # groups that the summary names


def run_comparison_summary(found: RunComparison) -> list[str]:
    """Which model is better, how sure that is, for whom they differ, what could not be seen."""
    return [*_better(found), *_for_whom(found), *_unseen(found)]


def _better(found: RunComparison) -> Iterator[str]:
    yield _ranking(found)
    surely = [pair for pair in found.pairs if pair.overall.state == "found"]
    for pair in surely:
        yield pair_said(pair)
    if rest := [pair for pair in found.pairs if pair.overall.state != "found"]:
        names = [f"“{pair.a}” and “{pair.b}”" for pair in rest]
        yield f"No more than chance explains lies between {words.listed(names)}."


def _ranking(found: RunComparison) -> str:
    """The best model, and how well it and the others do."""
    best, *others = found.ranked()
    images, main = f"{words.count(found.n)} {found.split} images", best.metrics[found.metric]
    if found.is_number:
        rest = [f"“{one.name}” by {in_unit(one.metrics['mae'])}" for one in others]
        return (
            f"Nearest is “{best.name}”: off by {in_unit(main)} ({of_interval(main)}) on average "
            f"over {images}; {words.listed(rest)}."
        )
    rest = [f"“{one.name}” {words.share_of(one.metrics['accuracy'])}" for one in others]
    return (
        f"Most were right with “{best.name}”: {words.percent_interval(main)} of {images}; with "
        f"{words.listed(rest)}."
    )


def pair_said(pair: Comparison) -> str:
    """Which of two is surely better, and by how much."""
    e, scale = pair.overall.change, 1 if pair.is_number else 100
    better, worse = (pair.b, pair.a) if pair.overall.gain > 0 else (pair.a, pair.b)
    low, high = (e.low, e.high) if e.value > 0 else (-e.high, -e.low)
    said = f"is right more often than “{worse}”: by {words.size_in_points(e)} points"
    ends = f"{words.number(scale * low, 1)} to {words.number(scale * high, 1)}"
    if pair.is_number:
        said = f"is nearer than “{worse}”: by {in_unit(e).removeprefix('−')}"
        ends = f"{in_digits(low)} to {in_digits(high)}"
    return (
        f"“{better}” {said} ({ends}; p {words.significant(pair.overall.adjusted_p, 2)} after Holm "
        "over all pairs)."
    )


def figure_names(found: RunComparison) -> list[str]:
    """The heads of the columns of each model's figures."""
    if found.is_number:
        return ["Mean absolute error", "Root mean squared error"]
    return ["Accuracy", "Weighted F1"]


def pair_heads(metric: str) -> tuple[str, ...]:
    """The heads of the columns of a pair's figures."""
    what = "Right" if metric == "accuracy" else "Error"
    return f"{what} with the first", f"{what} with the second", *heads(metric)[2:]


def _for_whom(found: RunComparison) -> Iterator[str]:
    across = found.across()
    differ = [g for g in across if g.found]
    for g in differ[:_TOLD]:
        yield f"{across_said(g, found)}."
    if len(differ) > _TOLD:
        one, several = kinds(found.pairs[0])
        more = words.many(len(differ) - _TOLD, f"more {one} differs", f"more {several} differ")
        yield f"{more}; the table says."
    if not differ:
        what = "range" if found.is_number else "class"
        yield (
            f"For no {what} and no group do any two of them differ by more than chance explains, "
            f"in {words.count(found.looked_at)} looks."
        )


def across_said(g: GroupAcross, found: RunComparison) -> str:
    """Between which two models a group differs most, and by how much."""
    pair, change = found.pairs[g.widest], g.changes[g.widest]
    a, b = (figure_said(x, change.metric) for x in (change.main.a, change.main.b))
    said = f"the mean error is {a}" if pair.is_number else f"{a} are right"
    return (
        f"For {change_name(change)}, {said} with “{pair.a}” and {b} with “{pair.b}” "
        f"({change_figures(change)})"
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
        f"{words.count(found.looked_at)} times, of every "
        f"{'range' if found.is_number else 'class'} and group with enough people in "
        "every pair; there p-values are adjusted after Benjamini and Hochberg, as in an audit: at "
        f"most {words.percent(found.alpha, 0)} of the differences found are chance, on average."
    )


def _unseen(found: RunComparison) -> Iterator[str]:
    visible = words.middle(g.smallest_visible for pair in found.pairs for g in pair.judged())
    if visible is not None:
        points = "" if found.is_number else " points"
        yield (
            f"Half of the {kinds(found.pairs[0])[1]} would have to differ by at least "
            f"{visible_said(visible, found.metric)}{points} between two models for that to be "
            "likely (80%) seen: “not found” does not mean equal."
        )


def run_comparison_lines(found: RunComparison, page: str) -> Iterator[str]:
    """What a terminal shows; `page` is a file, "" where there is none."""
    yield f"{found.target} on {words.images(found.n, found.people)} of {found.split}"
    width = max(map(len, found.names))
    for one in found.ranked():
        told = zip(figure_names(found), one.metrics.values(), strict=True)
        figures = (f"{name[0].lower()}{name[1:]} {words.with_ends(e)}" for name, e in told)
        yield f"  {one.name.ljust(width)}  {'  '.join(figures)}"
    yield from run_comparison_summary(found)[1:]
    yield looks(found)
    yield from (f"note: {note}" for note in found.notes)
    if page:
        yield f"comparison: {page}"
