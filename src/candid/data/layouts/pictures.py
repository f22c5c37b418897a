"""Finding the images in a folder, and matching them with a label file's names."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from candid.data.encoded import PHONE_SUFFIXES
from candid.errors import DataError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm"),
    *PHONE_SUFFIXES,
)
_DEPTH = 12  # folders in folders; deeper is a mistake
_SAMPLE = 200  # names tried to find the folder that they are relative to


@dataclass(eq=False)
class ImageFiles:
    """The images below one folder, by path with forward slashes, in sorted order."""

    root: Path
    paths: list[str] = field(default_factory=list)  # whose real path is inside the folder
    # Links to images or folders outside of it, which are not read.
    outside: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # other files

    def sort(self) -> ImageFiles:
        """Sort all names."""
        for names in (self.paths, self.outside, self.others):
            names.sort()
        return self

    def reject_outside(self) -> None:
        """Raise a DataError where a link among the images leaves the folder."""
        if self.outside:
            raise _outside_error(f"The link {self.outside[0]!r}", self.root)

    def locate(
        self, names: Sequence[str], file: str, *, anywhere: bool = False
    ) -> list[str | None]:
        """The path of the image for each name, None where there is none.

        Names in the label file `file` may be relative to the folder or to one folder in it,
        absolute but inside it, with back slashes, or without a suffix; with `anywhere` they may
        leave it by .. or an absolute path, but not by a link. Raises DataError with the row (from
        1) where a name leaves the folder and may not.
        """
        existing = set(self.paths)
        outside = set(self.outside)
        outside_folders = _OutsideFolders(self.root)
        matches: list[str | None] = []
        unmatched: list[tuple[int, str]] = []
        for row, name in enumerate(names):
            if name in existing:
                matches.append(name)
                continue
            inside = self.inside(name)
            if inside is None and anywhere:
                matches.append(outside_folders.find(name))
                continue
            if inside is None or not outside.isdisjoint(_ancestry(inside)):
                raise _outside_error(f"Row {row + 1} of {file} names {name!r}, which", self.root)
            matches.append(inside if inside in existing else None)
            if matches[-1] is None:
                unmatched.append((row, inside))
        if unmatched:
            self._match_in_folders(unmatched, matches, existing, outside, file)
        return matches

    def inside(self, name: str) -> str | None:
        """A name as a path inside the folder, or None where it leaves it."""
        path = name.strip().replace("\\", "/")
        if posixpath.isabs(path) or path[1:3] == ":/":
            for root in (os.path.abspath(self.root), os.path.realpath(self.root)):
                if path.startswith(root.rstrip("/") + "/"):
                    path = path[len(root.rstrip("/")) + 1 :]
                    break
            else:
                return None
        path = posixpath.normpath(path)
        return None if path == ".." or path.startswith("../") or "\0" in path else path

    def find_ignoring_case(self, name: str) -> str | None:
        """An image in any folder with the name in other case; None where there is none."""
        base = posixpath.basename(name.strip().replace("\\", "/")).casefold()
        matches = (path for path in self.paths if posixpath.basename(path).casefold() == base)
        return next((path for path in matches if posixpath.basename(path) != name), None)

    def _match_in_folders(
        self,
        unmatched: list[tuple[int, str]],
        matches: list[str | None],
        existing: set[str],
        outside: set[str],
        file: str,
    ) -> None:
        """Try unmatched names relative to a subfolder, and with a suffix."""
        by_stem = _without_suffix(self.paths)

        def find(path: str) -> str | None:
            return path if path in existing else by_stem.get(path)

        sample = [name for _, name in unmatched[:_SAMPLE]]
        folder = max(
            self._folders(),
            key=lambda f: sum(find(posixpath.join(f, n)) is not None for n in sample),
        )
        for row, name in unmatched:
            path = posixpath.join(folder, name)
            if not outside.isdisjoint(_ancestry(path)):
                raise _outside_error(f"Row {row + 1} of {file} names {name!r}, which", self.root)
            matches[row] = find(path) or find(name)

    def _folders(self) -> list[str]:
        """The root, as "", and every folder above an image or a link, the shallowest first."""
        folders = {""}
        for path in (*self.paths, *self.outside):
            while (path := posixpath.dirname(path)) and path not in folders:
                folders.add(path)
        return sorted(folders, key=lambda f: (f.count("/") + bool(f), f))[:1000]


class _OutsideFolders:
    """Images outside a table's folder; each of their folders is listed once."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._files: dict[str, dict[str, str]] = {}
        self._names: dict[str, str] = {}

    def find(self, name: str) -> str | None:
        """The normalized name with its suffix; of several for one image, the first."""
        path = posixpath.normpath(name.strip().replace("\\", "/"))
        folder, base = posixpath.split(path)
        real = os.path.normpath(os.path.join(self._root, folder))
        if real not in self._files:
            names = [f.name for f in files_in(Path(real), *SUFFIXES)]
            self._files[real] = _without_suffix(names) | dict(zip(names, names, strict=True))
        base = self._files[real].get(base, "")
        return self._names.setdefault(f"{real}/{base}", f"{folder}/{base}") if base else None


def _without_suffix(paths: Iterable[str]) -> dict[str, str]:
    """Paths by their stems, but for stems that still have an image's suffix."""
    by_stem: dict[str, str] = {}
    for path in paths:
        stem = posixpath.splitext(path)[0]
        if not is_picture(stem):
            by_stem.setdefault(stem, path)
    return by_stem


def scan(root: Path) -> ImageFiles:
    """Find the images below a folder, without hidden ones.

    Raises DataError where a folder cannot be listed.
    """
    images = ImageFiles(root)
    _scan(os.fspath(root), "", os.path.realpath(root), images, 0)
    return images.sort()


def scan_named(root: Path, names: Iterable[str]) -> ImageFiles:
    """Find the images in the folders of the names, relative to `root`; as `scan`."""
    images = ImageFiles(root)
    real_root = os.path.realpath(root)
    folders = {posixpath.dirname(inside) for name in names if (inside := images.inside(name))}
    for folder in folders:
        path = os.path.join(real_root, folder)
        real = os.path.realpath(path)
        if not f"{real}/".startswith(real_root.rstrip("/") + "/"):
            images.outside.append(folder)
        elif os.path.isdir(real):
            _scan(path, f"{folder}/" if folder else "", real_root, images, _DEPTH)
    return images.sort()


def _scan(folder: str, prefix: str, real_root: str, images: ImageFiles, depth: int) -> None:
    inner = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if _is_hidden(name):
                    continue
                if not _is_text(name):  # Parquet could not hold it
                    images.others.append(prefix + ascii(name))
                    continue
                if entry.is_symlink():
                    real = os.path.realpath(entry.path)
                    if not real.startswith(real_root.rstrip("/") + "/"):
                        if real != real_root and (entry.is_dir() or is_picture(name)):
                            images.outside.append(prefix + name)
                        continue
                    if f"{os.path.realpath(folder)}/".startswith(f"{real}/"):
                        continue  # a link to a folder above it
                if entry.is_dir():
                    inner.append(name)
                elif is_picture(name):
                    images.paths.append(prefix + name)
                else:
                    images.others.append(prefix + name)
    except OSError as error:
        raise DataError(
            f"Cannot list the folder {folder}: {error.strerror}.",
            expected="folders that this user can read",
            todo="mend its permissions",
        ) from error
    if depth < _DEPTH:
        for name in inner:
            _scan(f"{folder}/{name}", f"{prefix}{name}/", real_root, images, depth + 1)


def _is_text(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= c <= "\udfff" for c in name)


def is_picture(name: str) -> bool:
    """Whether a file's name has an image's suffix."""
    return name.lower().endswith(SUFFIXES)


def glance(folder: Path, most: int = 200, depth: int = 2) -> list[str]:
    """The names of some images in a folder or just below, without listing everything."""
    return list(islice(_glance(os.fspath(folder), depth), most))


def _glance(folder: str, depth: int) -> Iterator[str]:
    inner = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_hidden(entry.name):
                    continue
                if entry.is_dir():
                    inner.append(entry.path)
                elif is_picture(entry.name):
                    yield entry.name
    except OSError:
        return
    if depth:
        for path in sorted(inner):
            yield from islice(_glance(path, depth - 1), 50)


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted, without hidden ones; [] where unreadable."""
    return _list(folder, lambda entry: entry.is_dir())


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """The files directly in a folder with the suffixes (any case), sorted, without hidden ones."""
    return _list(folder, lambda e: e.name.lower().endswith(suffixes) and not e.is_dir())


def _list(folder: Path, matches: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not _is_hidden(e.name) and matches(e))
    except OSError:
        return []
    return [folder / name for name in names]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _ancestry(path: str) -> Iterator[str]:
    while path and path != "/":
        yield path
        path = posixpath.dirname(path)


def _outside_error(subject: str, root: Path) -> DataError:
    return DataError(
        f"{subject} leaves the data folder {root}.",
        expected="pictures inside the data folder",
        todo="name the folder that holds them all, or the pictures' own with --image-folder",
    )
