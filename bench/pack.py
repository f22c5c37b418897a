"""What packing costs, what it saves, and which decoder does it.

Compares packing 30,000 images and starting again on the finished pack with reading the same images
through Pillow one by one, as a loader without a store does in every epoch; then decoders on images
in memory, in one process; then a large JPEG decoded whole against scaled decoding.

On CelebA's 30,000 images at 64×64 (JPEG, 1.6 kB each), AMD EPYC, 2 cores shared with other work,
Python 3.11, Pillow 13.0; medians of 5 runs, and the median of the ratios within a run [extremes]:

    Pillow, one by one                      3.850 s            1
    pack                                    6.955 s            1.76   [1.68, 2.13]
    start again                             0.128 s            0.032  [0.029, 0.043]
    start again and touch every pixel       0.122 s            0.031  [0.029, 0.050]

    2,000 of them in memory: Pillow         0.191 s            1
    candid.data.decode (on Pillow)          0.194 s            0.96   [0.76, 1.13]
    OpenCV                                  0.063 s            0.32   [0.23, 0.62]
    simplejpeg                              0.050 s            0.27   [0.19, 0.34]

    12 MP JPEG to 64×64: whole              0.104 s            1
    candid.data.decode                      0.008 s            0.079  [0.076, 0.082]

So a pack is paid back by the second epoch. With a core to itself a process gains; two of them on
two busy cores gained nothing here (workers = 1: 5.1 to 5.6 s). The faster decoders would save 4 of
the processor's seconds, once, and would leave rotation, palettes, profiles, 16 bits and all formats
but JPEG (simplejpeg) to another path: Pillow alone does all of it, so it stays the only one.

    python bench/pack.py ../shared/data/celeba64
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from candid.data.dataset import Dataset
from candid.data.decode import decode
from candid.data.layouts import load_dataset
from candid.data.store import pack
from candid.settings import DataConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--side", type=int, default=64)
    asked = parser.parse_args()
    dataset = load_dataset(asked.data)
    config = DataConfig(side=asked.side)
    print(
        f"{dataset.name}: {len(dataset):,} images; Python {platform.python_version()}, "
        f"Pillow {PIL.__version__}, {len(os.sched_getaffinity(0))} cores, {asked.runs} runs"
    )
    whole_way(dataset, config, asked.runs)
    decoders(dataset, config, asked.runs)
    large(config, asked.runs)


def whole_way(dataset: Dataset, config: DataConfig, runs: int) -> None:
    """Reading every image one by one, packing, and opening the pack; interleaved."""
    scratch = Path(tempfile.mkdtemp(prefix="candid-bench-"))
    ways: dict[str, Callable[[], object]] = {
        "Pillow, one by one": lambda: one_by_one(dataset),
        "pack": lambda: pack(dataset, config, cache=scratch, quiet=True),
        "start again": lambda: pack(dataset, config, cache=scratch, quiet=True),
        "start again and touch every pixel": lambda: int(
            pack(dataset, config, cache=scratch, quiet=True).pixels.max()
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    try:
        for _ in range(runs):
            shutil.rmtree(scratch, ignore_errors=True)
            for name, way in ways.items():
                seconds[name].append(timed(way))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    report(seconds, "Pillow, one by one")


def one_by_one(dataset: Dataset) -> None:
    """What a loader without a store does in every epoch."""
    for row in range(len(dataset)):
        np.asarray(Image.open(io.BytesIO(dataset.source.read(row))).convert("RGB"))


def each(way: Callable[[bytes], object], images: list[bytes]) -> None:
    """Decode them one after the other."""
    for data in images:
        way(data)


def decoders(dataset: Dataset, config: DataConfig, runs: int) -> None:
    """Decoding alone, of 2,000 images from memory, one process."""
    images = [dataset.source.read(row) for row in range(min(2000, len(dataset)))]
    ways: dict[str, Callable[[bytes], object]] = {
        "Pillow": lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")),
        "candid.data.decode": lambda data: decode(
            data, side=config.side, max_pixels=config.max_pixels
        ),
    }
    try:
        import cv2

        def by_opencv(data: bytes) -> Any:
            decoded: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)

        ways["OpenCV"] = by_opencv
    except ImportError:
        print("OpenCV is not installed: left out", file=sys.stderr)
    try:
        import simplejpeg

        ways["simplejpeg"] = simplejpeg.decode_jpeg
    except ImportError:
        print("simplejpeg is not installed: left out", file=sys.stderr)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            seconds[name].append(timed(partial(each, way, images)))
    report(seconds, "Pillow")


def large(config: DataConfig, runs: int) -> None:
    """A JPEG of 12 megapixels, made here: scaled decoding against decoding it whole."""
    coarse = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((3000, 4000), Image.Resampling.BICUBIC).save(out, "JPEG")
    data, square = out.getvalue(), (config.side, config.side)
    ways: dict[str, Callable[[], object]] = {
        "12 MP whole, then resized": lambda: Image.open(io.BytesIO(data)).resize(
            square, Image.Resampling.BICUBIC
        ),
        "12 MP, candid.data.decode": lambda: decode(
            data, side=config.side, max_pixels=config.max_pixels
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            seconds[name].append(timed(way))
    report(seconds, "12 MP whole, then resized")


def timed(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def report(seconds: dict[str, list[float]], against: str) -> None:
    """Medians, the spread, and the median of the ratios within each run."""
    for name, each in seconds.items():
        ratios = [a / b for a, b in zip(each, seconds[against], strict=True)]
        print(
            f"{name:36} {statistics.median(each):8.3f} s  [{min(each):.3f}, {max(each):.3f}]  "
            f"× {statistics.median(ratios):.3f}  [{min(ratios):.3f}, {max(ratios):.3f}]"
        )


if __name__ == "__main__":
    main()
