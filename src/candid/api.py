"""The Python face of the verbs: what `import candid` offers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candid import stages
from candid.predictions.arrays import as_predictions
from candid.records import Evaluation, Exploration, ModelCard, read_record
from candid.records.audit import Audit
from candid.records.explanation import Explanation
from candid.records.tuning import Tuning
from candid.runs import RunFolder, open_run, refuse_full
from candid.settings import Config, OwnConfig

if TYPE_CHECKING:
    from fastapi import FastAPI
    from torch import nn

    from candid.data.dataset import Dataset
    from candid.inference.classifier import Engine
    from candid.inference.parts import Manifest
    from candid.models.model import Whole
    from candid.stages.using import Exported


def load(
    path: str | PathLike[str],
    *,
    target: str | None = None,
    layout: str | None = None,
    config: Config | None = None,
) -> Dataset:
    """Read the labels at a path; no image is opened yet.

    Parameters
    ----------
    path
        A data folder, or a table (CSV, TSV, Parquet).
    target
        The annotation to learn: "Male". None: the layout's own.
    layout
        "celeba", "folder", "table", …; None: recognised.
    config
        Its `data` section says how columns and splits are found; None: the defaults.

    Raises
    ------
    DataError
        Where the path does not hold labelled images, or the target cannot be learned.
    """
    from candid.data import layouts

    about = (config or Config()).data
    return layouts.load(Path(path), target=target, layout=layout, config=about)


def explore(
    dataset: Dataset,
    config: Config | None = None,
    *,
    findings: str | PathLike[str] | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Exploration:
    """What is in the data: sizes, balance, people, duplicates, attributes, findings.

    `findings` is a Parquet file to write every image behind the findings to: `code`, `id`,
    `partner` (of copies, the other one) and `detail`.
    """
    config = config or Config()
    data = stages.pack(dataset, config, cache=cache, quiet=quiet)
    path = None if findings is None else Path(findings)
    return stages.look(data, config, findings=path, quiet=quiet)[0]


def train(
    dataset: Dataset,
    config: Config | None = None,
    *,
    network: nn.Module | None = None,
    out: str | PathLike[str] | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> RunFolder:
    """Train a network from scratch into a new run folder: weights, history, predictions.

    Parameters
    ----------
    dataset
        What `candid.load` returned.
    config
        All settings; None: the recipe that `candid run` uses.
    network
        Any module that takes normalised images (batch, 3, side, side) and gives logits (batch,
        classes); None: the one that the settings name. Reading its run from the command line
        is possible as far as nothing has to be predicted anew: Candid cannot build it by name.
    out
        The run's folder, new or empty; None: the next free one below runs/.
    cache
        Where packed images are kept.
    quiet
        No progress bars.
    """
    run, config, data = _begin(dataset, config, network, out, cache, quiet)
    stages.train(run, data, config, network=network, quiet=quiet)
    stages.predict(run, data, config, network=network, quiet=quiet)
    stages.know_pictures(run, data, config)
    return run


def run(
    dataset: Dataset,
    config: Config | None = None,
    *,
    network: nn.Module | None = None,
    out: str | PathLike[str] | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> RunFolder:
    """Explore, train, evaluate and report into a new run folder: `candid run` from Python.

    The parameters are those of `train`.
    """
    folder, config, data = _begin(dataset, config, network, out, cache, quiet)
    stages.everything(folder, data, config, network=network, quiet=quiet)
    return folder


def tune(
    dataset: Dataset,
    config: Config | None = None,
    *,
    out: str | PathLike[str] | None = None,
    storage: str = "",
    study: str = "candid",
    cache: Path | None = None,
    quiet: bool = True,
) -> Tuning:
    """Search for better settings than those of `config`: `candid tune` from Python.

    Its `tune` section holds budget and method. `out` gets the study, `best.toml` and a report;
    the same call again goes on with it. `storage` is a database's address for several machines.
    """
    stages.needs_optuna()
    config = config or Config()
    folder = stages.study_folder(None if out is None else Path(out))
    data = stages.pack(dataset, config, cache=cache, quiet=quiet)
    return stages.tune(folder, data, config, storage=storage, name=study, quiet=quiet)


def evaluate(
    y_true: Any,
    y_prob: Any = None,
    config: Config | None = None,
    *,
    classes: Sequence[Any] | None = None,
    person: Any = None,
    groups: Any = None,
    split: Any = None,
) -> Evaluation:
    """How well a model does, from its predictions alone; needs no torch.

    Parameters
    ----------
    y_true
        Labels, beside `y_prob`; or a run, its folder, a file of predictions, or `Predictions`.
    y_prob
        The probability of the second class, (n,), or of every class, (n, classes).
    config
        Its `evaluate` section says how; None: the defaults.
    classes, person, groups, split
        As in `Predictions.from_arrays`.
    """
    from candid.evaluation.performance import evaluate_predictions as judge

    y_prob, config = _settings_last(y_prob, config)
    judged = as_predictions(
        _file_of(y_true), y_prob, classes=classes, person=person, groups=groups, split=split
    )
    return judge(judged, config.evaluate)


def _settings_last(y_prob: Any, config: Config | None) -> tuple[Any, Config]:
    """Of (predictions, settings) the settings stand where those of (labels, …) have theirs not."""
    return (None, y_prob) if isinstance(y_prob, Config) else (y_prob, config or Config())


def _file_of(judged: Any) -> Any:
    return judged.predictions if isinstance(judged, RunFolder) else judged


def explain_run(
    run: RunFolder,
    config: Config | None = None,
    *,
    data: str | PathLike[str] | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Explanation:
    """What a run's network looks at, into the run's folder: `candid explain RUN` from Python.

    `config` is the run's own unless given; its `explain` section says how. `data` is where the
    run's data lie now; a URL that a run names is not followed unless it is given here. For a
    network that is not a run's, and for images in memory, see `explain_network`.
    """
    folder, own = open_run(run.path)
    config = own if config is None else config
    where = None if data is None else Path(data)
    loaded = stages.reload(folder, config, cache, quiet, where)
    return stages.explain(folder, loaded, config, quiet=quiet)


def predict(
    run: RunFolder,
    pictures: Iterable[str | PathLike[str]],
    *,
    engine: Engine = "auto",
    abstain_below: float | None = None,
    check: bool = True,
    crop: bool = False,
    detector: Path | None = None,
    workers: int = 0,
) -> Iterator[dict[str, Any]]:
    """A row per picture (with `crop`, per face), as they are done: `candid predict` from Python.

    Parameters
    ----------
    run
        A run whose training was finished.
    pictures
        Files, folders, globs, tar or Parquet files.
    engine, abstain_below
        See `candid.inference.classifier.open_classifier`.
    check
        Whether to flag pictures unlike the training data.
    crop, detector
        Whether to find faces first, and a model for OpenCV's FaceDetectorYN to do it with.
    workers
        Threads; 0: one per core.

    Yields
    ------
    A dict by the names of the table's columns; None where undefined.
    """
    from candid.inference.classify import label
    from candid.inference.sources import items, resolve
    from candid.stages.using import labeller, one_thread_each

    inputs = resolve([fspath(picture) for picture in pictures])
    ready = labeller(
        run,
        engine=engine,
        abstain_below=abstain_below,
        check=check,
        crop=crop,
        detector=detector,
    )
    names = ready.columns.schema().names
    with (
        one_thread_each(ready.classifier.engine),
        closing(label(ready, items(inputs), workers=workers)) as blocks,
    ):
        for block in blocks:
            yield from (dict(zip(names, row, strict=True)) for row in block.rows)


def predict_shards(
    run: RunFolder,
    shards: Iterable[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    ray: bool = False,
    engine: Engine = "auto",
    abstain_below: float | None = None,
    check: bool = True,
    force: bool = False,
    workers: int = 0,
) -> Manifest:
    """Label tar or Parquet files into a folder, a table for each: `candid predict --out FOLDER/`.

    Only parts that are missing are made. What could not be read stands in the manifest.

    Parameters
    ----------
    run
        A run whose training was finished.
    shards
        Tar and Parquet files, folders, globs and URLs with some.
    out
        A folder or a URL.
    ray
        Whether tasks of Ray do it, on the cluster that Ray is connected to or finds.
    engine, abstain_below, check
        As for `predict`.
    force
        Replace parts of another model or other settings.
    workers
        Threads, or tasks at a time; 0: one per core.
    """
    from candid.inference.sources import resolve
    from candid.stages.shards import label_shards

    return label_shards(
        run,
        resolve([fspath(shard) for shard in shards]),
        fspath(out),
        ray=ray,
        engine=engine,
        abstain_below=abstain_below,
        check=check,
        force=force,
        workers=workers,
    )


def export(
    run: RunFolder,
    *,
    network: nn.Module | None = None,
    out: Path | None = None,
    int8: bool = False,
    data: str | PathLike[str] | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> Exported:
    """Write a run's model as ONNX, checked against torch: `candid export RUN` from Python.

    `network` is the module itself where it is one of your own, which no name can build. `data` is
    as for `explain_run`.
    """
    from candid.stages.using import export as write

    folder, config = open_run(run.path)
    where = None if data is None else Path(data)
    loaded = stages.reload(folder, config, cache, quiet, where)
    return write(folder, config, loaded, network=network, out=out, int8=int8)


def load_model(path: str | PathLike[str] | RunFolder, *, network: nn.Module | None = None) -> Whole:
    """A run's model as a PyTorch module, with everything inside: pixels in, probabilities out.

    It normalises, averages with the mirror image where the model was made so, and divides by the
    temperature: what it gives is what `predictions.parquet` holds. It comes in evaluation mode on
    the CPU; `.to("cuda")` moves it.

    Parameters
    ----------
    path
        A run, its folder, or any folder with its `model.json` and `model.safetensors`.
    network
        The module itself where it is one of your own, which no name can build.

    Returns
    -------
    A module that takes RGB pixels, uint8 (n, side, side, 3) or floating point from 0 to 1
    (n, 3, side, side), and gives calibrated probabilities (n, classes) in the order of its
    `classes`.

    Raises
    ------
    RunError
        Where a file is missing or damaged, or the two do not belong together.
    """
    stages.needs_torch()
    from candid.models.model import load_whole

    run = path if isinstance(path, RunFolder) else RunFolder(Path(path))
    return load_whole(run.weights, read_record(run.model, ModelCard), network)


def audit(
    y_true: Any,
    y_prob: Any = None,
    config: Config | None = None,
    *,
    groups: Any = None,
    person: Any = None,
    classes: Sequence[Any] | None = None,
    split: Any = None,
    before: Any = None,
) -> Audit:
    """For whom a model fails, and how sure that is, from its predictions alone; needs no torch.

    >>> candid.audit(y_true, y_prob, groups=frame[["age", "race"]], person=frame["person"])

    Parameters
    ----------
    y_true
        Labels, beside `y_prob`; or a run, its folder, a file of predictions, or `Predictions`.
    y_prob
        The probability of the second class, (n,), or of every class, (n, classes).
    config
        Its `audit` section says how; None: the defaults.
    groups, person, classes, split
        As in `Predictions.from_arrays`.
    before
        Another model's predictions for the same images, as a run, its folder, a file or
        `Predictions`; beside labels, its probabilities. Then the audit says what changed for whom.
    """
    y_prob, config = _settings_last(y_prob, config)
    named = {"groups": groups, "person": person, "classes": classes, "split": split}
    judged = as_predictions(_file_of(y_true), y_prob, **named)
    if before is not None:
        two = (_file_of(before),) if y_prob is None else (y_true, before)
        before = as_predictions(*two, **({} if y_prob is None else named))
    return stages.audit_predictions(judged, config.audit, before=before)


def serve(
    *runs: str | PathLike[str],
    config: Config | None = None,
    abstain_below: float | None = None,
    quiet: bool = True,
) -> None:
    """Answer over HTTP, and show a page, for the models of some runs until it is interrupted.

    `config.serve` says where to listen and what to take in at most.
    """
    about = (config or Config()).serve
    stages.serve([Path(run) for run in runs], about, abstain_below=abstain_below, quiet=quiet)


def application(
    *runs: str | PathLike[str], config: Config | None = None, abstain_below: float | None = None
) -> FastAPI:
    """What `serve` serves as an ASGI application, for another server or to mount in one's own.

    The key that requests must carry comes from `config.serve.key_file` or `CANDID_API_KEY`, as for
    `serve`. Where it is mounted below another application, that one must run its lifespan.
    """
    about = (config or Config()).serve
    return stages.application([Path(run) for run in runs], about, abstain_below)


def _begin(
    dataset: Dataset,
    config: Config | None,
    network: nn.Module | None,
    out: str | PathLike[str] | None,
    cache: Path | None,
    quiet: bool,
) -> tuple[RunFolder, Config, stages.Data]:
    """A new run folder on packed images; what cannot go well is said before they are packed."""
    stages.needs_torch()
    config = config or Config()
    if network is not None:
        config = replace(config, network=OwnConfig())
    path = None if out is None else Path(out)
    if path is not None:
        refuse_full(path)
    data = stages.pack(dataset, config, cache=cache, quiet=quiet)
    run, config = stages.begin_training(path, config, data, name=config.network.name)
    return run, config, data
