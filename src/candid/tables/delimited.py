"""CSV, TSV, JSON lines, Parquet and CelebA's text files as tables; a bad row is named by line.

Of a CSV table that Candid writes itself, cells that a spreadsheet would take for a formula begin
with an apostrophe (OWASP, "CSV injection"); read back, they are what they were.
"""

from __future__ import annotations

import codecs
import csv
import functools
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from candid.errors import DataError
from candid.storage.files import open_regular, regular
from candid.tables.spreadsheet import with_points

_WORD = pa.dictionary(pa.int32(), pa.string())
_FORMULA = r"^'*[=+\-@\t\r]"  # what was escaped before is escaped once more, so that it reads back
_ESCAPED = r"^'('*[=+\-@\t\r])"
_NUMBER = r"[+-]?\d+(\.\d+)?"

# What `candid predict` writes beside the probabilities; of faces, more.
_ALWAYS = frozenset(("prediction", "abstained", "reason", "error"))
_FACES = frozenset(("face", "box_left", "box_top", "box_width", "box_height", "box_score"))


def own_columns(names: Iterable[str]) -> frozenset[str]:
    """The columns that `candid predict` added to a table; none where it wrote another."""
    there = frozenset(names)
    return there & (_ALWAYS | _FACES) if there >= _ALWAYS else frozenset()


class CsvWriter:
    """Rows of plain values as CSV, with lines that end in a line feed.

    Text that a spreadsheet would take for a formula begins with an apostrophe; numbers do not.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        # It quotes what its own ends of lines are made of, so a carriage return in a name, too.
        self._csv = csv.writer(self, lineterminator="\r\n")

    def write(self, line: str) -> None:
        """Write a line that `csv` made."""
        self._file.write(line.removesuffix("\r\n") + "\n")

    def row(self, values: Iterable[Any]) -> None:
        """Add a row."""
        self._csv.writerow([v if type(v) is float else _cell(v) for v in values])


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return _escaped(value)
    return str(value).lower() if isinstance(value, bool) else value


@functools.lru_cache(4096)  # a table's classes come again and again
def _escaped(text: str) -> str:
    return f"'{text}" if re.match(_FORMULA, text) and not re.fullmatch(_NUMBER, text) else text


def unescaped(text: str) -> str:
    """What a cell that `CsvWriter` wrote was before."""
    return re.sub(_ESCAPED, r"\1", text)


def _unescaped(table: pa.Table) -> pa.Table:
    for i, name in enumerate(table.column_names):
        words = pc.replace_substring_regex(table[name].cast(pa.string()), _ESCAPED, "\\1")
        table = table.set_column(i, name, words.dictionary_encode())
    return table


_PARQUET = (".parquet", ".pq")
_LINES = ".jsonl"


def read_table(file: Path, encoding: str = "") -> pa.Table:
    """A CSV, TSV, JSON lines or Parquet file, as its suffix says, as a table.

    `encoding` is that of a text file that bears no mark of its own; empty: UTF-8. Raises DataError
    where it cannot be read.
    """
    name = file.name.lower()
    if name.endswith(_LINES):
        return _read_lines(file, encoding)
    if not name.endswith(_PARQUET):
        return read_delimited(file, encoding)
    try:
        table = pq.read_table(regular(file))
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"Cannot read {file} as Parquet: {error}",
            expected="a whole Parquet file",
            todo="fetch or write it again",
        ) from error
    if not table.num_rows:
        raise DataError(f"{file} has no rows.", expected="one row per picture", todo="fill it")
    return table.select([n for n in table.column_names if not n.startswith("__index_level_")])


def names_in(file: Path, encoding: str = "") -> list[str]:
    """The names of a table's columns; [] where it cannot be read."""
    try:
        if file.name.lower().endswith(_PARQUET):
            return list(pq.read_schema(file).names)
        if file.name.lower().endswith(_LINES):
            first = json.loads(next(iter(first_lines(file, 1, encoding)), ""))
            return [*flat(first)] if isinstance(first, dict) else []
        return header_of(file, encoding)
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException):
        return []


def read_delimited(path: Path, encoding: str = "") -> pa.Table:
    """A CSV or TSV file as a table of words; its delimiter is the commonest one in its header.

    Raises DataError where it is missing, empty, not in its encoding (see `read_table`), has a row
    that is too short or too long, or a column twice.
    """
    data = _bytes(path, encoding)
    header = data.split(b"\n", 1)[0].decode("utf-8").rstrip("\r")
    try:
        delimiter, names = _header(header)
    except csv.Error as error:
        raise DataError(
            f"{path}, line 1: {error}.",
            expected="a header that names each column once",
            todo="mend the line, or save the table again as CSV",
        ) from error
    # An unnamed column, as a table with an index has, gets the number that it stands at.
    names = [name or f"column {i}" for i, name in enumerate(names, start=1)]
    table = _Text(path, data, delimiter, names, 1).parsed()
    if delimiter != ",":
        table = with_points(table)
    return _unescaped(table) if own_columns(names) else table


def _header(line: str) -> tuple[str, list[str]]:
    """A first line's commonest delimiter, and the names that it sets apart."""
    delimiter = max("\t,;|", key=line.count)
    return delimiter, [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]


def read_spaced(path: Path, names: list[str], *, skip: int) -> pa.Table:
    """A text file whose columns stand apart by any number of spaces, as a table of words.

    `names` are the columns', `skip` says how many lines come before the first row.
    """
    data = _bytes(path).replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    data = data.replace(b" \r\n", b"\n").replace(b"\r\n", b"\n").replace(b" \n", b"\n")
    data = data.replace(b"\n ", b"\n").strip(b" ")
    return _Text(path, data, " ", names, skip).parsed()


def read_tabbed(path: Path, names: list[str], *, skip: int) -> pa.Table:
    """A text file whose columns stand apart by single tabs; see `read_spaced`."""
    return _Text(path, _bytes(path), "\t", names, skip).parsed()


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A JSON object whose inner values are called `outer.inner`."""
    row: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        row |= flat(inner, f"{name}.") if isinstance(inner, dict) else {name: inner}
    return row


def from_rows(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Columns of what the rows hold; where kinds are mixed, all become words."""
    names = dict.fromkeys(name for row in rows for name in row)
    made: dict[str, pa.Array] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        name = _word(name)
        try:
            made[name] = pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeError):
            made[name] = pa.array([None if v is None else _word(v) for v in values], pa.string())
    return pa.table(made)


def _word(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode()  # JSON may hold half a character


def _read_lines(path: Path, encoding: str) -> pa.Table:
    rows = []
    for number, line in enumerate(_bytes(path, encoding).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("it is no object")
            rows.append(flat(row))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number}: {error}.",
                expected='one JSON object per line, such as {"file_name": "1.jpg", "label": "cat"}',
                todo="mend or remove the line; if it is the last one, fetch the file again",
            ) from error
    return from_rows(rows)


def first_lines(path: Path, most: int, encoding: str = "") -> list[str]:
    """The first lines of a text file without their ends; what cannot be read is left out."""
    try:
        with open_regular(path) as file:
            data = file.read(1 << 16)
    except OSError:
        return []
    return data.decode(_codec(data, encoding), "replace").splitlines()[:most]


def header_of(path: Path, encoding: str = "") -> list[str]:
    """The column names in a CSV or TSV file's first line; [] where it cannot be read."""
    lines = first_lines(path, 1, encoding)
    return _header(lines[0])[1] if lines else []


def _codec(data: bytes, encoding: str) -> str:
    """What decodes a text: its mark says it, or else its reader does."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig" if data.startswith(codecs.BOM_UTF8) or not encoding else encoding


def _bytes(path: Path, encoding: str = "") -> bytes:
    """A text file in UTF-8, without a mark, its lines ending as they should."""
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror}.",
            expected="a label file that this user can read",
            todo="check its name and its permissions",
        ) from error
    codec = _codec(data, encoding)
    try:
        data = data.decode(codec).encode()
    except UnicodeError as error:
        line = data.count(b"\n", 0, getattr(error, "start", 0)) + 1
        raise DataError(
            f"{path}, line {line}: not {codec.removesuffix('-sig').upper()} text.",
            expected="a text file in UTF-8, in UTF-16 with its mark, or as data.encoding says",
            todo="save it as UTF-8 (from a spreadsheet: CSV UTF-8), or name its encoding with "
            "--set data.encoding=cp1252, for example",
        ) from error
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # as spreadsheets on old Macs end lines
    if not data.strip():
        raise DataError(
            f"{path} is empty.", expected="a header and one row per picture", todo="fetch it again"
        )
    if b"\0" in data.split(b"\n", 1)[0]:
        raise DataError(
            f"{path} has zero bytes in its first line, as UTF-16 without its mark does.",
            expected="a text file in UTF-8, in UTF-16 with its mark, or as data.encoding says",
            todo="try --set data.encoding=utf-16-le, or save it as UTF-8",
        )
    return data


def _arrow_owned(data: bytes) -> pa.Buffer:
    """A copy that Arrow owns.

    Arrow's threads let go of what they have read when nobody waits for them any more. For a buffer
    of Python's they need the interpreter, and where that is just ending, the process is aborted.
    """
    copy = pa.BufferOutputStream()
    copy.write(data)
    return copy.getvalue()


@dataclass(frozen=True)
class _Text:
    """A text file in UTF-8 whose rows begin after some lines, and its columns' names."""

    path: Path
    data: bytes
    delimiter: str
    names: list[str]
    skip: int

    @property
    def quote(self) -> Any:
        """What stands around a field that holds the delimiter, or False."""
        return False if self.delimiter == " " else '"'

    def parsed(self) -> pa.Table:
        """The rows, all of them words."""
        names = self.names
        if not names or len(set(names)) < len(names):
            double = next((n for n in names if names.count(n) > 1), "")
            what = f"has two columns called {double!r}" if double else "names no columns"
            raise DataError(
                f"{self.path} {what}.",
                expected="a header that names each column once",
                todo="rename one of them",
            )
        try:
            table = pv.read_csv(
                pa.BufferReader(_arrow_owned(self.data)),
                read_options=pv.ReadOptions(column_names=names, skip_rows=self.skip),
                parse_options=pv.ParseOptions(
                    delimiter=self.delimiter,
                    quote_char=self.quote,
                    newlines_in_values=bool(self.quote),
                ),
                convert_options=pv.ConvertOptions(
                    column_types=dict.fromkeys(names, _WORD),
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
        except pa.ArrowInvalid as error:
            raise self.bad_row(str(error)) from error
        if not table.num_rows:
            raise DataError(
                f"{self.path} has a header and no rows.",
                expected="one row per picture",
                todo="fetch it again",
            )
        return table

    def bad_row(self, reason: str) -> DataError:
        """Arrow says that a row is bad; look for its line, slowly but surely."""
        names = self.names
        reader = csv.reader(
            io.StringIO(self.data.decode("utf-8"), newline=""),
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
        )
        for _ in range(self.skip):
            next(reader, None)
        start = reader.line_num + 1
        try:
            for cells in reader:
                if cells and len(cells) != len(names):
                    return DataError(
                        f"{self.path}, line {start}: {len(cells)} fields, beginning "
                        f"{' '.join(cells[:3])[:60]!r}.",
                        expected=f"{len(names)} fields: {', '.join(names[:4])}"
                        + (", …" if len(names) > 4 else ""),
                        todo="mend or remove the line; if it is the last one, fetch the file again",
                    )
                start = reader.line_num + 1
        except csv.Error as error:
            reason = str(error)
        return DataError(
            f"Cannot read {self.path}: {reason}",
            expected=f"rows of {len(names)} fields",
            todo="mend the file, or fetch it again",
        )
