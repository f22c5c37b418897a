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
from candid.pipeline.labelling import (
    PredictOptions,
    describe_model,
    model_key,
    open_labeller,
    single_threaded,
)
from candid.records import ModelCard, from_plain, read_record, to_plain
from candid.records.calibration import calibration_path
from candid.records.framing import CommonFrame
from candid.runs import Run
from candid.runs.refusals import refuse_several
from candid.storage.jobs import plain_job

if TYPE_CHECKING:
    from candid.inference.classify import Labeller
    from candid.inference.parts import Manifest, Work
    from candid.inference.shards import JobSpec, Shard

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
    labeller: Labeller | None = None,
    bar: Callable[[int, int], object] = lambda _done, _all: None,
    **options: Unpack[PredictOptions],
) -> Manifest:
    """Label shards into a folder of one Parquet file each; only those that are missing.

    `inputs` is what `candid.inference.sources.resolve` gave, `labeller` what `open_labeller` did
    for these options; None: it is called. `bar` gets how many shards were just done, and of how
    many. The rest is as for `candid.predict_shards` and `open_labeller`.
    """
    from candid.inference.parts import label_here, label_missing
    from candid.inference.shards import JobSpec, find_shards

    refuse_several(run)
    shards = find_shards(inputs, out)
    if labeller is None:
        labeller = open_labeller(run, data=data, cache=cache, quiet=quiet, **options)
    labeller = _use_frame(labeller, shards, out, column)
    order = JobSpec(out, _job_key(labeller, column), describe_model(labeller), column)
    if ray:
        work = _pack_for_cluster(run, labeller, order, options, workers, quiet)
    else:
        work = label_here(labeller, order, workers=workers)
    with contextlib.nullcontext() if ray else single_threaded():
        return label_missing(
            shards,
            order,
            work,
            engine="ray" if ray else "local",
            force=force,
            done=lambda count: bar(count, len(shards)),
        )


def _use_frame(labeller: Labeller, shards: Sequence[Shard], out: str, column: str) -> Labeller:
    """The labeller with the frame that most pictures of all shards have in common.

    It is that of the job in the folder, if there is one: shards that come later are read alike.
    """
    from candid.inference.common_frame import with_common_frame
    from candid.inference.parts import read_job
    from candid.inference.shards import first_pictures

    if labeller.common_framer is None:
        return labeller
    previous = read_job(out)
    if previous is not None:
        frame = previous.get("frame")
        resumed = labeller if frame is None else labeller.with_frame(from_plain(CommonFrame, frame))
        if plain_job(_job_key(resumed, column)) == previous:
            return resumed
    return with_common_frame(labeller, first_pictures(shards, column))[0]


def _pack_for_cluster(
    run: Run, labeller: Labeller, order: JobSpec, options: PredictOptions, workers: int, quiet: bool
) -> Work:
    """The work for a cluster, with the model packed: only this machine needs the run's folder."""
    from candid.inference.cluster import PackedModel, label_on_cluster
    from candid.inference.detectors import OPENCV

    detector, calibration = options.get("detector"), options.get("calibration", "")
    calibration = calibration_path(Path(), calibration).as_posix()
    folders = (
        [run.path] if run.parent is None else [run.parent, run.path]
    )  # of a label, its own last
    paths = {n: folder / n for folder in folders for n in _RUN_FILES if (folder / n).is_file()}
    files = {n: path.read_bytes() for n, path in paths.items()}
    if calibration and (run.path / calibration).is_file():
        files[calibration] = (run.path / calibration).read_bytes()
    engine = labeller.classifier.engine
    if engine == "onnx" and "model.onnx" not in files:  # the run's folder cannot be written to
        files["model.onnx"] = _export_onnx(files)
    if labeller.finder is not None:
        files["frame.json"] = json.dumps(to_plain(labeller.finder.frame)).encode()
    kwargs: dict[str, Any] = {**options, "engine": engine, "crop": labeller.finder is not None}
    if detector is not None and detector != OPENCV:  # it comes with the model, under its name
        files[f"{_DETECTOR}/{detector.name}"] = detector.read_bytes()
        del kwargs["detector"]
    open_here = partial(_open_packed, common=labeller.classifier.common, **kwargs)
    job_key = partial(_job_key, column=order.column)
    model = PackedModel(files, open_here, order.job, job_key)
    return label_on_cluster(model, order, workers=workers, quiet=quiet)


_DETECTOR = "detector"  # a folder beside the run's files


def _job_key(labeller: Labeller, column: str) -> dict[str, Any]:
    return model_key(labeller) | {"column": column}


def _open_packed(folder: Path, *, common: CommonFrame | None, **options: Any) -> Labeller:
    """The labeller of a model in a folder, with the frame that most pictures have in common."""
    detector = next((folder / _DETECTOR).glob("*"), None)
    labeller = open_labeller(Run(folder), **({"detector": detector} | options))
    return labeller if common is None else labeller.with_frame(common)


def _export_onnx(files: dict[str, bytes]) -> bytes:
    from candid.models.onnx_file import onnx_path, open_onnx

    with tempfile.TemporaryDirectory(prefix="candid-") as folder:
        run = Run(Path(folder))
        for name, data in files.items():
            (run.path / name).write_bytes(data)
        open_onnx(run, read_record(run.model_file, ModelCard))
        return onnx_path(run).read_bytes()
