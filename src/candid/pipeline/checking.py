"""The check of all labels: folds of people, a network for each, what it says of the others.

Each fold's answers are one file, written whole, whose name tells which data, folds and settings it
belongs to. So a check that was stopped goes on: with the folds that are missing, and in the midst
of a fold from its checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from candid.data.splits import hashed, join_groups
from candid.errors import ConfigError, DataError, OutputError, RunError
from candid.pipeline.opening import Data
from candid.pipeline.steps import calibrated_predictions
from candid.pipeline.training import begun, task_of, validation_logits
from candid.pipeline.views import with_window
from candid.predictions import Predictions, write_predictions
from candid.progress import progress, stages
from candid.records import Provenance, read_record, write_record
from candid.records.label_check import LabelCheck
from candid.runs import Run, claim, open_run
from candid.runs.copies import FRAME_FILES, copy_files
from candid.runs.folders import FOLDS
from candid.settings import Config, OwnConfig
from candid.settings.network import DeepConfig
from candid.storage.archives import reading_archive, write_archive
from candid.storage.files import copied
from candid.storage.jobs import alone, job_digest

if TYPE_CHECKING:
    from candid.training.state import Task, TrainingState


def check_folder(path: Path | None) -> Path:
    """The folder that is named, or the next free one below runs/.

    Raises OutputError where it holds a run.
    """
    if path is None:
        return claim(Path("runs"), "check")
    run = Run(path)
    if any(file.exists() for file in (run.data, run.history, run.checkpoint, run.model_file)):
        raise OutputError(
            f"{path} holds a run, and no check of labels.",
            expected="a new or empty folder, or that of a check to go on with",
            todo="name another place with --out",
        )
    return path


def with_folds(config: Config) -> Config:
    """The settings with folds to check in: 5 where they name none."""
    return replace(config, check=replace(config.check, folds=config.check.folds or 5))


def check_run(run: Run, data: Data) -> None:
    """Write check/, a check's folder inside a run, for a run with `check.folds`."""
    folder = run.checked.parent
    there = Run(folder)
    same = False
    if there.config.is_file():
        about = read_record(there.provenance, Provenance)
        settings = open_run(folder).settings
        same = settings == run.settings and about.data_fingerprint == data.fingerprint
    if not same:
        # What the folds answered is kept where it is of these settings: its names say so.
        for file in (
            there.config,
            there.provenance,
            there.predictions_file,
            there.check,
            there.views,
        ):
            file.unlink(missing_ok=True)
        write_record(there.provenance, read_record(run.provenance, Provenance))
        copy_files(run, there, FRAME_FILES)  # the data are given in one frame
        copied(run.config, there.config)
        if run.views.is_file():
            copied(run.views, there.views)
    examine_labels(Run(folder, run.settings, quiet=run.quiet), data)


def refuse_check(run: Run, data: Data) -> None:
    """Raise a ConfigError where a run is to examine labels that cannot be examined."""
    if run.settings.check.folds:
        refuse_unexaminable(run, data)


def refuse_unexaminable(run: Run, data: Data) -> None:
    """Raise a ConfigError where labels cannot be examined by networks of the run's settings."""
    if data.streamed is not None:
        raise ConfigError(
            "Labels cannot be checked on pictures that are streamed.",
            expected="a pack of all pictures, so that each can be learned from and asked about",
            todo="set data.stream = never where a pack fits on the disk",
        )
    if run.network is not None or isinstance(run.settings.network, OwnConfig):
        raise ConfigError(
            "Labels cannot be checked by a network of somebody's own.",
            expected="a network that can be built anew by its name for each fold",
            todo="set check.folds = 0",
        )
    if begins_with := run.settings.begins_with:
        raise ConfigError(
            f"Labels cannot be checked by networks that begin with {begins_with}: it may know "
            "them.",
            expected="fresh weights for each fold",
            todo=f"leave {begins_with} out, or set check.folds = 0",
        )
    if run.settings.data.is_several:
        several = bool(run.settings.data.targets)
        raise ConfigError(
            "Several labels cannot be checked at once."
            if several
            else "A label that is a number cannot be checked.",
            expected="one label" if several else "one label with classes",
            todo="name one with data.target, and check the others one by one",
        )


def examine_labels(run: Run, data: Data, *, jobs: int = 1) -> LabelCheck:
    """Write folds/, predictions.parquet (out of fold, of all labelled images) and check.json.

    So many folds as `jobs` are trained at a time, in a process each; what comes out is the same.
    Raises ConfigError where the pictures are streamed, several labels are named, or the network is
    none to be built by name; DataError where there are too few people for the folds, or a fold
    leaves one class to learn from; OutputError where another process checks in this folder.
    """
    from candid.auditing.label_check import check_labels

    refuse_unexaminable(run, data)
    if jobs < 1:
        raise ConfigError(
            f"{jobs} networks at a time train nothing.",
            expected="a whole number of at least 1",
            todo="leave --jobs out for one after the other",
        )
    folder = run.path / FOLDS
    todo = "wait for it, or name another place with --out"
    with alone(folder / ".lock", output=str(run.path), expected="one process", todo=todo):
        fold = folds_of(data, run.settings, quiet=run.quiet)
        config = _with_window(run, data)
        parts = list(_parts(folder, data, fold, config))
        with stages([*(part.name for part in parts), "labels"], quiet=run.quiet) as shown:
            if jobs > 1:
                _train_together([p for p in parts if not p.file.is_file()], data, jobs, run.quiet)
            for part in parts:
                if part.file.is_file():
                    shown.skip(part.name)
                    continue
                with shown.begin(part.name):
                    _train(part, data, run.quiet)
            with shown.begin("labels"):
                predictions, asked = _joined(parts, data, config)
                write_predictions(run.predictions_file, predictions)
                found = check_labels(predictions, asked, config.check, config.evaluate)
                write_record(run.check, found)
        for file in {*folder.glob("[0-9]*")} - {part.file for part in parts}:
            file.unlink(missing_ok=True)  # of other settings
    return found


def _with_window(run: Run, data: Data) -> Config:
    """The settings with the part of the pictures that all folds are to see, found once."""
    from candid.models.device import memory_kept, threads

    config = run.settings
    if not isinstance(config.network, DeepConfig) or not config.network.finds_window:
        return config
    with threads(config.train.threads), memory_kept():
        task = task_of(data, config)
        return with_window(task, config, data.dataset, noted=run.views, quiet=run.quiet).config


# --- folds ---------------------------------------------------------------------------------------


def folds_of(data: Data, config: Config, *, quiet: bool = True) -> NDArray[np.intp]:
    """(n,) the fold of each labelled image that can be read, from 0; -1 for the others.

    People stay together, and so do copies and near copies of a picture. `train.seed` decides who
    goes where, whatever the order of the rows.
    """
    from candid.data.duplicates import find_copies
    from candid.data.folds import fold_groups

    dataset = data.dataset
    rows = np.flatnonzero((dataset.label >= 0) & data.store.usable)
    if not len(rows):
        raise DataError(
            f"{dataset.name} has no labelled image that can be read.",
            expected="labels to check",
            todo="check the data, or name another label with --target",
        )
    keys = _keys(dataset.ids[rows], None if dataset.person is None else dataset.person[rows])
    group = hashed(f"{config.train.seed}/{key}" for key in keys)
    place = np.full(len(dataset), -1, np.intp)
    place[rows] = np.arange(len(rows))
    first, second = (place[end] for end in find_copies(data.store, quiet=quiet).links())
    both = (first >= 0) & (second >= 0)
    group = join_groups(group, first[both], second[both])
    fold = np.full(len(dataset), -1, np.intp)
    fold[rows] = fold_groups(group, dataset.label[rows], config.check.folds)
    return fold


def _keys(ids: NDArray[np.str_], person: NDArray[np.int64] | None) -> list[str]:
    """What tells people apart, whatever their numbers: the first name among a person's images."""
    names: list[str] = ids.tolist()
    if person is None:
        return names
    first: dict[int, str] = {}
    for name, who in zip(names, person.tolist(), strict=True):
        first[who] = min(name, first.get(who, name))
    return [
        name if who < 0 else first[who] for name, who in zip(names, person.tolist(), strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Part:
    """One fold: who is asked about and who is learned from, and where its answers lie."""

    name: str
    file: Path
    split: NDArray[np.str_]  # of all images: "validation" asked about, "train" learned from, or ""
    config: Config

    @property
    def checkpoint(self) -> Path:
        return self.file.with_suffix(".safetensors")


def _parts(folder: Path, data: Data, fold: NDArray[np.intp], config: Config) -> Iterator[_Part]:
    check, label = config.check, data.dataset.label
    # Nothing is chosen on the images that are asked about: the last weights answer.
    train = replace(
        config.train,
        steps=check.steps or config.train.steps,
        evaluations=1,
        keep="last",
        patience=0,
    )
    quick = replace(config, train=train)
    for k in range(int(fold.max()) + 1):
        split = np.select([fold == k, fold >= 0], ["validation", "train"], "")
        if len(np.unique(label[split == "train"])) < 2:
            raise DataError(
                f"All labels outside fold {k + 1} are of one class.",
                expected="two classes to learn from, whoever is left out",
                todo="use more people, or raise check.folds",
            )
        job: dict[str, object] = {
            "data": data.fingerprint,
            "folds": hashlib.blake2b(fold.astype(np.int64).tobytes(), digest_size=16).hexdigest(),
            "settings": [repr(s) for s in (quick.network, quick.augment, train)],
            "fold": k,
        }
        if data.frames:
            job["frames"] = data.frames
        file = folder / f"{k + 1}-{job_digest(job)[:16]}.npz"
        yield _Part(f"fold {k + 1}", file, split, quick)


# --- a network for each --------------------------------------------------------------------------


def _train(part: _Part, data: Data, quiet: bool) -> None:
    """Train on the other folds and write the logits of this one."""
    from candid.models.device import memory_kept, threads

    config = part.config.train
    with threads(config.threads), memory_kept():
        task = task_of(replace(data, dataset=replace(data.dataset, split=part.split)), part.config)
        state = _trained(task, part, quiet)
        found = validation_logits(task, state, config, title="predict", quiet=quiet)
    write_archive(part.file, {"rows": task.validation, "logits": found})
    part.checkpoint.unlink(missing_ok=True)


def _train_together(parts: list[_Part], data: Data, jobs: int, quiet: bool) -> None:
    """Train several folds at a time, each in a process that opens the pixels for itself."""
    from candid.data.processes import in_processes

    work = partial(_train_alone, data=data.without_pixels())
    try:
        with progress("folds", len(parts), unit="folds", quiet=quiet) as bar:
            for _ in in_processes(work, parts, min(jobs, len(parts) or 1)):
                bar.update()
    except BrokenProcessPool as error:
        raise RunError(
            "A process that trained a fold died.",
            expected="enough memory for as many networks as --jobs says",
            todo="give the same command again with fewer --jobs: what was done is kept",
        ) from error


def _train_alone(part: _Part, data: Data) -> None:
    _train(part, data.with_pixels(), True)


def _trained(task: Task, part: _Part, quiet: bool) -> TrainingState:
    from candid.models.features import Features
    from candid.training import checkpoint
    from candid.training.fitting import fit_state
    from candid.training.loop import train_in_steps as steps

    config, state = part.config, begun(task, part.config)
    if isinstance(state.network, Features):
        fit_state(task, state, config.train, quiet=quiet)
        return state
    if part.checkpoint.is_file():
        checkpoint.restore(part.checkpoint, state)
    for _ in steps(task, state, config.train, config.augment, save_to=part.checkpoint, quiet=quiet):
        pass
    return state


def _joined(parts: list[_Part], data: Data, config: Config) -> tuple[Predictions, NDArray[np.intp]]:
    """What the networks say of all images, in the data's order; and the fold of each."""
    found, rows, fold = [], [], []
    for k, part in enumerate(parts):
        todo = f"remove {part.file}, then give the same command again"
        with reading_archive(part.file, expected="what a fold's network said", todo=todo) as kept:
            found.append(kept["logits"].astype(np.float64))
            rows.append(kept["rows"])
        fold.append(np.full(len(rows[-1]), k))
    order = np.argsort(np.concatenate(rows))
    raw, at = np.concatenate(found)[order], np.concatenate(rows)[order]
    about = {
        "data_fingerprint": data.fingerprint,
        "network": config.network.name,
        "kept": "out of fold",
    }
    predictions = calibrated_predictions(data, at, raw, np.ones(len(at), np.bool_), about)
    return replace(predictions, out_of_fold=True), np.concatenate(fold)[order]
