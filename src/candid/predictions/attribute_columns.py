"""Attributes, codes and words as columns of a Parquet file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candid.tables.attributes import Attribute, Kind

METADATA = b"candid"  # the key under which a file of predictions says what it is


def described_attributes(attributes: Mapping[str, Attribute]) -> dict[str, dict[str, Any]]:
    """What a file's metadata say of its attributes, by name."""
    return {a.name: {"kind": a.kind, "values": list(a.values)} for a in attributes.values()}


def word_column(codes: NDArray[Any], values: tuple[str, ...]) -> pa.Array:
    """Codes into words as a dictionary column; -1 is null."""
    indices = pa.array(np.maximum(codes, 0).astype(np.int32), mask=codes < 0)
    dictionary = pa.array(list(values) or [""], pa.string())
    return pa.DictionaryArray.from_arrays(indices, dictionary)


def column_of(attribute: Attribute) -> pa.Array:
    """An attribute as a column."""
    if attribute.kind == "numeric":
        return pa.array(attribute.data, pa.float64(), mask=np.isnan(attribute.data))
    return word_column(attribute.data, attribute.values)


def strings_in(table: pa.Table, name: str) -> NDArray[np.str_]:
    """A column of words."""
    return np.asarray(table[name].to_pylist(), dtype=np.str_)


def codes_in(table: pa.Table, name: str, values: tuple[str, ...]) -> NDArray[np.int16]:
    """A column of words as codes into `values`; null is -1."""
    code: dict[str | None, int] = {None: -1} | {word: i for i, word in enumerate(values)}
    return np.asarray([code[w] for w in table[name].to_pylist()], dtype=np.int16)


def attribute_in(table: pa.Table, name: str, kind: Kind, values: tuple[str, ...]) -> Attribute:
    """An attribute from its column."""
    if kind != "numeric":
        return Attribute(name, kind, values, codes_in(table, name, values))
    numbers: NDArray[np.float64] = table[name].fill_null(float("nan")).to_numpy().astype(np.float64)
    return Attribute(name, kind, values, numbers)
