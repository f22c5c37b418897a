"""What is said of a network that learned several labels at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from candid.records.targets import Overview, TargetSummary, Together
from candid.text import number, words

EACH_BY_ITSELF = (
    "Each label was audited by itself: the correction for many looks is over the gaps of one label "
    "and not over those of all, so of many labels some gaps may have been found by chance."
)


def count_labels(overview: Overview) -> str:
    """How many labels there are: "3 labels"; of a number alone, what it is called."""
    if len(overview.targets) == 1:
        return f"the number “{overview.targets[0].name}”"
    return f"{len(overview.targets)} labels"


def overview_summary(overview: Overview, data_name: str) -> Iterator[str]:
    """What a reader should know first."""
    parameters = f"{overview.network}, {words.count(overview.parameters)} parameters"
    targets = overview.targets
    if len(targets) == 1:
        yield f"A network ({parameters}) learned {count_labels(overview)} of “{data_name}”."
        yield from _single_summary(targets[0])
        return
    yield (
        f"One network ({parameters}) learned {len(targets)} labels of “{data_name}” at once; it "
        "has a block of outputs for each."
    )
    guess = "always giving the commonest answer"
    if any(t.is_number for t in targets):
        guess += " (of a number, the training median)"
    yield (
        f"On {sum(map(beats_majority, targets))} of them it does better than {guess}, by an "
        "interval that does not reach it."
    )
    if audited := [t for t in targets if t.audited]:
        n_behind = sum(t.worst is not None for t in targets)
        numbers = " (of a number, in mean error)" if any(t.is_number for t in audited) else ""
        yield (
            f"On {n_behind} of {len(audited)} that were audited, some group was found to fall "
            f"behind the rest in accuracy{numbers}."
        )


def _single_summary(target: TargetSummary) -> Iterator[str]:
    """What to know first of a number that was learned alone."""
    verdict = "does better" if beats_majority(target) else "was not shown to do better"
    yield f"It {verdict} than always giving the training median."
    if target.audited:
        subject = "Some group was" if target.worst else "No group was"
        yield f"{subject} found to be predicted worse than the rest."


def beats_majority(target: TargetSummary) -> bool:
    """Whether the interval of its weighted F1 lies above that of the commonest answer.

    Of a number: whether that of its mean absolute error lies below the training median's.
    """
    if target.is_number:
        return bool(target.metrics["mae"].high < target.metrics["median_mae"].value)
    return bool(target.metrics["weighted_f1"].low > target.metrics["majority_f1"].value)


def overview_limits(overview: Overview) -> Iterator[str]:
    """What to know of the figures of several labels together."""
    if overview.together is not None:
        yield from _joint_sentences(overview.together, overview.targets)
    elif any(t.audited for t in overview.targets) and len(overview.targets) > 1:
        yield EACH_BY_ITSELF
    if not overview.explained:
        yield (
            "There are many labels, so for each the data were not explored and the network was not "
            "explained. For one of them: candid explain RUN/targets/LABEL, then candid report."
        )


def _joint_sentences(together: Together, targets: Sequence[TargetSummary]) -> Iterator[str]:
    """The gaps that remain where all labels are corrected together."""
    rate = words.percent(together.false_discovery_rate, 0)
    level = ""
    if together.selected:
        level = f": those with an adjusted p of at most {together.level:.2g}"
    yield (
        "Each label was audited by itself: the correction for many looks is over the gaps of one "
        f"label. Corrected over all labels as well, {together.selected} of {together.audited} keep "
        f"some gap (of these gaps, averaged over such labels, at most {rate} are chance; Benjamini "
        f"and Bogomolov 2014){level}."
    )
    if lost := [t.name for t in targets if t.worst is not None and not t.worst.together]:
        yield f"The worst group in the table is not among them for: {', '.join(lost)}."


def lines(overview: Overview) -> Iterator[str]:
    """The weighted F1 of each label in the terminal, and what was left out."""
    for t in overview.targets:
        if t.is_number:
            mae, median = t.metrics["mae"], t.metrics["median_mae"]
            yield number.mae_line(t.name, t.split, mae, median, t.metrics["coverage"])
            continue
        f1, guess = t.metrics["weighted_f1"], t.metrics["majority_f1"]
        yield (
            f"{t.name}: weighted F1 on {t.split} {words.figure_of(f1, 4)} "
            f"({words.confidence(f1.confidence)} {words.interval(f1, 4)}; "
            f"{words.images(f1.n, f1.people)}); the commonest answer {guess.value:.4f}"
        )
    for name, reason in overview.left_out.items():
        yield f"left out: {name}: {reason}"
