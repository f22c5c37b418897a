"""The training loop, readable from top to bottom.

Everything random in a step comes from the seed and the step's number alone, so a run that was
killed and goes on from a checkpoint draws what it would have drawn: the same batches, the same
changes of every image, the same dropout. So do several processes that train together: each takes
its share of every batch, and all have the same loss (`distributed`).
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from candid.data.streaming import Streamed
from candid.errors import ConfigError, TrainingError
from candid.models.device import captured, pick_device, placed, uses_bfloat16
from candid.models.forward import Images, forward, logits
from candid.progress import progress
from candid.records import HistoryRow
from candid.settings import AugmentConfig, TrainConfig
from candid.training import checkpoint
from candid.training.augment import augment
from candid.training.balance import GroupDRO, group_cells, group_weights
from candid.training.batches import Feed, FromShards, Packed
from candid.training.distributed import Team, team
from candid.training.mixing import Mixture, mix, mixture_loss, unmixed
from candid.training.optimizers import learning_rate, optimizer_of
from candid.training.state import State


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be learned: packed images, their labels, and which rows are for what.

    `label` holds (n,) indices of classes; `train` and `validation` are rows without missing labels;
    `codes` (n,) values of the attributes between which the loss is balanced. Where training streams
    its images from their shards, `streamed` says where those lie; then not all are packed.
    """

    images: Images
    label: NDArray[np.int16]
    classes: int
    train: NDArray[np.intp]
    validation: NDArray[np.intp]
    codes: tuple[NDArray[np.int16], ...] = ()
    streamed: Streamed | None = None

    def on_rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """What is known of each training row, at the place of that row among all (0 elsewhere)."""
        everywhere = np.zeros(len(self.label), values.dtype)
        everywhere[self.train] = values
        return everywhere

    @property
    def groups(self) -> tuple[NDArray[np.int16], list[NDArray[np.int16]]]:
        """Label and codes of the training rows: what makes their groups."""
        return self.label[self.train], [codes[self.train] for codes in self.codes]


def start(network: nn.Module, config: TrainConfig, task: Task | None = None) -> State:
    """A network about to be trained, on the device that the settings name.

    `task` is needed where groups are followed (`train.balance = "dro"`).
    """
    device = pick_device(config.device)
    network = placed(network, device)
    averaged = copy.deepcopy(network).requires_grad_(False).eval() if config.average else None
    dro = None
    if config.balance == "dro" and task is not None:
        dro = GroupDRO(group_cells(*task.groups)[1], device=device)
    return State(network, optimizer_of(network, config), averaged, dro)


class Loss:
    """The loss of a batch: by class, or balanced between groups.

    Without balance it is the weighted cross-entropy of `mixture_loss`. With `group`, each image's
    loss is weighted by its group and averaged over the weights; with `dro`, `GroupDRO` weighs.
    """

    def __init__(self, task: Task, config: TrainConfig, dro: GroupDRO | None) -> None:
        if config.balance == "dro" and dro is None:
            raise TrainingError(
                "There are groups to follow and nothing that follows them.",
                expected="a state that start(network, config, task) made",
                todo="give start the task",
            )
        self.smoothing, self.dro = config.label_smoothing, dro
        self.classes = class_weights(task, config)
        self.row: NDArray[Any] | None = None  # of each row: its weight, or its group for `dro`
        if dro is not None:
            self.row = task.on_rows(group_cells(*task.groups)[0])
        elif config.balance == "group":
            self.row = task.on_rows(group_weights(*task.groups))

    def __call__(self, output: Tensor, mixture: Mixture, rows: NDArray[np.intp]) -> Tensor:
        """A scalar with its graph."""
        if self.row is None:
            weights = self.classes.to(output.device)
            return mixture_loss(output, mixture, weights, self.smoothing)
        each = F.cross_entropy(
            output, mixture.first, label_smoothing=self.smoothing, reduction="none"
        )
        known = torch.from_numpy(self.row[rows]).to(each.device)
        if self.dro is not None:
            return self.dro.loss(each, known)
        weight = known.to(each.dtype)
        return (each * weight).sum() / weight.sum()


def check_growth(network: nn.Module, config: TrainConfig, full: int) -> None:
    """Raise a ConfigError where images are to grow and the network takes but one size."""
    if side_at(0, config, full) == full:
        return
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, config.first_side, config.first_side))
    except RuntimeError as error:
        raise ConfigError(
            f"This network cannot begin with images of {config.first_side} pixels per side.",
            expected="a network for any size, such as deep, or images of one size",
            todo="set train.first_side=0",
        ) from error
    finally:
        network.train(was_training)


def train(
    task: Task,
    state: State,
    config: TrainConfig,
    augmentation: AugmentConfig,
    *,
    save_to: Path | None = None,
    quiet: bool = False,
) -> Iterator[HistoryRow]:
    """Train `state` from where it is to `config.steps`; yield a record at every evaluation.

    `state.history` gets a row for every step. With `save_to`, the state is saved there at regular
    steps and times; `checkpoint.load` and this function then go on as if nothing had happened, to
    the bit on a CPU with the same number of threads. Processes that have joined train together:
    each calls this function with the same.

    Raises
    ------
    TrainingError
        When the loss is no longer a finite number.
    ConfigError
        Where there are fewer images than processes.
    DataError
        Where images are streamed, and too many cannot be read or their store cannot be reached.
    """
    us = team()
    us.check_enough(
        images_per_batch=min(config.batch_size, len(task.train)),
        validation_images=len(task.validation),
    )
    network = us.shared(state.network)
    device = next(state.network.parameters()).device
    if us.size == 1:  # a process among several replaces functions while it computes
        network = captured(network, config.compile, device)
    bfloat16 = uses_bfloat16(config.precision, device)
    loss_of = Loss(task, config, state.dro)
    task = replace(task, images=task.images.resident(device))
    began = time.monotonic() - (state.history[-1].seconds if state.history else 0.0)
    work = progress("train", config.steps, unit="batches", done=state.step, quiet=quiet)
    save = checkpoint.Saver(save_to, config.checkpoint_seconds)
    feed = _feed(task, config, device, us, quiet)
    with work as bar, contextlib.closing(feed.batches(state.step)) as batches:
        left = 0 if stale(state, config) else max(0, config.steps - state.step)
        for rows, batch in islice(batches, left):
            labels = torch.from_numpy(task.label[rows].astype(np.int64)).to(device)
            rate = learning_rate(state.step, config)
            # The caller's random numbers stay as they were: dropout draws inside the fork.
            with (
                torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
                us.whole(len(rows)) as mine,
            ):
                generator = seeded(config.seed, state.step, device)
                side = side_at(state.step, config, task.images.side)
                batch = augment(batch, augmentation, generator, side)
                if config.mixup or config.cutmix:  # with images of other processes, too
                    batch, mixture = mix(us.gather(batch, len(rows)), labels, config, generator)
                    batch = batch[mine]
                else:
                    mixture = unmixed(labels)
                state.network.train()
                output = us.gather(forward(network, batch, bfloat16), len(rows))
            loss = loss_of(output, mixture, rows)
            _descend(state, loss, rate)
            _average(state, config.average)

            state.step += 1
            row = HistoryRow(
                step=state.step,
                images=state.step * len(rows),  # every batch has the same size
                seconds=time.monotonic() - began,
                learning_rate=rate,
                train_loss=loss.item(),
                train_f1=weighted_f1(task.label[rows], output.argmax(1).cpu().numpy()),
            )
            if not math.isfinite(row.train_loss):
                raise _diverged(row)
            evaluated = due(state.step, config.steps, config.evaluations)
            if evaluated:
                row = _measure(task, state, row, loss_of.classes, config, us)
                _keep_best(state, row)
                bar.note(f"loss {row.train_loss:.3f}, F1 {row.validation_f1:.4f}")
            state.history.append(row)
            bar.update()
            save(state, due=due(state.step, config.steps, config.checkpoints))
            if evaluated:
                yield row
                if stale(state, config):
                    return


def _feed(task: Task, config: TrainConfig, device: torch.device, us: Team, quiet: bool) -> Feed:
    if task.streamed is None:
        return Packed(task.images, task.train, config, device, us)
    return FromShards(task.images, task.streamed, task.train, config, device, us, quiet)


def _descend(state: State, loss: Tensor, rate: float) -> None:
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()


@torch.no_grad()
def _average(state: State, decay: float) -> None:
    """Move the average a little towards the weights: less so the further training is.

    At first the decay is (1 + step) / (10 + step), so that the fresh weights are soon forgotten.
    """
    if state.averaged is None:
        return
    decay = min(decay, (1 + state.step) / (10 + state.step))
    pairs = zip(
        state.averaged.state_dict().values(), state.network.state_dict().values(), strict=True
    )
    for average, now in pairs:
        if average.is_floating_point():
            average.lerp_(now, 1 - decay)
        else:  # a count of batches
            average.copy_(now)


def stale(state: State, config: TrainConfig) -> bool:
    """Whether the last `config.patience` evaluations were none better than the best before."""
    evaluated = [row.step for row in state.history if not math.isnan(row.validation_f1)]
    return 0 < config.patience <= sum(step > state.best_step for step in evaluated)


def side_at(step: int, config: TrainConfig, full: int) -> int:
    """Pixels per side of the training images at a step: grows in steps of 8 to the full size."""
    grown = config.grown * config.steps
    if not config.first_side or config.first_side >= full or step >= grown:
        return full
    return min(full, config.first_side + int((full - config.first_side) * step / grown) // 8 * 8)


def due(step: int, steps: int, times: int) -> bool:
    """Whether something done `times` times, evenly spread over `steps`, is due after `step`."""
    return step * times // steps > (step - 1) * times // steps


def seeded(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Seed the device's own generator for this step; return another for the augmentation.

    No other device's generator is touched, as `torch.manual_seed` would: the caller's random
    numbers there are not forked.
    """
    dropout, augmentation = np.random.SeedSequence([seed, 1, step]).generate_state(2, np.uint64)
    if device.type == "cuda":
        own = torch.cuda.default_generators[device.index]
    else:
        own = torch.default_generator
    own.manual_seed(int(dropout >> 1))
    return torch.Generator().manual_seed(int(augmentation >> 1))


def class_weights(task: Task, config: TrainConfig) -> Tensor:
    """(classes,) weights of the loss: n / (classes · count), so that they average 1 over images."""
    counts = np.bincount(task.label[task.train], minlength=task.classes)
    if config.class_weights == "none" or config.balance != "none":
        return torch.ones(task.classes)
    present = np.maximum(counts, 1)  # a class without images is never weighted
    return torch.from_numpy(counts.sum() / (task.classes * present)).float()


def weighted_f1(label: NDArray[np.integer], prediction: NDArray[np.integer]) -> float:
    """F1 per class, averaged with the number of labels as weights."""
    top = int(max(label.max(), prediction.max())) + 1
    labelled = np.bincount(label, minlength=top)
    predicted = np.bincount(prediction, minlength=top)
    right = np.bincount(label[label == prediction], minlength=top)
    f1 = 2 * right / np.maximum(labelled + predicted, 1)
    return float(f1 @ labelled / len(label))


def _measure(
    task: Task, state: State, row: HistoryRow, weights: Tensor, config: TrainConfig, us: Team
) -> HistoryRow:
    device = next(state.network.parameters()).device
    n = len(task.validation)
    own = logits(
        state.measured,
        task.images,
        task.validation[us.share(n)],
        device=device,
        bfloat16=uses_bfloat16(config.precision, device),
        mirrored=config.mirrored,
    )
    output = us.gather(torch.from_numpy(own).to(device), n).cpu().numpy()
    label = task.label[task.validation].astype(np.int64)
    prediction = output.argmax(1)
    loss = F.cross_entropy(torch.from_numpy(output), torch.from_numpy(label), weight=weights)
    return replace(
        row,
        validation_loss=loss.item(),
        validation_f1=weighted_f1(label, prediction),
        validation_accuracy=float((prediction == label).mean()),
    )


def _keep_best(state: State, row: HistoryRow) -> None:
    if row.validation_f1 > state.best_f1:
        state.best_f1, state.best_step = row.validation_f1, row.step
        state.best = {k: v.detach().clone() for k, v in state.measured.state_dict().items()}


def _diverged(row: HistoryRow) -> TrainingError:
    return TrainingError(
        f"The loss of batch {row.step} is {row.train_loss}.",
        expected="a finite number",
        todo="lower train.learning_rate, or set train.precision=float32",
    )
