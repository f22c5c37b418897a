"""Weights and losses of groups, by brute force, by hand, and on a problem with a shortcut."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from candid.errors import TrainingError
from candid.training.balance import GroupDRO, group_cells, group_weights, independent_weights


def rows(n=500, seed=0):
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.3).astype(np.int16)
    hat = np.where(rng.random(n) < 0.9, label, 1 - label).astype(np.int16)
    hat[:5] = -1
    return label, hat


def test_every_combination_weighs_the_same():
    label, hat = rows()
    weight = group_weights(label, hat, limit=1000)
    sums = [
        weight[(label == y) & (hat == a)].sum()
        for y, a in itertools.product((0, 1), (-1, 0, 1))
        if ((label == y) & (hat == a)).any()
    ]
    np.testing.assert_allclose(sums, len(label) / len(sums))
    assert weight.mean() == pytest.approx(1)


def test_weights_are_capped_and_still_1_on_average():
    label = np.array([0] * 960 + [1] * 39 + [2])
    weight = group_weights(label, np.zeros(1000, int), limit=5)
    assert weight.max() == 5 and weight.mean() == pytest.approx(1)
    assert weight[0] == pytest.approx((1000 - 5 * 40) / 960)
    np.testing.assert_allclose(group_weights(label, label, limit=1), 1)


def test_cells_of_several_attributes():
    label, hat = rows()
    other = np.random.default_rng(1).integers(0, 3, len(label))
    cell, counts = group_cells(label, [hat, other])
    seen = sorted(set(zip(label.tolist(), hat.tolist(), other.tolist(), strict=True)))
    assert [seen[c] for c in cell] == list(
        zip(label.tolist(), hat.tolist(), other.tolist(), strict=True)
    )
    np.testing.assert_array_equal(counts, np.bincount(cell))
    order = np.random.default_rng(2).permutation(len(label))
    np.testing.assert_array_equal(
        group_weights(label, hat)[order], group_weights(label[order], hat[order])
    )
    assert len(group_weights(label[:0], hat[:0])) == 0


def test_reweighing_makes_the_label_independent_and_keeps_its_share_and_each_group_s():
    label, hat = rows()
    other = np.random.default_rng(1).integers(0, 3, len(label))
    weight = independent_weights(label, [hat, other], limit=1000)
    assert weight.mean() == pytest.approx(1)
    for a, b in itertools.product((-1, 0, 1), range(3)):
        mine = (hat == a) & (other == b)
        if not mine.any():
            continue
        assert weight[mine].sum() == pytest.approx(mine.sum())
        if len(set(label[mine].tolist())) == 2:  # else nothing can be weighed against it
            share = weight[mine & (label == 1)].sum() / mine.sum()
            assert share == pytest.approx(label.mean())
    known = hat >= 0  # four cells: by hand, the paper's formula
    share = (label[known] == 1).mean() * (hat[known] == 0).mean()
    expected = share / ((label[known] == 1) & (hat[known] == 0)).mean()
    found = independent_weights(label[known], hat[known])
    np.testing.assert_allclose(found[(label[known] == 1) & (hat[known] == 0)], expected)
    assert independent_weights(label, hat, limit=1.5).max() == 1.5
    np.testing.assert_allclose(independent_weights(label, np.zeros(len(label), int)), 1)
    assert len(independent_weights(label[:0], hat[:0])) == 0


def test_the_paper_s_algorithm_by_hand():
    torch.manual_seed(0)
    dro = GroupDRO([10, 20, 5], step_size=0.1, adjustment=2.0)
    q = [1 / 3] * 3
    for _ in range(20):
        losses, group = torch.rand(8) * 3, torch.randint(0, 2, (8,))  # group 2 never comes
        got = dro.loss(losses, group).item()
        mean = [0.0] * 3
        for g, n in ((0, 10), (1, 20)):
            mine = [x.item() for x, k in zip(losses, group, strict=True) if k == g]
            if mine:
                mean[g] = sum(mine) / len(mine) + 2.0 / math.sqrt(n)
        q = [w * math.exp(0.1 * m) for w, m in zip(q, mean, strict=True)]
        q = [w / sum(q) for w in q]
        assert got == pytest.approx(sum(w * m for w, m in zip(q, mean, strict=True)), rel=1e-4)
        np.testing.assert_allclose(dro.weight, q, rtol=1e-4)


def test_the_gradient_is_that_of_weighted_means():
    dro = GroupDRO([3, 3])
    losses = torch.tensor([1.0, 2.0, 5.0], requires_grad=True)
    dro.loss(losses, torch.tensor([0, 0, 1])).backward()
    q = dro.weight
    torch.testing.assert_close(losses.grad, torch.stack([q[0] / 2, q[0] / 2, q[1]]))
    assert not dro.weight.requires_grad


def test_one_group_is_the_mean_and_large_losses_do_not_overflow():
    losses = torch.rand(9)
    torch.testing.assert_close(
        GroupDRO([9]).loss(losses, torch.zeros(9, dtype=torch.long)), losses.mean()
    )
    dro = GroupDRO([1, 1], step_size=1.0)
    for _ in range(5):
        assert torch.isfinite(dro.loss(torch.tensor([1e4, 0.0]), torch.tensor([0, 1])))
    assert dro.weight.tolist() == [1, 0]


def test_going_on_from_a_checkpoint_is_exact():
    torch.manual_seed(0)
    batches = [(torch.rand(6), torch.randint(0, 3, (6,))) for _ in range(10)]
    whole, first, second = (GroupDRO([4, 5, 6], step_size=0.5) for _ in range(3))
    expected = [whole.loss(*b).item() for b in batches]
    got = [first.loss(*b).item() for b in batches[:4]]
    second.load_state_dict(first.state_dict())
    assert got + [second.loss(*b).item() for b in batches[4:]] == expected
    with pytest.raises(TrainingError, match="2 groups"):
        whole.load_state_dict({"weight": torch.ones(2)})


@pytest.mark.parametrize("how", [([],), ([3, 0],), ([3], -1.0)])
def test_impossible_groups(how):
    with pytest.raises(TrainingError) as caught:
        GroupDRO(how[0], step_size=how[1] if len(how) > 1 else 0.01)
    assert caught.value.expected and caught.value.todo


def test_impossible_cap():
    with pytest.raises(TrainingError):
        group_weights(np.zeros(3, int), np.zeros(3, int), limit=0.5)


def shortcut(n=2000, seed=0):
    """A weak true cue, and a strong one that contradicts the label in one row of twenty."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    hat = np.where(rng.random(n) < 0.95, label, 1 - label)
    x = np.stack([(label - 0.5) * 2 + rng.normal(0, 1, n), (hat - 0.5) * 4], axis=1)
    return torch.tensor(x, dtype=torch.float32), label, hat


def worst_group_accuracy(how):
    x, label, hat = shortcut()
    y = torch.tensor(label)
    cell, counts = group_cells(label, hat)
    group, weight = torch.tensor(cell), torch.tensor(group_weights(label, hat)).float()
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.4, weight_decay=1e-3)
    dro = GroupDRO(counts, step_size=0.1)
    for _ in range(80):
        losses = F.cross_entropy(net(x), y, reduction="none")
        loss = {"mean": losses.mean, "weights": lambda v=losses: (v * weight).mean()}.get(
            how, lambda v=losses: dro.loss(v, group)
        )()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    test, label, hat = shortcut(seed=1)
    right = (net(test).argmax(1).numpy()) == label
    return min(right[(label == y) & (hat == a)].mean() for y in (0, 1) for a in (0, 1))


def test_both_help_the_group_that_contradicts_the_shortcut():
    plain = worst_group_accuracy("mean")
    assert plain < 0.5
    assert worst_group_accuracy("weights") > plain + 0.2
    assert worst_group_accuracy("dro") > plain + 0.2
