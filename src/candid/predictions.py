"""The hinge: one row per image, with what was annotated and what a model says.

Evaluation, audit, calibration and report read only this, so they work on anyone's model, on a
machine without torch.
"""

from __future__ import annotations

import itertools
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
from candid.records import SPLITS
from candid.storage.files import atomic, regular

METADATA_KEY = b"candid"
_SUM_TOLERANCE = 1e-3  # of a row of probabilities
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


def binned(attribute: Attribute, rows: NDArray[np.intp]) -> Attribute:
    """A numeric attribute cut at the quartiles of some rows; others as they are.

    A bin holds its lower edge and not its upper one; whole numbers are named by what a bin holds
    ("20 to 34"), others by their edges in three digits, or as many as tell the edges apart.
    Numbers with at most four values keep a bin for each.
    """
    if attribute.kind != "numeric":
        return attribute
    everything = attribute.data[~np.isnan(attribute.data)]
    known = attribute.data[rows]
    known = known[~np.isnan(known)] if np.any(~np.isnan(known)) else everything
    distinct = np.unique(everything)
    if len(distinct) <= 4:
        edges, names = distinct[1:], [f"{x:g}" for x in distinct]
    else:
        whole = bool(np.all(everything == np.rint(everything)))
        edges = np.quantile(known, [0.25, 0.5, 0.75])
        edges = np.unique(np.ceil(edges) if whole else edges)
        # Where a value is so common that it is a quartile and the least, no bin lies below it.
        edges = edges[edges > known.min()] if edges[-1] > known.min() else distinct[1:2]
        names = _bin_names(edges, whole=whole)
    codes = np.searchsorted(edges, attribute.data, side="right").astype(np.int16)
    codes[np.isnan(attribute.data)] = -1
    return Attribute(attribute.name, "categorical", tuple(names), codes)


def _bin_names(edges: NDArray[np.float64], *, whole: bool) -> list[str]:
    if whole:
        starts = np.ceil(edges)
        middle = [
            f"{a:g}" if a == b - 1 else f"{a:g} to {b - 1:g}" for a, b in itertools.pairwise(starts)
        ]
        return [f"up to {starts[0] - 1:g}", *middle, f"{starts[-1]:g} and above"]
    words = _short(edges)
    middle = [f"{a} to {b}" for a, b in itertools.pairwise(words)]
    return [f"below {words[0]}", *middle, f"{words[-1]} and above"]


def _short(edges: NDArray[np.float64]) -> list[str]:
    """Different numbers as different words, in as few digits as tell them apart, but three.

    Digits before the point are kept: 1234.5 is 1234, and not 1.23e+03.
    """
    before = max(len(f"{abs(x):.0f}") for x in edges)
    for digits in range(max(3, min(before, 6)), 18):
        words = [f"{x:.{digits}g}" for x in edges]
        if len(set(words)) == len(words):
            break
    return words


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
    hard
        True where the model gave answers and no probabilities: `probability` then holds 0 and 1,
        and what needs degrees (areas under curves, losses, calibration) is undefined.
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
    hard: bool = False

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


def require_probabilities(predictions: Predictions) -> None:
    """Raise a PredictionsError where a model gave its answers alone."""
    if predictions.hard:
        raise PredictionsError(
            "The predictions are answers without probabilities.",
            expected="a probability per class: without it nothing says which answer is sure",
            todo="write the model's probabilities to the file",
        )


def require_evaluable(predictions: Predictions) -> None:
    """Refuse predictions that nothing can be said about, whoever made them.

    Raises
    ------
    PredictionsError
        Where there is no labelled image, or a probability or a label is impossible.
    """
    n, classes = len(predictions), len(predictions.classes)
    p, label = predictions.probability, predictions.label
    wrong = ""
    if classes < 2:
        wrong = f"There are predictions for {classes} class of {predictions.target!r}."
    elif p.shape != (n, classes):
        wrong = f"The probabilities have the shape {p.shape} for {n} images and {classes} classes."
    elif not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(axis=1), 1, atol=1e-3)):
        bad = ~(np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & (abs(p.sum(axis=1) - 1) < 1e-3))
        first = int(np.argmax(bad))
        wrong = (
            f"The probabilities of {int(bad.sum())} of {n} images are impossible, "
            f"such as {p[first].tolist()} of {str(predictions.ids[first])!r}."
        )
    elif (label >= classes).any():
        wrong = f"A label has the index {int(label.max())} among {classes} classes."
    elif not np.isin(predictions.split[label >= 0], SPLITS).any():
        wrong = f"None of the {n} images has both a label and one of the splits {SPLITS}."
    if wrong:
        raise PredictionsError(
            wrong,
            expected="labelled images with one probability from 0 to 1 per class, summing to 1",
            todo="check the file that the predictions came from, and that the loss was finite",
        )


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
        "hard": predictions.hard,
    }
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata)})
    with atomic(path) as part:
        pq.write_table(table, part, compression="zstd")


def described(schema: pa.Schema) -> dict[str, Any] | None:
    """What a Parquet file of predictions says of itself; None where it holds none.

    The tables of `candid predict`, which hold no labels to judge by, are none.
    """
    about: dict[str, Any] = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
    return about if "attributes" in about else None


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
        Where the file is missing, is not Parquet, was not written by Candid, or holds values that
        cannot be.
    """
    predictions = _read(path)
    if wrong := _impossible(predictions):
        raise PredictionsError(
            f"{path}: {wrong[0]}",
            expected=wrong[1],
            todo="write the file again; name --label and --prediction for another model's table",
        )
    return predictions


def _impossible(p: Predictions) -> tuple[str, str] | None:
    """What cannot be, and what would be possible; None where everything is in order."""
    probability, total = p.probability, p.probability.sum(axis=1)
    inside = ((probability >= 0) & (probability <= 1)).all(axis=1)  # a NaN is not inside either
    known, counts = np.unique(p.ids, return_counts=True)
    strange = sorted({*p.split.tolist()} - {*SPLITS})
    if len(set(p.classes)) < len(p.classes) or not p.classes:
        return f"the classes are {', '.join(map(repr, p.classes))}.", "each class once"
    if not (np.isfinite(p.temperature) and p.temperature > 0):
        return f"the temperature is {p.temperature}.", "a temperature above 0"
    for good, what in ((inside, "from 0 to 1"), (abs(total - 1) < _SUM_TOLERANCE, "that sum to 1")):
        if not good.all():
            row = int(np.argmin(good))
            return (
                f"the probabilities of {np.count_nonzero(~good):,} of {len(p):,} images are "
                f"impossible, such as {probability[row].tolist()} of {str(p.ids[row])!r}.",
                f"probabilities {what}",
            )
    if (counts > 1).any():
        return (
            f"{np.count_nonzero(counts > 1):,} ids stand there more than once, such as "
            f"{str(known[counts > 1][0])!r}.",
            "one row per image",
        )
    if strange:
        return f"there is a split called {strange[0]!r}.", f"one of {', '.join(SPLITS)}"
    return None


def _read(path: Path) -> Predictions:
    try:
        table = pq.read_table(regular(path))
        metadata = json.loads(table.schema.metadata[METADATA_KEY])
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
            hard=bool(metadata.get("hard", False)),
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
