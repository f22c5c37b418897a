"""Images worth a look: those whose label is in doubt, and pairs of copies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from candid.arrays import BoolArray
from candid.auditing.label_noise import find_likely_wrong
from candid.auditing.own_person import find_outvoted_labels
from candid.predictions import Predictions
from candid.records.audit import Condition, SplitAudit
from candid.records.review import Why
from candid.table import Table

# Findings about images that go together, the gravest first.
_COPIES = (
    "CONTRADICTORY-LABELS",
    "NEAR-DUPLICATES-LABELLED-DIFFERENTLY",
    "DUPLICATES-ACROSS-SPLITS",
    "NEAR-DUPLICATES-ACROSS-SPLITS",
    "DUPLICATES-WITHIN-SPLITS",
    "NEAR-DUPLICATES-WITHIN-SPLITS",
)


@dataclass(frozen=True, slots=True)
class Suspects:
    """The images, pairs and files to review."""

    images: dict[str, Why]  # image → why its label is in doubt; the likeliest to be wrong first
    pairs: tuple[tuple[str, str], ...] = ()  # pictures that look like copies
    # the group in which the model errs, of the images that are suspects for that
    group: tuple[Condition, ...] = ()
    files: tuple[str, ...] = ()  # images whose files cannot be read


@dataclass(frozen=True, slots=True)
class PictureFindings:
    """Findings from the pixels, whatever the labels."""

    # (code, image, partner) of findings about images that go together
    linked: Sequence[tuple[str, str, str]] = ()
    # image → why its file cannot be read
    unreadable: Mapping[str, str] = field(default_factory=dict)
    # image → in what it is unlike the training pictures, the strangest first
    strange: Mapping[str, str] = field(default_factory=dict)


def find_suspects(
    table: Table,
    predictions: Predictions | None,
    split: SplitAudit | None,
    pixels: PictureFindings,
    wanted: Sequence[Why],
) -> Suspects:
    """Find everything worth a look, of the kinds that are wanted.

    Parameters
    ----------
    table
        All images, with the labels that they have now.
    predictions
        What a model says of images that it did not learn from.
    split
        The audit of one split of them.
    pixels
        What their pictures say.
    wanted
        Which kinds; an image that is a suspect twice counts for the first.
    """
    label_of = dict(zip(table.ids.tolist(), table.label.tolist(), strict=True))
    images: dict[str, Why] = {}
    group: tuple[Condition, ...] = ()

    def add(why: Why, ids: Iterable[str]) -> None:
        for image in ids if why in wanted else ():
            if label_of.get(image, -1) >= 0 and image not in pixels.unreadable:
                images.setdefault(image, why)

    if predictions is not None:
        add("likely wrong", list_likely_wrong(predictions))
    add("person", table.ids[find_outvoted_labels(table)].tolist())
    if predictions is not None and split is not None and "slice" in wanted:
        group, ids = find_worst_group(predictions, split)
        add("slice", ids)
    add("strange", pixels.strange)
    pairs = list_copies(pixels.linked, label_of) if "copy" in wanted else ()
    files = tuple(i for i in label_of if i in pixels.unreadable) if "unreadable" in wanted else ()
    return Suspects(images, pairs, group, files)


def list_likely_wrong(predictions: Predictions) -> list[str]:
    """The images whose label is likely wrong by confident learning, the likeliest first."""
    unlearned = predictions[predictions.unlearned]
    if not len(unlearned) or unlearned.hard:
        return []
    ids: list[str] = unlearned.ids[
        find_likely_wrong(unlearned.label, unlearned.probability)
    ].tolist()
    return ids


def find_worst_group(
    predictions: Predictions, split: SplitAudit
) -> tuple[tuple[Condition, ...], list[str]]:
    """The group of the first finding of an audit that is about one, and the mistakes in it."""
    binned = predictions.with_bins()
    binned = binned[(binned.split == split.split) & (binned.label >= 0)]
    for finding in split.findings:
        if finding.kind == "shortcut" or finding.finding.state != "found":
            continue
        inside = _inside(binned, finding.conditions)
        if inside is None or not (inside & binned.wrong).any():
            continue
        mistakes = binned[inside & binned.wrong]
        order = np.argsort(-mistakes.confidence, kind="stable")
        return finding.conditions, mistakes.ids[order].tolist()
    return (), []


def _inside(p: Predictions, conditions: Sequence[Condition]) -> BoolArray | None:
    """(n,) which images are of a group; None where `p` lacks a value."""
    inside = np.ones(len(p), np.bool_)
    for condition in conditions:
        attribute: Any = p.attributes.get(condition.attribute)
        if attribute is None or condition.value not in attribute.values:
            return None
        inside &= attribute.data == attribute.values.index(condition.value)
    return inside


def list_copies(
    linked: Iterable[tuple[str, str, str]], images: Iterable[str]
) -> tuple[tuple[str, str], ...]:
    """The pairs of images that look like copies, each once, the gravest finding first."""
    existing, rows = set(images), [row for row in linked if row[0] in _COPIES]
    rows.sort(key=lambda row: _COPIES.index(row[0]))
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    for _, image, partner in rows:
        if image in existing and partner in existing and image != partner:
            pairs.setdefault(frozenset((image, partner)), (image, partner))
    return tuple(pairs.values())
