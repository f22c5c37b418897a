"""Which pictures lie in a folder, and which of them a label file's names mean."""

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
_SAMPLE = 200  # names tried when looking for the folder that they are relative to


@dataclass(eq=False)
class Pictures:
    """The pictures below one folder, by path with forward slashes, in sorted order."""

    root: Path
    paths: list[str] = field(default_factory=list)  # whose real place is inside the folder
    # Links, to pictures or folders, that lead out of it; nothing there is read.
    outside: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # files that are no pictures

    def sort(self) -> Pictures:
        """All in order."""
        for names in (self.paths, self.outside, self.others):
            names.sort()
        return self

    def refuse_outside(self) -> None:
        """Raise a DataError where a link among the pictures leaves the folder."""
        if self.outside:
            raise _leaves(f"The link {self.outside[0]!r}", self.root)

    def locate(
        self, names: Sequence[str], where: str, *, anywhere: bool = False
    ) -> list[str | None]:
        """The path of the picture that each name means, None where there is none.

        Names, as written in a label file that is called `where`, may be relative to the folder or
        to one folder in it, absolute but inside it, with back slashes, or without a suffix; with
        `anywhere` they may lead out of it, by .. or an absolute path, which a link may not. Raises
        DataError where a name leads out of the folder and may not; the row (the first is 1) is
        named.
        """
        known = set(self.paths)
        outside = set(self.outside)
        elsewhere = _Elsewhere(self.root)
        found: list[str | None] = []
        missed: list[tuple[int, str]] = []
        for row, name in enumerate(names):
            if name in known:
                found.append(name)
                continue
            inside = self.inside(name)
            if inside is None and anywhere:
                found.append(elsewhere.find(name))
                continue
            if inside is None or not outside.isdisjoint(_ancestry(inside)):
                raise _leaves(f"Row {row + 1} of {where} names {name!r}, which", self.root)
            found.append(inside if inside in known else None)
            if found[-1] is None:
                missed.append((row, inside))
        if missed:
            self._look_deeper(missed, found, known, outside, where)
        return found

    def inside(self, name: str) -> str | None:
        """A name as a path inside the folder, or None where it leads out of it."""
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

    def in_other_letters(self, name: str) -> str | None:
        """The picture that a name means but for large and small letters; None where there is none.

        In whatever folder it lies.
        """
        wanted = posixpath.basename(name.strip().replace("\\", "/")).casefold()
        named = (path for path in self.paths if posixpath.basename(path).casefold() == wanted)
        return next((path for path in named if posixpath.basename(path) != name), None)

    def _look_deeper(
        self,
        missed: list[tuple[int, str]],
        found: list[str | None],
        known: set[str],
        outside: set[str],
        where: str,
    ) -> None:
        """Try the missed names relative to a folder in the folder, and with a suffix."""
        without = _without_suffix(self.paths)

        def look(path: str) -> str | None:
            return path if path in known else without.get(path)

        sample = [name for _, name in missed[:_SAMPLE]]
        best = max(
            self._folders(),
            key=lambda f: sum(look(posixpath.join(f, n)) is not None for n in sample),
        )
        for row, name in missed:
            path = posixpath.join(best, name)
            if not outside.isdisjoint(_ancestry(path)):
                raise _leaves(f"Row {row + 1} of {where} names {name!r}, which", self.root)
            found[row] = look(path) or look(name)

    def _folders(self) -> list[str]:
        """The root, as "", and every folder above a picture or a link, the shallowest first."""
        folders = {""}
        for path in (*self.paths, *self.outside):
            while (path := posixpath.dirname(path)) and path not in folders:
                folders.add(path)
        return sorted(folders, key=lambda f: (f.count("/") + bool(f), f))[:1000]


class _Elsewhere:
    """Pictures that a table names outside its folder; each of their folders is listed once."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._listed: dict[str, dict[str, str]] = {}
        self._names: dict[str, str] = {}

    def find(self, name: str) -> str | None:
        """The name, normal and with its suffix, by which its picture was first called."""
        path = posixpath.normpath(name.strip().replace("\\", "/"))
        folder, base = posixpath.split(path)
        place = os.path.normpath(os.path.join(self._root, folder))
        if place not in self._listed:
            there = [f.name for f in files_in(Path(place), *SUFFIXES)]
            self._listed[place] = _without_suffix(there) | dict(zip(there, there, strict=True))
        base = self._listed[place].get(base, "")
        return self._names.setdefault(f"{place}/{base}", f"{folder}/{base}") if base else None


def _without_suffix(paths: Iterable[str]) -> dict[str, str]:
    """Each path by itself without its suffix; what still ends like a picture was no suffix."""
    found: dict[str, str] = {}
    for path in paths:
        stem = posixpath.splitext(path)[0]
        if not is_picture(stem):
            found.setdefault(stem, path)
    return found


def scan(root: Path) -> Pictures:
    """Find the pictures below a folder; names that start with a dot are passed over.

    Raises DataError where a folder cannot be listed.
    """
    pictures = Pictures(root)
    _scan(os.fspath(root), "", os.path.realpath(root), pictures, 0)
    return pictures.sort()


def scan_named(root: Path, names: Iterable[str]) -> Pictures:
    """Find the pictures in those folders alone that names relative to `root` lead to; as `scan`."""
    pictures = Pictures(root)
    real_root = os.path.realpath(root)
    folders = {posixpath.dirname(inside) for name in names if (inside := pictures.inside(name))}
    for folder in folders:
        place = os.path.join(real_root, folder)
        real = os.path.realpath(place)
        if not f"{real}/".startswith(real_root.rstrip("/") + "/"):
            pictures.outside.append(folder)
        elif os.path.isdir(real):
            _scan(place, f"{folder}/" if folder else "", real_root, pictures, _DEPTH)
    return pictures.sort()


def _scan(folder: str, prefix: str, real_root: str, pictures: Pictures, depth: int) -> None:
    inner = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if _is_hidden(name):
                    continue
                if not _is_text(name):  # no table of results could hold it
                    pictures.others.append(prefix + ascii(name))
                    continue
                if entry.is_symlink():
                    real = os.path.realpath(entry.path)
                    if not real.startswith(real_root.rstrip("/") + "/"):
                        if real != real_root and (entry.is_dir() or is_picture(name)):
                            pictures.outside.append(prefix + name)
                        continue
                    if f"{os.path.realpath(folder)}/".startswith(f"{real}/"):
                        continue  # a link to a folder that it stands in
                if entry.is_dir():
                    inner.append(name)
                elif is_picture(name):
                    pictures.paths.append(prefix + name)
                else:
                    pictures.others.append(prefix + name)
    except OSError as error:
        raise DataError(
            f"Cannot list the folder {folder}: {error.strerror}.",
            expected="folders that this user can read",
            todo="mend its permissions",
        ) from error
    if depth < _DEPTH:
        for name in inner:
            _scan(f"{folder}/{name}", f"{prefix}{name}/", real_root, pictures, depth + 1)


def _is_text(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= c <= "\udfff" for c in name)


def is_picture(name: str) -> bool:
    """Whether a file's name ends like a picture's."""
    return name.lower().endswith(SUFFIXES)


def glance(folder: Path, most: int = 200, depth: int = 2) -> list[str]:
    """The names of some pictures in a folder or just below, without listing everything."""
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
    """The folders directly in a folder, sorted; hidden ones and those out of reach passed over."""
    return _listed(folder, lambda entry: entry.is_dir())


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """The files directly in a folder whose names end so (any case), sorted; hidden ones not."""
    return _listed(folder, lambda e: e.name.lower().endswith(suffixes) and not e.is_dir())


def _listed(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not _is_hidden(e.name) and wanted(e))
    except OSError:
        return []
    return [folder / name for name in names]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _ancestry(path: str) -> Iterator[str]:
    while path and path != "/":
        yield path
        path = posixpath.dirname(path)


def _leaves(what: str, root: Path) -> DataError:
    return DataError(
        f"{what} leaves the data folder {root}.",
        expected="pictures inside the data folder",
        todo="name the folder that holds them all, or the pictures' own with --image-folder",
    )
