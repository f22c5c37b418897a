"""The page of an audit, of whose model nothing is known but what it answered."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from candid.records import SPLITS, Evaluation, SplitEvaluation
from candid.records.audit import SplitAudit
from candid.text import notes, words
from candid.text.inputs import AuditedSource, AuditInput
from candid.text.model import (
    UNKNOWN_ANNOTATORS,
    UNKNOWN_PEOPLE,
    Unchecked,
    nothing_outside,
)
from candid.text.verdict import (
    UNKNOWN_ACCURACY,
    ScreenAnswer,
    accuracy_clause,
    failure_answer,
    failure_clause,
    guess_notes,
    interval_and_support,
    quality_answer,
)

_PICTURES = {
    "test": "pictures",
    "validation": "validation pictures",
    "train": "pictures of its training split",
}
_ANSWERS_ONLY = "its answers are all that is known of the model"

# --- the first screen ----------------------------------------------------------------------------


def subject(inputs: AuditInput) -> str:
    """What the page is about, and which model answered."""
    source = inputs.source
    kind = "label" if inputs.audit.classes else "number"
    label = f"The {kind} “{inputs.audit.target}”"
    if source.kind == "pictures":
        return f"{label} on “{source.title}”, as “{source.model}” answers; {_ANSWERS_ONLY}"
    return f"{label} in “{source.title}”; {_ANSWERS_ONLY}"


def audit_verdict(split: SplitAudit) -> str:
    """The whole page in one sentence."""
    accuracy = accuracy_clause(split.metrics.get("accuracy"), _PICTURES[split.split])
    if not accuracy:
        return UNKNOWN_ACCURACY
    parts = [accuracy, failure_clause(split), *filter(None, [_confidence_clause(split)])]
    return words.sentence("; ".join(parts))


def _confidence_clause(split: SplitAudit) -> str:
    excess = split.metrics.get("overconfidence")
    if excess is None or not math.isfinite(excess.low + excess.high):
        return ""
    if excess.low > 0:
        return "surer than it is right"
    return "less sure than it is right" if excess.high < 0 else "about as sure as it is right"


def audit_answers(inputs: AuditInput, evaluation: Evaluation) -> list[ScreenAnswer]:
    """How good, for whom it fails, whether it knows how sure it is, what nobody could look at."""
    split = inputs.audit.splits[0]
    split_evaluation = next((s for s in evaluation.splits if s.split == split.split), None)
    return [
        _quality_answer(split, split_evaluation),
        failure_answer(split),
        _confidence_answer(inputs, split_evaluation),
        _unchecked_answer(inputs),
    ]


def _quality_answer(split: SplitAudit, evaluation: SplitEvaluation | None) -> ScreenAnswer:
    remarks = [f"Accuracy: {words.share_with_ends(split.metrics['accuracy'])}."]
    if evaluation is not None:
        remarks += guess_notes(evaluation)
    return quality_answer(split.split, split.metrics.get("weighted_f1"), remarks)


def _confidence_answer(inputs: AuditInput, evaluation: SplitEvaluation | None) -> ScreenAnswer:
    question, section = "Does it know how sure it is?", "every-metric"
    audit, split = inputs.audit, inputs.audit.splits[0]
    if not inputs.has_degrees:
        reason = "It gave answers and no probabilities, so nobody can tell."
        return ScreenAnswer(question, "unchecked", (reason,))
    remarks = [] if audit.abstention is None else [t.sentence for t in audit.abstention.targets[:1]]
    excess = split.metrics["overconfidence"]
    error = None if evaluation is None else evaluation.metrics.get("calibration_error")
    if error is None or not math.isfinite(error.value):
        ends = interval_and_support(excess, words.points_interval(excess))
        unit = "points surer than it is right, on average"
        return ScreenAnswer(question, section, tuple(remarks), words.points_of(excess), unit, ends)
    if math.isfinite(excess.low + excess.high):
        points = words.points_with_ends(excess)
        remarks.insert(0, f"Surer than right, on average, by points: {points}.")
    return ScreenAnswer(
        question,
        section,
        tuple(remarks),
        words.figure_of(error),
        f"calibration error, {split.split}",
        interval_and_support(error, words.interval(error)),
    )


def _unchecked_answer(inputs: AuditInput) -> ScreenAnswer:
    titles = [u.title for u in audit_unchecked(inputs)]
    text = ", ".join([titles[0], *(title[0].lower() + title[1:] for title in titles[1:])])
    return ScreenAnswer("What was not looked at?", "unchecked", (f"{text}.",))


def performance_notes(evaluation: Evaluation) -> list[str]:
    """The notes of the evaluation, without that on absent splits, which the audit has."""
    present = [split.split for split in evaluation.splits]
    absent = notes.absent_splits([s for s in SPLITS[1:] if s not in present])
    return [note for note in evaluation.notes if note != absent]


# --- what was not looked at ----------------------------------------------------------------------


def audit_unchecked(inputs: AuditInput) -> list[Unchecked]:
    """What nobody could look at, and why."""
    return [*_unchecked_in_rows(inputs), *_unchecked_in_model(inputs)]


def _unchecked_in_rows(inputs: AuditInput) -> Iterator[Unchecked]:
    """What cannot be known from the rows."""
    audit, source = inputs.audit, inputs.source
    has_columns = source.kind in ("file", "folder") and bool(source.columns)
    if unanswered := max(source.asked - source.n, 0):
        yield Unchecked(
            "Pictures without an answer",
            f"{words.count(unanswered)} of {words.images(source.asked)} have none. They are in no "
            "figure here, and neither right nor wrong.",
        )
    if all(split.people is None for split in audit.splits):
        todo = " --person names the column that does." if has_columns else ""
        yield Unchecked(UNKNOWN_PEOPLE.title, f"{UNKNOWN_PEOPLE.reason}{todo}")
    if not any(split.groups for split in audit.splits):
        reason = "Nothing tells groups of people or of pictures apart, so gaps would go unseen."
        todo = " --group names a column that does." if has_columns else ""
        yield Unchecked("Groups", f"{reason}{todo}")
    if not inputs.has_degrees and audit.classes:
        yield Unchecked(
            "How sure it is",
            "There are answers and no probabilities: areas under curves, losses, calibration, "
            "when it had better not answer, and which labels are likely wrong are not known.",
        )
    if not inputs.has_degrees and not audit.classes:
        yield Unchecked(
            "How sure it is", "There are no intervals beside the predictions that could be checked."
        )
    if source.kind == "folder":
        yield Unchecked("What needs all images at once", notes.SUMMED_UP)


def _unchecked_in_model(inputs: AuditInput) -> Iterator[Unchecked]:
    """What cannot be known from answers alone."""
    has_pictures = inputs.source.kind == "pictures"
    yield Unchecked(
        "What it looks at",
        ("The model was asked for answers alone" if has_pictures else "There are no pictures here")
        + ", so no map was made: right answers may come from a background or a hat.",
    )
    yield Unchecked(
        "What it learned from",
        "Nothing is known of its training. If it learned from these images, from copies of them, "
        "or from others of the same people, all figures here flatter it.",
    )
    yield nothing_outside(inputs.source.title)
    yield UNKNOWN_ANNOTATORS


# --- how it was made -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Fact:
    """Something to know of how the page was made; `is_code`: to be copied as it is."""

    title: str
    text: str
    is_code: bool = False


_ROLES = {"ids": "image", "groups": "group"}


def audit_facts(inputs: AuditInput) -> list[Fact]:
    """Of what the figures are, and how they were made."""
    return [*_source_facts(inputs.source), *_method_facts(inputs)]


def _source_facts(source: AuditedSource) -> Iterator[Fact]:
    files = f", {words.many(source.files, 'Parquet file', 'Parquet files')}"
    if source.kind == "memory":
        yield Fact("Answers", "given by a program, and not kept here")
    else:
        title = {"file": "File", "folder": "Folder", "pictures": "Pictures"}[source.kind]
        yield Fact(title, f"{source.name}{files if source.kind == 'folder' else ''}")
    if source.model:
        yield Fact("Model that was asked", source.model, is_code=True)
    if source.digest:
        contents = " of what sha256sum writes of these files" if source.kind == "folder" else ""
        yield Fact(f"SHA-256{contents}", source.digest, is_code=True)
    yield Fact("Rows with an answer", words.count(source.n))
    if source.columns:
        roles = (f"{_ROLES.get(r, r)}: {', '.join(names)}" for r, names in source.columns.items())
        yield Fact("Columns that were named", "; ".join(roles))


def _method_facts(inputs: AuditInput) -> Iterator[Fact]:
    settings, split = inputs.config.audit, inputs.audit.splits[0]
    unit = "images" if split.people is None else "people"
    yield Fact(
        "Intervals",
        f"{words.confidence(settings.confidence)}s; where they come from a bootstrap, from "
        f"{words.count(settings.draws)} draws of {unit}",
    )
    yield Fact(
        "Gaps",
        f"{words.count(split.gaps_looked_at)} p-values after Benjamini and Hochberg, at a false "
        f"discovery rate of {words.percent(settings.false_discovery_rate)}; a group and its rest "
        f"need {words.count(settings.smallest)} {unit}",
    )
