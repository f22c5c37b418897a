"""Tables in a run's folder: the history of training, and the report's images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from candid.records import HistoryRow
from candid.storage.files import atomic, reading, regular

if TYPE_CHECKING:
    from candid.runs import Run

# --- history -------------------------------------------------------------------------------------


def write_history(run: Run, rows: Sequence[HistoryRow]) -> None:
    """Write one row per training step, and pass them to `run.follow`."""
    columns = {
        f.name: [getattr(row, f.name) for row in rows] for f in dataclasses.fields(HistoryRow)
    }
    with atomic(run.history) as part:
        pq.write_table(pa.table(columns), part, compression="zstd")
    if run.follow is not None:
        run.follow(rows)


def read_history(run: Run) -> list[HistoryRow]:
    """The rows that were written; none where nothing was trained. May raise RunError."""
    return _read_rows(run.history, lambda row: HistoryRow(**row))


# --- pictures ------------------------------------------------------------------------------------


def write_pictures(run: Run, pictures: Mapping[tuple[str, str], bytes]) -> None:
    """Write encoded pictures by (kind, name): ("mean", "Male"), ("thumbnail", "000123.jpg")."""
    table = pa.table(
        {
            "kind": pa.array([kind for kind, _ in pictures], pa.string()),
            "name": pa.array([name for _, name in pictures], pa.string()),
            "png": pa.array(list(pictures.values()), pa.binary()),
        }
    )
    with atomic(run.pictures) as part:
        pq.write_table(table, part)


def read_pictures(run: Run) -> dict[tuple[str, str], bytes]:
    """The pictures that were written; none where the stage did not run. May raise RunError."""
    return dict(_read_rows(run.pictures, lambda row: ((row["kind"], row["name"]), row["png"])))


def _read_rows(file: Path, convert: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """The converted rows of a table; none where there is no file."""
    expected = "a file that this version of Candid wrote"
    todo = "run the stage that writes it again, or start a new run"
    with reading(file, expected=expected, todo=todo):
        rows = pq.read_table(regular(file)).to_pylist() if file.exists() else []
        return [convert(row) for row in rows]
