"""Maps of a number: of its expected value, in its own unit."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from candid.explanation.trained import explained_numbers
from candid.models.outputs import ExpectedValue
from candid.records import ModelCard
from candid.records.model import NumberCard
from candid.settings import ExplainConfig

CENTRES = (10.0, 30.0, 70.0)


class Leftmost(nn.Module):
    """The brighter the left half, the further the distribution lies at the last value."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([-2.0, 0.0, 2.0]))

    def forward(self, images):
        return images[:, :, :, :4].mean((1, 2, 3))[:, None] * self.weight


def card() -> ModelCard:
    number = NumberCard(CENTRES, (10.0, 30.0, 70.0))
    return ModelCard(
        network="own", options={}, target="age", classes=("10", "30", "70"), side=8,
        mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), temperature=1.0, parameters=3,
        multiply_adds=0, layers=(), step=1, kept="last", flip_tta=False, number=number,
    )  # fmt: skip


def expected(left: float) -> float:
    """By hand: the mean of the three values under a softmax."""
    weights = [math.exp(-2 * left), 1.0, math.exp(2 * left)]
    return sum(w * c for w, c in zip(weights, CENTRES, strict=True)) / sum(weights)


def test_the_expected_value_is_the_mean_of_the_bins():
    images = torch.zeros(2, 3, 8, 8)
    images[1, :, :, :4] = 0.7
    found = ExpectedValue(Leftmost(), CENTRES)(images)
    assert found.shape == (2, 1)
    assert found[:, 0].tolist() == pytest.approx([expected(0), expected(0.7)], rel=1e-5)


def test_a_map_adds_up_to_what_the_picture_is_worth_in_years():
    """Integrated gradients are complete: their sum is the value less that of the mean colour."""
    pixels = np.full((8, 8, 3), 128, np.uint8)
    pixels[:, :4] = 200
    how = ExplainConfig(methods=("integrated_gradients",), integration_steps=64)

    def read(p):
        return p @ np.array(CENTRES), np.zeros(len(p)), np.ones(len(p))

    (one,) = explained_numbers(Leftmost(), card(), [("a.png", pixels)], how, read, {})
    left = (200 / 255 - 0.5) / 0.25
    assert one.number == pytest.approx((expected(left), 0, 1), rel=1e-5)
    made = one.maps["integrated_gradients"]
    assert made.sum() == pytest.approx(expected(left) - expected(0), rel=1e-3)
    assert (made[:, :4] > 0).all() and not made[:, 4:].any()
    assert one.title == one.prediction and one.prediction.startswith(f"{expected(left):.1f} (")
