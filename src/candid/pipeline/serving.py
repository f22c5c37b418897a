"""Runs as models of a server, with what their records say about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candid.pipeline.labelling import load_checks
from candid.records import Estimate, Evaluation, Exploration, ModelCard, Provenance, read_record
from candid.records.audit import Audit
from candid.records.explanation import Explanation
from candid.records.targets import Overview
from candid.runs import Run, open_run
from candid.runs.refusals import answering_run
from candid.settings import ServeConfig
from candid.text import served as text
from candid.text.inputs import ReportInput

if TYPE_CHECKING:
    from candid.serving.schema import About, Measure, Weakness
    from candid.serving.served import Served

_MOST_WEAKNESSES = 8


def load_served(
    paths: Sequence[Path],
    config: ServeConfig,
    abstain_below: float | None = None,
    calibration: str = "",
) -> list[Served]:
    """The models of some runs, with what is known of each."""
    from candid.inference.classifier import open_classifier
    from candid.serving.served import Served, names_for

    served = []
    for name, path in zip(names_for(paths), paths, strict=True):
        run = answering_run(open_run(path))
        if run.target_runs():
            served.append(_load_targets(run, name, config, abstain_below, calibration))
            continue
        classifier = open_classifier(
            run,
            engine=config.engine,
            threads=config.threads,
            abstain_below=abstain_below,
            calibration=calibration,
        )
        unfamiliar, reference = load_checks(
            run, classifier, calibration=calibration, watch=config.drift
        )
        served.append(
            Served(
                name=name,
                classifier=classifier,
                about=_describe_run(run, classifier.card),
                report=run.report if run.report.is_file() else None,
                weights=run.weights,
                badges=_read_badges(run),
                explain=run.settings.explain,
                unfamiliar=unfamiliar,
                reference=reference,
            )
        )
    return served


def _load_targets(
    run: Run, name: str, config: ServeConfig, abstain_below: float | None, calibration: str
) -> Served:
    """A network of several labels: one forward pass for all of them, and no maps."""
    from candid.inference.several import open_several
    from candid.serving.served import Served

    options: dict[str, Any] = {"engine": config.engine, "threads": config.threads}
    options |= {"abstain_below": abstain_below, "calibration": calibration}
    labeller = open_several(run, None, **options)
    return Served(
        name=name,
        classifier=labeller.classifier,
        about=_describe_targets(run),
        report=run.report if run.report.is_file() else None,
        unfamiliar=labeller.unfamiliar,
        several=labeller,
    )


def _describe_targets(run: Run) -> About:
    """What the server says of a network of several labels: how often each is right."""
    from candid.serving.schema import About, Measure
    from candid.serving.served import is_defined

    exploration = read_record(run.data, Exploration) if run.data.is_file() else None
    targets = read_record(run.overview, Overview).targets if run.overview.is_file() else ()
    accuracies = [(t.name, t.metrics.get("accuracy")) for t in targets if not t.is_number]
    return About(
        data_name=exploration.name if exploration else "",
        trained_on=[] if exploration is None else text.trained_on(exploration),
        picture_size=_picture_size(exploration),
        split=targets[0].split if targets else "",
        measures=[
            Measure.of(text.label_right(name), e) for name, e in accuracies if e and is_defined(e)
        ],
        weakness_note=text.SEE_EACH_LABEL if targets else text.NOT_MEASURED,
        is_drawn=exploration is not None and exploration.synthetic,
    )


def _describe_run(run: Run, card: ModelCard) -> About:
    """A run's records about its model, in the words of its report."""
    from candid.serving.schema import About
    from candid.text import model as model_text

    exploration = read_record(run.data, Exploration) if run.data.is_file() else None
    if not (run.evaluation.is_file() and run.provenance.is_file()):
        return About(
            data_name=exploration.name if exploration else "", weakness_note=text.NOT_MEASURED
        )
    inputs = ReportInput(
        config=run.settings,
        provenance=read_record(run.provenance, Provenance),
        evaluation=read_record(run.evaluation, Evaluation),
        exploration=exploration,
        model=card,
    )
    audited, weaknesses, note = _list_weaknesses(run)
    split = inputs.headline
    return About(
        summary=model_text.model_summary(inputs)[:2],
        uses=model_text.uses(inputs),
        not_for=model_text.not_for(inputs),
        # A missing audit is a note beside the weaknesses.
        limits=model_text.data_limits(inputs),
        data_name=inputs.data_name,
        trained_on=[] if exploration is None else text.trained_on(exploration),
        picture_size=_picture_size(exploration),
        split="" if split is None else split.split,
        measures=_list_measures(inputs),
        audited=audited,
        weaknesses=weaknesses,
        weakness_note=note,
        is_drawn=inputs.is_drawn,
    )


def _picture_size(exploration: Exploration | None) -> list[int] | None:
    sizes = [] if exploration is None else sorted(exploration.sizes, key=lambda size: -size.count)
    listed = ([s.width, s.height] for s in sizes if s.width is not None and s.height is not None)
    return next(listed, None)


def _list_measures(inputs: ReportInput) -> list[Measure]:
    from candid.serving.schema import Measure
    from candid.serving.served import is_defined

    split = inputs.headline
    if split is None:
        return []
    figures: list[tuple[str, Estimate | None]] = [
        (text.ALL_RIGHT, split.metrics.get("accuracy")),
        *((text.class_right(c.name), c.recall) for c in split.classes),
    ]
    return [Measure.of(name, e) for name, e in figures if e is not None and is_defined(e)]


def _list_weaknesses(run: Run) -> tuple[bool, list[Weakness], str]:
    """Whether there is an audit, what it found, and a note on its extent."""
    from candid.serving.schema import Weakness
    from candid.text.stories import stories_of, story_detail, story_sentence, telling_finding

    path = run.audit
    if not path.is_file():
        return False, [], text.NOT_AUDITED
    audit = read_record(path, Audit)
    if not audit.splits:
        return False, [], text.NOTHING_AUDITED
    split = audit.splits[0]
    weaknesses = [
        Weakness(
            title=story_sentence(split, story),
            detail=story_detail(split, story),
            severity=telling_finding(split, story).finding.severity,
        )
        for story in stories_of(split)
        if telling_finding(split, story).finding.state == "found"
    ]
    note = text.weakness_note(split, len(weaknesses), _MOST_WEAKNESSES)
    return True, weaknesses[:_MOST_WEAKNESSES], note


def _read_badges(run: Run) -> dict[str, str]:
    """Which maps passed their checks on this model, if they were checked."""
    if not run.explanation.is_file():
        return {}
    explanation = read_record(run.explanation, Explanation)
    return {m.name: m.state for m in explanation.methods}
