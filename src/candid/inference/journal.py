"""What a job has done so far, beside its output: a killed job goes on where it was.

`labels.csv.partial` holds a line that says which job it is, then one line per block of pictures
with their rows, each with a checksum. A line that was torn by a kill or a power cut is cut off; its
pictures are done again. When all is done the lines become the output, whole, and the file goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from candid.errors import OutputError
from candid.inference.rows import Row
from candid.storage.files import writing

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Block:
    """Pictures that were done together: how many, a digest of their names, and their rows."""

    items: int
    names: str
    rows: list[Row]


def names_digest(names: Iterable[str]) -> str:
    """Tells whether the same pictures come in the same order."""
    digest = hashlib.blake2b(digest_size=12)
    for name in names:
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()


class Journal:
    """An open journal; this process is the only one that writes to it."""

    def __init__(self, path: Path, file: BinaryIO, start: int) -> None:
        self.path = path
        self._file = file
        self._start = start  # the first byte after the line that says which job it is

    def blocks(self) -> Iterator[Block]:
        """What was done, in order; what follows the last whole line is cut off."""
        self._file.seek(self._start)
        whole = self._start
        while line := self._file.readline():
            plain = _unsealed(line)
            if plain is None:
                break
            whole += len(line)
            yield Block(plain["items"], plain["names"], plain["rows"])
            self._file.seek(whole)  # whoever asks for the next may have written
        self._file.truncate(whole)
        self._file.seek(whole)

    def add(self, block: Block) -> None:
        """Note what is done now; it survives a kill from here on."""
        plain = {"items": block.items, "names": block.names, "rows": block.rows}
        with writing(self.path):
            self._file.write(_sealed(plain))
            self._file.flush()

    def remove(self) -> None:
        """Forget it: the output is written."""
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_journal(path: Path, job: dict[str, Any], *, replace: bool = False) -> Iterator[Journal]:
    """Open a job's journal, or begin one.

    Parameters
    ----------
    path
        Where it lies.
    job
        All that decides the rows; plain values.
    replace
        Begin anew where the journal there is another job's.

    Raises
    ------
    OutputError
        Where another process writes to it, where it is another job's, or it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    with file:
        if not locked(file.fileno()):
            raise OutputError(
                f"Another process is writing to {path}.",
                expected="one job per output",
                todo="wait for it, or name another place with --out",
            )
        file.seek(0)
        opening = file.readline()
        found = _unsealed(opening) if opening else None
        # A threshold that nothing reaches is infinite, for which JSON has no number but a word.
        told = json.loads(json.dumps(job), parse_constant=str)
        plain = {"format": _FORMAT, "job": told}
        if found is not None and found != plain and not replace:
            raise _other_job(path, found.get("job"), plain["job"])
        with writing(path):
            if found != plain:
                file.truncate(0)
                file.write(_sealed(plain))
                file.flush()
        yield Journal(path, file, len(_sealed(plain)))


def _other_job(path: Path, found: Any, wanted: dict[str, Any]) -> OutputError:
    before = found if isinstance(found, dict) else {}
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


def locked(handle: int) -> bool:
    """Take the file's lock; the system gives it back however this process ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 0, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # a file system without locks: one process at a time is then the user's care
    return True
