"""Optimisers and the learning rate at every step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

from candid.models.device import uses_bfloat16
from candid.settings import TrainConfig
from candid.training.depth import rate_factors

RATE_FACTOR = "rate_factor"  # key of a group: multiplies its learning rate


def optimizer_of(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser that the settings name, for all parameters of a network.

    Weights decay; parameters of one dimension (scales, offsets) do not.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adam":
        single_group: list[dict[str, Any]] = [{"params": parameters}]
        return torch.optim.Adam(_split_by_depth(single_group, network, config), lr=rate)
    hidden_ids = {id(p) for p in _hidden_weights(network)} if config.optimizer == "muon" else set()
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if id(p) in hidden_ids], "weight_decay": decay},
        {
            "params": [p for p in parameters if p.ndim > 1 and id(p) not in hidden_ids],
            "weight_decay": decay,
        },
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "muon":
        groups[0]["orthogonal"] = True
    groups = _split_by_depth([group for group in groups if group["params"]], network, config)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
    is_bfloat16 = uses_bfloat16(config.precision, parameters[0].device)
    return Muon(groups, lr=rate, dtype=torch.bfloat16 if is_bfloat16 else torch.float32)


def _split_by_depth(
    groups: list[dict[str, Any]], network: nn.Module, config: TrainConfig
) -> list[dict[str, Any]]:
    """The groups, each divided by the rate factor of its parameters."""
    if config.depth_decay == 1:
        return groups
    factors = rate_factors(network, config.depth_decay)
    return [
        group
        | {"params": [p for p in group["params"] if factors[id(p)] == factor]}
        | {RATE_FACTOR: factor}
        for group in groups
        for factor in sorted({factors[id(p)] for p in group["params"]})
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the learning rate, times its own factor where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(RATE_FACTOR, 1.0)


def _hidden_weights(network: nn.Module) -> list[nn.Parameter]:
    """The weights between the first and the last layer, which Muon is for."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return [p for layer in layers[1:-1] if isinstance(p := layer.weight, nn.Parameter)]


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of `step` (from 0): a linear warm-up, then constant or half a cosine."""
    warmup = round(config.warmup * config.steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - warmup) / max(1, config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal before each step.

    Every direction of a weight's update gets the same length, by five iterations of a
    Newton–Schulz polynomial (Jordan et al., 2024, "Muon: an optimizer for hidden layers in neural
    networks"). A convolution's weight counts as a matrix of outputs × (inputs · places). An update
    is scaled by 0.2 · √(the larger side), so that its size is that of AdamW's and one learning
    rate serves both (Liu et al., 2025, "Muon is scalable for LLM training", equation 4).
    Groups without `orthogonal` are stepped as AdamW does: offsets, scales, the first and the last
    layer. `dtype` is that of the iteration.
    """

    # Without torch's wrapper, whose first call imports its compiler, which takes a second.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def __init__(
        self,
        parameters: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": 0.0,
            "orthogonal": False,
        }  # fmt: skip
        super().__init__(parameters, defaults)
        self.dtype = dtype

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            compute_update = self._muon_step if group["orthogonal"] else self._adam_step
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = compute_update(self.state[parameter], parameter.grad, group)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(group["lr"] * update)
        return loss

    def _muon_step(self, state: dict[str, Any], gradient: Tensor, group: dict[str, Any]) -> Tensor:
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum: Tensor = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        nesterov = gradient.lerp(momentum, group["momentum"])  # Nesterov's
        matrix = orthogonal(nesterov.reshape(len(nesterov), -1), self.dtype)
        size: float = 0.2 * math.sqrt(max(matrix.shape))
        return matrix.reshape(gradient.shape).mul_(size)

    def _adam_step(self, state: dict[str, Any], gradient: Tensor, group: dict[str, Any]) -> Tensor:
        if "mean" not in state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(gradient)
            state["square"] = torch.zeros_like(gradient)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        mean: Tensor = state["mean"].lerp_(gradient, 1 - beta1)
        square: Tensor = state["square"].lerp_(gradient.square(), 1 - beta2)
        root = (square / (1 - beta2 ** state["step"])).sqrt_()
        step: Tensor = mean / (1 - beta1 ** state["step"]) / root.add_(group["eps"])
        return step


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Nearly the nearest matrix whose singular values are all 1: they are between 0.7 and 1.2.

    (rows, columns) → the same shape in float32. Jordan's quintic iteration, whose coefficients
    trade exact ones for speed; `dtype` is that of its products, for which bfloat16 is enough.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = (wide / (wide.norm() + 1e-7)).to(dtype)
    for _ in range(5):
        product = x @ x.T
        x = a * x + (b * product + c * product @ product) @ x
    return (x if matrix.shape[0] <= matrix.shape[1] else x.T).float()
