import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from candid.errors import ConfigError, DependencyError
from candid.models.networks import (
    BUILDERS,
    Deep,
    build,
    crop_to_window,
    describe,
    options,
    to_depth,
)
from candid.models.vit import Attend
from candid.settings.network import DeepConfig, PlainConfig, TimmConfig, ViTConfig

OURS = sorted(set(BUILDERS) - {"timm", "own"})


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(("side", "classes"), [(32, 2), (64, 5), (27, 2)])
def test_logits_have_one_column_per_class(name, side, classes):
    network = build(name, side=side, n_classes=classes).eval()
    assert network(torch.zeros(3, 3, side, side)).shape == (3, classes)


def test_plain_is_the_description():
    layers, _ = describe(build("plain", side=64, n_classes=2), 64)
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
    rates = [m.p for m in build("plain", side=64, n_classes=2).modules() if hasattr(m, "p")]
    assert rates == [0.25, 0.5]


def test_plain_has_the_relus_of_the_description():
    """ReLU after the first three layers and not after the last: by the closed form."""
    network = build("plain", side=8, n_classes=2).eval()
    image = torch.randn(1, 3, 8, 8)
    x = (network.conv1(image)).clamp(min=0)
    x = (network.conv2(x)).clamp(min=0)
    x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5)).flatten(1)
    x = (x @ network.fc1.weight.T + network.fc1.bias).clamp(min=0)
    expected = x @ network.fc2.weight.T + network.fc2.bias
    torch.testing.assert_close(network(image), expected)


@pytest.mark.parametrize("name", OURS)
def test_counts_are_those_of_torch(name):
    network = build(name, side=32, n_classes=3).eval()
    layers, multiply_adds = describe(network, 32)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 32, 32))
    assert 2 * multiply_adds == counter.get_total_flops()
    assert sum(x.parameters for x in layers) == sum(p.numel() for p in network.parameters())


def test_attention_written_out_is_torch_s():
    torch.manual_seed(0)
    own = torch.randn(3, 2, 4, 7, 8, requires_grad=True)
    theirs = own.detach().clone().requires_grad_()
    one, other = Attend()(*own), F.scaled_dot_product_attention(*theirs)
    torch.testing.assert_close(one, other)
    for out in (one, other):
        out.square().sum().backward()
    torch.testing.assert_close(own.grad, theirs.grad)


def test_describe_leaves_the_network_as_found():
    network = build("plain", side=16, n_classes=2).train()
    describe(network, 16)
    assert network.training
    assert not any(m._forward_hooks for m in network.modules())


def test_unknown_network():
    with pytest.raises(ConfigError, match="no network 'plane'"):
        build("plane", side=64, n_classes=2)


@pytest.mark.parametrize("depth", [1, 2])
def test_deep_has_at_least_ten_convolutions_and_two_sizes(depth):
    convolutions = [
        m for m in build("deep", side=64, n_classes=2, depth=depth).modules()
        if isinstance(m, torch.nn.Conv2d)
    ]  # fmt: skip
    assert len(convolutions) == 4 + 3 * 2 * depth >= 10
    assert convolutions[0].out_channels == 32
    small, large = (
        sum(p.numel() for p in build("deep", side=64, n_classes=2, width=w).parameters())
        for w in (16, 32)
    )
    assert 3.9 < large / small < 4.1


def test_a_fresh_residual_block_passes_its_input_on():
    block = build("deep", side=32, n_classes=2).body[6].eval()
    x = torch.rand(2, block.conv1.in_channels, 8, 8)
    torch.testing.assert_close(block(x), x)


def test_deep_sees_every_pixel_of_an_odd_side():
    network = build("deep", side=27, n_classes=2).eval()
    image = torch.randn(1, 3, 27, 27, requires_grad=True)
    network(image)[0, 0].backward()
    assert (image.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("side", [16, 27])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_squares_become_channels_as_in_torch_also_in_bfloat16(side, layout):
    images = torch.randn(3, 3, side, side).contiguous(memory_format=layout)
    wide = images if side % 2 == 0 else torch.cat([images, images[..., -1:]], 3)
    wide = wide if side % 2 == 0 else torch.cat([wide, wide[..., -1:, :]], 2)
    expected = torch.nn.functional.pixel_unshuffle(wide, 2)
    assert torch.equal(to_depth(images, side % 2), expected)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = to_depth(images, side % 2)
        graph = to_depth(images.requires_grad_(), side % 2)
    assert torch.equal(rounded, expected.to(torch.bfloat16))
    (slope,) = torch.autograd.grad((graph * expected).sum(), images)
    assert slope.shape == images.shape and bool((slope != 0).all())


def ensemble_and_members():
    """Three networks that answer together, and the same three apart, in evaluation mode."""
    together = build("deep", side=27, n_classes=2, width=4, ensemble_size=3)
    for module in together.modules():  # fresh networks hardly differ; trained ones do
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.running_mean)
    apart = [build("deep", side=27, n_classes=2, width=4) for _ in range(3)]
    for i, network in enumerate(apart):
        network.body.load_state_dict(together.bodies[i].state_dict())
        network.head.weight.data = together.head.weight.data.chunk(3, dim=1)[i]
        network.head.bias.data = together.head.bias.data
    return together.eval(), [network.eval() for network in apart]


def test_an_ensemble_answers_with_the_mean_of_its_networks_logits():
    together, apart = ensemble_and_members()
    images = torch.randn(5, 3, 27, 27)
    answers = torch.stack([network(images) for network in apart])
    assert answers.std(0).min() > 1e-3  # they do differ
    torch.testing.assert_close(together(images), answers.mean(0))


@pytest.mark.parametrize("images", [7, 2])
def test_an_ensemble_in_training_divides_the_batch_among_its_networks(images):
    together, apart = ensemble_and_members()
    batch = torch.randn(images, 3, 27, 27)
    shares = batch.tensor_split(3)
    own = [n.train()(share) for n, share in zip(apart, shares, strict=True) if len(share)]
    torch.testing.assert_close(together.train()(batch), torch.cat(own))


def test_each_network_of_an_ensemble_begins_as_one_alone_does():
    together = build("deep", side=32, n_classes=2, width=64, ensemble_size=4)
    alone = build("deep", side=32, n_classes=2, width=64)
    widest = alone.head.weight.abs().max()
    torch.testing.assert_close(together.head.weight.abs().max(), widest, rtol=0.05, atol=0)
    assert not torch.equal(together.bodies[0][0].weight, together.bodies[1][0].weight)


def test_attention_is_that_of_torch():
    """One block without stochastic depth: `nn.TransformerEncoderLayer` with the same weights."""
    ours = build("vit", side=32, n_classes=2, width=64, depth=1, drop_path=0.0).blocks[0].eval()
    theirs = torch.nn.TransformerEncoderLayer(
        64, 2, 256, dropout=0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    pairs = {
        "self_attn.in_proj_weight": ours.mix.weight, "self_attn.in_proj_bias": ours.mix.bias,
        "self_attn.out_proj.weight": ours.out.weight, "self_attn.out_proj.bias": ours.out.bias,
        "linear1.weight": ours.grow.weight, "linear1.bias": ours.grow.bias,
        "linear2.weight": ours.shrink.weight, "linear2.bias": ours.shrink.bias,
        "norm1.weight": ours.norm1.weight, "norm1.bias": ours.norm1.bias,
        "norm2.weight": ours.norm2.weight, "norm2.bias": ours.norm2.bias,
    }  # fmt: skip
    theirs.load_state_dict(pairs)
    x = torch.randn(3, 20, 64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean():
    block = build("vit", side=32, n_classes=2, width=64, depth=1, drop_path=0.5).blocks[0].train()
    torch.manual_seed(0)
    kept = block._drop_path(torch.ones(4000, 3, 5))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert (kept == kept[:, :1, :1]).all()
    assert kept.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(block.eval()._drop_path(torch.ones(2, 3, 5)), torch.ones(2, 3, 5))


def test_the_transformer_refuses_an_odd_width():
    with pytest.raises(ConfigError, match="100 channels"):
        build("vit", side=32, n_classes=2, width=100)


def test_options_are_those_of_the_network_with_its_own_defaults():
    assert options(PlainConfig()) == {}
    assert options(DeepConfig()) == {"width": 32, "depth": 1}
    assert options(DeepConfig(width=16, depth=2)) == {"width": 16, "depth": 2}
    assert options(DeepConfig(ensemble_size=3))["ensemble_size"] == 3
    assert options(ViTConfig(width=64, drop_path=0.0)) == {
        "width": 64, "depth": 6, "drop_path": 0.0
    }  # fmt: skip
    assert options(TimmConfig(model="resnet18")) == {"model": "resnet18"}


def test_a_timm_name_builds_that_network_or_says_what_to_install():
    try:
        import timm  # noqa: F401
    except ImportError:
        with pytest.raises(DependencyError, match="needs timm"):
            build("timm", side=64, n_classes=2, model="resnet18")
        return
    network = build("timm", side=64, n_classes=3, model="resnet18").eval()
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    with pytest.raises(ConfigError, match="no model"):
        build("timm", side=64, n_classes=3, model="resnet-of-nobody")


def test_a_network_of_one_s_own_cannot_be_built_by_name():
    with pytest.raises(ConfigError, match=r"one of your own, here\.Net,"):
        build("own", side=64, n_classes=2, module="here.Net")


@pytest.mark.parametrize("side", [8, 9, 16])
def test_the_gradient_of_a_small_picture_is_whole_in_bfloat16(side):
    torch.manual_seed(0)
    network = Deep(side, 2, width=4)
    images = torch.randn(32, 3, side, side)

    def gradients(bfloat16):
        torch.full((2**16,), math.nan)  # freed at once: what is left unwritten may hold it
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(network(images).float(), torch.arange(32) % 2)
        loss.backward()
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    exact = gradients(False)
    for _ in range(8):
        error = (gradients(True) - exact).norm() / exact.norm()
        assert error < 0.2


def test_one_place_is_not_strided():
    inputs = []
    network = Deep(8, 2, width=4).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.stride != (1, 1):
            layer.register_forward_hook(lambda _, given, out: inputs.append(given[0].shape[2:]))
    network(torch.zeros(2, 3, 8, 8))
    assert [tuple(shape) for shape in inputs] == [(4, 4), (2, 2)]


WINDOW = "0.2 0.35 0.8 0.85"


def test_a_window_is_read_as_grid_sample_reads_it():
    """And a window of all of a picture is the picture, to the last bit."""
    images = torch.randn(4, 3, 24, 20)
    for box in ((0.2, 0.35, 0.8, 0.85), (0.0, 0.0, 0.5, 1.0), (0.4, 0.9, 1.0, 1.0)):
        left, top, right, bottom = box
        across = torch.tensor(
            [[right - left, 0, right + left - 1], [0, bottom - top, bottom + top - 1]]
        )
        grid = F.affine_grid(across.expand(4, 2, 3), list(images.shape), align_corners=False)
        expected = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        torch.testing.assert_close(crop_to_window(images, box), expected, rtol=0, atol=2e-5)
    assert torch.equal(crop_to_window(images, (0.0, 0.0, 1.0, 1.0)), images)
    assert crop_to_window(images, ()) is images


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of a size, which is constant
def test_a_traced_window_is_the_same():
    """As two products with matrices, for ONNX Runtime."""
    images, box = torch.randn(4, 3, 24, 20), (0.2, 0.35, 0.8, 0.85)
    traced = torch.jit.trace(lambda x: crop_to_window(x, box), images[:1], check_trace=False)
    assert "aten::matmul" in str(traced.graph)
    torch.testing.assert_close(traced(images), crop_to_window(images, box), rtol=0, atol=2e-6)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_what_lies_outside_the_window_moves_no_logit(members, training):
    network = build("deep", side=40, n_classes=2, width=4, window=WINDOW, ensemble_size=members)
    network.train(training)
    images = torch.randn(4, 3, 40, 40)
    outside = images.clone()
    outside[:, :, :13], outside[:, :, 35:] = 9.0, 9.0  # rows 14 to 33 are inside, with one around
    outside[:, :, :, :7], outside[:, :, :, 33:] = 9.0, 9.0
    assert torch.equal(network(images), network(outside))
    outside[:, :, 20, 20] = 9.0
    assert not torch.equal(network(images), network(outside))


def test_a_network_without_a_window_is_described_as_before():
    """Digests of runs and their records hold it."""
    whole = DeepConfig(window="")
    assert repr(whole) == "DeepConfig(name='deep', width=0, depth=0, ensemble_size=1)"
    assert "window" not in options(whole) and "window" not in options(DeepConfig())
    assert options(DeepConfig(window=WINDOW))["window"] == WINDOW
    assert "window='0.2 0.35 0.8 0.85'" in repr(DeepConfig(window=WINDOW))


@pytest.mark.parametrize("words", ["nose", "0.2 0.3 0.8", "0 0 1.2 1", "0.5 0 0.5 1", "nan 0 1 1"])
def test_a_window_that_is_none_is_refused(words):
    with pytest.raises(ConfigError, match=r"network\.window"):
        DeepConfig(window=words)
