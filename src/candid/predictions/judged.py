"""What somebody wants judged, whatever form it has, as `Predictions`."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from candid.errors import PredictionsError
from candid.predictions import Predictions, read_predictions


def as_predictions(y_true: Any, y_prob: Any = None, **named: Any) -> Predictions:
    """Predictions from arrays, from a file or a run's folder, or as they are.

    Parameters
    ----------
    y_true
        Labels beside `y_prob`; or `Predictions`, or a run's folder, or its predictions.parquet.
    y_prob, named
        As in `Predictions.from_arrays`.

    Raises
    ------
    DataError, PredictionsError
        Where they cannot be read, or do not fit each other.
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
