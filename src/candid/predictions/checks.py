"""What predictions must be: possible, with probabilities, with labels to judge by."""

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
    """Raise a PredictionsError where a model gave its answers alone."""
    if predictions.hard:
        raise PredictionsError(
            "The predictions are answers without probabilities.",
            expected="a probability per class: without it nothing says which answer is sure",
            todo="write the model's probabilities to the file",
        )


def require_evaluable(predictions: Predictions) -> None:
    """Refuse predictions that nothing can be said about, whoever made them.

    Raises PredictionsError where there is no labelled image, or a probability or a label is
    impossible.
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


def possible(predictions: Predictions, where: str, todo: str) -> Predictions:
    """The predictions, where nothing in them is impossible; `where` they are from begins the error.

    Raises PredictionsError where a class stands there twice, or an id, or where a probability, the
    temperature or a split cannot be.
    """
    if wrong := _impossible(predictions):
        what = f"{where}{wrong[0]}"
        raise PredictionsError(
            what[0].upper() + what[1:] if not where else what, expected=wrong[1], todo=todo
        )
    return predictions


def _impossible(p: Predictions) -> tuple[str, str] | None:
    """What cannot be, and what would be possible; None where everything is in order."""
    with np.errstate(invalid="ignore"):  # inf - inf
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
    if several := int(np.count_nonzero(counts > 1)):
        return (
            f"{words.many(several, 'id stands', 'ids stand')} there more than once, such as "
            f"{str(known[counts > 1][0])!r}.",
            "one row per image",
        )
    if strange:
        return f"there is a split called {strange[0]!r}.", f"one of {', '.join(SPLITS)}"
    return None
