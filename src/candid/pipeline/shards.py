"""Shards labelled here or on a cluster, into one table for each."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from candid.pipeline.data_places import Places
from candid.pipeline.labelling import Answering, about_model, labeller, model_of, one_thread_each
from candid.records import ModelCard, from_plain, read_record, to_plain
from candid.records.calibration import calibration_path
from candid.records.framing import CommonFrame
from candid.runs import Run
from candid.runs.refusals import refuse_several
from candid.storage.jobs import plain_job

if TYPE_CHECKING:
    from candid.inference.classify import Labeller
    from candid.inference.parts import Manifest, Work
    from candid.inference.shards import Order, Shard

# What a labeller reads in a run.
_RUN_FILES = (
    *("config.toml", "model.json", "model.safetensors", "model.onnx", "model-int8.onnx"),
    *("audit.json", "unfamiliar.npz", "frame.json"),
    *("framing.json", "framing.safetensors", "framing.onnx"),
)


def label_shards(
    run: Run,
    inputs: Sequence[str],
    out: str,
    *,
    ray: bool = False,
    column: str = "",
    force: bool = False,
    workers: int = 0,
    data: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
    ready: Labeller | None = None,
    bar: Callable[[int, int], object] = lambda _done, _all: None,
    **how: Unpack[Answering],
) -> Manifest:
    """Label shards into a folder of one Parquet file each; only those that are missing.

    `inputs` is what `candid.inference.sources.resolve` gave; `ready` what `labeller` gave for these
    options, if it has been called; `bar` is told of the shards just done, and of how many there
    are. The rest is as for `candid.predict_shards` and `labeller`.
    """
    from candid.inference.parts import label_here, label_missing
    from candid.inference.shards import Order, find_shards

    refuse_several(run)
    shards = find_shards(inputs, out)
    if ready is None:
        ready = labeller(run, data=data, cache=cache, quiet=quiet, **how)
    ready = _in_common_frame(ready, shards, out, column)
    order = Order(out, _job_with(ready, column), about_model(ready), column)
    if ray:
        work = _on_cluster(run, ready, order, how, workers, quiet)
    else:
        work = label_here(ready, order, workers=workers)
    with contextlib.nullcontext() if ray else one_thread_each():
        return label_missing(
            shards,
            order,
            work,
            engine="ray" if ray else "local",
            force=force,
            done=lambda count: bar(count, len(shards)),
        )


def _in_common_frame(ready: Labeller, shards: Sequence[Shard], out: str, column: str) -> Labeller:
    """The labeller that knows how most pictures of all the shards lie.

    As the job that was begun in the folder knew it, so that shards which come later are read so.
    """
    from candid.inference.common_frame import framed_together
    from candid.inference.parts import job_begun
    from candid.inference.shards import first_pictures

    if ready.common_framer is None:
        return ready
    begun = job_begun(out)
    if begun is not None:
        frame = begun.get("frame")
        as_then = ready if frame is None else ready.in_frame(from_plain(CommonFrame, frame))
        if plain_job(_job_with(as_then, column)) == begun:
            return as_then
    return framed_together(ready, first_pictures(shards, column))[0]


def _on_cluster(
    run: Run, ready: Labeller, order: Order, how: Answering, workers: int, quiet: bool
) -> Work:
    """The model packed up, so that the run need lie on this machine alone."""
    from candid.inference.cluster import PackedModel, label_on_cluster
    from candid.inference.detectors import OPENCV

    detector, named = how.get("detector"), how.get("calibration", "")
    named = calibration_path(Path(), named).as_posix()
    lie = [run.path] if run.whole is None else [run.whole, run.path]  # of a label, its own last
    paths = {n: folder / n for folder in lie for n in _RUN_FILES if (folder / n).is_file()}
    files = {n: path.read_bytes() for n, path in paths.items()}
    if named and (run.path / named).is_file():
        files[named] = (run.path / named).read_bytes()
    engine = ready.classifier.engine
    if engine == "onnx" and "model.onnx" not in files:  # the run's folder cannot be written to
        files["model.onnx"] = _exported(files)
    if ready.finder is not None:
        files["frame.json"] = json.dumps(to_plain(ready.finder.frame)).encode()
    same: dict[str, Any] = {**how, "engine": engine, "crop": ready.finder is not None}
    if detector is not None and detector != OPENCV:  # it comes with the model, under its name
        files[f"{_DETECTOR}/{detector.name}"] = detector.read_bytes()
        del same["detector"]
    opened = partial(_opened, common=ready.classifier.common, **same)
    job_of = partial(_job_with, column=order.column)
    model = PackedModel(files, opened, order.job, job_of)
    return label_on_cluster(model, order, workers=workers, quiet=quiet)


_DETECTOR = "detector"  # a folder beside the run's files


def _job_with(labeller: Labeller, column: str) -> dict[str, Any]:
    return model_of(labeller) | {"column": column}


def _opened(folder: Path, *, common: CommonFrame | None, **how: Any) -> Labeller:
    """The labeller of a model that came in a folder, and of how most pictures lie."""
    detector = next((folder / _DETECTOR).glob("*"), None)
    found = labeller(Run(folder), **({"detector": detector} | how))
    return found if common is None else found.in_frame(common)


def _exported(files: dict[str, bytes]) -> bytes:
    from candid.models.onnx_file import onnx_path, open_onnx

    with tempfile.TemporaryDirectory(prefix="candid-") as folder:
        run = Run(Path(folder))
        for name, data in files.items():
            (run.path / name).write_bytes(data)
        open_onnx(run, read_record(run.model_file, ModelCard))
        return onnx_path(run).read_bytes()
