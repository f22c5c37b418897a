"""Named tensors as a safetensors file, written atomically, without executable content."""

from __future__ import annotations

import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from candid.storage.files import atomic


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write named tensors atomically."""
    cpu_tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_tensors(path, cpu_tensors, {"format": "pt"})


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically.

    Raises OutputError where the folder cannot be written to or the disk is full.
    """
    with atomic(path) as part:
        try:
            save_file(tensors, part, metadata)
        except SafetensorError as error:
            # The library gives the system's error number in its message alone: "(os error 28)", and
            # before 0.6 "Os { code: 28, …".
            number = re.search(r"(?:\(os error |Os \{ code: )(\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), os.fspath(path)) from error
