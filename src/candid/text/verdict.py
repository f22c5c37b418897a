"""The first screen of the report: one sentence, four answers, and what to do next.

Everything here is plain text: whoever prints it escapes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from candid.records import Estimate
from candid.records.audit import SplitAudit
from candid.records.explanation import Explanation, Masking
from candid.records.external import ExternalSource
from candid.text import improvement, seeds, words
from candid.text.explanation import FILLS
from candid.text.findings import worse_interval
from candid.text.inputs import ReportInput
from candid.text.stories import stories_of, story_sentence, teller

_STORIES = 3  # that the first screen tells


@dataclass(frozen=True)
class ScreenAnswer:
    """A short answer to a question that every reader has."""

    question: str  # in a few words
    # figure, unit, interval: the figure that carries the answer, what it counts, and its interval
    # with what it stands on; `figure` is "" where nobody looked
    figure: str
    unit: str
    interval: str
    said: tuple[str, ...]  # what to know beside it, in short sentences
    section: str  # the id of what answers it at length


def verdict(inputs: ReportInput) -> str:
    """The whole report in one sentence."""
    split = inputs.headline
    if split is None:
        return "No predictions were measured, so nothing is known of this model."
    accuracy = split.metrics.get("accuracy")
    if accuracy is None or not math.isfinite(accuracy.value):
        return "How often its answers are the labels is undefined on these images."
    where = {
        "test": "new pictures",
        "validation": "validation pictures",
        "train": "pictures that it was trained on",
    }[split.split]
    right = f"Right in {words.number(100 * accuracy.value, 0)} of 100 {where} like its own"
    return words.sentence(f"{right}; {_fails_in_short(inputs)}; {_elsewhere_in_short(inputs)}")


def _fails_in_short(inputs: ReportInput) -> str:
    split = _audited(inputs)
    if split is None:
        return "nobody measured for whom it fails"
    if not split.findings:
        return "not seen to do worse for any group"
    return "surely wrong more often for some people"


def _elsewhere_in_short(inputs: ReportInput) -> str:
    sources = _elsewhere(inputs)
    if not sources:
        return "untried elsewhere"
    worst = min(sources, key=lambda s: s.figures.evaluation.metrics["accuracy"].value)
    value = worst.figures.evaluation.metrics["accuracy"].value
    return f"right in {words.number(100 * value, 0)} of 100 on “{worst.name}”"


def answers(inputs: ReportInput) -> list[ScreenAnswer]:
    """How good, for whom it fails, how far from home it holds, what it looks at."""
    return [_how_good(inputs), _for_whom(inputs), _how_far(inputs), _what_it_looks_at(inputs)]


def _how_good(inputs: ReportInput) -> ScreenAnswer:
    split = inputs.headline
    f1 = None if split is None else split.metrics.get("weighted_f1")
    said = []
    other = inputs.split("validation")
    if other is not None and other is not split and "weighted_f1" in other.metrics:
        figure = other.metrics["weighted_f1"]
        said.append(f"Validation: {words.figure_of(figure)} ({words.interval(figure)}).")
    if split is not None and inputs.seeds is not None:
        said += filter(None, [seeds.clause(inputs.seeds, split.split)])
    if split is not None and "majority_f1" in split.metrics:
        guess = words.figure_of(split.metrics["majority_f1"])
        said.append(f"The commonest answer: {guess}.")
    compared = None if inputs.audit is None else inputs.audit.comparison
    if compared is not None:
        change = compared.overall.metrics["accuracy"].difference
        said.append(
            f"Accuracy less that of “{compared.a}”, points: {words.points_of(change)} "
            f"({words.points_interval(change)})."
        )
    elif f1 is not None and inputs.network != "plain":
        said.append("No plainer network was trained to compare.")
    if split is None or f1 is None:
        return ScreenAnswer("How good is it?", "", "", "", tuple(said), "performance")
    unit = f"weighted F1, {split.split}"
    return ScreenAnswer(
        "How good is it?", words.figure_of(f1), unit, _stands_on(f1), tuple(said), "performance"
    )


def _for_whom(inputs: ReportInput) -> ScreenAnswer:
    question, split = "For whom does it fail?", _audited(inputs)
    if split is None:
        return ScreenAnswer(
            question, "", "", "", ("Nobody looked: no audit was made.",), "unchecked"
        )
    stories = stories_of(split)
    if not stories:
        said = "No group that could be judged does worse than the rest by more than chance."
        return ScreenAnswer(question, "0", "stories", "", (said,), "audit")
    gap = teller(split, stories[0]).gap
    told = tuple(story_sentence(split, s) for s in stories[:_STORIES])
    return ScreenAnswer(
        question,
        f"+{words.size_in_points(gap)}",
        "more mistakes in 100: the first of these",
        f"{words.confidence(gap.confidence)} {worse_interval(gap)}; "
        f"{words.images(gap.n, gap.people)}",
        told,
        "audit",
    )


def _how_far(inputs: ReportInput) -> ScreenAnswer:
    question, sources = "How far from home does it hold?", _elsewhere(inputs)
    if not sources:
        nobody = "Nobody looked: it was measured on pictures of its own data set alone."
        return ScreenAnswer(question, "", "", "", (nobody,), "transfer")
    worst = min(sources, key=lambda s: s.figures.evaluation.metrics["accuracy"].value)
    accuracy = worst.figures.evaluation.metrics["accuracy"]
    said = []
    if (apart := worst.differences.get("accuracy")) is not None:
        said.append(
            f"Beside home, in points: {words.points_of(apart)} ({words.points_interval(apart)})."
        )
    if worst.figures.promise is not None:
        said.append(f"Its promise of few wrong answers there: {worst.figures.promise.state}.")
    if len(sources) > 1:
        said.append(f"The worst of {words.count(len(sources))} places.")
    unit = f"right, on “{worst.name}”"
    value = words.share_of(accuracy)
    return ScreenAnswer(
        question, value, unit, _stands_on(accuracy, share=True), tuple(said), "transfer"
    )


def _what_it_looks_at(inputs: ReportInput) -> ScreenAnswer:
    question, e = "What does it look at?", inputs.explanation
    if e is None:
        return ScreenAnswer(
            question, "", "", "", ("Nobody looked: no maps were made.",), "unchecked"
        )
    passed = [m.title for m in e.methods if m.state == "passed"]
    maps = (
        f"Of {words.count(len(e.methods))} kinds of maps, {words.count(len(passed))} passed every "
        "check."
    )
    mildest = _mildest(e)
    if mildest is None:
        return ScreenAnswer(question, "", "", "", (maps,), "explanation")
    loss = mildest.f1_loss
    elsewhere = words.hundredths_of(mildest.control_f1_loss)
    said = (
        f"Painted over with {FILLS.get(mildest.fill, mildest.fill)}, the mildest way; the same "
        f"shape at random places costs {elsewhere}.",
        maps,
    )
    return ScreenAnswer(
        question,
        words.hundredths_of(loss),
        f"points of F1 lost without the {mildest.region}",
        f"{words.confidence(loss.confidence)} {words.hundredths_interval(loss)}; "
        f"{words.images(loss.n, loss.people)}",
        said,
        "explanation",
    )


def _mildest(e: Explanation) -> Masking | None:
    """Of the region that costs most, the filling that costs least."""
    for region in e.by_cost(r.name for r in e.regions):
        known = [m for m in e.maskings if m.region == region and math.isfinite(m.f1_loss.value)]
        return min(known, key=lambda m: m.f1_loss.value, default=None)
    return None


def _stands_on(e: Estimate, *, share: bool = False) -> str:
    ends = words.interval(e, share=share)
    return f"{words.confidence(e.confidence)} {ends}; {words.images(e.n, e.people)}"


def _audited(inputs: ReportInput) -> SplitAudit | None:
    audited = inputs.audit is not None and inputs.audit.splits
    return inputs.audit.splits[0] if inputs.audit is not None and audited else None


def _elsewhere(inputs: ReportInput) -> list[ExternalSource]:
    """The places other than home where it was measured."""
    sources = () if inputs.transfer is None else inputs.transfer.sources
    return [
        s
        for s in sources
        if not s.paired and math.isfinite(s.figures.evaluation.metrics["accuracy"].value)
    ]


# --- what to do next -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Action:
    """Something that the run's own records say is worth doing, and the commands for it."""

    title: str
    why: str
    commands: tuple[str, ...]


_ACTIONS = 3


def next_actions(inputs: ReportInput) -> list[Action]:
    """What to do next, at most three things; the run's folder is "." in the commands."""
    if inputs.headline is None:
        return []
    # What repairs the ground comes before what is built on it.
    found = (
        _train_longer(inputs),
        _review_labels(inputs),
        _use_remedy(inputs),
        _adapt(inputs),
        _try_elsewhere(inputs),
        _try_remedies(inputs),
        _look_at_the_worst(inputs),
        _audit_it(inputs),
        _explain_it(inputs),
    )
    return [action for action in found if action is not None][:_ACTIONS]


def _train_longer(inputs: ReportInput) -> Action | None:
    convergence = inputs.evaluation.convergence
    if convergence is None or convergence.code not in ("still-falling", "too-short"):
        return None
    steps = 2 * inputs.config.train.steps
    command = f"{inputs.reproduction} --set train.steps={steps}"
    return Action("Train longer", convergence.sentence, (command,))


def _review_labels(inputs: ReportInput) -> Action | None:
    noise = None if inputs.audit is None else inputs.audit.noise
    if noise is None or not noise.found or inputs.model is None:
        return None
    corrected = " It is already trained with corrections." if inputs.config.data.corrections else ""
    return Action(
        f"Look at the {words.count(noise.found)} labels that are likely wrong",
        f"They count as the truth now.{corrected} Then train with what you decided.",
        ("candid review .", f"{inputs.reproduction} --corrections corrections.csv"),
    )


def _adapt(inputs: ReportInput) -> Action | None:
    for source in _elsewhere(inputs):
        promise = source.figures.promise
        broken = promise is not None and promise.state == "broken"
        if inputs.model is None or source.calibration:
            continue
        if broken or source.figures.overconfidence.low > 0:
            why = "its promise of few wrong answers is broken" if broken else "it is too sure"
            return Action(
                f"Adapt it to “{source.name}”",
                f"There {why}; a few hundred labelled pictures mend its probabilities.",
                ("candid calibrate . DATA --name PLACE",),
            )
    return None


def _try_elsewhere(inputs: ReportInput) -> Action | None:
    if inputs.model is None or _elsewhere(inputs):
        return None
    return Action(
        "Try it on pictures from where it is to be used",
        "Nobody looked yet.",
        ("candid evaluate . DATA",),
    )


def _use_remedy(inputs: ReportInput) -> Action | None:
    tried = inputs.improvement
    if tried is None or not tried.folder:
        return None
    commands = improvement.commands(".", tried)
    return Action("Use the remedy that helps", improvement.outcome(tried)[0], tuple(commands))


def _try_remedies(inputs: ReportInput) -> Action | None:
    split = _audited(inputs)
    if split is None or inputs.model is None or inputs.improvement or not stories_of(split):
        return None
    return Action(
        "Try what would help the group that fares worst",
        "Without training anew, judged on people who had no part in it; none may help.",
        ("candid improve .",),
    )


def _look_at_the_worst(inputs: ReportInput) -> Action | None:
    split = _audited(inputs)
    if split is None or inputs.model is None or not stories_of(split):
        return None
    return Action(
        "Look at the mistakes of the group that fares worst",
        "Wrong labels or hard pictures: only a person who looks can say.",
        ("candid review . --queue slice",),
    )


def _audit_it(inputs: ReportInput) -> Action | None:
    if inputs.audit is not None:
        return None
    return Action("Find out for whom it fails", "No audit was made.", ("candid audit .",))


def _explain_it(inputs: ReportInput) -> Action | None:
    if inputs.explanation is not None or inputs.model is None:
        return None
    return Action("Find out what it looks at", "No maps were made.", ("candid explain .",))
