"""The step that trains: the task, the network, the files of the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid import runs
from candid.arrays import Float32Array, IndexArray
from candid.data.dataset import Dataset
from candid.data.targets import labels_of, number_scale, outputs_of
from candid.errors import ConfigError, did_you_mean
from candid.pipeline.beginning import load_initial
from candid.pipeline.opening import Data, is_distributed, needs_torch
from candid.pipeline.targets import build_targets, refuse_for_several
from candid.pipeline.views import WindowChoice, choose_window
from candid.records import ModelCard, Provenance, read_record, write_record
from candid.records.framing import FramingCard
from candid.runs import Run
from candid.settings import Config, OwnConfig, TrainConfig, ensemble_size
from candid.storage.files import atomic

if TYPE_CHECKING:
    from torch import nn

    from candid.models.forward import Images
    from candid.models.framing import Framing
    from candid.training.state import Task, TrainingState


def train_network(
    run: Run, data: Data, on_evaluation: Callable[[TrainingState, Task], object] | None = None
) -> None:
    """Train from the run's checkpoint, or from the start where there is none.

    `on_evaluation` is called with the state after every evaluation. Writes checkpoint/,
    history.parquet, model.safetensors and model.json (of several labels, targets.json); does
    nothing where the last two are there. Of several processes that train together, one writes.
    """
    if not is_distributed() and run.is_current("train"):
        return
    needs_torch()
    from candid.data.layouts.assembly import check_learnable
    from candid.models.device import memory_kept, threads
    from candid.training import checkpoint
    from candid.training.distributed import team
    from candid.training.loop import train_in_steps as steps

    group, config = team(), run.settings
    quiet = run.quiet or not group.leads
    if group.broadcast(lambda: run.is_current("train")):
        return
    check_learnable(data.dataset, data.store.usable)
    start = time.monotonic()
    lock = checkpoint.sole_writer(run.checkpoint) if group.leads else nullcontext()
    with lock, threads(config.train.threads), memory_kept():
        task = build_task(data, config)
        window = choose_window(task, config, data.all_rows, record=run.views, quiet=quiet)
        config, network = window.config, run.network
        if config.begins_with:
            network = build_network(task, config) if network is None else network
            initial = group.broadcast(lambda: read_record(run.provenance, Provenance).initial)
            if not group.broadcast(run.checkpoint.is_file):
                load_initial(network, config, data.dataset, initial)
        state = start_training(task, config, network)
        with group.copied(run.checkpoint) as checkpoint_copy:
            if checkpoint_copy is not None:
                checkpoint.restore(checkpoint_copy, state)
                # What was spent before it was stopped counts, too.
                start -= state.history[-1].seconds if state.history else 0.0
        callback = on_evaluation or (lambda *_: None)
        if _fit_features(task, state, config, group.leads, quiet):
            callback(state, task)
        else:
            save_to = run.checkpoint if group.leads else None
            for _ in steps(task, state, config.train, config.augment, save_to=save_to, quiet=quiet):
                if group.leads:
                    runs.write_history(run, state.history)
                callback(state, task)
            if group.leads:
                augmented = {("picture", "augmented"): encode_augmented(task, config)}
                runs.write_pictures(run, runs.read_pictures(run) | augmented)
        group.broadcast(lambda: _write_model(run, state, task, data, window, start))


def train_framer(run: Run, data: Data) -> None:
    """Write framing.safetensors and framing.json; nothing where `framing.steps` is 0."""
    run.framing.unlink(missing_ok=True)
    config = run.settings
    if not config.framing.steps:
        run.framing_weights.unlink(missing_ok=True)
        return
    needs_torch()
    from candid.models.framing import save_framing

    task, checkpoint = build_task(data, config), run.framing_checkpoint
    framing, card = fit_framing(run, task.images, task.train, task.validation, checkpoint)
    save_framing(run.framing_weights, framing)
    write_record(run.framing, card)
    checkpoint.unlink(missing_ok=True)


def fit_framing(
    run: Run,
    images: Images,
    train: IndexArray,
    validation: IndexArray,
    checkpoint: Path,
) -> tuple[Framing, FramingCard]:
    """A network that frames, trained on these rows from a checkpoint on."""
    from candid.models.device import memory_kept, pick_device, threads
    from candid.training.checkpoint import sole_writer
    from candid.training.framing import train_framing

    config = run.settings
    with sole_writer(checkpoint), threads(config.train.threads), memory_kept():
        return train_framing(
            images,
            train,
            validation,
            config.framing,
            config.train,
            device=pick_device(config.train.device),
            save_to=checkpoint,
            quiet=run.quiet,
        )


def _fit_features(
    task: Task, state: TrainingState, config: Config, leads: bool, quiet: bool
) -> bool:
    """Fit the network if it is not trained in steps; whether it is one of these."""
    from candid.models.features import Features
    from candid.training.fitting import fit_state

    if not isinstance(state.network, Features):
        return False
    if task.streamed is not None:
        raise ConfigError(
            "The network 'features' is fitted to all images at once and cannot be streamed.",
            expected="a network that is trained in steps: plain, deep, vit or timm",
            todo="set network.name, or data.stream = never where a pack fits on the disk",
        )
    if leads:
        fit_state(task, state, config.train, quiet=quiet)
    return True


def _write_model(
    run: Run, state: TrainingState, task: Task, data: Data, window: WindowChoice, start: float
) -> None:
    """Write the results of a finished training; the record last, as it marks the end."""
    from candid.models.weights import save_weights

    config = window.config
    run.mark_begun("train")
    runs.write_history(run, state.history)
    # A part of a stream may lack values, and so bins.
    card = _build_card(state, task, data.all_rows, window)
    targets = build_targets(card, task, data.all_rows, config) if task.is_several else None
    weights = state.best if config.train.keep == "best" else state.measured.state_dict()
    save_weights(run.weights, weights)
    run.mark_done("train", time.monotonic() - start)
    if targets is None:
        write_record(run.model_file, card)
    else:
        write_record(run.targets, targets)


def start_training(task: Task, config: Config, network: nn.Module | None = None) -> TrainingState:
    """A new training of the network that the settings name, or of the caller's own."""
    from candid.training.distributed import team
    from candid.training.loop import check_growth, start

    members = ensemble_size(config.network)
    if members > 1 and team().size > 1:
        raise ConfigError(
            f"network.ensemble_size = {members} needs one process, and there are {team().size}.",
            expected="one process, or one network",
            todo="train without torchrun, or set network.ensemble_size=1",
        )
    if task.is_several:
        refuse_for_several(config, is_number=len(task.sizes) == 1)
    if len(task.train) < 2 * members:
        raise ConfigError(
            f"{len(task.train)} training images are too few for {members} networks.",
            expected="two images in a batch for each network",
            todo="use more images, or lower network.ensemble_size",
        )
    if network is None and config.begins_with:
        raise ConfigError(
            f"{config.begins_with} is for one training, and here are several.",
            expected="candid run or candid train; elsewhere fresh weights",
            todo=f"leave {config.begins_with} out",
        )
    if network is None:
        network = build_network(task, choose_window(task, config, quiet=True).config)
    check_growth(network, config.train, task.images.side)
    return start(network, config.train, task)


def build_network(task: Task, config: Config) -> nn.Module:
    """The network that the settings name, with weights that the seed decides."""
    import torch

    from candid.models.networks import build, options
    from candid.training.memory import check_fits

    check_fits(config, task.n_classes)
    kwargs = options(config.network)
    with torch.random.fork_rng():
        torch.manual_seed(config.train.seed)
        return build(config.network.name, side=task.images.side, n_classes=task.n_classes, **kwargs)


def validation_logits(
    task: Task, state: TrainingState, config: TrainConfig, **options: Any
) -> Float32Array:
    """(validation, classes) logits; `options` are those of `logits`."""
    from candid.models.device import uses_bfloat16
    from candid.models.forward import logits

    return logits(
        state.measured,
        task.images,
        task.validation,
        device=state.device,
        bfloat16=uses_bfloat16(config.precision, state.device),
        flip_tta=config.flip_tta,
        **options,
    )


def build_task(data: Data, config: Config) -> Task:
    """The task to learn: images, labels, and the rows of each split."""
    from candid.models.forward import Images, channel_statistics
    from candid.training.state import Task

    dataset, store, streamed = data.dataset, data.store, data.streamed
    rows = {split: dataset.rows(split, store.usable) for split in ("train", "validation")}
    images = Images(store.pixels, *channel_statistics(store.pixels, rows["train"]))
    if streamed is not None:  # rows are those of the whole data set, of which a part is packed
        dataset, kept_rows = streamed.dataset, streamed.kept
        position = np.full(len(dataset), -1, np.intp)
        position[kept_rows] = np.arange(len(kept_rows))
        images = replace(images, at=position)
        usable = np.ones(len(dataset), np.bool_)
        usable[kept_rows] = store.usable
        rows = {split: dataset.rows(split, usable) for split in rows}
    label, sizes = labels_of(dataset)
    return Task(
        images,
        label,
        sum(sizes),
        rows["train"],
        rows["validation"],
        tuple(_attribute_codes(dataset, name) for name in config.train.balance_attributes),
        streamed,
        sizes if dataset.is_several else (),
        tuple(number_scale(dataset, name) for name in dataset.targets) if dataset.numbers else (),
    )


def _attribute_codes(dataset: Dataset, name: str) -> NDArray[np.int16]:
    attribute = dataset.attributes.get(name)
    if attribute is None or attribute.kind == "numeric":
        categorical = [a.name for a in dataset.attributes.values() if a.kind != "numeric"]
        problem = "no attribute"
        if attribute is not None:
            problem = "no groups, but numbers, in the attribute"
        raise ConfigError(
            f"The data have {problem} {name!r}.",
            expected="an attribute with values to balance",
            todo=did_you_mean(name, categorical),
        )
    return attribute.data


def _build_card(
    state: TrainingState, task: Task, dataset: Dataset, window: WindowChoice
) -> ModelCard:
    from candid.models.networks import describe, options

    config = window.config
    layers, multiply_adds = describe(state.network, task.images.side)
    best, kind = config.train.keep == "best", type(state.network)
    module_name: dict[str, int | float | str] = {"module": f"{kind.__module__}.{kind.__qualname__}"}
    kwargs = module_name if config.network == OwnConfig() else options(config.network)
    return ModelCard(
        network=config.network.name,
        options=kwargs,
        target=", ".join(dataset.targets),
        classes=outputs_of(dataset),
        side=task.images.side,
        mean=task.images.mean,
        std=task.images.std,
        temperature=1.0,  # until it is fitted
        parameters=sum(p.numel() for p in state.network.parameters()),
        multiply_adds=multiply_adds,
        layers=layers,
        step=state.best_step if best else state.step,
        kept="best" if best else "last",
        flip_tta=config.train.flip_tta,
        views=window.views,
    )


def draw_augmented(path: Path, data: Data, config: Config) -> None:
    """Write a PNG of augmented training images."""
    needs_torch()
    from candid.data.pictures import png

    with atomic(path) as part:
        part.write_bytes(png(_draw_grid(build_task(data, config), config, rows=8)))


def encode_augmented(task: Task, config: Config) -> bytes:
    """A picture of augmented training images, encoded for the report."""
    from candid.data.pictures import for_page

    return for_page(_draw_grid(task, config, rows=4))


def _draw_grid(task: Task, config: Config, *, rows: int) -> NDArray[np.uint8]:
    from candid.training.augment import augmented_grid

    sample = task.images.packed(task.train)[:rows]
    return augmented_grid(task.images, sample, config.augment, seed=config.train.seed)
