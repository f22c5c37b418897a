"""What the commands print: the result of each in a few lines, from its record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Protocol

from candid.records import Estimate, Evaluation, Exploration, ModelCard
from candid.records.audit import Audit, SplitAudit
from candid.records.compare import Comparison, GroupChange
from candid.records.explanation import Explanation
from candid.records.noise import LabelNoise
from candid.records.tuning import Tuning
from candid.text import notes, words
from candid.text.audit import collection_sentences
from candid.text.comparison import change_name, column_heads, figure_name
from candid.text.group_table import group_table
from candid.text.number import figure_in_unit, interval_in_unit, number_audit_lines
from candid.text.stories import (
    errors_by_label,
    label_aliases,
    stories_of,
    story_lines,
    telling_finding,
)
from candid.text.tuning import finalist_name

_MOST_CHANGES = 10
_MOST_STORIES = 6
_MOST_GROUPS = 8
_MOST_SUSPECTS = 5
_MOST_TRIALS = 10


def with_interval(estimate: Estimate) -> str:
    """A figure with its interval, and what it was computed from."""
    return (
        f"{estimate.value:.4f} ({words.confidence(estimate.confidence)} {estimate.low:.4f} to "
        f"{estimate.high:.4f}; {words.images(estimate.n, estimate.people)}; {estimate.method})"
    )


# --- making a run --------------------------------------------------------------------------------


def exploration_lines(exploration: Exploration) -> Iterator[str]:
    """What is in the data."""
    people = "" if exploration.people is None else f", {words.persons(exploration.people)}"
    yield f"{exploration.name} ({exploration.layout}): {words.images(exploration.n)}{people}"
    for split in exploration.splits:
        yield f"  {split.split}: {words.images(split.n)}"
        for name, share in zip(exploration.classes, split.shares, strict=True):
            low, high = 100 * share.low, 100 * share.high
            yield f"    labelled {name}: {100 * share.value:.1f}% ({low:.1f} to {high:.1f})"
    yield from (f"  {line}" for line in finding_lines(exploration))


def finding_lines(exploration: Exploration, severity: str = "") -> Iterator[str]:
    """What the checks of the data found; with a severity, that alone."""
    for finding in exploration.findings:
        if finding.state == "found" and severity in ("", finding.severity):
            yield f"{finding.severity}: {finding.code}: {finding.detail}"


def training_lines(card: ModelCard, run: str, weights: str) -> Iterator[str]:
    """Which weights a training kept, and what comes next."""
    yield f"model: {weights} ({card.network}, step {card.step}, {card.kept} weights)"
    yield f"next:  candid evaluate {run}"


def finished(run: str, *, same_data: bool = False) -> str:
    """Where a run that is to be resumed needs nothing; `same_data`: those named were compared."""
    data = "; the data are those that it began with" if same_data else ""
    return f"{run} is finished: nothing was done again{data}"


def f1_lines(evaluation: Evaluation) -> Iterator[str]:
    """The weighted F1 of each split."""
    for split in evaluation.splits:
        yield f"weighted F1 on {split.split}: {with_interval(split.metrics['weighted_f1'])}"
        if split.metrics_as_read:
            before = with_interval(split.metrics_as_read["weighted_f1"])
            labels = words.many(split.corrected, "label was", "labels were")
            yield f"  before {labels} corrected: {before}"


# --- an audit ------------------------------------------------------------------------------------


def audit_lines(audit: Audit, out: str, page: str, *, hint: bool = False) -> Iterator[str]:
    """What a reader should know in a minute; `out` and `page` are files, "" where there is none.

    `hint`: it is said how a page is had.
    """
    for split in audit.splits:
        yield from number_audit_lines(split) if "mae" in split.metrics else _split_lines(split)
    if audit.comparison is not None:
        yield from _comparison_lines(audit.comparison)
    if audit.abstention is not None:
        yield from (f"abstention: {target.sentence}" for target in audit.abstention.targets[:1])
    if audit.noise is not None:
        yield from _suspect_lines(audit.noise)
    yield from (f"note: {note}" for note in audit.notes)
    if out:
        yield f"audit: {out}"
    if page:
        yield f"{'page' if audit.comparison is None else 'comparison'}: {page}"
    if hint:
        yield "all of it with charts, as one file to read: --page audit.html"


def _suspect_lines(noise: LabelNoise) -> Iterator[str]:
    """How many labels are likely wrong, and the likeliest of them by name."""
    yield (
        f"labels: {noise.found:,} of {noise.n:,} {words.plural(noise.found, 'is', 'are')} likely "
        "wrong by confident learning; a model's own sure mistakes look the same, and only a person "
        "who looks can say"
    )
    for suspect in noise.likely_wrong[:_MOST_SUSPECTS]:
        yield f"  {suspect.id}: labelled {suspect.label}, likely {suspect.likely}"


def _comparison_lines(c: Comparison) -> Iterator[str]:
    yield f"{c.a} → {c.b} on {words.images(c.n)} of {c.split}: {_format_change(c.overall)}"
    lost, gained = column_heads(c.overall.metric)[-2:]
    flips = f"{words.images(c.overall.lost)} {lost.lower()}, {c.overall.gained:,} {gained.lower()}"
    yield f"  {flips}"
    changes = c.groups if not c.is_number else (*c.classes_changed, *c.groups)
    certain = [g for g in changes if g.state == "found"]
    for g in certain[:_MOST_CHANGES]:
        yield f"  {change_name(g)}: {_format_change(g)}"
    if not certain:
        yield f"  no group of {c.looked_at:,} changed for sure"
    yield from (f"  note: {note}" for note in c.notes)


def _format_change(change: GroupChange) -> str:
    """Both accuracies, or both mean errors, and their difference."""
    e = change.change
    return (
        f"{figure_name(change.metric).lower()} {change.main.a:.4f} → {change.main.b:.4f}, "
        f"{e.value:+.4f} "
        f"({words.confidence(e.confidence)} {e.low:+.4f} to {e.high:+.4f}; "
        f"{words.images(e.n, e.people)}; {e.method})"
    )


def _split_lines(split: SplitAudit) -> Iterator[str]:
    yield f"{split.split}: {words.images(split.n, split.people)}"
    yield f"  accuracy {with_interval(split.metrics['accuracy'])}"
    if by_label := errors_by_label(split):
        yield f"  {by_label}"
    stories = stories_of(split)
    if not split.findings:
        yield f"  {notes.nothing_found(split.gaps_looked_at, split.gaps_found)}"
    for story in stories[:_MOST_STORIES]:
        first, *rest = story_lines(split, [story])
        yield f"  {telling_finding(split, story).finding.severity}: {first}"
        yield from (f"  {line}" for line in rest)
    if len(stories) > _MOST_STORIES:
        yield f"  … and {len(stories) - _MOST_STORIES:,} more"
    yield from (f"  note: {sentence}" for sentence in label_aliases(split))
    yield from (f"  {line}" for line in group_table(split, _MOST_GROUPS))
    smallest = [
        g.gaps["accuracy"].smallest_visible
        for g in split.groups
        if g.label is None and g.gaps["accuracy"].state == "not found"
    ]
    visible = sorted(x for x in smallest if not math.isnan(x))
    if n := len(visible):
        groups = words.plural(n, "the one group", f"half of the {words.count(n)} groups")
        yield (
            f"  {groups} without a finding would have shown a gap of "
            f"{100 * visible[n // 2]:.1f} percentage points or more in 80% of cases"
        )
    if split.too_few:
        yield f"  {words.too_few(split.too_few, 'images' if split.people is None else 'people')}"
    if split.wanted:
        yield "  to collect next:"
        yield from (f"    {sentence}" for sentence in collection_sentences(split))
    yield from (f"  note: {note}" for note in split.notes)


# --- an explanation ------------------------------------------------------------------------------


def explanation_lines(record: Explanation, file: str) -> Iterator[str]:
    """Which maps passed their checks, and what each region costs or moves."""
    yield f"{record.n:,} {record.split} images{words.of_people(record.people)} explained"
    for method in record.methods:
        failed = [c.code.lower() for c in method.checks if c.state == "failed"]
        reasons = f" ({', '.join(failed)})" if failed else ""
        yield f"  {method.title}: {method.state}{reasons}"
    for region in record.regions:
        claims = [
            c.method for c in record.claims if c.region == region.name and c.state == "passed"
        ]
        costs = [m.excess_cost for m in record.region_maskings if m.region == region.name]
        costs = [cost for cost in costs if math.isfinite(cost.value)]
        if not costs:
            continue
        least = min(costs, key=lambda e: e.value)
        claim = f"; {len(claims)} of {len(record.methods)} methods look there" if claims else ""
        effect = f"F1 falls by {100 * least.value:.1f} points more than by chance "
        effect += f"({100 * least.low:.1f} to {100 * least.high:.1f}"
        if record.number is not None:
            effect = f"the number moves by {figure_in_unit(least)} more than by chance "
            effect += f"({interval_in_unit(least)}"
        yield f"  without the {region.name}: {effect}, the mildest of {len(costs)} fills){claim}"
    yield from (f"  note: {note}" for note in record.notes)
    yield f"explanation: {file}"


def explained_picture(name: str, prediction: str, probability: float) -> str:
    """What the model says of a picture whose maps were drawn; a number has no probability."""
    return f"{name}: {prediction}" + ("" if math.isnan(probability) else f" {probability:.4f}")


# --- a search ------------------------------------------------------------------------------------


def tuning_lines(result: Tuning, files: Mapping[str, str]) -> Iterator[str]:
    """The best trials as a table, the finalists, and what the winner reached; where files lie."""
    ranked = sorted(
        (t for t in result.trials if math.isfinite(t.f1)),
        key=lambda t: (t.state != "finished", -t.f1),
    )
    names = list(result.space)
    head = ["trial", "F1", "ended", *(n.partition(".")[2] for n in names)]
    rows = [
        [str(t.number), f"{t.f1:.4f}", "early" if t.state == "stopped" else "", *(
            _format_setting(t.settings.get(n, "")) for n in names
        )]
        for t in ranked[:_MOST_TRIALS]
    ]  # fmt: skip
    yield from words.align_columns([head, *rows], right=lambda column: True)
    if len(ranked) > _MOST_TRIALS:
        yield f"… and {len(ranked) - _MOST_TRIALS} more"
    for finalist in result.finalists:
        if finalist.f1:
            name = finalist_name(finalist.number, finalist.is_start)
            seeds = ", ".join(f"{f1:.4f}" for f1 in finalist.f1)
            yield f"{name}, fresh seeds: {seeds}; mean {finalist.mean.value:.4f}"
    best = result.best
    name = finalist_name(best.number, best.is_start)
    mean = f"mean {best.mean.value:.4f} over fresh seeds" if best.f1 else "one seed"
    yield f"winner: {name}, {mean}; best/ is its training with seed {result.seed}"
    for split, estimate in (("validation", result.validation), ("test", result.test)):
        if estimate is not None:
            yield f"weighted F1 of best/ on {split}: {with_interval(estimate)}"
    yield "chosen on validation, which flatters that figure; test was looked at this once"
    yield from (f"{title}: {file}" for title, file in files.items())


def _format_setting(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# --- using a run ---------------------------------------------------------------------------------


class JobOutcome(Protocol):
    """The result of a job; of several labels, `target` is ""."""

    @property
    def images(self) -> int: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def resumed(self) -> int: ...  # noqa: D102
    @property
    def errors(self) -> int: ...  # noqa: D102
    @property
    def predictions(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def reasons(self) -> Mapping[str, int]: ...  # noqa: D102


def outcome_lines(outcome: JobOutcome, out: str, target: str) -> Iterator[str]:
    """The result of a job."""
    rows = words.many(outcome.rows, "row", "rows")
    faces = f", {rows}" if outcome.rows != outcome.images else ""
    resumed = f" ({outcome.resumed:,} of them before)" if outcome.resumed else ""
    yield f"{out}: {words.many(outcome.images, 'picture', 'pictures')}{resumed}{faces}"
    for name, number in outcome.predictions.items():
        yield f"  {target and f'{target} = '}{name}: {number:,}"
    for reason, number in outcome.reasons.items():
        yield f"  no prediction, {reason}: {number:,}"
    if outcome.errors:
        yield f"  could not be read: {outcome.errors:,}"


def abstains_below(threshold: float, promise: str) -> str:
    """When there is no prediction, and what is promised of the others."""
    return f"  it abstains below {threshold:.4g}. {promise}"


def in_parts(parts: int) -> str:
    """How many files hold the rows of shards."""
    return f"  in {words.many(parts, 'part', 'parts')}; what became of each: manifest.json"


def look_unavailable(run: str) -> str:
    """That a run cannot flag pictures of another kind."""
    return (
        "this run does not know its training pictures by their look, so pictures of another kind "
        f"are not flagged; candid export {run} teaches it"
    )


def export_lines(onnx: str, size: int, checked: int, difference: float) -> Iterator[str]:
    """What was exported, and how near it is to the original."""
    sample = f"{checked:,} validation pictures" if checked else "noise"
    yield f"{onnx}: {size / 1e6:.1f} MB"
    agreement = f"probabilities within {difference:.1g}" if difference else "the same probabilities"
    yield f"  the same labels as torch on {sample}, and {agreement}"


def transformers_lines(folder: str, files: tuple[str, ...], size: int) -> Iterator[str]:
    """A folder for transformers, and how it is opened."""
    yield f"{folder}: {size / 1e6:.1f} MB in {', '.join(files)}"
    yield (
        f'  transformers.pipeline("image-classification", model="{folder}", trust_remote_code=True)'
    )


def framing_export_lines(
    onnx: str, size: int, checked: int, other: int, difference: float
) -> Iterator[str]:
    """The exported framing network, and how near it is to the original."""
    sample = f"{checked:,} validation pictures" if checked else "noise"
    if other:
        sample = f"all but {other:,} of {sample}"
    yield f"{onnx}: {size / 1e6:.1f} MB, which frames pictures first"
    yield f"  the same frames as torch on {sample}, and corners within {difference:.1g} of the side"


def quantised_lines(int8: str, size: int, f1: float, int8_f1: float, e: Estimate) -> Iterator[str]:
    """What the quantised model weighs and costs; `e` is its F1 less that of the other."""
    yield f"{int8}: {size / 1e6:.1f} MB"
    yield (
        f"  weighted F1 on validation {int8_f1:.4f} instead of {f1:.4f}: "
        f"{e.value:+.4f} ({words.confidence(e.confidence)} {e.low:+.4f} to {e.high:+.4f}; "
        f"{words.images(e.n, e.people)}; {e.method})"
    )


def look_line(unfamiliar: str) -> str:
    """How predict treats pictures of another kind."""
    return f"pictures unlike the training data: predict {unfamiliar}"
