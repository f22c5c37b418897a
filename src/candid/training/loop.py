"""The training loop, readable from top to bottom.

Everything random in a step comes from the seed and the step's number alone, so a run that resumes
from a checkpoint has the same batches, augmentation and dropout as one that was never stopped. So
have several processes that train together: each takes its share of every batch, and all have the
same loss (`distributed`).
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from candid.errors import ConfigError, TrainingError
from candid.models.device import (
    compile_network,
    has_matrix_tiles,
    pick_device,
    to_device,
    uses_bfloat16,
)
from candid.models.forward import forward, logits, logits_error
from candid.progress import progress
from candid.records import HistoryRow
from candid.settings import AugmentConfig, TrainConfig
from candid.settings.named_parts import FROM_PARTS
from candid.training import checkpoint
from candid.training.augment import augment
from candid.training.balance import GroupDRO, group_cells
from candid.training.batches import make_feed
from candid.training.convolution import wide_gradients
from candid.training.depth import freeze, hold_still
from candid.training.distributed import Team, team
from candid.training.mixing import identity_mixture, mix
from candid.training.optimizers import learning_rate, optimizer_of, set_learning_rate
from candid.training.several import AnyLoss, make_loss
from candid.training.state import Task, TrainingState

_MAX_UNREAD = 64  # steps whose losses wait on the device, so that one that diverged ends soon


def start(network: nn.Module, config: TrainConfig, task: Task | None = None) -> TrainingState:
    """The initial state of a network's training, on the device that the settings name.

    `task` is needed for `train.balance = "dro"`.
    """
    device = pick_device(config.device)
    network = to_device(network, device)
    frozen = freeze(network, config)
    ema = copy.deepcopy(network).requires_grad_(False).eval() if config.ema_decay else None
    dro = None
    if config.balance == "dro" and task is not None:
        dro = GroupDRO(group_cells(*task.groups)[1], device=device)
    return TrainingState(network, optimizer_of(network, config), ema, dro, frozen=frozen)


def train_in_steps(
    task: Task,
    state: TrainingState,
    config: TrainConfig,
    augmentation: AugmentConfig,
    *,
    save_to: Path | None = None,
    title: str = "train",
    quiet: bool = False,
) -> Iterator[HistoryRow]:
    """Train `state` from its step to `config.steps`; yield a record at every evaluation.

    `state.history` has a row for every step by then. With `save_to`, the state is saved there at
    regular steps and times; `checkpoint.restore` and this function resume from it, to the bit on a
    CPU with the same number of threads. Processes that have joined train together: each calls this
    function with the same arguments. Raises a TrainingError when the loss is no longer finite, and
    a DataError where too many streamed images cannot be read.
    """
    group, device = team(), state.device
    task = replace(task, images=task.images.resident(device))
    batch_loss = BatchLoss(task, state, config, augmentation, group)
    curve = TrainingCurve(task, state, batch_loss.loss)
    save = checkpoint.Saver(save_to, config.checkpoint_seconds)
    work = progress(title, config.steps, unit="batches", done=state.step, quiet=quiet)
    batches = make_feed(task, config, device, group, quiet).batches(state.step)
    remaining = 0 if is_stale(state, config) else max(0, config.steps - state.step)
    with work as bar, contextlib.closing(batches):
        for rows, batch in islice(batches, remaining):
            rate = learning_rate(state.step, config)
            loss, output = batch_loss(batch, rows)
            descend(state, loss, rate)
            update_ema(state, config.ema_decay)
            state.step += 1
            curve.add(rows, rate, loss, output)
            is_evaluation = is_due(state.step, config.steps, config.evaluations)
            if is_evaluation:
                row = curve.evaluate(config, group)
                bar.note(f"loss {row.train_loss:.3f}, F1 {row.validation_f1:.4f}")
            bar.update()
            if save.should_save(due=is_due(state.step, config.steps, config.checkpoints)):
                curve.read()
                save(state)
            if is_evaluation:
                yield row
                if is_stale(state, config):
                    return


class BatchLoss:
    """The forward pass and loss of a batch, shared by all processes."""

    def __init__(
        self,
        task: Task,
        state: TrainingState,
        config: TrainConfig,
        augmentation: AugmentConfig,
        group: Team,
    ) -> None:
        group.check_enough(
            images_per_batch=min(config.batch_size, len(task.train)),
            validation_images=len(task.validation),
        )
        self.task, self.state, self.config, self.augmentation = task, state, config, augmentation
        self.group, self.device = group, state.device
        self.network = group.parallelise(state.network)
        if group.size == 1:  # a process among several replaces functions while it computes
            self.network = compile_network(self.network, config.compile, self.device)
        self.bfloat16 = uses_bfloat16(config.precision, self.device)
        self.uses_wide_gradients = self.bfloat16 and has_matrix_tiles(self.device)
        self.loss = make_loss(task, config, state.dro, self.device)

    def __call__(self, batch: Tensor, rows: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """The loss of a whole batch with its graph, and (rows, outputs) logits.

        `batch` is this process's share of its images, `rows` are those of all.
        """
        config, group, step, n = self.config, self.group, self.state.step, len(rows)
        labels = torch.from_numpy(self.task.label[rows].astype(np.int64)).to(self.device)
        cuda_devices = [self.device] if self.device.type == "cuda" else []
        # The caller's random numbers stay as they were: dropout draws inside the fork.
        fork = torch.random.fork_rng(devices=cuda_devices)
        with fork, group.whole_batch(n) as share, wide_gradients(self.uses_wide_gradients):
            generator = seed_generators(config.seed, step, self.device)
            side = side_at(step, config, self.task.images.side)
            batch = augment(batch, self.augmentation, generator, side)
            mixture = identity_mixture(labels)
            if config.mixup or config.cutmix:  # with images of other processes, too
                batch, mixture = mix(group.gather(batch, n), labels, config, generator)
                batch = batch[share]
            self.state.network.train()
            hold_still(self.state.frozen)
            output = group.gather(forward(self.network, batch, self.bfloat16), n)
        if output.shape[1] != self.task.n_classes:
            raise logits_error(output, n, self.task.n_classes)
        return self.loss(output, mixture, rows), output


@dataclass(eq=False)
class TrainingCurve:
    """The history of a training: a row for every step.

    A step's loss and predictions stay on the device until `read`, as reading waits for the device.
    """

    task: Task
    state: TrainingState
    loss: AnyLoss
    unread: list[tuple[HistoryRow, NDArray[np.intp], Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        history = self.state.history
        self.start = time.monotonic() - (history[-1].seconds if history else 0.0)

    def add(self, rows: NDArray[np.intp], rate: float, loss: Tensor, output: Tensor) -> None:
        """Add a finished step."""
        row = HistoryRow(
            step=self.state.step,
            images=self.state.step * len(rows),  # every batch has the same size
            seconds=time.monotonic() - self.start,
            learning_rate=rate,
            train_loss=math.nan,
            train_f1=math.nan,
        )
        self.unread.append((row, rows, loss.detach(), self.loss.predict(output.detach())))
        if len(self.unread) == _MAX_UNREAD:
            self.read()

    def read(self) -> None:
        """Bring the history up to date; raise a TrainingError where a loss is not finite."""
        if not self.unread:
            return
        steps, batches, losses, predictions = zip(*self.unread, strict=True)
        self.unread = []
        values, classes = torch.stack(losses).tolist(), torch.stack(predictions).cpu().numpy()
        for row, image_rows, loss, prediction in zip(steps, batches, values, classes, strict=True):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"The loss of batch {row.step} is {loss}.",
                    expected="a finite number",
                    todo="lower train.learning_rate, or set train.precision=float32",
                    code=FROM_PARTS,
                )
            f1 = self.loss.f1(self.task.label[image_rows], prediction)
            self.state.history.append(replace(row, train_loss=loss, train_f1=f1))

    def evaluate(self, config: TrainConfig, group: Team) -> HistoryRow:
        """The last step's row, with metrics on all validation images; keeps the best weights."""
        self.read()
        state, rows = self.state, self.task.validation
        local = logits(
            state.measured,
            self.task.images,
            rows[group.share(len(rows))],
            device=state.device,
            bfloat16=uses_bfloat16(config.precision, state.device),
            flip_tta=config.flip_tta,
        )
        output = group.gather(torch.from_numpy(local).to(state.device), len(rows)).cpu().numpy()
        loss, f1, accuracy = self.loss.compute_metrics(output, self.task.label[rows])
        row = replace(
            state.history[-1], validation_loss=loss, validation_f1=f1, validation_accuracy=accuracy
        )
        state.history[-1] = row
        state.keep_best(row)
        return row


def descend(state: TrainingState, loss: Tensor, rate: float) -> None:
    """One step of the optimiser at a learning rate."""
    set_learning_rate(state.optimizer, rate)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()


@torch.no_grad()
def update_ema(state: TrainingState, decay: float) -> None:
    """Move the exponential average towards the weights: less so the further training is.

    At first the decay is (1 + step) / (10 + step), so that the initial weights are soon forgotten.
    """
    if state.ema is None:
        return
    decay = min(decay, (1 + state.step) / (10 + state.step))
    states = (state.ema.state_dict().values(), state.network.state_dict().values())
    pairs = list(zip(*states, strict=True))
    averages, weights = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    get_ema_multi_avg_fn(decay)(averages, weights, None)  # type: ignore[no-untyped-call]
    for count, value in pairs:
        if not count.is_floating_point():  # of batches
            count.copy_(value)


def check_growth(network: nn.Module, config: TrainConfig, full: int) -> None:
    """Raise a ConfigError where images are to grow and the network takes only one size."""
    if side_at(0, config, full) == full:
        return
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, config.progressive_side, config.progressive_side))
    except RuntimeError as error:
        raise ConfigError(
            f"This network cannot begin with images of {config.progressive_side} pixels per side.",
            expected="a network for any size, such as deep, or images of one size",
            todo="set train.progressive_side=0",
        ) from error
    finally:
        network.train(was_training)


def is_stale(state: TrainingState, config: TrainConfig) -> bool:
    """Whether the best evaluation is `config.patience` evaluations or more ago."""
    evaluations = [row.step for row in state.history if not math.isnan(row.validation_f1)]
    return 0 < config.patience <= sum(step > state.best_step for step in evaluations)


def side_at(step: int, config: TrainConfig, full: int) -> int:
    """Pixels per side of the training images at a step: grows in steps of 8 to the full size."""
    first, grown = config.progressive_side, config.progressive_share * config.steps
    if not first or first >= full or step >= grown:
        return full
    return min(full, first + int((full - first) * step / grown) // 8 * 8)


def is_due(step: int, steps: int, times: int) -> bool:
    """Whether an event that occurs `times` times, evenly over `steps`, is due after `step`."""
    return step * times // steps > (step - 1) * times // steps


def seed_generators(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Seed the device's own generator for this step; return another for the augmentation.

    No other device's generator is touched, as `torch.manual_seed` would: the caller's random
    numbers there are not forked.
    """
    dropout, augmentation = np.random.SeedSequence([seed, 1, step]).generate_state(2, np.uint64)
    if device.type == "cuda":
        generator = torch.cuda.default_generators[device.index]
    else:
        generator = torch.default_generator
    generator.manual_seed(int(dropout >> 1))
    return torch.Generator().manual_seed(int(augmentation >> 1))
