"""What a page and a terminal say of three or more models on the same images, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from candid.records.compare import Comparison
from candid.records.compare_runs import GroupAcross, RunComparison
from candid.text import words
from candid.text.comparison import (
    change_figures,
    change_name,
    column_heads,
    format_figure,
    format_visible,
    group_kinds,
)
from candid.text.number import figure_in_unit, in_digits, interval_in_unit

_MOST_GROUPS = 3  # groups that the summary names


def run_comparison_summary(comparison: RunComparison) -> list[str]:
    """Which model is better, how sure that is, for whom they differ, what could not be seen."""
    parts = (_better_sentences, _group_sentences, _blind_spots)
    return [sentence for part in parts for sentence in part(comparison)]


def _better_sentences(comparison: RunComparison) -> Iterator[str]:
    yield _ranking(comparison)
    for pair in comparison.pairs:
        if pair.overall.state == "found":
            yield pair_sentence(pair)
    if rest := [pair for pair in comparison.pairs if pair.overall.state != "found"]:
        names = [f"“{pair.a}” and “{pair.b}”" for pair in rest]
        yield f"No more than chance explains lies between {words.conjoin(names)}."


def _ranking(comparison: RunComparison) -> str:
    """The best model, and how well it and the others do."""
    best, *others = comparison.ranked()
    images = f"{words.count(comparison.n)} {comparison.split} images"
    main = best.metrics[comparison.metric]
    if comparison.is_number:
        rest = [f"“{m.name}” by {figure_in_unit(m.metrics['mae'])}" for m in others]
        return (
            f"Nearest is “{best.name}”: off by {figure_in_unit(main)} ({interval_in_unit(main)}) "
            f"on average over {images}; {words.conjoin(rest)}."
        )
    rest = [f"“{m.name}” {words.share_of(m.metrics['accuracy'])}" for m in others]
    return (
        f"Most were right with “{best.name}”: {words.percent_interval(main)} of {images}; with "
        f"{words.conjoin(rest)}."
    )


def pair_sentence(pair: Comparison) -> str:
    """Which of two is surely better, and by how much."""
    e, scale = pair.overall.change, 1 if pair.is_number else 100
    better, worse = (pair.b, pair.a) if pair.overall.gain > 0 else (pair.a, pair.b)
    low, high = (e.low, e.high) if e.value > 0 else (-e.high, -e.low)
    clause = f"is right more often than “{worse}”: by {words.size_in_points(e)} points"
    ends = f"{words.number(scale * low, 1)} to {words.number(scale * high, 1)}"
    if pair.is_number:
        clause = f"is nearer than “{worse}”: by {figure_in_unit(e).removeprefix('−')}"
        ends = f"{in_digits(low)} to {in_digits(high)}"
    return (
        f"“{better}” {clause} ({ends}; p {words.significant(pair.overall.adjusted_p, 2)} after "
        "Holm over all pairs)."
    )


def figure_names(comparison: RunComparison) -> list[str]:
    """The heads of the columns of each model's figures."""
    if comparison.is_number:
        return ["Mean absolute error", "Root mean squared error"]
    return ["Accuracy", "Weighted F1"]


def pair_heads(metric: str) -> tuple[str, ...]:
    """The heads of the columns of a pair's figures."""
    figure = "Right" if metric == "accuracy" else "Error"
    return f"{figure} with the first", f"{figure} with the second", *column_heads(metric)[2:]


def _group_sentences(comparison: RunComparison) -> Iterator[str]:
    different = [g for g in comparison.across() if g.found]
    for g in different[:_MOST_GROUPS]:
        yield f"{across_sentence(g, comparison)}."
    if len(different) > _MOST_GROUPS:
        singular, plural = group_kinds(comparison.pairs[0])
        n = len(different) - _MOST_GROUPS
        rest = words.many(n, f"more {singular} differs", f"more {plural} differ")
        yield f"{rest}; the table says."
    if not different:
        kind = "range" if comparison.is_number else "class"
        yield (
            f"For no {kind} and no group do any two of them differ by more than chance explains, "
            f"in {words.count(comparison.looked_at)} looks."
        )


def across_sentence(g: GroupAcross, comparison: RunComparison) -> str:
    """Between which two models a group differs most, and by how much."""
    pair, change = comparison.pairs[g.widest], g.changes[g.widest]
    a, b = (format_figure(x, change.metric) for x in (change.main.a, change.main.b))
    clause = f"the mean error is {a}" if pair.is_number else f"{a} are right"
    return (
        f"For {change_name(change)}, {clause} with “{pair.a}” and {b} with “{pair.b}” "
        f"({change_figures(change)})"
    )


def across_state(g: GroupAcross) -> str:
    """Found where any two differ for sure, else the state of the widest difference."""
    return "found" if g.found else g.changes[g.widest].state


def adjustment_sentence(comparison: RunComparison) -> str:
    """How the p-values are adjusted."""
    return (
        f"Which model is better was asked of {words.count(len(comparison.pairs))} pairs; their "
        "p-values are adjusted by Holm’s procedure, so that any of the differences called found is "
        f"false with a chance of at most {words.percent(comparison.alpha, 0)}. For whom they "
        f"differ was asked {words.count(comparison.looked_at)} times, of every "
        f"{'range' if comparison.is_number else 'class'} and group with enough people in every "
        "pair; there p-values are adjusted after Benjamini and Hochberg, as in an audit: at most "
        f"{words.percent(comparison.alpha, 0)} of the differences found are chance, on average."
    )


def _blind_spots(comparison: RunComparison) -> Iterator[str]:
    judged = (g for pair in comparison.pairs for g in pair.judged())
    visible = words.upper_median(g.smallest_visible for g in judged)
    if visible is not None:
        points = "" if comparison.is_number else " points"
        yield (
            f"Half of the {group_kinds(comparison.pairs[0])[1]} would have to differ by at least "
            f"{format_visible(visible, comparison.metric)}{points} between two models for that to "
            "be likely (80%) seen: “not found” does not mean equal."
        )


def run_comparison_lines(comparison: RunComparison, page: str) -> Iterator[str]:
    """What a terminal shows; `page` is a file, "" where there is none."""
    images = words.images(comparison.n, comparison.people)
    yield f"{comparison.target} on {images} of {comparison.split}"
    width = max(map(len, comparison.names))
    for model in comparison.ranked():
        named_figures = zip(figure_names(comparison), model.metrics.values(), strict=True)
        figures = (f"{name[0].lower()}{name[1:]} {words.with_ends(e)}" for name, e in named_figures)
        yield f"  {model.name.ljust(width)}  {'  '.join(figures)}"
    yield from run_comparison_summary(comparison)[1:]
    yield adjustment_sentence(comparison)
    yield from (f"note: {note}" for note in comparison.notes)
    if page:
        yield f"comparison: {page}"
