"""A model's predictions of a number, with the true values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candid.arrays import FloatArray
from candid.errors import PredictionsError
from candid.predictions import Predictions
from candid.predictions.attribute_columns import (
    describe_attributes,
    image_columns,
    read_attribute,
    read_parquet,
    read_persons,
    read_strings,
    to_column,
    write_parquet,
)
from candid.records import from_plain, to_plain
from candid.records.model import NumberCard
from candid.table import PerImage, per_image_values
from candid.tables.attributes import Attribute, bin_attribute
from candid.tables.numbers import LARGEST

_NUMBERS = ("value", "predicted", "low", "high")


@dataclass(frozen=True, eq=False, kw_only=True)
class NumberAnswers(PerImage):
    """Any model's predictions of a number for n images, all with a true value.

    Attributes
    ----------
    target
        The label.
    ids, split
        (n,) str: names, and train, validation or test.
    value, predicted
        (n,) the true and the predicted numbers.
    person
        (n,) int64, the same number for the same person, -1 unknown; None without persons.
    attributes
        Every other annotation, by name.
    provenance
        Where they come from; free text by key.
    """

    PER_IMAGE: ClassVar[tuple[str, ...]] = (
        *("ids", "split", "value", "predicted", "person", "attributes"),
    )

    target: str
    ids: NDArray[np.str_]
    split: NDArray[np.str_]
    value: FloatArray
    predicted: FloatArray
    person: NDArray[np.int64] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_arrays(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        target: str = "label",
        groups: Any = None,
        person: Any = None,
        ids: Any = None,
        split: Any = None,
    ) -> NumberAnswers:
        """Any model's predictions of a number, from lists, arrays or columns of a data frame.

        Parameters
        ----------
        y_true, y_pred
            (n,) the true and the predicted numbers, in the same unit.
        target
            The number's name.
        groups, person, ids, split
            As in `Predictions.from_arrays`.

        Raises
        ------
        DataError, PredictionsError
            Where values are missing or no numbers, or shapes do not fit each other.
        """
        value, predicted = _finite(y_true, "labels"), _finite(y_pred, "predictions")
        if value.shape != predicted.shape:
            raise PredictionsError(
                f"There are {value.size:,} labels and {predicted.size:,} predictions.",
                expected="one prediction for each label, in the same order",
                todo="pass columns of one table",
            )
        labels = np.zeros(len(value), np.int64)  # the other fields do not depend on them
        fields = per_image_values(labels, target, ("0",), groups, person, ids, split)
        common = {name: fields[name] for name in ("ids", "split", "person", "attributes")}
        return NumberAnswers(target=target, value=value, predicted=predicted, **common)

    def __len__(self) -> int:
        return len(self.ids)

    def cut_attributes(self) -> list[Attribute]:
        """The attributes of which any value is known; numeric ones cut at their quartiles."""
        all_rows = np.arange(len(self))
        return [bin_attribute(a, all_rows) for a in self.attributes.values() if a.known.any()]


@dataclass(frozen=True, eq=False, kw_only=True)
class NumberPredictions(NumberAnswers):
    """A number's predictions by a model of Candid's, with intervals.

    `card` is how they were made; `low` and `high` (n,) are the ends of the intervals.
    """

    PER_IMAGE = (*NumberAnswers.PER_IMAGE, "low", "high")

    card: NumberCard
    low: FloatArray
    high: FloatArray


def _finite(values: Any, name: str) -> FloatArray:
    """(n,) numbers, all of them finite."""
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionsError(
            f"The {name} are no numbers: {error}.",
            expected="a number per image",
            todo="leave out the rows that have none",
        ) from error
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    if numbers.ndim != 1 or not len(numbers):
        raise PredictionsError(
            f"The {name} have the shape {numbers.shape}.",
            expected="(n,), a number per image, and at least one",
            todo="pass one column",
        )
    if missing := np.count_nonzero(~np.isfinite(numbers)):
        raise PredictionsError(
            f"{missing:,} of {len(numbers):,} {name} are not finite.",
            expected="a number per image",
            todo="leave out the rows that have none",
        )
    return not_too_large(numbers, f"the {name}")


def not_too_large(values: FloatArray, name: str) -> FloatArray:
    """(n,) the numbers; NaN is allowed.

    Raises PredictionsError where one is so large that sums of squares would overflow.
    """
    large = np.abs(values) > LARGEST
    if large.any():
        row = int(np.argmax(large))
        raise PredictionsError(
            f"{name[0].upper()}{name[1:]} hold {values[row]:g} in row {row + 1}, "
            f"{np.count_nonzero(large):,} in all that are too large.",
            expected=f"numbers from -{LARGEST:g} to {LARGEST:g}",
            todo="write them in a larger unit, or leave the rows out",
        )
    return values


def write_number_predictions(path: Path, predictions: NumberPredictions) -> None:
    """Write a Parquet file with one row per image: id, split, value, prediction, attributes."""
    columns, person_columns = image_columns(predictions.ids, predictions.split, predictions.person)
    columns |= {name: pa.array(getattr(predictions, name), pa.float64()) for name in _NUMBERS}
    columns |= person_columns
    for attribute in predictions.attributes.values():
        columns[_column(attribute.name)] = to_column(attribute)
    metadata = {
        "target": predictions.target,
        "number": to_plain(predictions.card),
        "attributes": describe_attributes(predictions.attributes),
        "provenance": dict(predictions.provenance),
    }
    write_parquet(path, columns, metadata)


def _column(attribute: str) -> str:
    """An attribute's column; a reserved name gets a suffix."""
    reserved = ("id", "split", "person", *_NUMBERS)
    return f"{attribute} (attribute)" if attribute in reserved else attribute


def read_number_predictions(path: Path) -> NumberPredictions:
    """Read a file that `write_number_predictions` wrote.

    Raises PredictionsError where the file is missing, damaged, or holds no predictions of a number;
    RunError where another release of Candid wrote it, in another format.
    """
    try:
        table, metadata = read_parquet(path)
        numbers = {name: table[name].to_numpy().astype(np.float64) for name in _NUMBERS}
        if not all(np.isfinite(values).all() for values in numbers.values()):
            raise ValueError("a value is not finite")
        return NumberPredictions(
            target=str(metadata["target"]),
            card=from_plain(NumberCard, metadata["number"]),
            ids=read_strings(table, "id"),
            split=read_strings(table, "split"),
            **numbers,
            person=read_persons(table),
            attributes={
                name: replace(
                    read_attribute(table, _column(name), a["kind"], tuple(a["values"])), name=name
                )
                for name, a in metadata["attributes"].items()
            },
            provenance=metadata["provenance"],
        )
    except (OSError, pa.ArrowException, AttributeError, KeyError, TypeError, ValueError) as error:
        raise PredictionsError(
            f"Cannot read {path} as predictions of a number: {type(error).__name__}: {error}",
            expected="a Parquet file that Candid wrote for a label that is a number",
            todo="make it again: candid run --resume RUN",
        ) from error


AnyPredictions = Predictions | NumberAnswers  # of a label with classes, or of a number
