"""The stages that explain: a whole run, or some pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from candid.pipeline.loading import loaded
from candid.pipeline.opening import Data, needs_torch
from candid.records import ModelCard, read_record, write_record
from candid.records.explanation import Explanation, write_explanation_arrays
from candid.runs import Run, refuse_untrained
from candid.settings import Config

if TYPE_CHECKING:
    from torch import nn

    from candid.explanation.drawing import ExplainedPicture


def explain(
    run: Run,
    data: Data,
    config: Config,
    *,
    network: nn.Module | None = None,
    quiet: bool = False,
) -> Explanation:
    """What the run's network looks at: writes explanation.json and explanation.npz.

    `network` is a module of the caller's own, for `network.name = "own"`.

    Raises
    ------
    RunError
        Where the run holds no trained network.
    DataError
        Where the split holds no labelled images.
    """
    needs_torch()
    refuse_untrained(run)
    with loaded(run, config, network) as model:
        from candid.explanation.trained import explain_dataset

        record, arrays = explain_dataset(
            model.network,
            model.card,
            data.dataset,
            data.store,
            config,
            bfloat16=model.bfloat16,
            quiet=quiet,
        )
        write_explanation_arrays(run.explanation_arrays, arrays)
        write_record(run.explanation, record)  # the last: it says that the stage was finished
    return record


def explain_pictures(
    run: Run,
    files: Sequence[Path],
    config: Config,
    *,
    methods: Sequence[str] = (),
    network: nn.Module | None = None,
) -> list[ExplainedPicture]:
    """What the run's network looks at in some pictures; writes nothing, needs no data.

    Raises
    ------
    RunError
        Where the run holds no trained network.
    ImageError
        Where a file is not a picture.
    """
    from candid.explanation.drawing import read_pictures

    side = read_record(run.model, ModelCard).side if run.model.is_file() else config.data.side
    pictures = read_pictures(files, side, config.data)
    needs_torch()
    refuse_untrained(run)
    badges: dict[str, str] = {}
    if run.explanation.is_file():
        badges = {m.name: m.state for m in read_record(run.explanation, Explanation).methods}
    how = replace(config.explain, methods=tuple(methods) or config.explain.methods)
    with loaded(run, config, network) as model:
        from candid.explanation.trained import explained_pictures

        return explained_pictures(model.network, model.card, pictures, how, badges)


def draw_explained(path: Path, explained: Sequence[ExplainedPicture]) -> None:
    """Write a PNG: a row per picture, the picture itself and then it below each method's map."""
    from candid.explanation import drawing
    from candid.explanation.attribution import METHODS

    drawing.draw_explained(path, explained, {name: m.title for name, m in METHODS.items()})
