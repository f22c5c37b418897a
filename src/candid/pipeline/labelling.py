"""Labellers: they label images as a run's model does, here or in tasks of a cluster."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray
from candid.errors import OutputError, RunError, require_extra
from candid.pipeline.aligning import reference_rows
from candid.pipeline.data_places import Places
from candid.pipeline.opening import Data, reload, reopen_run
from candid.records import read_record, to_plain, write_record
from candid.runs import Run, has_framing
from candid.runs.refusals import answering_run
from candid.settings import Config

if TYPE_CHECKING:
    from candid.inference.classifier import Classifier, Engine
    from candid.inference.classify import Labeller
    from candid.inference.detectors import Detector
    from candid.inference.drift import DriftReference
    from candid.inference.faces import FaceFinder, Frame
    from candid.inference.rows import Format, Outcome
    from candid.inference.sources import Item
    from candid.inference.unfamiliar import Unfamiliar

_FRAMES = 200  # training pictures in which faces are looked for, to see how they lie
_SQUEEZED = 60  # and those that are tried in several shapes, to see whether they are squeezed


class PredictOptions(TypedDict, total=False):
    """Options of `open_labeller`; see `candid.predict`."""

    engine: Engine
    abstain_below: float | None
    check: bool
    crop: bool
    detector: Path | None
    calibration: str
    common_frame: bool


def open_labeller(
    run: Run,
    *,
    engine: Engine = "auto",
    abstain_below: float | None = None,
    check: bool = True,
    crop: bool = False,
    detector: Path | None = None,
    calibration: str = "",
    common_frame: bool = True,
    data: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
    watch: bool = False,
    number: bool = False,
) -> Labeller:
    """A labeller that answers as a run's model does; see `candid.predict`.

    With a `calibration`, images are not held against the training data: it is of another place.
    `data`, `cache` and `quiet` are for the training images in which faces are looked for once;
    `watch`: whether it tells, if the run can, that a stream is no longer like the validation
    images; `number`: as for `open_classifier`.
    """
    from candid.inference.classifier import open_classifier
    from candid.inference.classify import Labeller
    from candid.inference.several import open_several

    run = run if number else answering_run(run)
    finder = face_finder(run, detector, data=data, cache=cache, quiet=quiet) if crop else None
    options: dict[str, Any] = {"engine": engine, "calibration": calibration}
    options["abstain_below"] = abstain_below
    if run.target_runs():
        labeller = open_several(run, finder, check=check, **options)
        return replace(labeller, one_frame=common_frame)
    # Every thread runs the model on a block of its own.
    classifier = open_classifier(run, threads=1, number=number, **options)
    unfamiliar, reference = None, None
    if check:
        unfamiliar, reference = load_checks(run, classifier, calibration=calibration, watch=watch)
    return Labeller(classifier, unfamiliar, finder, reference=reference, one_frame=common_frame)


def face_finder(
    run: Run,
    detector: Path | None = None,
    *,
    data: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> FaceFinder:
    """A finder that cuts faces out as a run's training images were cut.

    It is the run's framing network, if any, unless a `detector` is named, else OpenCV. Raises
    DependencyError where a library is not installed.
    """
    from candid.inference.detectors import open_detector
    from candid.inference.faces import Finder

    if detector is None and has_framing(run):
        with require_extra(
            "The run's framing network finds faces with",
            "train",
            expected="the extra 'train', or a detector of OpenCV's",
            todo="pip install 'candid-faces[train]', or name --detector opencv",
        ):
            from candid.inference.windows import FramingFinder
            from candid.models.framing import load_framing
        return FramingFinder(load_framing(run.framing_weights))
    opencv = open_detector(detector)
    return Finder(opencv, training_frame(run, opencv, data=data, cache=cache, quiet=quiet))


def load_checks(
    run: Run, classifier: Classifier, *, calibration: str, watch: bool
) -> tuple[Unfamiliar | None, DriftReference | None]:
    """What tells single images, and with `watch` whole streams, from those of home.

    None where the run has none, or with a calibration for another place.
    """
    from candid.inference.drift import read_reference
    from candid.inference.unfamiliar import read_unfamiliar

    if calibration:
        return None, None
    unfamiliar = read_unfamiliar(run.unfamiliar)
    return unfamiliar, read_reference(run.drift, classifier, unfamiliar) if watch else None


def training_frame(
    run: Run,
    detector: Detector,
    *,
    data: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Frame:
    """How faces lie in a run's training images; measured once, then kept in frame.json.

    Where the data are gone, CelebA's usual values serve for runs on CelebA.
    """
    from candid.inference.faces import CELEBA, Frame, measure_frame, measure_squeeze

    path = run.path / "frame.json"
    with contextlib.suppress(RunError):  # none, or one that did not look for a squeeze
        existing = read_record(path, Frame)
        if existing.detector == detector.name:
            return existing
    run = reopen_run(run, quiet=quiet)
    config = run.settings
    try:
        packed = reload(run, data, cache=cache)
    except RunError:
        if config.data.layout == "celeba":
            return CELEBA
        raise
    squeeze = measure_squeeze(_sample_training_images(packed, config, _SQUEEZED))
    # Of several data sets, those to whose frame the others were brought.
    mask = reference_rows(run, packed.dataset)
    pictures = _sample_training_images(packed, config, _FRAMES, mask)
    result = measure_frame(pictures, detector, squeeze=squeeze)
    with contextlib.suppress(OutputError):  # a run in a read-only place is measured anew each time
        write_record(path, result)
    return result


def _sample_training_images(
    data: Data, config: Config, limit: int, mask: BoolArray | None = None
) -> Generator[NDArray[np.uint8]]:
    """Some training images of a mask (n,), as they are in their files."""
    from candid.data.decode import decode_whole

    usable = data.store.usable
    rows = data.dataset.rows("train", usable if mask is None else usable & mask)
    rng = np.random.default_rng(config.train.seed)
    for row in rng.choice(rows, min(limit, len(rows)), replace=False):
        encoded = data.dataset.source.read(int(row))
        yield decode_whole(encoded, longest=512, max_pixels=config.data.max_pixels).pixels


def label_pictures(
    labeller: Labeller,
    inputs: Sequence[str],
    out: Path,
    kind: Format,
    *,
    listed: BinaryIO | None = None,
    column: str = "",
    force: bool = False,
    workers: int = 0,
    bar: Callable[[int], object] = lambda _: None,
) -> Outcome:
    """Write a row per picture; see `candid.inference.label_file.label_to_file`.

    `inputs` is from `candid.inference.sources.resolve`; `listed` and `column` are as for its
    `items`.
    """
    from candid.inference.label_file import label_to_file

    labeller, pictures = frame_items(labeller, inputs, listed, column=column)
    return label_to_file(
        labeller,
        pictures,
        out,
        kind,
        model_key(labeller) | {"pictures": list(inputs), "column": column},
        about=describe_model(labeller),
        force=force,
        workers=workers,
        bar=bar,
    )


def frame_items(
    labeller: Labeller, inputs: Sequence[str], listed: BinaryIO | None = None, *, column: str = ""
) -> tuple[Labeller, Iterator[Item]]:
    """The images of some inputs, and the labeller with their common frame.

    Images of a list that is still being written are framed each by itself.
    """
    from candid.inference.common_frame import with_common_frame
    from candid.inference.sources import items

    pictures = items(inputs, listed, column=column)
    if listed is not None and not listed.seekable():
        return labeller, pictures
    return with_common_frame(labeller, pictures)


def describe_model(labeller: Labeller) -> dict[str, Any]:
    """The model, for a table of labels."""
    from candid.inference.several import SeveralLabeller

    c = labeller.classifier
    if isinstance(labeller, SeveralLabeller):
        classes = {a.name: list(a.classes) for a in labeller.labels if a.number is None}
        numbers = {a.name: a.number.coverage for a in labeller.labels if a.number is not None}
        description = {"targets": classes, "engine": c.engine}
        return description | ({"numbers": numbers} if numbers else {})
    return {
        "target": c.target,
        "classes": list(c.classes),
        "temperature": c.card.temperature,
        "engine": c.engine,
        "abstains": c.rule.sentence if c.rule else "never",
    }


def model_key(labeller: Labeller) -> dict[str, Any]:
    """Plain values of everything that decides the row of a picture."""
    c = labeller.classifier
    unfamiliar, finder = labeller.unfamiliar, labeller.finder
    extra = {} if c.shift is None else {"place": [c.shift.temperature, *c.shift.bias.tolist()]}
    if c.common is not None:
        extra["frame"] = to_plain(c.common)
    return extra | {
        "model": c.made_from,
        "engine": c.engine,
        "fit": c.fit,
        "abstains below": c.rule.threshold if c.rule else None,
        "unlike": None
        if unfamiliar is None
        else [unfamiliar.limit, unfamiliar.narrowest, unfamiliar.smallest],
        "faces": None if finder is None else to_plain(finder.frame),
    }


def single_threaded() -> contextlib.AbstractContextManager[None]:
    """One thread of torch per call, if it is loaded: calls come from many threads."""
    if "torch" not in sys.modules:
        return contextlib.nullcontext()
    from candid.models.device import threads

    return threads(1)
