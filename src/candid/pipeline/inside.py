"""The stage that looks into the network: filters, units, whom its mistakes resemble."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from candid.pipeline.loading import loaded
from candid.pipeline.opening import Data, needs_torch
from candid.predictions import read_predictions
from candid.records import Split, write_record
from candid.records.inside import WEIGHTS_ARRAY, Inside, write_inside_arrays
from candid.runs import Run
from candid.settings import Config

if TYPE_CHECKING:
    from torch import nn


def look_inside(
    run: Run,
    data: Data,
    config: Config,
    *,
    network: nn.Module | None = None,
    split: Split = "validation",
    most_training: int = 10_000,
    quiet: bool = False,
) -> Inside:
    """Look into the run's network, and write inside.json and inside.npz.

    Units and mistakes are those of one split; mistakes are what `predictions.parquet` calls so,
    where it has the split. They are compared with `most_training` training images, drawn at
    random; 0: with all. `network` is a module of the caller's own, for `network.name = "own"`.

    Raises
    ------
    RunError
        Where the run holds no trained network.
    """
    needs_torch()
    import torch

    from candid.explanation.inside import Faces
    from candid.explanation.inside import look_inside as look
    from candid.models.forward import Images

    dataset, store = data.dataset, data.store

    def faces(name: Split, most: int = 0) -> Faces:
        rows = dataset.rows(name, store.usable)
        if 0 < most < len(rows):
            rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
        ids = [str(id) for id in dataset.ids[rows]]
        labels = [dataset.classes[i] for i in dataset.label[rows]]
        return Faces(store.pixels, rows, ids, labels)

    with contextlib.ExitStack() as stack:
        model = stack.enter_context(loaded(run, config, network))
        card, device = model.card, model.device
        stack.enter_context(torch.autocast(device.type, torch.bfloat16, enabled=model.bfloat16))

        def prepare(pixels: NDArray[np.uint8]) -> torch.Tensor:
            batch = Images(pixels, card.mean, card.std).batch(np.arange(len(pixels)), device)
            return batch.contiguous(memory_format=torch.channels_last)  # as the weights are

        shown = faces(split)
        record, arrays = look(
            model.network,
            shown,
            faces("train", most_training),
            prepare,
            classes=dataset.classes,
            temperature=card.temperature,
            probabilities=_predicted(run, shown.ids),
            batch_size=128,
            quiet=quiet,
        )
        titles, pictures = _weights(model.network, dataset.classes, card.side)
        if titles:
            record, arrays = replace(record, weights=titles), arrays | {WEIGHTS_ARRAY: pictures}
        write_inside_arrays(run.inside_arrays, arrays)
        write_record(run.inside, record)  # the last: it says that the stage was finished
    return record


def _weights(
    network: nn.Module, classes: Sequence[str], side: int
) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """The weights behind fixed features as pictures, and what each shows; none of other networks.

    Of two classes, what speaks for the second; of more, for each against the mean of all.
    """
    from candid.explanation.linear import cell_weights, on_grey, pixel_weights, strokes
    from candid.models.features import Features

    if not isinstance(network, Features):
        return (), np.zeros((0, side, side, 3), np.uint8)
    weight = network.head.weight.detach().cpu().double().numpy()
    against = weight[:1] if len(classes) == 2 else weight.mean(axis=0, keepdims=True)
    weight = weight[1:] - against if len(classes) == 2 else weight - against
    named = classes[1:] if len(classes) == 2 else classes
    hog, eigenfaces = network.hog, network.eigenfaces
    length = 0 if hog is None else hog.length
    titles: list[str] = []
    pictures: list[NDArray[np.uint8]] = []
    if hog is not None:
        how = {"cell": hog.cell, "block": hog.block, "orientations": hog.orientations}
        pictures.append(on_grey(strokes(cell_weights(weight[:, :length], side, **how), side)))
        titles += [f"Edges that speak for “{name}”, as strokes" for name in named]
    if eigenfaces is not None:
        components = eigenfaces.weight.detach().cpu().double().numpy()
        pictures.append(on_grey(pixel_weights(weight[:, length:], components, side)))
        titles += [f"Pixels that speak for “{name}”, by way of eigenfaces" for name in named]
    return tuple(titles), np.concatenate(pictures)


def _predicted(run: Run, ids: Sequence[str]) -> NDArray[np.float64] | None:
    """What the run says about these images; None where it says nothing about some of them."""
    if not run.predictions.is_file():
        return None
    predictions = read_predictions(run.predictions)
    places = {id: i for i, id in enumerate(predictions.ids.tolist())}
    if not all(id in places for id in ids):
        return None
    return predictions.probability[[places[id] for id in ids]]
