"""The audit of a folder of tables, row by row in constant memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.arrays import BoolArray
from candid.errors import ConfigError, PredictionsError
from candid.predictions.choosing import Columns
from candid.predictions.folder import Folder, Piece
from candid.predictions.opening import open_folder
from candid.progress import progress
from candid.records import SPLITS, ClassMetrics, Estimate, Evaluation, SplitEvaluation
from candid.records.audit import Audit, SplitAudit
from candid.settings import AuditConfig
from candid.text.notes import no_label, no_prediction

if TYPE_CHECKING:
    from candid.auditing.tally import Batch, Tally


@dataclass(frozen=True, eq=False)
class FolderAudit:
    """The audit and the evaluation of a folder of tables, from sums.

    `rows` counts those with an answer and a label; `has_degrees`: whether there are probabilities.
    """

    audit: Audit
    evaluation: Evaluation
    rows: int
    files: tuple[Path, ...]
    has_degrees: bool


def audit_folder(
    path: Path, columns: Columns, config: AuditConfig, *, quiet: bool = False
) -> FolderAudit:
    """Audit the Parquet tables of a folder as one file of predictions.

    No columns are named for files that Candid wrote. Raises PredictionsError for tables that are no
    predictions, or without a row that has a label and a prediction.
    """
    from candid.auditing.folder import Meaning, audit_tally

    if columns.named() and columns.ids is not None:
        raise ConfigError(
            "--id names a column for a folder of tables.",
            expected="one row per image, which is not checked over a folder",
            todo="leave it out",
        )
    with_groups = replace(columns, groups=columns.groups or config.attributes)
    folder = open_folder(path, with_groups, most_values=config.most_values)
    tallies, notes = _tally_asked(folder, config, quiet)
    attributes, values = folder.meaning()
    meaning = Meaning(
        folder.target, folder.classes, attributes, values, folder.by_person, folder.hard
    )
    splits = tuple(audit_tally(tallies[s], meaning, config, s) for s in SPLITS if s in tallies)
    audit = Audit(
        target=folder.target,
        classes=folder.classes,
        source=path.name,
        splits=tuple(sorted(splits, key=lambda s: _split_rank(s.split, config))),
        notes=(*folder.notes, *notes),
    )
    evaluations = tuple(_build_evaluation(tallies[s.split], s, folder.classes) for s in splits)
    return FolderAudit(
        audit=audit,
        evaluation=Evaluation(folder.target, folder.classes, 1.0, evaluations, None),
        rows=sum(t.n for t in tallies.values()),
        files=folder.files,
        has_degrees=not folder.hard,
    )


def _build_evaluation(tally: Tally, split: SplitAudit, classes: Sequence[str]) -> SplitEvaluation:
    """The figures of a split that follow from counts, without curves."""
    counts = tally.everyone.outcomes[0]
    undefined = partial(Estimate, math.nan, math.nan, math.nan, method="not measured")
    return SplitEvaluation(
        split=split.split,
        n=split.n,
        people=split.people,
        metrics={name: split.metrics[name] for name in ("weighted_f1", "accuracy")},
        classes=tuple(
            ClassMetrics(
                name=name,
                support=(n := int(counts[k].sum())),
                precision=split.metrics[f"precision:{name}"],
                recall=_invert_share(split.metrics[f"error:{name}"]),
                f1=undefined(n=n),
                roc_auc=undefined(n=n),
                average_precision=undefined(n=n),
            )
            for k, name in enumerate(classes)
        ),
        confusion=tuple(tuple(int(x) for x in row) for row in counts),
        reliability=(),
        roc=(),
        precision_recall=(),
        surest_mistakes=(),
        least_sure=(),
    )


def _invert_share(wrong: Estimate) -> Estimate:
    """The share that is right, from the share that is wrong."""
    return replace(wrong, value=1 - wrong.value, low=1 - wrong.high, high=1 - wrong.low)


def _split_rank(split: str, config: AuditConfig) -> int:
    return config.splits.index(split) if split in config.splits else len(config.splits)


def _tally_asked(
    folder: Folder, config: AuditConfig, quiet: bool
) -> tuple[dict[str, Tally], list[str]]:
    """A tally of each split to audit (or of the last that has rows), and notes."""
    from candid.auditing.audit import select_splits

    tallies, counts = _tally_splits(folder, config, quiet)
    if not tallies:
        raise PredictionsError(
            "No row has both a label and a prediction.",
            expected="at least one",
            todo="check the names of the columns",
        )
    folder.refuse_answers(counts["labelled"], counts["wrong"])
    notes = []
    if counts["silent"]:
        notes.append(no_prediction(counts["silent"], folder.n))
    if counts["unlabelled"]:
        notes.append(no_label(counts["unlabelled"], folder.n))
    splits, more_notes = select_splits([s for s in SPLITS if s in tallies], config)
    return {s: t for s, t in tallies.items() if s in splits}, [*notes, *more_notes]


def _tally_splits(
    folder: Folder, config: AuditConfig, quiet: bool
) -> tuple[dict[str, Tally], Counter[str]]:
    """A tally of each split that has rows, and counts of rows by kind."""
    from candid.auditing.tally import Tally

    names = tuple(a.name for a in folder.attributes)
    tallies: dict[str, Tally] = {}
    counts = Counter[str]()
    with progress("audit", folder.n, unit="rows", quiet=quiet) as bar:
        for piece in folder.pieces():
            bar.update(len(piece.label))
            answered = ~np.isnan(piece.probability).any(axis=1)
            usable = answered & (piece.label >= 0)
            wrong = usable & (piece.label != piece.probability.argmax(axis=1))
            for kind, rows in (
                *(("silent", ~answered), ("unlabelled", answered & (piece.label < 0))),
                *(("labelled", usable), ("wrong", wrong)),
            ):
                counts[kind] += int(np.count_nonzero(rows))
            for split in np.unique(piece.split[usable]):
                rows = usable & (piece.split == split)
                if SPLITS[split] not in tallies:
                    tallies[SPLITS[split]] = Tally(
                        names, len(folder.classes), seed=config.seed, pairs=config.pairs
                    )
                tallies[SPLITS[split]].add(_build_batch(piece, rows))
    return tallies, counts


def _build_batch(piece: Piece, rows: BoolArray) -> Batch:
    """Rows of a piece, with the answers of its probabilities."""
    from candid.auditing.tally import Batch

    selected: Any = slice(None) if rows.all() else rows
    probability = piece.probability[selected]
    return Batch(
        label=piece.label[selected],
        answer=probability.argmax(axis=1),
        confidence=probability.max(axis=1),
        key=piece.key[selected],
        attributes={name: codes[selected] for name, codes in piece.attributes.items()},
    )
