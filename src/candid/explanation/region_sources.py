"""The regions of a data set's faces: from a file of masks or points, or CelebA's landmarks."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import ConfigError, DataError
from candid.explanation.regions import CELEBA, Points, Regions, fit_points, from_masks, from_points
from candid.settings import Config
from candid.storage.files import open_regular
from candid.tables.delimited import first_lines, read_delimited, read_spaced

if TYPE_CHECKING:
    from candid.data.dataset import Dataset
    from candid.data.store import Store

_LANDMARK_FILES = ("list_landmarks_align_celeba.txt", "list_landmarks_align_celeba.csv")
_FOLDERS = ("", "Anno", "celeba", "CelebA")
_ALIGNED_SIZE = (178, 218)  # of the images in whose pixels the file's landmarks are
_EYES_NOSE_MOUTH = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
_COLUMNS = tuple(f"{part}_{axis}" for part in _EYES_NOSE_MOUTH for axis in "xy")


def load_regions(
    dataset: Dataset, store: Store, rows: NDArray[np.intp], config: Config
) -> tuple[Regions | None, str]:
    """The regions of these rows, and a note for a reader.

    Raises ConfigError where `explain.regions` is invalid or names a file without these images;
    DataError where CelebA's landmarks are damaged.
    """
    setting, fit = config.explain.regions.strip(), config.data.fit

    def from_template(points: Points, source: str = "landmarks") -> tuple[Regions, str]:
        size = int(store.widths[rows[0]]), int(store.heights[rows[0]])
        return from_points(fit_points(points, *size, fit), store.side, source=source), ""

    if setting == "auto":
        origin = Path(dataset.origin) if dataset.origin else None
        folder = origin.parent if origin is not None and not origin.is_dir() else origin
        if folder is not None and (folder / "regions.npz").is_file():
            setting = str(folder / "regions.npz")
        elif dataset.layout != "celeba":
            return None, (
                f"Nothing says where the parts of the faces in the layout {dataset.layout!r} "
                "are: set explain.regions to five points of the mean face, or to a file of masks."
            )
        elif origin is not None and (file := find_landmarks(origin)) is not None:
            return from_template(_replace_profiles(read_landmarks(file, dataset.ids[rows])))
        else:
            setting = "celeba"
    if setting == "none":
        return None, ""
    if setting.endswith(".npz"):
        return _load(Path(setting), dataset, store, rows, fit), ""
    if setting == "celeba":
        return from_template(CELEBA, "celeba")
    return from_template(_parse_points(setting))


def _replace_profiles(points: Points) -> Points:
    """Landmarks (n, 5, 2), with CelebA's mean in place of profiles, whose points are collinear."""
    eyes, down = points[:, 1] - points[:, 0], points[:, 3:].mean(1) - points[:, :2].mean(1)
    area = eyes[:, 0] * down[:, 1] - eyes[:, 1] * down[:, 0]
    typical = (CELEBA[1, 0] - CELEBA[0, 0]) * (CELEBA[3:, 1].mean() - CELEBA[:2, 1].mean())
    return np.where((area > 0.25 * typical)[:, None, None], points, CELEBA)


def _parse_points(setting: str) -> Points:
    """Five points from ten numbers."""
    try:
        numbers = [float(word) for word in setting.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 10:
        raise ConfigError(
            f"explain.regions = {setting!r} is not possible.",
            expected="auto, none, celeba, a file that ends with .npz, or ten numbers: x and y of "
            "both eyes, the nose and both corners of the mouth, in shares of width and height",
            todo="set explain.regions",
        )
    return np.array(numbers).reshape(5, 2)


# --- a file of masks or points -------------------------------------------------------------------


def _load(path: Path, dataset: Dataset, store: Store, rows: NDArray[np.intp], fit: str) -> Regions:
    """The regions of these rows in a file: masks (`regions`, `names`), or `points` of each face."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive raises whatever its reader does
        raise _read_error(path, getattr(error, "strerror", None) or type(error).__name__) from error
    if "points" not in arrays:
        if not {"regions", "names"} <= set(arrays):
            raise _read_error(path, f"it holds {', '.join(arrays) or 'nothing'}")
        order = _find_entries(path, arrays, len(arrays["regions"]), dataset.ids)
        names = tuple(str(n) for n in arrays["names"])
        return from_masks(names, arrays["regions"][order], store.side)[rows]
    points = np.asarray(arrays["points"])
    if points.ndim != 3 or points.shape[1:] != (5, 2) or points.dtype.kind not in "fui":
        raise ConfigError(
            f"The points in {path} have the shape {points.shape} and the type {points.dtype}.",
            expected="numbers (n, 5, 2): x and y of both eyes, the nose and both corners of the "
            "mouth, in shares of width and height",
            todo="set explain.regions to another file, or to none",
        )
    entries = _find_entries(path, arrays, len(points), dataset.ids)[rows]
    sizes = zip(points[entries], store.widths[rows], store.heights[rows], strict=True)
    fitted = [fit_points(five, int(width), int(height), fit) for five, width, height in sizes]
    return from_points(np.stack(fitted), store.side)


def _read_error(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"Cannot read masks from {path}: {why}",
        expected="an .npz file with regions (n, height, width) and names, or points (n, 5, 2)",
        todo="set explain.regions",
    )


def _find_entries(
    path: Path, arrays: dict[str, NDArray[Any]], count: int, ids: NDArray[np.str_]
) -> NDArray[np.intp]:
    """The entry of each image in a file with `count` entries: by `ids`, else in order."""
    if "ids" in arrays:
        index = {str(name): i for i, name in enumerate(arrays["ids"])}
        missing = [str(name) for name in ids if str(name) not in index]
        order = np.array([index.get(str(name), 0) for name in ids], np.intp)
    else:
        missing = [] if count == len(ids) else ["an entry for every image, in their order"]
        order = np.arange(count)
    if missing or (len(order) and int(order.max()) >= count):
        raise ConfigError(
            f"{path} does not hold {'points' if 'points' in arrays else 'masks'} of these images: "
            f"{(missing or ['an entry'])[0]} is missing.",
            expected=f"{len(ids)} masks or points in the order of the data, or with ids",
            todo="set explain.regions to another file, or to none",
        )
    return order


# --- CelebA's landmarks --------------------------------------------------------------------------


def find_landmarks(folder: Path) -> Path | None:
    """CelebA's file of landmarks of aligned images, near the labels; None where there is none."""
    for name in _LANDMARK_FILES:
        for place in _FOLDERS:
            if (file := folder / place / name).is_file():
                return file
    return None


def read_landmarks(file: Path, ids: NDArray[np.str_]) -> NDArray[np.float64]:
    """(n, 5, 2) x, y in shares of width and height: both eyes, the nose, the mouth's corners.

    The file has CelebA's format (a count, the columns' names, a line per image), or is CSV, from
    Kaggle; folders and suffixes of `ids` are ignored. Raises DataError where it is damaged, or
    lacks an image.
    """
    if file.suffix == ".csv":
        table = read_delimited(file)
    else:
        header = first_lines(file, 2)
        names = header[1].split() if len(header) == 2 else []
        table = read_spaced(file, ["image", *names], skip=2)
    try:
        numbers = np.stack([np.array(table[name].to_pylist(), np.float64) for name in _COLUMNS], 1)
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{file} does not hold CelebA's landmarks: {error}.",
            expected=f"the columns {', '.join(_COLUMNS)}, all numbers",
            todo="fetch it again, or set explain.regions to celeba",
        ) from error
    index = {_stem(name): row for row, name in enumerate(table.column(0).to_pylist())}
    missing = [str(name) for name in ids if _stem(str(name)) not in index]
    if missing:
        raise DataError(
            f"{file} holds no landmarks of {missing[0]} (and of {len(missing) - 1:,} more).",
            expected="a line for every picture",
            todo="fetch it again, or set explain.regions to celeba",
        )
    rows = [index[_stem(str(name))] for name in ids]
    return numbers[rows].reshape(-1, 5, 2) / _ALIGNED_SIZE


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
