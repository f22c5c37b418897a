"""Explanations of a network: what it looks at, in data or pictures, and its inside."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Float32Array
from candid.errors import ConfigError
from candid.pipeline.loading import open_network
from candid.pipeline.opening import Data, needs_torch
from candid.predictions import Predictions, read_predictions
from candid.predictions.numbers import NumberPredictions, read_number_predictions
from candid.records import ModelCard, read_record, write_record
from candid.records.explanation import (
    Explanation,
    ExplanationArrays,
    write_explanation_arrays,
)
from candid.records.framing import DETAIL
from candid.records.inside import Inside, write_inside_arrays
from candid.records.model import NumberCard
from candid.runs import Run, has_framing
from candid.runs.refusals import refuse_untrained
from candid.settings import Config, DataConfig

if TYPE_CHECKING:
    from candid.data.decode import Decoded
    from candid.explanation.drawing import ExplainedPicture


def explain_images(run: Run, data: Data) -> None:
    """Write explanation.json and explanation.npz; nothing where `explain.make` is off.

    Of a number, the mean of its distribution is explained. Raises RunError without a trained
    network; DataError where the split holds no labelled images.
    """
    if not run.settings.explain.make:
        return
    with open_network(run) as model:
        from candid.explanation.trained import explain_dataset, explain_number_dataset

        explain: Callable[..., tuple[Explanation, ExplanationArrays]] = explain_dataset
        if (number := model.card.number) is not None:
            explain = partial(explain_number_dataset, **_number_options(number, run.settings))
        explanation, arrays = explain(
            model.network,
            model.card,
            data.dataset,
            data.store,
            run.settings,
            bfloat16=model.bfloat16,
            quiet=run.quiet,
        )
        write_explanation_arrays(run.explanation_arrays, arrays)
        write_record(run.explanation, explanation)  # the last: it says that the stage was finished


def _number_options(number: NumberCard, config: Config) -> dict[str, Any]:
    """Options to explain a number: how it is read of distributions, and the tolerance."""
    from candid.evaluation.numbers import choose_tolerance
    from candid.inference.numbers import answers_of

    return {
        "read": partial(answers_of, number),
        "tolerance": choose_tolerance(number.quartiles, config.evaluate),
    }


def show_inside(run: Run, data: Data, *, most_training: int = 10_000) -> Inside | None:
    """Write inside.json and inside.npz, unless `explain.make` is off or the network has one layer.

    Units and mistakes are those of validation; mistakes are those of `predictions.parquet`, and of
    a number what is not near. They are compared with `most_training` random training images; 0:
    all. Raises RunError without a trained network.
    """
    if not run.settings.explain.make:
        return None
    with contextlib.suppress(ConfigError), open_network(run) as model:
        from candid.explanation.trained_inside import look_into, look_into_number

        inspect: Callable[..., tuple[Inside, dict[str, NDArray[np.uint8]]]] = look_into
        read_answers: Callable[[Path], Predictions | NumberPredictions] = read_predictions
        if (number := model.card.number) is not None:
            inspect = partial(look_into_number, **_number_options(number, run.settings))
            read_answers = read_number_predictions
        inside, arrays = inspect(
            model.network,
            model.card,
            data.dataset,
            data.store,
            read_answers(run.predictions_file) if run.predictions_file.is_file() else None,
            most_training=most_training,
            bfloat16=model.bfloat16,
            quiet=run.quiet,
        )
        write_inside_arrays(run.inside_arrays, arrays)
        write_record(run.inside, inside)  # the last: it says that the stage was finished
        return inside
    return None


def explain_pictures(run: Run, files: Sequence[Path]) -> list[ExplainedPicture]:
    """What the run's network looks at in some pictures; writes nothing, needs no data.

    Maps are drawn onto the original pictures. Of a number, its expected value is explained. Raises
    RunError without a trained network; ImageError where a file is not a picture.
    """
    from candid.explanation.drawing import decode_pictures

    config, frames = run.settings, has_framing(run)
    trained = run.model_file.is_file()
    side = read_record(run.model_file, ModelCard).side if trained else config.data.side
    decoded = decode_pictures(files, side, config.data, detail=DETAIL if frames else 1)
    needs_torch()
    refuse_untrained(run, number=True)
    badges: dict[str, str] = {}
    if run.explanation.is_file():
        badges = {m.name: m.state for m in read_record(run.explanation, Explanation).methods}
    with open_network(run) as model:
        from candid.explanation.trained import explained_numbers, explained_pictures
        from candid.inference.numbers import answers_of

        pixels, matrices = np.stack([square.pixels for square in decoded]), None
        if frames:
            from candid.models.framing import TorchFramer, load_framing

            framing = load_framing(run.framing_weights).to(model.device)
            pixels, matrices, *_ = TorchFramer(framing)(pixels)
        images = list(zip(map(str, files), pixels, strict=True))
        network, card, settings = model.network, model.card, config.explain
        if card.number is None:
            explained = explained_pictures(network, card, images, settings, badges)
        else:
            answers = partial(answers_of, card.number)
            explained = explained_numbers(network, card, images, settings, answers, badges)
    if matrices is None:
        return explained
    return _project_back(explained, files, decoded, matrices, config.data)


def _project_back(
    explained: Sequence[ExplainedPicture],
    files: Sequence[Path],
    decoded: Sequence[Decoded],
    frames: Float32Array,
    config: DataConfig,
) -> list[ExplainedPicture]:
    """The original pictures with their maps, which were made in their frames (n, 3, 3)."""
    from candid.explanation.drawing import decode_original
    from candid.explanation.projection import frame_corners, onto_picture, projected

    pictures = []
    for picture, file, square, frame in zip(explained, files, decoded, frames, strict=True):
        original = decode_original(file, config)
        matrix = onto_picture(frame, square.width, square.height, config.fit)
        size = original.shape[:2]
        maps = {name: projected(m[None], matrix, *size)[0] for name, m in picture.maps.items()}
        pictures.append(replace(picture, pixels=original, maps=maps, corners=frame_corners(matrix)))
    return pictures


def draw_explained(path: Path, explained: Sequence[ExplainedPicture]) -> None:
    """Write a PNG: a row per picture, first alone and then below each method's map."""
    from candid.explanation import drawing
    from candid.explanation.attribution import METHODS

    drawing.draw_maps(path, explained, {name: m.title for name, m in METHODS.items()})
