import numpy as np
import torch
from torch import nn

from candid.models import forward as forward_module
from candid.models.forward import Images, _to_device, channel_statistics, logits

CPU = torch.device("cpu")


def random_pixels(n=20, side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_channel_statistics_are_numpy_s():
    pixels = random_pixels()
    rows = np.array([1, 5, 6, 19])
    mean, std = channel_statistics(pixels, rows, block=3)
    np.testing.assert_allclose(mean, (pixels[rows] / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (pixels[rows] / 255).std((0, 1, 2)), rtol=1e-9)


def test_a_channel_that_never_changes_stays_finite():
    _, std = channel_statistics(np.full((3, 4, 4, 3), 7, np.uint8), np.arange(3))
    assert std == (1.0, 1.0, 1.0)


def test_a_batch_is_normalised():
    pixels = random_pixels()
    images = Images(pixels, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    rows = np.array([3, 0])
    batch = images.batch(rows, CPU)
    expected = (pixels[rows] / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    np.testing.assert_allclose(batch.permute(0, 2, 3, 1), expected, atol=1e-6)
    assert batch.dtype == torch.float32


def test_logits_do_not_depend_on_the_batch_and_leave_the_mode():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3)).train()
    images = Images(random_pixels(), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    rows = np.arange(20)
    results = [
        logits(network, images, rows, device=CPU, bfloat16=False, batch_size=b) for b in (7, 20)
    ]
    np.testing.assert_allclose(*results, atol=1e-6)
    assert results[0].shape == (20, 3)
    assert network.training


def test_a_batch_is_made_on_the_device():
    images = Images(random_pixels(), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    batch = images.batch(np.arange(3), torch.device("meta"))
    assert batch.device.type == "meta" and batch.shape == (3, 3, 8, 8)


def test_images_on_a_gpu_are_the_same_where_they_fit(monkeypatch):
    """The GPU is played by the processor: what decides, and what is copied."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)
    images = Images(pixels, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    cpu, rows = torch.device("cpu"), np.array([3, 0, 17])
    copied = Images(_to_device(pixels, cpu, block=7), images.mean, images.std)
    assert torch.equal(copied.batch(rows, cpu), images.batch(rows, cpu))
    assert copied.side == images.side == 6
    assert images.resident(cpu) is images
    asked = []
    monkeypatch.setattr(forward_module, "_to_device", lambda p, d: asked.append(d) or copied.pixels)
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: (2 * pixels.nbytes, 0))
    moved = images.resident(gpu)
    assert torch.is_tensor(moved.pixels)
    assert moved.resident(gpu) is moved
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: (2 * pixels.nbytes - 1, 0))
    assert images.resident(gpu) is images
    assert asked == [gpu]
