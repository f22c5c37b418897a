import dataclasses
import math

import pytest
import torch
from torch import nn

from candid.models.networks import build
from candid.training.optimizers import Muon, learning_rate, optimizer_of, orthogonal
from plain import PLAIN

CONFIG = dataclasses.replace(
    PLAIN.train, steps=100, learning_rate=0.2, weight_decay=0.1, precision="float32"
)


@pytest.mark.parametrize("shape", [(8, 8), (5, 40), (64, 3)])
def test_orthogonal_is_near_the_polar_factor_of_the_singular_value_decomposition(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    ours = orthogonal(matrix)
    stretched = u.T @ ours @ v.T  # the same singular vectors, other values
    assert (stretched - torch.diag(stretched.diagonal())).abs().max() < 1e-4
    assert 0.6 < stretched.diagonal().min() <= stretched.diagonal().max() < 1.3
    nearly = orthogonal(matrix, torch.bfloat16)
    assert torch.cosine_similarity(nearly.flatten(), ours.flatten(), dim=0) > 0.999


def test_what_is_not_orthogonal_is_stepped_as_by_adamw():
    def fitted(make):
        torch.manual_seed(0)
        parameter = nn.Parameter(torch.randn(6, 2))
        optimizer = make([{"params": [parameter], "weight_decay": 0.1}])
        for i in range(5):
            parameter.grad = torch.sin(parameter.detach() + i)
            optimizer.step()
        return parameter.detach()

    ours = fitted(lambda groups: Muon(groups, lr=0.01))
    torch.testing.assert_close(ours, fitted(lambda groups: torch.optim.AdamW(groups, lr=0.01)))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_step_of_a_matrix_by_the_singular_value_decomposition(layout):
    """Nesterov's momentum written out; the direction is the polar factor, the size Liu's."""
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(16, 4, 3, 3).contiguous(memory_format=layout))
    group = {"params": [parameter], "weight_decay": 0.5, "orthogonal": True}
    optimizer = Muon([group], lr=0.1)
    momentum = torch.zeros_like(parameter)
    for _ in range(3):
        before, gradient = parameter.detach().clone(), torch.randn_like(parameter)
        parameter.grad = gradient
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient
        ahead = (0.05 * gradient + 0.95 * momentum).reshape(16, 36)
        u, _, v = torch.linalg.svd(ahead, full_matrices=False)
        moved = (parameter.detach() - 0.95 * before).reshape(16, 36)
        expected = -0.1 * 0.2 * math.sqrt(36) * u @ v
        assert torch.cosine_similarity(moved.flatten(), expected.flatten(), dim=0) > 0.97
        assert moved.norm() / expected.norm() == pytest.approx(1, abs=0.25)


# Nesterov's look ahead makes the first step of SGD 1.9 times as long.
@pytest.mark.parametrize(("name", "length"), [("adamw", 1), ("sgd", 1.9), ("muon", 1)])
def test_only_weights_decay(name, length):
    """Without a gradient of their own, weights shrink by the decay and offsets stay."""
    network = build("deep", side=16, n_classes=2, width=4)
    optimizer = optimizer_of(network, dataclasses.replace(CONFIG, optimizer=name))
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for n, p in network.named_parameters():
        shrunk = before[n] * (1 - length * 0.2 * 0.1) if p.ndim > 1 else before[n]
        torch.testing.assert_close(p.detach(), shrunk)


def test_adam_is_that_of_torch_and_does_not_decay():
    optimizer = optimizer_of(build("plain", side=16, n_classes=2), CONFIG)
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["weight_decay"] == 0


def test_frozen_weights_are_left_out():
    network = build("deep", side=16, n_classes=2, width=4)
    network.head.requires_grad_(False)
    groups = optimizer_of(network, dataclasses.replace(CONFIG, optimizer="muon")).param_groups
    held = {id(p) for group in groups for p in group["params"]}
    assert id(network.head.weight) not in held
    assert len(held) == sum(p.requires_grad for p in network.parameters())


def test_constant_learning_rate():
    assert {learning_rate(t, CONFIG) for t in range(100)} == {0.2}


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # torch 2.6, of its own call
def test_cosine_with_warm_up_is_that_of_torch():
    config = dataclasses.replace(CONFIG, schedule="cosine", warmup=0.2)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    theirs = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 20, 1.0, total_iters=19),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 80),
        ],
        milestones=[20],
    )
    for step in range(100):
        assert learning_rate(step, config) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_closure():
    parameter = nn.Parameter(torch.ones(2))
    optimizer = Muon([{"params": [parameter]}], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    torch.testing.assert_close(parameter.detach(), torch.full((2,), 0.9))


@pytest.mark.parametrize("name", ["deep", "vit"])
def test_muon_turns_the_weights_between_the_first_and_the_last(name):
    network = build(name, side=16, n_classes=2, width=32, depth=1)
    groups = optimizer_of(network, dataclasses.replace(CONFIG, optimizer="muon")).param_groups
    turned = {id(p) for group in groups if group["orthogonal"] for p in group["params"]}
    names = [n for n, p in network.named_parameters() if id(p) in turned]
    layers = [
        f"{n}.weight" for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    assert names == layers[1:-1]
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
