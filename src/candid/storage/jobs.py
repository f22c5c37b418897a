"""Jobs that can be stopped at any moment and resumed.

A job is a dict of plain values that determine its output. Its finished parts, each complete or
absent, are labelled with the job's description or digest; one process at a time writes them.
Starting the same job again does only what is missing, and two jobs are never mixed. The parts are
lines of a `PartsJournal` where they are small or come in order (packed pixels,
`candid.data.packing`; rows of a table, `candid.inference.label_file`), and files in a folder or on
a store where they are made independently (shards, `candid.inference.parts`). A search of settings
keeps its trials in Optuna's storage instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from candid.errors import OutputError
from candid.storage.files import writing
from candid.storage.locks import try_lock

_FORMAT = 2

Job = dict[str, Any]  # all values that determine the output


def plain_job(job: Job) -> Job:
    """The job after a round trip through JSON; infinity and NaN become words."""
    plain: Job = json.loads(json.dumps(job, default=str), parse_constant=str)
    return plain


def job_digest(job: Job) -> str:
    """A digest of a job."""
    text = json.dumps(job, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def locked(
    path: Path, *, output: str, expected: str, todo: str, option: str = ""
) -> Iterator[BinaryIO]:
    """Open the file at `path` to read and to append, locked against other processes.

    Raises OutputError where another process writes to `output`, or it cannot be written; `option`
    is the option to name another place.
    """
    with writing(Path(output), option):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    try:
        if not _lock(file.fileno()):
            raise OutputError(
                f"Another process is writing to {output}.", expected=expected, todo=todo
            )
        yield file
    finally:
        with writing(Path(output)):  # closing writes again what a full disk did not take
            file.close()


def _lock(handle: int) -> bool:
    try:
        return try_lock(handle)
    except OSError:
        return True  # a file system without locks: the user must run one process at a time


# --- parts as lines of one file ------------------------------------------------------------------


class PartsJournal:
    """A job's parts in one file beside its output, which only this process writes.

    The first line describes the job; each further one holds a part's values, all with a checksum. A
    line that was torn by a kill or a power cut is removed, and its part done again.
    """

    def __init__(self, path: Path, file: BinaryIO, start: int) -> None:
        self.path = path
        self._file = file
        self._start = start  # the first byte after the first line

    def parts(self) -> Iterator[dict[str, Any]]:
        """The finished parts, in order; what follows the last complete line is removed."""
        self._file.seek(self._start)
        end = self._start
        while line := self._file.readline():
            plain = _unseal(line)
            if plain is None:
                break
            end += len(line)
            yield plain
            self._file.seek(end)  # the caller may have written meanwhile
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, part: dict[str, Any]) -> None:
        """Append a part; it survives a kill from here on."""
        with writing(self.path):
            self._file.write(_seal(part))
            self._file.flush()

    def remove(self) -> None:
        """Remove the file, once the output is written."""
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_journal(path: Path, job: Job, *, replace: bool = False) -> Iterator[PartsJournal]:
    """Open a job's journal, or begin one; `replace`: even over another job's.

    Raises OutputError where another process writes to it, where it is another job's, or it cannot
    be written.
    """
    todo = "wait for it, or name another place with --out"
    with locked(path, output=str(path), expected="one job per output", todo=todo) as file:
        file.seek(0)
        first_line = file.readline()
        existing = _unseal(first_line) if first_line else None
        header = {"format": _FORMAT, "job": plain_job(job)}
        if existing is not None and existing != header and not replace:
            raise _other_job_error(path, existing, header)
        if existing != header:
            with writing(path):
                file.truncate(0)
                file.write(_seal(header))
                file.flush()
        yield PartsJournal(path, file, len(_seal(header)))


def _other_job_error(path: Path, existing: dict[str, Any], header: dict[str, Any]) -> OutputError:
    previous = existing.get("job", {}) | {"format": existing.get("format")}
    current = header["job"] | {"format": _FORMAT}
    changed = sorted(k for k in current | previous if current.get(k) != previous.get(k))
    return OutputError(
        f"{path} holds the beginning of another job (it differs in: {', '.join(changed)}).",
        expected="the same run, pictures and options as when it was stopped",
        todo="give the same command to go on, --force to begin anew, or name another --out",
    )


def _seal(plain: dict[str, Any]) -> bytes:
    text = json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _unseal(line: bytes) -> dict[str, Any] | None:
    """The line's value; None where it was torn."""
    seal, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or seal != b"%08x" % zlib.crc32(text):
        return None
    plain: dict[str, Any] = json.loads(text)
    return plain
