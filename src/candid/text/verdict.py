"""The first screen of the report: one sentence, four answers, and what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from candid.records import Estimate, SplitEvaluation
from candid.records.audit import Gap, SplitAudit
from candid.records.explanation import Explanation, Masking
from candid.records.external import ExternalSource
from candid.text import improvement, seeds, words
from candid.text.explanation import FILLS
from candid.text.findings import worse_interval
from candid.text.inputs import ReportInput
from candid.text.stories import stories_of, story_sentence, telling_finding

_MOST_STORIES = 3  # that the first screen tells


@dataclass(frozen=True)
class ScreenAnswer:
    """A short answer to a question that every reader has."""

    question: str  # in a few words
    section: str  # the id of what answers it at length
    notes: tuple[str, ...]  # what to know beside it, in short sentences
    figure: str = ""  # that carries the answer; "" where nobody looked
    unit: str = ""  # what it counts
    interval: str = ""  # with what it stands on


def verdict(inputs: ReportInput) -> str:
    """The whole report in one sentence."""
    split = inputs.headline
    if split is None:
        return "No predictions were measured, so nothing is known of this model."
    pictures = {
        "test": "new pictures",
        "validation": "validation pictures",
        "train": "pictures that it was trained on",
    }[split.split]
    accuracy = accuracy_clause(split.metrics.get("accuracy"), f"{pictures} like its own")
    if not accuracy:
        return UNKNOWN_ACCURACY
    return words.sentence(
        f"{accuracy}; {failure_clause(_audited_split(inputs))}; {_transfer_clause(inputs)}"
    )


UNKNOWN_ACCURACY = "How often its answers are the labels is undefined on these images."


def accuracy_clause(accuracy: Estimate | None, pictures: str) -> str:
    """How often it is right; "" where that is not known."""
    if accuracy is None or not math.isfinite(accuracy.value):
        return ""
    return f"Right in {words.number(100 * accuracy.value, 0)} of 100 {pictures}"


def failure_clause(split: SplitAudit | None) -> str:
    """Whether it fails more often for some."""
    if split is None:
        return "nobody measured for whom it fails"
    if not split.gaps_looked_at:
        return "for whom it fails is not known, as no groups could be compared"
    if not split.findings:
        return "not seen to do worse for any group"
    return "surely wrong more often for some people"


def _transfer_clause(inputs: ReportInput) -> str:
    sources = _outside_sources(inputs)
    if not sources:
        return "untried elsewhere"
    worst = _worst_source(sources)
    return f"right in {words.number(100 * _accuracy(worst), 0)} of 100 on “{worst.name}”"


def answers(inputs: ReportInput) -> list[ScreenAnswer]:
    """How good, for whom it fails, how far from home it holds, what it looks at."""
    return [
        _quality_answer(inputs),
        failure_answer(_audited_split(inputs)),
        _transfer_answer(inputs),
        _explanation_answer(inputs),
    ]


def _quality_answer(inputs: ReportInput) -> ScreenAnswer:
    split = inputs.headline
    f1 = None if split is None else split.metrics.get("weighted_f1")
    notes = []
    other = inputs.split("validation")
    if other is not None and other is not split and "weighted_f1" in other.metrics:
        figure = other.metrics["weighted_f1"]
        notes.append(f"Validation: {words.with_ends(figure)}.")
    if split is not None and inputs.seeds is not None:
        notes += filter(None, [seeds.seeds_clause(inputs.seeds, split.split)])
    if split is not None:
        notes += guess_notes(split)
    comparison = None if inputs.audit is None else inputs.audit.comparison
    if comparison is not None:
        change = comparison.overall.metrics["accuracy"].difference
        notes.append(
            f"Accuracy less that of “{comparison.a}”, points: {words.points_with_ends(change)}."
        )
    elif f1 is not None and inputs.network != "plain":
        notes.append("No plainer network was trained to compare.")
    return quality_answer(None if split is None else split.split, f1, notes)


def guess_notes(split: SplitEvaluation) -> Iterator[str]:
    """What always giving the commonest answer reaches."""
    if "majority_f1" in split.metrics:
        yield f"The commonest answer: {words.figure_of(split.metrics['majority_f1'])}."


def quality_answer(split: str | None, f1: Estimate | None, notes: Sequence[str]) -> ScreenAnswer:
    """Its weighted F1 on a split."""
    question, section = "How good is it?", "performance"
    if split is None or f1 is None:
        return ScreenAnswer(question, section, tuple(notes))
    unit, ends = f"weighted F1, {split}", interval_and_support(f1, words.interval(f1))
    return ScreenAnswer(question, section, tuple(notes), words.figure_of(f1), unit, ends)


def failure_answer(split: SplitAudit | None) -> ScreenAnswer:
    """The stories of an audit, if there is one."""
    question = "For whom does it fail?"
    if split is None:
        return ScreenAnswer(question, "unchecked", ("Nobody looked: no audit was made.",))
    if not split.gaps_looked_at:
        return ScreenAnswer(question, "audit", ("No groups could be compared.",))
    stories = stories_of(split)
    if not stories:
        note = "No group that could be judged does worse than the rest by more than chance."
        return ScreenAnswer(question, "audit", (note,), "0", "stories")
    gap = telling_finding(split, stories[0]).gap
    return ScreenAnswer(
        question,
        "audit",
        tuple(story_sentence(split, s) for s in stories[:_MOST_STORIES]),
        f"+{words.size_in_points(gap)}",
        "more mistakes in 100: the first of these",
        interval_and_support(gap, worse_interval(gap)),
    )


def _transfer_answer(inputs: ReportInput) -> ScreenAnswer:
    question, section = "How far from home does it hold?", "transfer"
    sources = _outside_sources(inputs)
    if not sources:
        reason = "Nobody looked: it was measured on pictures of its own data set alone."
        return ScreenAnswer(question, section, (reason,))
    worst = _worst_source(sources)
    accuracy = worst.figures.evaluation.metrics["accuracy"]
    notes = []
    if (difference := worst.differences.get("accuracy")) is not None:
        notes.append(f"Beside home, in points: {words.points_with_ends(difference)}.")
    if worst.figures.promise is not None:
        notes.append(f"Its promise of few wrong answers there: {worst.figures.promise.state}.")
    if len(sources) > 1:
        notes.append(f"The worst of {words.count(len(sources))} places.")
    return ScreenAnswer(
        question,
        section,
        tuple(notes),
        words.share_of(accuracy),
        f"right, on “{worst.name}”",
        interval_and_support(accuracy, words.interval(accuracy, share=True)),
    )


def _explanation_answer(inputs: ReportInput) -> ScreenAnswer:
    question, e = "What does it look at?", inputs.explanation
    if e is None:
        return ScreenAnswer(question, "unchecked", ("Nobody looked: no maps were made.",))
    passed = sum(m.state == "passed" for m in e.methods)
    maps = (
        f"Of {words.count(len(e.methods))} kinds of maps, {words.count(passed)} passed every check."
    )
    mildest = _mildest_masking(e)
    if mildest is None:
        return ScreenAnswer(question, "explanation", (maps,))
    loss = mildest.f1_loss
    control = words.hundredths_of(mildest.control_f1_loss)
    notes = (
        f"Painted over with {FILLS.get(mildest.fill, mildest.fill)}, the mildest way; the same "
        f"shape at random places costs {control}.",
        maps,
    )
    unit = f"points of F1 lost without the {mildest.region}"
    return ScreenAnswer(
        question,
        "explanation",
        notes,
        words.hundredths_of(loss),
        unit,
        interval_and_support(loss, words.hundredths_interval(loss)),
    )


def _mildest_masking(e: Explanation) -> Masking | None:
    """The cheapest fill of the costliest region."""
    for region in e.by_cost(r.name for r in e.regions):
        measured = [m for m in e.maskings if m.region == region and math.isfinite(m.f1_loss.value)]
        return min(measured, key=lambda m: m.f1_loss.value, default=None)
    return None


def interval_and_support(e: Estimate | Gap, ends: str) -> str:
    """An interval and its sample."""
    return f"{words.confidence(e.confidence)} {ends}; {words.images(e.n, e.people)}"


def _audited_split(inputs: ReportInput) -> SplitAudit | None:
    return next(iter(inputs.audit.splits), None) if inputs.audit is not None else None


def _outside_sources(inputs: ReportInput) -> list[ExternalSource]:
    """The data sets from elsewhere that it was measured on."""
    sources = () if inputs.transfer is None else inputs.transfer.sources
    return [s for s in sources if not s.paired and math.isfinite(_accuracy(s))]


def _worst_source(sources: Sequence[ExternalSource]) -> ExternalSource:
    return min(sources, key=_accuracy)


def _accuracy(source: ExternalSource) -> float:
    return source.figures.evaluation.metrics["accuracy"].value


# --- what to do next -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Action:
    """Something that the run's own records say is worth doing, and the commands for it."""

    title: str
    why: str
    commands: tuple[str, ...]


_MOST_ACTIONS = 3


def next_actions(inputs: ReportInput) -> list[Action]:
    """What to do next, at most three things; the run's folder is "." in the commands."""
    if inputs.headline is None:
        return []
    # What repairs the ground comes before what is built on it.
    finders = (_repairs, _adaptations, _experiments, _missing_stages)
    return [action for find in finders for action in find(inputs)][:_MOST_ACTIONS]


def _repairs(inputs: ReportInput) -> Iterator[Action]:
    """Longer training, mended labels, a remedy that helps."""
    convergence, remedies = inputs.evaluation.convergence, inputs.improvement
    if convergence is not None and convergence.code in ("still-falling", "too-short"):
        command = _retrain_command(inputs, "longer", f"train.steps={2 * inputs.config.train.steps}")
        yield Action("Train longer", convergence.sentence, (command,))
    noise = None if inputs.audit is None else inputs.audit.noise
    if noise is not None and noise.found and inputs.model is not None:
        caveat = inputs.config.data.corrections and " It is already trained with corrections."
        yield Action(
            "Look at the "
            + words.many(noise.found, "label that is likely wrong", "labels that are likely wrong"),
            f"They count as the truth now.{caveat} Then train with what you decided.",
            ("candid review .", _correction_command(inputs)),
        )
    if remedies is not None and remedies.folder:
        commands = tuple(improvement.commands(".", remedies))
        yield Action(
            "Use the remedy that helps", improvement.outcome_sentences(remedies)[0], commands
        )


def _retrain_command(inputs: ReportInput, name: str, *settings: str) -> str:
    """The command that trains again beside the run, from its folder and on the data where they lay.

    A label among several has its folder two below the run's.
    """
    out = f"../../../{name}" if inputs.config.data.is_several else f"../{name}"
    options = "".join(f" --set {shlex.quote(setting)}" for setting in settings)
    return f"candid run --repeat .{options} --out {out}"


def _correction_command(inputs: ReportInput) -> str:
    """The command that trains again with the decisions of a review, which are about one label."""
    one_label = ("data.targets=[]", f"data.target={inputs.target}")
    settings = one_label if inputs.config.data.is_several else ()
    return _retrain_command(inputs, "corrected", *settings, "data.corrections=corrections.csv")


def _adaptations(inputs: ReportInput) -> Iterator[Action]:
    """The first place where its probabilities or its promise need to be mended."""
    for source in _outside_sources(inputs) if inputs.model is not None else ():
        promise = source.figures.promise
        is_broken = promise is not None and promise.state == "broken"
        if not source.calibration and (is_broken or source.figures.overconfidence.low > 0):
            reason = "its promise of few wrong answers is broken" if is_broken else "it is too sure"
            yield Action(
                f"Adapt it to “{source.name}”",
                f"There {reason}; a few hundred labelled pictures mend its probabilities.",
                ("candid calibrate . DATA --name PLACE",),
            )
            return


def _experiments(inputs: ReportInput) -> Iterator[Action]:
    """Pictures from elsewhere; remedies, and the mistakes, of the group that fares worst."""
    if inputs.model is None:
        return
    if not _outside_sources(inputs):
        yield Action(
            "Try it on pictures from where it is to be used",
            "Nobody looked yet.",
            ("candid evaluate . DATA",),
        )
    split = _audited_split(inputs)
    if split is None or not stories_of(split):
        return
    if not inputs.improvement:
        yield Action(
            "Try what would help the group that fares worst",
            "Without training anew, judged on people who had no part in it; none may help.",
            ("candid improve .",),
        )
    yield Action(
        "Look at the mistakes of the group that fares worst",
        "Wrong labels or hard pictures: only a person who looks can say.",
        ("candid review . --queue slice",),
    )


def _missing_stages(inputs: ReportInput) -> Iterator[Action]:
    """What was not looked at yet."""
    if inputs.audit is None:
        yield Action("Find out for whom it fails", "No audit was made.", ("candid audit .",))
    if inputs.explanation is None and inputs.model is not None:
        yield Action("Find out what it looks at", "No maps were made.", ("candid explain .",))
