"""Rows, one per image (or per face in it), their counts, and tables of them."""

from __future__ import annotations

import collections
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq

from candid.errors import OutputError, did_you_mean
from candid.inference.drift import DriftReference, JobDrift, JobDriftWatch
from candid.records.framing import CommonFrame
from candid.storage.files import STDOUT, writing
from candid.tables.delimited import CsvWriter

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: dict[str, Format] = {
    "csv": "csv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "jsonl",
    "parquet": "parquet",
    "pq": "parquet",
}

# A row is a list of plain values in the order of `RowColumns.names`: it goes through JSON as it is.
Row = list[Any]

REASON_CODE = "reason_code"

_ROW_GROUP = 65_536


def format_of(path: Path, name: str | None) -> Format:
    """The format that an option names, else that of the path's suffix.

    Raises OutputError for an unknown one.
    """
    key = (name or path.suffix.removeprefix(".")).lower()
    if key not in FORMATS:
        message = f"There is no format {name!r}." if name else f"{path} does not say its format."
        raise OutputError(
            message,
            expected="an ending such as .csv, .jsonl or .parquet",
            todo=did_you_mean(key, FORMATS) if name else "name one with --format",
        )
    return FORMATS[key]


@dataclass(frozen=True, slots=True)
class RowColumns:
    """The columns of a job's rows, in order."""

    classes: tuple[str, ...]  # one column p_<class> each
    faces: bool  # whether a row is a face with its box

    @property
    def names(self) -> list[str]:
        """The columns of a row: those of a table, and the code of the reason."""
        return list(self.schema(codes=True).names)

    @property
    def answers(self) -> dict[str, str]:
        """The columns with answers, and the prefix of a class where they are counted."""
        return {"prediction": ""}

    @property
    def numbers(self) -> dict[str, str]:
        """The columns with numbers, and the name under which they are counted."""
        return {}

    def schema(self, *, codes: bool = False) -> pa.Schema:
        """Names and types of a table's columns, in order; `codes`: with `reason_code`.

        The column `reason` explains an abstention to a reader; `reason_code` is one of
        `candid.text.labelling.Reason`.
        """
        box = [(f"box_{n}", pa.float64()) for n in ("left", "top", "width", "height", "score")]
        return pa.schema(
            [
                ("id", pa.string()),
                *([("face", pa.int32()), *box] if self.faces else []),
                ("prediction", pa.string()),
                *((f"p_{name}", pa.float64()) for name in self.classes),
                ("abstained", pa.bool_()),
                ("reason", pa.string()),
                ("width", pa.int32()),
                ("height", pa.int32()),
                ("error", pa.string()),
                *([(REASON_CODE, pa.string())] if codes else []),
            ]
        )

    def rows(self, values: Iterable[dict[str, Any]]) -> list[Row]:
        """Rows with these values by name; other columns are None."""
        names = self.names
        return [[row_values.get(name) for name in names] for row_values in values]


@dataclass(frozen=True)
class Block:
    """The number of a block's images, a digest of their `names`, and their rows.

    `scores` are the drift scores of each row, [] for one without; empty where drift is not watched.
    """

    items: int
    names: str
    rows: list[Row]
    scores: list[list[float]] = field(default_factory=list)


def names_digest(names: Iterable[str]) -> str:
    """A digest of the images' names and their order."""
    digest = hashlib.blake2b(digest_size=12)
    for name in names:
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()


# --- counts --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts of a job's images and answers."""

    images: int
    rows: int  # with a face finder, as many as faces
    answered: int  # rows with a prediction
    abstained: int  # rows without one, and with a reason
    errors: int  # images that could not be read
    reasons: dict[str, int]  # abstentions by code of the reason
    predictions: dict[str, int]  # by class
    resumed: int  # images done before the job was resumed
    drift: JobDrift | None = None  # None where it was not watched
    frame: CommonFrame | None = None  # the images' common frame; None: each by itself

    @classmethod
    def sum(cls, tallies: Sequence[Outcome], *, resumed: int) -> Outcome:
        """The sum of several tallies."""
        total: dict[str, Any] = {
            name: sum(getattr(t, name) for t in tallies)
            for name in ("images", "rows", "answered", "abstained", "errors")
        }
        for name in ("reasons", "predictions"):
            words = collections.Counter[str]()
            for tally in tallies:
                words.update(getattr(tally, name))
            total[name] = dict(sorted(words.items()))
        return cls(**total, resumed=resumed)


class Counter:
    """Counts rows as they pass."""

    def __init__(self, columns: RowColumns, reference: DriftReference | None = None) -> None:
        names = columns.names
        self._watch = None if reference is None else JobDriftWatch(reference)
        self._answers = [(names.index(name), prefix) for name, prefix in columns.answers.items()]
        self._numbers = [(names.index(name), key) for name, key in columns.numbers.items()]
        self._reason, self._error = names.index(REASON_CODE), names.index("error")
        self.images = self.resumed = self._rows = self._errors = self._answered = 0
        self._reasons = collections.Counter[str]()
        self._predictions = collections.Counter[str]()

    def add(self, images: int, rows: Sequence[Row], scores: Sequence[list[float]] = ()) -> None:
        """Count images, their rows, and the scores of those that have some."""
        if self._watch is not None:
            self._watch.add(scores)
        self.images += images
        self._rows += len(rows)
        for row in rows:
            if row[self._error] is not None:
                self._errors += 1
            elif counted := [
                *(f"{prefix}{row[i]}" for i, prefix in self._answers if row[i] is not None),
                *(name for i, name in self._numbers if row[i] is not None),
            ]:
                self._answered += 1
                self._predictions.update(counted)
            else:
                self._reasons[row[self._reason]] += 1

    def tally(self) -> Outcome:
        """The counts."""
        return Outcome(
            images=self.images,
            rows=self._rows,
            answered=self._answered,
            abstained=self._reasons.total(),
            errors=self._errors,
            reasons=dict(sorted(self._reasons.items())),
            predictions=dict(sorted(self._predictions.items())),
            resumed=self.resumed,
            drift=None if self._watch is None else self._watch.end(),
        )


# --- tables --------------------------------------------------------------------------------------


class Writer(ABC):
    """Writes rows; a context manager that closes its file.

    A row's values beyond the table's columns are left out.
    """

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *error: object) -> None: ...

    @abstractmethod
    def write(self, rows: Iterable[Row]) -> None:
        """Add rows."""


def open_writer(
    out: IO[str] | Path, kind: Format, schema: pa.Schema, about: dict[str, Any]
) -> Writer:
    """A writer to a stream of text or to a file; `about` goes into a Parquet file's metadata."""
    if kind != "parquet":
        return _TextWriter(out, schema.names, kind)
    if not isinstance(out, Path):
        raise OutputError(
            "Parquet cannot be written to standard output.",
            expected="a file, or CSV or JSON lines",
            todo="name a file with --out",
        )
    return ParquetWriter(out, schema, about)


class _TextWriter(Writer):
    """Lines of CSV or JSON in UTF-8, into a file or a stream that stays open."""

    def __init__(self, out: IO[str] | Path, names: list[str], kind: Format) -> None:
        self._owns_file = isinstance(out, Path)
        self._file: IO[str] = (
            out.open("w", encoding="utf-8", newline="") if isinstance(out, Path) else out
        )
        self._names = names
        self._csv = CsvWriter(self._file) if kind == "csv" else None
        if self._csv is not None:
            with self._writing():
                self._csv.row(names)

    def __exit__(self, *error: object) -> None:
        if self._owns_file:
            self._file.close()
            return
        with self._writing():
            self._file.flush()

    def write(self, rows: Iterable[Row]) -> None:
        with self._writing():
            for row in rows:
                self._line(row[: len(self._names)])

    def _writing(self) -> AbstractContextManager[None]:
        # For a file, the caller handles errors.
        return nullcontext() if self._owns_file else writing(STDOUT)

    def _line(self, row: Row) -> None:
        if self._csv is not None:
            self._csv.row(row)
            return
        values = dict(zip(self._names, row, strict=True))
        self._file.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")


class ParquetWriter(Writer):
    """Writes row groups of one size, so that equal rows make an equal file."""

    def __init__(self, path: Path, schema: pa.Schema, about: dict[str, Any]) -> None:
        self._schema = schema.with_metadata({b"candid": json.dumps(about).encode()})
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._pending: list[Row] = []

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._writer.close()

    def note(self, key: str, value: dict[str, Any]) -> None:
        """Add plain values to the file's metadata."""
        self._writer.add_key_value_metadata({key: json.dumps(value)})

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows."""
        for row in rows:
            self._pending.append(row[: len(self._schema)])
            if len(self._pending) == _ROW_GROUP:
                self._flush()

    def _flush(self) -> None:
        if self._pending:
            values = zip(*self._pending, strict=True)
            arrays = [pa.array(v, f.type) for v, f in zip(values, self._schema, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
            self._pending = []
