"""The overview of several labels: overview.json and the run's report."""

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

_NUMBER_METRICS = ("mae", "median_mae", "rmse", "r2", "within", "coverage", "width")
_METRICS = ("weighted_f1", "accuracy", "majority_f1", "calibration_error")


def summarise_targets(run: Run) -> None:
    """Write overview.json from the evaluations and audits of all labels."""
    record, label_runs = read_record(run.targets, Targets), run.target_runs()
    summaries = [_summarise(label, r) for label, r in zip(record.labels, label_runs, strict=True)]
    correction, targets = _correct_all(summaries, [audited_split(r) for r in label_runs])
    overview = Overview(
        targets=tuple(targets),
        left_out=record.left_out,
        explained="explain" in target_steps(len(record.labels)),
        parameters=record.model.parameters,
        network=record.model.network,
        together=correction,
    )
    write_record(run.overview, overview)


def _correct_all(
    targets: list[TargetSummary], audits: list[SplitAudit | None]
) -> tuple[Together | None, list[TargetSummary]]:
    """Correct the gaps of all labels together, and mark those that are left."""
    audited = [audit for audit in audits if audit is not None]
    if len(audited) < 2:
        return None, targets
    rate = max(audit.false_discovery_rate for audit in audited)
    smallest = np.array([np.nan if audit is None else _smallest_p(audit) for audit in audits])
    selected, level = over_families(smallest, rate)
    corrected = [
        t
        if t.worst is None
        else replace(
            t,
            worst=replace(t.worst, together=bool(is_selected and t.worst.gap.adjusted_p <= level)),
        )
        for t, is_selected in zip(targets, selected.tolist(), strict=True)
    ]
    return Together(len(audited), int(selected.sum()), level, rate), corrected


def _smallest_p(audit: SplitAudit) -> float:
    """The smallest adjusted p of an audit's gaps; NaN where nothing was tested."""
    p_values = [gap.adjusted_p for kind, _, _, gap in audit.gaps() if kind != "slice"]
    return min((value for value in p_values if not math.isnan(value)), default=math.nan)


def _summarise(label: TargetLabel, run: Run) -> TargetSummary:
    is_number = label.number is not None
    names = _NUMBER_METRICS if is_number else _METRICS
    split = _number_split(run) if is_number else _class_split(run)
    audit = read_record(run.audit, Audit) if run.audit.is_file() else None
    audited = audit.splits[0] if audit is not None and audit.splits else None
    worst = furthest_behind(audit, is_number=is_number)
    return TargetSummary(
        name=label.name,
        folder=label.folder,
        classes=() if is_number else label.classes,
        split=split.split,
        n=split.n,
        people=split.people,
        metrics={name: split.metrics[name] for name in names},
        audited=audited is not None,
        gaps_found=0 if audited is None else audited.gaps_found,
        gaps_looked_at=0 if audited is None else audited.gaps_looked_at,
        worst=None if worst is None else WorstGroup(group_name(worst[0].conditions), worst[1]),
        is_number=is_number,
    )


def _number_split(run: Run) -> NumberSplit:
    return read_record(run.evaluation, NumberEvaluation).splits[-1]


def _class_split(run: Run) -> SplitEvaluation:
    splits = {split.split: split for split in read_record(run.evaluation, Evaluation).splits}
    return next(splits[name] for name in reversed(SPLITS) if name in splits)


def write_overview_report(run: Run) -> None:
    """Write report.html: a table of the labels, with links to their reports."""
    from candid.reporting.overview import render_overview

    page = render_overview(
        read_record(run.overview, Overview),
        read_record(run.provenance, Provenance),
        run.settings,
        exploration=read_record(run.data, Exploration) if run.data.is_file() else None,
    )
    write_text(run.report, page)
