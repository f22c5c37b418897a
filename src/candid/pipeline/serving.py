"""Runs as models that a server answers for, with what their records say about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from candid.records import (
    Estimate,
    Evaluation,
    Exploration,
    ModelCard,
    Provenance,
    read_record,
)
from candid.runs import Run, open_run
from candid.settings import ServeConfig

if TYPE_CHECKING:
    from candid.reporting.inputs import ReportInput
    from candid.serving.schema import About, Measure, Weakness
    from candid.serving.served import Served

_MOST_WEAKNESSES = 8


def load_served(
    paths: Sequence[Path],
    config: ServeConfig,
    abstain_below: float | None = None,
    calibration: str = "",
) -> list[Served]:
    """The models of some runs, ready to answer, with what is known of each."""
    from candid.inference.classifier import open_classifier
    from candid.inference.unfamiliar import read_typical
    from candid.serving.served import Served, names_for

    served = []
    for name, path in zip(names_for(paths), paths, strict=True):
        run = open_run(path)
        classifier = open_classifier(
            run,
            engine=config.engine,
            threads=config.threads,
            abstain_below=abstain_below,
            calibration=calibration,
        )
        served.append(
            Served(
                name=name,
                classifier=classifier,
                about=_about(run, classifier.card),
                report=run.report if run.report.is_file() else None,
                weights=run.weights,
                badges=_badges(run),
                explain=run.settings.explain,
                typical=None if calibration else read_typical(run.typical),
            )
        )
    return served


def _about(run: Run, card: ModelCard) -> About:
    """What a run's records say about its model, in the words of its report."""
    from candid.reporting import prose
    from candid.reporting.inputs import ReportInput
    from candid.serving.schema import About

    exploration = read_record(run.data, Exploration) if run.data.is_file() else None
    if not (run.evaluation.is_file() and run.provenance.is_file()):
        return About(
            data_name=exploration.name if exploration else "",
            weakness_note="Nobody has measured how well this model does. To measure: "
            "candid evaluate RUN",
        )
    inputs = ReportInput(
        config=run.settings,
        provenance=read_record(run.provenance, Provenance),
        evaluation=read_record(run.evaluation, Evaluation),
        exploration=exploration,
        model=card,
    )
    audited, weaknesses, note = _weaknesses(run)
    split = inputs.headline
    return About(
        summary=prose.summary(inputs)[:2],
        uses=prose.uses(inputs),
        not_for=prose.not_for(inputs),
        # That nobody audited is said beside the weaknesses; here it would contradict an audit.
        limits=[t for t in prose.limits(inputs) if "audit" not in t],
        data_name=inputs.data_name,
        trained_on=_trained_on(exploration),
        picture_size=_picture_size(exploration),
        split="" if split is None else split.split,
        measures=_measures(inputs),
        audited=audited,
        weaknesses=weaknesses,
        weakness_note=note,
        is_drawn=inputs.is_drawn,
    )


def _trained_on(exploration: Exploration | None) -> list[str]:
    if exploration is None:
        return []
    sentences = []
    for split in exploration.splits:
        if split.split != "train":
            continue
        who = "" if split.people is None else f" of {split.people:,} people"
        sentences.append(f"{split.n:,} pictures{who}, from “{exploration.name}”.")
        shares = zip(exploration.classes, split.counts, strict=True)
        sentences.append("; ".join(f"{n:,} labelled {name}" for name, n in shares) + ".")
    serious = [f for f in exploration.findings if f.state == "found" and f.severity == "serious"]
    return sentences + [f"{f.title}: {f.detail}" for f in serious]


def _picture_size(exploration: Exploration | None) -> list[int] | None:
    # The last entry may count sizes that are too rare to be listed.
    listed = [] if exploration is None else [s for s in exploration.sizes if "×" in s.value]
    if not listed:
        return None
    width, height = max(listed, key=lambda size: size.count).value.split("×")
    return [int(width), int(height)]


def _measures(inputs: ReportInput) -> list[Measure]:
    from candid.serving.schema import Measure
    from candid.serving.served import is_defined

    split = inputs.headline
    if split is None:
        return []
    figures: list[tuple[str, Estimate | None]] = [
        ("Answers as the label says, of all pictures", split.metrics.get("accuracy")),
        *((f"Answers {c.name}, of those labelled {c.name}", c.recall) for c in split.classes),
    ]
    return [Measure.of(name, e) for name, e in figures if e is not None and is_defined(e)]


def _weaknesses(run: Run) -> tuple[bool, list[Weakness], str]:
    """Whether an audit was made, what it found, and how much it looked at."""
    from candid.records.audit import Audit
    from candid.serving.schema import Weakness

    path = run.audit
    if not path.is_file():
        return False, [], (
            "Nobody has looked for whom this model fails. That is not the same as working equally "
            "well for everyone. To look: candid audit RUN"
        )  # fmt: skip
    audit = read_record(path, Audit)
    if not audit.splits:
        return False, [], "The audit had no pictures to look at."
    split = audit.splits[0]
    found = [
        Weakness(title=f.finding.title, detail=f.finding.detail, severity=f.finding.severity)
        for f in split.findings
        if f.finding.state == "found"
    ]
    who = "" if split.people is None else f" of {split.people:,} people"
    note = (
        f"The audit of {split.n:,} {split.split} pictures{who} compared {split.gaps_looked_at:,} "
        f"figures of groups with the rest and found {split.gaps_found:,} gaps."
    )
    if len(found) > _MOST_WEAKNESSES:
        note += f" Of {len(found)} findings these are the surest; the report has all."
    if split.too_few:
        note += (
            f" Of {split.too_few:,} groups there are too few to say anything: that is not the same "
            "as no difference."
        )
    return True, found[:_MOST_WEAKNESSES], note


def _badges(run: Run) -> dict[str, str]:
    """Which maps passed their checks on this model, where somebody checked."""
    if not run.explanation.is_file():
        return {}
    from candid.records.explanation import Explanation

    explanation = read_record(run.explanation, Explanation)
    return {m.name: m.state for m in explanation.methods}
