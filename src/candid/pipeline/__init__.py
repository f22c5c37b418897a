"""The verbs that make a run, behind `import candid` and the commands.

Those that look at a run are in `judging`, those that use its model in `using`, the steps of the
main job in `main_job`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from candid.config import QUICK_RECIPE, load_config
from candid.data.dataset import Dataset
from candid.pipeline import checking
from candid.pipeline.aligning import align_data
from candid.pipeline.data_places import Places, as_data_source
from candid.pipeline.drifting import fit_drift
from candid.pipeline.main_job import run_main_job
from candid.pipeline.opening import (
    Data,
    Place,
    begin,
    begin_or_resume,
    import_torch_meanwhile,
    is_distributed,
    is_main_process,
    load_packed,
    needs_torch,
    process_group,
)
from candid.pipeline.seeds import refuse_seeds
from candid.pipeline.several import predict_targets
from candid.pipeline.steps import describe_data, explore_data, learn_unfamiliar
from candid.pipeline.stopping import explain_failure
from candid.pipeline.tracking import log_to_trackers
from candid.pipeline.training import draw_augmented, train_framer, train_network
from candid.records import Exploration, read_record
from candid.records.label_check import LabelCheck
from candid.runs import Run, open_run, refuse_full
from candid.settings import Config, OwnConfig
from candid.training.trackers import needs_trackers

if TYPE_CHECKING:
    from torch import nn

    from candid.records.tuning import Tuning


# --- make a run ----------------------------------------------------------------------------------


def load(
    path: Places,
    *,
    target: str | Sequence[str] | None = None,
    layout: str | None = None,
    config: Config | None = None,
) -> Dataset:
    """Read the labels at a path; no image is opened yet.

    Parameters
    ----------
    path
        A data folder, or a table (CSV, TSV, Parquet); or several, which become one data set whose
        attribute "source" says where each image is from.
    target
        The annotation to learn: "Male"; or several, to be learned in one training, "*" for all
        others. None: the settings', else the layout's own. Of several data sets, one without it
        takes its layout's own where the classes are the same.
    layout
        "celeba", "folder", "table", …; None: the settings', else recognised.
    config
        Its `data` section says how columns and splits are found; None: the defaults.

    Raises
    ------
    DataError
        Where the path does not hold labelled images, or the target cannot be learned.
    """
    from candid.data.joining import load_labels

    data_config = (config or Config()).data
    data_config = replace(data_config, layout=layout or data_config.layout)
    if isinstance(target, str):
        data_config = replace(data_config, target=target, targets=())
    elif target:
        data_config = replace(data_config, target="", targets=tuple(target))
    return load_labels(as_data_source(path), data_config)


def explore(
    dataset: Dataset | Places,
    config: Config | None = None,
    *,
    out: Place | None = None,
    findings: Place | None = None,
    augmented: Place | None = None,
    croissant: Place | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Exploration:
    """What is in the data: sizes, balance, people, duplicates, attributes, findings.

    Parameters
    ----------
    dataset
        What `candid.load` returned, or where the data lie: one place, or several for one data set.
    config, cache, quiet
        As for `train`.
    out
        A new run folder for what is found, with pictures; `run` and `train` go on with it.
    findings
        A Parquet file for every image behind the findings, which `out` gets, too.
    augmented
        A PNG file that is to show what augmentation makes of some images.
    croissant
        A JSON file for what MLCommons' Croissant says of a data set, its responsible-AI part with
        it; a table of all labels is written beside it.
    """
    config = config or Config()
    if out is not None:
        refuse_full(Path(out))
    if augmented is not None:
        needs_torch()
    data = load_packed(as_data_source(dataset), config, cache=cache, quiet=quiet)
    if augmented is not None:
        draw_augmented(Path(augmented), data, config)
    if out is None:
        file = None if findings is None else Path(findings)
        exploration = describe_data(data, config, findings=file, quiet=quiet)[0]
    else:
        run = replace(begin(Path(out), config, data), quiet=quiet)
        with run.recording("explore"):
            explore_data(run, data)
        exploration = read_record(run.data, Exploration)
    if croissant is not None:
        from candid.data.croissant import write_croissant

        write_croissant(Path(croissant), data.all_rows, exploration)
    return exploration


def train(
    dataset: Dataset | Places | None = None,
    config: Config | None = None,
    *,
    network: nn.Module | None = None,
    out: Place | None = None,
    resume: Place | None = None,
    predictions: bool = True,
    name: str = "",
    log: Sequence[str] = (),
    cache: Path | None = None,
    quiet: bool = True,
) -> Run:
    """Train a network from scratch into a new run folder: weights, history, predictions.

    Parameters
    ----------
    dataset
        What `candid.load` returned, or where the data lie, in one place or several; None: where
        those of `resume` lay.
    config
        All settings; None: the recipe that `candid run` uses. Not with `resume`.
    network
        Any module that takes normalised images (batch, 3, side, side) and gives logits (batch,
        classes); None: the one that the settings name. Reading its run from the command line
        is possible as far as nothing has to be predicted anew: Candid cannot build it by name.
    out
        The run's folder, new or empty; None: the next free one below runs/.
    resume
        A run that was stopped, to go on with.
    predictions
        Whether to predict validation and test, too.
    name
        What a folder below runs/ is called after; "": the network.
    log
        Where its history goes as it grows: "tensorboard", "mlflow", "wandb", "trackio".
    cache
        Where packed images are kept.
    quiet
        No progress bars.
    """
    needs_trackers(log)
    if out is not None and resume is None and not is_distributed():
        refuse_full(Path(out))
    with process_group():
        run, data = _begin(dataset, config, network, out, resume, name, cache, quiet)
        with explain_failure("train", run, dataset), log_to_trackers(run, log) as tracked_run:
            data = align_data(run, data)
            train_network(tracked_run, data)
            if is_main_process():
                run.step("frame", train_framer, data)
            if is_main_process() and predictions:
                predict_targets(run, data)
            if is_main_process() and not run.unfamiliar.is_file():
                run.step("unfamiliar", learn_unfamiliar, data)
            is_single = not run.settings.data.is_several
            if is_main_process() and predictions and is_single and not run.drift.is_file():
                run.step("drift", fit_drift, data)
    return run


def run(
    dataset: Dataset | Places | None = None,
    config: Config | None = None,
    *,
    network: nn.Module | None = None,
    out: Place | None = None,
    resume: Place | None = None,
    name: str = "",
    log: Sequence[str] = (),
    cache: Path | None = None,
    jobs: int = 1,
    quiet: bool = True,
) -> Run:
    """Explore, train, evaluate, audit, explain and report: `candid run` from Python.

    With two `jobs`, the network that frames is trained in a process of its own beside the
    classifier; figures stay the same. That is quicker where `train.threads` leaves cores idle.

    Where `out` holds a run on these data, it goes on: a step is done again where its inputs or the
    settings that it reads have changed; those of training must be the run's own. Else as `train`.
    Of a finished run that is resumed, data that are named are only compared with the run's.
    """
    needs_trackers(log)
    if resume is not None and not is_distributed() and not log:
        existing = replace(open_run(Path(resume)), quiet=quiet)
        if existing.is_finished():
            if dataset is not None:  # a run that needs nothing says whose data these are, too
                _begin(dataset, config, network, out, resume, name, cache, quiet)
            return existing
    if config is not None:
        refuse_seeds(config, network)
    with process_group():
        run, data = _begin(
            dataset, config, network, out, resume, name, cache, quiet, _refuse_for_run
        )
        refuse_seeds(run.settings, network)
        with explain_failure("run", run, dataset):
            if is_distributed():  # what is left after training is done by one process
                with log_to_trackers(run, log) as tracked_run:
                    train_network(tracked_run, align_data(run, data))
    if is_main_process():
        with explain_failure("run", run, dataset), log_to_trackers(run, log) as tracked_run:
            run_main_job(tracked_run, data, jobs=jobs)
    return run


def demo(
    out: Place = "candid-demo",
    *,
    images: int = 3000,
    seed: int = 0,
    config: Config | None = None,
    quiet: bool = True,
) -> Run:
    """Draw synthetic faces and run everything on them: `candid demo` from Python."""
    from candid.data.synthetic import demo_world, write_faces

    config, folder = config or Config(), Path(out)
    world = demo_world(images, side=config.data.side, seed=seed)
    with import_torch_meanwhile():
        faces = write_faces(folder / "synthetic-faces", world, quiet=quiet)
    jobs = 2 if config.train.threads == 1 else 1
    cache = folder / "cache"
    return run(faces, config, out=folder / "run", cache=cache, jobs=jobs, quiet=quiet)


def tune(
    dataset: Dataset | Places,
    config: Config | None = None,
    *,
    out: Place | None = None,
    storage: str = "",
    study: str = "candid",
    cache: Path | None = None,
    quiet: bool = True,
) -> Tuning:
    """Search for better settings than those of `config`: `candid tune` from Python.

    Its `tune` section holds budget and method. `out` gets the study, `best.toml` and a report;
    the same call again goes on with it. `storage` is a database's address for several machines.
    """
    from candid.pipeline.tuning import needs_optuna, search_settings, study_folder

    needs_optuna()
    config = config or Config()
    data = load_packed(as_data_source(dataset), config, cache=cache, quiet=quiet)
    folder = study_folder(None if out is None else Path(out))
    return search_settings(folder, data, config, storage=storage, name=study, quiet=quiet)


def check(
    dataset: Dataset | Places,
    config: Config | None = None,
    *,
    out: Place | None = None,
    jobs: int = 1,
    cache: Path | None = None,
    quiet: bool = True,
) -> LabelCheck:
    """Examine every label, those of training, too: `candid check` from Python.

    Each part of the people is predicted by a network that learned from the others, `jobs` of them
    at a time; None for `config` is the recipe fast. `out` gets `check.json`, `predictions.parquet`
    and the settings, so that `candid.review` takes it for a run; the same call goes on with a check
    that was stopped.

    Raises
    ------
    DataError, OutputError, RunError
        Where there are too few people; `out` holds a run; it holds a check of something else.
    """
    needs_torch()
    folder = checking.check_folder(None if out is None else Path(out))
    labels = as_data_source(dataset)
    config = config or load_config(recipe=QUICK_RECIPE)
    config = replace(config, check=replace(config.check, folds=config.check.folds or 5))
    run, data = begin_or_resume(
        labels, config, folder, refuse=checking.refuse_unexaminable, cache=cache, quiet=quiet
    )
    return checking.examine_labels(run, align_data(run, data), jobs=jobs)


def _begin(
    dataset: Dataset | Places | None,
    config: Config | None,
    network: nn.Module | None,
    out: Place | None,
    resume: Place | None,
    name: str,
    cache: Path | None,
    quiet: bool,
    refuse: Callable[[Run, Data], object] | None = None,
) -> tuple[Run, Data]:
    """The run to train in, and its data; raises before images are packed."""
    needs_torch()
    settings = None if resume is not None else config or Config()
    if network is not None and settings is not None:
        settings = replace(settings, network=OwnConfig())
        if out is not None:
            refuse_full(Path(out))  # no settings tell one module from another
    path = out if resume is None else resume
    return begin_or_resume(
        None if dataset is None else as_data_source(dataset),
        settings,
        None if path is None else Path(path),
        name=name,
        network=network,
        refuse=refuse,
        cache=cache,
        quiet=quiet,
    )


def _refuse_for_run(run: Run, data: Data) -> None:
    """Raise where a step of the main job beside training cannot be done."""
    checking.refuse_check(run, data)
    refuse_seeds(run.settings, run.network)
