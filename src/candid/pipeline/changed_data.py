"""How data differ from those that a run began with, as far as its files tell."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray
from candid.data.dataset import Dataset
from candid.errors import CandidError
from candid.predictions import Predictions, read_predictions
from candid.records import Exploration, ModelCard, read_record
from candid.runs import Run
from candid.text import words

_SHOWN = 3  # names of one kind that a message tells


def describe_original(run: Run) -> str:
    """The data that a run began with, in a few words; "" where it does not say."""
    with contextlib.suppress(CandidError):
        exploration = read_record(_shared_run(run).data, Exploration)
        labels = _describe_labels(exploration.target, exploration.classes)
        return f"{words.images(exploration.n)}, {labels}"
    with contextlib.suppress(CandidError):
        card = read_record(run.model_file, ModelCard)
        return _describe_labels(card.target, card.classes)
    return ""


def describe_changes(run: Run, dataset: Dataset, usable: BoolArray | None) -> str:
    """What differs in the present data, in words; `usable` (n,) images can be read, None: all."""
    changes: list[str] = []
    with contextlib.suppress(CandidError):
        changes += _compare_counts(read_record(_shared_run(run).data, Exploration), dataset, usable)
    with contextlib.suppress(CandidError):
        label_run = next(iter(run.target_runs()), run)
        changes += _compare_names(read_predictions(label_run.predictions_file), dataset)
    now = f"{words.images(len(dataset))}, {_describe_labels(dataset.target, dataset.classes)}"
    if changes:
        return "; ".join(changes)
    if not describe_original(run):
        return f"now there are {now}, and the run does not say what there was"
    return (
        f"now there are {now}; what the run wrote down of names and labels fits, so that pictures"
        " have other bytes under the same names, or it did not write down what has changed"
    )


def _shared_run(run: Run) -> Run:
    return run if run.parent is None else Run(run.parent)


def _describe_labels(target: str, classes: tuple[str, ...]) -> str:
    return f"labelled {target} ({_join_first(classes)})"


def _compare_counts(
    exploration: Exploration, dataset: Dataset, usable: BoolArray | None
) -> Iterator[str]:
    """Differences from what a run's exploration counted."""
    if exploration.n != len(dataset):
        yield f"{words.images(len(dataset))}, not {words.count(exploration.n)}"
    labels, before = (_describe_labels(x.target, x.classes) for x in (dataset, exploration))
    if dataset.target != exploration.target:
        yield f"{labels}, not {before}"
    elif not dataset.is_number:
        yield from _compare_classes(exploration, dataset, usable)
    old = {balance.attribute for balance in exploration.attributes}
    missing = sorted(old - set(dataset.attributes))
    new = sorted(name for name, attribute in dataset.attributes.items() if attribute.known.any())
    new = [name for name in new if name not in old]
    if missing:
        yield f"without {_join_first(missing)}"
    if new and old:
        yield f"with {_join_first(new)}"


def _compare_classes(
    exploration: Exploration, dataset: Dataset, usable: BoolArray | None
) -> Iterator[str]:
    """Classes that came, went, or have another count of images."""
    label = dataset.label if usable is None else dataset.label[usable]
    numbers = np.bincount(label[label >= 0], minlength=len(dataset.classes)).tolist()
    after = dict(zip(dataset.classes, numbers, strict=True))
    before = dict.fromkeys(exploration.classes, 0)
    for split in exploration.splits:
        for name, count in zip(exploration.classes, split.counts, strict=False):
            before[name] += count
    changed = [name for name in {**before, **after} if after.get(name, 0) != before.get(name, 0)]
    changes = [f"{name} {after.get(name, 0):,} (then {before.get(name, 0):,})" for name in changed]
    if changes:
        yield f"labelled {_join_first(changes)}"


def _compare_names(old: Predictions, dataset: Dataset) -> Iterator[str]:
    """Differences in the images of which a run kept name, split and label."""
    row_of = {name: row for row, name in enumerate(dataset.ids.tolist())}
    rows = np.array([row_of.get(name, -1) for name in old.ids.tolist()], dtype=np.intp)
    exists = rows >= 0
    prefix = f"of {words.many(len(old), 'image', 'images')} in validation and test"
    if missing := int((~exists).sum()):
        yield f"{prefix} {words.many(missing, 'is', 'are')} gone ({_join_first(old.ids[~exists])})"
    ids, rows = old.ids[exists], rows[exists]
    if old.target == dataset.target:
        before = np.array([*old.classes, "nothing"])[old.label[exists]]
        now = np.array([*dataset.classes, "nothing"])[dataset.label[rows]]
        differs = before != now
        if differs.any():
            first = int(np.argmax(differs))
            count = words.many(int(differs.sum()), "has another label", "have other labels")
            yield f"{prefix} {count} ({ids[first]}: {now[first]}, not {before[first]})"
    moved = dataset.split[rows] != old.split[exists]
    if moved.any():
        count = words.many(int(moved.sum()), "is", "are")
        yield f"{prefix} {count} in another split ({_join_first(ids[moved])})"


def _join_first(names: Sequence[str] | NDArray[np.str_]) -> str:
    return ", ".join([*map(str, names[:_SHOWN]), *(["…"] if len(names) > _SHOWN else [])])
