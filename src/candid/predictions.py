"""The hinge: one row per image, with what was annotated and what a model says.

Evaluation, audit, calibration and report read only this, so they work on anyone's model, on a
machine without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from candid.errors import PredictionsError
from candid.files import atomic

_METADATA_KEY = b"candid"
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)  # JSON of another shape


@dataclass(frozen=True, eq=False)
class Attribute:
    """Any annotation other than the label, for n images.

    Attributes
    ----------
    name
        The data's own word.
    kind
        "binary" and "categorical" hold codes into `values`, "numeric" holds the numbers.
    values
        The words that codes stand for; a binary attribute's are ("no", "yes"), in this order,
        unless the data has words of its own. Empty for numeric.
    data
        (n,) int16 codes with -1 where missing, or float64 with NaN where missing.
    """

    name: str
    kind: Literal["binary", "categorical", "numeric"]
    values: tuple[str, ...]
    data: NDArray[Any]

    def __getitem__(self, rows: NDArray[Any]) -> Attribute:
        """The same attribute for some of the rows."""
        return replace(self, data=self.data[rows])

    def words(self) -> list[str | None]:
        """Each image's value as a word, None where missing; numbers in full."""
        if self.kind == "numeric":
            return [None if np.isnan(x) else repr(float(x)) for x in self.data]
        return [self.values[code] if code >= 0 else None for code in self.data]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says about n images.

    Attributes
    ----------
    target
        The name of the label: "Male".
    classes
        The label's values, in the order of the columns of `probability`.
    ids
        (n,) str, one per image, unique.
    split
        (n,) str: "train", "validation" or "test".
    label
        (n,) int16 index into `classes`; -1 where nobody annotated the image.
    probability
        (n, classes) float64; rows sum to 1. Calibrated with `temperature`: raising to that power
        and normalising gives the probabilities before calibration.
    temperature
        1.0 where the probabilities were never calibrated.
    identity
        (n,) int64, the same number for the same person, -1 unknown; None where nobody knows.
    attributes
        By name.
    provenance
        Where the file came from; free text by key.
    """

    target: str
    classes: tuple[str, ...]
    ids: NDArray[np.str_]
    split: NDArray[np.str_]
    label: NDArray[np.int16]
    probability: NDArray[np.float64]
    temperature: float = 1.0
    identity: NDArray[np.int64] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: NDArray[Any]) -> Predictions:
        """The same model's predictions for some of the rows (a mask or indices)."""
        return replace(
            self,
            ids=self.ids[rows],
            split=self.split[rows],
            label=self.label[rows],
            probability=self.probability[rows],
            identity=None if self.identity is None else self.identity[rows],
            attributes={name: a[rows] for name, a in self.attributes.items()},
        )

    @property
    def prediction(self) -> NDArray[np.intp]:
        """(n,) index of the most probable class; the first of equals."""
        best: NDArray[np.intp] = np.argmax(self.probability, axis=1)
        return best


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a Parquet file with one row per image: id, split, label, p_<class>, attributes."""
    table = pa.table(_columns(predictions))
    metadata = {
        "version": 1,
        "target": predictions.target,
        "classes": list(predictions.classes),
        "temperature": predictions.temperature,
        "attributes": {
            a.name: {"kind": a.kind, "values": list(a.values)}
            for a in predictions.attributes.values()
        },
        "provenance": dict(predictions.provenance),
    }
    table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(metadata)})
    with atomic(path) as part:
        pq.write_table(table, part, compression="zstd")


def _columns(predictions: Predictions) -> dict[str, pa.Array]:
    def words(codes: NDArray[Any], values: tuple[str, ...]) -> pa.Array:
        indices = pa.array(np.maximum(codes, 0).astype(np.int32), mask=codes < 0)
        dictionary = pa.array(list(values) or [""], pa.string())
        return pa.DictionaryArray.from_arrays(indices, dictionary)

    columns: dict[str, pa.Array] = {
        "id": pa.array(predictions.ids.tolist(), pa.string()),
        "split": pa.array(predictions.split.tolist(), pa.string()),
        "label": words(predictions.label, predictions.classes),
    }
    for i, name in enumerate(predictions.classes):
        columns[f"p_{name}"] = pa.array(predictions.probability[:, i], pa.float64())
    if predictions.identity is not None:
        columns["identity"] = pa.array(predictions.identity, mask=predictions.identity < 0)
    for attribute in predictions.attributes.values():
        if attribute.name in columns:
            raise PredictionsError(
                f"An attribute is called {attribute.name!r}, like a column of every file.",
                expected="attribute names other than id, split, label, identity and p_<class>",
                todo="rename the column in the data",
            )
        columns[attribute.name] = (
            pa.array(attribute.data, pa.float64(), mask=np.isnan(attribute.data))
            if attribute.kind == "numeric"
            else words(attribute.data, attribute.values)
        )
    return columns


def read_predictions(path: Path) -> Predictions:
    """Read a file that `write_predictions` wrote.

    Raises
    ------
    PredictionsError
        Where the file is missing, is not Parquet, or was not written by Candid.
    """
    try:
        table = pq.read_table(path)
        metadata = json.loads(table.schema.metadata[_METADATA_KEY])
        classes = tuple(metadata["classes"])
        return Predictions(
            target=metadata["target"],
            classes=classes,
            ids=_strings(table, "id"),
            split=_strings(table, "split"),
            label=_codes(table, "label", classes),
            probability=np.column_stack(
                [table[f"p_{name}"].to_numpy().astype(np.float64) for name in classes]
            ),
            temperature=float(metadata["temperature"]),
            identity=(
                table["identity"].fill_null(-1).to_numpy().astype(np.int64)
                if "identity" in table.column_names
                else None
            ),
            attributes={
                name: _attribute(table, name, a["kind"], tuple(a["values"]))
                for name, a in metadata["attributes"].items()
            },
            provenance=metadata["provenance"],
        )
    except (OSError, pa.ArrowException, *_MALFORMED) as error:
        raise PredictionsError(
            f"Cannot read {path} as predictions: {type(error).__name__}: {error}",
            expected="a Parquet file that Candid wrote",
            todo="name a run folder or its predictions.parquet",
        ) from error


def _strings(table: pa.Table, name: str) -> NDArray[np.str_]:
    return np.asarray(table[name].to_pylist(), dtype=np.str_)


def _codes(table: pa.Table, name: str, values: tuple[str, ...]) -> NDArray[np.int16]:
    code = {word: i for i, word in enumerate(values)}
    return np.asarray(
        [-1 if w is None else code[w] for w in table[name].to_pylist()], dtype=np.int16
    )


def _attribute(
    table: pa.Table,
    name: str,
    kind: Literal["binary", "categorical", "numeric"],
    values: tuple[str, ...],
) -> Attribute:
    if kind == "numeric":
        data: NDArray[Any] = table[name].fill_null(float("nan")).to_numpy().astype(np.float64)
    else:
        data = _codes(table, name, values)
    return Attribute(name, kind, values, data)
