"""The audit of a model that is not Candid's, on labelled pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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
from candid.tables.numbers import numbers_of
from candid.text import other_models as text

if TYPE_CHECKING:
    from candid.inference.other_models import Asked

_BATCH = 32
_LEAST = 20  # images of a group of which it is said how often there was no answer
_SHOWN = 3  # such groups


def ask_other(
    dataset: Dataset,
    model: str | Callable[..., Any],
    config: Config,
    *,
    keep: Path | None = None,
    quiet: bool = True,
) -> Predictions | NumberAnswers:
    """What another model says of all labelled pictures of a data set, each taken as unseen.

    `model` is what `candid.inference.other_models.open_other` takes, or a file of outputs that were
    written before. Outputs are probabilities, or what one of the libraries of
    `candid.predictions.outputs` writes. Pictures without an answer are left out and counted in
    `provenance["notes"]`, which an audit shows; `keep` is a Parquet file for what it says. Of a
    number, a function gives a number for each. Raises DataError or PredictionsError where no
    picture has a label, none has an answer, or answers are no probabilities (no numbers);
    ConfigError where numbers are asked of a file or a server, or are to be kept.
    """
    from candid.inference.other_models import number_of_row, open_other

    rows = _labelled(dataset)
    if dataset.is_number:
        _refuse_for_number(model, keep)
        ask = open_other(model, max_pixels=config.data.max_pixels)
        numbers = _answers(dataset, rows, ask, number_of_row, quiet=quiet)
        return _number_answers(dataset, rows, numbers, model, config)
    reader, foreign = _Reader(dataset.classes), 0
    found: list[Any]
    if isinstance(model, str) and is_outputs_file(model):
        ids = [str(dataset.ids[row]) for row in rows]
        said, foreign = read_outputs(Path(model), ids)
        found = [reader(one) for one in said]
    else:
        ask = open_other(model, max_pixels=config.data.max_pixels)
        found = _answers(dataset, rows, ask, reader, quiet=quiet)
    read = np.array([answer is not _UNREAD for answer in found], np.bool_)
    answered = np.array([isinstance(answer, list) for answer in found], np.bool_)
    _refuse_silent(answered)
    notes = [*_notes(dataset, rows, read, answered, config), *reader.notes(foreign)]
    kept = rows[answered]
    predictions = Predictions(
        **_images(dataset, kept),
        classes=reader.outputs.classes,
        label=dataset.label[kept],
        probability=np.array([answer for answer in found if isinstance(answer, list)]),
        provenance=_about(dataset, model, notes),
        hard=reader.outputs.hard,
    )
    if keep is not None:
        write_predictions(keep, predictions)
    return predictions


def _number_answers(
    dataset: Dataset,
    rows: NDArray[np.intp],
    found: list[Any],
    model: str | Callable[..., Any],
    config: Config,
) -> NumberAnswers:
    """The same of a number; `found` are numbers for each row, None or `_UNREAD`."""
    read = np.array([answer is not _UNREAD for answer in found], np.bool_)
    answered = np.array([isinstance(answer, float) for answer in found], np.bool_)
    _refuse_silent(answered)
    kept = rows[answered]
    return NumberAnswers(
        **_images(dataset, kept),
        value=numbers_of(dataset.classes)[dataset.label[kept]],
        predicted=np.array([answer for answer in found if isinstance(answer, float)]),
        provenance=_about(dataset, model, _notes(dataset, rows, read, answered, config)),
    )


def _images(dataset: Dataset, kept: NDArray[np.intp]) -> dict[str, Any]:
    """What is known of the images that were answered, whatever their label."""
    return {
        "target": dataset.target,
        "ids": dataset.ids[kept],
        "split": np.full(len(kept), "test"),
        "person": None if dataset.person is None else dataset.person[kept],
        "attributes": {name: a[kept] for name, a in dataset.attributes.items()},
    }


def _refuse_for_number(model: str | Callable[..., Any], keep: Path | None) -> None:
    """Raise ConfigError where it is no function that is asked for numbers, or these are kept."""
    function = callable(model) or is_named_part(model)
    if function and keep is None:
        return
    raise ConfigError(
        "A number is kept in no file of predictions." if function else f"{model} gives no numbers.",
        expected="a function that gives a number for each picture, without --keep",
        todo="leave --keep out"
        if function
        else "write a function: --model package.module:function",
    )


def _refuse_silent(answered: NDArray[np.bool_]) -> None:
    if not answered.any():
        raise PredictionsError(
            f"The model had no answer for any of {len(answered):,} pictures.",
            expected="an answer for some of them",
            todo="try it on one picture by itself",
        )


def _about(
    dataset: Dataset, model: str | Callable[..., Any], notes: Sequence[str]
) -> dict[str, str]:
    """Where answers come from."""
    about = {"data": dataset.name, "model": model if isinstance(model, str) else repr(model)}
    return about | ({"notes": " ".join(notes)} if notes else {})


def _labelled(dataset: Dataset) -> NDArray[np.intp]:
    rows = np.flatnonzero(dataset.label >= 0)
    if not len(rows):
        raise DataError(
            f"{dataset.name} has no labelled pictures.",
            expected="pictures with a label to hold the model against",
            todo="check --set data.target=… and the layout",
        )
    return rows


_UNREAD = "unread"  # in place of an answer


class _Reader:
    """Answers as probabilities: those that are, and what a library writes."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.outputs = OutputReader(classes)
        self.labels = classes

    def __call__(self, answer: Any) -> list[float] | None:
        from candid.inference.other_models import row_of

        if self.outputs.library or is_output(answer):
            return self.outputs(answer)
        return row_of(answer, self.labels)

    def notes(self, foreign: int) -> Iterator[str]:
        """How outputs of a library were read; `foreign` are those of pictures that are not here."""
        about = self.outputs
        if about.library:
            yield text.read_as(about.library, about.hard)
        if about.several:
            yield text.several_faces(about.several)
        if about.faceless:
            yield text.faceless(about.library, about.faceless)
        yield from sorted(about.notes)
        if foreign:
            yield text.foreign(foreign)


def _answers(
    dataset: Dataset,
    rows: NDArray[np.intp],
    ask: Asked,
    reader: Callable[[Any], Any],
    *,
    quiet: bool,
) -> list[Any]:
    """What is read for each row; None: no answer; `_UNREAD`: the picture cannot be read."""
    found: list[Any] = []
    with progress("ask", len(rows), unit="pictures", quiet=quiet) as bar:
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH].tolist()
            for answer in _asked(dataset, some, ask):
                found.append(answer if answer is _UNREAD else reader(answer))
            bar.update(len(some))
    return found


def _asked(dataset: Dataset, rows: list[int], ask: Asked) -> list[Any]:
    try:
        return ask([dataset.source.read(row) for row in rows])
    except ImageError:
        if len(rows) == 1:
            return [_UNREAD]
        return [answer for row in rows for answer in _asked(dataset, [row], ask)]


def _notes(
    dataset: Dataset,
    rows: NDArray[np.intp],
    read: NDArray[np.bool_],
    answered: NDArray[np.bool_],
    config: Config,
) -> list[str]:
    """What a reader must know of the pictures without an answer."""
    said = []
    if unread := int(np.count_nonzero(~read)):
        said.append(text.unread(unread, len(rows)))
    if count := int(np.count_nonzero(read & ~answered)):
        shown, silent = rows[read], ~answered[read]
        person = None if dataset.person is None else dataset.person[shown]
        confidence = config.audit.confidence
        overall = share(silent, np.ones(len(shown), np.bool_), person, confidence)
        groups = [
            (f"{name} {value}", share(silent & of, of, person, confidence))
            for name, value, of in _groups(dataset, shown)
            if np.count_nonzero(of) >= _LEAST
        ]
        most = sorted(groups, key=lambda group: -group[1].value)[:_SHOWN]
        said.append(text.no_answer(overall, count, [g for g in most if g[1].value > overall.value]))
    return said


def _groups(dataset: Dataset, rows: NDArray[np.intp]) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """The label's values and those of the attributes that are words, and which rows have them."""
    found = [
        (dataset.target, value, dataset.label[rows] == code)
        for code, value in enumerate(() if dataset.is_number else dataset.classes)
    ]
    for name, attribute in dataset.attributes.items():
        if attribute.kind != "numeric":
            codes = attribute.data[rows]
            found += [(name, value, codes == k) for k, value in enumerate(attribute.values)]
    return found
