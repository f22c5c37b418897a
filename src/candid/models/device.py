"""Where the arithmetic happens and in which precision."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from typing import cast

import torch
from torch import nn
from tqdm import tqdm

from candid.cores import idle_cores, own_cores
from candid.errors import TrainingError


def pick_device(name: str) -> torch.device:
    """The device that a setting names; "auto" is the first CUDA device, else the CPU.

    Raises TrainingError where the name is not a device, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = ["auto", "cpu", *(f"cuda:{i}" for i in range(count)), *(["cuda"] if count else [])]
    if device is None or str(device) not in known:
        raise TrainingError(
            f"There is no device {name!r} here.",
            expected="one of: " + ", ".join(known),
            todo="set train.device",
        )
    return device


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on the device, its weights in channels-last memory like the images."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether matrix products run in bfloat16; weights, losses and sums stay in float32.

    "auto" says yes where the processor has instructions for it: there it is faster
    (`bench/step.py`), elsewhere it is emulated and slower than float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Private, and the only way to ask; absent on builds for other processors.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, q, lambda: False)() for q in questions)


def captured(network: nn.Module, choice: str, device: torch.device) -> nn.Module:
    """The network, its forward and backward pass captured by `torch.compile` where that pays.

    On a GPU a small network waits for its launches; captured as CUDA graphs they are sent at once.
    On a CPU "auto" says no: compiling takes seconds and gains nothing (docs/log.md). The weights
    are shared with the network that went in, which stays as it was. Raises TrainingError where it
    is asked for always, and what generates code for the device is missing.
    """
    if choice == "never" or (choice == "auto" and device.type != "cuda"):
        return network
    is_able = bool(_generators(device))
    if not is_able and choice == "always":
        raise TrainingError(
            f"torch.compile has nothing here that generates code for the device {device}.",
            expected="Triton for a GPU, a C++ compiler for a CPU",
            todo="install it, or set train.compile=never",
        )
    if not is_able:
        return network
    # One compilation per size: growing images have a few, and shapes that vary hinder capture.
    mode = "reduce-overhead" if device.type == "cuda" else None
    return cast(nn.Module, torch.compile(network, mode=mode, dynamic=False))


def _generators(device: torch.device) -> list[str]:
    if device.type == "cuda":
        return ["triton"] if importlib.util.find_spec("triton") else []
    named = os.environ.get("CXX", "")
    return [
        path for name in (named, "g++", "clang++", "cl") if name and (path := shutil.which(name))
    ]


def pick_threads(asked: int) -> int:
    """So many processor threads; 0: one for each core that other programs leave idle just now.

    Threads wait for each other within a step: beside a program on every core, two threads take 2.6
    times as long as one. Never more than cores that this process may use.
    """
    if asked:
        return min(asked, own_cores())
    return idle_cores(min(torch.get_num_threads(), own_cores()))


@contextlib.contextmanager
def threads(asked: int) -> Iterator[None]:
    """Run the block on `pick_threads(asked)` threads, and set the old number back."""
    before, count = torch.get_num_threads(), pick_threads(asked)
    if count < asked:
        _say_fewer(asked, count)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache  # once is enough
def _say_fewer(asked: int, count: int) -> None:
    tqdm.write(
        f"candid: {count} processor threads, not {asked}: this process may use no more cores, and "
        "figures may differ in their last digits",
        sys.stderr,
    )


# <malloc.h> of glibc: parameters of mallopt and their defaults.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_DEFAULTS = {_M_MMAP_MAX: 65536, _M_TRIM_THRESHOLD: 128 * 1024}


@contextlib.contextmanager
def memory_kept() -> Iterator[None]:
    """Let the C library keep freed memory while the block runs, instead of giving it back.

    A training step on the CPU frees and asks for hundreds of MB of activations. glibc maps and
    unmaps such blocks each time, and the kernel then clears every page anew: up to 0.4
    of the time of a step (`bench/step.py`). Where the C library is another one, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        for parameter, value in _DEFAULTS.items():
            mallopt(parameter, value)
        ctypes.CDLL(None).malloc_trim(0)
