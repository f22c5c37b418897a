"""A training state as one safetensors file, written atomically, without executable content."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from candid.models.weights import save_tensors
from candid.records import HistoryRow
from candid.storage.files import FORMAT, check_format, reading, regular, writing
from candid.storage.locks import try_lock
from candid.training.state import TrainingState

_PAUSE = 20  # times a save's duration, until the next save by time

_UNFINISHED = (".*.part", ".tmp*")  # what `atomic` and safetensors call what they write

_COLUMNS = tuple(f.name for f in dataclasses.fields(HistoryRow))
_row_values = attrgetter(*_COLUMNS)


class Saver:
    """Saves a state when that is due, and every `seconds`, so that a killed run loses little.

    `path` None saves nowhere; `seconds` 0 saves only when due.
    """

    def __init__(self, path: Path | None, seconds: float) -> None:
        self.path, self.seconds = path, seconds or math.inf
        self.next = time.monotonic() + self.seconds

    def should_save(self, *, due: bool) -> bool:
        """Whether to save now: it is due, or time is up."""
        return self.path is not None and (due or time.monotonic() >= self.next)

    def __call__(self, state: TrainingState) -> None:
        """Save the state; the slower that is, the later the next save by time."""
        start = time.monotonic()
        if self.path is not None:
            save(self.path, state)
        now = time.monotonic()
        self.next = now + max(self.seconds, _PAUSE * (now - start))


@contextlib.contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold the lock of a checkpoint's folder, and remove the unfinished files of a killed writer.

    Nothing is removed where another process holds it, or the file system has no locks. Raises
    OutputError where the folder cannot be written to.
    """
    folder = path.parent
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+b")
    with file:
        if _try_lock(file.fileno()):
            with writing(folder):
                for pattern in _UNFINISHED:
                    for leftover in folder.glob(pattern):
                        leftover.unlink(missing_ok=True)
        yield


def _try_lock(handle: int) -> bool:
    try:
        return try_lock(handle)
    except OSError:
        return False


def save(path: Path, state: TrainingState) -> None:
    """Write weights, their average, optimiser, best weights, step and history.

    An optimiser's state may hold tensors, numbers, strings, None and tuples of them.
    """
    optimizer = _flatten_state(state.optimizer)
    tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    if state.ema is not None:
        tensors |= {f"ema.{k}": v for k, v in state.ema.state_dict().items()}
    if state.dro is not None:
        tensors |= {f"dro.{k}": v for k, v in state.dro.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in state.best.items()}
    tensors |= {f"optimizer.{k}": v for k, v in optimizer.items() if isinstance(v, Tensor)}
    rows = [_row_values(row) for row in state.history]
    tensors["history"] = torch.tensor(rows, dtype=torch.float64).reshape(-1, len(_COLUMNS))
    metadata = {
        "format": FORMAT,
        "step": state.step,
        "best_step": state.best_step,
        "best_f1": state.best_f1,
        "optimizer": {k: v for k, v in optimizer.items() if not isinstance(v, Tensor)},
        "columns": _COLUMNS,
    }
    cpu_tensors = {k: v.detach().contiguous().cpu() for k, v in tensors.items()}
    save_tensors(path, cpu_tensors, {"candid": json.dumps(metadata)})


def _flatten_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state by parameter ("state.0.exp_avg") and by group ("group.0.lr")."""
    state = optimizer.state_dict()
    flat = {f"state.{i}.{k}": v for i, slots in state["state"].items() for k, v in slots.items()}
    for i, group in enumerate(state["param_groups"]):
        flat |= {f"group.{i}.{k}": v for k, v in group.items() if k != "params"}
    return flat


def restore(path: Path, state: TrainingState) -> None:
    """Load a saved state into one that was built with the same settings.

    Raises RunError where the file is damaged, belongs to another network, or has the format of
    another release.
    """
    with reading(
        path,
        expected="a checkpoint that this run's settings made",
        todo="start a new run, or take the settings back that were changed",
    ):
        with safe_open(regular(path), "pt") as file:
            metadata = json.loads(file.metadata()["candid"])
            check_format(path, metadata.get("format"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _restore(state, metadata, tensors)


def _restore(state: TrainingState, metadata: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    def strip_prefix(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    state.network.load_state_dict(strip_prefix("network."))
    if state.ema is not None:
        state.ema.load_state_dict(strip_prefix("ema."))
    if state.dro is not None:
        state.dro.load_state_dict(strip_prefix("dro."))
    _restore_optimizer(state.optimizer, strip_prefix("optimizer.") | metadata["optimizer"])
    state.best = {k: v.to(state.device) for k, v in strip_prefix("best.").items()}
    state.step, state.best_step, state.best_f1 = (
        metadata[k] for k in ("step", "best_step", "best_f1")
    )
    state.history = []
    for row in tensors["history"].tolist():
        values = dict(zip(metadata["columns"], row, strict=True))
        integers = {k: int(values[k]) for k in ("step", "images")}
        state.history.append(HistoryRow(**values | integers))


def _restore_optimizer(optimizer: torch.optim.Optimizer, flat: dict[str, Any]) -> None:
    """The inverse of `_flat`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    groups = optimizer.state_dict()["param_groups"]
    slots: dict[int, dict[str, Any]] = {}
    for name, value in flat.items():
        kind, index, key = name.split(".", 2)
        if isinstance(value, list):
            value = tuple(value)  # JSON has no tuples, and optimisers no lists
        if kind == "group":
            groups[int(index)][key] = value
            continue
        parameter = parameters[int(index)]
        if isinstance(value, Tensor) and value.dim() > 1 and value.shape == parameter.shape:
            # In the parameter's memory order, as the optimiser had it: other orders round
            # otherwise.
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        slots.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
