"""Networks seen from inside: filters, what excites a unit, whom a mistake resembles.

Everything works on any module that takes a batch of images and gives logits. Images stream through
in batches and only what is shown is kept, so memory does not grow with their number. The module is
left as it was found, each of its parts in its own mode and without a hook, also after an exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.errors import ConfigError
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
from candid.progress import track
from candid.records.inside import (
    FACES_ARRAY,
    FILTERS_ARRAY,
    Activation,
    Filters,
    Inside,
    Neighbour,
    Resemblance,
    Unit,
)

Prepare = Callable[[NDArray[np.uint8]], Tensor]  # (batch, side, side, 3) → what the network takes


@dataclass(frozen=True, eq=False)
class Faces:
    """Images that can be streamed again and again."""

    pixels: NDArray[np.uint8]  # (images, side, side, 3), in memory or mapped
    rows: NDArray[np.intp]  # (n,) which of them, in which order
    ids: Sequence[str]  # (n,)
    labels: Sequence[str]  # (n,) the class that each is labelled with

    def __post_init__(self) -> None:
        if not len(self.rows) == len(self.ids) == len(self.labels):
            raise ConfigError(
                f"{len(self.rows)} rows came with {len(self.ids)} ids and "
                f"{len(self.labels)} labels.",
                expected="one id and one label for each row",
                todo="pass sequences of the same length",
            )

    def batches(
        self, prepare: Prepare, batch_size: int, *, title: str = "", quiet: bool = True
    ) -> Iterator[tuple[int, Tensor]]:
        """The place of each batch's first image, and the batch as the network takes it."""
        starts = range(0, len(self.rows), batch_size)
        for start in track(starts, title, unit="batches", quiet=quiet):
            yield start, prepare(self.pixels[self.rows[start : start + batch_size]])


def look_inside(
    network: nn.Module,
    faces: Faces,
    training: Faces,
    prepare: Prepare,
    *,
    classes: Sequence[str],
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
    over `training`, images that it was; memory does not grow with their number. `network` is any
    module that takes what `prepare` makes of pixels, and gives logits (batch, classes), which
    `temperature` divides before they become probabilities. `probabilities` (faces, classes) say
    what the model answers where that is more than one pass. `layer` is the one whose units are
    shown, empty: the last hidden one; `units` are which of them, None: those that move the answer
    most. Gives the record, and the arrays that `candid.records.inside` names; a CandidError for a
    layer, unit or label that there is not, for no image, or for numbers that are not finite.
    """
    _refuse_nothing(faces, most_units, most_faces, most_mistakes, neighbours, batch_size)
    first = prepare(faces.pixels[faces.rows[:4]])
    layers = layers_of(network, first, layer)
    excitement = _Excitement(most_faces, window_of(network))
    mistakes = _Mistakes(most_mistakes, faces.labels, classes, temperature, probabilities)
    with watched(network, layers) as look:
        for start, batch in faces.batches(prepare, batch_size, title="units", quiet=quiet):
            seen = look(batch)
            excitement.add(start, seen)
            mistakes.add(start, seen)
        alike = Nearest(mistakes.hidden, neighbours)
        if mistakes.count:
            stream = training.batches(prepare, batch_size, title="nearest faces", quiet=quiet)
            for start, batch in stream:
                alike.add(start, look(batch).hidden)
    record = Inside(
        filters=None,
        layer=layers.title,
        units_in_layer=len(excitement.units.mean),
        units=excitement.shown(faces.ids, _pull(network, layers), most_units, units),
        n=len(faces.rows),
        hidden_size=len(excitement.hidden.mean),
        mistakes=mistakes.count,
        resemblances=tuple(_resemblances(mistakes, alike, faces, training, classes)),
        training_n=len(training.rows) if mistakes.count else 0,
        faces=(),
    )
    filters = first_filters(network, first.shape[1:], most=most_filters)
    return _with_pictures(record, filters, faces, training)


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
    seen += [r.id for r in record.resemblances]
    taught = [n.id for r in record.resemblances for n in r.neighbours]
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
        self, ids: Sequence[str], pull: Tensor | None, count: int, named: Sequence[int] | None
    ) -> tuple[Unit, ...]:
        """The named units, or those that move the answer most, or else those that vary most."""
        sd, width = self.units.sd, len(self.units.sd)
        weight = torch.full_like(sd, math.nan)
        if pull is not None and len(pull) == len(self.hidden.mean):
            weight = self.hidden.sd * pull.to(sd)
        by = sd if bool(weight.isnan().any()) else weight
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
                float(weight[number]),
                *(self._activations(r, number, ids) for r in (self.most, self.least)),
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


def _pull(network: nn.Module, layers: Layers) -> Tensor | None:
    """(hidden size,): how far one more of each hidden number moves the logits apart.

    The length of its column of weights, less what it adds to every class alike. None where units
    and hidden numbers are not the same. (Of another length, where one has several weights.)
    """
    weight = dict(network.named_modules())[layers.classifier].weight
    if not layers.feeds or not isinstance(weight, Tensor):
        return None
    matrix = weight.detach().double().flatten(1)  # (classes, hidden size)
    pull: Tensor = (matrix - matrix.mean(0)).norm(dim=0)
    return pull


# --- mistakes, and whom they resemble ------------------------------------------------------------


class _Mistakes:
    """The surest mistakes, with what the last hidden layer made of them."""

    def __init__(
        self,
        most: int,
        labels: Sequence[str],
        classes: Sequence[str],
        temperature: float,
        probabilities: NDArray[Any] | None,
    ) -> None:
        numbers = {name: i for i, name in enumerate(classes)}
        unknown = sorted(set(labels) - set(numbers))
        if unknown:
            raise ConfigError(
                f"The label {unknown[0]!r} is none of the network's classes.",
                expected="one of: " + ", ".join(classes),
                todo="leave out images with other labels",
            )
        if probabilities is not None and probabilities.shape != (len(labels), len(classes)):
            raise ConfigError(
                f"Probabilities of the shape {probabilities.shape} came with {len(labels)} images "
                f"and {len(classes)} classes.",
                expected="one row for each image, one column for each class",
                todo="pass them in the order of the images",
            )
        self.truth = torch.tensor([numbers[name] for name in labels], dtype=torch.int64)
        self.n_classes, self.temperature = len(classes), temperature
        self.probabilities = None if probabilities is None else torch.as_tensor(probabilities)
        self.count, self.surest = 0, Ranking(most)

    def add(self, start: int, seen: Activity) -> None:
        p = (seen.logits / self.temperature).softmax(1)
        if p.shape[1] != self.n_classes:
            raise ConfigError(
                f"The network gives {p.shape[1]} numbers per image for {self.n_classes} classes.",
                expected="one logit for each class",
                todo="pass the names of its classes",
            )
        if self.probabilities is not None:
            p = self.probabilities[start : start + len(p)].to(p)
        confidence, answer = p.max(1)
        wrong = answer != self.truth[start : start + len(p)].to(p.device)
        self.count += int(wrong.sum())
        rows = rows_along(start, (len(p), 1), p.device)[wrong]
        self.surest.add(
            confidence[wrong, None], rows, answer[wrong, None], seen.hidden[wrong][:, None]
        )

    @property
    def hidden(self) -> Tensor:
        """(mistakes, size)."""
        return self.surest.along[2][:, 0]


class Nearest:
    """The nearest of a stream to each of some vectors, by cosine."""

    def __init__(self, queries: Tensor, k: int) -> None:
        self.queries, length = _directions(queries)
        self.defined = length > 0
        self.ranking = Ranking(k)

    def add(self, start: int, hidden: Tensor) -> None:
        """Add a batch of vectors, of which the first is the stream's number `start`."""
        unit, length = _directions(hidden)
        # A caller may want the network's products rounded; the cosines would lose their order.
        with torch.autocast(unit.device.type, enabled=False):
            cosine = unit @ self.queries.T  # (batch, queries)
        # Nothing is near what has no direction.
        cosine = cosine.masked_fill(length[:, None] == 0, -math.inf)
        self.ranking.add(cosine, rows_along(start, cosine.shape, cosine.device))

    def of(self, query: int, training: Faces) -> tuple[Neighbour, ...]:
        """The training images nearest to one of the vectors; none to one without a direction."""
        return tuple(
            Neighbour(training.ids[row], training.labels[row], min(1.0, cosine))
            for cosine, row in self.ranking.column(query)
            if math.isfinite(cosine) and bool(self.defined[query])
        )


def _directions(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length 1, and how long each was; one of length 0 stays so."""
    length = vectors.norm(dim=1)
    return vectors / length.clamp_min(torch.finfo(length.dtype).tiny)[:, None], length


def _resemblances(
    mistakes: _Mistakes, nearest: Nearest, faces: Faces, training: Faces, classes: Sequence[str]
) -> Iterator[Resemblance]:
    for i, (sure, row, answer, _) in enumerate(mistakes.surest.column(0)):
        near = nearest.of(i, training)
        yield Resemblance(faces.ids[row], faces.labels[row], classes[answer], sure, near)
