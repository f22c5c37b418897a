"""Predictions: one row per image, with its annotations and a model's answer.

Evaluation, audit, calibration and report read only this, so they work on any model, without torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candid.errors import PredictionsError
from candid.predictions.attribute_columns import (
    METADATA,
    describe_attributes,
    image_columns,
    read_attribute,
    read_codes,
    read_parquet,
    read_persons,
    read_strings,
    to_column,
    to_word_column,
    write_parquet,
)
from candid.predictions.checks import require_evaluable, require_possible, require_probabilities
from candid.records import SPLITS, Example
from candid.records.frames import frame_of_table, html_of
from candid.table import Attribute, Table, per_image_values

__all__ = [
    "Attribute",
    "Predictions",
    "described",
    "read_predictions",
    "require_evaluable",
    "require_probabilities",
    "write_predictions",
]

_LABEL_AS_READ = "label as read"
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)  # JSON of another shape


@dataclass(frozen=True, eq=False)
class Predictions(Table):
    """A model's predictions for the n images of a `Table`.

    Attributes
    ----------
    probability
        (n, classes) float64; rows sum to 1. Calibrated with `temperature`: raising to that power
        and normalising gives the probabilities before calibration.
    temperature
        1.0 where the probabilities were never calibrated.
    provenance
        Where the file came from; free text by key.
    hard
        True where the model gave answers and no probabilities: `probability` then holds 0 and 1,
        and areas under curves, losses and calibration are undefined.
    out_of_fold
        True where each image was predicted by a model that was trained on other people's, so that
        those of the training split count as any other.
    """

    PER_IMAGE = (*Table.PER_IMAGE, "probability")

    probability: NDArray[np.float64]
    temperature: float = 1.0
    provenance: Mapping[str, str] = field(default_factory=dict)
    hard: bool = False
    out_of_fold: bool = False

    @property
    def unlearned(self) -> NDArray[np.bool_]:
        """(n,) the images with a label that the model was not trained on."""
        unlearned: NDArray[np.bool_] = (self.label >= 0) & (
            self.out_of_fold | (self.split != "train")
        )
        return unlearned

    @cached_property
    def prediction(self) -> NDArray[np.intp]:
        """(n,) index of the most probable class; the first of equals."""
        best: NDArray[np.intp] = np.argmax(self.probability, axis=1)
        return best

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """(n,) the probability of the answer."""
        top: NDArray[np.float64] = self.probability.max(axis=1)
        return top

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """(n,) whether the answer is another than the label."""
        wrong: NDArray[np.bool_] = self.prediction != self.label
        return wrong

    def example(self, row: int) -> Example:
        """A labelled image for the report; mere answers have no probabilities."""
        label, answer = int(self.label[row]), int(self.prediction[row])
        sure = math.nan if self.hard else 1.0
        return Example(
            id=str(self.ids[row]),
            label=self.classes[label],
            prediction=self.classes[answer],
            confidence=sure * float(self.confidence[row]),
            label_probability=sure * float(self.probability[row, label]),
        )

    def to_frame(self) -> Any:
        """A row per image as in its file, and the answer: pandas, else polars, else Arrow."""
        columns = list(_columns(self).items())
        answer = pa.DictionaryArray.from_arrays(
            pa.array(self.prediction.astype(np.int32)), pa.array(list(self.classes), pa.string())
        )
        if "prediction" not in self.attributes:
            columns.insert(3, ("prediction", answer))  # after the label
        return frame_of_table(pa.table(dict(columns)))

    def _repr_html_(self) -> str:
        counts = [
            {
                "split": split,
                "images": int((self.split == split).sum()),
                "wrong": int(self.wrong[rows].sum()),
            }
            for split in SPLITS
            if len(rows := self.rows(split))
        ]
        return html_of(counts, f"{self.target}: {', '.join(self.classes)}")

    @classmethod
    def from_arrays(  # type: ignore[override]
        cls,
        y_true: Any,
        y_prob: Any,
        *,
        groups: Any = None,
        person: Any = None,
        classes: Sequence[Any] | None = None,
        ids: Any = None,
        split: Any = None,
        target: str = "label",
    ) -> Predictions:
        """Any model's predictions, from arrays, lists or a data frame's columns.

        Parameters
        ----------
        y_true
            (n,) the labels: words, numbers or booleans.
        y_prob
            (n,) the probability of the second class, or (n, classes) one per class; columns of a
            data frame may be in any order if they are named after the classes ("Male", "p_Male").
            Where (n,) hold the classes' own words, or nothing but 0 and 1, these are answers, as of
            `predict`, and `hard` is set.
        groups
            What to audit by: a data frame, a mapping of names to (n,) values, or one column.
        person
            (n,) the person in each image; without it every image counts as another person.
        classes
            The label's values in the order of the columns of `y_prob`; None: those that occur,
            sorted, as scikit-learn orders them.
        ids
            (n,) names of the images, each once; None: they are numbered.
        split
            (n,) train, validation or test; None: all are test.
        target
            The label's name.

        Raises
        ------
        DataError, PredictionsError
            Where values are missing or impossible, or shapes do not fit each other.
        """
        from candid.predictions.answers import ANSWERS_ALONE
        from candid.predictions.arrays import read_scores

        values = per_image_values(y_true, target, classes, groups, person, ids, split)
        probability, hard = read_scores(y_prob, len(values["ids"]), values["classes"])
        todo = (
            "pass what the model says, one row per image; percents are divided by 100, and logits "
            "go through a sigmoid or softmax first"
        )
        provenance = {"notes": ANSWERS_ALONE} if hard else {}
        predictions = cls(**values, probability=probability, hard=hard, provenance=provenance)
        return require_possible(predictions, "", todo)

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        label: str,
        prediction: str | Sequence[str],
        groups: Sequence[str] = (),
        person: str | None = None,
        split: str | None = None,
        ids: str | None = None,
        positive: str | None = None,
        scale: Literal["probability", "percent", "logit"] = "probability",
    ) -> Predictions:
        """Any model's predictions, from a table with a row per image.

        Ambiguous or impossible values are errors. `provenance["notes"]` lists the assumptions and
        the rows that were left out.

        Parameters
        ----------
        table
            A CSV, TSV or Parquet file, or a data frame. A row without a prediction is left out,
            with a note; one without a label stays, unlabelled.
        label
            The column of annotations: words, or 0 and 1 (no and yes, false and true).
        prediction
            The column with the probability of one of two classes; or the columns with the
            probability of each class ("p_Female", "p_Male", or a pattern such as "p_*"); or a
            column with the answer alone, which sets `hard` on the result.
        groups
            Columns to audit, names or patterns. None named: every other column that holds few words
            or numbers.
        person
            The column of persons. None: a column with a usual name ("person_id"), if any.
        split
            The column with train, validation or test. None: a column with a usual name and these
            words, or else every row counts as test.
        ids
            The column of the images' names. None: a column with a usual name ("id", "path",
            "image"), or else the rows are numbered.
        positive
            The class of a single probability, if it is not in the column's name.
        scale
            "probability" from 0 to 1, "percent" from 0 to 100, or "logit": the input of a sigmoid
            (one column) or a softmax (one per class).

        Raises
        ------
        DataError
            Where the file cannot be read as a table.
        PredictionsError
            Where a column is missing, impossible or ambiguous.
        """
        from candid.predictions.choosing import Columns
        from candid.predictions.from_table import predictions_from

        names = (prediction,) if isinstance(prediction, str) else tuple(prediction)
        columns = Columns(label, names, tuple(groups), person, split, ids, positive, scale)
        return predictions_from(table, columns)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a Parquet file with one row per image: id, split, label, p_<class>, attributes."""
    metadata: dict[str, Any] = {
        "target": predictions.target,
        "classes": list(predictions.classes),
        "temperature": predictions.temperature,
        "attributes": describe_attributes(predictions.attributes),
        "provenance": dict(predictions.provenance),
        "hard": predictions.hard,
    }
    if predictions.label_as_read is not None:
        metadata["corrected"] = True
    if predictions.out_of_fold:
        metadata["out_of_fold"] = True
    write_parquet(path, _columns(predictions), metadata)


def read_metadata(schema: pa.Schema) -> dict[str, Any] | None:
    """The metadata of a Parquet file of predictions; None for any other file.

    The tables of `candid predict`, which hold no labels to judge by, are others.
    """
    metadata: dict[str, Any] = json.loads((schema.metadata or {}).get(METADATA, b"{}"))
    return metadata if "attributes" in metadata else None


def _columns(predictions: Predictions) -> dict[str, pa.Array]:
    columns, person_columns = image_columns(predictions.ids, predictions.split, predictions.person)
    columns["label"] = to_word_column(predictions.label, predictions.classes)
    for i, name in enumerate(predictions.classes):
        columns[f"p_{name}"] = pa.array(predictions.probability[:, i], pa.float64())
    if predictions.label_as_read is not None:
        columns[_LABEL_AS_READ] = to_word_column(predictions.label_as_read, predictions.classes)
    columns |= person_columns
    for attribute in predictions.attributes.values():
        if attribute.name in columns:
            raise PredictionsError(
                f"An attribute is called {attribute.name!r}, like a column of every file.",
                expected="attribute names other than id, split, label, person and p_<class>",
                todo="rename the column in the data",
            )
        columns[attribute.name] = to_column(attribute)
    return columns


def read_predictions(path: Path) -> Predictions:
    """Read a file that `write_predictions` wrote.

    Raises
    ------
    PredictionsError
        Where the file is missing, is not Parquet, was not written by Candid, or holds impossible
        values.
    RunError
        Where another release of Candid wrote it, in another format.
    """
    todo = "write the file again; name --label and --prediction for another model's table"
    return require_possible(_read(path), f"{path}: ", todo)


def _read(path: Path) -> Predictions:
    try:
        table, metadata = read_parquet(path)
        _reject_number(path, metadata)
        classes = tuple(metadata["classes"])
        return Predictions(
            target=metadata["target"],
            classes=classes,
            ids=read_strings(table, "id"),
            split=read_strings(table, "split"),
            label=read_codes(table, "label", classes),
            probability=np.column_stack([table[f"p_{c}"].to_numpy() for c in classes]).astype(
                np.float64
            ),
            temperature=float(metadata["temperature"]),
            person=read_persons(table),
            attributes={
                name: read_attribute(table, name, a["kind"], tuple(a["values"]))
                for name, a in metadata["attributes"].items()
            },
            provenance=metadata["provenance"],
            hard=bool(metadata.get("hard", False)),
            label_as_read=(
                read_codes(table, _LABEL_AS_READ, classes) if metadata.get("corrected") else None
            ),
            out_of_fold=bool(metadata.get("out_of_fold", False)),
        )
    except (OSError, pa.ArrowException, *_MALFORMED) as error:
        raise PredictionsError(
            f"Cannot read {path} as predictions: {type(error).__name__}: {error}",
            expected="a Parquet file that Candid wrote",
            todo="name a run folder or its predictions.parquet; other people's tables are read by "
            "candid.Predictions.from_table",
        ) from error


def _reject_number(path: Path, metadata: Mapping[str, Any]) -> None:
    if "number" in metadata:
        raise PredictionsError(
            f"{path} holds predictions of {metadata['target']!r}, which is a number.",
            expected="predictions of a label with classes",
            todo="candid evaluate and candid audit take the run's folder",
        )
