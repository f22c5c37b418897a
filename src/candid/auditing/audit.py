"""From predictions to whom the model fails: every group, how sure, and what could not be seen.

The audit reads predictions alone and works on anyone's model. All p-values of a split (single
groups, groups within a label, pairs, slices on the half that was not searched, shortcuts) go
through Benjamini and Hochberg together, so "nothing found" is what an unbiased model gets in at
least 95 of 100 cases, whatever number of groups there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from candid.auditing.abstention import abstention
from candid.auditing.confounding import adjusted_gaps
from candid.auditing.cross_fit import search_and_test, slices
from candid.auditing.findings import Teller
from candid.auditing.gaps import Ledger
from candid.auditing.intersections import Intersections
from candid.auditing.label_noise import label_noise
from candid.auditing.rows import Rows, rows_of
from candid.auditing.shortcuts import find_cues, shortcuts
from candid.auditing.single_groups import Singles
from candid.errors import ConfigError, PredictionsError, did_you_mean
from candid.predictions import Predictions, require_evaluable
from candid.records import SPLITS, Split
from candid.records.audit import Audit, Group, SplitAudit
from candid.settings import AuditConfig
from candid.stats.bootstrap import resample

_DEFAULTS = AuditConfig()


def audit(predictions: Predictions, config: AuditConfig = _DEFAULTS, *, source: str = "") -> Audit:
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
    chosen, notes = _chosen(predictions, config)
    labelled = chosen[np.flatnonzero(chosen.label >= 0)]
    if len(labelled) < len(chosen):
        missing = len(chosen) - len(labelled)
        notes.append(f"{missing:,} of {len(chosen):,} images have no label and do not count.")
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
    wanted: dict[str, tuple[str, Callable[[], Any]]] = {
        "abstention": (
            "No threshold for abstention",
            lambda: abstention(chosen, confidence=config.confidence, seed=config.seed),
        ),
        "noise": (
            "Label noise was not looked for",
            lambda: label_noise(chosen, confidence=config.confidence, seed=config.seed),
        ),
        "confounding": (
            "No adjusted gaps",
            lambda: adjusted_gaps(
                chosen,
                split=split,
                confidence=config.confidence,
                false_discovery_rate=config.false_discovery_rate,
            ),
        ),
    }
    parts: dict[str, Any] = {}
    for name, (without, make) in wanted.items():
        if not config.more or (name == "confounding" and not chosen.attributes):
            continue
        try:
            parts[name] = make()
        except PredictionsError as reason:
            notes.append(f"{without}: {reason.what}")
    return parts


def _chosen(predictions: Predictions, config: AuditConfig) -> tuple[Predictions, list[str]]:
    """The predictions with the attributes to audit, and what a reader must know of the others."""
    known, notes = predictions.attributes, []
    for name in config.attributes:
        if name not in known:
            raise ConfigError(
                f"audit.attributes names {name!r}, which the predictions do not have.",
                expected="attributes that stand in the predictions",
                todo=did_you_mean(name, known) if known else "the predictions have no attributes",
            )
    kept = {}
    for name in config.attributes or known:
        attribute = known[name]
        if len(attribute.values) > config.most_values:
            notes.append(
                f"{name} has {len(attribute.values):,} values and looks like a name, so it was "
                f"left out; audit.most_values ({config.most_values}) decides."
            )
        else:
            kept[name] = attribute
    if not known:
        notes.append("The predictions have no attributes, so there are no groups to compare.")
    return replace(predictions, attributes=kept), notes


def _splits(labelled: Predictions, config: AuditConfig, notes: list[str]) -> list[Split]:
    """The splits that were asked for and have labelled images; others where none of them has."""
    present = [s for s in SPLITS if (labelled.split == s).any()]
    asked = [s for s in config.splits if s in present]
    absent = [s for s in config.splits if s not in present]
    if absent:
        notes.append(f"No labelled images with predictions in: {', '.join(absent)}.")
    if asked:
        return [s for s in present if s in asked] if len(asked) == 1 else _ordered(asked)
    if not present:
        raise PredictionsError(
            "None of the images has both a label and a split.",
            expected="labelled images in train, validation or test",
            todo="check the file that the predictions came from",
        )
    instead = present[-1]
    notes.append(f"So {instead} was audited instead.")
    return [instead]


def _ordered(asked: Sequence[str]) -> list[Split]:
    """The splits in the order that was asked for."""
    return [s for word in asked for s in SPLITS if s == word]


def _split(labelled: Predictions, split: Split, config: AuditConfig) -> SplitAudit:
    some = labelled[np.flatnonzero(labelled.split == split)]
    drawing = resample(
        len(some), some.identity, draws=config.draws, seed=config.seed, confidence=config.confidence
    )
    rows = rows_of(some, drawing, bins=config.reliability_bins, of=labelled)
    ledger = Ledger(rows, config.smallest, config.false_discovery_rate)
    singles = Singles(rows, ledger)
    large = [pair for pair, units in singles.units().items() if units >= config.smallest]
    pairs = Intersections(rows, ledger, large) if config.pairs else None
    halves = search_and_test(
        rows,
        ledger,
        most=config.slices,
        conditions=config.slice_conditions,
        share=config.slice_share,
        seed=config.seed,
    )
    cues = find_cues(rows, ledger, least=config.shortcut_association, draws=config.draws)
    ledger.settle()

    groups = singles.groups()
    alone = groups[: len(singles.places())]
    listed = pairs.listed(config.intersections) if pairs is not None else []
    findings = Teller(rows, ledger, config.examples).all(singles, pairs, halves, cues)
    notes = _notes(rows, split, alone, ledger)
    if len(findings) > config.findings:
        notes.append(
            f"There are {len(findings):,} findings; the {config.findings:,} surest are told "
            "(audit.findings). Groups, pairs and slices say what else was found."
        )
    return replace(
        of_singles(singles, groups, split, len(rows), drawing.units),
        intersections=tuple(pairs.group(b, i) for b, i in listed) if pairs is not None else (),
        intersections_looked_at=len(pairs) if pairs is not None else 0,
        slices=tuple(slices(halves, ledger)),
        shortcuts=tuple(record for _, record in shortcuts(cues, ledger, rows)),
        findings=tuple(findings[: config.findings]),
        notes=tuple(notes),
        grid=pairs.grid(_diagonal(pairs, singles, alone)) if pairs is not None else None,
    )


def of_singles(
    singles: Singles, groups: Sequence[Group], split: Split, n: int, people: int
) -> SplitAudit:
    """The part of a split's audit that comes from single values, and from what they were told of.

    Parameters
    ----------
    singles
        Settled: its ledger knows which gaps count as found.
    groups
        What `singles.groups()` gave.
    split, n, people
        The split, its images, and their people (not told where nobody knows them).
    """
    ledger = singles.ledger
    return SplitAudit(
        split=split,
        n=n,
        people=people if singles.rows.drawing.by_person else None,
        metrics=singles.everyone,
        groups=tuple(groups),
        intersections=(),
        intersections_looked_at=0,
        fairness=tuple(singles.fairness()),
        slices=(),
        shortcuts=(),
        findings=(),
        gaps_looked_at=ledger.looked_at,
        gaps_found=ledger.found,
        false_discovery_rate=ledger.rate,
        threshold=ledger.threshold,
        too_few=sum(g.state == "too few to say" for g in groups[: len(singles.places())]),
        smallest_people=ledger.smallest,
        notes=(),
    )


def _diagonal(
    pairs: Intersections, singles: Singles, alone: Sequence[Group]
) -> list[tuple[int, float, float, bool]]:
    """The single values that the grid of pairs has on its diagonal."""
    record = {m.values[i]: g for (m, i), g in zip(singles.places(), alone, strict=True)}
    return [
        (g.n, g.metrics["accuracy"].value, g.gaps["accuracy"].value, gap_found(g))
        for g in (record[value] for value in pairs.values)
    ]


def gap_found(group: Group) -> bool:
    """Whether the group's gap in accuracy was found."""
    return group.gaps["accuracy"].state == "found"


def _notes(rows: Rows, split: Split, alone: Sequence[Group], ledger: Ledger) -> list[str]:
    """What a reader might not expect of these figures."""
    notes, p = [], rows.predictions
    if not rows.drawing.by_person:
        notes.append(nobody_known(split))
    empty = [c for k, c in enumerate(p.classes) if not (p.label == k).any()]
    if empty:
        notes.append(
            f"No image in {split} is labelled {' or '.join(empty)}: what needs one is undefined."
        )
    unknown = [a.name for a in rows.attributes if (a.data < 0).any()]
    if unknown:
        shown = ", ".join(unknown[:5]) + (" and others" if len(unknown) > 5 else "")
        notes.append(
            f"Some images have no value for {shown}: they count neither in a group nor in its rest."
        )
    numeric = [name for name, a in p.attributes.items() if a.kind == "numeric"]
    if numeric:
        notes.append(f"Cut at the quartiles of all images: {', '.join(numeric)}.")
    said = [g for group in alone for g in group.gaps.values() if g.state != "too few to say"]
    lost = max((g.undefined_draws for g in said), default=0)
    if lost:
        notes.append(
            f"Up to {lost:,} of {rows.drawing.draws:,} draws left a group without images, or a "
            "figure undefined; the interval comes from the others."
        )
    return notes + looked_at(ledger)


def nobody_known(split: Split) -> str:
    """The note where images have no people."""
    return (
        f"Nobody knows who is in the pictures of {split}: the audit takes each for another "
        "person's, and intervals are too narrow where that is wrong."
    )


def looked_at(ledger: Ledger) -> list[str]:
    """The note about how many gaps were looked at, where any was."""
    if not ledger.looked_at:
        return []
    return [
        f"{ledger.looked_at:,} gaps were looked at; one counts as found where its p is at most "
        f"{ledger.threshold:.2g}, so that at most {100 * ledger.rate:g}% of those found are "
        "chance. Opposite values of an attribute with two values count once."
    ]
