"""What each of several processes does in test_distributed: `torchrun together.py FOLDER`.

Every figure is computed twice: alone, before the processes have joined, and together.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from candid.config import load_config
from candid.errors import CandidError
from candid.models.forward import Images
from candid.models.networks import build
from candid.settings.named_parts import trust
from candid.training import checkpoint, distributed
from candid.training.distributed import team
from candid.training.loop import start, train_in_steps
from candid.training.state import Task

PLAIN = load_config(recipe="plain")
BASE = replace(
    PLAIN.train,
    steps=6,
    batch_size=15,
    evaluations=2,
    precision="float32",
    device="cpu",
    learning_rate=1e-3,
)
# Name → network and settings. A batch of 15 images is no multiple of any number of processes.
TRAININGS = {
    "plain": ("plain", BASE),
    "deep": ("deep", replace(BASE, optimizer="muon", ema_decay=0.9, flip_tta=True, keep="last")),
    "vit": ("vit", replace(BASE, label_smoothing=0.1, optimizer="adamw")),
    "mixup": ("plain", replace(BASE, mixup=0.4, cutmix=1.0, class_weights="balanced")),
    # The other optimisers do not notice a gradient that is twice as large.
    "group": (
        "plain",
        replace(
            BASE, balance="group", balance_attributes=("hat",), optimizer="sgd", learning_rate=1e-2
        ),
    ),
    "dro": ("deep", replace(BASE, balance="dro", balance_attributes=("hat",))),
    "growing": ("deep", replace(BASE, optimizer="sgd", progressive_side=8, progressive_share=0.8)),
    "bfloat16": ("deep", replace(BASE, precision="bfloat16", steps=4)),
    "own": (
        "plain",
        replace(BASE, loss="__main__:focal", mixup=0.4, optimizer="sgd", learning_rate=1e-2),
    ),
    "several": ("several", replace(BASE, label_smoothing=0.1, mixup=0.4)),
}


def focal(output, labels):
    """A loss of the user's own."""
    each = F.cross_entropy(output, labels, reduction="none")
    return (1 - torch.exp(-each)) ** 2 * each


def dimmed(images, generator):
    """An augmentation of the user's own, which draws something for each image."""
    return images * torch.rand(len(images), 1, 1, 1, generator=generator).to(images)


class Seen(Images):
    """Notes which training rows are asked for."""

    rows: ClassVar[list[list[int]]] = []

    def batch(self, rows, device):
        if torch.is_grad_enabled():
            Seen.rows.append(rows.tolist())
        return super().batch(rows, device)


def task(kind="", n=110, side=16):
    rng = np.random.default_rng(0)
    label = (rng.random(n) < 0.3).astype(np.int16)
    hat = (rng.random(n) < 0.4).astype(np.int16)
    pixels = rng.integers(0, 160, (n, side, side, 3)) + 80 * label[:, None, None, None]
    images = Seen(pixels.astype(np.uint8), (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    split = np.arange(n - 37), np.arange(n - 37, n)
    if kind == "several":  # a third of the other label is missing
        other = np.where(np.arange(n) % 3 > 0, 2 * hat, -1).astype(np.int16)
        return Task(images, np.stack([label, other], axis=1), 5, *split, sizes=(2, 3))
    return Task(images, label, 2, *split, (hat,))


def network(name):
    torch.manual_seed(0)
    options = {"deep": {"width": 4}, "vit": {"width": 32, "depth": 1, "drop_path": 0.5}}
    if name == "several":
        return build("plain", side=16, n_classes=5)
    return build(name, side=16, n_classes=2, **options.get(name, {}))


for part in ("__main__:focal", "__main__:dimmed"):
    trust(part)


def trained(name, config, save_to=None):
    given = task(name)
    state = start(network(name), config, given)
    augment = replace(PLAIN.augment, extra="__main__:dimmed") if config.loss else PLAIN.augment
    list(train_in_steps(given, state, config, augment, quiet=True, save_to=save_to))
    return state


def curves(state):
    rows = [
        [r.train_loss, r.train_f1, r.validation_loss, r.validation_f1, r.validation_accuracy]
        for r in state.history
    ]
    return torch.tensor(rows, dtype=torch.float64)


def weights(state):
    return [v.double().flatten() for v in state.measured.state_dict().values()]


def everything():
    """What a training gives, by name, and which rows it saw."""
    found = {}
    for name, (kind, config) in TRAININGS.items():
        Seen.rows = []
        state = trained(kind, config)
        found[name] = {"curves": curves(state), "weights": weights(state), "rows": Seen.rows}
    return found


class Norms(nn.Module):
    """Batch normalisation of pictures and of vectors, with and without scales of their own."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm2d(3, momentum=None)
        self.second = nn.BatchNorm1d(3 * 16, affine=False)
        self.third = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x):
        x = self.third(self.first(x) ** 2 + x)
        return self.second(x.flatten(1)).square().sum(1, keepdim=True) * x.mean((2, 3))


class Draws(nn.Module):
    """Every way in which networks draw something for each image."""

    def forward(self, x):
        wide = x.to(memory_format=torch.channels_last)
        folded = x.reshape(len(x) * 3, 16)
        kept = x.new_empty(len(x), 1, 1, 1).bernoulli_(0.7)
        parts = [
            F.dropout(x, 0.3, True), F.dropout(wide, 0.3, True), F.dropout2d(x, 0.5, True),
            F.dropout(folded, 0.2, True).reshape(x.shape), x * kept,
            x * torch.rand(len(x), 1, 1, 1), x + torch.randn((len(x), 3, 4, 4)),
            F.dropout(x, 0.3, False), F.dropout(x.clone(), 0.4, True, True),
        ]  # fmt: skip
        return torch.stack([p.contiguous() for p in parts], 1).flatten(1)


def passed(module, dtype, n=7):
    """Output and gradients of a module for a batch, of which each process has its share."""
    group = team()
    everyone = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(1)).to(dtype) + 7
    with group.whole_batch(n) as mine:
        x = everyone[mine].clone().requires_grad_()
        torch.manual_seed(2)
        out = group.gather(module.to(dtype)(x), n)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    (out * weight).sum().backward()
    gradient = group.gather(x.grad, n)
    if group.size > 1:
        for p in module.parameters():
            torch.distributed.all_reduce(p.grad)
    values = [out.detach(), gradient, *(p.grad for p in module.parameters()), *module.buffers()]
    return [v.double().flatten() for v in values]


def modules():
    return {
        "norms": passed(Norms(), torch.float64),
        "draws": passed(Draws(), torch.float32),
    }


def told_and_shared(folder):
    """The small things that processes tell each other."""
    group = team()
    own = folder / f"only-{group.rank}.txt"
    own.write_text(f"by {group.rank}")
    with group.copied(own) as path:
        read = path.read_text()
    with group.copied(folder / "absent") as path:
        absent = path is None
    refused = []
    for check in (
        lambda: group.check_enough(images_per_batch=group.size - 1),
        lambda: group.check_agreed("images", str(group.rank)),
    ):
        try:
            check()
        except CandidError as error:
            refused.append(error.what)
    group.check_agreed("images", "same")
    shares = [range(13)[group.share(13)][0], range(13)[group.share(13)][-1]]
    return {
        "broadcast": group.broadcast(lambda: group.rank), "read": read, "absent": absent,
        "refused": refused, "shares": shares,
    }  # fmt: skip


def resumed(folder):
    """A training that stops after half its steps and goes on from the leader's checkpoint."""
    kind, config = TRAININGS["deep"]
    group = team()
    path = folder / f"checkpoint-{group.rank}"
    state = start(network(kind), config, task())
    half = replace(config, checkpoints=2)
    rows = train_in_steps(task(), state, half, PLAIN.augment, quiet=True, save_to=path)
    next(rows)  # the evaluation after half the steps, and with it a checkpoint
    rows.close()
    fresh = start(network(kind), config, task())
    with group.copied(path) as copy:
        checkpoint.restore(copy, fresh)
    list(train_in_steps(task(), fresh, config, PLAIN.augment, quiet=True))
    return {"curves": curves(fresh), "weights": weights(fresh)}


def main(folder):
    torch.set_num_threads(1)
    alone = None
    if os.environ["RANK"] == "0":
        alone = modules() | {"trainings": everything()}
    with distributed.join_group() as group:
        together = modules() | {
            "trainings": everything(),
            "talk": told_and_shared(folder),
            "resumed": resumed(folder),
            "size": group.size,
        }
    torch.save({"alone": alone, "together": together}, folder / f"{group.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
