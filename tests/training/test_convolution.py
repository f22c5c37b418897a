"""The weight gradient of images side by side is that of PyTorch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from candid.models.forward import forward
from candid.models.networks import build
from candid.training.convolution import conv2d, wide_gradients

SHAPES = [  # images, channels in and out, rows, columns, stride
    (8, 5, 7, 4, 4, 1),
    (7, 3, 4, 5, 6, 2),
    (16, 8, 8, 8, 8, 2),
    (1, 2, 2, 1, 1, 1),
    (12, 4, 4, 3, 2, 2),
    (6, 4, 4, 7, 7, 2),
    (90, 2, 3, 2, 4, 1),
]


@pytest.mark.parametrize(("n", "inward", "outward", "rows", "columns", "stride"), SHAPES)
def test_gradients_are_those_of_pytorch(n, inward, outward, rows, columns, stride):
    torch.manual_seed(n)
    images = torch.randn(n, inward, rows, columns, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outward, inward, 3, 3, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(images, weight, stride=stride, padding=1)
    output = conv2d(images, weight, stride)
    gradient = torch.randn_like(output)
    assert torch.equal(output, expected)
    torch.testing.assert_close(
        torch.autograd.grad(output, (images, weight), gradient),
        torch.autograd.grad(expected, (images, weight), gradient),
        rtol=1e-12,
        atol=1e-12,
    )


def test_gradients_of_gradients_are_those_of_pytorch():
    images = torch.randn(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradgradcheck(lambda x, w: conv2d(x, w, 2), (images, weight))


def test_arguments_by_name_are_taken():
    images, weight = torch.randn(4, 2, 6, 6), torch.randn(3, 2, 3, 3, requires_grad=True)
    with wide_gradients(True), torch.autocast("cpu", torch.bfloat16):
        output = F.conv2d(images, weight, padding=(1, 1), stride=(2, 2), dilation=(1, 1))
    assert type(output.grad_fn).__name__ == "_ConvolutionBackward" and output.shape[3] == 3


def _gradients(network: nn.Module, images: torch.Tensor, enabled: bool) -> list[torch.Tensor]:
    network.zero_grad()
    with wide_gradients(enabled):
        output = forward(network, images, bfloat16=True)
    output.square().sum().backward()
    return [p.grad.clone() for p in network.parameters()]


def test_a_whole_network_has_the_gradients_of_its_own_convolutions(monkeypatch):
    torch.manual_seed(0)
    network = build("deep", side=64, n_classes=3, width=4).to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # otherwise no gradient reaches the blocks' insides
    images = torch.randn(16, 3, 64, 64)
    calls = []
    monkeypatch.setattr(
        "candid.training.convolution.conv2d", lambda *a: calls.append(a) or conv2d(*a)
    )
    wide = _gradients(network, images, enabled=True)
    widths = sorted(images.shape[3] // stride for images, _, stride in calls)
    plain = _gradients(network, images, enabled=False)
    assert widths == [4, 4, 4, 8, 8, 8]  # those of 16 and 32 are left to PyTorch
    assert len(calls) == 6
    for one, other in zip(wide, plain, strict=True):
        # Both are rounded to bfloat16, which has 8 binary digits.
        assert (one - other).norm() <= 0.01 * other.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_convolutions_are_left_alone(dtype, monkeypatch):
    monkeypatch.setattr("candid.training.convolution.conv2d", None)  # would fail if called
    images = torch.randn(4, 4, 8, 8)
    layers = [
        nn.Conv2d(4, 4, 3, padding=1),  # a bias
        nn.Conv2d(4, 4, 5, padding=2, bias=False),
        nn.Conv2d(4, 4, 3, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
        nn.Conv2d(4, 4, 3, padding="same", bias=False),
        nn.Conv2d(4, 4, 3, padding=1, bias=False).requires_grad_(False),
    ]
    if dtype == torch.float32:
        layers.append(nn.Conv2d(4, 4, 3, padding=1, bias=False))  # no autocast
    with wide_gradients(True), torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        for layer in layers:
            assert layer(images).dtype == dtype
