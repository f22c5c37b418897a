"""From predictions to whom the model fails: every group, how sure, and what could not be seen.

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

from candid.arrays import Marks
from candid.auditing.abstention import abstention
from candid.auditing.collecting import wanted
from candid.auditing.confounding import adjusted_gaps
from candid.auditing.cross_fit import search_and_test, slices
from candid.auditing.findings import findings
from candid.auditing.gaps import GapTable, Ledger
from candid.auditing.intersections import grid_of_pairs, measure_pairs, told_pairs
from candid.auditing.label_noise import label_noise
from candid.auditing.rows import Rows
from candid.auditing.shortcuts import find_cues, shortcut
from candid.auditing.single_groups import Measured, fairness_figures, measure_values, single_groups
from candid.auditing.stories import Footing, footing, tell
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
    """Every group of every split that was asked for, and what follows from the file as a whole.

    Parameters
    ----------
    predictions
        From any model. Images without a label (-1) do not count, and a note says how many.
    config
        Splits, attributes, how small a group may be, draws, false discovery rate, seed.
    source
        What to call the model or the file.

    Raises
    ------
    PredictionsError
        Where there is no labelled image, or a probability or a label is impossible.
    ConfigError
        Where an attribute that the settings name does not exist.
    """
    require_evaluable(predictions)
    attributes, notes = chosen_attributes(predictions.attributes, config)
    chosen = replace(predictions, attributes=attributes)
    labelled = chosen[np.flatnonzero(chosen.label >= 0)]
    if len(labelled) < len(chosen):
        notes.append(text.no_label(len(chosen) - len(labelled), len(chosen)))
    if "notes" in predictions.provenance:
        notes.append(predictions.provenance["notes"])
    splits = _splits(labelled, config, notes)
    audited = tuple(_split(labelled, split, config) for split in splits)
    parts = _parts(chosen, splits[0], config, notes)
    return Audit(
        target=predictions.target,
        classes=predictions.classes,
        source=source or predictions.provenance.get("data", ""),
        splits=audited,
        **parts,
        notes=tuple(notes),
    )


def _parts(
    chosen: Predictions, split: Split, config: AuditConfig, notes: list[str]
) -> dict[str, Any]:
    """Abstention, label noise and adjusted gaps; a note where one cannot be computed."""
    drawn: dict[str, Any] = {"confidence": config.confidence, "seed": config.seed}
    wanted: list[tuple[str, str, Callable[[], Any]]] = []
    if config.more:
        wanted = [
            ("abstention", "No threshold for abstention", lambda: abstention(chosen, **drawn)),
            ("noise", "Label noise was not looked for", lambda: label_noise(chosen, **drawn)),
        ]
    if config.more and chosen.attributes:
        rate, sure = config.false_discovery_rate, config.confidence
        held = partial(adjusted_gaps, split=split, confidence=sure, false_discovery_rate=rate)
        wanted.append(("confounding", "No adjusted gaps", lambda: held(chosen)))
    parts: dict[str, Any] = {}
    for name, without, make in wanted:
        try:
            parts[name] = make()
        except PredictionsError as reason:
            notes.append(f"{without}: {reason.what}")
    return parts


def chosen_attributes(
    known: Mapping[str, Attribute], config: AuditConfig
) -> tuple[dict[str, Attribute], list[str]]:
    """The attributes to audit, and what a reader must know of the others.

    Raises
    ------
    ConfigError
        Where an attribute that the settings name does not exist.
    """
    kept, notes = dict[str, Attribute](), list[str]()
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
            kept[name] = attribute
    if not known:
        notes.append(text.NO_ATTRIBUTES)
    return kept, notes


def _splits(labelled: Predictions, config: AuditConfig, notes: list[str]) -> list[Split]:
    """The splits that were asked for and have labelled images; others where none of them has."""
    present = [s for s in SPLITS if (labelled.split == s).any()]
    if not present:
        raise PredictionsError(
            "None of the images has both a label and a split.",
            expected="labelled images in train, validation or test",
            todo="check the file that the predictions came from",
        )
    asked, said = asked_splits(present, config)
    notes.extend(said)
    return asked


def asked_splits(present: Sequence[Split], config: AuditConfig) -> tuple[list[Split], list[str]]:
    """Of the splits with labelled images those asked for, else the last; and what to say of it."""
    notes = []
    if absent := [s for s in config.splits if s not in present]:
        notes.append(text.absent_splits(absent))
    asked = [s for word in config.splits for s in present if s == word]
    if not asked:
        asked = [present[-1]]
        notes.append(text.split_instead(asked[0]))
    return asked, notes


def _split(labelled: Predictions, split: Split, config: AuditConfig) -> SplitAudit:
    some = labelled.with_bins()[labelled.split == split]
    drawing = resample(
        len(some), some.person, draws=config.draws, seed=config.seed, confidence=config.confidence
    )
    rows = Rows(some, drawing, config.reliability_bins)
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

    held = findings(rows, table, parts, pairs, halves, cues, config.examples)
    found, severities, stories = _told(rows, held, config.findings)
    people = drawing.units if drawing.by_person else None
    audited = of_singles(rows, table, parts, everyone, split, len(rows), people, config)
    numeric = [name for name, a in labelled.attributes.items() if a.kind == "numeric"]
    notes = list(_notes(rows, audited, table, numeric))
    notes.extend(text.more_findings(sum(severities.values()), len(found)))
    return replace(
        audited,
        intersections=tuple(told_pairs(rows, table, pairs, config.intersections)),
        intersections_looked_at=len(pairs.pairs),
        slices=tuple(slices(halves, table)),
        shortcuts=tuple(shortcut(cues, table, i) for i in cues.ordered(table)),
        findings=found,
        stories=stories,
        notes=tuple(notes),
        grid=grid_of_pairs(rows, table, pairs, parts) if config.pairs else None,
        wanted=wanted(some, audited.groups, table.threshold, config.smallest, config.confidence),
        severities=severities,
    )


def _told(
    rows: Rows, held: Iterable[tuple[AuditFinding, Marks]], most: int
) -> tuple[tuple[AuditFinding, ...], dict[str, int], tuple[Story, ...]]:
    """The surest findings, how many there are of each severity, and which of them are one story."""
    found: list[AuditFinding] = []
    footings: list[Footing] = []
    severities = Counter[str]()
    for finding, mask in held:
        severities[finding.finding.severity] += 1
        if len(found) < most:
            found.append(finding)
            footings.append(footing(rows, finding, mask))
    return tuple(found), dict(severities), tell(found, footings)


def of_singles(
    rows: Rows,
    table: GapTable,
    parts: Sequence[Measured],
    everyone: dict[str, Estimate],
    split: Split,
    n: int,
    people: int | None,
    config: AuditConfig,
) -> SplitAudit:
    """The part of a split's audit that comes from single values."""
    alone, within = single_groups(rows, table, parts)
    audited = of_groups(split, n, people, everyone, (*alone, *within), table, config)
    return replace(audited, fairness=tuple(fairness_figures(rows, parts, config.smallest)))


def of_groups(
    split: Split,
    n: int,
    people: int | None,
    everyone: dict[str, Estimate],
    groups: tuple[Group, ...],
    table: GapTable,
    config: AuditConfig,
) -> SplitAudit:
    """A split's audit of which nothing but groups was looked at."""
    alone = [g for g in groups if g.label is None]
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
        too_few=sum(g.state == "too few to say" for g in alone),
        smallest_people=config.smallest,
    )


def _notes(
    rows: Rows, audited: SplitAudit, table: GapTable, numeric: Sequence[str]
) -> Iterator[str]:
    """What a reader might not expect of these figures."""
    p, split = rows.predictions, audited.split
    if not rows.drawing.by_person:
        yield text.audited_without_people(split)
    if unknown_who := unknown_people(p.person):
        yield text.some_without_people(split, unknown_who, len(p))
    if empty := [c for k, c in enumerate(p.classes) if not (p.label == k).any()]:
        yield text.no_image_labelled(split, empty)
    missing = {a.name: int(np.count_nonzero(a.data < 0)) for a in rows.attributes}
    yield from text.unknown_values(missing, len(p))
    if numeric:
        yield text.cut_at_quartiles(numeric)
    gaps = [gap for g in audited.groups if g.label is None for gap in g.gaps.values()]
    lost = max((g.undefined_draws for g in gaps if g.state != "too few to say"), default=0)
    if lost:
        yield text.group_undefined(lost, rows.drawing.draws)
    yield from text.looked_at(table.looked_at, table.threshold, table.rate)
