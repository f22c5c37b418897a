"""Jobs that can be stopped at any moment and go on: what is the same for all of them.

A job is plain values: all that decides what comes out. What is done lies in parts, each whole or
not there, which know by the job's description or its digest what they belong to; one process at a
time writes to them. So whoever starts the same job again does only what is missing, and another job
is not mixed with it. The parts are lines of a `PartsJournal` where they are small or come in order
(packed pixels, `candid.data.packing`; rows of a table, `candid.inference.label_file`), and files in
a folder or on a store where they are made apart (shards, `candid.inference.parts`). A search of
settings has no parts of this kind: Optuna's storage keeps its trials for several processes.
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

Job = dict[str, Any]  # all that decides what comes out


def plain_job(job: Job) -> Job:
    """The job as JSON gives it back; numbers for which JSON has none become words."""
    plain: Job = json.loads(json.dumps(job, default=str), parse_constant=str)
    return plain


def job_digest(job: Job) -> str:
    """A digest of a job."""
    text = json.dumps(job, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def alone(
    path: Path, *, output: str, expected: str, todo: str, option: str = ""
) -> Iterator[BinaryIO]:
    """The file at `path`, open to read and to append, while no other process has it so.

    Raises OutputError where another process writes to `output`, or it cannot be written; `option`
    names another place.
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
        with writing(Path(output)):  # what a full disk did not take is tried again
            file.close()


def _lock(handle: int) -> bool:
    try:
        return try_lock(handle)
    except OSError:
        return True  # a file system without locks: one process at a time is then the user's care


# --- parts as lines of one file ------------------------------------------------------------------


class PartsJournal:
    """A job's parts beside its output, in one file; of this process alone.

    One line says which job it is; one more per part holds its values, each with a checksum. A line
    that was torn by a kill or a power cut is cut off, and its part done again.
    """

    def __init__(self, path: Path, file: BinaryIO, start: int) -> None:
        self.path = path
        self._file = file
        self._start = start  # the first byte after the line that says which job it is

    def parts(self) -> Iterator[dict[str, Any]]:
        """What was done, in order; what follows the last whole line is cut off."""
        self._file.seek(self._start)
        whole = self._start
        while line := self._file.readline():
            plain = _unsealed(line)
            if plain is None:
                break
            whole += len(line)
            yield plain
            self._file.seek(whole)  # whoever asks for the next may have written
        self._file.truncate(whole)
        self._file.seek(whole)

    def add(self, part: dict[str, Any]) -> None:
        """Note what is done now; it survives a kill from here on."""
        with writing(self.path):
            self._file.write(_sealed(part))
            self._file.flush()

    def remove(self) -> None:
        """Forget it: the output is written."""
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_journal(path: Path, job: Job, *, replace: bool = False) -> Iterator[PartsJournal]:
    """Open a job's journal, or begin one; `replace`: also where that of another job is there.

    Raises OutputError where another process writes to it, where it is another job's, or it cannot
    be written.
    """
    todo = "wait for it, or name another place with --out"
    with alone(path, output=str(path), expected="one job per output", todo=todo) as file:
        file.seek(0)
        opening = file.readline()
        found = _unsealed(opening) if opening else None
        wanted = plain_job(job)
        plain = {"format": _FORMAT, "job": wanted}
        if found is not None and found != plain and not replace:
            raise _other_job(path, found, wanted)
        if found != plain:
            with writing(path):
                file.truncate(0)
                file.write(_sealed(plain))
                file.flush()
        yield PartsJournal(path, file, len(_sealed(plain)))


def _other_job(path: Path, found: dict[str, Any], wanted: Job) -> OutputError:
    before = found.get("job", {}) | {"format": found.get("format")}
    wanted = wanted | {"format": _FORMAT}
    changed = sorted(k for k in wanted | before if wanted.get(k) != before.get(k))
    return OutputError(
        f"{path} holds the beginning of another job (it differs in: {', '.join(changed)}).",
        expected="the same run, pictures and options as when it was stopped",
        todo="give the same command to go on, --force to begin anew, or name another --out",
    )


def _sealed(plain: dict[str, Any]) -> bytes:
    text = json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _unsealed(line: bytes) -> dict[str, Any] | None:
    """The line's value; None where it was torn."""
    seal, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or seal != b"%08x" % zlib.crc32(text):
        return None
    plain: dict[str, Any] = json.loads(text)
    return plain
