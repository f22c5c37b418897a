"""What can be reviewed: a run, or a data set alone; its labels, its pixels, what a model says."""

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
from candid.pipeline.data_places import Places, Where, labels_or_place
from candid.pipeline.loading import loaded
from candid.pipeline.opening import Data, Place, load_packed, reload, run_at
from candid.pipeline.steps import fit_look
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
    """Labels to review, and what there is to suspect them by."""

    data: Data
    config: Config  # that they were read with
    corrections: Path  # where decisions go unless another file is named
    predictions: Predictions | None = None  # of a model, for images that it did not learn from
    audited: SplitAudit | None = None  # for whom it fails
    run: Run | None = None  # whose network it is

    @property
    def dataset(self) -> Dataset:
        """All labels; of those that training streams, not all pixels are packed."""
        stream = self.data.streamed
        return self.data.dataset if stream is None else stream.dataset


def reviewable(
    place: Run | Place | Dataset | Places,
    config: Config | None,
    *,
    where: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Reviewable:
    """A run where `place` is its folder, else a data set."""
    if isinstance(place, Run) or is_run(place):
        return _of_run(run_at(place, quiet=quiet), where, cache)
    return _of_data(labels_or_place(place), config or Config(), cache, quiet)


def is_run(place: object) -> TypeGuard[Place]:
    """Whether it is the folder of a run."""
    return isinstance(place, str | PathLike) and Run(Path(place)).config.is_file()


def _of_run(run: Run, where: Places | None, cache: Path | None) -> Reviewable:
    refuse_several(run)
    refuse_number(run)
    data = reload(run, where, cache=cache)
    said = read_predictions(run.predictions_file) if run.predictions_file.is_file() else None
    return Reviewable(data, run.settings, run.corrections, said, audited_split(run), run)


def _of_data(where: Dataset | Where, config: Config, cache: Path | None, quiet: bool) -> Reviewable:
    data = load_packed(where, config, cache=cache, quiet=quiet)
    if data.dataset.is_several:
        raise ConfigError(
            f"{data.dataset.target!r} is a number, or stands for several labels.",
            expected="one label with classes to review",
            todo="name such a label with --target",
        )
    name = plain_name(data.dataset.name) or "data"
    checked = _checked(data)
    said = None if checked is None else read_predictions(checked.predictions_file)
    return Reviewable(data, config, Path(f"corrections-{name}.csv"), said)


def _checked(data: Data) -> Run | None:
    """The folder below runs/ in which candid check examined these very labels, the newest.

    How many pixels its networks saw does not matter.
    """
    found: list[tuple[float, Run]] = []
    for pattern in ("*/check.json", f"*/{CHECKED}/check.json"):
        for file in Path("runs").glob(pattern):
            run = Run(file.parent)
            with contextlib.suppress(CandidError, OSError):  # of another release, say
                about = read_record(run.provenance, Provenance)
                side = open_run(file.parent).settings.data.side
                same = about.data_fingerprint == data.fingerprint_at(side)
                if same and run.predictions_file.is_file():
                    found.append((file.stat().st_mtime, run))
    return max(found, key=lambda one: one[0])[1] if found else None


# --- what the pictures say -----------------------------------------------------------------------


def look_at_pixels(
    of: Reviewable, wanted: Collection[Why], *, quiet: bool = True
) -> PictureFindings:
    """Copies, strange pictures, and files that cannot be read."""
    from candid.reviewing.suspects import PictureFindings

    ids, store = of.data.dataset.ids, of.data.store
    return PictureFindings(
        tuple(_linked(of.data, quiet)) if "copy" in wanted else (),
        {str(ids[row]): reason for row, reason in store.reasons.items()},
        _strange(of, quiet) if "strange" in wanted else {},
    )


def _linked(data: Data, quiet: bool) -> Iterator[tuple[str, str, str]]:
    """The code, the image and its partner of every finding about two images."""
    from candid.data.duplicate_findings import find_links
    from candid.data.duplicates import find_copies

    ids = data.dataset.ids.tolist()
    for code, links in find_links(data.dataset, find_copies(data.store, quiet=quiet)).items():
        for first, second in zip(links.first.tolist(), links.second.tolist(), strict=True):
            yield code, ids[first], ids[second]


def _strange(of: Reviewable, quiet: bool) -> dict[str, str]:
    """Labelled pictures that are unlike those of training: in what, the strangest first."""
    dataset, store = of.data.dataset, of.data.store
    look = _unfamiliar(of)
    if look is None:
        return {}
    found: list[tuple[float, str, str]] = []
    rows = np.flatnonzero((dataset.label >= 0) & store.usable)
    for start in track(range(0, len(rows), _BLOCK), "strange", unit="blocks", quiet=quiet):
        some = rows[start : start + _BLOCK]
        pixels, ids = store.pixels[some], dataset.ids[some].tolist()
        far = look.distances(pixels)
        why = look.unlike(pixels, store.widths[some], store.heights[some], distances=far)
        found += [one for one in zip(far.tolist(), ids, why, strict=True) if one[2]]
    found.sort(key=lambda one: -one[0])
    return {image: why for _, image, why in found[:_STRANGE]}


def _unfamiliar(of: Reviewable) -> Unfamiliar | None:
    """What the run learned of the look of its training pictures, or else what there is to learn."""
    from candid.inference.unfamiliar import read_unfamiliar

    if of.run is not None and (kept := read_unfamiliar(of.run.unfamiliar)) is not None:
        return kept
    few = len(of.data.dataset.rows("train", of.data.store.usable)) < 2
    return None if few else fit_look(of.data, of.config)


# --- what the network finds alike ----------------------------------------------------------------


_Nearest = dict[str, list[tuple[str, str]]]


@contextlib.contextmanager
def nearest_later(
    of: Reviewable, images: Collection[str]
) -> Iterator[Callable[[], _Nearest | None]]:
    """What `nearest_of` gives, sought beside what else is done: None until it is found.

    Where nobody waits for it any longer, the search ends.
    """
    left = threading.Event()
    with ThreadPoolExecutor(1, "nearest") as pool:
        found = pool.submit(nearest_of, of, images, wanted=lambda: not left.is_set())
        try:
            yield lambda: found.result() if found.done() else None
        finally:
            left.set()


def nearest_of(
    of: Reviewable, images: Collection[str], *, wanted: Callable[[], bool] = lambda: True
) -> _Nearest:
    """Image → the training pictures nearest to it, and their labels; of no such image itself.

    Nothing where there is no network, or none with a hidden layer, or nothing is `wanted` any more.
    """
    run = of.run
    if run is None or not (run.weights.is_file() and run.model_file.is_file()):
        return {}
    dataset, asked = of.data.dataset, set(images)
    usable = of.data.store.usable.tolist()
    rows = [k for k, i in enumerate(dataset.ids.tolist()) if i in asked and usable[k]]
    with contextlib.suppress(ConfigError, DependencyError), loaded(run) as model:
        from candid.explanation.trained_inside import nearest_in_training

        found = nearest_in_training(
            model.network,
            model.card,
            dataset,
            of.data.store,
            np.asarray(rows, np.intp),
            bfloat16=model.bfloat16,
            wanted=wanted,
        )
        return {image: [(n.id, n.label) for n in near] for image, near in found.items()}
    return {}
