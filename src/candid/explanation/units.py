"""A network's inside: filters, the images that excite a unit, the nearest images to a mistake.

Works on any module that maps a batch of images to logits. Images are streamed in batches, so memory
does not grow with their number. The module's modes and hooks are restored, also after an exception.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from candid.errors import ConfigError
from candid.explanation.faces import Faces, Prepare
from candid.explanation.filters import first_filters, on_grey
from candid.explanation.hidden import (
    Activity,
    Layers,
    Ranking,
    RunningMoments,
    find_layers,
    recording,
    rows_along,
)
from candid.explanation.layers import window_of
from candid.explanation.mistakes import (
    ClassMistakes,
    Mistakes,
    Nearest,
    NumberMistakes,
    NumberOutputs,
)
from candid.explanation.unit_weights import (
    UnitWeights,
    classifier_weights,
    unit_weights,
)
from candid.records.inside import (
    FACES_ARRAY,
    FILTERS_ARRAY,
    Activation,
    Filters,
    Inside,
    Unit,
)


def look_inside(
    network: nn.Module,
    faces: Faces,
    training: Faces,
    prepare: Prepare,
    *,
    classes: Sequence[str] = (),
    number: NumberOutputs | None = None,
    temperature: float = 1.0,
    probabilities: NDArray[Any] | None = None,
    layer: str = "",
    units: Sequence[int] | None = None,
    most_units: int = 8,
    most_faces: int = 6,
    most_mistakes: int = 12,
    neighbours: int = 5,
    most_filters: int = 64,
    batch_size: int = 256,
    quiet: bool = True,
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    """Look into a network: its filters, its units, and the images that its mistakes resemble.

    Makes one pass over `faces`, images that it was not trained on, and, where there are mistakes,
    one over `training`, images that it was trained on; for a number, a second one over `faces`, for
    how far each unit moves it. `network` is any module that maps the output of `prepare` to logits,
    which `temperature` divides: (batch, classes), or (batch, bins) of a `number`; pass one of the
    two. `probabilities` (faces, classes) are the model's answers where these take several passes.
    `layer` has the units, empty: the last hidden one; `units` are their numbers, None: those that
    move the answer most. Returns the record, and the arrays that `candid.records.inside` names.
    Raises CandidError for an unknown layer, unit or label, without images, or for numbers that are
    not finite.
    """
    _check_counts(faces, most_units, most_faces, most_mistakes, neighbours, batch_size)
    mistakes = _make_mistakes(most_mistakes, faces, classes, number, temperature, probabilities)
    first = prepare(faces.pixels[faces.rows[:4]])
    layers = find_layers(network, first, layer)
    ranking = _UnitRanking(most_faces, window_of(network))
    with recording(network, layers) as run:

        def activities(images: Faces, title: str) -> Iterator[tuple[int, Activity]]:
            for start, batch in images.batches(prepare, batch_size, title=title, quiet=quiet):
                yield start, run(batch)

        for start, activity in activities(faces, "units"):
            ranking.add(start, activity)
            mistakes.add(start, activity)
        second_pass = (activity for _, activity in activities(faces, "what units move"))
        matrix = classifier_weights(network, layers, ranking.hidden, activity.logits.shape[1])
        centres = None if number is None else number.centres
        weights = unit_weights(matrix, ranking.hidden, second_pass, centres, temperature)
        nearest = Nearest(mistakes.hidden, neighbours)
        for start, activity in activities(training, "nearest faces") if mistakes.count else ():
            nearest.add(start, activity.hidden)
    selected = ranking.select(faces.ids, weights, most_units, units)
    record = _record(layers, ranking, selected, mistakes, training)
    record = mistakes.add_to(record, nearest, faces, training)
    filters = first_filters(network, first.shape[1:], most=most_filters)
    return _add_pictures(record, filters, faces, training)


def _record(
    layers: Layers,
    ranking: _UnitRanking,
    units: tuple[Unit, ...],
    mistakes: Mistakes,
    training: Faces,
) -> Inside:
    """The record without filters and mistakes."""
    return Inside(
        filters=None,
        layer=layers.title,
        units_in_layer=len(ranking.units.mean),
        units=units,
        n=ranking.units.n,
        hidden_size=len(ranking.hidden.mean),
        mistakes=mistakes.count,
        resemblances=(),
        training_n=len(training.rows) if mistakes.count else 0,
        faces=(),
    )


def _make_mistakes(
    most: int,
    faces: Faces,
    classes: Sequence[str],
    number: NumberOutputs | None,
    temperature: float,
    probabilities: NDArray[Any] | None,
) -> Mistakes:
    """The collector of mistakes, for classes or for a number."""
    if number is None and len(classes):
        return ClassMistakes(most, faces.labels, classes, temperature, probabilities)
    if number is None or len(classes) or probabilities is not None:
        raise ConfigError(
            "Nothing says what the network gives, or two things do.",
            expected="the names of its classes, or a number, which has no `probabilities`",
            todo="pass either `classes` or `number`",
        )
    return NumberMistakes(most, faces.labels, number, temperature)


def _check_counts(faces: Faces, *counts: int) -> None:
    if not len(faces.rows):
        raise ConfigError(
            "There is no image to show to the network.",
            expected="at least one image",
            todo="name a split that has images",
        )
    if min(counts) < 1:
        raise ConfigError(
            f"{min(counts)} of something were asked for.",
            expected="at least 1 unit, face, mistake, neighbour and image per batch",
            todo="raise the number",
        )


def _add_pictures(
    record: Inside,
    filters: tuple[Filters, NDArray[np.float32]] | None,
    faces: Faces,
    training: Faces,
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    """The record with its filters and the ids of its images, and their pixels."""
    shown_ids = [a.id for u in record.units for a in (*u.most, *u.least)]
    shown_ids += [r.id for r in record.worst]
    training_ids = [n.id for r in record.worst for n in r.neighbours]
    needed = set(training_ids)
    pairs = zip(training.ids, training.rows, strict=True)
    sources = {id: (training, row) for id, row in pairs if id in needed}
    sources |= {id: (faces, row) for id, row in zip(faces.ids, faces.rows, strict=True)}
    ids = tuple(dict.fromkeys([*shown_ids, *training_ids]))
    arrays = {FACES_ARRAY: np.stack([sources[i][0].pixels[sources[i][1]] for i in ids])}
    if filters is None:
        return replace(record, faces=ids), arrays
    arrays[FILTERS_ARRAY] = on_grey(filters[1])
    return replace(record, filters=filters[0], faces=ids), arrays


# --- units ---------------------------------------------------------------------------------------


class _UnitRanking:
    """The images that excite each unit most and least, and the units' moments."""

    def __init__(self, k: int, window: Sequence[float]) -> None:
        self.window = window
        self.most, self.least = Ranking(k), Ranking(k, least=True)
        self.units, self.hidden = RunningMoments(), RunningMoments()
        self.map_shape: tuple[int, int] | None = None

    def add(self, start: int, activity: Activity) -> None:
        rows = rows_along(start, activity.units.shape, activity.units.device)
        for ranking in (self.most, self.least):
            ranking.add(activity.units, rows, activity.places)
        self.units.add(activity.units)
        self.hidden.add(activity.hidden)
        self.map_shape = activity.map_shape

    def select(
        self,
        ids: Sequence[str],
        weights: UnitWeights | None,
        count: int,
        numbers: Sequence[int] | None,
    ) -> tuple[Unit, ...]:
        """The units of these numbers, or those that move the answer most, else vary most."""
        sd, width = self.units.sd, len(self.units.sd)
        unknown = torch.full_like(sd, math.nan)
        weights = weights or UnitWeights(unknown, unknown)
        criterion = sd if bool(weights.size.isnan().any()) else weights.size
        order = criterion.argsort(descending=True, stable=True)[:count].tolist()
        for number in numbers or ():
            if not 0 <= number < width:
                raise ConfigError(
                    f"There is no unit {number}.",
                    expected=f"a number from 0 to {width - 1}",
                    todo="name units of this layer",
                )
        return tuple(
            Unit(
                number,
                float(self.units.mean[number]),
                float(sd[number]),
                float(weights.size[number]),
                most=self._activations(self.most, number, ids),
                least=self._activations(self.least, number, ids),
                raises=float(weights.raises[number]),
            )
            for number in (order if numbers is None else numbers)
        )

    def _activations(
        self, ranking: Ranking, unit: int, ids: Sequence[str]
    ) -> tuple[Activation, ...]:
        height, width = self.map_shape or (math.nan, math.nan)
        left, top, right, bottom = self.window
        return tuple(
            Activation(
                ids[row],
                value,
                top + (bottom - top) * (place // width + 0.5) / height,
                left + (right - left) * (place % width + 0.5) / width,
            )
            for value, row, place in ranking.column(unit)
        )
