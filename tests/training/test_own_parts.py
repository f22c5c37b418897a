"""A loss and an augmentation of one's own, held to torch's, to a kill, and to who may name them."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from test_loop import CHANGED, FAST, STILL, network, same, task, trained

import candid
from candid.config import read_config, to_toml
from candid.errors import ConfigError
from candid.settings.named_parts import distrust, import_trusted_part, trust
from candid.training import checkpoint
from candid.training.augment import augment
from candid.training.balance import GroupDRO, group_cells
from candid.training.loop import start, train_in_steps
from candid.training.loss import Loss
from candid.training.mixing import Mixture, identity_mixture

LOSS, EXTRA = "own_loss_of_a_test:each", "own_loss_of_a_test:dimmed"
SOURCE = """
import torch
from torch.nn import functional as F

def each(output, labels):
    return F.cross_entropy(output, labels, reduction="none")

def focal(output, labels):
    each = F.cross_entropy(output, labels, reduction="none")
    return (1 - torch.exp(-each)) ** 2 * each

def mean(output, labels):
    return F.cross_entropy(output, labels)

def dimmed(images, generator):
    return images * torch.rand(len(images), 1, 1, 1, generator=generator).to(images)

def cut(images, generator):
    return images[:, :, 1:]
"""


@pytest.fixture(autouse=True)
def own_part(tmp_path, monkeypatch):
    """A module in the working folder; nothing of it stays."""
    (tmp_path / "own_loss_of_a_test.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    names = [f"own_loss_of_a_test:{n}" for n in ("each", "focal", "mean", "dimmed", "cut")]
    for name in names:
        trust(name)
    yield
    sys.modules.pop("own_loss_of_a_test", None)
    for name in names:
        distrust(name)


def losses(config):
    """The batch loss of a setting, with cross-entropy and with one's own that is the same."""
    given = replace(task(), codes=((np.arange(120) % 3 == 0).astype(np.int16),))
    for loss in ("", LOSS):
        dro = GroupDRO(group_cells(*given.groups)[1]) if config.balance == "dro" else None
        yield Loss(given, replace(config, loss=loss), dro), given


@pytest.mark.parametrize("setting", [
    {}, {"class_weights": "inverse"}, {"mixup": 0.4},
    {"balance": "group", "balance_attributes": ("hat",)},
    {"balance": "dro", "balance_attributes": ("hat",)},
])  # fmt: skip
def test_cross_entropy_by_hand_is_cross_entropy(setting):
    config = replace(FAST, label_smoothing=0.0, **setting)
    torch.manual_seed(0)
    output, rows = torch.randn(16, 2), np.arange(16)
    found = []
    for loss, given in losses(config):
        labels = torch.from_numpy(given.label[rows].astype(np.int64))
        mixture = identity_mixture(labels)
        if config.mixup:
            mixture = Mixture(labels, labels.flip(0), torch.linspace(0.5, 1, 16))
        measured = loss.compute_metrics(output.numpy(), given.label[rows])
        found.append([loss(output, mixture, rows).item(), *measured])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_another_loss_trains_otherwise_and_is_what_is_measured():
    config = replace(FAST, loss="own_loss_of_a_test:focal")
    state, rows = trained(config)
    other, plain = trained(replace(FAST, label_smoothing=0.0))
    assert not same(state, other)
    assert rows[-1].validation_loss < plain[-1].validation_loss


def test_a_training_that_was_stopped_goes_on_with_them(tmp_path):
    config = replace(FAST, loss="own_loss_of_a_test:focal")
    how = replace(CHANGED, extra=EXTRA)
    whole, _ = trained(config, how)
    stopped = start(network(config.seed), config)
    file = tmp_path / "state.safetensors"
    steps = train_in_steps(task(), stopped, config, how, save_to=file, quiet=True)
    assert [row.step for row in islice(steps, 2)] == [4, 8]
    steps.close()
    again = start(network(1), config)
    checkpoint.restore(file, again)
    assert again.step < 12
    list(train_in_steps(task(), again, config, how, quiet=True))
    assert same(again, whole) and not same(again, trained(config)[0])


def test_the_augmentation_comes_last_and_draws_from_the_generator():
    images = torch.randn(4, 3, 8, 8)
    plain, own = (
        augment(images, replace(STILL, extra=extra), torch.Generator().manual_seed(1))
        for extra in ("", EXTRA)
    )
    factor = (own / plain).flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-3, atol=1e-4)
    assert len({*factor[:, 0].tolist()}) == 4
    again = augment(images, replace(STILL, extra=EXTRA), torch.Generator().manual_seed(1))
    assert torch.equal(own, again)


def test_what_they_must_give_is_said():
    with pytest.raises(ConfigError, match=r"mean gives a Tensor of the shape \(\)"):
        trained(replace(FAST, loss="own_loss_of_a_test:mean"))
    with pytest.raises(ConfigError, match="images of the same shape"):
        augment(torch.zeros(2, 3, 8, 8), replace(STILL, extra="own_loss_of_a_test:cut"),
                torch.Generator())  # fmt: skip


def test_who_names_them_may_use_them_and_a_file_may_not(tmp_path):
    for name in (LOSS, EXTRA):
        distrust(name)
    words = (f"train.loss={LOSS}", f"augment.extra={EXTRA}")
    config = candid.load_config(overrides=words)
    assert (config.train.loss, config.augment.extra) == (LOSS, EXTRA)
    assert import_trusted_part(LOSS, "The loss").__name__ == "each"
    (tmp_path / "config.toml").write_text(to_toml(config))
    for name in (LOSS, EXTRA):
        distrust(name)
    assert read_config(tmp_path / "config.toml") == config
    assert candid.load_config(file=tmp_path / "config.toml") == config
    for setting, what in (({"loss": LOSS}, "The loss"), ({}, "The augmentation")):
        with pytest.raises(ConfigError, match=f"{what} is made by own_loss_of_a_test"):
            trained(replace(FAST, **setting), replace(CHANGED, extra=EXTRA))


def test_digests_of_runs_without_them_stay():
    config = candid.load_config()
    assert "loss=" not in repr(config.train) and "extra" not in repr(config.augment)
    assert f"loss={LOSS!r}" in repr(replace(config.train, loss=LOSS))


def test_what_goes_with_neither_is_said():
    with pytest.raises(ConfigError, match="names no function"):
        candid.load_config(overrides=("train.loss=focal",))
    with pytest.raises(ConfigError, match="fitted at once"):
        candid.load_config(recipe="features", overrides=(f"train.loss={LOSS}",))
