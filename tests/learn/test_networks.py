import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from candid.errors import ConfigError
from candid.learn.networks import BUILDERS, build, describe


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize(("side", "classes"), [(32, 2), (64, 5)])
def test_logits_have_one_column_per_class(name, side, classes):
    network = build(name, side=side, classes=classes).eval()
    assert network(torch.zeros(3, 3, side, side)).shape == (3, classes)


def test_plain_is_the_description():
    layers, _ = describe(build("plain", side=64, classes=2), 64)
    shapes = [(layer.kind, layer.output_shape) for layer in layers]
    assert shapes == [
        ("Conv2d", (32, 62, 62)),
        ("Conv2d", (64, 60, 60)),
        ("MaxPool2d", (64, 30, 30)),
        ("Dropout", (64, 30, 30)),
        ("Linear", (128,)),
        ("Dropout", (128,)),
        ("Linear", (2,)),
    ]
    rates = [m.p for m in build("plain", side=64, classes=2).modules() if hasattr(m, "p")]
    assert rates == [0.25, 0.5]


def test_plain_has_the_relus_of_the_description():
    """ReLU after the first three layers and not after the last: by the closed form."""
    network = build("plain", side=8, classes=2).eval()
    image = torch.randn(1, 3, 8, 8)
    x = (network.conv1(image)).clamp(min=0)
    x = (network.conv2(x)).clamp(min=0)
    x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)).flatten(1)
    x = (x @ network.fc1.weight.T + network.fc1.bias).clamp(min=0)
    expected = x @ network.fc2.weight.T + network.fc2.bias
    torch.testing.assert_close(network(image), expected)


@pytest.mark.parametrize("name", BUILDERS)
def test_counts_are_those_of_torch(name):
    network = build(name, side=32, classes=3).eval()
    layers, multiply_adds = describe(network, 32)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 32, 32))
    assert 2 * multiply_adds == counter.get_total_flops()
    assert sum(x.parameters for x in layers) == sum(p.numel() for p in network.parameters())


def test_describe_leaves_the_network_as_found():
    network = build("plain", side=16, classes=2).train()
    describe(network, 16)
    assert network.training
    assert not any(m._forward_hooks for m in network.modules())


def test_unknown_network():
    with pytest.raises(ConfigError, match="no network 'plane'"):
        build("plane", side=64, classes=2)
