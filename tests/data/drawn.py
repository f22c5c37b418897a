"""Small generated pictures, and the real data where it is present."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def jpeg(seed: int = 0, side: int = 8) -> bytes:
    """A small picture, another one for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def put(path: Path, seed: int = 0) -> bytes:
    """Write a picture, make its folders, and give its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(seed))
    return path.read_bytes()


def real(name: str) -> Path:
    """The folder of a real data set; the test is skipped where it is absent."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("CANDID_TEST_DATA", beside)) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder
