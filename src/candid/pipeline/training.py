"""The step that trains: what is to be learned, the network, what comes of it."""

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
from candid.data.dataset import Dataset
from candid.data.targets import labels_of, number_scale, outputs_of
from candid.errors import ConfigError, did_you_mean
from candid.pipeline.beginning import take_initial
from candid.pipeline.opening import Data, launched, needs_torch
from candid.pipeline.targets import refuse_for_several, targets_of
from candid.pipeline.views import Seen, with_window
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
    run: Run, data: Data, evaluated: Callable[[TrainingState, Task], object] | None = None
) -> None:
    """Train from the run's checkpoint, or from the start where there is none.

    `evaluated` is called after every evaluation, with the state as it is then.
    Writes checkpoint/, history.parquet, model.safetensors and model.json, for several labels
    targets.json in place of that. Where these two are there, training is finished and nothing is
    done. Of several processes that train together, one writes.
    """
    if not launched() and run.is_whole("train"):
        return
    needs_torch()
    from candid.data.layouts.assembly import check_learnable
    from candid.models.device import memory_kept, threads
    from candid.training import checkpoint
    from candid.training.distributed import team
    from candid.training.loop import train_in_steps as steps

    group, config = team(), run.settings
    quiet = run.quiet or not group.leads
    if group.broadcast(lambda: run.is_whole("train")):
        return
    check_learnable(data.dataset, data.store.usable)
    began = time.monotonic()
    alone = checkpoint.sole_writer(run.checkpoint) if group.leads else nullcontext()
    with alone, threads(config.train.threads), memory_kept():
        task = task_of(data, config)
        whole = data.dataset if data.streamed is None else data.streamed.dataset
        note = group.broadcast(lambda: checkpoint.note_of(run.checkpoint))
        seen = with_window(task, config, whole, note=note, quiet=quiet)
        config, network = seen.config, run.network
        if config.begins_with:
            network = fresh_network(task, config) if network is None else network
            noted = group.broadcast(lambda: read_record(run.provenance, Provenance).initial)
            if not group.broadcast(run.checkpoint.is_file):
                take_initial(network, config, data.dataset, noted)
        state = begun(task, config, network)
        state.note = seen.note()
        with group.copied(run.checkpoint) as saved:
            if saved is not None:
                checkpoint.restore(saved, state)
                # What was spent before it was stopped counts, too.
                began -= state.history[-1].seconds if state.history else 0.0
        look = evaluated or (lambda *_: None)
        if _fitted(task, state, config, group.leads, quiet):
            look(state, task)
        else:
            save_to = run.checkpoint if group.leads else None
            for _ in steps(task, state, config.train, config.augment, save_to=save_to, quiet=quiet):
                if group.leads:
                    runs.write_history(run, state.history)
                look(state, task)
            if group.leads:
                augmented = {("picture", "augmented"): augmented_picture(task, config)}
                runs.write_pictures(run, runs.read_pictures(run) | augmented)
        group.broadcast(lambda: _keep(run, state, task, data, seen, began))


def train_framer(run: Run, data: Data) -> None:
    """Write framing.safetensors and framing.json; nothing where `framing.steps` is 0."""
    run.framing.unlink(missing_ok=True)
    config = run.settings
    if not config.framing.steps:
        run.framing_weights.unlink(missing_ok=True)
        return
    needs_torch()
    from candid.models.framing import save_framing

    task, checkpoint = task_of(data, config), run.framing_checkpoint
    framing, card = learned_framing(run, task.images, task.train, task.validation, checkpoint)
    save_framing(run.framing_weights, framing)
    write_record(run.framing, card)
    checkpoint.unlink(missing_ok=True)


def learned_framing(
    run: Run,
    images: Images,
    train: NDArray[np.intp],
    validation: NDArray[np.intp],
    checkpoint: Path,
) -> tuple[Framing, FramingCard]:
    """A network that frames, trained on some rows by a run's settings, from a checkpoint on."""
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


def _fitted(task: Task, state: TrainingState, config: Config, leads: bool, quiet: bool) -> bool:
    """Fit a network that is not trained in steps; whether it is one."""
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


def _keep(run: Run, state: TrainingState, task: Task, data: Data, seen: Seen, began: float) -> None:
    """Write what came of a training that is done; its record last, as it says so."""
    from candid.models.weights import save_weights

    config = seen.config
    run.forget("train")
    runs.write_history(run, state.history)
    # Of a stream the whole: a part may lack values, and so bins.
    dataset = data.dataset if data.streamed is None else data.streamed.dataset
    card = _card(state, task, dataset, seen)
    several = targets_of(card, task, dataset, config) if task.is_several else None
    kept = state.best if config.train.keep == "best" else state.measured.state_dict()
    save_weights(run.weights, kept)
    run.note("train", time.monotonic() - began)
    if several is None:
        write_record(run.model_file, card)
    else:
        write_record(run.targets, several)


def begun(task: Task, config: Config, network: nn.Module | None = None) -> TrainingState:
    """A training about to begin, of the network that the settings name or of the caller's own."""
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
        network = fresh_network(task, with_window(task, config, quiet=True).config)
    check_growth(network, config.train, task.images.side)
    return start(network, config.train, task)


def fresh_network(task: Task, config: Config) -> nn.Module:
    """The network that the settings name, with weights that the seed decides."""
    import torch

    from candid.models.networks import build, options
    from candid.training.memory import check_fits

    check_fits(config, task.n_classes)
    chosen = options(config.network)
    with torch.random.fork_rng():
        torch.manual_seed(config.train.seed)
        return build(config.network.name, side=task.images.side, n_classes=task.n_classes, **chosen)


def validation_logits(
    task: Task, state: TrainingState, config: TrainConfig, **shown: Any
) -> NDArray[np.float32]:
    """(validation, classes) of the network as it is measured; `shown` are options of `logits`."""
    from candid.models.device import uses_bfloat16
    from candid.models.forward import logits

    return logits(
        state.measured,
        task.images,
        task.validation,
        device=state.device,
        bfloat16=uses_bfloat16(config.precision, state.device),
        flip_tta=config.flip_tta,
        **shown,
    )


def task_of(data: Data, config: Config) -> Task:
    """What is to be learned from the data."""
    from candid.models.forward import Images, channel_statistics
    from candid.training.state import Task

    dataset, store, streamed = data.dataset, data.store, data.streamed
    rows = {split: dataset.rows(split, store.usable) for split in ("train", "validation")}
    images = Images(store.pixels, *channel_statistics(store.pixels, rows["train"]))
    if streamed is not None:  # rows are those of the whole data set, of which a part is packed
        dataset, kept = streamed.dataset, streamed.kept
        at = np.full(len(dataset), -1, np.intp)
        at[kept] = np.arange(len(kept))
        images = replace(images, at=at)
        usable = np.ones(len(dataset), np.bool_)
        usable[kept] = store.usable
        rows = {split: dataset.rows(split, usable) for split in rows}
    label, sizes = labels_of(dataset)
    return Task(
        images,
        label,
        sum(sizes),
        rows["train"],
        rows["validation"],
        tuple(_codes(dataset, name) for name in config.train.balance_attributes),
        streamed,
        sizes if dataset.is_several else (),
        tuple(number_scale(dataset, name) for name in dataset.targets) if dataset.numbers else (),
    )


def _codes(dataset: Dataset, name: str) -> NDArray[np.int16]:
    attribute = dataset.attributes.get(name)
    if attribute is None or attribute.kind == "numeric":
        grouped = [a.name for a in dataset.attributes.values() if a.kind != "numeric"]
        what = "no attribute" if attribute is None else "no groups, but numbers, in the attribute"
        raise ConfigError(
            f"The data have {what} {name!r}.",
            expected="an attribute with values to balance",
            todo=did_you_mean(name, grouped),
        )
    return attribute.data


def _card(state: TrainingState, task: Task, dataset: Dataset, seen: Seen) -> ModelCard:
    from candid.models.networks import describe, options

    config = seen.config
    layers, multiply_adds = describe(state.network, task.images.side)
    best, module = config.train.keep == "best", type(state.network)
    named: dict[str, int | float | str] = {"module": f"{module.__module__}.{module.__qualname__}"}
    chosen = named if config.network == OwnConfig() else options(config.network)
    return ModelCard(
        network=config.network.name,
        options=chosen,
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
        views=seen.views,
    )


def draw_augmented(path: Path, data: Data, config: Config) -> None:
    """Write a PNG that shows what augmentation makes of a few training images."""
    needs_torch()
    from candid.data.pictures import png

    with atomic(path) as part:
        part.write_bytes(png(_augmented(task_of(data, config), config, rows=8)))


def augmented_picture(task: Task, config: Config) -> bytes:
    """What augmentation makes of a few training images, encoded for the report."""
    from candid.data.pictures import for_page

    return for_page(_augmented(task, config, rows=4))


def _augmented(task: Task, config: Config, *, rows: int) -> NDArray[np.uint8]:
    from candid.training.augment import augmented_grid

    some = task.images.packed(task.train)[:rows]
    return augmented_grid(task.images, some, config.augment, seed=config.train.seed)
