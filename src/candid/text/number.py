"""What is said of a number that is predicted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from candid.records import Estimate
from candid.records.audit import Audit, Gap, Group, SplitAudit
from candid.records.model import NumberCard
from candid.records.number import NumberEvaluation, NumberSplit
from candid.text import notes, words
from candid.text.findings import group_name

_MOST_LISTED = 10

_OF_ALL = (
    "It is promised for all images like these together, not for each group or range: there, it is "
    "measured."
)
_OF_RANGES = (
    "It is promised for each of {} ranges of the true value, not for each group; an interval spans "
    "what any range holds, so that they may hold more over all than that share."
)


def in_digits(x: float) -> str:
    """A number in the label's own unit, to three digits, and no more than two behind the point."""
    return words.number(x, _decimals(x))


def figure_in_unit(e: words.WithInterval) -> str:
    """A figure in the label's own unit, with the decimals that its interval deserves."""
    return words.number(e.value, words.decimals(e, _decimals(e.value)))


def interval_in_unit(e: words.WithInterval) -> str:
    """The interval of a figure or a gap in the label's own unit."""
    return words.interval(e, _decimals(e.value))


def value_with_interval(value: float, low: float, high: float) -> str:
    """What is predicted of one picture: "34.2 (21.0 to 48.5)"."""
    return f"{in_digits(value)} ({in_digits(low)} to {in_digits(high)})"


def _decimals(x: float) -> int:
    size = abs(x)
    if not 0 < size < 0.1:
        return 0 if size >= 100 else 1 if size >= 10 else 2
    return 1 - math.floor(math.log10(size))


def range_names(edges: Sequence[float], *, whole: bool) -> list[str]:
    """What the ranges between ascending edges are called; each begins with its lower edge."""
    if not len(edges):
        return ["all"]
    short = [f"{x:.10g}" for x in edges]
    if not whole or any(x != round(x) for x in edges):
        middle = [f"{a} to {b}" for a, b in itertools.pairwise(short)]
        return [f"below {short[0]}", *middle, f"{short[-1]} and above"]
    ends = [f"{x - 1:.10g}" for x in edges]
    middle = [a if a == b else f"{a} to {b}" for a, b in zip(short[:-1], ends[1:], strict=True)]
    return [f"up to {ends[0]}", *middle, f"{short[-1]} and above"]


def number_notes(card: NumberCard) -> Iterator[str]:
    """What a reader might not expect of the figures."""
    if card.reach >= 0.5:
        yield (
            "Validation has too few images, or the network is too sure, for intervals of this "
            "coverage: they span all that was seen in training."
        )
    yield (
        "The intervals were calibrated on the validation images, so that their coverage there is "
        "what it was made to be; that on test was not looked at before. "
        + (_OF_RANGES.format(len(card.reaches)) if card.reaches else _OF_ALL)
    )


def near_heading(evaluation: NumberEvaluation) -> str:
    """What the share of near predictions is called."""
    return f"Within {evaluation.tolerance:.4g}"


def near_and_far(tolerance: float) -> tuple[str, str]:
    """What images are called that are predicted nearly right, and the others."""
    return f"off by at most {tolerance:.4g}", f"off by more than {tolerance:.4g}"


def number_summary(
    evaluation: NumberEvaluation, data_name: str, model: str = "the network"
) -> Iterator[str]:
    """What a reader should know first; `model` predicts."""
    split = evaluation.headline
    if split is None:
        yield f"No prediction of {evaluation.target} on “{data_name}” was measured."
        return
    mae, median_mae = split.metrics["mae"], split.metrics.get("median_mae")
    guess = ""
    if median_mae is not None:
        guess = f"; always answering the training median, {evaluation.median:g}, is off by "
        guess += figure_in_unit(median_mae)
    yield (
        f"On the {split.split} images of “{data_name}” {model} is off by "
        f"{figure_in_unit(mae)} on average ({words.confidence(mae.confidence)} "
        f"{interval_in_unit(mae)}; {words.images(mae.n, mae.people)}){guess}."
    )
    if (coverage := split.metrics.get("coverage")) is not None:
        yield (
            f"Its intervals, made to hold {words.percent(evaluation.coverage)} of the true values, "
            f"hold {words.share_with_ends(coverage)} and are "
            f"{figure_in_unit(split.metrics['width'])} wide on average."
        )


def network_description(evaluation: NumberEvaluation, bins: int) -> str:
    """How a network predicts a number, and its baseline."""
    return (
        f"The network gives a distribution over {words.count(bins)} values; the prediction is its "
        f"{evaluation.answer}, which was off by less on validation. {_BASELINE} "
        f"{evaluation.median:g}, gives on the same images."
    )


_BASELINE = "For comparison stands what always answering the training median,"


def table_description(evaluation: NumberEvaluation) -> str:
    """The baseline of predictions that came without their network."""
    if math.isnan(evaluation.median):
        return (
            "The predictions came without intervals, and without the values that the model learned "
            "from: there is no blind guess to hold them against but these images’ own mean (R²)."
        )
    return f"{_BASELINE} {evaluation.median:g}, gives on the same images."


def near_by_these(tolerance: float) -> str:
    """Where the tolerance follows from the images that are evaluated."""
    return (
        f"What counts as near, off by at most {tolerance:.4g}, follows from how far the true "
        "values of these images spread, as those of training are not known; evaluate.tolerance "
        "sets it."
    )


def coverage_verdict(split: NumberSplit, coverage: float) -> str:
    """Whether the intervals of a split hold what they promise."""
    measured = split.metrics["coverage"]
    name = words.percent(coverage)
    if measured.high < coverage:
        return f"On {split.split} the intervals hold too few true values: fewer than {name}."
    if measured.low > coverage:
        return f"On {split.split} the intervals are wider than they need to be for {name}."
    return f"On {split.split} what the intervals hold agrees with the {name} they were made for."


def behind(audit: Audit | None) -> list[tuple[Group, Gap]]:
    """Groups that were found to be predicted worse than the rest, the widest gap first."""
    return groups_behind(audit.splits[0]) if audit is not None and audit.splits else []


def groups_behind(split: SplitAudit) -> list[tuple[Group, Gap]]:
    """The groups of one split that are predicted worse than the rest, the widest gap first."""
    gaps = [(g, g.gaps["mae"]) for g in split.singles() if "mae" in g.gaps]
    worse = [(g, gap) for g, gap in gaps if gap.state == "found" and gap.value > 0]
    return sorted(worse, key=lambda pair: -pair[1].value)


def number_verdict(audit: Audit) -> str:
    """An audit of a number in one sentence."""
    split = audit.splits[0]
    error = f"Off by {figure_in_unit(split.metrics['mae'])} on average"
    if not split.gaps_looked_at:
        return f"{error}; for whom by more is not known, as no groups could be compared."
    if not behind(audit):
        return f"{error}; not seen to be off by more for any group."
    return f"{error}; surely by more for some people."


def number_audit_summary(audit: Audit) -> str:
    """How many groups are predicted worse, and the worst of them."""
    split, worse = audit.splits[0], behind(audit)
    if not split.gaps_looked_at:
        return "No groups could be compared, so whether one is predicted worse is not known."
    n = split.gaps_looked_at
    gaps = f"{words.many(n, 'gap was', 'gaps were')} looked at"
    if not worse:
        return f"No group was found to be predicted worse than the rest; {gaps}."
    group, gap = worse[0]
    count, first = ("1 group was", "It is") if len(worse) == 1 else (
        f"{words.count(len(worse))} groups were", "Furthest behind is",
    )  # fmt: skip
    return (
        f"{count} found to be predicted worse than the rest; {gaps}. "
        f"{first} {group_name(group.conditions)}, by {figure_in_unit(gap)} "
        f"({interval_in_unit(gap)}; {words.images(gap.n, gap.people)})."
    )


def number_audit_lines(split: SplitAudit) -> Iterator[str]:
    """The audit of one split, for the terminal."""
    mae = split.metrics["mae"]
    yield f"{split.split}: {words.images(split.n, split.people)}"
    ends = f"{words.confidence(mae.confidence)} {interval_in_unit(mae)}"
    support = f"{words.images(mae.n, mae.people)}; {mae.method}"
    yield f"  mean absolute error {figure_in_unit(mae)} ({ends}; {support})"
    significant = [g for g in split.singles() if g.gaps["mae"].state == "found"]
    for group in sorted(significant, key=lambda g: g.gaps["mae"].p)[:_MOST_LISTED]:
        gap = group.gaps["mae"]
        direction = "more" if gap.value > 0 else "less"
        size = figure_in_unit(gap).removeprefix("−")
        yield (
            f"  {group_name(group.conditions)}: {size} {direction} than the rest "
            f"({interval_in_unit(gap)}; {words.images(gap.n, gap.people)})"
        )
    if len(significant) > _MOST_LISTED:
        yield f"  … and {len(significant) - _MOST_LISTED:,} more"
    if not significant:
        yield f"  {notes.nothing_found(split.gaps_looked_at)}"
    if split.too_few:
        yield f"  {words.too_few(split.too_few, 'images' if split.people is None else 'people')}"
    yield from (f"  note: {note}" for note in split.notes)


NOT_EQUAL_GROUPS = (
    "Groups differ in their true values, too: where one has more images of a range that is hard, "
    "its error is larger for that alone. Hold it against the error by range."
)


NOT_EXPLAINED = (
    "No maps were made, so nothing is known of what moves the number. In its folder, candid "
    "explain . makes them, and candid report . shows them."
)


def number_lines(evaluation: NumberEvaluation) -> Iterator[str]:
    """The figures of each split in the terminal."""
    for split in evaluation.splits:
        metrics = (split.metrics[n] for n in ("mae", "median_mae", "coverage"))
        yield mae_line(evaluation.target, split.split, *metrics)


def mae_line(target: str, split: str, mae: Estimate, guess: Estimate, coverage: Estimate) -> str:
    """The error of a number on a split, beside that of a blind guess."""
    return (
        f"{target}: mean absolute error on {split} {figure_in_unit(mae)} "
        f"({words.confidence(mae.confidence)} {interval_in_unit(mae)}; "
        f"{words.images(mae.n, mae.people)}); the training median {figure_in_unit(guess)}; "
        f"intervals hold {words.share_of(coverage)}"
    )
