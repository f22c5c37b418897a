"""What the report says of two models on the same images, in sentences."""

from __future__ import annotations

from candid.records import Estimate
from candid.records.compare import Comparison, GroupChange
from candid.text import words
from candid.text.findings import value_name
from candid.text.number import figure_in_unit, in_digits, interval_in_unit

_MOST_GROUPS = 3  # groups of either direction that the summary names


def change_name(change: GroupChange) -> str:
    """The group in the data's words; "labelled Male" for a class."""
    if not change.attribute:
        return "all images"
    is_class = change.attribute == "label" and change.gap is None and change.label is None
    if is_class and change.metric == "accuracy":
        return f"labelled {change.value}"
    return value_name(change.attribute, change.value, change.label)


def change_figures(change: GroupChange) -> str:
    """The change of its accuracy or error, its interval and its sample."""
    e, metric = change.change, change.metric
    return (
        f"{format_change(e, metric)}, {change_interval(e, metric)}; "
        f"{words.images(change.n, change.people)}"
    )


# --- figures: shares, whose changes are in percentage points, and errors in a number's own unit ---


def format_figure(value: float, metric: str) -> str:
    """A figure of one model."""
    return words.percent(value) if metric == "accuracy" else in_digits(value)


def format_change(e: Estimate, metric: str) -> str:
    """A change with its sign: "+1.2 points", or of a number "+0.31"."""
    if metric == "accuracy":
        return f"{words.points_of(e)} points"
    return f"{'+' if e.value > 0 else ''}{figure_in_unit(e)}"


def change_cell(e: Estimate, metric: str) -> str:
    """A change for a table's cell, whose head has the unit."""
    return format_change(e, metric).removesuffix(" points")


def change_interval(e: Estimate, metric: str) -> str:
    """The interval of a change."""
    return words.points_interval(e) if metric == "accuracy" else interval_in_unit(e)


def format_gap(value: float, metric: str) -> str:
    """A gap to the rest, with its sign."""
    if metric == "accuracy":
        return words.points(value)
    return f"{'+' if value > 0 else ''}{in_digits(value)}"


def format_visible(value: float, metric: str) -> str:
    """The smallest change that would be seen."""
    return format_gap(value, metric).lstrip("+")


def figure_name(metric: str) -> str:
    """What the figure is called in a title."""
    return "Accuracy" if metric == "accuracy" else "Mean absolute error"


def column_heads(metric: str) -> tuple[str, ...]:
    """The heads of a table's columns: before and after, the change, those that lost and gained."""
    if metric == "accuracy":
        return "Right before", "Right after", "Change, points", "Became wrong", "Became right"
    return "Error before", "Error after", "Change", "Further off", "Nearer"


def significance_test(metric: str) -> str:
    """The test that the p-values are from."""
    if metric == "accuracy":
        return (
            "an exact randomisation test by person (McNemar’s exact test where nobody has more "
            "than one image)"
        )
    return "Student’s test of the mean difference by person"


def group_kinds(comparison: Comparison) -> tuple[str, str]:
    """What groups are called, in the singular and the plural."""
    if comparison.is_number:
        return "range or group", "ranges and groups"
    return "class or group", "classes and groups"


def comparison_summary(comparison: Comparison) -> list[str]:
    """For whom it became better or worse, how sure that is, and what it cost the others."""
    better, worse = comparison.changed(1), comparison.changed(-1)
    singular, plural = group_kinds(comparison)
    sentences = [_describe_change(g, "Better") for g in better[:_MOST_GROUPS]]
    sentences += [_describe_change(g, "Worse") for g in worse[:_MOST_GROUPS]]
    n_more = len(better) + len(worse) - len(sentences)
    if n_more:
        sentences.append(
            f"{words.many(n_more, f'more {singular}', f'more {plural}')} changed for sure; the "
            "table says."
        )
    if not sentences:
        sentences.append(
            f"None of the {words.count(len(comparison.judged()))} {plural} that could be judged "
            "changed by more than chance explains."
        )
    sentences += [overall_sentence(comparison), cost_sentence(comparison)]
    return sentences + _blind_spots(comparison)


def _describe_change(change: GroupChange, word: str) -> str:
    metric = change.metric
    a, b = (format_figure(x, metric) for x in (change.main.a, change.main.b))
    clause = f"off by {a} on average, now by {b}"
    if metric == "accuracy":
        clause = f"{a} were right, now {b} are"
    text = f"{word} for {change_name(change)}: {clause} ({change_figures(change)})"
    if change.gap is not None:
        points = " points" if metric == "accuracy" else ""
        text += (
            f"; its gap to the rest went from {format_gap(change.gap.a, metric)} to "
            f"{format_gap(change.gap.b, metric)}{points}"
        )
    return f"{text}."


def overall_sentence(comparison: Comparison) -> str:
    """All images together."""
    change, metric = comparison.overall, comparison.overall.metric
    e = change.change
    chance = "" if e.low > 0 or e.high < 0 else ", which could be chance"
    a, b = (format_figure(x, metric) for x in (change.main.a, change.main.b))
    clause = f"“{comparison.a}” was off by {a} on average and “{comparison.b}” is by {b}"
    if metric == "accuracy":
        clause = f"{a} were right with “{comparison.a}” and {b} are with “{comparison.b}”"
    return (
        f"Over all {words.count(comparison.n)} {comparison.split} images, {clause}: "
        f"{format_change(e, metric)} ({change_interval(e, metric)} with {100 * e.confidence:g}% "
        f"confidence){chance}."
    )


def cost_sentence(comparison: Comparison) -> str:
    """How many images and groups became worse."""
    lost, gained = comparison.overall.lost, comparison.overall.gained
    worse, (singular, plural) = len(comparison.changed(-1)), group_kinds(comparison)
    groups = f"no {singular.replace(' or ', ' and no ')}"
    if worse:
        groups = words.many(worse, singular, plural)
    flips = (
        f"{words.many(lost, 'image that was', 'images that were')} right became wrong, and "
        f"{words.many(gained, 'that was', 'that were')} wrong became right"
    )
    if comparison.is_number:
        flips = (
            f"{words.many(lost, 'image is', 'images are')} further off than before, and "
            f"{words.count(gained)} nearer"
        )
    return (
        f"What it cost: {flips}; {groups} of {words.count(len(comparison.judged()))} became "
        "worse for sure."
    )


def _blind_spots(comparison: Comparison) -> list[str]:
    """What the comparison could not have seen."""
    judged = comparison.judged()
    visible = words.upper_median(g.smallest_visible for g in judged)
    sentences, points = [], "" if comparison.is_number else " points"
    if visible is not None:
        sentences.append(
            f"Half of the groups would have to change by at least "
            f"{format_visible(visible, comparison.overall.metric)}{points} for that to be likely "
            "(80%) seen: “not found” does not mean unchanged."
        )
    n_few = len(comparison.groups) + len(comparison.classes_changed) - len(judged)
    if n_few:
        sentences.append(f"{words.too_few(n_few, 'people')}.")
    return sentences
