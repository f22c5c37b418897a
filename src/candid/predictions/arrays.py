"""Arrays, files and runs as `Predictions`."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.errors import PredictionsError
from candid.predictions import Predictions, read_predictions
from candid.predictions.answers import class_from_name
from candid.predictions.labels import Label
from candid.predictions.numbers import NumberAnswers, read_number_predictions
from candid.table import arrow_table, value_per_image
from candid.tables.numbers import parse_number
from candid.text.words import many

_TODO = (
    "pass what predict_proba or predict gives; classes= where the labels do not hold every class"
)


def read_scores(y_prob: Any, n: int, classes: tuple[str, ...]) -> tuple[NDArray[np.float64], bool]:
    """(n, classes) probabilities, and whether they are mere answers.

    Answers are the classes' own words, or 0 and 1 alone: what `predict` gives. Taken for
    probabilities, they would have a loss and an area under a curve that mean nothing.
    """
    named_columns = _named_columns(y_prob)
    if named_columns is not None:
        y_prob = _order_columns(named_columns, classes)
    elif (answers := _read_answers(y_prob, n, classes)) is not None:
        return np.eye(len(classes))[answers], True
    try:
        p = np.asarray(y_prob, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionsError(
            f"The probabilities are no numbers: {error}.",
            expected="a probability per image, one per image and class, or the class of each image",
            todo=_TODO,
        ) from error
    if p.ndim == 2 and p.shape[1] == 1:
        p = p[:, 0]
    hard = p.ndim == 1 and p.size > 0 and bool(np.isin(p, (0, 1)).all())
    if p.ndim == 1 and len(classes) == 2:
        p = np.stack([1 - p, p], axis=1)
    if p.shape != (n, len(classes)):
        names = ", ".join(map(repr, classes))
        raise PredictionsError(
            f"The probabilities have the shape {np.shape(y_prob)} for {many(n, 'label', 'labels')} "
            f"and {many(len(classes), 'class', 'classes')} ({names or 'none'}).",
            expected="(n,) for the second of two classes, (n, classes), or (n,) classes by name",
            todo=_TODO,
        )
    return p, hard


def _named_columns(y_prob: Any) -> dict[str, Any] | None:
    """A data frame's or a mapping's columns by name; None where it is neither, or has one."""
    import narwhals.stable.v2 as nw

    if not isinstance(y_prob, Mapping):
        frame = nw.from_native(y_prob, eager_only=True, pass_through=True)
        if not isinstance(frame, nw.DataFrame) or len(frame.columns) < 2:
            return None
    table = arrow_table(y_prob)
    return {name: table[name].to_numpy() for name in table.column_names}


def _order_columns(named_columns: dict[str, Any], classes: tuple[str, ...]) -> NDArray[Any]:
    """(n, columns) in the order of the classes that they are named after, else as they are.

    Raises PredictionsError where only some are named after classes.
    """
    label = Label("label", classes, np.empty(0, np.int16))
    words = {name: class_from_name(name, label) for name in named_columns}
    index = {name: classes.index(word) for name, word in words.items() if word in classes}
    names = [*named_columns]
    if index:
        if sorted(index.values()) != [*range(len(classes))] or len(index) < len(names):
            raise PredictionsError(
                f"The columns of the probabilities are called {', '.join(map(repr, names))}, and "
                f"the classes {', '.join(map(repr, classes))}.",
                expected="one column for each class, named after it",
                todo="rename the columns, or pass an array in the order of the classes",
            )
        names.sort(key=index.__getitem__)
    return np.stack([named_columns[name] for name in names], axis=1)


def _read_answers(y_prob: Any, n: int, classes: tuple[str, ...]) -> NDArray[np.intp] | None:
    """(n,) the class of each image, by name; None where these are numbers.

    Raises PredictionsError where a word is none of the classes.
    """
    if np.ndim(y_prob) != 1 or not n or len(y_prob) != n:
        return None
    column = value_per_image(y_prob, "the answers")
    is_number = pa.types.is_primitive(column.type)
    if is_number and len(column.unique()) > len(classes):
        return None  # probabilities, of which there may be as many as images
    codes, words = columns.encode(column, missing=())
    if len(words) <= len(classes):
        label = Label("label", classes, np.empty(0, np.int16))
        indices = [None if w is None else label.find(w) for w in words]
        if None not in indices and (codes >= 0).all():
            return np.array(indices, np.intp)[codes]
    if is_number:
        return None
    unknown = next((w for w in words if w and w not in classes and parse_number(w) is None), None)
    if unknown is not None:
        raise PredictionsError(
            f"The answer {unknown!r} is none of the classes {', '.join(map(repr, classes))}.",
            expected="probabilities, or the classes' own words",
            todo=_TODO,
        )
    return None


def as_predictions(y_true: Any, y_prob: Any = None, **options: Any) -> Predictions:
    """Predictions from arrays, from a file or a run's folder, or as they are.

    `y_true` are labels, with `y_prob` and the options of `Predictions.from_arrays`; or
    `Predictions`, a run's folder, or its predictions.parquet alone. Raises DataError or
    PredictionsError where they cannot be read, or do not fit each other.
    """
    is_complete = isinstance(y_true, Predictions | str | PathLike)
    options = {name: value for name, value in options.items() if value is not None}
    if is_complete != (y_prob is None) or (is_complete and options):
        surplus = ", ".join([*(["y_prob"] if y_prob is not None else []), *options])
        raise PredictionsError(
            f"There are predictions and, beside them, {surplus}."
            if is_complete
            else "There are labels and no probabilities.",
            expected="y_true and y_prob, or predictions alone",
            todo="pass (y_true, y_prob), or a run, a path or Predictions; of a data frame with both"
            " candid.Predictions.from_table makes them",
        )
    if isinstance(y_true, Predictions):
        return y_true
    if not is_complete:
        return Predictions.from_arrays(y_true, y_prob, **options)
    path = Path(y_true)
    return read_predictions(path / "predictions.parquet" if path.is_dir() else path)


def as_number_answers(y_true: Any, y_pred: Any = None, **options: Any) -> NumberAnswers:
    """Answers about a number from arrays, from a file of Candid's, or as they are.

    `y_true` are true numbers, with `y_pred` and the options of `NumberAnswers.from_arrays`; or
    `NumberAnswers`, or a file of a number. Raises DataError or PredictionsError where they cannot
    be read, or do not fit each other.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(y_true, NumberAnswers | str | PathLike):
        if surplus := [*(["y_pred"] if y_pred is not None else []), *options]:
            raise PredictionsError(
                f"There are answers about a number and, beside them, {', '.join(surplus)}.",
                expected="the answers alone",
                todo="pass groups, person and split to candid.NumberAnswers.from_arrays",
            )
        if isinstance(y_true, NumberAnswers):
            return y_true
        return read_number_predictions(Path(y_true))
    if y_pred is None or "classes" in options:
        raise PredictionsError(
            "There are true numbers and "
            + ("no predictions." if y_pred is None else "classes beside them."),
            expected="y_true and y_pred, two columns of numbers",
            todo="pass (y_true, y_pred, number=True), without classes",
        )
    return NumberAnswers.from_arrays(y_true, y_pred, **options)
