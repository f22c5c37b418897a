"""What cannot fit into memory is refused before it is made."""

import math
import subprocess
import sys

import pytest
import torch

from candid.config import load_config
from candid.errors import ConfigError
from candid.models.networks import build, options, trace_layers
from candid.training import memory
from candid.training.memory import check_fits


@pytest.mark.parametrize("recipe", ["plain", "deep", "vit", "features", "best", "fast"])
def test_the_recipes_fit_into_two_gigabytes(monkeypatch, recipe):
    monkeypatch.setattr(memory, "_memory", lambda _: 2e9)
    before = torch.get_rng_state()
    check_fits(load_config(recipe=recipe), 2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "word",
    ["network.width=1024", "network.depth=32", "network.ensemble_size=16", "train.batch_size=16384",
     "data.side=1024"],
)  # fmt: skip
def test_what_surely_does_not_fit_is_refused(monkeypatch, word):
    monkeypatch.setattr(memory, "_memory", lambda _: 4e8)
    check_fits(load_config(), 2)
    with pytest.raises(ConfigError, match="GB") as error:
        check_fits(load_config(overrides=[word]), 2)
    assert "weights" in error.value.what and "train.batch_size" in error.value.todo


@pytest.mark.parametrize(
    "words",
    [["network.name=plain"], ["network.name=deep"], ["network.name=deep", "network.depth=5"],
     ["network.name=vit"], ["network.name=vit", "data.side=32"]],
)  # fmt: skip
def test_no_network_gives_more_than_its_sketch(words):
    config = load_config(overrides=words)
    side = config.data.side
    own = {k: v for k, v in options(config.network).items() if k != "ensemble_size"}
    network = build(config.network.name, side=side, n_classes=2, **own)
    given = sum(math.prod(layer.output_shape) for layer in trace_layers(network, side))
    assert given <= memory._output_bound(network, side) < 100 * given


def test_weights_are_those_of_the_network(monkeypatch):
    monkeypatch.setattr(memory, "_memory", lambda _: 0.0)
    network = build("deep", side=64, n_classes=2, width=8, depth=2)
    with pytest.raises(ConfigError) as error:
        check_fits(load_config(overrides=["network.width=8", "network.depth=2"]), 2)
    assert f"({sum(p.numel() for p in network.parameters()):,} weights)" in error.value.what


def test_a_container_s_limit_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CGROUP_LIMIT", tmp_path / "memory.max")
    whole = memory._memory(torch.device("cpu"))
    for text, there in (("max\n", whole), ("1000000\n", 1e6)):
        (tmp_path / "memory.max").write_text(text)
        assert memory._memory(torch.device("cpu")) == there


_TRAINING = """
import sys
import torch
import candid
from candid.models.networks import build, describe
from candid.training.memory import check_fits
from candid.training.optimizers import optimizer_of

config = candid.load_config()
check_fits(config, 2)
network = build("deep", side=32, n_classes=2, width=4)
describe(network, 32)
optimizer = optimizer_of(network, config.train)
network(torch.zeros(4, 3, 32, 32)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""


def test_a_training_loads_no_compiler():
    command = [sys.executable, "-c", _TRAINING]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
