"""Predictions of a model that is not Candid's, on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.arrays import BoolArray, IndexArray
from candid.data.dataset import Dataset
from candid.errors import ConfigError, DataError, ImageError, PredictionsError
from candid.predictions import Predictions, write_predictions
from candid.predictions.numbers import NumberAnswers
from candid.predictions.outputs.files import is_outputs_file, read_outputs
from candid.predictions.outputs.reading import OutputReader, is_output
from candid.progress import progress
from candid.settings import Config
from candid.settings.named_parts import is_named_part
from candid.stats.intervals import share
from candid.tables.numbers import to_numbers
from candid.text import other_models as text

if TYPE_CHECKING:
    from candid.inference.other_models import Asked

_BATCH = 32
_LEAST = 20  # images of a group whose share without an answer is reported
_SHOWN = 3  # such groups


def predict_with_model(
    dataset: Dataset,
    model: str | Callable[..., Any],
    config: Config,
    *,
    keep: Path | None = None,
    quiet: bool = True,
) -> Predictions | NumberAnswers:
    """Another model's answers for all labelled images of a data set, each taken as unseen.

    `model` is what `candid.inference.other_models.open_other` takes, or a file of outputs. Outputs
    are probabilities, what one of the libraries of `candid.predictions.outputs` writes, or numbers.
    Images without an answer are left out and counted in `provenance["notes"]`, which an audit
    shows; `keep` is a Parquet file for the answers. Raises DataError or PredictionsError where no
    image has a label, none has an answer, or answers are no probabilities (no numbers); ConfigError
    where a file or a server is asked for numbers, or these are to be kept.
    """
    from candid.inference.other_models import number_of_row, open_other

    rows = _labelled_rows(dataset)
    if dataset.is_number:
        _refuse_for_number(model, keep)
        model_function = open_other(model, max_pixels=config.data.max_pixels)
        numbers = _ask_all(dataset, rows, model_function, number_of_row, quiet=quiet)
        return _build_number_answers(dataset, rows, numbers, model, config)
    reader, n_foreign = _AnswerParser(dataset.classes), 0
    answers: list[Any]
    if isinstance(model, str) and is_outputs_file(model):
        ids = [str(dataset.ids[row]) for row in rows]
        outputs, n_foreign = read_outputs(Path(model), ids)
        answers = [reader(output) for output in outputs]
    else:
        model_function = open_other(model, max_pixels=config.data.max_pixels)
        answers = _ask_all(dataset, rows, model_function, reader, quiet=quiet)
    is_read = np.array([answer is not _UNREAD for answer in answers], np.bool_)
    is_answered = np.array([isinstance(answer, list) for answer in answers], np.bool_)
    _refuse_unanswered(is_answered)
    notes = _unanswered_notes(dataset, rows, is_read, is_answered, config)
    notes += reader.notes(n_foreign)
    answered_rows = rows[is_answered]
    predictions = Predictions(
        **_columns(dataset, answered_rows),
        classes=reader.outputs.classes,
        label=dataset.label[answered_rows],
        probability=np.array([answer for answer in answers if isinstance(answer, list)]),
        provenance=_build_provenance(dataset, model, notes),
        hard=reader.outputs.hard,
    )
    if keep is not None:
        write_predictions(keep, predictions)
    return predictions


def _build_number_answers(
    dataset: Dataset,
    rows: IndexArray,
    answers: list[Any],
    model: str | Callable[..., Any],
    config: Config,
) -> NumberAnswers:
    """The model's numbers; `answers` has a number, None or `_UNREAD` for each row."""
    is_read = np.array([answer is not _UNREAD for answer in answers], np.bool_)
    is_answered = np.array([isinstance(answer, float) for answer in answers], np.bool_)
    _refuse_unanswered(is_answered)
    answered_rows = rows[is_answered]
    notes = _unanswered_notes(dataset, rows, is_read, is_answered, config)
    return NumberAnswers(
        **_columns(dataset, answered_rows),
        value=to_numbers(dataset.classes)[dataset.label[answered_rows]],
        predicted=np.array([answer for answer in answers if isinstance(answer, float)]),
        provenance=_build_provenance(dataset, model, notes),
    )


def _columns(dataset: Dataset, rows: IndexArray) -> dict[str, Any]:
    """The columns of the answered images, whatever their label."""
    return {
        "target": dataset.target,
        "ids": dataset.ids[rows],
        "split": np.full(len(rows), "test"),
        "person": None if dataset.person is None else dataset.person[rows],
        "attributes": {name: a[rows] for name, a in dataset.attributes.items()},
    }


def _refuse_for_number(model: str | Callable[..., Any], keep: Path | None) -> None:
    """Raise ConfigError where the model is no function, or numbers are to be kept."""
    is_function = callable(model) or is_named_part(model)
    if is_function and keep is None:
        return
    what, todo = f"{model} gives no numbers.", "write a function: --model package.module:function"
    if is_function:
        what, todo = "A number is kept in no file of predictions.", "leave --keep out"
    expected = "a function that gives a number for each picture, without --keep"
    raise ConfigError(what, expected=expected, todo=todo)


def _refuse_unanswered(is_answered: BoolArray) -> None:
    if not is_answered.any():
        raise PredictionsError(
            f"The model had no answer for any of {len(is_answered):,} pictures.",
            expected="an answer for some of them",
            todo="try it on one picture by itself",
        )


def _build_provenance(
    dataset: Dataset, model: str | Callable[..., Any], notes: Sequence[str]
) -> dict[str, str]:
    """The data, the model and the notes."""
    provenance = {"data": dataset.name, "model": model if isinstance(model, str) else repr(model)}
    return provenance | ({"notes": " ".join(notes)} if notes else {})


def _labelled_rows(dataset: Dataset) -> IndexArray:
    rows = np.flatnonzero(dataset.label >= 0)
    if not len(rows):
        raise DataError(
            f"{dataset.name} has no labelled pictures.",
            expected="pictures with a label to hold the model against",
            todo="check --set data.target=… and the layout",
        )
    return rows


_UNREAD = "unread"  # in place of an answer


class _AnswerParser:
    """Parses probabilities and libraries' outputs."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.outputs = OutputReader(classes)
        self.labels = classes

    def __call__(self, answer: Any) -> list[float] | None:
        from candid.inference.other_models import row_of

        if self.outputs.library or is_output(answer):
            return self.outputs(answer)
        return row_of(answer, self.labels)

    def notes(self, foreign: int) -> Iterator[str]:
        """How outputs of a library were read; `foreign` are those of other pictures."""
        outputs = self.outputs
        if outputs.library:
            yield text.read_as(outputs.library, outputs.hard)
        if outputs.several:
            yield text.several_faces(outputs.several)
        if outputs.faceless:
            yield text.no_face_note(outputs.library, outputs.faceless)
        yield from sorted(outputs.notes)
        if foreign:
            yield text.unmatched_outputs(foreign)


def _ask_all(
    dataset: Dataset,
    rows: IndexArray,
    model: Asked,
    reader: Callable[[Any], Any],
    *,
    quiet: bool,
) -> list[Any]:
    """The parsed answer for each row; None: no answer; `_UNREAD`: an unreadable image."""
    answers: list[Any] = []
    with progress("ask", len(rows), unit="pictures", quiet=quiet) as bar:
        for start in range(0, len(rows), _BATCH):
            block = rows[start : start + _BATCH].tolist()
            for answer in _ask_block(dataset, block, model):
                answers.append(answer if answer is _UNREAD else reader(answer))
            bar.update(len(block))
    return answers


def _ask_block(dataset: Dataset, rows: list[int], model: Asked) -> list[Any]:
    try:
        return model([dataset.source.read(row) for row in rows])
    except ImageError:
        if len(rows) == 1:
            return [_UNREAD]
        return [answer for row in rows for answer in _ask_block(dataset, [row], model)]


def _unanswered_notes(
    dataset: Dataset,
    rows: IndexArray,
    is_read: BoolArray,
    is_answered: BoolArray,
    config: Config,
) -> list[str]:
    """Notes on the images without an answer."""
    sentences = []
    if unread := int(np.count_nonzero(~is_read)):
        sentences.append(text.unread(unread, len(rows)))
    if count := int(np.count_nonzero(is_read & ~is_answered)):
        read_rows, unanswered = rows[is_read], ~is_answered[is_read]
        person = None if dataset.person is None else dataset.person[read_rows]
        confidence = config.audit.confidence
        overall = share(unanswered, np.ones(len(read_rows), np.bool_), person, confidence)
        groups = [
            (f"{name} {value}", share(unanswered & members, members, person, confidence))
            for name, value, members in _list_groups(dataset, read_rows)
            if np.count_nonzero(members) >= _LEAST
        ]
        highest = sorted(groups, key=lambda group: -group[1].value)[:_SHOWN]
        worse = [g for g in highest if g[1].value > overall.value]
        sentences.append(text.no_answer(overall, count, worse))
    return sentences


def _list_groups(dataset: Dataset, rows: IndexArray) -> list[tuple[str, str, BoolArray]]:
    """The values of the label and of attributes in words, with masks of their rows."""
    groups = [
        (dataset.target, value, dataset.label[rows] == code)
        for code, value in enumerate(() if dataset.is_number else dataset.classes)
    ]
    for name, attribute in dataset.attributes.items():
        if attribute.kind != "numeric":
            codes = attribute.data[rows]
            groups += [(name, value, codes == k) for k, value in enumerate(attribute.values)]
    return groups
