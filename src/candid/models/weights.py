"""Named tensors as a safetensors file: whole or absent, and nothing in it is ever executed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from candid.storage.files import atomic


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write named tensors, whole or not at all."""
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_tensors(path, plain, {"format": "pt"})


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all.

    Raises OutputError where the folder cannot be written to or the disk is full.
    """
    with atomic(path) as part:
        try:
            save_file(tensors, part, about)
        except SafetensorError as error:
            # Its library keeps the system's number in the words alone: "(os error 28)", and before
            # 0.6 "Os { code: 28, …".
            number = re.search(r"(?:\(os error |Os \{ code: )(\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), os.fspath(path)) from error
