"""Every image behind every finding, in a table: `findings.parquet`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from candid.data.dataset import Dataset
from candid.data.duplicates import find_copies
from candid.data.repeats import find_links
from candid.data.store import Store
from candid.records import Finding
from candid.storage.files import atomic

_MOST = 6  # examples in a record
_SCHEMA = pa.schema([(name, pa.string()) for name in ("code", "id", "partner", "detail")])


def shortened(finding: Finding) -> Finding:
    """The finding with a few of its examples."""
    return replace(finding, examples=finding.examples[:_MOST])


def write_findings(path: Path, dataset: Dataset, store: Store, findings: Sequence[Finding]) -> None:
    """Write a row for every image of every finding, as Parquet.

    The columns are words: `code`, `id`; `partner`, the other image where a finding is about two
    (else null); and `detail`. Each copy stands beside one other of its copies, and near copies
    stand pair by pair.

    Parameters
    ----------
    path
        The file; it is replaced.
    dataset, store
        What the findings are about.
    findings
        With all of their examples.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    links = find_links(dataset, find_copies(store))
    reasons = {str(dataset.ids[row]): reason for row, reason in store.reasons.items()}

    def rows(finding: Finding) -> Iterator[tuple[str, str, str | None, str]]:
        if link := links.get(finding.code):
            ids, partners = (dataset.ids[rows].tolist() for rows in (link.first, link.second))
            yield from zip(repeat(finding.code), ids, partners, link.words(dataset), strict=False)
        else:
            told = reasons if finding.code == "UNREADABLE-FILES" else {}
            for i in finding.examples:
                yield finding.code, i, None, told.get(i, finding.title)

    found = [row for f in findings if f.state == "found" for row in rows(f)]
    columns = [[_printable(word) for word in column] for column in zip(*found, strict=True)]
    table = pa.table(columns or [[]] * len(_SCHEMA), schema=_SCHEMA)
    with atomic(path) as part:
        pq.write_table(table, part, compression="zstd")


def _printable(word: str | None) -> str | None:
    """Names of files need not be UTF-8, and Parquet holds nothing else."""
    return None if word is None else word.encode("utf-8", "backslashreplace").decode()
