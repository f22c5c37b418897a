"""A training state as one safetensors file: whole or absent, and nothing in it is ever executed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from candid.errors import RunError
from candid.files import atomic
from candid.learn.state import State
from candid.records import HistoryRow

_COLUMNS = tuple(f.name for f in dataclasses.fields(HistoryRow))


def save(path: Path, state: State) -> None:
    """Write weights, optimiser, best weights, step and history."""
    tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in state.best.items()}
    scalars: dict[str, Any] = {}
    for index, slots in state.optimizer.state_dict()["state"].items():
        for key, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                scalars[f"{index}.{key}"] = value
    rows = [dataclasses.astuple(row) for row in state.history]
    tensors["history"] = torch.tensor(rows, dtype=torch.float64).reshape(-1, len(_COLUMNS))
    about = {
        "step": state.step,
        "best_step": state.best_step,
        "best_f1": state.best_f1,
        "optimizer": scalars,
        "columns": _COLUMNS,
    }
    with atomic(path) as part:
        save_file(
            {k: v.detach().contiguous().cpu() for k, v in tensors.items()},
            part,
            {"candid": json.dumps(about)},
        )


def load(path: Path, state: State) -> None:
    """Put a saved state into one that was built with the same settings.

    Raises
    ------
    RunError
        Where the file is damaged or belongs to another network.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["candid"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _restore(state, about, tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"Cannot go on from {path}: {type(error).__name__}: {error}",
            expected="a checkpoint that this run's settings made",
            todo="start a new run, or take the settings back that were changed",
        ) from error


def _restore(state: State, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    def below(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    device = next(state.network.parameters()).device
    state.network.load_state_dict(below("network."))
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Any]] = {}
    for name, value in (below("optimizer.") | about["optimizer"]).items():
        index, key = name.split(".", 1)
        like = parameters[int(index)]
        if isinstance(value, Tensor) and value.shape == like.shape:
            # In the parameter's own memory order, as the optimiser had it: other orders round
            # otherwise.
            value = torch.empty_like(like).copy_(value)
        slots.setdefault(int(index), {})[key] = value
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": slots, "param_groups": groups})
    state.best = {k: v.to(device) for k, v in below("best.").items()}
    state.step, state.best_step = about["step"], about["best_step"]
    state.best_f1 = about["best_f1"]
    state.history = [
        HistoryRow(**_typed(dict(zip(about["columns"], row, strict=True))))
        for row in tensors["history"].tolist()
    ]


def _typed(row: dict[str, float]) -> dict[str, Any]:
    return row | {"step": int(row["step"]), "images": int(row["images"])}
