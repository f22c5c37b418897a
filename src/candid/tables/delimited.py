"""CSV, TSV, JSON lines, Parquet and CelebA's text files as tables; errors name the bad line.

In CSV tables that Candid writes, cells that a spreadsheet would take for a formula begin with an
apostrophe (OWASP, "CSV injection"); reading removes it.
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
from candid.tables.spreadsheet import convert_decimal_commas

_WORD = pa.dictionary(pa.int32(), pa.string())
_FORMULA = r"^'*[=+\-@\t\r]"  # with apostrophes, so that escaping can be undone
_ESCAPED = r"^'('*[=+\-@\t\r])"
_NUMBER = r"[+-]?\d+(\.\d+)?"

# What `candid predict` writes beside the probabilities.
_ADDED = frozenset(("prediction", "abstained", "reason", "error"))
_ADDED_OF_FACES = frozenset(("face", "box_left", "box_top", "box_width", "box_height", "box_score"))


def candid_columns(names: Iterable[str]) -> frozenset[str]:
    """The columns that `candid predict` added to a table, if it wrote it."""
    existing = frozenset(names)
    return existing & (_ADDED | _ADDED_OF_FACES) if existing >= _ADDED else frozenset()


class CsvWriter:
    """Rows of plain values as CSV, with lines that end in a line feed.

    Text that a spreadsheet would take for a formula begins with an apostrophe; numbers do not.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        # With this end of lines, it quotes a carriage return in a name, too.
        self._csv = csv.writer(self, lineterminator="\r\n")

    def write(self, line: str) -> None:
        """Write a line that `csv` made."""
        self._file.write(line.removesuffix("\r\n") + "\n")

    def row(self, values: Iterable[Any]) -> None:
        """Add a row."""
        self._csv.writerow([v if type(v) is float else _cell(v) for v in values])


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return _escape(value)
    return str(value).lower() if isinstance(value, bool) else value


@functools.lru_cache(4096)  # a table's classes come again and again
def _escape(text: str) -> str:
    return f"'{text}" if re.match(_FORMULA, text) and not re.fullmatch(_NUMBER, text) else text


def unescape(text: str) -> str:
    """The text of a cell that `CsvWriter` escaped."""
    return re.sub(_ESCAPED, r"\1", text)


def _unescape_table(table: pa.Table) -> pa.Table:
    for i, name in enumerate(table.column_names):
        words = pc.replace_substring_regex(table[name].cast(pa.string()), _ESCAPED, "\\1")
        table = table.set_column(i, name, words.dictionary_encode())
    return table


_PARQUET = (".parquet", ".pq")
_JSON_LINES = ".jsonl"


def read_table(file: Path, encoding: str = "") -> pa.Table:
    """Read a CSV, TSV, JSON lines or Parquet file, by its suffix.

    `encoding` is that of a text file without a byte order mark; empty: UTF-8. Raises DataError
    where it cannot be read.
    """
    name = file.name.lower()
    if name.endswith(_JSON_LINES):
        return _read_json_lines(file, encoding)
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


def read_column_names(file: Path, encoding: str = "") -> list[str]:
    """The names of a table's columns; [] where it cannot be read."""
    try:
        if file.name.lower().endswith(_PARQUET):
            return list(pq.read_schema(file).names)
        if file.name.lower().endswith(_JSON_LINES):
            first = json.loads(next(iter(first_lines(file, 1, encoding)), ""))
            return [*flatten(first)] if isinstance(first, dict) else []
        return read_header(file, encoding)
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException):
        return []


def read_delimited(path: Path, encoding: str = "") -> pa.Table:
    """A CSV or TSV file as a table of words; its delimiter is the commonest one in its header.

    Raises DataError where it is missing, empty, not in its encoding (see `read_table`), has a row
    that is too short or too long, or a column twice.
    """
    data = _read_utf8(path, encoding)
    header = data.split(b"\n", 1)[0].decode("utf-8").rstrip("\r")
    try:
        delimiter, names = _split_header(header)
    except csv.Error as error:
        raise DataError(
            f"{path}, line 1: {error}.",
            expected="a header that names each column once",
            todo="mend the line, or save the table again as CSV",
        ) from error
    # An unnamed column, such as an index, is named by its number.
    names = [name or f"column {i}" for i, name in enumerate(names, start=1)]
    table = _TextTable(path, data, delimiter, names, 1).parse()
    if delimiter != ",":
        table = convert_decimal_commas(table)
    return _unescape_table(table) if candid_columns(names) else table


def _split_header(line: str) -> tuple[str, list[str]]:
    """A first line's commonest delimiter, and the names between."""
    delimiter = max("\t,;|", key=line.count)
    return delimiter, [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]


def read_spaced(path: Path, names: list[str], *, skip: int) -> pa.Table:
    """A text file with columns separated by any number of spaces, as a table of words.

    `names` are the columns', `skip` is the number of lines before the first row.
    """
    data = _read_utf8(path).replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    data = data.replace(b" \r\n", b"\n").replace(b"\r\n", b"\n").replace(b" \n", b"\n")
    data = data.replace(b"\n ", b"\n").strip(b" ")
    return _TextTable(path, data, " ", names, skip).parse()


def read_tabbed(path: Path, names: list[str], *, skip: int) -> pa.Table:
    """A text file with columns separated by single tabs; see `read_spaced`."""
    return _TextTable(path, _read_utf8(path), "\t", names, skip).parse()


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A JSON object without nesting: inner values are called `outer.inner`."""
    row: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        row |= flatten(inner, f"{name}.") if isinstance(inner, dict) else {name: inner}
    return row


def to_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows as a table; a column of mixed types becomes words."""
    names = dict.fromkeys(name for row in rows for name in row)
    table: dict[str, pa.Array] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        name = _to_str(name)
        try:
            table[name] = pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeError):
            table[name] = pa.array([None if v is None else _to_str(v) for v in values], pa.string())
    return pa.table(table)


def _to_str(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode()  # JSON may hold half a character


def _read_json_lines(path: Path, encoding: str) -> pa.Table:
    rows = []
    for number, line in enumerate(_read_utf8(path, encoding).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("it is no object")
            rows.append(flatten(row))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number}: {error}.",
                expected='one JSON object per line, such as {"file_name": "1.jpg", "label": "cat"}',
                todo="mend or remove the line; if it is the last one, fetch the file again",
            ) from error
    return to_table(rows)


def first_lines(path: Path, most: int, encoding: str = "") -> list[str]:
    """The first lines of a text file without their ends; [] where it cannot be read."""
    try:
        with open_regular(path) as file:
            data = file.read(1 << 16)
    except OSError:
        return []
    return data.decode(_choose_encoding(data, encoding), "replace").splitlines()[:most]


def read_header(path: Path, encoding: str = "") -> list[str]:
    """The column names in a CSV or TSV file's first line; [] where it cannot be read."""
    lines = first_lines(path, 1, encoding)
    return _split_header(lines[0])[1] if lines else []


def _choose_encoding(data: bytes, encoding: str) -> str:
    """The encoding of a text: by its byte order mark, or else as named."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig" if data.startswith(codecs.BOM_UTF8) or not encoding else encoding


def _read_utf8(path: Path, encoding: str = "") -> bytes:
    """A text file in UTF-8, without a byte order mark, its lines ending in line feeds."""
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror}.",
            expected="a label file that this user can read",
            todo="check its name and its permissions",
        ) from error
    codec = _choose_encoding(data, encoding)
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


def _copy_to_arrow(data: bytes) -> pa.Buffer:
    """A copy that Arrow owns.

    Arrow's threads may free what they have read when the interpreter is ending already; freeing a
    buffer of Python's would then abort the process.
    """
    copy = pa.BufferOutputStream()
    copy.write(data)
    return copy.getvalue()


@dataclass(frozen=True)
class _TextTable:
    """A text file in UTF-8, the names of its columns, and the lines before its first row."""

    path: Path
    data: bytes
    delimiter: str
    names: list[str]
    skip: int

    @property
    def quote(self) -> Any:
        """The quote of fields that hold the delimiter, or False."""
        return False if self.delimiter == " " else '"'

    def parse(self) -> pa.Table:
        """Parse all fields as words."""
        names = self.names
        if not names or len(set(names)) < len(names):
            repeated = next((n for n in names if names.count(n) > 1), "")
            problem = f"has two columns called {repeated!r}" if repeated else "names no columns"
            raise DataError(
                f"{self.path} {problem}.",
                expected="a header that names each column once",
                todo="rename one of them",
            )
        try:
            table = pv.read_csv(
                pa.BufferReader(_copy_to_arrow(self.data)),
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
            raise self.find_bad_row(str(error)) from error
        if not table.num_rows:
            raise DataError(
                f"{self.path} has a header and no rows.",
                expected="one row per picture",
                todo="fetch it again",
            )
        return table

    def find_bad_row(self, reason: str) -> DataError:
        """The error for the first bad row, searched line by line."""
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
