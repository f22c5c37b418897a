"""Files on this machine and on object stores, by name: a path, or a URL that fsspec knows.

`s3://bucket/shards`, `gs://…`, `memory://…` need fsspec (the extra `cloud`) and its package for
that store; paths and `file://…` need nothing. Remote files are fetched whole, or in ranges of known
length, so that a broken connection is never taken for a truncated file.

Reading raises DataError, writing and removing OutputError, and a store without its library
DependencyError, whatever the store's own package raises.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from candid.errors import CandidError, DataError, DependencyError, OutputError
from candid.storage.files import atomic, open_regular, writing

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # one letter would be a drive
_FILE = "file://"
RANGE = 8 << 20  # bytes fetched from a store at a time
_PAUSES = (0.5, 2.0)  # seconds before another attempt
# The stores' names for a file's digest, or the time when it was written.
_STAMPS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "updated", "created")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file's name and state."""

    name: str  # a path or a URL
    size: int  # in bytes
    stamp: str  # changes with the file: size, and the time of writing or the store's digest


def is_url(name: str) -> bool:
    """Whether it is a URL."""
    return _URL.match(name) is not None


def local_path(name: str) -> Path | None:
    """The path on this machine; None for a file on an object store."""
    if name.startswith(_FILE):
        return Path(unquote(name.removeprefix(_FILE)))
    return None if is_url(name) else Path(name)


def name_of(path: Path) -> str:
    """The name that a path was made from: `Path` writes the URL `s3://bucket` as `s3:/bucket`."""
    scheme, colon, rest = os.fspath(path).partition(":/")
    if colon and _URL.match(f"{scheme}://") and not os.path.lexists(path):
        return f"{scheme}://{rest.lstrip('/')}"
    return os.fspath(path)


def join(folder: str, name: str) -> str:
    """The name of a file in a folder."""
    return f"{folder.rstrip('/') or '/'}/{name}" if folder != "/" else f"/{name}"


def matching_paths(word: str) -> list[str]:
    """The name itself if it exists, else the sorted matches of a glob pattern."""
    path = local_path(word)
    if path is not None:
        if os.path.exists(path):
            return [word]
        magic = "\0" not in word and glob.has_magic(word)
        return sorted(glob.glob(os.fspath(path), recursive=True)) if magic else []
    fs, inside = _open_store(word)
    with _reading(word):
        if fs.exists(inside):
            return [word]
        if not glob.has_magic(word):
            return []
        scheme = word.partition("://")[0]
        return sorted(f"{scheme}://{str(name).lstrip('/')}" for name in fs.glob(inside))


def is_folder(name: str) -> bool:
    """Whether it is a folder, or a prefix on a store."""
    path = local_path(name)
    if path is not None:
        return path.is_dir()
    fs, inside = _open_store(name)
    with _reading(name):
        return bool(fs.isdir(inside))


def entry(name: str) -> Entry:
    """A file's state."""
    path = local_path(name)
    with _reading(name):
        if path is not None:
            status = path.stat()
            return Entry(name, status.st_size, f"{status.st_size} {status.st_mtime_ns}")
        fs, inside = _open_store(name)
        return _to_entry(name, fs.info(inside))


def list_files(folder: str) -> list[Entry]:
    """All files in a folder and its subfolders, sorted by name, without hidden ones."""
    path = local_path(folder)
    if path is not None:
        with _reading(folder):
            return sorted(_walk(folder, path), key=lambda e: e.name)
    fs, inside = _open_store(folder)
    with _reading(folder):
        infos: dict[str, Any] = fs.find(inside, detail=True)
    root = inside.strip("/")
    entries = []
    for name, info in infos.items():
        rest = str(name).strip("/").removeprefix(root).strip("/")
        if not any(part.startswith(".") for part in rest.split("/")):
            entries.append(_to_entry(join(folder, rest), info))
    return sorted(entries, key=lambda e: e.name)


def _walk(folder: str, path: Path) -> Iterator[Entry]:
    def fail(error: OSError) -> None:
        raise error

    for current, folders, files in os.walk(path, onerror=fail):
        folders[:] = [f for f in folders if not f.startswith(".")]
        inner = os.path.relpath(current, path)
        for file in files:
            if not file.startswith("."):
                yield entry(join(folder, file if inner == "." else f"{inner}/{file}"))


def _to_entry(name: str, info: dict[str, Any]) -> Entry:
    size = int(info.get("size") or 0)
    version = next((info[key] for key in _STAMPS if info.get(key)), "")
    return Entry(name, size, f"{size} {version}")


# --- reading and writing -------------------------------------------------------------------------


@contextlib.contextmanager
def local_copy(name: str) -> Iterator[Path]:
    """The file as a path on this machine: its own, or a copy's while the block runs."""
    path = local_path(name)
    if path is not None:
        with _reading(name), open_regular(path):
            pass
        yield path
        return
    fs, inside = _open_store(name)
    with tempfile.TemporaryDirectory(prefix="candid-") as folder:
        copy = Path(folder) / (inside.rpartition("/")[2] or "file")
        with writing(copy), _reading(name):
            fs.get_file(inside, os.fspath(copy))
        yield copy


@contextlib.contextmanager
def open_file(name: str) -> Iterator[BinaryIO]:
    """Open the file to read parts of it."""
    path = local_path(name)
    with contextlib.ExitStack() as stack:
        with _reading(name):
            raw: BinaryIO = (
                io.BufferedReader(RangeFile(name), RANGE) if path is None else open_regular(path)
            )
            file = stack.enter_context(raw)
        yield file


def read_range(url: str, start: int, size: int) -> bytes:
    """Bytes of a file on a store; fewer at its end. Failures are retried."""
    fs, inside = _open_store(url)
    with _reading(url):
        for pause in _PAUSES:
            try:
                return bytes(fs.cat_file(inside, start=start, end=start + size))
            except (FileNotFoundError, PermissionError):
                raise
            except Exception:  # each store's package has its own error for a broken connection
                time.sleep(pause)
        return bytes(fs.cat_file(inside, start=start, end=start + size))


class RangeFile(io.RawIOBase):
    """A file on a store, read in ranges."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.size, self._place = url, entry(url).size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As for any file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = base + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """As for any file."""
        rest = max(0, self.size - self._place)
        size = min(rest, len(buffer))
        data = read_range(self.url, self._place, size) if size else b""
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


@contextlib.contextmanager
def atomic_write(name: str) -> Iterator[Path]:
    """A path to write to; when the block ends well, the file appears under its name, atomically."""
    path = local_path(name)
    if path is not None:
        with atomic(path) as part:
            yield part
        return
    fs, inside = _open_store(name)
    with tempfile.TemporaryDirectory(prefix="candid-") as folder:
        part = Path(folder) / "file"
        with writing(part, "$TMPDIR"):
            yield part
        elsewhere = "check the name and the credentials, or name another place with --out"
        with _writing("write", name, elsewhere):
            fs.put_file(os.fspath(part), inside)


def remove(name: str) -> None:
    """Remove a file, if it exists."""
    path = local_path(name)
    if path is not None:
        with writing(path):
            path.unlink(missing_ok=True)
        return
    fs, inside = _open_store(name)
    with _writing("remove", name, "remove it by hand"), contextlib.suppress(FileNotFoundError):
        fs.rm_file(inside)


def _reading(name: str) -> contextlib.AbstractContextManager[None]:
    expected = "a file or folder that is there and may be read"
    todo = "check the name, and the credentials where it lies on an object store"
    return _translate_errors(DataError, "read", name, expected, todo)


def _writing(verb: str, name: str, todo: str) -> contextlib.AbstractContextManager[None]:
    expected = "a place on an object store that these credentials may write to"
    return _translate_errors(OutputError, verb, name, expected, todo)


@contextlib.contextmanager
def _translate_errors(
    kind: type[CandidError], verb: str, name: str, expected: str, todo: str
) -> Iterator[None]:
    """Turn errors of a disk or a store into Candid's: each store's package has its own."""
    try:
        yield
    except CandidError:
        raise
    except ImportError as error:
        raise DependencyError(
            f"{name} needs a library that is not installed: {_describe(error)}.",
            expected="fsspec (the extra 'cloud'), and its package for this store",
            todo="pip install 'candid-faces[cloud]' with s3fs for s3://, gcsfs for gs://, adlfs "
            "for abfs://, aiohttp and requests for https://",
        ) from error
    except Exception as error:
        message = f"Cannot {verb} {name}: {_describe(error)}."
        raise kind(message, expected=expected, todo=todo) from error


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _open_store(url: str) -> tuple[Any, str]:
    """The store's file system, and the file's name in it."""
    expected = "a path, or a URL of a store that fsspec knows: s3://, gs://, abfs://, …"
    # For an unknown store, or invalid credentials.
    with _translate_errors(DataError, "reach", url, expected, "check the URL"):
        from fsspec.core import url_to_fs

        opener: Callable[[str], tuple[Any, str]] = url_to_fs
        fs, inside = opener(url)
    return fs, str(inside)
