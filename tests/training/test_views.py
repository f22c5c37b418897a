"""How well labels are told from parts of pictures in which one knows where the label stands."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from candid.config import load_config
from candid.models.forward import Images
from candid.models.networks import crop_to_window
from candid.settings.network import DeepConfig
from candid.stats.distribution import fit_scale
from candid.training.loss import Loss
from candid.training.several import SeveralLoss
from candid.training.state import Task
from candid.training.views import Views, view_losses

QUICK = load_config(recipe="fast")
MIDDLE = (0.25, 0.25, 0.75, 0.75)


def planted(n: int = 700, side: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright spot in the middle (the first label) and one in a corner (the second)."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, (n, 2)).astype(np.int16)
    pixels = rng.integers(60, 120, (n, side, side, 3))
    pixels[label[:, 0] == 1, 9:15, 9:15] += 100
    pixels[label[:, 1] == 1, :5, :5] += 100
    pixels[label[:, 1] == 1, :5, -5:] += 100  # pictures are mirrored
    return pixels.astype(np.uint8), label


def task_of(pixels: np.ndarray, label: np.ndarray, **more) -> Task:
    images = Images(pixels, (0.4,) * 3, (0.2,) * 3)
    n, sizes = len(label), (2,) * label.shape[1] if label.ndim > 1 else ()
    return Task(
        images, label, sum(sizes) or 2, np.arange(n - 300), np.arange(n - 300, n), sizes=sizes,
        **more,
    )  # fmt: skip


def test_each_view_is_shown_for_its_share_of_a_batch():
    seen: list[torch.Tensor] = []

    class Watching(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.mean((2, 3))

    images = torch.randn(8, 3, 16, 16)
    views = Views(Watching(), [(), MIDDLE, (0.0, 0.5, 1.0, 1.0)]).train()
    views(images)
    views.eval()(images)
    parts = images.tensor_split(3)
    expected = [
        parts[0],
        crop_to_window(parts[1], MIDDLE),
        crop_to_window(parts[2], (0.0, 0.5, 1.0, 1.0)),
    ]
    torch.testing.assert_close(seen[0], torch.cat(expected))
    torch.testing.assert_close(seen[1], images)


def test_a_part_tells_the_label_that_stands_in_it():
    pixels, label = planted()
    train = dataclasses.replace(QUICK.train, steps=60, batch_size=48, threads=1, flip_tta=False)
    losses, base = view_losses(
        task_of(pixels, label), [(), MIDDLE], DeepConfig(width=8, window=""), train, QUICK.augment
    )
    assert losses.shape == (2, 300, 2) and base.shape == (300, 2)
    whole, part = losses.mean(axis=1)
    assert np.all(whole < 0.5) and part[0] < 0.5  # a coin's is 0.69
    assert part[1] > 0.65  # the corner is not seen
    np.testing.assert_allclose(base.mean(axis=0), math.log(2), atol=0.01)


def test_losses_of_each_image_are_plain_cross_entropies():
    rng = np.random.default_rng(0)
    pixels, label = planted(320)
    label[::7, 1] = -1
    several = SeveralLoss(task_of(pixels, label), QUICK.train)
    output = torch.from_numpy(rng.normal(size=(320, 4))).float()
    found = several.cross_entropies(output, torch.from_numpy(label.astype(np.int64)))
    for t in range(2):
        known = label[:, t] >= 0
        own = torch.from_numpy(label[known, t].astype(np.int64))
        expected = F.cross_entropy(output[known][:, 2 * t : 2 * t + 2], own, reduction="none")
        torch.testing.assert_close(found[known, t], expected)
        assert found[~known, t].isnan().all()
    one = Loss(task_of(pixels, label[:, 0]), QUICK.train, None)
    torch.testing.assert_close(
        one.cross_entropies(output[:, :2], torch.from_numpy(label[:, 0].astype(np.int64)))[:, 0],
        found[:, 0],
    )


def test_base_rates_are_the_shares_of_train():
    pixels, label = planted(620)
    label[:, 1] = np.arange(620) % 5 == 0
    several = SeveralLoss(task_of(pixels, label), QUICK.train)
    shares = [np.bincount(label[:320, t], minlength=2) + 0.5 for t in range(2)]
    expected = np.concatenate([s / s.sum() for s in shares])
    np.testing.assert_allclose(several.base_rates().exp(), expected, rtol=1e-5)
    one = Loss(task_of(pixels, label[:, 1]), QUICK.train, None)
    np.testing.assert_allclose(one.base_rates().exp(), expected[2:], rtol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_of_a_number_the_base_rates_are_its_mean_distribution(seed):
    rng = np.random.default_rng(seed)
    years = rng.integers(1, 90, 620).astype(float)
    scale = fit_scale(np.unique(years), years[:320])
    code = np.searchsorted(scale.values, years).astype(np.int16)[:, None]
    images = Images(planted(620)[0], (0.4,) * 3, (0.2,) * 3)
    task = Task(
        images, code, scale.bins, np.arange(320), np.arange(320, 620), sizes=(scale.bins,),
        scales=(scale,),
    )  # fmt: skip
    loss = SeveralLoss(task, QUICK.train)
    counts = np.bincount(code[:320, 0], minlength=len(scale.values)) + 0.5
    expected = counts @ scale.soft_labels / counts.sum()
    np.testing.assert_allclose(loss.base_rates().exp(), expected, rtol=1e-4, atol=1e-7)
    label = torch.from_numpy(code.astype(np.int64))
    found = loss.cross_entropies(loss.base_rates().expand(620, -1), label)
    soft = scale.soft_labels[code[:, 0]]
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = np.where(soft > 0, soft * np.log(soft / expected), 0).sum(1)
    np.testing.assert_allclose(found[:, 0], divergence, atol=1e-4)
