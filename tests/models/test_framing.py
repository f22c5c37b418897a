"""The network that frames: its geometry, its limits, its files, its ONNX twin."""

import math

import numpy as np
import pytest
import torch

from candid.errors import RunError
from candid.models.framing import Framing, TorchFramer, load_framing, save_framing
from candid.models.warping import frame_matrices, halve, inside_mask, level_warp, warp

SIDE = 16


@pytest.fixture
def framing():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Framing(SIDE, width=2).eval().requires_grad_(False)


def pictures(n=4, side=SIDE, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def test_a_frame_is_scale_aspect_place_and_angle():
    frame = torch.tensor([[math.log(2), 0.1, 0.3, -0.2, math.pi / 2]])
    (matrix,) = frame_matrices(frame)
    wide, high = 2 * math.exp(0.1), 2 * math.exp(-0.1)
    # The right edge's middle goes straight down by the width, the lower edge's to the left.
    for corner, found in (((1, 0), (0.3, -0.2 + wide)), ((0, 1), (0.3 - high, -0.2))):
        got = matrix @ torch.tensor([*map(float, corner), 1.0])
        np.testing.assert_allclose(got[:2], found, atol=1e-5)
        assert got[2] == 1


def test_reached_is_where_the_input_is():
    half = torch.diag(torch.tensor([2.0, 2.0, 1.0]))[None]
    inside = inside_mask(half, 8)
    assert inside[0, 0, 2:6, 2:6].all() and inside.sum() == 16
    ones = warp(torch.ones(1, 1, 8, 8), half, 8)
    assert (ones == 1).all(), "outside, the edge is repeated"


def test_a_frame_has_a_gradient_also_after_one_had_none():
    images = torch.rand(1, 1, 9, 9)
    frame = torch.eye(3)[None]
    with torch.inference_mode():
        known = warp(images, frame, 9)
    found = warp(images, frame.requires_grad_(), 9)
    torch.testing.assert_close(found.detach(), known.clone())
    (slope,) = torch.autograd.grad(found.square().sum(), frame)
    assert slope.abs().sum() > 0


def test_level_warp_reads_the_detail_that_is_needed():
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(3, 2, 32, 32, generator=rng)
    # Frames of a quarter, half and all of an image at 8 pixels: every, every other, every fourth.
    scales = (0.25, 0.5, 1.0)
    frames = torch.stack([torch.diag(torch.tensor([s, s, 1.0])) for s in scales])
    found = level_warp(images, frames, 8, "border", levels=3)
    np.testing.assert_allclose(found[0], images[0, :, 12:20, 12:20], atol=1e-5)
    for image, shrunk, times in ((images[1, :, 8:24, 8:24], found[1], 2), (images[2], found[2], 4)):
        mean = torch.nn.functional.avg_pool2d(image, times)
        np.testing.assert_allclose(shrunk, mean, atol=1e-5)
    # Where there is no coarser level, every fourth pixel of the finest there is.
    two = level_warp(images[2:], frames[2:], 8, "border", levels=2)
    np.testing.assert_allclose(two, warp(halve(images[2:]), frames[2:], 8), atol=1e-6)


@pytest.mark.parametrize("padding", ["reflection", "border"])
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_a_graph_reads_as_level_warp_does(levels, padding, monkeypatch):
    """With and without images for every level, and far outside them."""
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(40, 3, 32, 32, generator=rng)
    frames = torch.zeros(40, 5)
    frames[:, 0] = torch.linspace(-1.5, 2.0, 40)[torch.randperm(40, generator=rng)]
    frames[:, 2:] = 0.3 * torch.randn(40, 3, generator=rng)
    for fewer in (frames[:, 0] < 3, frames[:, 0] < 0, frames[:, 0] > 1):
        shown, matrices = images[fewer], frame_matrices(frames[fewer])
        found = level_warp(shown, matrices, 16, padding, levels=levels)
        with monkeypatch.context() as patched:
            patched.setattr(torch.jit, "is_tracing", lambda: True)
            graph = level_warp(shown, matrices, 16, padding, levels=levels)
        torch.testing.assert_close(found, graph, rtol=0, atol=5e-6)


def test_what_needs_nothing_undone_comes_through_bit_for_bit(framing):
    framing.limit.fill_(1e9)
    x = pictures()
    for pixels in (x, x.repeat_interleave(2, 1).repeat_interleave(2, 2)):
        framed, frames, rest, *_ = framing(pixels)
        assert torch.equal(framed, x)
        assert torch.equal(frames, torch.eye(3).expand(4, 3, 3)) and not rest.any()


@pytest.mark.parametrize("side", [SIDE, 40, 96])
def test_the_first_look_sees_the_whole_picture_as_any_look_would(side):
    """At the detail that it needs, too: from 96 pixels every second would be read otherwise."""
    framing = Framing(side, width=2).eval()
    planes = pictures(side=side).permute(0, 3, 1, 2).float()
    same = torch.eye(3).expand(len(planes), 3, 3)
    first = framing.make_first_input(planes, torch.eye(3))
    np.testing.assert_allclose(first, framing.make_input(planes, same), atol=1e-5)


def test_a_frame_that_is_found_is_undone(framing):
    """A network that always says the same frame reads each picture in it, once per look."""
    frame = torch.tensor([-0.5, 0.1, 0.2, -0.1, 0.1])
    with torch.no_grad():
        framing.head.weight.zero_()
        framing.head.bias.copy_(frame / framing.units)
    framing.limit.fill_(0.01)
    x = pictures(side=2 * SIDE)
    framed, frames, rest, *_ = framing(x)
    twice = frame_matrices(frame[None])[0] @ frame_matrices(frame[None])[0]
    np.testing.assert_allclose(frames, twice.expand(4, 3, 3), atol=1e-5)
    np.testing.assert_allclose(rest, frame.norm().expand(4), rtol=1e-5)
    planes = x.permute(0, 3, 1, 2).float()
    read = level_warp(planes, frames, SIDE, "reflection").permute(0, 2, 3, 1)
    assert (framed.float() - read).abs().max() <= 0.5001
    # From another start, both looks are undone on top of it.
    start = frame_matrices(torch.tensor([[0.2, 0.0, 0.1, 0.0, -0.1]]))[0]
    _, frames, _, first, found = framing(x, start)
    once = frame_matrices(frame[None])[0]
    np.testing.assert_allclose(first, (start @ once).expand(4, 3, 3), atol=1e-5)
    np.testing.assert_allclose(found, frame.norm().expand(4), rtol=1e-5)
    np.testing.assert_allclose(frames, (start @ twice).expand(4, 3, 3), atol=1e-5)
    # Where the second look finds only what is noise, the first look's frame stands.
    framing.centre.copy_(frame)
    framing.limit.fill_(1e-3)
    assert torch.equal(framing(x)[1], torch.eye(3).expand(4, 3, 3))
    # A picture in which nothing is found stays at the start, and is read there.
    framed, frames, rest, *_ = framing(x, start)
    assert torch.equal(frames, start.expand(4, 3, 3)) and not rest.any()
    read = level_warp(planes, frames, SIDE, "reflection").permute(0, 2, 3, 1)
    assert (framed.float() - read).abs().max() <= 0.5001
    # However much is found, where all is to stay.
    framing.centre.zero_()
    assert torch.equal(framing(x, start, torch.tensor(torch.inf))[0], framed)


def test_a_file_gives_the_same_back(framing, tmp_path):
    framing.limit.fill_(1.5)
    path = tmp_path / "framing.safetensors"
    save_framing(path, framing)
    found = load_framing(path)
    x = pictures(side=2 * SIDE)
    for a, b in zip(framing(x), found(x), strict=True):
        assert torch.equal(a, b)
    assert float(found.limit) == 1.5


def test_damage_is_named(framing, tmp_path):
    path = tmp_path / "framing.safetensors"
    with pytest.raises(RunError, match="framing"):
        load_framing(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(RunError, match="framing"):
        load_framing(path)
    with torch.no_grad():
        framing.head.bias.fill_(torch.nan)
    save_framing(path, framing)
    with pytest.raises(RunError, match="framing"):
        load_framing(path)


def test_onnx_gives_what_torch_gives(framing, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from candid.models.onnx_framing import framing_path, open_onnx_framer
    from candid.runs import Run

    run = Run(tmp_path)
    framing.limit.fill_(0.2)
    framing.rest_limit.fill_(7.0)
    framing.far_limit.fill_(3.0)
    with torch.no_grad():
        framing.head.bias.uniform_(-0.3, 0.3)
    save_framing(run.framing_weights, framing)
    engine = open_onnx_framer(run, threads=1)
    x = pictures(5, 2 * SIDE).numpy()
    mine, theirs = TorchFramer(framing)(x), engine(x)
    assert np.abs(mine[0].astype(int) - theirs[0]).max() <= 1
    np.testing.assert_allclose(mine[1], theirs[1], atol=1e-4)
    np.testing.assert_allclose(mine[2], theirs[2], rtol=1e-3)
    assert engine.rest_limit == 7.0 and engine.far_limit == 3.0
    start = np.array([[0.8, 0.1, 0.1], [-0.1, 0.9, 0], [0, 0, 1]], np.float32)
    for limit in (None, 1e9):
        mine, theirs = TorchFramer(framing)(x, start, limit), engine(x, start, limit)
        assert np.abs(mine[0].astype(int) - theirs[0]).max() <= 1
        for a, b in zip(mine[1:], theirs[1:], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    # Other weights: the file that is there is not theirs.
    before = framing_path(run).read_bytes()
    framing.rest_limit.fill_(8.0)
    save_framing(run.framing_weights, framing)
    assert open_onnx_framer(run, threads=1).rest_limit == 8.0
    assert framing_path(run).read_bytes() != before
