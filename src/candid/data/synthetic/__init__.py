"""Synthetic faces with a known ground truth, for the demo and for tests.

What decides the label, which labels are wrong, which group is hard and by how much, the skin's
colour, and the region of each pixel are known. See `FaceWorld` for the settings and `Plant` for the
biases.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from candid.data.processes import in_processes
from candid.data.synthetic.canvas import REGIONS
from candid.data.synthetic.face import Face
from candid.data.synthetic.light import draw_face
from candid.data.synthetic.world import TARGET, FacePlan, FaceWorld, Plant, demo_world, plan
from candid.errors import ConfigError, OutputError
from candid.progress import progress
from candid.storage.archives import write_archive
from candid.storage.files import read_bytes, write_json, write_text, writing

__all__ = [
    "REGIONS",
    "TARGET",
    "Face",
    "FacePlan",
    "FaceWorld",
    "Plant",
    "SyntheticFaces",
    "demo_world",
    "draw_face",
    "draw_faces",
    "is_synthetic",
    "plan",
    "write_faces",
]

_DRAWING = 1  # raise it when the same world gives other pixels or files
_CHUNK = 64  # images per task of a process
_FEW = 400  # below this, starting processes takes longer than drawing


@dataclass(frozen=True, eq=False)
class SyntheticFaces:
    """n images in memory with their ground truth.

    `images` are (n, side, side, 3) uint8 sRGB, `regions` (n, side, side) uint8, indices into
    `REGIONS`.
    """

    world: FaceWorld
    images: NDArray[np.uint8]
    regions: NDArray[np.uint8]
    truth: FacePlan


def draw_faces(world: FaceWorld, *, workers: int = 1) -> SyntheticFaces:
    """Draw the faces of a world into memory.

    `workers` processes draw, 0 for one per core; the pixels do not depend on it.
    """
    truth = plan(world)
    images, regions = _draw_all(world, truth, None, workers, True)
    return SyntheticFaces(world, images, regions, truth)


def write_faces(folder: Path, world: FaceWorld, *, workers: int = 0, quiet: bool = False) -> Path:
    """Write the faces of a world, atomically, as a folder that Candid reads.

    The folder holds `images/`, `labels.csv` (path, Face, split, person and every attribute),
    `regions.npz` (regions: (n, side, side) uint8; names), `truth.npz` (clean_label, cue,
    cue_agrees) and `world.json` (the settings). If it already holds the same world, nothing is
    drawn. `workers` are as for `draw_faces`. Raises OutputError where the folder holds something
    else or cannot be written to.
    """
    folder = Path(folder)
    settings = {
        "drawing": _DRAWING,
        "target": TARGET,
        "classes": list(world.classes),
        **dataclasses.asdict(world),
        "planted": [dataclasses.asdict(plant) for plant in world.planted],
    }
    if _is_written(folder, settings):
        return folder
    truth = plan(world)
    arrays = {name: getattr(truth, name) for name in ("clean_label", "cue", "cue_agrees")}
    with _atomic_folder(folder) as part:
        (part / "images").mkdir()
        _, regions = _draw_all(world, truth, part, workers, quiet)
        write_archive(part / "regions.npz", {"regions": regions, "names": np.array(REGIONS)})
        write_archive(part / "truth.npz", arrays)
        write_text(part / "labels.csv", _table(world, truth))
        write_json(part / "world.json", settings)
    return folder


# --- drawing, in one process or several ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Drawer:
    """Draws some of a world's images, into files if a folder is given; picklable."""

    side: int
    quality: int
    folder: Path | None

    def __call__(
        self, job: tuple[int, Sequence[Face]]
    ) -> tuple[int, NDArray[np.uint8], NDArray[np.uint8]]:
        """The first image's number, the images (none if they are files), their regions."""
        start, faces = job
        results = [draw_face(face, self.side) for face in faces]
        images, regions = (np.stack(arrays) for arrays in zip(*results, strict=True))
        if self.folder is None:
            return start, images, regions
        # Without chroma subsampling: at 64 pixels it would smear lips and irises.
        jpeg: dict[str, Any] = {"quality": self.quality, "subsampling": 0} if self.quality else {}
        for i, image in enumerate(images, start):
            path = self.folder / _name(i, self.quality)
            with writing(path):
                Image.fromarray(image).save(path, **jpeg)
        return start, images[:0], regions


def _draw_all(
    world: FaceWorld, truth: FacePlan, folder: Path | None, workers: int, quiet: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All images (none if they are files in a folder) and their regions."""
    if workers < 0:
        raise ConfigError(
            f"workers = {workers} is not possible.",
            expected="a number of processes, 0 for one per core",
            todo="set workers",
        )
    shape = (world.n, world.side, world.side)
    images = np.empty((world.n if folder is None else 0, *shape[1:], 3), np.uint8)
    regions = np.empty(shape, np.uint8)
    draw = _Drawer(world.side, world.jpeg_quality, folder)
    jobs = [(i, truth.faces[i : i + _CHUNK]) for i in range(0, world.n, _CHUNK)]
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    in_process = workers == 1 or world.n < _FEW
    with progress("drawing faces", world.n, unit="faces", quiet=quiet) as bar:
        results = map(draw, jobs) if in_process else in_processes(draw, jobs, workers)
        for start, block, masks in results:
            images[start : start + len(block)] = block
            regions[start : start + len(masks)] = masks
            bar.update(len(masks))
    return images, regions


# --- files ---------------------------------------------------------------------------------------


def _name(number: int, quality: int) -> str:
    return f"images/{number:06d}.{'jpg' if quality else 'png'}"


def _table(world: FaceWorld, truth: FacePlan) -> str:
    """The label file with the annotator's labels, one row per image."""
    columns: dict[str, list[Any]] = {
        "path": [_name(i, world.jpeg_quality) for i in range(world.n)],
        TARGET: [world.classes[code] for code in truth.label],
        "split": truth.split.tolist(),
        "person": truth.person.tolist(),
    }
    columns |= {name: attribute.words() for name, attribute in truth.attributes.items()}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def is_synthetic(origin: str) -> bool:
    """Whether `write_faces` wrote the data's folder, or that of its table."""
    path = Path(origin)
    try:
        settings = json.loads(read_bytes((path if path.is_dir() else path.parent) / "world.json"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and {"drawing", "cue", "planted"} <= settings.keys()


def _is_written(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether the folder holds this world; raises OutputError where it holds something else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        if json.loads((folder / "world.json").read_text(encoding="utf-8")) == settings:
            return True
        content = "another world of synthetic faces, or the faces of another version"
    except (OSError, ValueError):
        content = "something that is not a world of synthetic faces"
    raise OutputError(
        f"{folder} already holds {content}.",
        expected="a folder that does not exist, is empty, or holds these very faces",
        todo="name another folder, or remove this one",
    )


@contextlib.contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `folder` when the block ends well, else removed."""
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
