"""Labelled images from anywhere, predicted as `candid predict` does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from candid.arrays import BoolArray, IndexArray
from candid.data.dataset import Dataset, Sharded
from candid.errors import ConfigError, DataError, TargetError
from candid.pipeline.answers import ModelAnswers
from candid.pipeline.labelling import describe_model, model_key, single_threaded
from candid.pipeline.opening import Place, reopen_run, sole_label_run
from candid.predictions import Predictions, read_predictions
from candid.predictions.numbers import NumberPredictions, read_number_predictions
from candid.progress import progress
from candid.records import SPLITS, ModelCard, Provenance, read_record
from candid.records.external import Unread
from candid.runs import Run
from candid.runs.refusals import refuse_untrained
from candid.settings import Config, DataConfig
from candid.storage.files import plain_name
from candid.tables.numbers import to_numbers

if TYPE_CHECKING:
    from candid.inference.classify import Labeller
    from candid.inference.sources import Item

_LISTED = 100  # pictures that could not be read


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A trained run to evaluate: `settings` to judge with, `data_config` to read labels with."""

    run: Run
    card: ModelCard
    settings: Config
    data_config: DataConfig

    def read(self, source: Dataset | Place, target: str | None) -> Dataset:
        """The labels of a data set; see `read_labels`."""
        location = Path(source) if isinstance(source, str | PathLike) else source
        return read_labels(location, self.card, self.data_config, target=target)


def open_trained_run(
    run: Run | Place, config: Config | None, quiet: bool, *, number: bool = False
) -> TrainedRun:
    """A trained run with settings; without `config`, labels are read by the defaults.

    With `number`, also of a number, whose run will do. Raises RunError for an unfinished training.
    """
    folder = reopen_run(run, quiet=quiet)
    folder = sole_label_run(folder) if number else folder
    refuse_untrained(folder, number=number)
    card = read_record(folder.model_file, ModelCard)
    settings = config or folder.settings
    return TrainedRun(folder, card, settings, (Config() if config is None else config).data)


# --- the labels ----------------------------------------------------------------------------------


def read_labels(
    source: Dataset | Path, card: ModelCard, data_config: DataConfig, *, target: str | None = None
) -> Dataset:
    """The labels of a data set in any layout, with any splits, in the order of a model's classes.

    Without a `target` that of `data_config` is taken, else the model's, else (not of a number) the
    layout's own. Raises DataError for unreadable data or other classes; TargetError where one of
    the two is a number and the other is not.
    """
    from candid.data import layouts
    from candid.data.correcting import apply_corrections_file

    if not isinstance(source, Path):
        return _match_classes(source, card)
    name, layout = target or data_config.target or None, data_config.layout or None
    if card.number is not None:
        name = name or card.target
        data_config = replace(data_config, numbers=(name,))
    load = partial(layouts.read_place, source, layout=layout, config=data_config)
    try:
        dataset = load(target=name or card.target)
    except TargetError:
        if name:
            raise
        dataset = load(target=None)
    return _match_classes(apply_corrections_file(dataset, data_config.corrections), card)


def _match_classes(dataset: Dataset, card: ModelCard) -> Dataset:
    """The data set with the model's classes, in any case; TargetError for a number and classes."""
    if card.number is not None and dataset.is_number:
        return dataset
    if card.number is not None:
        raise TargetError(
            f"The label {dataset.target!r} of {dataset.name} has classes, and the model's "
            f"{card.target!r} is a number.",
            expected="a label that is a number",
            todo=f"name one with --target, or read it as one: data.numbers = [{card.target!r}]",
        )
    codes = {name.strip().casefold(): code for code, name in enumerate(card.classes)}
    code = [codes.get(name.strip().casefold()) for name in dataset.classes]
    used_codes = {int(c) for c in np.unique(dataset.label) if c >= 0}
    unknown = [dataset.classes[k] for k, c in enumerate(code) if c is None and k in used_codes]
    if unknown:
        words = ", ".join(f'"{name}={_guess_class(name, card.classes)}"' for name in unknown[:4])
        raise DataError(
            f"{dataset.name} labels {dataset.target!r} with {', '.join(map(repr, unknown[:4]))}, "
            f"which {'is' if len(unknown) == 1 else 'are'} no class of the model.",
            expected=f"the classes of {card.target!r}: {', '.join(map(repr, card.classes))} (in "
            "any case)",
            todo=f"say which class each is, such as --set 'data.class_names=[{words}]'; leave "
            "others out with data.exclude_classes; or name another label with --target",
        )
    table = np.array([-1 if c is None else c for c in code] + [-1], np.int16)
    as_read = None if dataset.label_as_read is None else table[dataset.label_as_read]
    return replace(dataset, classes=card.classes, label=table[dataset.label], label_as_read=as_read)


def _guess_class(word: str, classes: Sequence[str]) -> str:
    """The only class that is a prefix of the word or has it as one; else "…"."""
    word = word.strip().casefold()
    matches = [c for c in classes if c.casefold().startswith(word) or word.startswith(c.casefold())]
    return matches[0] if word and len(matches) == 1 else "…"


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """The labelled rows of a data set that are predicted, ascending.

    `split` is theirs, or "" for all; `unlabelled` counts its rows without a label; `notes` are for
    readers.
    """

    rows: IndexArray
    split: str
    unlabelled: int
    notes: tuple[str, ...] = ()


def choose_rows(run: Run, dataset: Dataset, split: str | None) -> LabelledRows:
    """The labelled rows of a split, or all; of the run's own data, those that it tested on.

    Raises ConfigError for an unknown split; DataError where none of its images has a label.
    """
    if split is not None and split not in SPLITS:
        raise ConfigError(
            f"There is no split {split!r}.",
            expected=f"one of: {', '.join(SPLITS)}",
            todo="leave --split out for all images",
        )
    notes: tuple[str, ...] = ()
    mask = np.ones(len(dataset), np.bool_)
    if split is None and (held_out := _find_held_out(run, dataset)) is not None:
        mask, split, note = held_out
        notes = (note,)
    elif split is not None:
        mask = dataset.split == split
    rows = np.flatnonzero(mask & (dataset.label >= 0))
    if not len(rows):
        raise DataError(
            f"{dataset.name} has no labelled images" + (f" in {split}." if split else "."),
            expected="images with a label to hold the model against",
            todo="check --split and --target",
        )
    return LabelledRows(rows, split or "", int(np.count_nonzero(mask)) - len(rows), notes)


def _find_held_out(run: Run, dataset: Dataset) -> tuple[BoolArray, str, str] | None:
    """Mask (n,), split and note of the run's held-out images; None where these are other data.

    They are its own by place, or by names and labels.
    """
    if not run.predictions_file.is_file():
        return None
    predictions, own_labels, labels = _read_both_labels(run, dataset)
    provenance = read_record(run.provenance, Provenance) if run.provenance.is_file() else None
    row_of = {str(name): row for row, name in enumerate(dataset.ids.tolist())}
    rows = np.array([row_of.get(str(name), -1) for name in predictions.ids.tolist()], np.intp)
    agrees = (rows >= 0) & (labels[rows] == own_labels)
    is_own = bool(dataset.origin) and provenance is not None and dataset.origin == provenance.data
    if not is_own and np.count_nonzero(agrees) < 0.95 * len(predictions):
        return None
    for split in ("test", "validation"):
        held_out = rows[(predictions.split == split) & (rows >= 0)]
        if len(held_out):
            break
    else:
        return None
    mask = np.zeros(len(dataset), np.bool_)
    mask[held_out] = True
    reason = "are the data that" if is_own else "images have the names and labels of those that"
    note = (
        f"These {reason} the run was made from, so only its {split} images were taken: it has "
        "learned from the others."
    )
    return mask, split, note


def _read_both_labels(
    run: Run, dataset: Dataset
) -> tuple[Predictions | NumberPredictions, NDArray[Any], NDArray[Any]]:
    """A run's own predictions, their labels (or values), and those of the data set's rows."""
    if dataset.is_number:
        numbers = read_number_predictions(run.predictions_file)
        values = np.append(to_numbers(dataset.classes), np.nan)
        return numbers, numbers.value, values[dataset.label]
    predictions = read_predictions(run.predictions_file)
    return predictions, predictions.label, dataset.label


# --- the answers ---------------------------------------------------------------------------------


def predict_dataset(
    labeller: Labeller,
    dataset: Dataset,
    rows: IndexArray,
    out: Path,
    *,
    workers: int = 0,
    quiet: bool = False,
) -> ModelAnswers:
    """Predict some rows of a data set.

    A stopped job goes on with the same call, from a journal beside `out`, a table that is removed
    in the end. Of several faces in a picture, the largest is taken.
    """
    from candid.inference.common_frame import with_common_frame
    from candid.inference.label_file import label_to_file

    with single_threaded():
        labeller, pictures = with_common_frame(labeller, dataset_items(dataset, rows))
    job = model_key(labeller) | {
        "data": dataset.origin or dataset.name,
        "stamp": dataset.source.stamp(),
        "rows": [len(rows), int(rows.sum()), int((rows * np.arange(1, len(rows) + 1)).sum())],
    }
    with single_threaded(), progress(dataset.name, len(rows), unit="pictures", quiet=quiet) as bar:
        label_to_file(
            labeller,
            pictures,
            out,
            "parquet",
            job,
            about=describe_model(labeller),
            force=True,
            codes=True,
            workers=workers,
            bar=bar.update,
        )
    answered = _join_answers(labeller, dataset, rows, out)
    out.unlink(missing_ok=True)
    return answered


def describe_source(
    labeller: Labeller, dataset: Dataset, rows: LabelledRows, answers: ModelAnswers
) -> dict[str, Any]:
    """Fields of records: where labelled images are from, and how they were read."""
    return {
        "data": dataset.origin or dataset.name,
        "layout": dataset.layout,
        "split": rows.split,
        "cropped": labeller.finder is not None,
        "frame": answers.frame,
    }


def dataset_items(dataset: Dataset, rows: IndexArray) -> Iterator[Item]:
    """Rows of a data set as what `candid.inference.classify.label` takes."""
    from candid.inference.sources import Item, printable

    ordered = isinstance(dataset.source, Sharded)
    for row in rows.tolist():
        read = partial(dataset.source.read, row)
        yield Item(printable(str(dataset.ids[row])), read, ordered=ordered)


def _join_answers(
    labeller: Labeller, dataset: Dataset, rows: IndexArray, file: Path
) -> ModelAnswers:
    """The answers with the labels, from a table with a row per picture, or per face."""
    from candid.inference.rows import REASON_CODE
    from candid.text.labelling import UNLIKE

    table = pq.read_table(file)
    classes = labeller.classifier.classes
    if labeller.finder is not None:  # the first of a picture's faces, or none at all, is its row
        is_first = [not number for number in table["face"].to_pylist()]
        table = table.filter(is_first)
    reason = table[REASON_CODE].to_pylist()
    probability = np.column_stack(
        [table[f"p_{name}"].to_numpy(zero_copy_only=False) for name in classes]
    ).astype(np.float64)
    answered = np.flatnonzero(np.isfinite(probability).all(axis=1))
    ids_and_errors = zip(table["id"].to_pylist(), table["error"].to_pylist(), strict=True)
    unread = [Unread(str(name), error) for name, error in ids_and_errors if error is not None]
    unlike = np.array([reason[i] == UNLIKE for i in answered.tolist()], np.bool_)
    rows_probability = probability[answered]
    return ModelAnswers(
        dataset[rows[answered]],
        rows_probability / rows_probability.sum(axis=1, keepdims=True),
        labeller.classifier.card,
        None if labeller.unfamiliar is None else unlike,
        tuple(unread[:_LISTED]),
        len(unread),
        len(rows) - len(answered) - len(unread),
        labeller.classifier.common,
    )


# --- names ---------------------------------------------------------------------------------------


def default_name(dataset: Dataset, *suffixes: str) -> str:
    """A name for a data set, for a file: its own, with suffixes."""
    return plain_name("-".join([dataset.name, *filter(None, suffixes)]))


def check_name(name: str) -> str:
    """The name; raises ConfigError where no file can have it."""
    if re.fullmatch(r"\w[\w.-]{0,79}", name):
        return name
    raise ConfigError(
        f"{name!r} is no name for a file.",
        expected="letters, digits, dots, dashes and underscores, at most 80",
        todo="name another with --name",
    )


def check_distinct(names: Sequence[str]) -> None:
    """Raise a ConfigError where two data sets have one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"Two of the data sets are called {twice[0]!r}.",
            expected="a name for each, under which its figures are kept",
            todo="name them one by one, each with --name",
        )
