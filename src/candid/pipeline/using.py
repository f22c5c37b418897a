"""The verbs that put a run's model to use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from candid.errors import DataError, RunError
from candid.pipeline.data_places import Places
from candid.pipeline.labelling import PredictOptions, open_labeller, single_threaded
from candid.pipeline.opening import Data, Place, needs_torch, path_of, reload, reopen_run
from candid.records import ModelCard, read_record
from candid.runs import Run
from candid.runs.refusals import answering_run, refuse_several, refuse_untrained
from candid.settings import Config, ServeConfig

if TYPE_CHECKING:
    from fastapi import FastAPI
    from torch import nn

    from candid.inference.classifier import Engine
    from candid.inference.parts import Manifest
    from candid.models.model import Whole
    from candid.pipeline.exporting import Exported, TransformersFolder
    from candid.serving.served import Served

    Images = NDArray[np.uint8] | Iterable[Any] | Place


def predict(
    run: Run | Place, pictures: Images, *, workers: int = 0, **options: Unpack[PredictOptions]
) -> Iterator[dict[str, Any]]:
    """A row per picture (with `crop`, per face), as they are done: `candid predict` from Python.

    Parameters
    ----------
    run
        A run whose training was finished.
    pictures
        Files, folders, globs, tar or Parquet files; or images in memory: uint8 pixels (n, height,
        width, 3), a list of such arrays, or what Pillow opened.
    engine, abstain_below
        See `candid.inference.classifier.open_classifier`.
    check
        Whether to flag pictures unlike the training data.
    crop, detector
        Whether to find faces first, and what with: a model for OpenCV's FaceDetectorYN, or
        `Path("opencv")` for OpenCV's own detector. None: the run's framing network where it has
        one, else OpenCV's own.
    calibration
        The name of what `candid.calibrate` made for the place that the pictures come from; they
        are not held against the training data then. "": the run's own probabilities.
    common_frame
        Whether the frame that most of the pictures have in common is found first (where they are
        fifty or more, and the run frames), from which each is then framed. False: each by itself,
        so that its row is the same whatever the others are.
    workers
        Threads; 0: one per core.

    Yields
    ------
    A dict by the names of the table's columns; None where undefined.
    """
    from candid.inference.classify import label
    from candid.inference.common_frame import with_common_frame
    from candid.inference.sources import items_of

    items = items_of(pictures)
    labeller = open_labeller(run if isinstance(run, Run) else Run(Path(run)), **options)
    names = labeller.columns.schema().names
    with single_threaded():
        labeller, images = with_common_frame(labeller, items)
        with closing(label(labeller, images, workers=workers)) as blocks:
            for block in blocks:
                # A row may hold more than the table's columns.
                yield from (dict(zip(names, row, strict=False)) for row in block.rows)


def predict_shards(
    run: Run | Place,
    shards: Iterable[Place],
    out: Place,
    *,
    ray: bool = False,
    engine: Engine = "auto",
    abstain_below: float | None = None,
    check: bool = True,
    calibration: str = "",
    common_frame: bool = True,
    force: bool = False,
    workers: int = 0,
) -> Manifest:
    """Label tar or Parquet files into a folder, a table for each: `candid predict --out FOLDER/`.

    Only parts that are missing are made. What could not be read stands in the manifest.

    Parameters
    ----------
    run
        A run whose training was finished.
    shards
        Tar and Parquet files, folders, globs and URLs with some.
    out
        A folder or a URL.
    ray
        Whether tasks of Ray do it, on the cluster that Ray is connected to or finds.
    engine, abstain_below, check, calibration, common_frame
        As for `predict`; the frame is sought in pictures of a few shards, and kept for those that
        come later.
    force
        Replace parts of another model or other settings.
    workers
        Threads, or tasks at a time; 0: one per core.
    """
    from candid.inference.sources import resolve
    from candid.pipeline.shards import label_shards

    return label_shards(
        Run(path_of(run)),
        resolve([fspath(shard) for shard in shards]),
        fspath(out),
        ray=ray,
        engine=engine,
        abstain_below=abstain_below,
        check=check,
        calibration=calibration,
        common_frame=common_frame,
        force=force,
        workers=workers,
    )


def export(
    run: Run | Place,
    *,
    network: nn.Module | None = None,
    out: Path | None = None,
    int8: bool = False,
    to: Literal["onnx", "transformers"] = "onnx",
    data: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
    without_data: Callable[[Exception], object] | None = None,
) -> Exported | TransformersFolder:
    """Write a run's model for others, checked against torch: `candid export RUN` from Python.

    Where the run frames, the network that frames is written beside it.

    Parameters
    ----------
    run
        A run whose training was finished.
    network
        The module itself where it is one of your own, which no name can build.
    out
        A folder for the files, or a file that ends with .onnx, whose name the others begin with;
        None: the run's own folder, or for transformers the folder "transformers" in it.
    int8
        Whether to quantise, too: with training images to calibrate on.
    to
        "onnx", or "transformers": a folder for `transformers.pipeline("image-classification",
        model=folder, trust_remote_code=True)`, which needs no data.
    data, cache, quiet
        As for `explain_run`.
    without_data
        Called with the error where no `data` are named and the run's own are gone or have changed:
        then the check is on noise. None: it is raised, as it always is for `int8`, and of `data`
        that are named.

    Raises
    ------
    CheckFailed
        Where the exported model does not give what torch gives.
    RunError
        Where the network cannot be written for transformers, or not as whole numbers.
    """
    from candid.models.onnx_graph import needs_onnx
    from candid.pipeline.exporting import export_run, export_transformers

    needs_torch()
    if to == "onnx":
        needs_onnx("onnx", "onnxscript", "onnxruntime")
    folder = answering_run(reopen_run(run, quiet=quiet))
    folder = folder if network is None else replace(folder, network=network)
    refuse_untrained(folder, several=True)
    if to == "transformers":
        return export_transformers(folder, out, int8=int8)
    callback = None if int8 or data is not None else without_data
    packed, reason = _reload_or_none(folder, data, cache, callback)
    return replace(export_run(folder, packed, out=out, int8=int8), without_data=reason)


def _reload_or_none(
    run: Run,
    data: Places | None,
    cache: Path | None,
    without_data: Callable[[Exception], object] | None,
) -> tuple[Data | None, str]:
    """A run's data; or None and why, if `without_data` takes the error."""
    try:
        return reload(run, data, cache=cache), ""
    except (RunError, DataError) as error:
        if without_data is None:
            raise
        without_data(error)
        return None, error.what


def load_model(path: Place | Run, *, network: nn.Module | None = None) -> Whole:
    """A run's model as a PyTorch module, with everything inside: pixels in, probabilities out.

    It frames where the run has a framing network, normalises, averages with the mirror image where
    the model was made so, and divides by the temperature: what it gives is what
    `predictions.parquet` holds. It comes in evaluation mode on the CPU; `.to("cuda")` moves it.

    Parameters
    ----------
    path
        A run, its folder, or any folder with its `model.json` and `model.safetensors`.
    network
        The module itself where it is one of your own, which no name can build.

    Returns
    -------
    A module that takes RGB pixels, uint8 (n, side, side, 3) or floating point from 0 to 1
    (n, 3, side, side), and gives calibrated probabilities (n, classes) in the order of its
    `classes`.

    Raises
    ------
    RunError
        Where a file is missing or damaged, or the two do not belong together.
    """
    needs_torch()
    from candid.models.framing import framing_of
    from candid.models.model import load_whole_model

    run = Run(path_of(path))
    refuse_several(run)
    card = read_record(run.model_file, ModelCard)
    return load_whole_model(run.weights, card, network, framing_of(run))


def serve(
    *runs: Place,
    config: Config | None = None,
    abstain_below: float | None = None,
    calibration: str = "",
    quiet: bool = True,
    started: Callable[[str], None] = lambda url: None,
) -> None:
    """Answer over HTTP, and show a page, for the models of some runs until it is interrupted.

    `config.serve` says where to listen and what to take in at most; `calibration` is as for
    `predict`, and every run must have it; `started` is told the address.
    """
    from candid.serving.serve import serve_models

    serve_config = (config or Config()).serve
    _, models = _load_models(runs, serve_config, abstain_below, calibration)
    serve_models(models, serve_config, quiet=quiet, started=started)


def application(
    *runs: Place,
    config: Config | None = None,
    abstain_below: float | None = None,
    calibration: str = "",
) -> FastAPI:
    """What `serve` serves as an ASGI application, for another server or to mount in one's own.

    The key that requests must carry comes from `config.serve.key_file` or `CANDID_API_KEY`, as for
    `serve`. Where it is mounted below another application, that one must run its lifespan.
    """
    serve_config = (config or Config()).serve
    key, models = _load_models(runs, serve_config, abstain_below, calibration)
    from candid.serving.app import create_app

    return create_app(models, serve_config, key=key)


def _load_models(
    runs: Sequence[Place], config: ServeConfig, abstain_below: float | None, calibration: str
) -> tuple[str, list[Served]]:
    """The key and the models; raises before models are loaded."""
    from candid.pipeline.serving import load_served
    from candid.serving.serve import needs_server, read_key

    needs_server()
    key = read_key(config)
    return key, load_served([Path(run) for run in runs], config, abstain_below, calibration)
