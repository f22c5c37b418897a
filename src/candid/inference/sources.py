"""The images that a user names, as one stream: files, folders, globs, tar, Parquet, lists.

Only one folder is listed at a time, so memory does not grow with the number of images. The order
is that of the words on the command line; inside a folder, by name; inside an archive or a table,
its own.
"""

from __future__ import annotations

import glob
import os
import tarfile
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from candid.data.arrays import encode_image, image_name, images_of
from candid.data.layouts.pictures import is_picture
from candid.data.sources import ParquetSource, contains, holds_bytes, read_file
from candid.data.tars import members
from candid.errors import DataError, ImageError, did_you_mean, nearest_names
from candid.storage import filesystem
from candid.storage.files import open_regular, regular

LIST = "-"
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_PARQUET = (".parquet", ".pq")
_MAX_BYTES = 1 << 28  # of an image in an archive
_MAX_DEPTH = 40  # folders in folders; deeper is a cycle of mounts


@dataclass(frozen=True, slots=True)
class Item:
    """One image that is not read yet."""

    # The name of its row: the path as the user wrote it; inside a container, that of the
    # container, a slash, and the member's name or the row's number.
    id: str
    read: Callable[[], bytes]  # returns the encoded bytes, or raises an ImageError
    ordered: bool = False  # whether its container must be read in order, by one thread


def resolve(words: Sequence[str]) -> list[str]:
    """The words with globs expanded; all of them exist.

    Raises DataError where a word names nothing, or the list on standard input is named twice.
    """
    if not words:
        raise DataError(
            "No pictures are named.",
            expected="files, folders, globs, tar or Parquet files, or - for a list on "
            "standard input",
            todo="name some",
        )
    if words.count(LIST) > 1:
        raise DataError(
            "The list on standard input is named twice.",
            expected="- at most once",
            todo="name it once",
        )
    paths: list[str] = []
    for word in words:
        if filesystem.is_url(word):
            names = filesystem.matching_paths(word)
            if not names:
                raise _missing_error(word)
            paths += names
        elif word == LIST or os.path.exists(word):
            paths.append(word)
        elif (
            "\0" not in word and glob.has_magic(word) and (names := glob.glob(word, recursive=True))
        ):
            paths += sorted(names)
        else:
            raise _missing_error(word)
    return paths


def _missing_error(word: str) -> DataError:
    folder, name = os.path.split(word)
    siblings: list[str] = []
    if os.path.isdir(folder or "."):
        with os.scandir(folder or ".") as entries:
            siblings = [entry.name for _, entry in zip(range(5000), entries, strict=False)]
    hint = "" if glob.has_magic(word) else nearest_names(name, siblings)
    return DataError(
        f"There is no {word!r}.",
        expected="a file, a folder, a glob that fits something, a tar or Parquet file, or -",
        todo=hint or "check the path",
    )


def items(
    inputs: Sequence[str], stdin: BinaryIO | None = None, *, column: str = ""
) -> Iterator[Item]:
    """The images that `resolve`'s words name.

    `listed` is standard input, for "-": one path per line, in bytes; a path that does not exist
    becomes an item whose reading fails, because others follow. `column` is that of a Parquet file
    with the images; "": recognised.
    """
    for word in inputs:
        if word != LIST:
            yield from _items_of_path(word, column)
        elif stdin is not None:
            for number, line in enumerate(stdin):
                # A list that Windows wrote begins with a mark that is no part of a name.
                if name := (line if number else line.removeprefix(BOM_UTF8)).rstrip(b"\r\n"):
                    yield from _items_of_path(os.fsdecode(name), column)


def items_of(images: Any) -> Iterator[Item]:
    """Items of paths, as `resolve` and `items` take them, or of images in memory, in order.

    Raises DataError where there are none, or one is neither.
    """
    images_list = images_of(images)
    if not images_list or all(isinstance(image, str | PathLike) for image in images_list):
        return items(resolve([image_name(path, 0) for path in images_list]))
    return (
        Item(printable(image_name(image, number)), partial(encode_image, image))
        for number, image in enumerate(images_list, 1)
    )


def is_container(name: str) -> bool:
    """Whether a file's name ends like that of a tar or Parquet file."""
    return name.lower().endswith((*_TAR, *_PARQUET))


def container_stem(name: str) -> str:
    """A container's name without its ending."""
    lower = name.lower()
    ending = next((e for e in (*_TAR, *_PARQUET) if lower.endswith(e)), "")
    return name[: len(name) - len(ending)]


def container_items(path: str, name: str, column: str = "") -> Iterator[Item]:
    """The images in the tar or Parquet file at `path`, named as if it were at `name`."""
    if name.lower().endswith(_TAR):
        return _tar_items(path, name)
    return _parquet_items(path, name, column)


def _items_of_path(word: str, column: str) -> Iterator[Item]:
    if filesystem.is_url(word):
        yield from _remote_items(word, column)
    elif os.path.isdir(word):
        root = os.path.realpath(word)
        yield from (_file_item(path, root) for path in _walk(word, 0))
    elif is_container(word):
        yield from container_items(word, word, column)
    else:
        yield _file_item(word)


def _remote_items(url: str, column: str) -> Iterator[Item]:
    """The images at a URL: a container is fetched as a whole, images one by one.

    If the store does not answer, one item fails, since others follow.
    """
    with ExitStack() as stack:
        try:
            path = stack.enter_context(filesystem.local_copy(url)) if is_container(url) else None
            names = [url]
            if path is None and filesystem.is_folder(url):
                names = [e.name for e in filesystem.list_files(url) if is_picture(e.name)]
        except DataError as error:
            yield _failing_item(url, error.what)
            return
        if path is not None:
            yield from container_items(str(path), url, column)
            return
    for name in names:
        yield Item(printable(name), partial(_fetch, name))


def _fetch(url: str) -> bytes:
    try:
        with filesystem.local_copy(url) as path:
            return read_file(os.path.realpath(path))
    except DataError as error:
        raise ImageError(error.what) from error


def count_images(inputs: Sequence[str], stdin: BinaryIO | None = None) -> int | None:
    """How many images there are, for a progress bar; None where counting costs too much."""
    total = 0
    for word in inputs:
        compressed = word.lower().endswith(_TAR) and not word.lower().endswith(".tar")
        if filesystem.is_url(word) or (compressed and not os.path.isdir(word)):
            return None  # it would have to be fetched, or decompressed
        if word != LIST:
            total += sum(1 for _ in _items_of_path(word, ""))
        elif stdin is None or not stdin.seekable():
            return None
        else:
            start = stdin.tell()
            total += sum(1 for line in stdin if line.strip())
            stdin.seek(start)
    return total


# --- files ---------------------------------------------------------------------------------------


def _file_item(path: str, root: str = "") -> Item:
    """An image file; in a folder that the user named, links must stay inside.

    `root` is the real path of that folder, if any.
    """

    def read() -> bytes:
        if "\0" in path:
            raise ImageError("the path holds a NUL")
        real = os.path.realpath(path) if os.path.islink(path) else path
        if root and real != path and not contains(root, real):
            raise ImageError("a link that leads out of the folder; its target is not read")
        return read_file(real)

    return Item(printable(path), read)


def _walk(folder: str, depth: int) -> Iterator[str]:
    """The images in a folder, by name, then those in its folders; hidden ones are skipped."""
    folders, pictures = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif is_picture(entry.name):
                    pictures.append(entry.path)
    except OSError as error:
        raise DataError(
            f"Cannot list the folder {folder}: {error.strerror}.",
            expected="folders that this user can read",
            todo="mend its permissions, or name the other folders alone",
        ) from error
    yield from sorted(pictures)
    if depth < _MAX_DEPTH:
        for path in sorted(folders):
            yield from _walk(path, depth + 1)


def printable(name: str) -> str:
    """A name that every format can hold; bytes that are not UTF-8 are written in hexadecimal."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _failing_item(name: str, reason: str) -> Item:
    def read() -> bytes:
        raise ImageError(reason)

    return Item(printable(name), read)


# --- tar -----------------------------------------------------------------------------------------


def _tar_items(path: str, name: str) -> Iterator[Item]:
    """The images in a tar file; one more item fails where the file is damaged or cut short."""
    try:
        file = open_regular(path)
    except OSError as error:
        yield _failing_item(name, f"cannot be opened: {error.strerror}")
        return
    with file:
        try:
            for member in members(file, "r:*", to_the_end=True):
                if is_picture(member.name):
                    read = partial(member.read, _MAX_BYTES)
                    yield Item(printable(f"{name}/{member.name}"), read, ordered=True)
        except tarfile.ReadError as error:
            yield _failing_item(name, str(error))


# --- Parquet -------------------------------------------------------------------------------------

_IMAGE_NAMES = ("image", "img", "picture", "photo", "face", "jpg", "png", "bytes")


def _parquet_items(path: str, name: str, column: str) -> Iterator[Item]:
    try:
        file = pq.ParquetFile(regular(Path(path)))
        n, schema = file.metadata.num_rows, file.schema_arrow
        file.close()
    except (OSError, pa.ArrowException) as error:
        yield _failing_item(name, f"not a Parquet file that can be read ({error})")
        return
    source = ParquetSource(
        [Path(path)], image_column(schema, name, column), np.zeros(n, np.int64), np.arange(n)
    )
    for row in range(n):
        yield Item(printable(f"{name}/{row}"), partial(source.read, row), ordered=True)


def image_column(schema: pa.Schema, path: str, column: str = "") -> str:
    """The column with embedded images: binary, or a struct with the bytes.

    Raises DataError where there is none, or not the one that was named.
    """
    images = [f.name for f in schema if holds_bytes(f.type)]
    preferred = [n for word in _IMAGE_NAMES for n in images if n.lower() == word]
    if column in images or (not column and images):
        return column or (preferred or images)[0]
    problem = f"no column {column!r} of" if column else "no column with"
    raise DataError(
        f"{path} has {problem} embedded pictures (columns: {', '.join(schema.names[:12])}).",
        expected="a column of bytes, or of structs with a field of bytes",
        todo=did_you_mean(column, images)
        if column and images
        else "embed the pictures in the table",
    )
