"""Which part of the pictures a network is to see: what the settings leave to the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from candid.arrays import Floats
from candid.config import QUICK_RECIPE, load_config
from candid.data.dataset import Dataset
from candid.data.targets import classes_of
from candid.pipeline.beginning import source_of_weights
from candid.records import read_record, write_record
from candid.records.model import MOST_LOST_OF_A_CLASS, TriedView, TriedViews
from candid.settings import Config, TrainConfig
from candid.settings.network import AUTO, FACE, DeepConfig, window_edges
from candid.stats.retention import loses_more, retention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from candid.training.state import Task

_STEPS, _SHARE = 120, 5  # the trial's batches: a fifth of the training's, so many at most
_BATCH, _WIDTH = 128, 16


@dataclass(frozen=True)
class Seen:
    """The settings with the window that was chosen, and what the views tell that were tried."""

    config: Config
    views: tuple[TriedView, ...] = ()


def with_window(
    task: Task,
    config: Config,
    dataset: Dataset | None = None,
    *,
    noted: Path | None = None,
    quiet: bool = False,
) -> Seen:
    """What the network is to see, where the settings say "face" or "auto".

    "face" is where the training pictures show it. "auto" is the smallest of the face without its
    forehead and the face with it from which a short training tells every label, surely, all but a
    twentieth of what it tells from the whole, and no class, surely, less than three quarters; and
    the whole where neither does, or where the training told less than half of what there is to
    tell. Weights that come from another run see what they saw there. Of
    `dataset`, whose rows are the task's, come the words for labels and classes, and who is in the
    images. What was tried is kept in a file, `noted`, and is not tried again: on another machine a
    close choice may end otherwise, and a training that goes on must see what it saw. Several
    processes that train together choose together.
    """
    network = config.network
    if not isinstance(network, DeepConfig) or not network.finds_window:
        return Seen(config)
    if network.window == AUTO and config.train.initial:
        card, _ = source_of_weights(Path(config.train.initial))
        return _seeing(config, network, str(card.options.get("window", "")) if card else "")
    from candid.training.window import face_windows

    if network.window == FACE:
        windows = face_windows(task.images, task.train)
        return _seeing(config, network, windows[-1] if windows else "")
    views = _noted(noted)
    if views is None:
        windows = face_windows(task.images, task.train)
        views = _tried(task, windows, config, dataset, quiet)
        _note(noted, views)
    lacking = {view.window for view in views if not view.suffices}
    found = next((view.window for view in views if view.window not in lacking), "")
    return _seeing(config, network, found, views)


def _noted(path: Path | None) -> tuple[TriedView, ...] | None:
    from candid.training.distributed import team

    if path is None or not team().broadcast(path.is_file):
        return None
    return team().broadcast(lambda: read_record(path, TriedViews)).views


def _note(path: Path | None, views: tuple[TriedView, ...]) -> None:
    from candid.training.distributed import team

    if path is not None and team().leads:
        write_record(path, TriedViews(views))


def _seeing(
    config: Config, network: DeepConfig, window: str, views: tuple[TriedView, ...] = ()
) -> Seen:
    return Seen(replace(config, network=replace(network, window=window)), views)


def _tried(
    task: Task, windows: Sequence[str], config: Config, dataset: Dataset | None, quiet: bool
) -> tuple[TriedView, ...]:
    """Each window and label after a short training; none where there is nothing to try."""
    from candid.training.distributed import team
    from candid.training.views import view_losses

    steps = min(_STEPS, config.train.steps // _SHARE)
    if not (windows and steps and len(task.validation)):
        return ()
    quick = load_config(recipe=QUICK_RECIPE)
    parts = [(), *map(window_edges, windows)]
    losses, base = view_losses(
        task,
        parts,
        DeepConfig(width=_WIDTH, window=""),
        _quick(quick.train, config.train, steps),
        quick.augment,
        quiet=quiet,
    )
    found = tuple(
        _view(window, label, (base[:, t], losses[0][:, t], part[:, t]))
        for window, part in zip(windows, losses[1:], strict=True)
        for t, label in enumerate(_labels(task, dataset))
    )
    return team().broadcast(lambda: found)


@dataclass(frozen=True, eq=False)
class _Label:
    """A label's name and classes, of a number none, and the validation images' codes and people."""

    name: str
    classes: tuple[str, ...]
    codes: NDArray[np.int16]
    person: NDArray[np.int64] | None


def _labels(task: Task, dataset: Dataset | None) -> list[_Label]:
    codes = task.label[task.validation].reshape(len(task.validation), -1)
    person = None if dataset is None else dataset.persons(task.validation)
    sizes = task.sizes or (task.n_classes,)
    found = []
    for t, (size, scale) in enumerate(zip(sizes, task.scales or [None] * len(sizes), strict=True)):
        name, classes = "", tuple(map(str, range(size)))
        if dataset is not None:
            name = dataset.targets[t]
            classes = classes_of(dataset, name)
        found.append(_Label(name, classes if scale is None else (), codes[:, t], person))
    return found


def _view(window: str, label: _Label, losses: Sequence[Floats]) -> TriedView:
    """What is lost of a label in a window, by the losses (n,) from nothing, the whole, and it."""
    base, whole, part = losses
    kept, lost = retention(base, whole, part, label.person), ""
    for code, name in enumerate(label.classes):
        own = label.codes == code
        person = None if label.person is None else label.person[own]
        if loses_more(MOST_LOST_OF_A_CLASS, base[own], whole[own], part[own], person):
            lost = name
            break
    return TriedView(
        window, label.name, kept.n, kept.base, kept.whole, kept.part, kept.lost, kept.high, lost
    )


def _quick(quick: TrainConfig, own: TrainConfig, steps: int) -> TrainConfig:
    """The quick recipe's training, on the device and of the seed of the run's own."""
    return replace(
        quick,
        steps=steps,
        batch_size=min(_BATCH, own.batch_size),
        target_weights=own.target_weights,
        precision=own.precision,
        device=own.device,
        threads=own.threads,
        seed=own.seed,
        ema_decay=0.9,
        checkpoints=0,
        flip_tta=False,
    )
