import dataclasses
import math
import subprocess
import sys
from itertools import islice
from subprocess import PIPE

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from candid.errors import ConfigError, OutputError, RunError, TrainingError
from candid.models.device import to_device
from candid.models.forward import Images, forward, logits
from candid.models.networks import build
from candid.settings import TrainConfig
from candid.stats.metrics import weighted_f1_of_answers as weighted_f1
from candid.training import checkpoint
from candid.training.batches import row_batches
from candid.training.loop import (
    TrainingCurve,
    is_due,
    seed_generators,
    side_at,
    start,
    train_in_steps,
)
from candid.training.loss import Loss, class_weights
from candid.training.mixing import Mixture
from candid.training.optimizers import learning_rate
from candid.training.state import Task, TrainingState
from plain import PLAIN

STILL = dataclasses.replace(PLAIN.augment, flip=0, rotation=0, perspective=0, erase=0)
CHANGED = PLAIN.augment
FAST = dataclasses.replace(
    PLAIN.train,
    steps=12,
    batch_size=16,
    evaluations=3,
    checkpoints=4,
    precision="float32",
    device="cpu",
)


def task(n=120, side=12, seed=0, share=0.3):
    """Two classes that differ in brightness, three tenths of the second."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < share).astype(np.int16)
    pixels = rng.integers(0, 160, (n, side, side, 3)) + 80 * label[:, None, None, None]
    images = Images(pixels.astype(np.uint8), (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    return Task(images, label, 2, np.arange(n - 40), np.arange(n - 40, n))


def network(seed=0, side=12):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build("plain", side=side, n_classes=2)


def trained(config=FAST, augmentation=CHANGED, **more):
    state = start(network(config.seed), config)
    rows = list(train_in_steps(task(), state, config, augmentation, quiet=True, **more))
    return state, rows


def same(one, two):
    a, b = one.network.state_dict(), two.network.state_dict()
    return all(torch.equal(a[k], b[k]) for k in a)


def test_learns():
    state, rows = trained(dataclasses.replace(FAST, steps=20))
    assert rows[-1].validation_f1 > 0.95
    assert rows[-1].validation_loss < 0.3 < 0.6 < state.history[0].train_loss
    assert state.best_f1 == max(r.validation_f1 for r in rows)


def test_first_step_is_that_of_plain_torch():
    """Without augmentation: the batch, the weighted loss, dropout and Adam, written out."""
    config = dataclasses.replace(FAST, steps=1)
    state, _ = trained(config, STILL)
    data, net = task(), network()
    weight = torch.tensor(
        compute_class_weight("balanced", classes=np.arange(2), y=data.label[data.train])
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    rows = next(row_batches(data.train, 0, config))
    pixels = torch.from_numpy(data.images.pixels[rows]).permute(0, 3, 1, 2)
    with torch.random.fork_rng():
        seed_generators(config.seed, 0, torch.device("cpu"))
        output = net.train()((pixels / 255 - 0.4) / 0.2)
    labels = torch.from_numpy(data.label[rows]).long()
    loss = F.cross_entropy(output, labels, weight=weight.float())
    loss.backward()
    optimizer.step()
    assert state.history[0].train_loss == pytest.approx(loss.item(), rel=1e-5)
    for ours, theirs in zip(state.network.parameters(), net.parameters(), strict=True):
        # Adam's first step is close to ±learning rate, also where a gradient is almost 0.
        assert ((ours - theirs).abs() < 1e-5).float().mean() > 0.99


def test_same_seed_same_weights_and_other_seed_others():
    one, _ = trained()
    two, _ = trained()
    other, _ = trained(dataclasses.replace(FAST, seed=1))
    assert same(one, two)
    assert not same(one, other)


def test_the_caller_s_random_numbers_stay_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(dataclasses.replace(FAST, steps=2))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_going_on_from_a_checkpoint_is_exact(tmp_path, stop):
    config = dataclasses.replace(FAST, checkpoints=12, evaluations=12)
    whole, whole_rows = trained(config)
    path = tmp_path / "state.safetensors"
    killed = start(network(config.seed), config)
    for row in train_in_steps(task(), killed, config, PLAIN.augment, save_to=path, quiet=True):
        if row.step >= stop:
            break
    again = start(network(99), config)  # its fresh weights must not matter
    checkpoint.restore(path, again)
    rows = list(train_in_steps(task(), again, config, PLAIN.augment, quiet=True))
    assert same(whole, again)
    assert all(torch.equal(whole.best[k], again.best[k]) for k in whole.best)
    assert (whole.best_step, whole.best_f1) == (again.best_step, again.best_f1)
    assert [r.images for r in again.history] == [16 * r.step for r in again.history]
    untimed = [dataclasses.replace(r, seconds=0) for r in whole.history]
    # NaN is not equal to itself: compare what is printed.
    assert repr([dataclasses.replace(r, seconds=0) for r in again.history]) == repr(untimed)
    assert rows[-1].step == whole_rows[-1].step == 12
    seconds = [r.seconds for r in again.history]
    assert seconds == sorted(seconds)


def test_a_checkpoint_comes_by_time_before_it_comes_by_batches(tmp_path):
    config = dataclasses.replace(FAST, checkpoints=1, evaluations=12, checkpoint_seconds=1e-9)
    path = tmp_path / "state.safetensors"
    for _ in train_in_steps(
        task(), start(network(), config), config, CHANGED, save_to=path, quiet=True
    ):
        break
    again, (whole, _) = start(network(99), config), trained(config)
    checkpoint.restore(path, again)
    assert again.step == 1
    list(train_in_steps(task(), again, config, CHANGED, quiet=True))
    assert same(whole, again)


@pytest.mark.parametrize(
    ("seconds", "slow", "saved"),
    [
        (30, 1, [30, 61, 75, 106]),  # due at 75
        (30, 2, [30, 72, 75, 117]),  # slow: not before 20 times as long has passed
        (0, 1, [75]),
    ],
)
def test_the_time_of_a_checkpoint(monkeypatch, seconds, slow, saved):
    now, found = 0, []

    def save(path, state):
        nonlocal now
        found.append(now)
        now += slow

    monkeypatch.setattr(checkpoint, "save", save)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    saver, silent = checkpoint.Saver("here", seconds), checkpoint.Saver(None, seconds)
    while now < 120:
        was = now
        if saver.should_save(due=now == 75):
            saver(None)
        assert not silent.should_save(due=True)
        now += now == was
    assert found == saved


class Odd(torch.optim.Optimizer):
    """Keeps, beside a tensor, what is none: per parameter and per group."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1, "betas": (0.9, 0.5), "seen": 0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            group["seen"] += 1
            for p in group["params"]:
                kept = self.state[p]
                if not kept:
                    kept |= {"scale": 1.0, "count": 0, "velocity": torch.zeros_like(p), "no": None}
                kept["count"] += 1
                kept["scale"] += 0.1 * p.grad.norm().item() / kept["count"]
                kept["velocity"].mul_(group["betas"][0]).add_(p.grad)
                p.sub_(kept["velocity"], alpha=group["lr"] / group["seen"] / kept["scale"])


@pytest.mark.parametrize(
    "optimizer",
    [
        Odd,
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.05),  # keeps nothing
        lambda p: torch.optim.AdamW(p, lr=1e-3, amsgrad=True),
        lambda p: torch.optim.NAdam(p, lr=1e-3),
    ],
)
def test_going_on_is_exact_for_other_optimisers_and_for_buffers(tmp_path, optimizer):
    config = dataclasses.replace(FAST, checkpoints=12, evaluations=12)

    def fresh(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = torch.nn.Sequential(
                torch.nn.Conv2d(3, 8, 3),
                torch.nn.BatchNorm2d(8),
                torch.nn.ReLU(),
                torch.nn.Dropout(0.3),
                torch.nn.Flatten(),
                torch.nn.Linear(800, 2),
            )
        net = to_device(net, torch.device("cpu"))
        return TrainingState(net, optimizer(net.parameters()))

    whole = fresh(0)
    list(train_in_steps(task(), whole, config, CHANGED, quiet=True))
    path = tmp_path / "state.safetensors"
    for row in train_in_steps(task(), fresh(0), config, CHANGED, save_to=path, quiet=True):
        if row.step == 5:
            break
    again = fresh(99)
    checkpoint.restore(path, again)
    list(train_in_steps(task(), again, config, CHANGED, quiet=True))
    assert same(whole, again)  # the running means of the batch norm among them
    assert whole.network[1].num_batches_tracked == 12
    kept, theirs = (
        checkpoint._flatten_state(whole.optimizer),
        checkpoint._flatten_state(again.optimizer),
    )
    assert kept.keys() == theirs.keys()
    assert all(repr(kept[k]) == repr(theirs[k]) for k in kept)  # types as well: (0.9,) is not [0.9]
    assert all(torch.equal(whole.best[k], again.best[k]) for k in whole.best)


def test_a_finished_training_has_nothing_left_to_do():
    state, _ = trained(dataclasses.replace(FAST, steps=3))
    assert (
        list(train_in_steps(task(), state, dataclasses.replace(FAST, steps=2), STILL, quiet=True))
        == []
    )


def test_only_the_own_device_is_seeded(monkeypatch):
    """Of two cards (stand-ins: generators of the CPU) the other keeps its random numbers."""
    cards = (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2))
    monkeypatch.setattr(torch.cuda, "default_generators", cards)
    before, cpu = cards[0].get_state(), torch.get_rng_state()
    seed_generators(0, 7, torch.device("cuda:1"))
    assert torch.equal(cards[0].get_state(), before)
    assert torch.equal(torch.get_rng_state(), cpu)
    one = torch.rand(3, generator=cards[1])
    seed_generators(0, 7, torch.device("cuda:1"))
    assert torch.equal(torch.rand(3, generator=cards[1]), one)
    with torch.random.fork_rng():
        seed_generators(0, 7, torch.device("cpu"))
        assert torch.equal(torch.rand(3), one)
    assert torch.equal(cards[0].get_state(), before)


def test_checkpoint_of_another_network_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    state, _ = trained(dataclasses.replace(FAST, steps=1))
    checkpoint.save(path, state)
    with pytest.raises(RunError, match=r"state\.safetensors is damaged or comes from another"):
        checkpoint.restore(path, start(network(side=16), FAST))


def test_what_a_killed_writer_left_is_removed_unless_another_writes(tmp_path):
    path = tmp_path / "checkpoint" / "state.safetensors"
    left = [path.with_name(name) for name in (".state.safetensors.ab12.part", ".tmpX9y8z7")]
    kept = [path, path.with_name("framing.safetensors"), path.with_name("notes.part")]
    path.parent.mkdir()
    for file in (*left, *kept):
        file.write_bytes(b"half")
    hold = (
        "import pathlib, sys\n"
        "from candid.training.checkpoint import sole_writer\n"
        "with sole_writer(pathlib.Path(sys.argv[1])):\n"
        "    pathlib.Path(sys.argv[1]).with_name('.tmpLive').touch()\n"
        "    print('holds', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", hold, path]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as other:
        assert other.stdout.readline() == "holds\n"
        assert [file.exists() for file in left] == [False, False]
        with checkpoint.sole_writer(path):
            assert path.with_name(".tmpLive").exists()  # another living process writes it
        other.kill()
    with checkpoint.sole_writer(path):
        assert not path.with_name(".tmpLive").exists()
    assert all(file.exists() for file in kept)


def test_a_checkpoint_of_another_format_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    state, _ = trained(dataclasses.replace(FAST, steps=1))
    monkeypatch.setattr(checkpoint, "FORMAT", 1)
    checkpoint.save(path, state)
    with pytest.raises(RunError, match=r"state\.safetensors has the format 1, which"):
        checkpoint.restore(path, start(network(), FAST))


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04." * 10])
def test_damaged_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"state\.safetensors is damaged or comes from another"):
        checkpoint.restore(path, start(network(), FAST))


def test_a_full_disk_is_told_and_leaves_the_old_checkpoint(tmp_path):
    """The library that writes it has an error of its own; the limit stands for the disk."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "state.safetensors"
    state, _ = trained(dataclasses.replace(FAST, steps=1))
    checkpoint.save(path, state)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match="larger than is allowed"):
            checkpoint.save(path, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_loss_that_is_not_finite_stops_training():
    config = dataclasses.replace(FAST, learning_rate=1e30)
    with pytest.raises(TrainingError, match="loss of batch"):
        trained(config)


def test_nothing_is_read_off_the_device_between_evaluations(monkeypatch):
    read, steps = TrainingCurve.read, []

    def counted(self):
        steps.append(self.state.step)
        read(self)

    monkeypatch.setattr(TrainingCurve, "read", counted)
    state, _ = trained()
    assert steps == [4, 8, 12]
    assert [row.step for row in state.history] == list(range(1, 13))


def test_every_image_once_per_epoch_and_orders_differ():
    rows = np.arange(100, 150)
    drawn = list(islice(row_batches(rows, 0, TrainConfig(batch_size=12)), 25))
    assert {len(batch) for batch in drawn} == {12}
    epochs = np.concatenate(drawn).reshape(6, 50)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), rows)
    assert len({tuple(epoch) for epoch in epochs}) == 6


@pytest.mark.parametrize("step", [0, 3, 4, 5, 9])
def test_batches_can_start_anywhere(step):
    rows, config = np.arange(50), TrainConfig(batch_size=12)
    from_start = list(islice(row_batches(rows, 0, config), 12))
    from_there = list(islice(row_batches(rows, step, config), 12 - step))
    np.testing.assert_array_equal(from_start[step:], from_there)


def test_fewer_images_than_a_batch_make_a_smaller_batch():
    (batch,) = islice(row_batches(np.arange(5), 0, TrainConfig(batch_size=256)), 1)
    assert sorted(batch) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("steps", "times"), [(635, 20), (10, 3), (5, 20), (7, 1)])
def test_due_is_evenly_spread_and_ends_with_the_last_step(steps, times):
    when = [s for s in range(1, steps + 1) if is_due(s, steps, times)]
    assert len(when) == min(steps, times)
    assert when[-1] == steps
    assert max(np.diff([0, *when])) <= math.ceil(steps / min(steps, times))


def test_class_weights_are_scikit_learn_s():
    data = task()
    expected = compute_class_weight("balanced", classes=np.arange(2), y=data.label[data.train])
    np.testing.assert_allclose(class_weights(data, FAST), expected, rtol=1e-6)
    assert class_weights(data, TrainConfig(class_weights="none")).tolist() == [1, 1]


def test_weighted_f1_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    for classes in (2, 3, 7):
        label, prediction = rng.integers(0, classes, (2, 50))
        expected = f1_score(label, prediction, average="weighted")
        assert weighted_f1(label, prediction) == pytest.approx(expected, abs=1e-12)


def test_bfloat16_is_near_float32():
    net, data = network().eval(), task()
    batch = data.images.batch(np.arange(10), torch.device("cpu"))
    low, full = forward(net, batch, True), forward(net, batch, False)
    assert low.dtype == torch.float32
    assert 0 < (low - full).abs().max() < 0.05 * full.abs().max()


# --- what goes beyond the description ------------------------------------------------------------


EVERYTHING = dataclasses.replace(
    FAST,
    optimizer="muon",
    schedule="cosine",
    warmup=0.2,
    weight_decay=0.01,
    ema_decay=0.9,
    label_smoothing=0.1,
    mixup=0.2,
    cutmix=0.5,
    progressive_side=8,
    flip_tta=True,
    checkpoints=12,
    evaluations=12,
)


def deep(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build("deep", side=16, n_classes=2, width=4)


def test_going_on_with_everything_is_exact(tmp_path):
    whole = start(deep(), EVERYTHING)
    list(train_in_steps(task(side=16), whole, EVERYTHING, CHANGED, quiet=True))
    path = tmp_path / "state.safetensors"
    killed = start(deep(), EVERYTHING)
    for row in train_in_steps(task(side=16), killed, EVERYTHING, CHANGED, save_to=path, quiet=True):
        if row.step == 5:
            break
    again = start(deep(99), EVERYTHING)
    checkpoint.restore(path, again)
    list(train_in_steps(task(side=16), again, EVERYTHING, CHANGED, quiet=True))
    assert same(whole, again)
    ours, theirs = again.ema.state_dict(), whole.ema.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert again.history[-1].validation_loss == whole.history[-1].validation_loss


def test_the_average_is_that_of_torch():
    config = dataclasses.replace(FAST, ema_decay=0.8, learning_rate=0.01, optimizer="sgd")
    state = start(deep(), config)
    theirs = torch.optim.swa_utils.AveragedModel(
        deep(),
        avg_fn=lambda old, new, n: old + (new - old) * (1 - min(0.8, n / (9 + n))),
        use_buffers=True,
    )
    theirs.n_averaged += 1  # the fresh weights are the first of the average
    for _ in train_in_steps(
        task(side=16), state, dataclasses.replace(config, evaluations=12), STILL, quiet=True
    ):
        theirs.update_parameters(state.network)
        theirs.n_averaged.fill_(state.step + 1)
    theirs_now = theirs.module.state_dict()
    for name, value in state.ema.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, theirs_now[name], rtol=1e-4, atol=1e-6)
    assert state.measured is state.ema
    assert not any(p.requires_grad for p in state.ema.parameters())


def test_the_average_is_what_is_measured_and_kept():
    config = dataclasses.replace(FAST, ema_decay=0.5)
    state = start(network(), config)
    data = task()
    rows = list(train_in_steps(data, state, config, STILL, quiet=True))
    output = logits(
        state.ema, data.images, data.validation, device=torch.device("cpu"), bfloat16=False
    )
    right = output.argmax(1) == data.label[data.validation]
    assert rows[-1].validation_accuracy == right.mean()
    kept = state.ema.state_dict()
    if state.best_step == state.step:
        assert all(torch.equal(kept[k], state.best[k]) for k in kept)
    assert not all(torch.equal(kept[k], v) for k, v in state.network.state_dict().items())


def test_mirrored_logits_do_not_know_left_from_right():
    net, data = network(), task()
    mirrored = Images(data.images.pixels[:, :, ::-1].copy(), data.images.mean, data.images.std)
    rows = np.arange(20)
    common = {"device": torch.device("cpu"), "bfloat16": False}
    one = logits(net, data.images, rows, flip_tta=True, **common)
    np.testing.assert_allclose(one, logits(net, mirrored, rows, flip_tta=True, **common), atol=1e-6)
    each = [logits(net, images, rows, **common) for images in (data.images, mirrored)]
    np.testing.assert_allclose(one, np.mean(each, axis=0), atol=1e-6)
    assert not np.allclose(*each)


def test_training_stops_when_patience_ends(tmp_path):
    config = dataclasses.replace(
        FAST, steps=50, evaluations=50, checkpoints=50, patience=3, learning_rate=0.0
    )
    state, rows = trained(config, save_to=tmp_path / "state.safetensors")
    assert state.best_step == 1  # nothing is ever better than the first
    assert [r.step for r in rows] == [1, 2, 3, 4]
    again = start(network(), config)
    checkpoint.restore(tmp_path / "state.safetensors", again)
    assert list(train_in_steps(task(), again, config, CHANGED, quiet=True)) == []


@pytest.mark.parametrize("full", [64, 50, 40])
def test_images_grow_to_their_full_size(full):
    config = dataclasses.replace(FAST, steps=100, progressive_side=32, progressive_share=0.5)
    sides = [side_at(step, config, full) for step in range(100)]
    assert sides == sorted(sides)
    assert sides[0] == 32
    assert set(sides[50:]) == {full}
    assert set(sides) <= {*range(32, full, 8), full}
    assert {side_at(step, FAST, full) for step in range(12)} == {full}


def test_small_images_are_what_the_network_gets():
    seen = []
    net = deep()
    net.register_forward_pre_hook(lambda m, x: seen.append(x[0].shape[-1]) if m.training else None)
    config = dataclasses.replace(FAST, progressive_side=8, progressive_share=0.5)
    list(train_in_steps(task(side=16), start(net, config), config, CHANGED, quiet=True))
    assert seen == [8] * 6 + [16] * 6


def test_learning_rates_are_those_of_the_schedule():
    config = dataclasses.replace(FAST, schedule="cosine", warmup=0.25, learning_rate=0.01)
    state, _ = trained(config)
    expected = [learning_rate(step, config) for step in range(12)]
    assert [row.learning_rate for row in state.history] == expected
    assert expected[0] < expected[2] > expected[-1] > 0


# --- balance between groups ----------------------------------------------------------------------


def grouped(n=200):
    """A task in which an attribute says the label for nine in ten, and the picture always."""
    data = task(n)
    rng = np.random.default_rng(1)
    cue = np.where(rng.random(n) < 0.9, data.label, 1 - data.label).astype(np.int16)
    return dataclasses.replace(data, codes=(cue,))


BALANCED = dataclasses.replace(
    FAST, balance="group", balance_attributes=("cue",), checkpoints=12, evaluations=12
)


@pytest.mark.parametrize("balance", ["group", "reweighing"])
def test_the_first_loss_weighs_groups_as_asked(balance):
    data = grouped()
    config = dataclasses.replace(BALANCED, balance=balance, steps=1, batch_size=160, evaluations=1)
    state = start(network(), config, data)
    before = {k: v.clone() for k, v in state.network.state_dict().items()}
    list(train_in_steps(data, state, config, STILL, quiet=True))
    net = network()
    net.load_state_dict(before)
    rows = next(row_batches(data.train, 0, config))
    with torch.random.fork_rng():
        seed_generators(config.seed, 0, torch.device("cpu"))
        batch = data.images.batch(rows, torch.device("cpu"))
        output = net.train()(batch.contiguous(memory_format=torch.channels_last))
    each = F.cross_entropy(output, torch.from_numpy(data.label[rows]).long(), reduction="none")
    label, cue = data.label[rows], data.codes[0][rows]
    cells = [(label == a, cue == b) for a in (0, 1) for b in (0, 1)]
    means = [each[torch.from_numpy(a & b)].mean().item() for a, b in cells]
    # The batch is the whole training set, so weights by group are a mean of the groups' means, and
    # reweighing is one in which label and cue are independent.
    weights = [1 if balance == "group" else a.mean() * b.mean() for a, b in cells]
    expected = np.average(means, weights=weights)
    assert state.history[0].train_loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("balance", ["group", "reweighing", "dro"])
def test_going_on_with_balance_is_exact(tmp_path, balance):
    config = dataclasses.replace(BALANCED, balance=balance)
    data, path = grouped(), tmp_path / "state.safetensors"
    whole = start(network(), config, data)
    list(train_in_steps(data, whole, config, CHANGED, quiet=True))
    killed = start(network(), config, data)
    for row in train_in_steps(data, killed, config, CHANGED, save_to=path, quiet=True):
        if row.step == 5:
            break
    again = start(network(99), config, data)
    checkpoint.restore(path, again)
    list(train_in_steps(data, again, config, CHANGED, quiet=True))
    assert same(whole, again)
    if balance == "dro":
        assert torch.equal(whole.dro.weight, again.dro.weight)
        assert whole.dro.weight.sum().item() == pytest.approx(1)
        assert whole.dro.weight.unique().numel() == 4


def test_groups_without_attributes_and_mixtures_of_groups_are_refused():
    with pytest.raises(ConfigError, match="between which groups"):
        TrainConfig(balance="group")
    with pytest.raises(ConfigError, match="no mixtures"):
        TrainConfig(balance="dro", balance_attributes=("cue",), mixup=0.2)
    config = dataclasses.replace(BALANCED, balance="dro")
    with pytest.raises(TrainingError, match="nothing that follows"):
        state = start(network(), config)
        state.dro = None
        loss = Loss(grouped(), config, None)
        loss.cell = np.zeros(200, np.int64)
        loss(torch.zeros(2, 2), Mixture(torch.zeros(2).long(), None, None), np.arange(2))
