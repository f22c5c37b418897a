"""Several labels at a glance: their records become overview.json and the run's report."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from candid.pipeline.auditing import audited_split, furthest_behind
from candid.records import (
    SPLITS,
    Evaluation,
    Exploration,
    Provenance,
    SplitEvaluation,
    read_record,
    write_record,
)
from candid.records.audit import Audit, SplitAudit
from candid.records.number import NumberEvaluation, NumberSplit
from candid.records.targets import (
    Overview,
    TargetLabel,
    Targets,
    TargetSummary,
    Together,
    WorstGroup,
)
from candid.runs import Run, target_steps
from candid.stats.multiple_testing import over_families
from candid.storage.files import write_text
from candid.text.findings import group_name

_TOLD_OF_NUMBER = ("mae", "median_mae", "rmse", "r2", "within", "coverage", "width")
_TOLD = ("weighted_f1", "accuracy", "majority_f1", "calibration_error")


def summarise_targets(run: Run) -> None:
    """Write overview.json from the evaluations and audits of all labels."""
    about, each = read_record(run.targets, Targets), run.of_targets()
    summaries = [_summary(label, one) for label, one in zip(about.labels, each, strict=True)]
    together, targets = _together(summaries, [audited_split(one) for one in each])
    found = Overview(
        targets=tuple(targets),
        left_out=about.left_out,
        explained="explain" in target_steps(len(about.labels)),
        parameters=about.model.parameters,
        network=about.model.network,
        together=together,
    )
    write_record(run.overview, found)


def _together(
    targets: list[TargetSummary], audits: list[SplitAudit | None]
) -> tuple[Together | None, list[TargetSummary]]:
    """What is left of the gaps where all labels are corrected together."""
    judged = [audit for audit in audits if audit is not None]
    if len(judged) < 2:
        return None, targets
    rate = max(audit.false_discovery_rate for audit in judged)
    smallest = np.array([np.nan if audit is None else _smallest(audit) for audit in audits])
    selected, level = over_families(smallest, rate)
    marked = [
        one
        if one.worst is None
        else replace(
            one, worst=replace(one.worst, together=bool(kept and one.worst.gap.adjusted_p <= level))
        )
        for one, kept in zip(targets, selected.tolist(), strict=True)
    ]
    return Together(len(judged), int(selected.sum()), level, rate), marked


def _smallest(audit: SplitAudit) -> float:
    """The smallest adjusted p of an audit's gaps; NaN where nothing was tested."""
    p = [gap.adjusted_p for kind, _, _, gap in audit.gaps() if kind != "slice"]
    return min((one for one in p if not math.isnan(one)), default=math.nan)


def _summary(label: TargetLabel, run: Run) -> TargetSummary:
    is_number = label.number is not None
    split = _judged_number(run) if is_number else _judged_classes(run)
    audit = read_record(run.audit, Audit) if run.audit.is_file() else None
    judged = audit.splits[0] if audit is not None and audit.splits else None
    worst = furthest_behind(audit, is_number=is_number)
    return TargetSummary(
        name=label.name,
        folder=label.folder,
        classes=() if is_number else label.classes,
        split=split.split,
        n=split.n,
        people=split.people,
        metrics={name: split.metrics[name] for name in (_TOLD_OF_NUMBER if is_number else _TOLD)},
        audited=judged is not None,
        gaps_found=0 if judged is None else judged.gaps_found,
        gaps_looked_at=0 if judged is None else judged.gaps_looked_at,
        worst=None if worst is None else WorstGroup(group_name(worst[0].conditions), worst[1]),
        is_number=is_number,
    )


def _judged_number(run: Run) -> NumberSplit:
    return read_record(run.evaluation, NumberEvaluation).splits[-1]


def _judged_classes(run: Run) -> SplitEvaluation:
    splits = {split.split: split for split in read_record(run.evaluation, Evaluation).splits}
    return next(splits[name] for name in reversed(SPLITS) if name in splits)


def write_overview_report(run: Run) -> None:
    """Write report.html: a table of the labels, each with the way to its own report."""
    from candid.reporting.overview import render_overview

    page = render_overview(
        read_record(run.overview, Overview),
        read_record(run.provenance, Provenance),
        run.settings,
        exploration=read_record(run.data, Exploration) if run.data.is_file() else None,
    )
    write_text(run.report, page)
