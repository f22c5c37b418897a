"""What is said of remedies: what each changes for whom, which one wins, how to use it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from candid.records import Estimate
from candid.records.compare import GroupChange
from candid.records.improvement import CellAccuracy, CellCoverage, Improvement, RemedyOutcome
from candid.text import words
from candid.text.comparison import change_figures, change_name
from candid.text.findings import value_name

_MOST_GROUPS = 3  # groups either way that are told of a remedy

HEAD = (
    *("Remedy", "All images", "Worst group", "Change there, points", "Adjusted p", "Helps"),
    "Log loss",
)

NAMES = {
    "group layer": "the last layer fitted again, balanced by label and {0}",
    "label layer": "the last layer fitted again, balanced by label",
    "prior shift": "one temperature and a bias for each class",
    "group calibration": "a calibration for each group of {0}, for pictures whose group is known",
    "abstention": "no answer where the run is unsure",
    "another seed": "trained again from another seed, else as the run: what trained anew must beat",
    "corrections": "trained anew with the corrections",
    "copies": "trained anew without the copies of pictures in training",
    "class weights": "trained anew, each class weighing the same",
    "group weights": "trained anew, each combination of label and {0} weighing the same",
    "group DRO": "trained anew for the worst combination of label and {0} (group DRO)",
}
NO_LAYER = (
    "The network does not end in a linear layer that could be fitted again, so that was not tried."
)
NO_GROUPS = (
    "The audit found no group to balance by and none was named, so labels alone count as groups; "
    "--group COLUMN names one."
)
TAKEN_FROM_TEST = (
    "The groups are those of the audit, which read them off the test people: on test, and only "
    "there, such a group may look better afterwards because it was worst by bad luck. Remedies "
    "were judged on validation people, who are others."
)
NO_TEST = "There are no test images, so that nobody has confirmed the winner on new people."


def remedy_notes(
    attributes: Sequence[str], named: bool, layer: bool, unbalanced: Sequence[str]
) -> Iterator[str]:
    """What a reader might not expect of a tournament; `unbalanced`: by what no layer was fitted."""
    if not layer:
        yield NO_LAYER
    elif unbalanced:
        yield (
            f"The last layer was not fitted again balanced by {words.conjoin([*unbalanced])}: of "
            "the validation images, not every label occurs with every value."
        )
    if not attributes:
        yield NO_GROUPS
    elif not named:
        yield TAKEN_FROM_TEST


JUDGED_BY_CORRECTIONS = (
    "All remedies, and the run as it is, are judged by the corrected labels; what was left out by "
    "the corrections judges nobody."
)


def retraining_notes(missing: Sequence[str], corrections: object) -> Iterator[str]:
    """Which remedies did not train anew, and why; by which labels all are judged."""
    yield from (f"Not tried: {reason}." for reason in missing)
    if corrections is not None:
        yield JUDGED_BY_CORRECTIONS


def describe_remedy(remedy: RemedyOutcome) -> str:
    """The remedy in words."""
    text = NAMES[remedy.kind].format(remedy.attribute)
    return f"{text}, on training images" if remedy.fitted_on == "training" else text


def cell_name(cell: CellAccuracy | CellCoverage) -> str:
    """The combination in the data's words."""
    if not cell.attribute:
        return f"labelled {cell.label}"
    return value_name(cell.attribute, cell.value, cell.label)


def improvement_lead(improvement: Improvement) -> str:
    """The images, folds and groups that remedies were tried on."""
    grouping = "labels alone"
    if improvement.attributes:
        source = "" if improvement.named else ", from the audit's findings"
        grouping = f"label and {words.conjoin(list(improvement.attributes))}{source}"
    is_by_person = improvement.people is not None
    unit, left_out = ("people", "its person") if is_by_person else ("images", "it")
    return (
        f"Remedies were tried on {words.images(improvement.n, improvement.people)} of validation "
        f"in {improvement.folds} folds of {unit}, grouped by {grouping}; each image is answered by "
        f"what was fitted and chosen without {left_out}."
    )


def baseline_rows(improvement: Improvement) -> list[tuple[str, str]]:
    """Each combination and its accuracy, the lowest first."""
    measured = [c for c in improvement.cells if c.accuracy.n]
    ordered = sorted(measured, key=lambda c: c.accuracy.value)
    return [(cell_name(c), _format_share(c.accuracy)) for c in ordered]


def remedy_cells(remedy: RemedyOutcome) -> list[str]:
    """The remedy as text under `HEAD`."""
    accuracy, aim = remedy.overall.metrics["accuracy"], remedy.aim.change
    loss = remedy.log_loss
    helps = {"found": "yes", "not found": "no", "not applicable": "cannot win"}
    return [
        remedy.name,
        f"{words.percent(accuracy.a)} → {words.percent(accuracy.b)}",
        f"{words.share_of(remedy.worst_before.accuracy)} → "
        f"{words.share_of(remedy.worst_after.accuracy)}",
        f"{words.points_of(aim)} ({words.points_interval(aim)}; n = {words.count(aim.n)})",
        words.number(remedy.adjusted_p) if remedy.eligible else "–",
        helps[remedy.helps],
        f"{words.number(loss.a)} → {words.number(loss.b)}",
    ]


def outcome_sentences(improvement: Improvement) -> list[str]:
    """Which one wins, for whom it is better and what it costs the others; or that none helps."""
    n_eligible = sum(r.eligible for r in improvement.remedies)
    is_for_group = improvement.aim == "worst group"
    whom = "the group that is worst off" if is_for_group else "all images together"
    best = next((r for r in improvement.remedies if r.name == improvement.winner), None)
    if best is None:
        return [
            f"None helps: of {words.count(n_eligible)} remedies, none makes it better for {whom} "
            "by more than chance explains."
        ]
    aim = best.aim.change
    sentences = [
        f"{best.name} wins ({describe_remedy(best)}): for {whom} it is right "
        f"{words.hundredths_of(aim)} points more often ({words.points_interval(aim)}; "
        f"{words.images(aim.n, aim.people)}; adjusted p "
        f"{words.number(best.adjusted_p)} among {words.count(n_eligible)} remedies)."
    ]
    if best.beside_control is not None:
        difference = best.beside_control.change
        sentences.append(
            f"Against the run trained again from another seed: {words.points_of(difference)} "
            f"points there ({words.points_interval(difference)})."
        )
    sentences += remedy_changes(best)
    overall = best.overall.change
    sentences.append(
        f"All images together: {words.points_of(overall)} points "
        f"({words.points_interval(overall)})."
    )
    return [*sentences, *_test_sentence(improvement)]


def remedy_changes(remedy: RemedyOutcome) -> list[str]:
    """For whom it is better, and whom it costs something."""
    better, worse = remedy.changed(1), remedy.changed(-1)
    sentences = [f"Better for {_describe_change(g)}." for g in better[:_MOST_GROUPS]]
    sentences += [f"Worse for {_describe_change(g)}." for g in worse[:_MOST_GROUPS]]
    n_more = len(better) + len(worse) - len(sentences)
    if n_more:
        rest = words.many(n_more, "more class or group", "more classes and groups")
        sentences.append(f"{rest} changed for sure.")
    return sentences or ["No class and no group changed by more than chance explains."]


def _describe_change(group: GroupChange) -> str:
    accuracy = group.metrics["accuracy"]
    return (
        f"{change_name(group)}: {words.percent(accuracy.a)} were right, now "
        f"{words.percent(accuracy.b)} ({change_figures(group)})"
    )


def _test_sentence(improvement: Improvement) -> Iterator[str]:
    if (test := improvement.test) is None:
        yield NO_TEST
        return
    before, after = test.worst_before, test.worst_after
    overall, aim = test.comparison.overall.metrics["accuracy"], test.aim.change
    yield (
        f"On test, looked at this once: the worst group goes from {_format_share(before.accuracy)} "
        f"({cell_name(before)}) to {_format_share(after.accuracy)} ({cell_name(after)}); where it "
        f"was worst on validation, {words.points_of(aim)} points ({words.points_interval(aim)}; "
        f"{words.images(aim.n, aim.people)}); all images {words.percent(overall.a)} → "
        f"{words.percent(overall.b)} ({words.points_interval(overall.difference)} points)."
    )


def abstention_lines(remedy: RemedyOutcome) -> Iterator[str]:
    """What abstention costs each group, the least answered first."""
    for c in sorted(remedy.coverage, key=lambda c: c.coverage.value):
        yield (
            f"{cell_name(c)}: {_format_share(c.coverage)} are answered, and of the answers "
            f"{_format_share(c.error)} are wrong"
        )


def improvement_lines(improvement: Improvement, run: str) -> Iterator[str]:
    """What a reader should know in a minute; `run` is the run's folder."""
    yield improvement_lead(improvement)
    yield "as it is:"
    yield from (f"  {name}: {accuracy}" for name, accuracy in baseline_rows(improvement))
    yield from words.align_columns([HEAD, *map(remedy_cells, improvement.remedies)])
    for remedy in improvement.remedies:
        if remedy.coverage:
            yield f"{remedy.name}, what it costs:"
            yield from (f"  {line}" for line in abstention_lines(remedy))
    yield from outcome_sentences(improvement)
    yield from (f"note: {note}" for note in improvement.notes)
    if improvement.folder:
        yield from (f"next:  {line}" for line in commands(run, improvement))


def commands(run: str, improvement: Improvement) -> list[str]:
    """The commands that use the winner, audit it and, where it was trained anew, make it again."""
    folder = f"{run}/{improvement.folder}"
    lines = [
        shlex.join(["candid", "predict", folder, "PICTURES"]),
        shlex.join(["candid", "audit", run, folder]),
    ]
    if any(r.name == improvement.winner and r.trained for r in improvement.remedies):
        lines.append(shlex.join(["candid", "run", "DATA", "--config", f"{folder}/config.toml"]))
    return lines


def _format_share(e: Estimate) -> str:
    return f"{words.percent_interval(e)}, n = {words.images(e.n, e.people)}"
