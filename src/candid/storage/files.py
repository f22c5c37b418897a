"""Atomic writing, and reading of regular files."""

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

# Of every file of a run with settings, columns or fields. Format 1 had other names for some of
# them; its files may lack the number.
FORMAT = 2

STDOUT = Path("standard output")  # its name in the errors of `writing`


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
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.chmod(0o666 & ~_umask())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path, option: str = "") -> Iterator[None]:
    """Turn the operating system's refusals to write at `path` into an OutputError.

    `option` is the option to name another place; "" where there is none.
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
_DENIED = ("a place that this user can write to", "let this user write there")
_OCCUPIED = ("a path on which nothing stands in the way", "move what stands there out of the way")
_REFUSALS = {
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EDQUOT: ("the disk quota is used up", _FULL),
    errno.EFBIG: (
        "the file would be larger than is allowed here",
        ("a place that takes a file of this size", "raise the limit, such as with ulimit -f"),
    ),
    errno.EROFS: (
        "the file system is read-only",
        (_DENIED[0], "mount it so that it can be written to, or copy what lies there elsewhere"),
    ),
    errno.EACCES: ("permission denied", _DENIED),
    errno.EPERM: ("operation not permitted", _DENIED),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", _OCCUPIED),
    errno.EEXIST: ("a file stands where a folder should go", _OCCUPIED),
    errno.EISDIR: ("a folder stands where the file should go", _OCCUPIED),
}


# --- reading -------------------------------------------------------------------------------------

_LARGEST = 1 << 28  # bytes of a file that is read into memory


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read; a pipe or a device might block or never end.

    Raises OSError where it cannot be opened, or is no regular file.
    """
    # Opening a pipe must not wait for a writer.
    nonblocking = getattr(os, "O_NONBLOCK", 0)
    file = open(  # noqa: SIM115 - the caller closes it
        path, "rb", opener=lambda name, flags: os.open(name, flags | nonblocking)
    )
    try:
        _require_regular(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def regular(path: str | os.PathLike[str]) -> Path:
    """The path, for a library that opens it itself; errors as of `open_regular`."""
    _require_regular(os.stat(path), path)
    return Path(path)


def _require_regular(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def read_bytes(path: Path) -> bytes:
    """All bytes of a regular file of at most 256 MB; errors as of `open_regular`."""
    with open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > _LARGEST:
            raise OSError(errno.EFBIG, f"too large ({size:,} bytes)", os.fspath(path))
        return file.read()


@contextlib.contextmanager
def reading(path: Path, *, expected: str, todo: str) -> Iterator[None]:
    """Turn any error of reading a run's file at `path` into a RunError.

    A flipped bit can raise anything: zlib, zipfile, NumPy, Arrow and safetensors have errors of
    their own, and a damaged size asks for more memory than there is.
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


def copy_file(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    with atomic(target) as part:
        shutil.copyfile(source, part)


def file_digest(path: Path) -> str:
    """A digest of a file's bytes, 32 letters."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def plain_name(text: str) -> str:
    """The text as a file name for any system; "" where nothing is left."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


def numbered_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """The name, with the first free number from 2 on appended if it is taken."""
    candidates = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if not is_taken(candidate))


def as_utf8(text: str) -> bytes:
    r"""The text in UTF-8; bytes of a file name that are no text become `\udce9`."""
    return text.encode("utf-8", "backslashreplace")


def write_text(path: Path, text: str) -> None:
    """Write `text` as of `as_utf8`, atomically."""
    with atomic(path) as part:
        part.write_bytes(as_utf8(text))


def write_json(path: Path, value: Any) -> None:
    """Write plain data as readable JSON; NaN must already be null.

    A list or dict without inner ones is written on one line.
    """
    write_text(path, _lines(value, "\n") + "\n")


def written_by(folder: Path) -> str:
    """The version of Candid that began the run in a folder; "" unknown."""
    try:
        return str(json.loads(read_bytes(folder / "provenance.json"))["candid"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def check_format(path: Path, file_format: object) -> None:
    """Raise a RunError where a run's file has another format than this release reads.

    `file_format` is the number in the file; None where it has none, which is format 1.
    """
    file_format = 1 if file_format is None else file_format
    if file_format == FORMAT and type(file_format) is int:
        return
    version = next(filter(None, map(written_by, path.parents[:2])), "")
    release = f"Candid {version}" if version else "another release of Candid"
    raise RunError(
        f"{path} has the format {file_format!r}, which {release} wrote, and this release reads "
        f"format {FORMAT}.",
        expected=f"a run in format {FORMAT}",
        todo="train again, or use the release that wrote it",
    )


# Shared, because `json.dumps` would build one for each line.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _lines(value: Any, end: str) -> str:
    """Encode `value`; `end` is a line feed and the indentation of its first line."""
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
