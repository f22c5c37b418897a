"""The window that a network sees, where the settings leave it to the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from candid.arrays import FloatArray
from candid.config import QUICK_RECIPE, load_config
from candid.data.dataset import Dataset
from candid.data.targets import classes_of
from candid.pipeline.beginning import read_weights_source
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
class WindowChoice:
    """The settings with the chosen window, and what the views that were tried tell."""

    config: Config
    views: tuple[TriedView, ...] = ()


def choose_window(
    task: Task,
    config: Config,
    dataset: Dataset | None = None,
    *,
    record: Path | None = None,
    quiet: bool = False,
) -> WindowChoice:
    """Choose the window that the network sees, where the settings say "face" or "auto".

    "face" is where the training images show it. "auto" is the smallest of the face without its
    forehead and the face with it from which a short training tells every label, surely, all but a
    twentieth of what it tells from the whole, and no class, surely, less than three quarters; else
    the whole, also where the training told less than half of what there is to tell. Weights from
    another run keep that run's window. `dataset`, whose rows are the task's, names labels, classes
    and people. The trials are kept in `record` and not repeated: on another machine a close choice
    may end otherwise. Several processes choose together.
    """
    network = config.network
    if not isinstance(network, DeepConfig) or not network.finds_window:
        return WindowChoice(config)
    if network.window == AUTO and config.train.initial:
        card, _ = read_weights_source(Path(config.train.initial))
        return _build_choice(config, network, str(card.options.get("window", "")) if card else "")
    from candid.training.window import face_windows

    if network.window == FACE:
        windows = face_windows(task.images, task.train)
        return _build_choice(config, network, windows[-1] if windows else "")
    views = _read_views(record)
    if views is None:
        windows = face_windows(task.images, task.train)
        views = _try_windows(task, windows, config, dataset, quiet)
        _write_views(record, views)
    lacking = {view.window for view in views if not view.suffices}
    window = next((view.window for view in views if view.window not in lacking), "")
    return _build_choice(config, network, window, views)


def _read_views(path: Path | None) -> tuple[TriedView, ...] | None:
    from candid.training.distributed import team

    if path is None or not team().broadcast(path.is_file):
        return None
    return team().broadcast(lambda: read_record(path, TriedViews)).views


def _write_views(path: Path | None, views: tuple[TriedView, ...]) -> None:
    from candid.training.distributed import team

    if path is not None and team().leads:
        write_record(path, TriedViews(views))


def _build_choice(
    config: Config, network: DeepConfig, window: str, views: tuple[TriedView, ...] = ()
) -> WindowChoice:
    return WindowChoice(replace(config, network=replace(network, window=window)), views)


def _try_windows(
    task: Task, windows: Sequence[str], config: Config, dataset: Dataset | None, quiet: bool
) -> tuple[TriedView, ...]:
    """Each window and label after a short training; none without windows or steps."""
    from candid.training.distributed import team
    from candid.training.views import view_losses

    steps = min(_STEPS, config.train.steps // _SHARE)
    if not (windows and steps and len(task.validation)):
        return ()
    quick = load_config(recipe=QUICK_RECIPE)
    edges = [(), *map(window_edges, windows)]
    losses, base = view_losses(
        task,
        edges,
        DeepConfig(width=_WIDTH, window=""),
        _trial_settings(quick.train, config.train, steps),
        quick.augment,
        quiet=quiet,
    )
    views = tuple(
        _measure_view(window, label, (base[:, t], losses[0][:, t], part[:, t]))
        for window, part in zip(windows, losses[1:], strict=True)
        for t, label in enumerate(_collect_labels(task, dataset))
    )
    return team().broadcast(lambda: views)


@dataclass(frozen=True, eq=False)
class _LabelData:
    """A label's name, classes (none of a number), and validation codes and people."""

    name: str
    classes: tuple[str, ...]
    codes: NDArray[np.int16]
    person: NDArray[np.int64] | None


def _collect_labels(task: Task, dataset: Dataset | None) -> list[_LabelData]:
    codes = task.label[task.validation].reshape(len(task.validation), -1)
    person = None if dataset is None else dataset.persons(task.validation)
    sizes = task.sizes or (task.n_classes,)
    labels = []
    for t, (size, scale) in enumerate(zip(sizes, task.scales or [None] * len(sizes), strict=True)):
        name, classes = "", tuple(map(str, range(size)))
        if dataset is not None:
            name = dataset.targets[t]
            classes = classes_of(dataset, name)
        labels.append(_LabelData(name, classes if scale is None else (), codes[:, t], person))
    return labels


def _measure_view(window: str, label: _LabelData, losses: Sequence[FloatArray]) -> TriedView:
    """How much of a label a window loses, from losses (n,) of nothing, the whole, and it."""
    base, full, part = losses
    e, lost_class = retention(base, full, part, label.person), ""
    for code, name in enumerate(label.classes):
        mask = label.codes == code
        person = None if label.person is None else label.person[mask]
        if loses_more(MOST_LOST_OF_A_CLASS, base[mask], full[mask], part[mask], person):
            lost_class = name
            break
    return TriedView(window, label.name, e.n, e.base, e.whole, e.part, e.lost, e.high, lost_class)


def _trial_settings(quick: TrainConfig, train: TrainConfig, steps: int) -> TrainConfig:
    """The quick recipe's training, with the run's device and seed."""
    return replace(
        quick,
        steps=steps,
        batch_size=min(_BATCH, train.batch_size),
        target_weights=train.target_weights,
        precision=train.precision,
        device=train.device,
        threads=train.threads,
        seed=train.seed,
        ema_decay=0.9,
        checkpoints=0,
        flip_tta=False,
    )
