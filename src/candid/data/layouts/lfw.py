"""LFW: a folder of images per person, and a table of attributes.

G. B. Huang, M. Ramesh, T. Berg and E. Learned-Miller, "Labeled Faces in the Wild", Technical Report
07-49, University of Massachusetts, 2007. The attributes are the scores of N. Kumar, A. C. Berg,
P. N. Belhumeur and S. K. Nayar, "Attribute and Simile Classifiers for Face Verification", ICCV
2009: a machine's, not a person's; their sign says yes or no.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa

import candid.tables.columns as columns
from candid.data.dataset import Dataset
from candid.data.layouts.assembly import LayoutRows, assemble, choose_label, file_source, unmatched
from candid.data.layouts.pictures import SUFFIXES, files_in, folders_in, scan
from candid.errors import DataError, LayoutError
from candid.settings import DataConfig
from candid.storage.files import read_bytes
from candid.tables.attributes import Attribute
from candid.tables.delimited import first_lines, read_delimited, read_header, read_tabbed

_Face = tuple[str, int]  # a person and the number of the image

_SCORES = "lfw_attributes.txt"
_PERSON = ("person", "name", "identity", "person_name", "subject")
_NUMBER = ("imagenum", "image_num", "image_number", "number")
_NOT_LABELS = frozenset((*_PERSON, *_NUMBER, "images", "image", "column 1", "id"))
_LISTS = {"Male": "male_names.txt", "Female": "female_names.txt"}
_PICTURE = re.compile(r"(.+)_(\d{4})\.\w+")


def recognise_lfw(path: Path) -> bool:
    """Whether LFW's attribute file lies here, or folders named as the people in their images."""
    return (path / _SCORES).is_file() or any(_holds_people(f) for f in (path, *_lfw_folders(path)))


def read_lfw(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read LFW; the label is Male (or gender) unless another attribute is named.

    The split is by person. Attributes come from `lfw_attributes.txt`, or else from
    `male_names.txt` and `female_names.txt`, or else from a CSV file with a person in each row.
    """
    images = scan(path)
    images.reject_outside()
    matches = ((p, _PICTURE.fullmatch(p.rpartition("/")[2])) for p in images.paths)
    faces = {(m[1], int(m[2])): p for p, m in matches if m}
    if not faces:
        raise LayoutError(
            f"No picture in {path} is named as LFW names them.",
            expected="pictures such as Aaron_Eckhart/Aaron_Eckhart_0001.jpg",
            todo="name the folder that holds them, or another layout with --layout",
        )
    keys, attributes, file = _read_annotations(path, faces, target)
    rows = np.array([i for i, key in enumerate(keys) if key in faces], dtype=np.intp)
    paths = [faces[keys[i]] for i in rows]
    if not paths:
        raise DataError(
            f"{file} describes none of the {len(faces):,} pictures in {path}.",
            expected="the same people and numbers in both",
            todo="fetch it again",
        )
    attributes = {name: attribute[rows] for name, attribute in attributes.items()}
    missing = [f"{person} {number}" for person, number in keys if (person, number) not in faces]
    unused = sorted(set(images.paths).difference(paths))
    return assemble(
        path,
        "lfw",
        LayoutRows(
            ids=paths,
            person=[keys[i][0] for i in rows],
            **choose_label(attributes, target, ("Male", "gender", "sex"), config.numbers),
        ),
        file_source(path, paths),
        config,
        unmatched(missing, len(keys), unused, len(images.paths)),
    )


def _lfw_folders(path: Path) -> list[Path]:
    """Folders such as lfw/ and lfw-deepfunneled/lfw-deepfunneled/, for the people's folders."""
    inner = [f for f in folders_in(path) if f.name.lower().startswith("lfw")]
    return inner + [f for i in inner for f in folders_in(i) if f.name.lower().startswith("lfw")]


def _holds_people(folder: Path) -> bool:
    """Whether the first folders hold images that are named after their folder."""
    people = folders_in(folder)[:5]
    matches = [_PICTURE.fullmatch(f.name) for p in people for f in files_in(p, *SUFFIXES)[:1]]
    return bool(matches) and all(
        m is not None and m[1] == p.name for m, p in zip(matches, people, strict=False)
    )


def _read_annotations(
    path: Path, faces: Iterable[_Face], target: str | None
) -> tuple[list[_Face], dict[str, Attribute], str]:
    """The annotated images, their attributes, and the name of the file."""
    folders = (path, *_lfw_folders(path))
    for folder in folders:
        if (file := folder / _SCORES).is_file():
            return *_read_scores(file), file.name
    for folder in folders:
        if all((folder / name).is_file() for name in _LISTS.values()):
            return *_read_lists(folder, faces), " and ".join(_LISTS.values())
    tables = [f for folder in folders for f in files_in(folder, ".csv") if _describes(f, target)]
    if len(tables) == 1:
        return *_read_people(tables[0], faces), tables[0].name
    n_tables = f"{len(tables)} tables" if tables else "no table"
    raise LayoutError(
        f"{path} holds people's pictures, and {n_tables} of their attributes.",
        expected=f"{_SCORES}; or {' and '.join(_LISTS.values())}; or one CSV file with a person "
        "and, for example, a gender in each row",
        todo="put one of them there",
    )


def _read_scores(file: Path) -> tuple[list[_Face], dict[str, Attribute]]:
    """Scores per image, separated by tabs; the last comment line names the columns."""
    comments = list(takewhile(lambda line: line.startswith("#"), first_lines(file, 10)))
    names = comments[-1].lstrip("#").strip().split("\t") if comments else []
    if names[:2] != ["person", "imagenum"]:
        raise DataError(
            f"{file} does not begin as LFW's attribute file does.",
            expected="a line '#', person, imagenum and the attributes' names, separated by tabs",
            todo="fetch it again",
        )
    table = read_tabbed(file, names, skip=len(comments))
    keys = _keys(table, "person", "imagenum", file)
    attributes = {}
    for name in names[2:]:
        try:
            scores = table[name].cast(pa.string()).cast(pa.float64())
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{file} has a score of {name} that is no number: {error}",
                expected="a number in every row",
                todo="mend the row, or fetch the file again",
            ) from error
        score = scores.fill_null(math.nan).to_numpy()
        code = np.select([score > 0, score < 0], [1, 0], -1).astype(np.int16)
        attributes[name] = Attribute(name, "binary", columns.NO_YES, code)
    return keys, attributes


def _read_lists(folder: Path, faces: Iterable[_Face]) -> tuple[list[_Face], dict[str, Attribute]]:
    """Two lists of images (Aaron_Eckhart_0001.jpg) or of people (Aaron_Eckhart)."""
    numbers = _group_numbers(faces)
    keys: list[_Face] = []
    code: list[int] = []
    for value, (_, name) in enumerate(sorted(_LISTS.items())):
        for line in read_bytes(folder / name).decode().split("\n"):
            word = line.strip().replace(" ", "_")
            match = _PICTURE.fullmatch(word)
            if match:
                keys.append((match[1], int(match[2])))
            elif word:
                keys += [(word, n) for n in numbers.get(word, [0])]
            code += [value] * (len(keys) - len(code))
    values = tuple(sorted(_LISTS))
    data = np.array(code, dtype=np.int16)
    return keys, {"gender": Attribute("gender", "categorical", values, data)}


def _read_people(file: Path, faces: Iterable[_Face]) -> tuple[list[_Face], dict[str, Attribute]]:
    """A CSV file with a row per person, or per image if it has their numbers."""
    table = read_delimited(file)
    person = next(n for n in table.column_names if n.lower() in _PERSON)
    number = next((n for n in table.column_names if n.lower() in _NUMBER), None)
    if number:
        keys, rows = _keys(table, person, number, file), list(range(table.num_rows))
    else:
        numbers = _group_numbers(faces)
        names = [(w or "").replace(" ", "_") for w in columns.to_words(table[person])]
        pairs = [(i, (n, k)) for i, n in enumerate(names) for k in numbers.get(n, [0])]
        keys, rows = [key for _, key in pairs], [i for i, _ in pairs]
    table = table.take(pa.array(rows, pa.int64()))
    parsed = {
        n: columns.read_column(n, table[n])
        for n in table.column_names
        if n.lower() not in _NOT_LABELS
    }
    return keys, {n: a for n, a in parsed.items() if not isinstance(a, str)}


def _describes(file: Path, target: str | None) -> bool:
    """Whether a CSV file has a column of persons, and the target."""
    names = read_header(file)
    labels = [n for n in names if n.lower() not in _NOT_LABELS]
    has_person = any(n.lower() in _PERSON for n in names)
    return has_person and (target in labels if target else bool(labels))


def _keys(table: pa.Table, person: str, number: str, file: Path) -> list[_Face]:
    names = [(w or "").replace(" ", "_") for w in columns.to_words(table[person])]
    keys = []
    for row, (name, word) in enumerate(zip(names, columns.to_words(table[number]), strict=True), 1):
        if word is None or not word.isdecimal():
            raise DataError(
                f"Row {row} of {file} has the picture number {word!r}.",
                expected="a whole number",
                todo="mend the row",
            )
        keys.append((name, int(word)))
    return keys


def _group_numbers(faces: Iterable[_Face]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for person, number in faces:
        numbers.setdefault(person, []).append(number)
    return numbers
