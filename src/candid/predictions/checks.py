"""Checks of predictions: possible values, probabilities, labels to evaluate against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from candid.errors import PredictionsError
from candid.records import SPLITS
from candid.text import words

if TYPE_CHECKING:
    from candid.predictions import Predictions

_SUM_TOLERANCE = 1e-3  # of a row of probabilities


def require_probabilities(predictions: Predictions) -> None:
    """Raise PredictionsError where there are answers without probabilities."""
    if predictions.hard:
        raise PredictionsError(
            "The predictions are answers without probabilities.",
            expected="a probability per class: without it nothing says which answer is sure",
            todo="write the model's probabilities to the file",
        )


def require_evaluable(predictions: Predictions) -> None:
    """Raise PredictionsError without a labelled image, or where a value is impossible."""
    n, classes = len(predictions), len(predictions.classes)
    p, label = predictions.probability, predictions.label
    error = ""
    if classes < 2:
        error = f"There are predictions for {classes} class of {predictions.target!r}."
    elif p.shape != (n, classes):
        error = f"The probabilities have the shape {p.shape} for {n} images and {classes} classes."
    elif not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(axis=1), 1, atol=1e-3)):
        bad = ~(np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & (abs(p.sum(axis=1) - 1) < 1e-3))
        first = int(np.argmax(bad))
        error = (
            f"The probabilities of {int(bad.sum())} of {n} images are impossible, "
            f"such as {p[first].tolist()} of {str(predictions.ids[first])!r}."
        )
    elif (label >= classes).any():
        error = f"A label has the index {int(label.max())} among {classes} classes."
    elif not np.isin(predictions.split[label >= 0], SPLITS).any():
        error = f"None of the {n} images has both a label and one of the splits {SPLITS}."
    if error:
        raise PredictionsError(
            error,
            expected="labelled images with one probability from 0 to 1 per class, summing to 1",
            todo="check the file that the predictions came from, and that the loss was finite",
        )


def require_possible(predictions: Predictions, source: str, todo: str) -> Predictions:
    """The predictions, if they are possible; the error begins with their `source`.

    Raises PredictionsError where a class or an id is repeated, or where a probability, the
    temperature or a split is impossible.
    """
    if problem := _describe_impossible(predictions):
        message, expected = problem
        message = source + message if source else message[0].upper() + message[1:]
        raise PredictionsError(message, expected=expected, todo=todo)
    return predictions


def _describe_impossible(p: Predictions) -> tuple[str, str] | None:
    """The problem and what was expected; None where everything is possible."""
    with np.errstate(invalid="ignore"):  # inf - inf
        probability, sums = p.probability, p.probability.sum(axis=1)
    inside = ((probability >= 0) & (probability <= 1)).all(axis=1)  # a NaN is not inside either
    ids, counts = np.unique(p.ids, return_counts=True)
    unknown_splits = sorted({*p.split.tolist()} - {*SPLITS})
    if len(set(p.classes)) < len(p.classes) or not p.classes:
        return f"the classes are {', '.join(map(repr, p.classes))}.", "each class once"
    if not (np.isfinite(p.temperature) and p.temperature > 0):
        return f"the temperature is {p.temperature}.", "a temperature above 0"
    for good, rule in ((inside, "from 0 to 1"), (abs(sums - 1) < _SUM_TOLERANCE, "that sum to 1")):
        if not good.all():
            row = int(np.argmin(good))
            return (
                f"the probabilities of {np.count_nonzero(~good):,} of {len(p):,} images are "
                f"impossible, such as {probability[row].tolist()} of {str(p.ids[row])!r}.",
                f"probabilities {rule}",
            )
    if n_repeated := int(np.count_nonzero(counts > 1)):
        return (
            f"{words.many(n_repeated, 'id stands', 'ids stand')} there more than once, such as "
            f"{str(ids[counts > 1][0])!r}.",
            "one row per image",
        )
    if unknown_splits:
        return f"there is a split called {unknown_splits[0]!r}.", f"one of {', '.join(SPLITS)}"
    return None
