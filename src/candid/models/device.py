"""Device, precision and threads."""

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

from candid.cores import idle_cores, process_cores
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
    choices = ["auto", "cpu", *(f"cuda:{i}" for i in range(count)), *(["cuda"] if count else [])]
    if device is None or str(device) not in choices:
        raise TrainingError(
            f"There is no device {name!r} here.",
            expected="one of: " + ", ".join(choices),
            todo="set train.device",
        )
    return device


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move the network to the device and its weights to channels-last memory, like the images."""
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
    return _cpu_has("_is_avx512_bf16_supported") or has_matrix_tiles(device)


def has_matrix_tiles(device: torch.device) -> bool:
    """Whether this is a CPU that multiplies tiles of bfloat16 matrices (Intel's AMX)."""
    return device.type == "cpu" and _cpu_has("_is_amx_tile_supported")


def _cpu_has(question: str) -> bool:
    # Private, and the only way to ask; absent on builds for other processors.
    return bool(getattr(torch.cpu, question, lambda: False)())


def compile_network(network: nn.Module, setting: str, device: torch.device) -> nn.Module:
    """The network, compiled by `torch.compile` where that pays; the weights are shared.

    On a GPU a small network waits for its kernel launches, which CUDA graphs send at once. On a CPU
    "auto" does not compile: it takes seconds and gains nothing (docs/log.md). Raises TrainingError
    for "always" where no compiler for the device is installed.
    """
    if setting == "never" or (setting == "auto" and device.type != "cuda"):
        return network
    can_compile = bool(_find_code_generators(device))
    if not can_compile and setting == "always":
        raise TrainingError(
            f"torch.compile has nothing here that generates code for the device {device}.",
            expected="Triton for a GPU, a C++ compiler for a CPU",
            todo="install it, or set train.compile=never",
        )
    if not can_compile:
        return network
    # One compilation per size: growing images have a few, and shapes that vary hinder capture.
    mode = "reduce-overhead" if device.type == "cuda" else None
    return cast(nn.Module, torch.compile(network, mode=mode, dynamic=False))


def _find_code_generators(device: torch.device) -> list[str]:
    if device.type == "cuda":
        return ["triton"] if importlib.util.find_spec("triton") else []
    compiler = os.environ.get("CXX", "")
    return [
        path for name in (compiler, "g++", "clang++", "cl") if name and (path := shutil.which(name))
    ]


def pick_threads(n_threads: int) -> int:
    """The number of CPU threads; 0: one for each core that other programs leave idle just now.

    Threads wait for each other within a step: with another program on every core, two threads take
    2.6 times as long as one. Never more than the cores that this process may use.
    """
    if n_threads:
        return min(n_threads, process_cores())
    return idle_cores(min(torch.get_num_threads(), process_cores()))


@contextlib.contextmanager
def threads(n_threads: int) -> Iterator[None]:
    """Run the block on `pick_threads(asked)` threads, and set the old number back."""
    previous, count = torch.get_num_threads(), pick_threads(n_threads)
    if count < n_threads:
        _warn_fewer_threads(n_threads, count)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


@functools.cache  # once is enough
def _warn_fewer_threads(requested: int, count: int) -> None:
    tqdm.write(
        f"candid: {count} processor threads, not {requested}: this process may use no more cores, "
        "and figures may differ in their last digits",
        sys.stderr,
    )


# <malloc.h> of glibc: parameters of mallopt and their defaults.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_MALLOPT_DEFAULTS = {_M_MMAP_MAX: 65536, _M_TRIM_THRESHOLD: 128 * 1024}


@contextlib.contextmanager
def memory_kept() -> Iterator[None]:
    """Let glibc keep freed memory while the block runs; nothing with another C library.

    A training step on the CPU frees and allocates hundreds of MB of activations. glibc maps and
    unmaps such blocks each time, and the kernel then clears every page: up to 0.4 of the time of a
    step (`bench/step.py`).
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
        for parameter, value in _MALLOPT_DEFAULTS.items():
            mallopt(parameter, value)
        ctypes.CDLL(None).malloc_trim(0)
