"""Corrections: a CSV file with one line per decision about an image; the data stay as they are.

===========  ======================================================================================
column       holds
===========  ======================================================================================
`id`         the image
`kind`       the decision: one of `KINDS`
`now`        label: the class. same image, not the same: the other image's id. person: the id of
             another image of the same person; empty: unknown. Else empty.
`was`        the label at the time of the decision, if known
`who`        the author
`when`       the time, in ISO 8601
`seconds`    the duration
`blind`      yes where neither the label nor a model's answer was visible
===========  ======================================================================================

Only `id`, `kind` and `now` are required. Lines are appended and never changed: a later one of the
same person about the same topic replaces an earlier one, and `undo` revokes the last. Lines that
belong together are written all or not at all: a line that begins with a NUL byte, and what follows,
was being written when the process was killed, and does not count.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from candid.errors import DataError, did_you_mean
from candid.storage.files import atomic, read_bytes, writing
from candid.storage.jobs import locked
from candid.tables.delimited import CsvWriter, unescape

Kind = Literal[
    "label", "cannot say", "leave out", "same image", "not the same", "person", "undo"
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

# A decision replaces others of its topic only.
_TOPIC: dict[Kind, str] = {
    "label": "label",
    "cannot say": "label",
    "leave out": "label",
    "same image": "copy",
    "not the same": "copy",
    "person": "person",
}
_ABOUT_PAIRS: tuple[Kind, ...] = ("same image", "not the same")  # which name another image
_NEEDED = ("id", "kind", "now")
_UNFINISHED = b"\0"  # in place of the first byte of lines that belong together, until all are there
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}


@dataclass(frozen=True, slots=True)
class Correction:
    """One decision; the fields are the columns of the file."""

    id: str
    was: str
    now: str
    kind: Kind
    who: str = ""
    when: str = ""
    seconds: float = math.nan
    blind: bool = False

    def cells(self) -> list[str]:
        """The line's cells."""
        seconds = "" if math.isnan(self.seconds) else f"{self.seconds:.3f}"
        blind = "yes" if self.blind else "no"
        return [self.id, self.was, self.now, self.kind, self.who, self.when, seconds, blind]


COLUMNS = tuple(f.name for f in fields(Correction))


# --- the file ------------------------------------------------------------------------------------


def read_corrections(path: Path) -> list[Correction]:
    """The decisions in a file, in its order.

    Raises DataError where it cannot be read or lacks a column, and for an invalid line.
    """
    try:
        text = _drop_unfinished(read_bytes(path)).decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(
            f"Cannot read the corrections in {path}: {error.strerror}.",
            expected=f"a CSV file with the columns {', '.join(COLUMNS)}",
            todo="check the path",
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_header(path, reader.fieldnames)
        return [_read_line(path, reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise _bad_line(path, reader.reader.line_num, str(error)) from error


def _check_header(path: Path, names: Sequence[str] | None) -> None:
    missing = [name for name in _NEEDED if name not in (names or ())]
    if missing:
        raise DataError(
            f"{path} has no column called {missing[0]!r}.",
            expected=f"corrections: {', '.join(COLUMNS)}, in a first line",
            todo="add the column, or name the right file",
        )


def _read_line(path: Path, line: int, row: dict[str, str | None]) -> Correction:
    if None in row or None in row.values():
        raise _bad_line(path, line, "it has more or fewer cells than the first line")
    cell = {name: unescape(row.get(name) or "") for name in COLUMNS}
    kind, seconds, blind = (cell[name].strip() for name in ("kind", "seconds", "blind"))
    if not cell["id"]:
        raise _bad_line(path, line, "it names no image")
    if kind not in KINDS:
        raise _bad_line(path, line, f"its kind is {kind!r} ({did_you_mean(kind, KINDS)})")
    if not cell["now"] and kind in ("label", *_ABOUT_PAIRS):
        raise _bad_line(path, line, f"it is of the kind {kind!r} and does not say what is now")
    if kind != "label" and cell["now"] == cell["id"]:
        raise _bad_line(path, line, "it holds an image against itself")
    try:
        duration = float(seconds) if seconds else math.nan
    except ValueError:
        raise _bad_line(path, line, f"{seconds!r} are no seconds") from None
    if blind.lower() not in _YES:
        raise _bad_line(path, line, f"blind is {blind!r}, not yes or no")
    was, now, who, when = cell["was"], cell["now"], cell["who"], cell["when"]
    return Correction(cell["id"], was, now, kind, who, when, duration, _YES[blind.lower()])


def _bad_line(path: Path, line: int, reason: str) -> DataError:
    return DataError(
        f"{path}, line {line}: {reason}.",
        expected=f"a decision, as {', '.join(COLUMNS)}; kinds: {', '.join(KINDS)}",
        todo="mend the line or remove it",
    )


def write_corrections(path: Path, corrections: Iterable[Correction]) -> None:
    """Write a file of decisions, whole or not at all."""
    with atomic(path) as part:
        part.write_bytes(_lines([COLUMNS, *(c.cells() for c in corrections)]))


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = CsvWriter(text)
    for row in rows:
        writer.row(row)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _drop_unfinished(data: bytes) -> bytes:
    """The data without lines that were being written when the process was killed."""
    end = data.find(b"\n" + _UNFINISHED)
    return data if end < 0 else data[: end + 1]


class CorrectionsLog:
    """A file of decisions that grows; each is on the disk when `add` returns."""

    def __init__(self, path: Path, file: BinaryIO, rows: list[Correction]) -> None:
        self.path, self.rows = path, rows
        self._file = file
        self._torn: int | None = None  # the start of what could not be written completely

    def add(self, *corrections: Correction) -> None:
        """Append decisions, all of them or none, even if the process is killed meanwhile."""
        data, handle = _lines(c.cells() for c in corrections), self._file.fileno()
        with writing(self.path):
            if self._torn is not None:
                os.ftruncate(handle, self._torn)
            self._torn = self._file.seek(0, os.SEEK_END)
            try:
                if len(corrections) > 1:
                    self._append_atomically(data, self._torn)
                else:
                    self._append(data)
            except OSError:
                with contextlib.suppress(OSError):  # if not, the next call tries again
                    os.ftruncate(handle, self._torn)
                raise
            self._torn = None
        self.rows.extend(corrections)

    def _append(self, data: bytes) -> None:
        handle = self._file.fileno()
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)

    def _append_atomically(self, data: bytes, start: int) -> None:
        """Append several lines without their first byte, which a second write adds."""
        self._append(_UNFINISHED + data[1:])
        with self.path.open("r+b", buffering=0) as file:
            file.seek(start)
            file.write(data[:1])
            os.fsync(file.fileno())


_HEADER = _lines([COLUMNS])


def _check_is_log(path: Path, data: bytes) -> None:
    """Raise DataError where a file holds no decisions; a torn first line is allowed."""
    if not _HEADER.startswith(data) and data.splitlines()[0] != _HEADER.strip():
        raise DataError(
            f"{path} has other columns, or has them in another order.",
            expected=",".join(COLUMNS),
            todo="name another file with --out; candid corrections merge joins the two",
        )


def _split_whole_lines(data: bytes) -> tuple[bytes, bytes]:
    """The complete lines, and a last decision that lacks only its line end."""
    complete = _drop_unfinished(data)
    end = complete.rfind(b"\n") + 1
    lines, rest = complete[:end], complete[end:]
    try:
        (cells,) = csv.reader([rest.decode("utf-8")], strict=True)
        _read_line(Path(), 0, dict(zip(COLUMNS, cells, strict=True)))
    except (ValueError, csv.Error, DataError):
        return lines, b""
    return lines, rest


@contextlib.contextmanager
def open_log(path: Path) -> Iterator[CorrectionsLog]:
    """Open the file at `path`, new or existing, while no other process writes to it.

    A last line that was torn by a power cut is removed, and so are lines that belong together of
    which one is missing. Raises OutputError where another process writes to it, or it cannot be
    written; DataError, and leaves the file as it is, where it holds no corrections.
    """
    todo = "close the other page, or name another file with --out"
    options = {"expected": "one page per file", "todo": todo, "option": "--out"}
    with locked(path, output=str(path), **options) as file:
        file.seek(0)
        data = file.read()
        _check_is_log(path, data)
        lines, rest = _split_whole_lines(data)
        with writing(path):
            if len(lines) + len(rest) < len(data):
                file.truncate(len(lines) + len(rest))
            missing = b"\n" if rest else b"" if lines else _HEADER
            if missing:
                file.write(missing)
                file.flush()
        yield CorrectionsLog(path, file, read_corrections(path))


# --- valid decisions -----------------------------------------------------------------------------


def active_corrections(corrections: Iterable[Correction]) -> list[Correction]:
    """The decisions that were not undone, in their order."""
    active: dict[int, Correction] = {}
    by_author: dict[tuple[str, str], list[int]] = {}
    for number, correction in enumerate(corrections):
        own_numbers = by_author.setdefault((correction.id, correction.who), [])
        if correction.kind != "undo":
            own_numbers.append(number)
            active[number] = correction
        elif own_numbers:
            del active[own_numbers.pop()]
    return list(active.values())


@dataclass(frozen=True)
class Consensus:
    """The outcome, by image: the last decision of each person, and the majority of persons."""

    label: dict[str, str]  # image → its class, changed or not
    left_out: frozenset[str]
    copy_of: dict[str, str]  # copy → the image to keep
    person: dict[str, str]  # image → another image of the same person; "" unknown
    disputed: tuple[str, ...]  # images with a tie: left as they are
    who: dict[tuple[str, Kind], tuple[str, ...]]  # (image, decision) → who decided so


def tally(corrections: Iterable[Correction]) -> Consensus:
    """Count the votes; "cannot say" is none."""
    last: dict[tuple[str, str], dict[str, Correction]] = {}
    for c in active_corrections(corrections):
        last.setdefault((c.id, _TOPIC[c.kind]), {})[c.who] = c
    decisions: dict[Kind, dict[str, str]] = {kind: {} for kind in KINDS}
    disputed: list[str] = []
    who: dict[tuple[str, Kind], tuple[str, ...]] = {}
    for (name, _), votes in last.items():
        counts = Counter((c.kind, c.now) for c in votes.values() if c.kind != "cannot say")
        top = counts.most_common(2)
        if len(top) == 2 and top[0][1] == top[1][1]:
            disputed.append(name)
        elif top:
            kind, now = top[0][0]
            decisions[kind][name] = now
            who[name, kind] = tuple(w for w, c in votes.items() if (c.kind, c.now) == (kind, now))
    return Consensus(
        label=decisions["label"],
        left_out=frozenset(decisions["leave out"]),
        copy_of=decisions["same image"],
        person=decisions["person"],
        disputed=tuple(dict.fromkeys(disputed)),
        who=who,
    )


def words_by_image(corrections: Iterable[Correction]) -> dict[str, str]:
    """Image → its class, "cannot say" or "leave out", by the last decision."""
    labels = (c for c in active_corrections(corrections) if _TOPIC[c.kind] == "label")
    return {c.id: c.now if c.kind == "label" else c.kind for c in labels}


def merged(first: Iterable[Correction], second: Iterable[Correction]) -> list[Correction]:
    """The decisions of two files in the order of their times, without duplicates."""
    unique = {tuple(c.cells()): c for c in (*first, *second)}
    return sorted(unique.values(), key=lambda c: c.when)
