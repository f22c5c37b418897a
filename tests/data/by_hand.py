"""A dataset whose encoded images are held in memory, built by hand."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from candid.data.dataset import Dataset
from candid.data.store import Store
from candid.errors import ImageError
from candid.predictions import Attribute


@dataclass(frozen=True)
class MemorySource:
    """Encoded images by row; rows in `missing` cannot be read, each read is a line in `log`."""

    images: tuple[bytes, ...]
    missing: frozenset[int] = frozenset()
    log: Path | None = None
    slow_seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.images)

    def read(self, row: int) -> bytes:
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{row}\n")
        if self.slow_seconds:
            time.sleep(self.slow_seconds)
        if row in self.missing:
            raise ImageError("there is no such file")
        return self.images[row]

    def stamp(self) -> str:
        digest = hashlib.blake2b(repr(sorted(self.missing)).encode())
        for image in self.images:
            digest.update(hashlib.blake2b(image).digest())
        return digest.hexdigest()


def png(pixels: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def texture(seed: int, side: int = 32) -> np.ndarray:
    """A picture with detail at every scale, unlike that of any other seed: (side, side, 3)."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (3, 6, 12, side):
        layer = rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
        total += np.asarray(
            Image.fromarray(layer).resize((side, side), Image.Resampling.BICUBIC), float
        )
    return np.rint(total / 4).astype(np.uint8)


def dataset(
    images: Sequence[bytes],
    *,
    label: Sequence[int] | None = None,
    split: Sequence[str] | None = None,
    person: Sequence[int] | None = None,
    attributes: Mapping[str, Sequence[int]] | None = None,
    numbers: Mapping[str, Sequence[float]] | None = None,
    classes: tuple[str, ...] = ("Round", "Square"),
    source: MemorySource | None = None,
) -> Dataset:
    n = len(images)
    columns = {
        name: Attribute(name, "binary", ("no", "yes"), np.asarray(codes, np.int16))
        for name, codes in (attributes or {}).items()
    }
    for name, values in (numbers or {}).items():
        columns[name] = Attribute(name, "numeric", (), np.asarray(values, np.float64))
    return Dataset(
        name="by hand",
        layout="memory",
        target="Face",
        classes=classes,
        ids=np.asarray([f"{i:05d}.png" for i in range(n)], np.str_),
        label=np.asarray([i % 2 for i in range(n)] if label is None else label, np.int16),
        split=np.asarray(["train"] * n if split is None else split, np.str_),
        source=source or MemorySource(tuple(images)),
        person=None if person is None else np.asarray(person, np.int64),
        attributes=columns,
    )


def store(pixels: np.ndarray, *, usable: Sequence[bool] | None = None, **columns: object) -> Store:
    """A store that was never packed: (n, side, side, 3) pixels and what the test says of them."""
    n = len(pixels)
    known = {
        "reasons": {},
        "widths": np.full(n, pixels.shape[1], np.int32),
        "heights": np.full(n, pixels.shape[1], np.int32),
        "modes": np.full(n, "RGB"),
        "formats": np.full(n, "PNG"),
        "digests": np.asarray([f"{i:032x}" for i in range(n)]),
    }
    return Store(
        folder=Path(),
        pixels=pixels,
        usable=np.ones(n, np.bool_) if usable is None else np.asarray(usable),
        fingerprint="0" * 64,
        **(known | columns),  # type: ignore[arg-type]
    )
