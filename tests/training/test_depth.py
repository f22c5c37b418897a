"""Layers by depth: which stay as they are, and how fast each learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from candid.errors import ConfigError
from candid.models.networks import build
from candid.settings import Config, DeepConfig, TrainConfig
from candid.training.depth import depth_layers, freeze, hold_still, rate_factors
from candid.training.optimizers import optimizer_of, set_learning_rate


def test_a_layer_is_a_convolution_with_what_follows_it():
    kinds = [[type(m).__name__ for m in layer] for layer in depth_layers(build_deep())]
    assert kinds == [["Conv2d", "BatchNorm2d"]] * 10 + [["Linear"]]
    assert len(depth_layers(build("plain", side=16, n_classes=2))) == 4


def build_deep() -> nn.Module:
    return build("deep", side=16, n_classes=2, width=4)


def test_frozen_layers_do_not_change_at_all():
    network = build_deep()
    frozen = freeze(network, TrainConfig(freeze=-1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = optimizer_of(network, TrainConfig(freeze=-1))
    network.train()
    hold_still(frozen)
    network(torch.randn(4, 3, 16, 16)).square().sum().backward()
    optimizer.step()
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"head.weight", "head.bias"}  # no running mean, either


def test_nothing_left_to_train_is_refused():
    with pytest.raises(ConfigError, match="none of 11 layers"):
        freeze(build_deep(), TrainConfig(freeze=11))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "muon"])
def test_each_layer_learns_a_little_less_than_the_next(optimizer):
    network = build("plain", side=16, n_classes=2)
    config = TrainConfig(depth_decay=0.5, optimizer=optimizer)
    found = optimizer_of(network, config)
    set_learning_rate(found, 0.8)
    rate = {id(p): group["lr"] for group in found.param_groups for p in group["params"]}
    expected = {"conv1": 0.1, "conv2": 0.2, "fc1": 0.4, "fc2": 0.8}
    for name, parameter in network.named_parameters():
        assert rate[id(parameter)] == pytest.approx(expected[name.split(".")[0]])
    assert len(rate) == len(list(network.parameters()))


def test_every_parameter_has_a_factor():
    for name, options in (("deep", {"width": 4}), ("vit", {"width": 32, "depth": 1})):
        network = build(name, side=16, n_classes=2, **options)
        factors = rate_factors(network, 0.9)
        assert factors.keys() == {id(p) for p in network.parameters()}
        assert max(factors.values()) == 1.0


def test_without_decay_groups_are_as_they_were():
    plain = optimizer_of(build_deep(), TrainConfig())
    assert len(plain.param_groups) == 3
    assert all("rate_factor" not in group for group in plain.param_groups)


def test_networks_side_by_side_have_no_order_of_layers():
    with pytest.raises(ConfigError, match="ensemble_size"):
        Config(network=DeepConfig(ensemble_size=2), train=TrainConfig(freeze=1))


def test_settings_that_are_not_used_leave_the_digests_as_they_were():
    assert "freeze" not in repr(TrainConfig()) and repr(TrainConfig()).endswith("seed=0)")
    assert repr(TrainConfig(freeze=2)).endswith("seed=0, freeze=2)")
