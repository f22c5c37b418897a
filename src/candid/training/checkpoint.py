"""A training state as one safetensors file: whole or absent, and nothing in it is ever executed."""

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

_START_ANEW = "start a new run, or take the settings back that were changed"
_PAUSE = 20  # times as long as a save took, until time alone is a reason for the next

_UNFINISHED = (".*.part", ".tmp*")  # what `atomic` and safetensors call what they write

_COLUMNS = tuple(f.name for f in dataclasses.fields(HistoryRow))
_ROW = attrgetter(*_COLUMNS)


class Saver:
    """Saves a state where that is due, and by time, so that who is killed loses little.

    `path` None saves nowhere. `seconds` is how long after the start and after each save the next
    one comes by itself; 0: never.
    """

    def __init__(self, path: Path | None, seconds: float) -> None:
        self.path, self.seconds = path, seconds or math.inf
        self.next = time.monotonic() + self.seconds

    def wants(self, *, due: bool) -> bool:
        """Whether to save now: it is due, or time is up."""
        return self.path is not None and (due or time.monotonic() >= self.next)

    def __call__(self, state: TrainingState) -> None:
        """Save the state; the next time comes later where that is slow."""
        began = time.monotonic()
        if self.path is not None:
            save(self.path, state)
        now = time.monotonic()
        self.next = now + max(self.seconds, _PAUSE * (now - began))


@contextlib.contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold the lock of a checkpoint's folder, and remove what a writer left there that was killed.

    Nothing is removed where another process holds it, or the file system has no locks. Raises
    OutputError where the folder cannot be written to.
    """
    folder = path.parent
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+b")
    with file:
        if _locked(file.fileno()):
            with writing(folder):
                for pattern in _UNFINISHED:
                    for left in folder.glob(pattern):
                        left.unlink(missing_ok=True)
        yield


def _locked(handle: int) -> bool:
    try:
        return try_lock(handle)
    except OSError:
        return False


def save(path: Path, state: TrainingState) -> None:
    """Write weights, their average, optimiser, best weights, step and history.

    An optimiser's state may hold tensors, numbers, words, None and tuples of them.
    """
    optimizer = _flat(state.optimizer)
    tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    if state.ema is not None:
        tensors |= {f"ema.{k}": v for k, v in state.ema.state_dict().items()}
    if state.dro is not None:
        tensors |= {f"dro.{k}": v for k, v in state.dro.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in state.best.items()}
    tensors |= {f"optimizer.{k}": v for k, v in optimizer.items() if isinstance(v, Tensor)}
    rows = [_ROW(row) for row in state.history]
    tensors["history"] = torch.tensor(rows, dtype=torch.float64).reshape(-1, len(_COLUMNS))
    about = {
        "format": FORMAT,
        "step": state.step,
        "best_step": state.best_step,
        "best_f1": state.best_f1,
        "optimizer": {k: v for k, v in optimizer.items() if not isinstance(v, Tensor)},
        "columns": _COLUMNS,
        "note": state.note,
    }
    plain = {k: v.detach().contiguous().cpu() for k, v in tensors.items()}
    save_tensors(path, plain, {"candid": json.dumps(about)})


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What an optimiser keeps per parameter ("state.0.exp_avg") and per group ("group.0.lr")."""
    kept = optimizer.state_dict()
    flat = {f"state.{i}.{k}": v for i, slots in kept["state"].items() for k, v in slots.items()}
    for i, group in enumerate(kept["param_groups"]):
        flat |= {f"group.{i}.{k}": v for k, v in group.items() if k != "params"}
    return flat


def restore(path: Path, state: TrainingState) -> None:
    """Put a saved state into one that was built with the same settings.

    Raises
    ------
    RunError
        Where the file is damaged, belongs to another network, or has the format of another release.
    """
    with reading(
        path,
        expected="a checkpoint that this run's settings made",
        todo=_START_ANEW,
    ):
        with safe_open(regular(path), "pt") as file:
            about = json.loads(file.metadata()["candid"])
            check_format(path, about.get("format"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _restore(state, about, tensors)


def note_of(path: Path) -> dict[str, Any]:
    """What a saved state's training found out before its first batch; nothing where none is there.

    Raises RunError as `restore` does.
    """
    if not path.is_file():
        return {}
    with reading(path, expected="a checkpoint", todo=_START_ANEW):
        with safe_open(regular(path), "pt") as file:
            note: dict[str, Any] = json.loads(file.metadata()["candid"]).get("note", {})
        return note


def _restore(state: TrainingState, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    def below(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    state.network.load_state_dict(below("network."))
    if state.ema is not None:
        state.ema.load_state_dict(below("ema."))
    if state.dro is not None:
        state.dro.load_state_dict(below("dro."))
    _restore_optimizer(state.optimizer, below("optimizer.") | about["optimizer"])
    state.best = {k: v.to(state.device) for k, v in below("best.").items()}
    state.step, state.best_step, state.best_f1 = (
        about[k] for k in ("step", "best_step", "best_f1")
    )
    state.history = []
    for row in tensors["history"].tolist():
        found = dict(zip(about["columns"], row, strict=True))
        whole = {k: int(found[k]) for k in ("step", "images")}
        state.history.append(HistoryRow(**found | whole))


def _restore_optimizer(optimizer: torch.optim.Optimizer, kept: dict[str, Any]) -> None:
    """The inverse of `_flat`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    groups = optimizer.state_dict()["param_groups"]
    slots: dict[int, dict[str, Any]] = {}
    for name, value in kept.items():
        kind, index, key = name.split(".", 2)
        if isinstance(value, list):
            value = tuple(value)  # JSON has no tuples, and optimisers no lists
        if kind == "group":
            groups[int(index)][key] = value
            continue
        like = parameters[int(index)]
        if isinstance(value, Tensor) and value.dim() > 1 and value.shape == like.shape:
            # In the parameter's own memory order, as the optimiser had it: other orders round
            # otherwise.
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        slots.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
