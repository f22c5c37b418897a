"""Where CelebA says that the eyes, nose and mouth of every picture are."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from candid.errors import DataError
from candid.tables.delimited import first_lines, read_delimited, read_spaced

_FILES = ("list_landmarks_align_celeba.txt", "list_landmarks_align_celeba.csv")
_PLACES = ("", "Anno", "celeba", "CelebA")
_ALIGNED = (178, 218)  # the pictures that the file's pixels are of, whatever became of them since
_COLUMNS = tuple(
    f"{part}_{axis}"
    for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    for axis in "xy"
)


def find_landmarks(folder: Path) -> Path | None:
    """CelebA's file of landmarks of aligned pictures, where it lies beside the labels."""
    for name in _FILES:
        for place in _PLACES:
            if (file := folder / place / name).is_file():
                return file
    return None


def read_landmarks(file: Path, ids: NDArray[np.str_]) -> NDArray[np.float64]:
    """(n, 5, 2) x, y in shares of width and height: both eyes, the nose, the mouth's corners.

    Parameters
    ----------
    file
        As CelebA has it: a count, the columns' names, a line per picture; or as CSV, from Kaggle.
    ids
        (n,) paths or names of pictures; their folders and endings do not matter.

    Raises
    ------
    DataError
        Where the file is damaged, or a picture is missing from it.
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
    points: NDArray[np.float64] = numbers[rows].reshape(-1, 5, 2) / _ALIGNED
    return points


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
