"""Networks seen from inside: filters, what excites a unit, whom a mistake resembles.

Everything works on any module that takes a batch of images and gives logits. Images stream through
in batches and only what is shown is kept, so memory does not grow with their number. The module is
left as it was found, each of its parts in its own mode and without a hook, also after an exception.
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
    layers_of,
    rows_along,
    watched,
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
    """Look into a network: its filters, its units, and whom its mistakes resemble.

    One pass over `faces`, images that it was not trained on, and, where there are mistakes, one
    over `training`, images that it was; of a number, `faces` pass a second time, to see how far
    each unit moves it. Memory does not grow with the number of images. `network` is any module that
    takes what `prepare` makes of pixels, and gives logits, which `temperature` divides before they
    become probabilities: (batch, classes), or (batch, bins) of a `number`. One of the two says what
    they are. `probabilities` (faces, classes) say what the model answers where that is more than
    one pass. `layer` is the one whose units are shown, empty: the last hidden one; `units` are
    which of them, None: those that move the answer most. Gives the record, and the arrays that
    `candid.records.inside` names; a CandidError for a layer, unit or label that there is not, for
    no image, or for numbers that are not finite.
    """
    _refuse_nothing(faces, most_units, most_faces, most_mistakes, neighbours, batch_size)
    mistakes = _mistakes_of(most_mistakes, faces, classes, number, temperature, probabilities)
    first = prepare(faces.pixels[faces.rows[:4]])
    layers = layers_of(network, first, layer)
    excitement = _Excitement(most_faces, window_of(network))
    with watched(network, layers) as look:

        def seen(some: Faces, title: str) -> Iterator[tuple[int, Activity]]:
            for start, batch in some.batches(prepare, batch_size, title=title, quiet=quiet):
                yield start, look(batch)

        for start, each in seen(faces, "units"):
            excitement.add(start, each)
            mistakes.add(start, each)
        again = (each for _, each in seen(faces, "what units move"))
        matrix = classifier_weights(network, layers, excitement.hidden, each.logits.shape[1])
        centres = None if number is None else number.centres
        weights = unit_weights(matrix, excitement.hidden, again, centres, temperature)
        alike = Nearest(mistakes.hidden, neighbours)
        for start, each in seen(training, "nearest faces") if mistakes.count else ():
            alike.add(start, each.hidden)
    shown = excitement.shown(faces.ids, weights, most_units, units)
    record = _record(layers, excitement, shown, mistakes, training)
    described = mistakes.described(record, alike, faces, training)
    filters = first_filters(network, first.shape[1:], most=most_filters)
    return _with_pictures(described, filters, faces, training)


def _record(
    layers: Layers,
    excitement: _Excitement,
    units: tuple[Unit, ...],
    mistakes: Mistakes,
    training: Faces,
) -> Inside:
    """What was seen, without the filters and the mistakes themselves."""
    return Inside(
        filters=None,
        layer=layers.title,
        units_in_layer=len(excitement.units.mean),
        units=units,
        n=excitement.units.n,
        hidden_size=len(excitement.hidden.mean),
        mistakes=mistakes.count,
        resemblances=(),
        training_n=len(training.rows) if mistakes.count else 0,
        faces=(),
    )


def _mistakes_of(
    most: int,
    faces: Faces,
    classes: Sequence[str],
    number: NumberOutputs | None,
    temperature: float,
    probabilities: NDArray[Any] | None,
) -> Mistakes:
    """What gathers the mistakes of classes, or of a number."""
    if number is None and len(classes):
        return ClassMistakes(most, faces.labels, classes, temperature, probabilities)
    if number is None or len(classes) or probabilities is not None:
        raise ConfigError(
            "Nothing says what the network gives, or two things do.",
            expected="the names of its classes, or a number, which has no `probabilities`",
            todo="pass either `classes` or `number`",
        )
    return NumberMistakes(most, faces.labels, number, temperature)


def _refuse_nothing(faces: Faces, *counts: int) -> None:
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


def _with_pictures(
    record: Inside,
    filters: tuple[Filters, NDArray[np.float32]] | None,
    faces: Faces,
    training: Faces,
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    """The record with its filters and every id that stands in it, and the pixels of all."""
    seen = [a.id for u in record.units for a in (*u.most, *u.least)]
    seen += [r.id for r in record.worst]
    taught = [n.id for r in record.worst for n in r.neighbours]
    wanted = set(taught)
    known = zip(training.ids, training.rows, strict=True)
    where = {id: (training, row) for id, row in known if id in wanted}
    where |= {id: (faces, row) for id, row in zip(faces.ids, faces.rows, strict=True)}
    ids = tuple(dict.fromkeys([*seen, *taught]))
    arrays = {FACES_ARRAY: np.stack([where[i][0].pixels[where[i][1]] for i in ids])}
    if filters is None:
        return replace(record, faces=ids), arrays
    arrays[FILTERS_ARRAY] = on_grey(filters[1])
    return replace(record, filters=filters[0], faces=ids), arrays


# --- units ---------------------------------------------------------------------------------------


class _Excitement:
    """Which faces excite each unit most and least, and how much each moves the answer."""

    def __init__(self, k: int, window: Sequence[float]) -> None:
        self.window = window
        self.most, self.least = Ranking(k), Ranking(k, least=True)
        self.units, self.hidden = RunningMoments(), RunningMoments()
        self.map_shape: tuple[int, int] | None = None

    def add(self, start: int, seen: Activity) -> None:
        rows = rows_along(start, seen.units.shape, seen.units.device)
        for ranking in (self.most, self.least):
            ranking.add(seen.units, rows, seen.places)
        self.units.add(seen.units)
        self.hidden.add(seen.hidden)
        self.map_shape = seen.map_shape

    def shown(
        self,
        ids: Sequence[str],
        weights: UnitWeights | None,
        count: int,
        named: Sequence[int] | None,
    ) -> tuple[Unit, ...]:
        """The named units, or those that move the answer most, or else those that vary most."""
        sd, width = self.units.sd, len(self.units.sd)
        unknown = torch.full_like(sd, math.nan)
        weights = weights or UnitWeights(unknown, unknown)
        by = sd if bool(weights.size.isnan().any()) else weights.size
        order = by.argsort(descending=True, stable=True)[:count].tolist()
        for number in named or ():
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
            for number in (order if named is None else named)
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
