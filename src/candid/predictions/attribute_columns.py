"""Attributes, codes and words as columns of a Parquet file, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from candid.storage.files import FORMAT, atomic, check_format, regular
from candid.tables.attributes import Attribute, Kind

METADATA = b"candid"  # the key of the metadata of a file of predictions


def write_parquet(path: Path, columns: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Write columns as a Parquet file with metadata, to which the format is added."""
    text = json.dumps({"format": FORMAT} | dict(metadata))
    with atomic(path) as part:
        pq.write_table(
            pa.table(columns).replace_schema_metadata({METADATA: text}), part, compression="zstd"
        )


def read_parquet(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Read what `write_parquet` wrote; errors are the libraries' own, but for another format."""
    table = pq.read_table(regular(path))
    metadata: dict[str, Any] = json.loads(table.schema.metadata[METADATA])
    check_format(path, metadata.get("format"))
    return table, metadata


def image_columns(
    ids: NDArray[np.str_], split: NDArray[np.str_], person: NDArray[np.int64] | None
) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
    """The first columns of each file, and the column of persons, where there is one."""
    first = {"id": pa.array(ids.tolist(), pa.string())}
    first["split"] = pa.array(split.tolist(), pa.string())
    return first, {} if person is None else {"person": pa.array(person, mask=person < 0)}


def read_persons(table: pa.Table) -> NDArray[np.int64] | None:
    """(n,) the persons, -1 unknown; None without such a column."""
    if "person" not in table.column_names:
        return None
    person: NDArray[np.int64] = table["person"].fill_null(-1).to_numpy().astype(np.int64)
    return person


def describe_attributes(attributes: Mapping[str, Attribute]) -> dict[str, dict[str, Any]]:
    """The metadata of attributes, by name."""
    return {a.name: {"kind": a.kind, "values": list(a.values)} for a in attributes.values()}


def to_word_column(codes: NDArray[Any], values: tuple[str, ...]) -> pa.Array:
    """Codes into `values` as a dictionary column; -1 is null."""
    indices = pa.array(np.maximum(codes, 0).astype(np.int32), mask=codes < 0)
    dictionary = pa.array(list(values) or [""], pa.string())
    return pa.DictionaryArray.from_arrays(indices, dictionary)


def to_column(attribute: Attribute) -> pa.Array:
    """An attribute as a column."""
    if attribute.kind == "numeric":
        return pa.array(attribute.data, pa.float64(), mask=np.isnan(attribute.data))
    return to_word_column(attribute.data, attribute.values)


def read_strings(table: pa.Table, name: str) -> NDArray[np.str_]:
    """A column of words."""
    return np.asarray(table[name].to_pylist(), dtype=np.str_)


def read_codes(table: pa.Table, name: str, values: tuple[str, ...]) -> NDArray[np.int16]:
    """A column of words as codes into `values`; null is -1."""
    code: dict[str | None, int] = {None: -1} | {word: i for i, word in enumerate(values)}
    return np.asarray([code[w] for w in table[name].to_pylist()], dtype=np.int16)


def read_attribute(table: pa.Table, name: str, kind: Kind, values: tuple[str, ...]) -> Attribute:
    """An attribute from its column."""
    if kind != "numeric":
        return Attribute(name, kind, values, read_codes(table, name, values))
    numbers: NDArray[np.float64] = table[name].fill_null(float("nan")).to_numpy().astype(np.float64)
    return Attribute(name, kind, values, numbers)
