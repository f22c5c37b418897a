"""Files of outputs: JSON, JSON lines or a table, and the image of each output.

JSON is an object by the images' names, or a list of objects; these, lines and rows name their image
in a column such as `path` or `image`, or as FairFace does.
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
    """Whether the name has the suffix of a file of outputs."""
    return name.lower().endswith(SUFFIXES)


def read_outputs(path: Path, ids: Sequence[str]) -> tuple[list[Any], int]:
    """The output for each id, an empty list where the file has none; and the number without an id.

    Names are ids, or paths that end with an id, or whose last part is an id's last part. Raises
    PredictionsError where it cannot be read, or names no image of the data.
    """
    faces: dict[str, list[Any]] = {}
    for name, output in _read_named(path):
        faces.setdefault(name, []).extend(faces_in(output))
    for key in (_normalize_path, _last_part, fairface.original_name):
        rows_of: dict[str, list[int]] = {}
        for row, image_id in enumerate(ids):
            rows_of.setdefault(key(image_id), []).append(row)
        if any(key(name) in rows_of for name in faces):
            return _assign_faces(path, faces, rows_of, key, len(ids))
    raise PredictionsError(
        f"{path.name} names no picture of the data: {next(iter(faces), 'nothing')!r}, and there is "
        f"{ids[0] if ids else 'nothing'!r}.",
        expected="the outputs for these pictures, by their names",
        todo="name the pictures as their files are called",
    )


def _normalize_path(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _last_part(name: str) -> str:
    return re.split(r"[\\/]", name)[-1]


def _assign_faces(
    path: Path, faces: Mapping[str, list[Any]], rows_of: Mapping[str, list[int]], key: Any, n: int
) -> tuple[list[Any], int]:
    outputs: list[Any] = [[] for _ in range(n)]
    foreign = 0
    for name, records in faces.items():
        rows = rows_of.get(key(name), [])
        if len(rows) > 1:
            raise PredictionsError(
                f"{name!r} in {path.name} could be {len(rows)} pictures of the data.",
                expected="names that tell the pictures apart",
                todo="name them with the folders in which they lie",
            )
        foreign += not rows
        for row in rows:
            outputs[row].extend(records)
    return outputs, foreign


def _read_named(path: Path) -> Iterable[tuple[str, Any]]:
    """The images' names with their outputs."""
    if not path.is_file():
        raise PredictionsError(
            f"There is no {path}.",
            expected="a file of outputs (JSON, JSON lines, CSV, TSV, Parquet)",
            todo="check the path",
        )
    if not path.name.lower().endswith(_JSON):
        return [_record(path, _nest(row)) for row in read_table(path).to_pylist()]
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
    if isinstance(plain, Mapping) and not _name_field(plain):
        return list(plain.items())
    if isinstance(plain, Mapping):
        plain = [plain]
    if isinstance(plain, list) and all(isinstance(record, Mapping) for record in plain):
        return [_record(path, record) for record in plain]
    raise _nameless_error(path)


def _record(path: Path, record: Mapping[str, Any]) -> tuple[str, Any]:
    """A record's name and output: all other fields, or the value of the only one."""
    name = _name_field(record)
    if not name:
        raise _nameless_error(path)
    if name == fairface.NAME:
        return str(record[name]), record
    rest = {key: value for key, value in record.items() if key != name}
    value = next(iter(rest.values())) if len(rest) == 1 else None
    return str(record[name]), value if isinstance(value, list | Mapping) else rest


def _name_field(record: Mapping[str, Any]) -> str:
    """The field that names the image; "" where there is none."""
    if fairface.NAME in record:
        return fairface.NAME
    words = (name for name in record if isinstance(record[name], str))
    return columns.find_usual(words, (*columns.PATH_COLUMNS, "id", "name")) or ""


def _nest(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with nested records: the columns "gender.Man" and "gender.Woman" become one."""
    record: dict[str, Any] = {}
    for name, value in row.items():
        first, point, rest = name.partition(".")
        if point and first and rest:
            inner = record.get(first)
            record[first] = (inner if isinstance(inner, dict) else {}) | {rest: value}
        elif value is not None:
            record.setdefault(name, value)
    return record


def _nameless_error(path: Path) -> PredictionsError:
    return PredictionsError(
        f"{path.name} does not say which picture each output is of.",
        expected="an object by the pictures' names, or records with a field such as path or image",
        todo="write the name of the picture beside each output",
    )
