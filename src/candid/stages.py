"""The stages of a run, one function each: reads files of the run folder, writes its own.

This is where the wings meet: only here do data, learn, judge and report know of each other. Each
stage can be run again alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from candid import runs
from candid.config import Config, differences
from candid.errors import DependencyError, RunError
from candid.predictions import Predictions, read_predictions, write_predictions
from candid.records import (
    Evaluation,
    Exploration,
    ModelCard,
    Provenance,
    read_record,
    write_record,
)
from candid.runs import RunFolder

if TYPE_CHECKING:
    from candid.data.dataset import Dataset
    from candid.data.explore import ExplorationImages
    from candid.data.store import Store
    from candid.learn.state import State
    from candid.learn.train import Task

_THUMBNAIL = 96  # pixels per side


@dataclass(frozen=True, eq=False)
class Data:
    """A data set and its packed pixels."""

    dataset: Dataset
    store: Store

    @property
    def fingerprint(self) -> str:
        """The same where pixels and annotations are."""
        from candid.data.explore import data_fingerprint

        return data_fingerprint(self.dataset, self.store)


def load(path: Path, config: Config, *, cache: Path | None = None, quiet: bool = False) -> Data:
    """Read the labels at `path`, and pack the images unless that was done before."""
    from candid.data import layouts

    dataset = layouts.load(
        path,
        target=config.data.target or None,
        layout=config.data.layout or None,
        config=config.data,
    )
    return pack(dataset, config, cache=cache, quiet=quiet)


def pack(
    dataset: Dataset, config: Config, *, cache: Path | None = None, quiet: bool = False
) -> Data:
    """Pack the images of a data set unless that was done before."""
    from candid.data import store

    return Data(dataset, store.pack(dataset, config.data, cache=cache, quiet=quiet))


def reload(run: RunFolder, config: Config, cache: Path | None, quiet: bool) -> Data:
    """The data of an existing run, from where they lay when it began.

    Raises
    ------
    RunError
        Where they are gone or have changed since.
    """
    about = read_record(run.provenance, Provenance)
    if not Path(about.data).exists():
        raise RunError(
            f"The data that the run {run.path} began with are gone: there is no {about.data}.",
            expected="the same images and labels in the same place",
            todo="put them back (a link will do), or start a new run",
        )
    data = load(Path(about.data), config, cache=cache, quiet=quiet)
    if about.data_fingerprint != data.fingerprint:
        raise RunError(
            f"The data in {about.data} are not those that the run {run.path} began with.",
            expected=f"images and labels with the fingerprint {about.data_fingerprint}",
            todo="put the data back, or start a new run",
        )
    return data


def begin(path: Path, config: Config, data: Data) -> tuple[RunFolder, Config]:
    """A new run folder at `path`, and its full settings."""
    dataset = data.dataset
    found = replace(config.data, target=dataset.target, layout=dataset.layout)
    config = replace(config, data=found)
    about = runs.provenance(
        seed=config.train.seed,
        data=dataset.origin or dataset.name,
        data_fingerprint=data.fingerprint,
    )
    return runs.create(path, config, about), config


def begin_training(
    path: Path | None, config: Config, data: Data, *, name: str
) -> tuple[RunFolder, Config]:
    """A new run folder to train in, at `path` or the next free one below runs/.

    Raises
    ------
    DataError
        Where too few of the images can be read to train and to validate.
    """
    from candid.data.layouts.assembly import check_learnable

    check_learnable(data.dataset, data.store.usable)
    return begin(runs.claim(Path("runs"), name) if path is None else path, config, data)


def open_or_begin(
    path: Path, config: Config, where: Path, *, cache: Path | None = None, quiet: bool = False
) -> tuple[RunFolder, Config, Data]:
    """The run that lies at `path`, to go on with, or a new one there.

    Raises
    ------
    RunError
        Where the run there was begun with other settings.
    """
    if RunFolder(path).config.is_file():
        run, found = runs.open_run(path)
        config = replace(config, data=replace(config.data, layout=found.data.layout))
        if changed := differences(config, found):
            raise RunError(
                f"{path} holds a run with other settings: {', '.join(changed)}.",
                expected="the settings that it began with, or a new folder",
                todo="name another folder with --out, or remove this one",
            )
        return run, config, reload(run, config, cache, quiet)
    data = load(where, config, cache=cache, quiet=quiet)
    run, config = begin_training(path, config, data, name=config.network.name)
    return run, config, data


# --- explore -------------------------------------------------------------------------------------


def look(
    data: Data, config: Config, *, quiet: bool = False
) -> tuple[Exploration, ExplorationImages]:
    """What is in the data; writes nothing."""
    from candid.data.explore import explore

    exploration, images = explore(
        data.dataset,
        data.store,
        confidence=config.evaluate.confidence,
        draws=config.evaluate.draws,
        seed=config.evaluate.seed,
        quiet=quiet,
    )
    samples = {c: tuple(data.dataset.ids[list(r)].tolist()) for c, r in images.samples.items()}
    return replace(exploration, samples=samples), images


def explore(run: RunFolder, data: Data, config: Config, *, quiet: bool = False) -> Exploration:
    """Write data.json, and the pictures that go with it."""
    from candid.data.pictures import png

    with _timed(run, "explore"):
        exploration, images = look(data, config, quiet=quiet)
        shown = [i for ids in exploration.samples.values() for i in ids]
        pictures = {("picture", name): png(pixels) for name, pixels in images.pictures().items()}
        runs.write_pictures(run, pictures | _thumbnails(data, config, shown))
        write_record(run.data, exploration)  # the last: it says that exploring is done
    return exploration


# --- train ---------------------------------------------------------------------------------------


def train(run: RunFolder, data: Data, config: Config, *, quiet: bool = False) -> ModelCard:
    """Train from the run's checkpoint, or from the start where there is none.

    Writes checkpoint/, history.parquet, model.safetensors and model.json. Where model.json is
    there, training is finished and nothing is done.
    """
    if run.model.is_file():
        return read_record(run.model, ModelCard)
    needs_torch()
    import torch

    from candid.data.layouts.assembly import check_learnable
    from candid.learn import checkpoint
    from candid.learn.device import memory_kept, threads
    from candid.learn.model import save_weights
    from candid.learn.networks import build
    from candid.learn.train import start
    from candid.learn.train import train as steps

    check_learnable(data.dataset, data.store.usable)
    began = time.monotonic()
    with threads(config.train.threads), memory_kept():
        task = _task(data)
        with torch.random.fork_rng():
            torch.manual_seed(config.train.seed)
            network = build(
                config.network.name, side=task.images.side, classes=len(data.dataset.classes)
            )
        state = start(network, config.train)
        if run.checkpoint.is_file():
            checkpoint.load(run.checkpoint, state)
            # What was spent before it was stopped counts, too.
            began -= state.history[-1].seconds if state.history else 0.0
        for _ in steps(
            task, state, config.train, config.augment, save_to=run.checkpoint, quiet=quiet
        ):
            runs.write_history(run, state.history)
        runs.write_history(run, state.history)
        if config.train.keep == "best":
            state.network.load_state_dict(state.best)
        augmented = {("picture", "augmented"): _augmented(task, config, rows=4)}
        runs.write_pictures(run, runs.read_pictures(run) | augmented)
        card = _card(state, task, data, config)
        save_weights(run.weights, state.network.state_dict())
        runs.note_seconds(run, "train", time.monotonic() - began)
        write_record(run.model, card)
    return card


def _task(data: Data) -> Task:
    from candid.learn.forward import Images, channel_statistics
    from candid.learn.train import Task

    dataset, store = data.dataset, data.store
    rows = {split: dataset.rows(split, store.usable) for split in ("train", "validation")}
    mean, std = channel_statistics(store.pixels, rows["train"])
    return Task(
        Images(store.pixels, mean, std),
        dataset.label,
        len(dataset.classes),
        rows["train"],
        rows["validation"],
    )


def _card(state: State, task: Task, data: Data, config: Config) -> ModelCard:
    from candid.learn.networks import describe

    layers, multiply_adds = describe(state.network, task.images.side)
    best = config.train.keep == "best"
    return ModelCard(
        network=config.network.name,
        options={},
        target=data.dataset.target,
        classes=data.dataset.classes,
        side=task.images.side,
        mean=task.images.mean,
        std=task.images.std,
        temperature=1.0,  # until it is fitted
        parameters=sum(p.numel() for p in state.network.parameters()),
        multiply_adds=multiply_adds,
        layers=layers,
        step=state.best_step if best else state.step,
        kept="best" if best else "last",
    )


def draw_augmented(path: Path, data: Data, config: Config) -> None:
    """Write a PNG that shows what augmentation makes of a few training images."""
    needs_torch()
    from candid.files import atomic

    with atomic(path) as part:
        part.write_bytes(_augmented(_task(data), config, rows=8))


def _augmented(task: Task, config: Config, *, rows: int) -> bytes:
    from candid.data.pictures import png
    from candid.learn.grid import augmented_grid

    grid = augmented_grid(task.images, task.train[:rows], config.augment, seed=config.train.seed)
    return png(grid)


# --- predict, evaluate ---------------------------------------------------------------------------


def predict(run: RunFolder, data: Data, config: Config, *, quiet: bool = False) -> Predictions:
    """Fit the temperature on validation, and write predictions.parquet for validation and test."""
    needs_torch()
    import numpy as np

    from candid.judge.calibration import apply_temperature, fit_temperature
    from candid.learn.device import memory_kept, pick_device, threads, uses_bfloat16
    from candid.learn.forward import Images, logits
    from candid.learn.model import load_network

    with _timed(run, "predict"), threads(config.train.threads), memory_kept():
        card = read_record(run.model, ModelCard)
        dataset, store = data.dataset, data.store
        device = pick_device(config.train.device)
        rows = np.concatenate(
            [dataset.rows(split, store.usable) for split in ("validation", "test")]
        )
        raw = logits(
            load_network(run.weights, card, device),
            Images(store.pixels, card.mean, card.std),
            rows,
            device=device,
            bfloat16=uses_bfloat16(config.train.precision, device),
            title="predict",
            quiet=quiet,
        ).astype(np.float64)
        fitted_on = dataset.split[rows] == "validation"
        temperature = fit_temperature(raw[fitted_on], dataset.label[rows][fitted_on])
        write_record(run.model, replace(card, temperature=temperature))
        predictions = Predictions(
            target=dataset.target,
            classes=dataset.classes,
            ids=dataset.ids[rows],
            split=dataset.split[rows],
            label=dataset.label[rows],
            probability=apply_temperature(raw, temperature),
            temperature=temperature,
            identity=None if dataset.identity is None else dataset.identity[rows],
            attributes={name: a[rows] for name, a in dataset.attributes.items()},
            provenance={
                "data": dataset.name,
                "data_fingerprint": data.fingerprint,
                "network": card.network,
                "kept": card.kept,
            },
        )
        write_predictions(run.predictions, predictions)
    return predictions


def evaluate(run: RunFolder, config: Config) -> Evaluation:
    """Write evaluation.json from predictions.parquet and history.parquet."""
    from candid.judge.evaluate import evaluate as judge

    with _timed(run, "evaluate"):
        predictions = read_predictions(run.predictions)
        evaluation = judge(predictions, config.evaluate, history=runs.read_history(run))
        write_record(run.evaluation, evaluation)
    return evaluation


def show_examples(run: RunFolder, data: Data, config: Config, evaluation: Evaluation) -> None:
    """Add the pictures of the surest mistakes and the least sure images to the run's."""
    shown = [e.id for s in evaluation.splits for e in (*s.surest_mistakes, *s.least_sure)]
    runs.write_pictures(run, runs.read_pictures(run) | _thumbnails(data, config, shown))


def _thumbnails(data: Data, config: Config, ids: list[str]) -> dict[tuple[str, str], bytes]:
    from candid.data.pictures import thumbnail

    row = {str(data.dataset.ids[i]): i for i in range(len(data.dataset))} if ids else {}
    return {
        ("thumbnail", i): thumbnail(
            data.dataset, row[i], side=_THUMBNAIL, max_pixels=config.data.max_pixels
        )
        for i in ids
    }


# --- report --------------------------------------------------------------------------------------


def report(run: RunFolder, config: Config) -> Path:
    """Write report.html and the model card from the files of the run; returns the report's path."""
    from candid.files import write_text
    from candid.report.card import card
    from candid.report.inputs import ReportInput
    from candid.report.page import render

    pictures = runs.read_pictures(run)
    exploration = read_record(run.data, Exploration) if run.data.is_file() else None
    inputs = ReportInput(
        config=config,
        provenance=read_record(run.provenance, Provenance),
        evaluation=read_record(run.evaluation, Evaluation),
        exploration=exploration,
        history=runs.read_history(run),
        model=read_record(run.model, ModelCard) if run.model.is_file() else None,
        thumbnails={name: png for (kind, name), png in pictures.items() if kind == "thumbnail"},
        pictures={name: png for (kind, name), png in pictures.items() if kind == "picture"},
        samples=exploration.samples if exploration else {},
    )
    write_text(run.report, render(inputs))
    write_text(run.card, card(inputs))
    return run.report


def everything(run: RunFolder, data: Data, config: Config, *, quiet: bool = False) -> Evaluation:
    """Explore, train, predict, evaluate and report: what `candid run` does.

    Stages whose files are whole are not done again, so a run that was killed goes on.
    """
    if not run.data.is_file():
        explore(run, data, config, quiet=quiet)
    train(run, data, config, quiet=quiet)
    predict(run, data, config, quiet=quiet)
    evaluation = evaluate(run, config)
    show_examples(run, data, config, evaluation)
    report(run, config)
    return evaluation


@contextmanager
def _timed(run: RunFolder, stage: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    runs.note_seconds(run, stage, time.monotonic() - began)


def needs_torch() -> None:
    """Raise a DependencyError where the libraries that train and predict are not installed."""
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            f"Training and prediction need a library that is not installed: {error.name}.",
            expected="the extra 'train'",
            todo="pip install 'candid[train]'",
        ) from error
