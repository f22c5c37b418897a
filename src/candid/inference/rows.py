"""One row per picture (or per face found in one), and tables of them: CSV, JSON lines, Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from candid.errors import OutputError, did_you_mean
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

# A row is a list of plain values in the order of the columns: it goes through JSON as it is.
Row = list[Any]

_ROW_GROUP = 65_536


def format_of(path: Path, named: str | None) -> Format:
    """The format that an option names, or else the path's ending.

    Raises
    ------
    OutputError
        Where neither says.
    """
    word = (named or path.suffix.removeprefix(".")).lower()
    if word not in FORMATS:
        said = f"There is no format {named!r}." if named else f"{path} does not say its format."
        raise OutputError(
            said,
            expected="an ending such as .csv, .jsonl or .parquet",
            todo=did_you_mean(word, FORMATS) if named else "name one with --format",
        )
    return FORMATS[word]


@dataclass(frozen=True, slots=True)
class Columns:
    """What the rows of a job hold, in order.

    Attributes
    ----------
    classes
        Of the model: one column p_<class> each.
    faces
        Whether a row is a face with its box.
    """

    classes: tuple[str, ...]
    faces: bool

    def schema(self) -> pa.Schema:
        """Names and types, in order."""
        face = [
            ("face", pa.int32()),
            ("box_left", pa.float64()),
            ("box_top", pa.float64()),
            ("box_width", pa.float64()),
            ("box_height", pa.float64()),
            ("box_score", pa.float64()),
        ]
        return pa.schema(
            [
                ("id", pa.string()),
                *(face if self.faces else []),
                ("prediction", pa.string()),
                *((f"p_{name}", pa.float64()) for name in self.classes),
                ("abstained", pa.bool_()),
                ("reason", pa.string()),
                ("width", pa.int32()),
                ("height", pa.int32()),
                ("error", pa.string()),
            ]
        )

    def rows(self, values: Iterable[dict[str, Any]]) -> list[Row]:
        """Rows with these values by name; the others are undefined."""
        names = self.schema().names
        return [[one.get(name) for name in names] for one in values]


class Writer(Protocol):
    """Writes rows as they come; a context manager, so that what is open is closed."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows."""
        ...


class ParquetWriter(Writer, Protocol):
    """A writer to Parquet, which can say more of the file once all rows are known."""

    def note(self, key: str, value: dict[str, Any]) -> None:
        """Keep plain values in the file's metadata."""
        ...


def open_parquet(path: Path, schema: pa.Schema, about: dict[str, Any]) -> ParquetWriter:
    """As `open_writer` for Parquet."""
    return _ParquetWriter(path, schema, about)


def open_writer(
    out: IO[str] | Path, kind: Format, schema: pa.Schema, about: dict[str, Any]
) -> Writer:
    """A writer to a stream of text or to a file; `about` goes into a Parquet file's metadata."""
    if kind == "parquet":
        if not isinstance(out, Path):
            raise OutputError(
                "Parquet cannot be written to standard output.",
                expected="a file, or CSV or JSON lines",
                todo="name a file with --out",
            )
        return _ParquetWriter(out, schema, about)
    text = _CsvText if kind == "csv" else _JsonText
    return text(out, schema.names)


class _Text:
    """Lines of text in UTF-8, into a file or a stream that stays open."""

    def __init__(self, out: IO[str] | Path, names: list[str]) -> None:
        self._own = isinstance(out, Path)
        self._file: IO[str] = (
            out.open("w", encoding="utf-8", newline="") if isinstance(out, Path) else out
        )
        self._names = names
        self._begin()

    def _begin(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._file.close()
        else:
            self._file.flush()


class _CsvText(_Text):
    def _begin(self) -> None:
        self._csv = CsvWriter(self._file)
        self._csv.row(self._names)

    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._csv.row(row)


class _JsonText(_Text):
    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            plain = dict(zip(self._names, row, strict=True))
            self._file.write(json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n")


class _ParquetWriter:
    """Row groups of one size, however the rows come, so that equal rows make an equal file."""

    def __init__(self, path: Path, schema: pa.Schema, about: dict[str, Any]) -> None:
        self._schema = schema.with_metadata({b"candid": json.dumps(about).encode()})
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[Row] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._writer.close()

    def note(self, key: str, value: dict[str, Any]) -> None:
        self._writer.add_key_value_metadata({key: json.dumps(value)})

    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._waiting.append(row)
            if len(self._waiting) == _ROW_GROUP:
                self._flush()

    def _flush(self) -> None:
        if self._waiting:
            values = zip(*self._waiting, strict=True)
            arrays = [pa.array(v, f.type) for v, f in zip(values, self._schema, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
            self._waiting = []
