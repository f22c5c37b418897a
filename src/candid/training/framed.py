"""Training images in the frame that the run's framing network gives them, once and not each time.

A classifier that is trained on pictures as they came, and shown framed ones later, meets errors of
framing that it never saw: it is trained on what it will be shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from candid.models.forward import Images
from candid.progress import track
from candid.storage.files import atomic

_BLOCK = 256  # pictures at a time


@contextlib.contextmanager
def framed_once(
    images: Images,
    rows: NDArray[np.intp],
    file: Path,
    *,
    device: torch.device,
    quiet: bool = True,
) -> Iterator[Images]:
    """Images whose `rows` were framed beforehand, in `file`, which goes when the block ends well.

    Where the file is there, an earlier start wrote it whole, and it is used. Without a framing
    network the images are as they were.
    """
    if images.framing is None:
        yield images
        return
    if not file.is_file():
        _frame(images, images.packed(rows), file, device, quiet)
    pixels = np.load(file, mmap_mode="r")
    yield replace(images, pixels=pixels, framing=None)
    file.unlink(missing_ok=True)


def _frame(
    images: Images, rows: NDArray[np.intp], file: Path, device: torch.device, quiet: bool
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic(file) as part:
        # What nobody asked for stays a hole in the file.
        pixels = np.lib.format.open_memmap(part, "w+", np.uint8, tuple(images.pixels.shape))
        at = rows if images.at is None else images.at[rows]
        blocks = [at[i : i + _BLOCK] for i in range(0, len(at), _BLOCK)]
        for block in track(blocks, "frame images", unit="batches", quiet=quiet):
            pixels[block] = images.framed(images.raw(block, device)).cpu().numpy()
        pixels.flush()
