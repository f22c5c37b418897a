"""The audit of predictions: every group's gaps, how sure they are, and what would not be seen.

The audit reads predictions alone and works on anyone's model. All p-values of a split (single
groups, groups within a label, pairs, slices on the half that was not searched, shortcuts) go
through Benjamini and Hochberg together, so "nothing found" is what an unbiased model gets in at
least 95 of 100 cases, whatever number of groups there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from candid.arrays import BoolArray
from candid.auditing.abstention import abstention
from candid.auditing.collecting import plan_collection
from candid.auditing.confounding import adjusted_gaps
from candid.auditing.cross_fit import build_slices, search_and_test
from candid.auditing.findings import build_findings
from candid.auditing.gaps import GapTable, Ledger
from candid.auditing.intersections import build_pair_grid, build_pair_groups, measure_pairs
from candid.auditing.label_noise import label_noise
from candid.auditing.rows import Rows
from candid.auditing.shortcuts import build_shortcut, find_cues
from candid.auditing.single_groups import Measurement, build_fairness, build_groups, measure_values
from candid.auditing.stories import Evidence, build_evidence, group_stories
from candid.errors import ConfigError, PredictionsError, did_you_mean
from candid.predictions import Attribute, Predictions, require_evaluable
from candid.records import SPLITS, Estimate, Split
from candid.records.audit import Audit, AuditFinding, Group, SplitAudit
from candid.records.stories import Story
from candid.settings import AuditConfig
from candid.stats.bootstrap import resample, unknown_people
from candid.text import notes as text

_DEFAULTS = AuditConfig()


def audit_groups(
    predictions: Predictions, config: AuditConfig = _DEFAULTS, *, source: str = ""
) -> Audit:
    """Audit every group of every split of the settings, and the file as a whole.

    Raises PredictionsError where there is no labelled image, or a probability or a label is
    impossible. Raises ConfigError where an attribute that the settings name does not exist.

    Parameters
    ----------
    predictions
        From any model. Images without a label (-1) do not count, and a note says how many.
    config
        Splits, attributes, how small a group may be, draws, false discovery rate, seed.
    source
        What to call the model or the file.
    """
    require_evaluable(predictions)
    attributes, notes = select_attributes(predictions.attributes, config)
    chosen = replace(predictions, attributes=attributes)
    labelled = chosen[np.flatnonzero(chosen.label >= 0)]
    if len(labelled) < len(chosen):
        notes.append(text.no_label(len(chosen) - len(labelled), len(chosen)))
    if "notes" in predictions.provenance:
        notes.append(predictions.provenance["notes"])
    splits = _select_splits(labelled, config, notes)
    audited = tuple(_audit_split(labelled, split, config) for split in splits)
    extras = _audit_extras(chosen, splits[0], config, notes)
    return Audit(
        target=predictions.target,
        classes=predictions.classes,
        source=source or predictions.provenance.get("data", ""),
        splits=audited,
        **extras,
        notes=tuple(notes),
    )


def _audit_extras(
    chosen: Predictions, split: Split, config: AuditConfig, notes: list[str]
) -> dict[str, Any]:
    """Abstention, label noise and adjusted gaps; a note where one cannot be computed."""
    options: dict[str, Any] = {"confidence": config.confidence, "seed": config.seed}
    steps: list[tuple[str, str, Callable[[], Any]]] = []
    if config.more:
        steps = [
            ("abstention", "No threshold for abstention", lambda: abstention(chosen, **options)),
            ("noise", "Label noise was not looked for", lambda: label_noise(chosen, **options)),
        ]
    if config.more and chosen.attributes:
        rate, level = config.false_discovery_rate, config.confidence
        adjust = partial(adjusted_gaps, split=split, confidence=level, false_discovery_rate=rate)
        steps.append(("confounding", "No adjusted gaps", lambda: adjust(chosen)))
    parts: dict[str, Any] = {}
    for name, failure, compute in steps:
        try:
            parts[name] = compute()
        except PredictionsError as error:
            notes.append(f"{failure}: {error.what}")
    return parts


def select_attributes(
    known: Mapping[str, Attribute], config: AuditConfig
) -> tuple[dict[str, Attribute], list[str]]:
    """The attributes to audit, and notes on the others.

    Raises ConfigError where an attribute that the settings name does not exist.
    """
    selected, notes = dict[str, Attribute](), list[str]()
    for name in config.attributes:
        if name not in known:
            raise ConfigError(
                f"audit.attributes names {name!r}, which the predictions do not have.",
                expected="attributes that stand in the predictions",
                todo=did_you_mean(name, known) if known else "the predictions have no attributes",
            )
    for name in config.attributes or known:
        attribute = known[name]
        if len(attribute.values) > config.most_values:
            notes.append(text.too_many_values(name, len(attribute.values), config.most_values))
        else:
            selected[name] = attribute
    if not known:
        notes.append(text.NO_ATTRIBUTES)
    return selected, notes


def _select_splits(labelled: Predictions, config: AuditConfig, notes: list[str]) -> list[Split]:
    """The splits to audit; see `select_splits`."""
    present = [s for s in SPLITS if (labelled.split == s).any()]
    if not present:
        raise PredictionsError(
            "None of the images has both a label and a split.",
            expected="labelled images in train, validation or test",
            todo="check the file that the predictions came from",
        )
    splits, split_notes = select_splits(present, config)
    notes.extend(split_notes)
    return splits


def select_splits(present: Sequence[Split], config: AuditConfig) -> tuple[list[Split], list[str]]:
    """Of the splits with labelled images those of the settings, else the last; and notes."""
    notes = []
    if absent := [s for s in config.splits if s not in present]:
        notes.append(text.absent_splits(absent))
    splits = [s for word in config.splits for s in present if s == word]
    if not splits:
        splits = [present[-1]]
        notes.append(text.split_instead(splits[0]))
    return splits, notes


def _audit_split(labelled: Predictions, split: Split, config: AuditConfig) -> SplitAudit:
    p = labelled.with_bins()[labelled.split == split]
    resampling = resample(
        len(p), p.person, draws=config.draws, seed=config.seed, confidence=config.confidence
    )
    rows = Rows(p, resampling, config.reliability_bins)
    ledger = Ledger(rows, config.smallest, config.false_discovery_rate)
    parts, everyone = measure_values(rows, ledger)
    large = [m.values[i] for m in parts for i in np.flatnonzero(m.units >= config.smallest)]
    pairs = measure_pairs(rows, ledger, large if config.pairs else [])
    halves = search_and_test(
        rows,
        ledger,
        most=config.slices,
        conditions=config.slice_conditions,
        share=config.slice_share,
        seed=config.seed,
    )
    cues = find_cues(rows, ledger, least=config.shortcut_association, draws=config.draws)
    table = ledger.settle()

    harmful = build_findings(rows, table, parts, pairs, halves, cues, config.examples)
    findings, severities, stories = _collect_findings(rows, harmful, config.findings)
    people = resampling.units if resampling.by_person else None
    audited = build_single_audit(rows, table, parts, everyone, split, len(rows), people, config)
    numeric = [name for name, a in labelled.attributes.items() if a.kind == "numeric"]
    notes = list(_notes(rows, audited, table, numeric))
    notes.extend(text.more_findings(sum(severities.values()), len(findings)))
    return replace(
        audited,
        intersections=tuple(build_pair_groups(rows, table, pairs, config.intersections)),
        intersections_looked_at=len(pairs.pairs),
        slices=tuple(build_slices(halves, table)),
        shortcuts=tuple(build_shortcut(cues, table, i) for i in cues.sort_by_gap(table)),
        findings=findings,
        stories=stories,
        notes=tuple(notes),
        grid=build_pair_grid(rows, table, pairs, parts) if config.pairs else None,
        wanted=plan_collection(
            p, audited.groups, table.threshold, config.smallest, config.confidence
        ),
        severities=severities,
    )


def _collect_findings(
    rows: Rows, harmful: Iterable[tuple[AuditFinding, BoolArray]], limit: int
) -> tuple[tuple[AuditFinding, ...], dict[str, int], tuple[Story, ...]]:
    """The surest findings, how many there are of each severity, and their stories."""
    findings: list[AuditFinding] = []
    evidence: list[Evidence] = []
    severities = Counter[str]()
    for finding, mask in harmful:
        severities[finding.finding.severity] += 1
        if len(findings) < limit:
            findings.append(finding)
            evidence.append(build_evidence(rows, finding, mask))
    return tuple(findings), dict(severities), group_stories(findings, evidence)


def build_single_audit(
    rows: Rows,
    table: GapTable,
    parts: Sequence[Measurement],
    everyone: dict[str, Estimate],
    split: Split,
    n: int,
    people: int | None,
    config: AuditConfig,
) -> SplitAudit:
    """A split's audit of single values alone."""
    singles, within = build_groups(rows, table, parts)
    audited = build_group_audit(split, n, people, everyone, (*singles, *within), table, config)
    return replace(audited, fairness=tuple(build_fairness(rows, parts, config.smallest)))


def build_group_audit(
    split: Split,
    n: int,
    people: int | None,
    everyone: dict[str, Estimate],
    groups: tuple[Group, ...],
    table: GapTable,
    config: AuditConfig,
) -> SplitAudit:
    """A split's audit with groups and nothing else."""
    singles = [g for g in groups if g.label is None]
    return SplitAudit(
        split=split,
        n=n,
        people=people,
        metrics=everyone,
        groups=groups,
        intersections=(),
        intersections_looked_at=0,
        fairness=(),
        slices=(),
        shortcuts=(),
        findings=(),
        gaps_looked_at=table.looked_at,
        gaps_found=table.count,
        false_discovery_rate=table.rate,
        threshold=table.threshold,
        too_few=sum(g.state == "too few to say" for g in singles),
        smallest_people=config.smallest,
    )


def _notes(
    rows: Rows, audited: SplitAudit, table: GapTable, numeric: Sequence[str]
) -> Iterator[str]:
    """What a reader might not expect of these figures."""
    p, split = rows.predictions, audited.split
    if not rows.resampling.by_person:
        yield text.audited_without_people(split)
    if n_unknown := unknown_people(p.person):
        yield text.some_without_people(split, n_unknown, len(p))
    if empty := [c for k, c in enumerate(p.classes) if not (p.label == k).any()]:
        yield text.no_image_labelled(split, empty)
    missing = {a.name: int(np.count_nonzero(a.data < 0)) for a in rows.attributes}
    yield from text.unknown_values(missing, len(p))
    if numeric:
        yield text.cut_at_quartiles(numeric)
    gaps = [gap for g in audited.groups if g.label is None for gap in g.gaps.values()]
    undefined = max((g.undefined_draws for g in gaps if g.state != "too few to say"), default=0)
    if undefined:
        yield text.group_undefined(undefined, rows.resampling.draws)
    yield from text.looked_at(table.looked_at, table.threshold, table.rate)
