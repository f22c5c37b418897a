"""How data differ from those that a run began with, as far as the run wrote these down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.errors import CandidError
from candid.predictions import Predictions, read_predictions
from candid.records import Exploration, ModelCard, read_record
from candid.runs import Run
from candid.text import words

_SHOWN = 3  # names of one kind that a message tells


def known_of(run: Run) -> str:
    """What a run says of the data that it began with, in a few words; "" where nothing."""
    with contextlib.suppress(CandidError):
        found = read_record(_root(run).data, Exploration)
        return f"{words.images(found.n)}, {_labels(found.target, found.classes)}"
    with contextlib.suppress(CandidError):
        card = read_record(run.model_file, ModelCard)
        return _labels(card.target, card.classes)
    return ""


def data_changes(run: Run, dataset: Dataset, usable: NDArray[np.bool_] | None) -> str:
    """What differs in the data set that is there now, in words.

    `usable` (n,) are the images that can be read; None: all.
    """
    told: list[str] = []
    with contextlib.suppress(CandidError):
        told += _counted(read_record(_root(run).data, Exploration), dataset, usable)
    with contextlib.suppress(CandidError):
        one = next(iter(run.of_targets()), run)
        told += _by_name(read_predictions(one.predictions_file), dataset)
    there = f"{words.images(len(dataset))}, {_labels(dataset.target, dataset.classes)}"
    if told:
        return "; ".join(told)
    if not known_of(run):
        return f"now there are {there}, and the run does not say what there was"
    return (
        f"now there are {there}; what the run wrote down of names and labels fits, so that pictures"
        " have other bytes under the same names, or it did not write down what has changed"
    )


def _root(run: Run) -> Run:
    return run if run.whole is None else Run(run.whole)


def _labels(target: str, classes: tuple[str, ...]) -> str:
    return f"labelled {target} ({_first(classes)})"


def _counted(
    then: Exploration, dataset: Dataset, usable: NDArray[np.bool_] | None
) -> Iterator[str]:
    """Differences from what a run's exploration counted."""
    if then.n != len(dataset):
        yield f"{words.images(len(dataset))}, not {words.count(then.n)}"
    labels, before = (_labels(one.target, one.classes) for one in (dataset, then))
    if dataset.target != then.target:
        yield f"{labels}, not {before}"
    elif not dataset.is_number:
        yield from _classes(then, dataset, usable)
    known = {one.attribute for one in then.attributes}
    gone = sorted(known - set(dataset.attributes))
    new = sorted(name for name, one in dataset.attributes.items() if one.known.any())
    new = [name for name in new if name not in known]
    if gone:
        yield f"without {_first(gone)}"
    if new and known:
        yield f"with {_first(new)}"


def _classes(
    then: Exploration, dataset: Dataset, usable: NDArray[np.bool_] | None
) -> Iterator[str]:
    """Classes that came, went, or have another count of images."""
    label = dataset.label if usable is None else dataset.label[usable]
    numbers = np.bincount(label[label >= 0], minlength=len(dataset.classes)).tolist()
    now = dict(zip(dataset.classes, numbers, strict=True))
    was = dict.fromkeys(then.classes, 0)
    for split in then.splits:
        for name, count in zip(then.classes, split.counts, strict=False):
            was[name] += count
    other = [name for name in {**was, **now} if now.get(name, 0) != was.get(name, 0)]
    each = [f"{name} {now.get(name, 0):,} (then {was.get(name, 0):,})" for name in other]
    if each:
        yield f"labelled {_first(each)}"


def _by_name(then: Predictions, dataset: Dataset) -> Iterator[str]:
    """Differences in the images of which a run kept name, split and label."""
    place = {name: row for row, name in enumerate(dataset.ids.tolist())}
    rows = np.array([place.get(name, -1) for name in then.ids.tolist()], dtype=np.intp)
    there = rows >= 0
    of = f"of {words.many(len(then), 'image', 'images')} in validation and test"
    if gone := int((~there).sum()):
        yield f"{of} {words.many(gone, 'is', 'are')} gone ({_first(then.ids[~there])})"
    ids, rows = then.ids[there], rows[there]
    if then.target == dataset.target:
        before = np.array([*then.classes, "nothing"])[then.label[there]]
        now = np.array([*dataset.classes, "nothing"])[dataset.label[rows]]
        other = before != now
        if other.any():
            first = int(np.argmax(other))
            yield (
                f"{of} {words.many(int(other.sum()), 'has another label', 'have other labels')} "
                f"({ids[first]}: {now[first]}, not {before[first]})"
            )
    moved = dataset.split[rows] != then.split[there]
    if count := int(moved.sum()):
        yield f"{of} {words.many(count, 'is', 'are')} in another split ({_first(ids[moved])})"


def _first(names: Sequence[str] | NDArray[np.str_]) -> str:
    return ", ".join([*map(str, names[:_SHOWN]), *(["…"] if len(names) > _SHOWN else [])])
