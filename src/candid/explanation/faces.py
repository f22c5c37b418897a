"""Images that can be streamed through a network repeatedly, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from candid.errors import ConfigError
from candid.progress import track

Prepare = Callable[[NDArray[np.uint8]], Tensor]  # (batch, side, side, 3) → the network's input


@dataclass(frozen=True, eq=False)
class Faces:
    """Images that can be streamed repeatedly."""

    pixels: NDArray[np.uint8]  # (images, side, side, 3), in memory or mapped
    rows: NDArray[np.intp]  # (n,) the images to stream, in order
    ids: Sequence[str]  # (n,)
    labels: Sequence[str] | Sequence[float]  # (n,) classes, or numbers

    def __post_init__(self) -> None:
        if not len(self.rows) == len(self.ids) == len(self.labels):
            raise ConfigError(
                f"{len(self.rows)} rows came with {len(self.ids)} ids and "
                f"{len(self.labels)} labels.",
                expected="one id and one label for each row",
                todo="pass sequences of the same length",
            )

    def batches(
        self, prepare: Prepare, batch_size: int, *, title: str = "", quiet: bool = True
    ) -> Iterator[tuple[int, Tensor]]:
        """The index of each batch's first image, and the batch as the network takes it."""
        starts = range(0, len(self.rows), batch_size)
        for start in track(starts, title, unit="batches", quiet=quiet):
            yield start, prepare(self.pixels[self.rows[start : start + batch_size]])
