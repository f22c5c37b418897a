"""Files on this machine and on object stores, by one name: a path, or a URL that fsspec knows.

`s3://bucket/shards`, `gs://…`, `memory://…` need fsspec (the extra `cloud`) and its package for
that store; paths and `file://…` need nothing. What lies far away is fetched whole before it is
read, so that a connection that breaks is never taken for a file that is cut short.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from candid.errors import CandidError, DataError, DependencyError, OutputError
from candid.files import atomic, writing

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # one letter would be a drive
_FILE = "file://"
# What the stores' listings call a digest of a file, or when it was written.
_MARKS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "updated", "created")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its name as whoever named its folder would write it, and its state.

    Attributes
    ----------
    name
        A path or a URL.
    size
        In bytes.
    stamp
        Changes when the file does: its size, with when it was written or the store's digest.
    """

    name: str
    size: int
    stamp: str


def is_url(name: str) -> bool:
    """Whether it is a URL, of whatever store."""
    return _URL.match(name) is not None


def local(name: str) -> Path | None:
    """The path on this machine; None where it lies on an object store."""
    if name.startswith(_FILE):
        return Path(unquote(name.removeprefix(_FILE)))
    return None if is_url(name) else Path(name)


def name_of(path: Path) -> str:
    """The name that a path was made from: `Path` writes the URL `s3://bucket` as `s3:/bucket`."""
    scheme, colon, rest = os.fspath(path).partition(":/")
    if colon and _URL.match(f"{scheme}://") and not os.path.lexists(path):
        return f"{scheme}://{rest.lstrip('/')}"
    return os.fspath(path)


def is_there(name: str) -> bool:
    """Whether there is a file or folder of that name.

    Raises
    ------
    DependencyError, DataError
        Where the store cannot be reached.
    """
    path = local(name)
    if path is not None:
        return path.exists()
    fs, inside = _store(name)
    with _reading(name):
        return bool(fs.exists(inside))


def join(folder: str, name: str) -> str:
    """The name of a file in a folder."""
    return f"{folder.rstrip('/') or '/'}/{name}" if folder != "/" else f"/{name}"


def found(word: str) -> list[str]:
    """What a word names: itself where it is there, or what a glob fits, sorted; else nothing.

    Raises
    ------
    DependencyError, DataError
        Where the store cannot be reached.
    """
    path = local(word)
    if path is not None:
        if os.path.exists(path):
            return [word]
        magic = "\0" not in word and glob.has_magic(word)
        return sorted(glob.glob(os.fspath(path), recursive=True)) if magic else []
    fs, inside = _store(word)
    with _reading(word):
        if fs.exists(inside):
            return [word]
        if not glob.has_magic(word):
            return []
        scheme = word.partition("://")[0]
        return sorted(f"{scheme}://{str(name).lstrip('/')}" for name in fs.glob(inside))


def is_folder(name: str) -> bool:
    """Whether it is a folder, or the beginning of names on a store."""
    path = local(name)
    if path is not None:
        return path.is_dir()
    fs, inside = _store(name)
    with _reading(name):
        return bool(fs.isdir(inside))


def entry(name: str) -> Entry:
    """One file's state.

    Raises
    ------
    DataError
        Where it is not there.
    """
    path = local(name)
    with _reading(name):
        if path is not None:
            about = path.stat()
            return Entry(name, about.st_size, f"{about.st_size} {about.st_mtime_ns}")
        fs, inside = _store(name)
        return _entry(name, fs.info(inside))


def below(folder: str) -> list[Entry]:
    """All files in a folder and its folders, by name; hidden ones are passed over.

    Raises
    ------
    DataError
        Where it cannot be listed.
    """
    path = local(folder)
    if path is not None:
        with _reading(folder):
            return sorted(_walk(folder, path), key=lambda e: e.name)
    fs, inside = _store(folder)
    with _reading(folder):
        listed: dict[str, Any] = fs.find(inside, detail=True)
    root = inside.strip("/")
    entries = []
    for name, about in listed.items():
        rest = str(name).strip("/").removeprefix(root).strip("/")
        if not any(part.startswith(".") for part in rest.split("/")):
            entries.append(_entry(join(folder, rest), about))
    return sorted(entries, key=lambda e: e.name)


def _walk(folder: str, path: Path) -> Iterator[Entry]:
    def refuse(error: OSError) -> None:
        raise error

    for here, folders, files in os.walk(path, onerror=refuse):
        folders[:] = [f for f in folders if not f.startswith(".")]
        inner = os.path.relpath(here, path)
        for file in files:
            if not file.startswith("."):
                yield entry(join(folder, file if inner == "." else f"{inner}/{file}"))


def _entry(name: str, about: dict[str, Any]) -> Entry:
    size = int(about.get("size") or 0)
    mark = next((about[key] for key in _MARKS if about.get(key)), "")
    return Entry(name, size, f"{size} {mark}")


# --- reading and writing -------------------------------------------------------------------------


@contextlib.contextmanager
def near(name: str) -> Iterator[Path]:
    """The file as a path on this machine: its own, or that of a copy while the block runs.

    Raises
    ------
    DataError
        Where it cannot be read or fetched.
    """
    path = local(name)
    if path is not None:
        with _reading(name), path.open("rb"):
            pass
        yield path
        return
    fs, inside = _store(name)
    with tempfile.TemporaryDirectory(prefix="candid-") as folder:
        copy = Path(folder) / (inside.rpartition("/")[2] or "file")
        with writing(copy), _reading(name):
            fs.get_file(inside, os.fspath(copy))
        yield copy


@contextlib.contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """The file, to read a little of it wherever it lies."""
    path = local(name)
    with contextlib.ExitStack() as stack:
        with _reading(name):
            file: Any
            if path is not None:
                file = stack.enter_context(path.open("rb"))
            else:
                fs, inside = _store(name)
                file = stack.enter_context(fs.open(inside, "rb"))
        yield file


def part_of(url: str, start: int, size: int) -> bytes:
    """Bytes of a file on a store; fewer at its end.

    Raises
    ------
    DataError
        Where they cannot be fetched.
    """
    fs, inside = _store(url)
    with _reading(url):
        return bytes(fs.cat_file(inside, start=start, end=start + size))


@contextlib.contextmanager
def written(name: str) -> Iterator[Path]:
    """A path to write to; where the block ends well, the file appears under its name, whole.

    On this machine it is moved into place, to a store it is put: both happen or do not.

    Raises
    ------
    OutputError
        Where the place cannot be written to.
    """
    path = local(name)
    if path is not None:
        with atomic(path) as part:
            yield part
        return
    fs, inside = _store(name)
    with tempfile.TemporaryDirectory(prefix="candid-") as folder:
        part = Path(folder) / "file"
        with writing(part):
            yield part
        try:
            fs.put_file(os.fspath(part), inside)
        except Exception as error:  # every store's package has errors of its own
            raise OutputError(
                f"Cannot write {name}: {_told(error)}.",
                expected="a place on an object store that these credentials may write to",
                todo="check the name and the credentials, or name another place with --out",
            ) from error


def remove(name: str) -> None:
    """Take a file away, where it is there.

    Raises
    ------
    OutputError
        Where it cannot be.
    """
    path = local(name)
    if path is not None:
        with writing(path):
            path.unlink(missing_ok=True)
        return
    fs, inside = _store(name)
    try:
        fs.rm_file(inside)
    except FileNotFoundError:
        return
    except Exception as error:  # as above
        raise OutputError(
            f"Cannot remove {name}: {_told(error)}.",
            expected="a place on an object store that these credentials may write to",
            todo="remove it by hand",
        ) from error


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except CandidError:
        raise
    except ImportError as error:
        raise _needs(name, error) from error
    except Exception as error:  # as above
        raise DataError(
            f"Cannot read {name}: {_told(error)}.",
            expected="a file or folder that is there and may be read",
            todo="check the name, and the credentials where it lies on an object store",
        ) from error


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _store(url: str) -> tuple[Any, str]:
    """The store's file system, and the name inside it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise _needs(url, error) from error
    opener: Callable[[str], tuple[Any, str]] = url_to_fs
    try:
        fs, inside = opener(url)
    except ImportError as error:
        raise _needs(url, error) from error
    except Exception as error:  # an unknown store, or credentials that are no credentials
        raise DataError(
            f"Cannot reach {url}: {_told(error)}.",
            expected="a path, or a URL of a store that fsspec knows: s3://, gs://, abfs://, …",
            todo="check the URL",
        ) from error
    return fs, str(inside)


def _needs(url: str, error: ImportError) -> DependencyError:
    return DependencyError(
        f"{url} needs a library that is not installed: {_told(error)}.",
        expected="fsspec (the extra 'cloud'), and its package for this store",
        todo="pip install 'candid[cloud]' with s3fs for s3://, gcsfs for gs://, adlfs for abfs://",
    )
