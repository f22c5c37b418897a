"""Whole files or nothing: written beside their place, then moved into it; and what may be read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from candid.errors import CandidError, OutputError, RunError

# Of every file that a run holds and that has settings, columns or fields. Format 1 had other words
# for some of them; its files need not have a number.
FORMAT = 2


STDOUT = Path("standard output")  # what `writing` calls it


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block ends well.

    The file is flushed to the disk before it is moved, so that a power cut leaves either the old
    file or the new one. An exception inside the block leaves the old file and removes the new one.
    Raises OutputError where the folder cannot be written to or the disk is full.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            with part.open("rb") as done:
                os.fsync(done.fileno())
            part.chmod(0o666 & ~_umask())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path, option: str = "") -> Iterator[None]:
    """Turn the operating system's refusals to write at `path` into an OutputError.

    `option` names another place; "" where the verb may have none.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        reason, (expected, todo) = _REFUSALS[error.errno]
        elsewhere = f", or name another place with {option}" if option else ""
        raise OutputError(
            f"Cannot write {path}: {reason}.", expected=expected, todo=todo + elsewhere
        ) from error


# What was expected, and what to do.
_FULL = ("a disk with enough room", "free some space there")
_CLOSED = ("a place that this user can write to", "let this user write there")
_TAKEN = ("a path on which nothing stands in the way", "move what stands there out of the way")
_REFUSALS = {
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EDQUOT: ("the disk quota is used up", _FULL),
    errno.EFBIG: (
        "the file would be larger than is allowed here",
        ("a place that takes a file of this size", "raise the limit, such as with ulimit -f"),
    ),
    errno.EROFS: (
        "the file system is read-only",
        (_CLOSED[0], "mount it so that it can be written to, or copy what lies there elsewhere"),
    ),
    errno.EACCES: ("permission denied", _CLOSED),
    errno.EPERM: ("operation not permitted", _CLOSED),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", _TAKEN),
    errno.EEXIST: ("a file stands where a folder should go", _TAKEN),
    errno.EISDIR: ("a folder stands where the file should go", _TAKEN),
}


# --- reading -------------------------------------------------------------------------------------

_LARGEST = 1 << 28  # bytes of a file that is read whole


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read: a pipe or a device may never begin or never end.

    Raises OSError where it cannot be opened, or is no regular file.
    """
    # A pipe must not keep the reader waiting for a writer.
    waiting = getattr(os, "O_NONBLOCK", 0)
    file = open(  # noqa: SIM115 - whoever asked closes it
        path, "rb", opener=lambda name, flags: os.open(name, flags | waiting)
    )
    try:
        _check(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def regular(path: str | os.PathLike[str]) -> Path:
    """The path, for a library that opens it itself; errors as of `open_regular`."""
    _check(os.stat(path), path)
    return Path(path)


def _check(about: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def read_bytes(path: Path) -> bytes:
    """All bytes of a regular file of at most 256 MB; errors as of `open_regular`."""
    with open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > _LARGEST:
            raise OSError(errno.EFBIG, f"too large ({size:,} bytes)", os.fspath(path))
        return file.read()


@contextlib.contextmanager
def reading(path: Path, *, expected: str, todo: str) -> Iterator[None]:
    """Turn whatever a reader raises over a run's file at `path` into a RunError.

    A flipped bit can raise anything: zlib's, zipfile's, NumPy's, Arrow's and safetensors' readers
    have errors of their own kinds, and a damaged size asks for more memory than there is.
    """
    try:
        yield
    except CandidError:
        raise
    except FileNotFoundError:
        raise RunError(
            f"There is no {path.name} in {path.parent}.", expected=expected, todo=todo
        ) from None
    except Exception as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise RunError(
            f"{path} is damaged or comes from another version: {reason}.",
            expected=expected,
            todo=todo,
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def copied(source: Path, place: Path) -> None:
    """Copy a file, whole or not at all."""
    with atomic(place) as part:
        shutil.copyfile(source, part)


def file_digest(path: Path) -> str:
    """32 letters that tell a file's bytes from others'."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def plain_name(text: str) -> str:
    """What a file or folder can be called on any system; "" where nothing is left of it."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


def numbered_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """The name, or with the first number from 2 on behind it with which it is not taken."""
    every = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(one for one in every if not is_taken(one))


def as_utf8(text: str) -> bytes:
    r"""The text in UTF-8; bytes of a file's name that are none are written as `\udce9`.

    JSON reads that as what they were.
    """
    return text.encode("utf-8", "backslashreplace")


def write_text(path: Path, text: str) -> None:
    """Write `text` as `as_utf8` has it, whole or not at all."""
    with atomic(path) as part:
        part.write_bytes(as_utf8(text))


def write_json(path: Path, value: Any) -> None:
    """Write plain data as JSON that a person can read; NaN must already be null.

    What holds no lists or dicts stands on one line.
    """
    write_text(path, _lines(value, "\n") + "\n")


def written_by(folder: Path) -> str:
    """The version of Candid that began the run in a folder; empty where unknown."""
    try:
        return str(json.loads(read_bytes(folder / "provenance.json"))["candid"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def check_format(path: Path, found: object) -> None:
    """Raise a RunError where a run's file has another format than this release reads.

    `found` is the number in the file; None where it has none, which is format 1.
    """
    found = 1 if found is None else found
    if found == FORMAT and type(found) is int:
        return
    version = next(filter(None, map(written_by, path.parents[:2])), "")
    release = f"Candid {version}" if version else "another release of Candid"
    raise RunError(
        f"{path} has the format {found!r}, which {release} wrote, and this release reads "
        f"format {FORMAT}.",
        expected=f"a run in format {FORMAT}",
        todo="train again, or use the release that wrote it",
    )


# One for all lines: `json.dumps` would make one for each.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _lines(value: Any, end: str) -> str:
    """`end` is a line's end and the indentation of the line that `value` begins on."""
    parts = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list | tuple) or not any(
        isinstance(part, dict | list | tuple) for part in parts
    ):
        return _ENCODER.encode(value)
    below = end + " "
    if isinstance(value, dict):
        names = (_ENCODER.encode({k: 0})[1:-2] for k in value)
        lines = [f"{n}{_lines(v, below)}" for n, v in zip(names, value.values(), strict=True)]
        return "{" + below + f",{below}".join(lines) + end + "}"
    return "[" + below + f",{below}".join(_lines(v, below) for v in value) + end + "]"
