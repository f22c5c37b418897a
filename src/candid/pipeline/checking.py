"""The check of all labels: folds of people, and a network for each that learned from the others.

Each fold's answers are one file, whose name is a digest of its data, folds and settings. A check
that was stopped goes on with the missing folds, and within one from its checkpoint.
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

from candid.arrays import IndexArray
from candid.data.splits import hash_keys, join_groups
from candid.errors import ConfigError, DataError, OutputError, RunError
from candid.pipeline.opening import Data
from candid.pipeline.steps import calibrate_predictions
from candid.pipeline.training import build_task, start_training, validation_logits
from candid.pipeline.views import choose_window
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
from candid.storage.files import copy_file
from candid.storage.jobs import job_digest, locked

if TYPE_CHECKING:
    from candid.training.state import Task, TrainingState


def check_folder(path: Path | None) -> Path:
    """The named folder, or the next free one below runs/; OutputError where it holds a run."""
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


def check_run(run: Run, data: Data) -> None:
    """Write check/, a check's folder inside a run, for a run with `check.folds`."""
    folder = run.checked.parent
    check = Run(folder)
    is_same = False
    if check.config.is_file():
        provenance = read_record(check.provenance, Provenance)
        settings = open_run(folder).settings
        is_same = settings == run.settings and provenance.data_fingerprint == data.fingerprint
    if not is_same:
        # What the folds answered is kept where it is of these settings: its names say so.
        for file in (
            check.config,
            check.provenance,
            check.predictions_file,
            check.check,
            check.views,
        ):
            file.unlink(missing_ok=True)
        write_record(check.provenance, read_record(run.provenance, Provenance))
        copy_files(run, check, FRAME_FILES)  # the data are given in one frame
        copy_file(run.config, check.config)
        if run.views.is_file():
            copy_file(run.views, check.views)
    examine_labels(Run(folder, run.settings, quiet=run.quiet), data)


def refuse_check(run: Run, data: Data) -> None:
    """Raise a ConfigError where `check.folds` cannot be done."""
    if run.settings.check.folds:
        refuse_unexaminable(run, data)


def refuse_unexaminable(run: Run, data: Data) -> None:
    """Raise a ConfigError where networks of the run's settings cannot check labels."""
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
        is_several = bool(run.settings.data.targets)
        raise ConfigError(
            "Several labels cannot be checked at once."
            if is_several
            else "A label that is a number cannot be checked.",
            expected="one label" if is_several else "one label with classes",
            todo="name one with data.target, and check the others one by one",
        )


def examine_labels(run: Run, data: Data, *, jobs: int = 1) -> LabelCheck:
    """Write folds/, predictions.parquet (out of fold, of all labelled images) and check.json.

    `jobs` folds are trained at a time, in a process each; the result is the same. Raises
    ConfigError for streamed images, several labels, or a network that no name builds; DataError for
    too few people, or a fold that leaves one class to learn from; OutputError where another process
    checks here.
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
    with locked(folder / ".lock", output=str(run.path), expected="one process", todo=todo):
        fold_of = assign_folds(data, run.settings, quiet=run.quiet)
        config = _use_window(run, data)
        folds = list(_list_folds(folder, data, fold_of, config))
        with stages([*(f.name for f in folds), "labels"], quiet=run.quiet) as display:
            if jobs > 1:
                _train_parallel([p for p in folds if not p.file.is_file()], data, jobs, run.quiet)
            for f in folds:
                if f.file.is_file():
                    display.skip(f.name)
                    continue
                with display.begin(f.name):
                    _train_fold(f, data, run.quiet)
            with display.begin("labels"):
                predictions, fold_numbers = _join_folds(folds, data, config)
                write_predictions(run.predictions_file, predictions)
                result = check_labels(predictions, fold_numbers, config.check, config.evaluate)
                write_record(run.check, result)
        for file in {*folder.glob("[0-9]*")} - {f.file for f in folds}:
            file.unlink(missing_ok=True)  # of other settings
    return result


def _use_window(run: Run, data: Data) -> Config:
    """The settings with one window for all folds."""
    from candid.models.device import memory_kept, threads

    config = run.settings
    if not isinstance(config.network, DeepConfig) or not config.network.finds_window:
        return config
    with threads(config.train.threads), memory_kept():
        task = build_task(data, config)
        return choose_window(task, config, data.dataset, record=run.views, quiet=run.quiet).config


# --- folds ---------------------------------------------------------------------------------------


def assign_folds(data: Data, config: Config, *, quiet: bool = True) -> IndexArray:
    """(n,) the fold of each readable labelled image, from 0; -1 for the others.

    People stay together, and so do copies. `train.seed` decides, whatever the order of the rows.
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
    keys = _person_keys(dataset.ids[rows], None if dataset.person is None else dataset.person[rows])
    groups = hash_keys(f"{config.train.seed}/{key}" for key in keys)
    position = np.full(len(dataset), -1, np.intp)
    position[rows] = np.arange(len(rows))
    first, second = (position[end] for end in find_copies(data.store, quiet=quiet).links())
    in_both = (first >= 0) & (second >= 0)
    groups = join_groups(groups, first[in_both], second[in_both])
    fold = np.full(len(dataset), -1, np.intp)
    fold[rows] = fold_groups(groups, dataset.label[rows], config.check.folds)
    return fold


def _person_keys(ids: NDArray[np.str_], person: NDArray[np.int64] | None) -> list[str]:
    """A key per person, whatever their numbers: the first name among a person's images."""
    names: list[str] = ids.tolist()
    if person is None:
        return names
    first: dict[int, str] = {}
    for name, number in zip(names, person.tolist(), strict=True):
        first[number] = min(name, first.get(number, name))
    return [name if k < 0 else first[k] for name, k in zip(names, person.tolist(), strict=True)]


@dataclass(frozen=True, eq=False)
class _Fold:
    """One fold: who is predicted, who is learned from, and the file of its answers."""

    name: str
    file: Path
    split: NDArray[np.str_]  # of all images: "validation" predicted, "train" learned from, or ""
    config: Config

    @property
    def checkpoint(self) -> Path:
        return self.file.with_suffix(".safetensors")


def _list_folds(folder: Path, data: Data, fold: IndexArray, config: Config) -> Iterator[_Fold]:
    check, label = config.check, data.dataset.label
    # Nothing is chosen on the images that are predicted: the last weights answer.
    train = replace(
        config.train,
        steps=check.steps or config.train.steps,
        evaluations=1,
        keep="last",
        patience=0,
    )
    fold_config = replace(config, train=train)
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
            "settings": [repr(s) for s in (fold_config.network, fold_config.augment, train)],
            "fold": k,
        }
        if data.frames:
            job["frames"] = data.frames
        file = folder / f"{k + 1}-{job_digest(job)[:16]}.npz"
        yield _Fold(f"fold {k + 1}", file, split, fold_config)


# --- a network for each --------------------------------------------------------------------------


def _train_fold(fold: _Fold, data: Data, quiet: bool) -> None:
    """Train on the other folds and write the logits of this one."""
    from candid.models.device import memory_kept, threads

    config = fold.config.train
    with threads(config.threads), memory_kept():
        dataset = replace(data.dataset, split=fold.split)
        task = build_task(replace(data, dataset=dataset), fold.config)
        state = _fit_fold(task, fold, quiet)
        logits = validation_logits(task, state, config, title="predict", quiet=quiet)
    write_archive(fold.file, {"rows": task.validation, "logits": logits})
    fold.checkpoint.unlink(missing_ok=True)


def _train_parallel(folds: list[_Fold], data: Data, jobs: int, quiet: bool) -> None:
    """Train several folds at a time, in a process each."""
    from candid.data.processes import in_processes

    work = partial(_train_in_process, data=data.without_pixels())
    try:
        with progress("folds", len(folds), unit="folds", quiet=quiet) as bar:
            for _ in in_processes(work, folds, min(jobs, len(folds) or 1)):
                bar.update()
    except BrokenProcessPool as error:
        raise RunError(
            "A process that trained a fold died.",
            expected="enough memory for as many networks as --jobs says",
            todo="give the same command again with fewer --jobs: what was done is kept",
        ) from error


def _train_in_process(fold: _Fold, data: Data) -> None:
    _train_fold(fold, data.with_pixels(), True)


def _fit_fold(task: Task, fold: _Fold, quiet: bool) -> TrainingState:
    from candid.models.features import Features
    from candid.training import checkpoint
    from candid.training.fitting import fit_state
    from candid.training.loop import train_in_steps as steps

    config, state = fold.config, start_training(task, fold.config)
    if isinstance(state.network, Features):
        fit_state(task, state, config.train, quiet=quiet)
        return state
    if fold.checkpoint.is_file():
        checkpoint.restore(fold.checkpoint, state)
    for _ in steps(task, state, config.train, config.augment, save_to=fold.checkpoint, quiet=quiet):
        pass
    return state


def _join_folds(folds: list[_Fold], data: Data, config: Config) -> tuple[Predictions, IndexArray]:
    """The networks' predictions for all images, in the data's order; and the fold of each."""
    logits, rows, fold = [], [], []
    for k, f in enumerate(folds):
        todo = f"remove {f.file}, then give the same command again"
        with reading_archive(f.file, expected="what a fold's network said", todo=todo) as archive:
            logits.append(archive["logits"].astype(np.float64))
            rows.append(archive["rows"])
        fold.append(np.full(len(rows[-1]), k))
    order = np.argsort(np.concatenate(rows))
    all_logits, data_rows = np.concatenate(logits)[order], np.concatenate(rows)[order]
    provenance = {
        "data_fingerprint": data.fingerprint,
        "network": config.network.name,
        "kept": "out of fold",
    }
    predictions = calibrate_predictions(
        data, data_rows, all_logits, np.ones(len(data_rows), np.bool_), provenance
    )
    return replace(predictions, out_of_fold=True), np.concatenate(fold)[order]
