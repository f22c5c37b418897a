"""Where the parts of a data set's faces are: from a file of masks or points, or CelebA's own."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import ConfigError, DataError
from candid.explanation.regions import CELEBA, Points, Regions, fitted, from_masks, from_points
from candid.settings import Config
from candid.storage.files import open_regular
from candid.tables.delimited import first_lines, read_delimited, read_spaced

if TYPE_CHECKING:
    from candid.data.dataset import Dataset
    from candid.data.store import Store

_FILES = ("list_landmarks_align_celeba.txt", "list_landmarks_align_celeba.csv")
_FOLDERS = ("", "Anno", "celeba", "CelebA")
_ALIGNED = (178, 218)  # the pictures that the file's pixels are of, whatever became of them since
_EYES_NOSE_MOUTH = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
_COLUMNS = tuple(f"{part}_{axis}" for part in _EYES_NOSE_MOUTH for axis in "xy")


def regions_of(
    dataset: Dataset, store: Store, rows: NDArray[np.intp], config: Config
) -> tuple[Regions | None, str]:
    """The regions of these rows, and what a reader must know about them.

    A ConfigError where `explain.regions` is impossible or names a file that does not hold these
    images; a DataError where CelebA's landmarks lie beside the labels and are damaged.
    """
    said, fit = config.explain.regions.strip(), config.data.fit

    def placed(points: Points, source: str = "landmarks") -> tuple[Regions, str]:
        size = int(store.widths[rows[0]]), int(store.heights[rows[0]])
        return from_points(fitted(points, *size, fit), store.side, source=source), ""

    if said == "auto":
        origin = Path(dataset.origin) if dataset.origin else None
        folder = origin.parent if origin is not None and not origin.is_dir() else origin
        if folder is not None and (folder / "regions.npz").is_file():
            said = str(folder / "regions.npz")
        elif dataset.layout != "celeba":
            return None, (
                f"Nothing says where the parts of the faces in the layout {dataset.layout!r} "
                "are: set explain.regions to five points of the mean face, or to a file of masks."
            )
        elif origin is not None and (file := find_landmarks(origin)) is not None:
            return placed(_upright(read_landmarks(file, dataset.ids[rows])))
        else:
            said = "celeba"
    if said == "none":
        return None, ""
    if said.endswith(".npz"):
        return _given(Path(said), dataset, store, rows, fit), ""
    return placed(CELEBA, "celeba") if said == "celeba" else placed(_points(said))


def _upright(points: Points) -> Points:
    """Landmarks (n, 5, 2), with CelebA's mean where a face is seen so far from the side that its
    eyes and mouth lie in one line, which carries no template.
    """
    across, down = points[:, 1] - points[:, 0], points[:, 3:].mean(1) - points[:, :2].mean(1)
    area = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    usual = (CELEBA[1, 0] - CELEBA[0, 0]) * (CELEBA[3:, 1].mean() - CELEBA[:2, 1].mean())
    return np.where((area > 0.25 * usual)[:, None, None], points, CELEBA)


def _points(said: str) -> Points:
    """Five points from ten numbers."""
    try:
        numbers = [float(word) for word in said.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 10:
        raise ConfigError(
            f"explain.regions = {said!r} is not possible.",
            expected="auto, none, celeba, a file that ends with .npz, or ten numbers: x and y of "
            "both eyes, the nose and both corners of the mouth, in shares of width and height",
            todo="set explain.regions",
        )
    return np.array(numbers).reshape(5, 2)


# --- a file of masks or points -------------------------------------------------------------------


def _given(path: Path, dataset: Dataset, store: Store, rows: NDArray[np.intp], fit: str) -> Regions:
    """What a file says about these rows: masks (`regions`, `names`), or `points` of each face."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as found:
            held = {name: found[name] for name in found.files}
    except Exception as error:  # a damaged archive raises whatever its reader does
        raise _unreadable(path, getattr(error, "strerror", None) or type(error).__name__) from error
    if "points" not in held:
        if not {"regions", "names"} <= set(held):
            raise _unreadable(path, f"it holds {', '.join(held) or 'nothing'}")
        order = _order(path, held, len(held["regions"]), dataset.ids)
        names = tuple(str(n) for n in held["names"])
        return from_masks(names, held["regions"][order], store.side)[rows]
    points = np.asarray(held["points"])
    if points.ndim != 3 or points.shape[1:] != (5, 2) or points.dtype.kind not in "fui":
        raise ConfigError(
            f"The points in {path} have the shape {points.shape} and the type {points.dtype}.",
            expected="numbers (n, 5, 2): x and y of both eyes, the nose and both corners of the "
            "mouth, in shares of width and height",
            todo="set explain.regions to another file, or to none",
        )
    own = _order(path, held, len(points), dataset.ids)[rows]
    sizes = zip(points[own], store.widths[rows], store.heights[rows], strict=True)
    placed = [fitted(five, int(width), int(height), fit) for five, width, height in sizes]
    return from_points(np.stack(placed), store.side)


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"Cannot read masks from {path}: {why}",
        expected="an .npz file with regions (n, height, width) and names, or points (n, 5, 2)",
        todo="set explain.regions",
    )


def _order(
    path: Path, held: dict[str, NDArray[Any]], count: int, ids: NDArray[np.str_]
) -> NDArray[np.intp]:
    """Where in a file of so many entries each image's own stands: by `ids`, else as they come."""
    if "ids" in held:
        place = {str(name): i for i, name in enumerate(held["ids"])}
        missing = [str(name) for name in ids if str(name) not in place]
        order = np.array([place.get(str(name), 0) for name in ids], np.intp)
    else:
        missing = [] if count == len(ids) else ["an entry for every image, in their order"]
        order = np.arange(count)
    if missing or (len(order) and int(order.max()) >= count):
        raise ConfigError(
            f"{path} does not hold {'points' if 'points' in held else 'masks'} of these images: "
            f"{(missing or ['an entry'])[0]} is missing.",
            expected=f"{len(ids)} masks or points in the order of the data, or with ids",
            todo="set explain.regions to another file, or to none",
        )
    return order


# --- CelebA's landmarks --------------------------------------------------------------------------


def find_landmarks(folder: Path) -> Path | None:
    """CelebA's file of landmarks of aligned pictures, where it lies beside the labels."""
    for name in _FILES:
        for place in _FOLDERS:
            if (file := folder / place / name).is_file():
                return file
    return None


def read_landmarks(file: Path, ids: NDArray[np.str_]) -> NDArray[np.float64]:
    """(n, 5, 2) x, y in shares of width and height: both eyes, the nose, the mouth's corners.

    The file is as CelebA has it (a count, the columns' names, a line per picture), or CSV, from
    Kaggle; folders and endings of `ids` do not matter. A DataError where it is damaged, or lacks a
    picture.
    """
    if file.suffix == ".csv":
        table = read_delimited(file)
    else:
        head = first_lines(file, 2)
        names = head[1].split() if len(head) == 2 else []
        table = read_spaced(file, ["image", *names], skip=2)
    try:
        numbers = np.stack([np.array(table[name].to_pylist(), np.float64) for name in _COLUMNS], 1)
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{file} does not hold CelebA's landmarks: {error}.",
            expected=f"the columns {', '.join(_COLUMNS)}, all numbers",
            todo="fetch it again, or set explain.regions to celeba",
        ) from error
    place = {_stem(name): row for row, name in enumerate(table.column(0).to_pylist())}
    missing = [str(name) for name in ids if _stem(str(name)) not in place]
    if missing:
        raise DataError(
            f"{file} holds no landmarks of {missing[0]} (and of {len(missing) - 1:,} more).",
            expected="a line for every picture",
            todo="fetch it again, or set explain.regions to celeba",
        )
    rows = [place[_stem(str(name))] for name in ids]
    return numbers[rows].reshape(-1, 5, 2) / _ALIGNED


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
