import dataclasses

import pytest
import torch
from torch.nn import functional as F

from candid.training.mixing import Mixture, mix, mixture_loss
from plain import PLAIN

NONE = PLAIN.train
UP = dataclasses.replace(NONE, mixup=0.4)
CUT = dataclasses.replace(NONE, cutmix=1.0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(batch=64, side=12):
    """Image i is i everywhere, and so is its label."""
    images = torch.arange(batch).float()[:, None, None, None].expand(-1, 3, side, side)
    return images.clone(), torch.arange(batch)


def test_nothing_asked_nothing_done_and_nothing_drawn():
    images, labels = numbered()
    generator = seeded()
    mixed, mixture = mix(images, labels, NONE, generator)
    assert mixed is images
    assert torch.equal(generator.get_state(), seeded().get_state())
    assert mixture.first is mixture.second is labels


def test_mixup_is_the_mean_with_its_shares():
    images, labels = numbered()
    mixed, mixture = mix(images, labels, UP, seeded())
    expected = mixture.share * mixture.first + (1 - mixture.share) * mixture.second
    torch.testing.assert_close(mixed, expected[:, None, None, None].expand_as(mixed))
    assert torch.equal(mixture.first, labels)
    assert torch.equal(mixture.second.sort().values, labels)
    assert mixture.share.std() > 0.1


def test_cutmix_has_as_much_of_each_image_as_it_says():
    images, labels = numbered()
    mixed, mixture = mix(images, labels, CUT, seeded())
    for image, one, other, share in zip(
        mixed, mixture.first, mixture.second, mixture.share, strict=True
    ):
        assert set(image.unique().tolist()) <= {float(one), float(other)}
        if one != other:
            assert (image[0] == one).float().mean().item() == pytest.approx(share.item(), abs=1e-6)
            rows = (image[0] == other).any(1).nonzero().flatten()
            columns = (image[0] == other).any(0).nonzero().flatten()
            if len(rows):  # one whole rectangle
                inside = image[0][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
                assert (inside == other).all()


def test_shares_are_those_of_the_beta_distribution():
    images, labels = numbered(4000, 2)
    _, mixture = mix(images, labels, UP, seeded())
    assert mixture.share.mean().item() == pytest.approx(0.5, abs=0.02)
    variance = 1 / (4 * (2 * 0.4 + 1))
    assert mixture.share.var().item() == pytest.approx(variance, rel=0.05)


def test_both_take_turns_and_seeds_repeat():
    both = dataclasses.replace(NONE, mixup=1.0, cutmix=1.0)
    images, labels = numbered(8)
    kinds = set()
    for seed in range(20):
        mixed, mixture = mix(images, labels, both, seeded(seed))
        again, same = mix(images, labels, both, seeded(seed))
        assert torch.equal(mixed, again)
        assert torch.equal(mixture.share, same.share)
        kinds.add(bool((mixed == mixed.round()).all()))
    assert kinds == {True, False}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_without_mixing_is_torch_s(smoothing):
    output, labels = torch.randn(30, 3), torch.arange(30) % 3
    weights = torch.tensor([0.5, 1.0, 2.0])
    expected = F.cross_entropy(output, labels, weight=weights, label_smoothing=smoothing)
    plain = Mixture(labels, labels, torch.ones(30))
    assert torch.equal(mixture_loss(output, plain, weights, smoothing), expected)
    # Mixed with a share of all: the same by the other path.
    whole = Mixture(labels, labels.clone(), torch.ones(30))
    torch.testing.assert_close(mixture_loss(output, whole, weights, smoothing), expected)


def test_loss_of_a_mixture_is_that_of_its_soft_labels():
    output = torch.randn(20, 2)
    first, second = torch.arange(20) % 2, (torch.arange(20) // 2) % 2
    share = torch.rand(20)
    soft = share[:, None] * F.one_hot(first, 2) + (1 - share[:, None]) * F.one_hot(second, 2)
    ours = mixture_loss(output, Mixture(first, second, share), torch.ones(2), 0.0)
    torch.testing.assert_close(ours, F.cross_entropy(output, soft))
