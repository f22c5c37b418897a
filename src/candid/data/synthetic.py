"""Synthetic faces: pictures of people who do not exist, about whom everything is known.

They are the demo's data and the truth that the tests hold Candid to: what decides the label, how
many labels are wrong, which group is hard and by how much, the skin's colour, and which pixel
shows what. See `FaceWorld` for the settings and `Plant` for the biases.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import io
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from candid.data.processes import shielded
from candid.data.synthetic_canvas import REGIONS
from candid.data.synthetic_cast import Face
from candid.data.synthetic_draw import draw_face
from candid.data.synthetic_world import TARGET, FaceWorld, Plan, Plant, demo_world, plan
from candid.errors import ConfigError, OutputError
from candid.progress import progress
from candid.storage.files import atomic, read_bytes, write_json, write_text, writing

__all__ = [
    "REGIONS",
    "TARGET",
    "Face",
    "FaceWorld",
    "Plan",
    "Plant",
    "SyntheticFaces",
    "demo_world",
    "draw_face",
    "draw_faces",
    "is_synthetic",
    "plan",
    "write_faces",
]

_DRAWING = 1  # raised when the same world gives other pixels or files than before
_CHUNK = 64  # pictures that a process draws before it reports
_FEW = 400  # below this, starting processes takes longer than drawing


@dataclass(frozen=True, eq=False)
class SyntheticFaces:
    """n pictures in memory, and the truth about them.

    Attributes
    ----------
    world
        The settings that they were drawn from.
    images
        (n, side, side, 3) uint8 sRGB.
    regions
        (n, side, side) uint8 index into `REGIONS`.
    truth
        Label, split, identity, attributes and everything else that is known.
    """

    world: FaceWorld
    images: NDArray[np.uint8]
    regions: NDArray[np.uint8]
    truth: Plan


def draw_faces(world: FaceWorld, *, workers: int = 1, quiet: bool = True) -> SyntheticFaces:
    """Draw the faces of a world into memory.

    Parameters
    ----------
    world
        What to draw.
    workers
        Processes that draw, 0 for one per core; the pixels do not depend on it.
    quiet
        Show no progress bar.
    """
    truth = plan(world)
    shape = (world.n, world.side, world.side)
    images, regions = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8)
    jobs = _jobs(world, truth, folder=None)
    for start, pictures, masks in _work(jobs, workers, world.n, quiet):
        images[start : start + len(masks)] = pictures
        regions[start : start + len(masks)] = masks
    return SyntheticFaces(world, images, regions, truth)


def write_faces(folder: Path, world: FaceWorld, *, workers: int = 0, quiet: bool = False) -> Path:
    """Write the faces of a world as a folder that Candid reads like any other data.

    The folder holds `images/`, `labels.csv` (path, Face, split, identity and every attribute),
    `regions.npz` (regions: (n, side, side) uint8; names), `truth.npz` (clean_label, cue,
    cue_agrees: what no annotator knows) and `world.json` (the settings). It appears whole or not
    at all. Where it already holds this very world, nothing is drawn.

    Parameters
    ----------
    folder
        Where to write; must not exist, be empty, or hold the same world.
    world
        What to draw.
    workers
        Processes that draw, 0 for one per core; the pixels do not depend on it.
    quiet
        Show no progress bar.

    Returns
    -------
    folder

    Raises
    ------
    OutputError
        Where the folder holds something else or cannot be written to.
    """
    folder = Path(folder)
    settings = _settings(world)
    if _holds(folder, settings):
        return folder
    truth = plan(world)
    with _whole_folder(folder) as part:
        (part / "images").mkdir()
        regions = np.empty((world.n, world.side, world.side), np.uint8)
        jobs = _jobs(world, truth, folder=part)
        for start, _, masks in _work(jobs, workers, world.n, quiet):
            regions[start : start + len(masks)] = masks
        _write_arrays(part / "regions.npz", regions=regions, names=np.array(REGIONS))
        _write_arrays(
            part / "truth.npz",
            clean_label=truth.clean_label,
            cue=truth.cue,
            cue_agrees=truth.cue_agrees,
        )
        write_text(part / "labels.csv", _table(world, truth))
        write_json(part / "world.json", settings)
    return folder


# --- drawing, in one process or several ----------------------------------------------------------

# The first picture's number, the pictures (none where they went into files), their regions.
Drawn = tuple[int, NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class _Job:
    """Some pictures that one process draws, into files where a folder is given."""

    start: int
    faces: tuple[Face, ...]
    side: int
    folder: Path | None
    quality: int


def _jobs(world: FaceWorld, truth: Plan, folder: Path | None) -> list[_Job]:
    return [
        _Job(i, truth.faces[i : i + _CHUNK], world.side, folder, world.jpeg_quality)
        for i in range(0, world.n, _CHUNK)
    ]


def _draw(job: _Job) -> Drawn:
    pictures, masks = [], []
    for i, face in enumerate(job.faces, job.start):
        picture, regions = draw_face(face, job.side)
        masks.append(regions)
        if job.folder is None:
            pictures.append(picture)
            continue
        path = job.folder / _name(i, job.quality)
        with writing(path):
            if job.quality:
                # Without chroma subsampling: at 64 pixels it would smear lips and irises.
                Image.fromarray(picture).save(path, quality=job.quality, subsampling=0)
            else:
                Image.fromarray(picture).save(path)
    return job.start, np.array(pictures, np.uint8), np.stack(masks)


def _work(jobs: list[_Job], workers: int, n: int, quiet: bool) -> Iterator[Drawn]:
    """What `_draw` makes of each job, in the jobs' order."""
    if workers < 0:
        raise ConfigError(
            f"workers = {workers} is not possible.",
            expected="a number of processes, 0 for one per core",
            todo="set workers",
        )
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(progress("drawing faces", n, unit="faces", quiet=quiet))
        done: Iterator[Drawn] = map(_draw, jobs)
        if workers > 1 and n >= _FEW:
            # Spawned, not forked: the caller may have threads.
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            with shielded():
                done = pool.map(_draw, jobs)
        for drawn in done:
            bar.update(len(drawn[2]))
            yield drawn


# --- files ---------------------------------------------------------------------------------------


def _name(number: int, quality: int) -> str:
    return f"images/{number:06d}.{'jpg' if quality else 'png'}"


def _table(world: FaceWorld, truth: Plan) -> str:
    """The label file: what an annotator wrote, one row per picture."""
    columns: dict[str, list[Any]] = {
        "path": [_name(i, world.jpeg_quality) for i in range(world.n)],
        TARGET: [world.classes[code] for code in truth.label],
        "split": truth.split.tolist(),
        "identity": truth.identity.tolist(),
    }
    columns |= {name: attribute.words() for name, attribute in truth.attributes.items()}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _settings(world: FaceWorld) -> dict[str, Any]:
    settings = dataclasses.asdict(world)
    settings["planted"] = [dataclasses.asdict(p) for p in world.planted]
    return {"drawing": _DRAWING, "target": TARGET, "classes": list(world.classes), **settings}


def is_synthetic(origin: str) -> bool:
    """Whether `write_faces` wrote the folder, or the folder of the table, that data come from."""
    path = Path(origin)
    try:
        about = json.loads(read_bytes((path if path.is_dir() else path.parent) / "world.json"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(about, dict) and {"drawing", "cue", "planted"} <= about.keys()


def _holds(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether the folder holds this very world; it must hold that or nothing."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        if json.loads((folder / "world.json").read_text(encoding="utf-8")) == settings:
            return True
        what = "another world of synthetic faces, or the faces of another version"
    except (OSError, ValueError):
        what = "something that is not a world of synthetic faces"
    raise OutputError(
        f"{folder} already holds {what}.",
        expected="a folder that does not exist, is empty, or holds these very faces",
        todo="name another folder, or remove this one",
    )


@contextlib.contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its place when the block ends well, else vanishes."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
        try:
            yield part
            part.chmod(0o755)
            try:
                part.replace(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise OutputError(
                    f"{folder} was filled while the faces were drawn.",
                    expected="an empty or missing folder",
                    todo="start again with another folder",
                ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _write_arrays(path: Path, **arrays: Any) -> None:
    with atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)
