"""Files of outputs: JSON, JSON lines or a table, and which picture each output is of.

JSON is an object whose keys are the pictures' names, or a list of objects; these, lines and rows
name their picture in a column such as `path` or `image`, or as FairFace does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import candid.tables.columns as columns
from candid.errors import PredictionsError
from candid.predictions.outputs import fairface
from candid.predictions.outputs.reading import faces_in
from candid.storage.files import read_bytes
from candid.tables.delimited import read_table

_JSON = (".json", ".jsonl")
SUFFIXES = (*_JSON, ".csv", ".tsv", ".parquet", ".pq")


def is_outputs_file(name: str) -> bool:
    """Whether a name is that of a file of outputs, which there may be or not."""
    return name.lower().endswith(SUFFIXES)


def read_outputs(path: Path, ids: Sequence[str]) -> tuple[list[Any], int]:
    """The output for each id, an empty list where the file has none; and how many have no id.

    Names are ids, or paths that end with an id, or whose last part is an id's last part. Raises
    PredictionsError where it cannot be read, names no picture, or none that there is.
    """
    found: dict[str, list[Any]] = {}
    for name, said in _named(path):
        found.setdefault(name, []).extend(faces_in(said))
    for key in (_whole, _last, fairface.picture_of):
        places: dict[str, list[int]] = {}
        for place, one in enumerate(ids):
            places.setdefault(key(one), []).append(place)
        if any(key(name) in places for name in found):
            return _placed(path, found, places, key, len(ids))
    raise PredictionsError(
        f"{path.name} names no picture of the data: {next(iter(found), 'nothing')!r}, and there is "
        f"{ids[0] if ids else 'nothing'!r}.",
        expected="the outputs for these pictures, by their names",
        todo="name the pictures as their files are called",
    )


def _whole(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _last(name: str) -> str:
    return re.split(r"[\\/]", name)[-1]


def _placed(
    path: Path, found: Mapping[str, list[Any]], places: Mapping[str, list[int]], key: Any, n: int
) -> tuple[list[Any], int]:
    said: list[Any] = [[] for _ in range(n)]
    foreign = 0
    for name, faces in found.items():
        there = places.get(key(name), [])
        if len(there) > 1:
            raise PredictionsError(
                f"{name!r} in {path.name} could be {len(there)} pictures of the data.",
                expected="names that tell the pictures apart",
                todo="name them with the folders in which they lie",
            )
        foreign += not there
        for place in there:
            said[place].extend(faces)
    return said, foreign


def _named(path: Path) -> Iterable[tuple[str, Any]]:
    """The names of pictures with what is said of each."""
    if not path.is_file():
        raise PredictionsError(
            f"There is no {path}.",
            expected="a file of outputs (JSON, JSON lines, CSV, TSV, Parquet)",
            todo="check the path",
        )
    if not path.name.lower().endswith(_JSON):
        return [_record(path, _nested(row)) for row in read_table(path).to_pylist()]
    try:
        text = read_bytes(path).decode("utf-8-sig")
        if path.name.lower().endswith(".jsonl"):
            plain: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            plain = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise PredictionsError(
            f"Cannot read {path}: {error}", expected="JSON", todo="write it again"
        ) from error
    if isinstance(plain, Mapping) and not _own_name(plain):
        return list(plain.items())
    if isinstance(plain, Mapping):
        plain = [plain]
    if isinstance(plain, list) and all(isinstance(one, Mapping) for one in plain):
        return [_record(path, one) for one in plain]
    raise _nameless(path)


def _record(path: Path, record: Mapping[str, Any]) -> tuple[str, Any]:
    """A record's picture and what is said of it: beside the name, or in the one other field."""
    name = _own_name(record)
    if not name:
        raise _nameless(path)
    if name == fairface.NAME:
        return str(record[name]), record
    rest = {key: value for key, value in record.items() if key != name}
    only = next(iter(rest.values())) if len(rest) == 1 else None
    return str(record[name]), only if isinstance(only, list | Mapping) else rest


def _own_name(record: Mapping[str, Any]) -> str:
    """The field that names the picture; "" where there is none."""
    if fairface.NAME in record:
        return fairface.NAME
    words = (name for name in record if isinstance(record[name], str))
    return columns.first_usual(words, (*columns.PATH_COLUMNS, "id", "name")) or ""


def _nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose columns "gender.Man" and "gender.Woman" are one record again."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        first, point, rest = name.partition(".")
        if point and first and rest:
            inner = found.get(first)
            found[first] = (inner if isinstance(inner, dict) else {}) | {rest: value}
        elif value is not None:
            found.setdefault(name, value)
    return found


def _nameless(path: Path) -> PredictionsError:
    return PredictionsError(
        f"{path.name} does not say which picture each output is of.",
        expected="an object by the pictures' names, or records with a field such as path or image",
        todo="write the name of the picture beside each output",
    )
