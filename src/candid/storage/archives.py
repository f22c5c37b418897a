"""Arrays by name in a file of a run (NumPy's .npz)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.storage.files import atomic, open_regular, reading


def write_archive(path: Path, arrays: Mapping[str, Any], *, compressed: bool = True) -> None:
    """Write arrays by name, atomically; the same arrays give the same bytes."""
    write = np.savez_compressed if compressed else np.savez
    with atomic(path) as part, part.open("wb") as file:
        write(file, **arrays)


@contextlib.contextmanager
def reading_archive(
    path: Path, *, expected: str, todo: str
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The arrays in a file of a run; any error inside the block becomes a RunError."""
    with (
        reading(path, expected=expected, todo=todo),
        # Opened here, because NumPy leaves a file open that is no archive.
        open_regular(path) as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        yield arrays
