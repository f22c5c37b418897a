import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from candid.models.forward import Images
from candid.models.networks import build
from candid.settings import TrainConfig
from candid.stats.distribution import fit_scale
from candid.training import checkpoint
from candid.training.loop import start, train_in_steps
from candid.training.loss import Loss
from candid.training.mixing import Mixture, identity_mixture, mixture_loss
from candid.training.several import LEAST_ENTROPY, SeveralLoss, target_weights
from candid.training.state import Task
from plain import PLAIN

SIZES = (2, 3, 2)
FAST = dataclasses.replace(
    PLAIN.train,
    steps=12,
    batch_size=16,
    evaluations=3,
    checkpoints=4,
    precision="float32",
    device="cpu",
)
STILL = dataclasses.replace(PLAIN.augment, flip=0, rotation=0, perspective=0, erase=0)


def task(n=120, side=12, missing=0.2):
    """Brightness, which third is bright, and which colour is; a share of each label is missing."""
    rng = np.random.default_rng(0)
    label = np.stack([rng.random(n) < 0.4, rng.integers(0, 3, n), rng.random(n) < 0.2], axis=1)
    pixels = rng.integers(0, 60, (n, side, side, 3))
    pixels += 60 * label[:, 0, None, None, None]
    for third in range(3):
        pixels[label[:, 1] == third, 4 * third : 4 * third + 4] += 70
    pixels[label[:, 2] == 1, ..., 0] += 60
    label = np.where(rng.random(label.shape) < missing, -1, label).astype(np.int16)
    some = np.flatnonzero((label >= 0).any(1))
    train, validation = some[some < n - 40], some[some >= n - 40]
    images = Images(pixels.astype(np.uint8), (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    return Task(images, label, sum(SIZES), train, validation, sizes=SIZES)


def outputs(n=30, seed=1):
    rng = np.random.default_rng(seed)
    label = np.stack([rng.integers(-1, size, n) for size in SIZES], axis=1)
    return torch.from_numpy(rng.normal(size=(n, sum(SIZES)))).float(), torch.from_numpy(label)


def by_torch(loss, output, labels, smoothing, sizes=SIZES):
    """The same from torch's own cross-entropy, label by label."""
    total = 0.0
    for t, (block, size) in enumerate(zip(output.split(sizes, dim=1), sizes, strict=True)):
        own = F.cross_entropy(
            block,
            labels[:, t],
            weight=loss.classes[t, :size],
            ignore_index=-1,
            label_smoothing=smoothing,
        )
        total += loss.targets[t] * own
    return total


@pytest.mark.parametrize("class_weights", ["none", "inverse"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_is_torch_s_cross_entropy_of_each_label_on_the_images_that_have_it(
    class_weights, smoothing
):
    config = TrainConfig(class_weights=class_weights, label_smoothing=smoothing)
    loss, (output, labels) = SeveralLoss(task(), config), outputs()
    ours, theirs = output.clone().requires_grad_(), output.clone().requires_grad_()
    loss(ours, identity_mixture(labels), np.arange(30)).backward()
    by_torch(loss, theirs, labels, smoothing).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_mixture_is_that_of_one_label_where_there_is_one():
    one = dataclasses.replace(task(missing=0), label=task(missing=0).label[:, :1], sizes=(2,))
    single = dataclasses.replace(one, label=one.label[:, 0], n_classes=2, sizes=())
    config = TrainConfig(class_weights="inverse", label_smoothing=0.1, mixup=0.4)
    output, first, second = torch.randn(9, 2), torch.arange(9) % 2, torch.arange(9) // 5
    share = torch.linspace(0, 1, 9)
    ours = SeveralLoss(one, config)(
        output, Mixture(first[:, None], second[:, None], share), np.arange(9)
    )
    weights = Loss(single, config, None).classes
    theirs = mixture_loss(output, Mixture(first, second, share), weights, 0.1)
    torch.testing.assert_close(ours, theirs)


def test_a_missing_label_counts_for_nothing_in_a_mixture_and_the_other_half_does():
    loss, (output, labels) = SeveralLoss(task(), TrainConfig(label_smoothing=0.0)), outputs(2)
    labels = torch.tensor([[0, -1, 1], [-1, 2, 0]])
    share = torch.tensor([0.25, 0.75])
    found = loss(output, Mixture(labels, labels.flip(0), share), np.arange(2))
    surprise = [-torch.log_softmax(b, 1) for b in output.split(SIZES, dim=1)]
    # Of the first label, image 0 has a quarter of its own, and image 1 a quarter of that one's.
    each = [
        (0.25 * surprise[0][0, 0] + 0.25 * surprise[0][1, 0]) / 0.5,
        (0.75 * surprise[1][0, 2] + 0.75 * surprise[1][1, 2]) / 1.5,
        (0.25 * surprise[2][0, 1] + 0.75 * surprise[2][0, 0]
         + 0.75 * surprise[2][1, 0] + 0.25 * surprise[2][1, 1]) / 2,
    ]  # fmt: skip
    torch.testing.assert_close(found, sum(w * x for w, x in zip(loss.targets, each, strict=True)))


def test_a_label_weighs_the_inverse_of_what_its_base_rates_give():
    n = 1000
    label = np.zeros((n, 3), np.int16)
    label[: n // 2, 0] = label[: n // 10, 1] = label[:1, 2] = 1
    some = dataclasses.replace(task(), label=label, train=np.arange(n), sizes=(2, 2, 2))
    weights = target_weights(some, TrainConfig())
    entropy = np.array([np.log(2), -(0.1 * np.log(0.1) + 0.9 * np.log(0.9)), LEAST_ENTROPY])
    np.testing.assert_allclose(weights, (1 / entropy) / (1 / entropy).sum())
    balanced = target_weights(some, TrainConfig(class_weights="inverse"))
    np.testing.assert_allclose(balanced, 1 / 3)  # with these, every label begins at log 2
    np.testing.assert_allclose(target_weights(some, TrainConfig(target_weights="none")), 1 / 3)


def trained(config=FAST, **more):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build("plain", side=12, n_classes=sum(SIZES))
    state = start(network, config)
    return state, list(train_in_steps(task(), state, config, STILL, quiet=True, **more))


def test_every_label_is_learned_though_many_are_missing():
    config = dataclasses.replace(FAST, steps=60, batch_size=32)
    state, rows = trained(config)
    assert rows[-1].validation_f1 > 0.9 > 0.7 > state.history[0].train_f1
    assert rows[-1].validation_accuracy > 0.9
    assert rows[-1].validation_loss < 0.4 < state.history[0].train_loss
    some, output = task(), None
    with torch.no_grad():
        output = state.measured.eval()(some.images.batch(some.validation, torch.device("cpu")))
    label = some.label[some.validation]
    right = [
        (block.argmax(1).numpy() == label[:, t])[label[:, t] >= 0].mean()
        for t, block in enumerate(output.split(SIZES, dim=1))
    ]
    assert min(right) > 0.8


@pytest.mark.parametrize("more", [{}, {"mixup": 0.3, "cutmix": 0.5}])
def test_goes_on_from_a_checkpoint_to_the_bit(tmp_path, more):
    config = dataclasses.replace(FAST, **more)
    whole, _ = trained(config)
    begun = tmp_path / "state.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build("plain", side=12, n_classes=sum(SIZES))
    state = start(network, config)
    next(train_in_steps(task(), state, config, STILL, save_to=begun, quiet=True))
    again = start(build("plain", side=12, n_classes=sum(SIZES)), config)
    checkpoint.restore(begun, again)
    list(train_in_steps(task(), again, config, STILL, quiet=True))
    for k, v in whole.network.state_dict().items():
        assert torch.equal(v, again.network.state_dict()[k]), k


# --- numbers -------------------------------------------------------------------------------------


def number_task(n=120):
    """The labels of `task`, and how bright a corner is, from 20 to 60, as a number."""
    rng, one = np.random.default_rng(5), task(n)
    value = rng.integers(20, 61, n).astype(float)
    pixels = one.images.pixels.copy()
    pixels[:, 6:, 6:] = (4 * (value - 20))[:, None, None, None].astype(np.uint8)
    scale = fit_scale(np.unique(value), value[one.train])
    code = np.searchsorted(scale.values, value).astype(np.int16)
    code[::7] = -1
    return dataclasses.replace(
        one,
        images=dataclasses.replace(one.images, pixels=pixels),
        label=np.column_stack([one.label, code]),
        n_classes=sum(SIZES) + scale.bins,
        sizes=(*SIZES, scale.bins),
        scales=(None, None, None, scale),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_number_s_loss_is_torch_s_divergence_from_the_soft_labels(smoothing):
    several, config = number_task(), TrainConfig(label_smoothing=smoothing)
    loss, scale = SeveralLoss(several, config), several.scales[3]
    output = torch.randn(30, several.n_classes)
    labels = torch.from_numpy(several.label[:30].astype(np.int64))
    own = output[:, sum(SIZES) :].log_softmax(1)
    known = labels[:, 3] >= 0
    soft = torch.from_numpy(scale.soft_labels)[labels[known, 3]].float()
    number = F.kl_div(own[known], soft, reduction="batchmean")
    theirs = by_torch(loss, output[:, : sum(SIZES)], labels[:, :3], smoothing, SIZES)
    theirs = theirs + loss.targets[3] * number
    ours = loss(output, identity_mixture(labels), np.arange(30))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    if not smoothing:
        measured = loss.compute_metrics(output.numpy(), labels.numpy())
        assert measured.loss == pytest.approx(ours.item(), rel=1e-4)


def test_base_rates_cost_the_same_but_of_what_leaves_more_open_than_two_classes_in_balance():
    several, config = number_task(), TrainConfig(label_smoothing=0.0)
    loss, scale = SeveralLoss(several, config), several.scales[3]
    train = several.label[several.train]
    rates = [np.bincount(c[c >= 0], minlength=s) for c, s in zip(train.T[:3], SIZES, strict=True)]
    codes = train[train[:, 3] >= 0, 3]
    rates.append(np.bincount(codes, minlength=len(scale.values)) @ scale.soft_labels)
    logits = [torch.log(torch.from_numpy(r / r.sum() + 1e-12)).float() for r in rates]
    costs, nats = [], []
    for t in range(4):
        only = np.full_like(train, -1)
        only[:, t] = train[:, t]
        output = torch.cat(logits).expand(len(train), -1)
        some = loss(
            output, identity_mixture(torch.from_numpy(only.astype(np.int64))), np.arange(len(train))
        )
        costs.append(some.item())
        share = rates[t] / rates[t].sum()
        nats.append(-(share[share > 0] * np.log(share[share > 0])).sum())
    soft = scale.soft_labels[codes]  # what these leave open themselves cannot be learned
    nats[3] += (soft * np.log(soft, where=soft > 0, out=np.zeros_like(soft))).sum(1).mean()
    beyond = np.maximum(1, np.array(nats) / np.log(2))
    assert beyond[0] == 1 and min(beyond[1], beyond[3]) > 1
    np.testing.assert_allclose(costs / beyond, costs[0], rtol=1e-3)


def test_a_number_is_learned_alone_and_its_skill_decides():
    several = number_task()
    alone = dataclasses.replace(
        several,
        label=several.label[:, 3:],
        n_classes=several.sizes[3],
        sizes=several.sizes[3:],
        scales=several.scales[3:],
        train=several.train[several.label[several.train, 3] >= 0],
        validation=several.validation[several.label[several.validation, 3] >= 0],
    )
    config = dataclasses.replace(FAST, steps=40, learning_rate=3e-3)
    torch.manual_seed(0)
    state = start(build("plain", side=12, n_classes=alone.n_classes), config, alone)
    rows = list(train_in_steps(alone, state, config, STILL, quiet=True))
    assert rows[-1].validation_f1 > 0.3  # it is off by a good third less than the median
    assert np.isnan(rows[-1].validation_accuracy)
    assert state.best_f1 == max(row.validation_f1 for row in rows)
