"""What can be reviewed: the labels, images and predictions of a run, or of a data set."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from candid.data.dataset import Dataset
from candid.errors import CandidError, ConfigError, DependencyError
from candid.pipeline.auditing import audited_split
from candid.pipeline.data_places import Places, Where, as_data_source
from candid.pipeline.loading import open_network
from candid.pipeline.opening import Data, Place, load_packed, reload, reopen_run
from candid.pipeline.steps import fit_unfamiliar_on
from candid.predictions import Predictions, read_predictions
from candid.progress import track
from candid.records import Provenance, read_record
from candid.records.audit import SplitAudit
from candid.records.review import Why
from candid.runs import Run, open_run
from candid.runs.folders import CHECKED
from candid.runs.refusals import refuse_number, refuse_several
from candid.settings import Config
from candid.storage.files import plain_name

if TYPE_CHECKING:
    from candid.inference.unfamiliar import Unfamiliar
    from candid.reviewing.suspects import PictureFindings

_STRANGE = 96  # pictures that are shown for being unlike the others; 1% of all can be so by chance
_BLOCK = 256  # pictures that are looked at at once


@dataclass(frozen=True, eq=False)
class Reviewable:
    """Labels to review, and the evidence against them."""

    data: Data
    config: Config  # that they were read with
    corrections: Path  # where decisions go unless another file is named
    predictions: Predictions | None = None  # of a model, for images that it did not learn from
    audited: SplitAudit | None = None  # for whom it fails
    run: Run | None = None  # whose network it is

    @property
    def dataset(self) -> Dataset:
        """All labels; of a stream, not all pixels are packed."""
        return self.data.all_rows


def open_reviewable(
    place: Run | Place | Dataset | Places,
    config: Config | None,
    *,
    data_places: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Reviewable:
    """A run where `place` is its folder, else a data set."""
    if isinstance(place, Run) or is_run(place):
        return _open_run_labels(reopen_run(place, quiet=quiet), data_places, cache)
    return _open_data_labels(as_data_source(place), config or Config(), cache, quiet)


def is_run(place: object) -> TypeGuard[Place]:
    """Whether a place is the folder of a run."""
    return isinstance(place, str | PathLike) and Run(Path(place)).config.is_file()


def _open_run_labels(run: Run, places: Places | None, cache: Path | None) -> Reviewable:
    refuse_several(run)
    refuse_number(run)
    data = reload(run, places, cache=cache)
    predictions = read_predictions(run.predictions_file) if run.predictions_file.is_file() else None
    return Reviewable(data, run.settings, run.corrections, predictions, audited_split(run), run)


def _open_data_labels(
    source: Dataset | Where, config: Config, cache: Path | None, quiet: bool
) -> Reviewable:
    data = load_packed(source, config, cache=cache, quiet=quiet)
    if data.dataset.is_several:
        raise ConfigError(
            f"{data.dataset.target!r} is a number, or stands for several labels.",
            expected="one label with classes to review",
            todo="name such a label with --target",
        )
    name = plain_name(data.dataset.name) or "data"
    check = _find_check(data)
    predictions = None if check is None else read_predictions(check.predictions_file)
    return Reviewable(data, config, Path(f"corrections-{name}.csv"), predictions)


def _find_check(data: Data) -> Run | None:
    """The newest folder below runs/ in which candid check examined these labels, at any side."""
    checks: list[tuple[float, Run]] = []
    for pattern in ("*/check.json", f"*/{CHECKED}/check.json"):
        for file in Path("runs").glob(pattern):
            run = Run(file.parent)
            with contextlib.suppress(CandidError, OSError):  # of another release, say
                provenance = read_record(run.provenance, Provenance)
                side = open_run(file.parent).settings.data.side
                is_same = provenance.data_fingerprint == data.fingerprint_at(side)
                if is_same and run.predictions_file.is_file():
                    checks.append((file.stat().st_mtime, run))
    return max(checks, key=lambda check: check[0])[1] if checks else None


# --- what the pictures say -----------------------------------------------------------------------


def examine_pixels(
    labels: Reviewable, queues: Collection[Why], *, quiet: bool = True
) -> PictureFindings:
    """Copies, strange and unreadable images."""
    from candid.reviewing.suspects import PictureFindings

    ids, store = labels.data.dataset.ids, labels.data.store
    return PictureFindings(
        tuple(_find_copies(labels.data, quiet)) if "copy" in queues else (),
        {str(ids[row]): reason for row, reason in store.reasons.items()},
        _find_strange(labels, quiet) if "strange" in queues else {},
    )


def _find_copies(data: Data, quiet: bool) -> Iterator[tuple[str, str, str]]:
    """The code, the image and its partner of every finding about two images."""
    from candid.data.duplicate_findings import find_links
    from candid.data.duplicates import find_copies

    ids = data.dataset.ids.tolist()
    for code, links in find_links(data.dataset, find_copies(data.store, quiet=quiet)).items():
        for first, second in zip(links.first.tolist(), links.second.tolist(), strict=True):
            yield code, ids[first], ids[second]


def _find_strange(labels: Reviewable, quiet: bool) -> dict[str, str]:
    """Labelled images unlike those of training, with how they differ; the strangest first."""
    dataset, store = labels.data.dataset, labels.data.store
    detector = _load_unfamiliar(labels)
    if detector is None:
        return {}
    strange: list[tuple[float, str, str]] = []
    rows = np.flatnonzero((dataset.label >= 0) & store.usable)
    for start in track(range(0, len(rows), _BLOCK), "strange", unit="blocks", quiet=quiet):
        block = rows[start : start + _BLOCK]
        pixels, ids = store.pixels[block], dataset.ids[block].tolist()
        far = detector.distances(pixels)
        reasons = detector.unlike(pixels, store.widths[block], store.heights[block], distances=far)
        strange += [x for x in zip(far.tolist(), ids, reasons, strict=True) if x[2]]
    strange.sort(key=lambda x: -x[0])
    return {image: reason for _, image, reason in strange[:_STRANGE]}


def _load_unfamiliar(labels: Reviewable) -> Unfamiliar | None:
    """The run's detector of unfamiliar images, or a new one; None for too few images."""
    from candid.inference.unfamiliar import read_unfamiliar

    if labels.run is not None and (existing := read_unfamiliar(labels.run.unfamiliar)) is not None:
        return existing
    too_few = len(labels.data.dataset.rows("train", labels.data.store.usable)) < 2
    return None if too_few else fit_unfamiliar_on(labels.data, labels.config)


# --- what the network finds alike ----------------------------------------------------------------


_Nearest = dict[str, list[tuple[str, str]]]


@contextlib.contextmanager
def start_nearest(
    labels: Reviewable, images: Collection[str]
) -> Iterator[Callable[[], _Nearest | None]]:
    """Run `find_nearest` in the background: yields its result, None until it is there.

    The search ends with the block.
    """
    stopped = threading.Event()
    with ThreadPoolExecutor(1, "nearest") as pool:
        future = pool.submit(find_nearest, labels, images, wanted=lambda: not stopped.is_set())
        try:
            yield lambda: future.result() if future.done() else None
        finally:
            stopped.set()


def find_nearest(
    labels: Reviewable, images: Collection[str], *, wanted: Callable[[], bool] = lambda: True
) -> _Nearest:
    """Image → the other training images nearest to it, and their labels.

    Empty where there is no network with a hidden layer, or nothing is `wanted` any more.
    """
    run = labels.run
    if run is None or not (run.weights.is_file() and run.model_file.is_file()):
        return {}
    dataset, wanted_ids = labels.data.dataset, set(images)
    usable = labels.data.store.usable.tolist()
    rows = [k for k, i in enumerate(dataset.ids.tolist()) if i in wanted_ids and usable[k]]
    with contextlib.suppress(ConfigError, DependencyError), open_network(run) as model:
        from candid.explanation.trained_inside import nearest_in_training

        neighbours = nearest_in_training(
            model.network,
            model.card,
            dataset,
            labels.data.store,
            np.asarray(rows, np.intp),
            bfloat16=model.bfloat16,
            wanted=wanted,
        )
        return {image: [(n.id, n.label) for n in near] for image, near in neighbours.items()}
    return {}
