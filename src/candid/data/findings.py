"""Findings about the data, and a table of all images behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.records import SPLITS, Finding, Severity, State
from candid.storage.files import as_utf8, atomic
from candid.text.data_duplicates import beside
from candid.text.data_findings import WhyNot, finding_text

_MOST = 6  # examples in a record
_SCHEMA = pa.schema([(name, pa.string()) for name in ("code", "id", "partner", "detail")])


def make_finding(
    code: str,
    *,
    count: int,
    of: int,
    severity: Severity = "note",
    examples: tuple[str, ...] = (),
    state: State | None = None,
    **values: Any,
) -> Finding:
    """A finding of `count` images, or that there are none; `state` overrides.

    `values` are plain; `candid.text.data_findings` makes the sentence from them.
    """
    state = state or ("found" if count else "not found")
    text = finding_text(code, state, values | {"count": count, "of": of})
    return Finding(
        code=code,
        title=text.title,
        state=state,
        severity=severity,
        detail=text.detail,
        count=count,
        of=of,
        examples=examples if state == "found" else (),
        todo=text.todo,
        values=values,
    )


def not_applicable(code: str, why: WhyNot, **values: Any) -> Finding:
    """The finding of a check that could not be made."""
    return make_finding(code, count=0, of=0, state="not applicable", why=why, **values)


def example_ids(dataset: Dataset, rows: NDArray[np.intp]) -> tuple[str, ...]:
    """The ids of all rows; `shorten_finding` is applied once they are written."""
    return tuple(dataset.ids[rows].tolist())


def split_counts(dataset: Dataset, rows: NDArray[np.intp]) -> dict[str, int]:
    """The number of the rows in each split."""
    return {split: int(np.count_nonzero(dataset.split[rows] == split)) for split in SPLITS}


# --- pairs ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Links:
    """Pairs of related images.

    `first` and `second` are (n,) rows; of exact copies and of people, each image that is affected
    is a first. `key` (n,) is a number that the two share; of near duplicates, the pair's own.
    `correlation` is (n,) of near duplicates, else None.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    key: NDArray[Any]
    correlation: NDArray[np.float32] | None = None

    def examples(self) -> NDArray[np.intp]:
        """All rows, related ones side by side, of near duplicates the most similar first."""
        if self.correlation is None:
            return self.first
        order = np.argsort(-self.correlation, kind="stable")
        return np.stack([self.first, self.second], axis=1)[order].ravel()

    def words(self, dataset: Dataset) -> list[str]:
        """The splits and labels of each pair, as a sentence."""
        labels = np.array([*dataset.classes, "unlabelled"])[dataset.label]  # -1 is the last
        a, b = self.first, self.second
        columns = (c.tolist() for c in (dataset.split[a], dataset.split[b], labels[a], labels[b]))
        scores = repeat(None, len(a)) if self.correlation is None else self.correlation.tolist()
        return [beside((s, t), (x, y), c) for s, t, x, y, c in zip(*columns, scores, strict=True)]


# --- findings.parquet ----------------------------------------------------------------------------


def shorten_finding(finding: Finding) -> Finding:
    """The finding with a few of its examples."""
    return replace(finding, examples=finding.examples[:_MOST])


def write_findings(
    path: Path,
    dataset: Dataset,
    findings: Sequence[Finding],
    links: Mapping[str, Links],
    reasons: Mapping[int, str],
) -> None:
    """Write a row for every image of every finding, as Parquet.

    The columns are words: `code`, `id`; `partner`, the other image where a finding is about two
    (else null); and `detail`. Each exact copy has one other as its partner; near copies have a row
    per pair.

    `findings` have all of their examples; `links` are pairs by the code of their finding, `reasons`
    the errors of unreadable images by row. Raises OutputError where the file cannot be written.
    """
    unreadable = {str(dataset.ids[row]): reason for row, reason in reasons.items()}

    def rows(finding: Finding) -> Iterator[tuple[str, str, str | None, str]]:
        if link := links.get(finding.code):
            ids, partners = (dataset.ids[rows].tolist() for rows in (link.first, link.second))
            yield from zip(repeat(finding.code), ids, partners, link.words(dataset), strict=False)
        else:
            reasons_of = unreadable if finding.code == "UNREADABLE-FILES" else {}
            for i in finding.examples:
                yield finding.code, i, None, reasons_of.get(i, finding.title)

    lines = [row for f in findings if f.state == "found" for row in rows(f)]
    columns = [[w and as_utf8(w).decode() for w in words] for words in zip(*lines, strict=True)]
    table = pa.table(columns or [[]] * len(_SCHEMA), schema=_SCHEMA)
    with atomic(path) as part:
        pq.write_table(table, part, compression="zstd")
