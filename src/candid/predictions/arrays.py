"""Whatever somebody has to be judged, as `Predictions`; and probabilities in the one form."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import PredictionsError
from candid.predictions import Predictions, read_predictions
from candid.text.words import many


def probabilities_of(y_prob: Any, n: int, classes: tuple[str, ...]) -> NDArray[np.float64]:
    """(n, classes), whichever way they were given."""
    try:
        p = np.asarray(y_prob, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionsError(
            f"The probabilities are no numbers: {error}.",
            expected="a probability per image, or one per image and class",
            todo="pass what predict_proba gives",
        ) from error
    if p.ndim == 2 and p.shape[1] == 1:
        p = p[:, 0]
    if p.ndim == 1 and len(classes) == 2:
        p = np.stack([1 - p, p], axis=1)
    if p.shape != (n, len(classes)):
        names = ", ".join(map(repr, classes))
        raise PredictionsError(
            f"The probabilities have the shape {np.shape(y_prob)} for {many(n, 'label', 'labels')} "
            f"and {many(len(classes), 'class', 'classes')} ({names or 'none'}).",
            expected="(n,) for the second of two classes, or (n, classes)",
            todo="pass classes= where the labels do not hold every class",
        )
    return p


def are_answers(y_prob: Any) -> bool:
    """Whether what was given as probabilities of one class is 0 and 1 alone: what `predict` gives.

    A model's probabilities are hardly ever that, and taken for some, answers have a loss and an
    area under a curve that mean nothing.
    """
    p = np.asarray(y_prob)
    if p.ndim == 2 and p.shape[1] == 1:
        p = p[:, 0]
    return p.ndim == 1 and p.size > 0 and bool(np.isin(p, (0, 1)).all())


def as_predictions(y_true: Any, y_prob: Any = None, **named: Any) -> Predictions:
    """Predictions from arrays, from a file or a run's folder, or as they are.

    `y_true` are labels beside `y_prob` and what else `Predictions.from_arrays` takes; or
    `Predictions`, a run's folder, or its predictions.parquet alone. Raises DataError or
    PredictionsError where they cannot be read, or do not fit each other.
    """
    whole = isinstance(y_true, Predictions | str | PathLike)
    named = {name: value for name, value in named.items() if value is not None}
    if whole != (y_prob is None) or (whole and named):
        beside = ", ".join([*(["y_prob"] if y_prob is not None else []), *named])
        raise PredictionsError(
            f"There are predictions and, beside them, {beside}."
            if whole
            else "There are labels and no probabilities.",
            expected="y_true and y_prob, or predictions alone",
            todo="pass (y_true, y_prob), or a run, a path or Predictions",
        )
    if isinstance(y_true, Predictions):
        return y_true
    if not whole:
        return Predictions.from_arrays(y_true, y_prob, **named)
    path = Path(y_true)
    return read_predictions(path / "predictions.parquet" if path.is_dir() else path)
