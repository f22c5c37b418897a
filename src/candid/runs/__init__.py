"""The run: its folder's files, its steps, and where it came from."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import candid
from candid.config import read_config, to_toml
from candid.errors import ConfigError, OutputError, RunError
from candid.records import (
    HistoryRow,
    ModelCard,
    Provenance,
    read_record,
    write_record,
)
from candid.records.answers import AnsweredImages
from candid.records.framing import FramingCard
from candid.records.targets import Targets
from candid.runs.digests import step_digest
from candid.runs.folders import CHECKED, TARGETS
from candid.runs.steps import SHARED_STEPS as SHARED_STEPS
from candid.runs.steps import STEPS as STEPS
from candid.runs.steps import TARGET_STEPS as TARGET_STEPS
from candid.runs.steps import Display, Step
from candid.runs.steps import target_steps as target_steps
from candid.runs.tables import read_history as read_history
from candid.runs.tables import read_pictures as read_pictures
from candid.runs.tables import write_history as write_history
from candid.runs.tables import write_pictures as write_pictures
from candid.runs.trusting import trusted
from candid.settings import Config
from candid.storage.files import write_text, writing, written_by

if TYPE_CHECKING:
    from torch import nn


class _File:
    """A file's place in the folder of a run.

    Of a label among several, it is in the label's own folder, or in the run's where it is `shared`.
    """

    def __init__(self, name: str, *, shared: bool = False) -> None:
        self.name, self.shared = name, shared

    def __get__(self, run: Run | None, owner: type | None = None) -> Path:
        if run is None:
            return Path(self.name)
        return ((run.parent if self.shared else None) or run.path) / self.name


@dataclass(frozen=True, slots=True)
class Run:
    """A folder of plain files, each written by one step, and the settings to work on it with.

    What it holds is read when it is asked for: `model`, `predictions`; `predict` asks the model.

    A run that learned several labels has the network and a folder `targets/<label>` for each, with
    the files of what is done for it alone. That is a run, too: it reads what is shared from above,
    and its network is the one network with that label's outputs alone (`ModelCard.head`).

    Attributes
    ----------
    path
        The folder.
    settings
        All settings: those in `config.toml` where `open_run` gave the run.
    network
        A module of the caller's own, for `network.name = "own"`.
    quiet
        Whether its steps show no progress bars.
    follow
        Called with the history of its training whenever that is written.
    """

    path: Path
    settings: Config = field(default_factory=Config)
    network: nn.Module | None = field(default=None, compare=False, repr=False)
    quiet: bool = field(default=False, compare=False, repr=False)
    follow: Callable[[Sequence[HistoryRow]], object] | None = field(
        default=None, compare=False, repr=False
    )

    config = _File("config.toml", shared=True)  # every setting
    provenance = _File("provenance.json")  # versions, seed, commit, command, machine, data
    data = _File("data.json")  # what explore found
    findings = _File("findings.parquet")  # every image behind it
    history = _File("history.parquet", shared=True)  # loss and metrics per step
    # to go on from; last and best weights
    checkpoint = _File("checkpoint/state.safetensors", shared=True)
    # the parts of the pictures that were tried before it began
    views = _File("checkpoint/views.json", shared=True)
    weights = _File("model.safetensors", shared=True)
    model_file = _File("model.json")  # what the weights belong to, and how to feed it
    # how well pictures are brought to the training pictures' frame
    framing = _File("framing.json", shared=True)
    framing_weights = _File("framing.safetensors", shared=True)  # what does so
    # its training, to go on from
    framing_checkpoint = _File("checkpoint/framing.safetensors", shared=True)
    source_frames = _File("source_frames.json")  # how several data sets were brought to one frame
    source_framing = _File("source_framing.safetensors")  # what did so
    source_checkpoint = _File("checkpoint/source_framing.safetensors")  # its training
    predictions_file = _File("predictions.parquet")  # for validation and test
    evaluation = _File("evaluation.json")  # how well it does
    explanation = _File("explanation.json")  # what it looks at
    explanation_arrays = _File("explanation.npz")  # the maps
    inside = _File("inside.json")  # what the network looks like from inside
    inside_arrays = _File("inside.npz")  # the faces and filters that belong to it
    audit = _File("audit.json")  # for whom it fails
    comparison = _File("comparison.html")  # what changed from another model to this one
    comparison_of_runs = _File("comparison-runs.html")  # how this and other models differ
    pictures = _File("pictures.parquet")  # what the report shows, by kind and name
    # tells pictures like the training pictures from others
    unfamiliar = _File("unfamiliar.npz", shared=True)
    drift = _File("drift.npz")  # tells whether a stream of pictures is like the validation pictures
    # the corrections that its data were read with
    applied = _File("corrections-applied.csv", shared=True)
    corrections = _File("corrections.csv")  # what people decided while they reviewed it
    check = _File("check.json")  # which of all labels are likely wrong, of a check's folder
    checked = _File(f"{CHECKED}/check.json")  # the same in a run, which has such a folder
    transfer = _File("transfer.json")  # how it does on pictures from elsewhere
    improvement = _File("improve.json")  # which remedies help it, and whom
    seeds = _File("seeds.json")  # what other seeds would have changed
    seed_answers = _File("seeds.parquet")  # what each seed's network says of every image
    curves = _File("curve.json")  # how errors in groups fall with their people in training
    report = _File("report.html")
    card = _File("README.md")  # the model card
    targets = _File("targets.json")  # of several labels: what each output of the network is
    overview = _File("overview.json")  # of several labels: how it does on each

    @property
    def parent(self) -> Path | None:
        """Of one label among several, the folder of the run that learned them; else None."""
        path = self.path.absolute()
        above = path.parent.parent
        if path.parent.name != TARGETS or not path.is_dir() or (path / "config.toml").is_file():
            return None
        return above if (above / "config.toml").is_file() else None

    @property
    def steps(self) -> dict[str, Step]:
        """The steps that are done in this folder, in their order."""
        if self.settings.data.is_several:
            return SHARED_STEPS if self.parent is None else TARGET_STEPS
        enabled = {
            "align": self.aligns,
            "check": self.settings.check.folds > 0,
            "seeds": self.settings.seeds.count > 1,
        }
        return {name: step for name, step in STEPS.items() if enabled.get(name, True)}

    @property
    def aligns(self) -> bool:
        """Whether its data sets are brought to one frame, if several and not trained without."""
        if not self.settings.data.align_sources or self.settings.framing.steps == 0:
            return False
        if self.source_frames.is_file():
            return True
        if self.weights.is_file() or self.checkpoint.is_file() or not self.provenance.is_file():
            return False
        return len(read_record(self.provenance, Provenance).sources) > 1

    def target_runs(self) -> list[Run]:
        """Of several labels that were learned, the run of each, in the order of their outputs."""
        if self.parent is not None or not self.targets.is_file():
            return []
        labels = read_record(self.targets, Targets).labels
        return [replace(self, path=self.path / TARGETS / label.folder) for label in labels]

    @property
    def model(self) -> candid.Whole:
        """The trained network with everything inside, pixels in and probabilities out.

        See `candid.load_model`; it is loaded anew each time.
        """
        return candid.load_model(self, network=self.network)

    @property
    def predictions(self) -> candid.Predictions:
        """What the model says about the validation and test images; of one label with classes."""
        from candid.runs.refusals import refuse_several

        refuse_several(self)
        return candid.read_predictions(self.predictions_file)

    def predict(
        self,
        images: Any,
        *,
        abstain_below: float | None = None,
        check: bool = True,
        crop: bool = False,
        calibration: str = "",
    ) -> candid.AnsweredImages:
        """What the model says of images: paths, or uint8 pixels (n, height, width, 3).

        The other parameters are those of `candid.predict`, which gives the same rows one by one.
        """
        options: dict[str, Any] = {"abstain_below": abstain_below, "check": check, "crop": crop}
        rows = tuple(candid.predict(self, images, calibration=calibration, **options))
        if self.target_runs() or not rows or "prediction" not in rows[0]:
            shared_run = self if self.parent is None else replace(self, path=self.parent)
            labels = read_record(shared_run.targets, Targets).labels
            return AnsweredImages(", ".join(label.name for label in labels), (), rows)
        card = read_record(self.model_file, ModelCard)
        return AnsweredImages(card.target, card.classes, rows)

    def _repr_html_(self) -> str:
        from candid.runs.html import run_html

        return run_html(self)

    def step(
        self, name: str, function: Callable[..., object], *inputs: Any, shown: Display | None = None
    ) -> None:
        """Do a step, `function(run, *inputs)`, unless it is up to date."""
        if self.is_current(name):
            if shown is not None:
                shown.skip(name)
            return
        with nullcontext() if shown is None else shown.begin(name), self.recording(name):
            function(self, *inputs)

    @contextlib.contextmanager
    def recording(self, name: str) -> Iterator[None]:
        """Do a step in the block, up to date or not, and record it where it ends well."""
        if self.steps[name].resumes:
            yield
            return
        self.mark_begun(name)
        start = time.monotonic()
        yield
        # The report shows all seconds: its own would make it stale the moment that it is written.
        is_untimed = name in ("overview", "report")
        self.mark_done(name, None if is_untimed else time.monotonic() - start)

    def is_current(self, name: str) -> bool:
        """Whether a step need not be done again: it read what there is now, and its files exist."""
        if self.steps[name].resumes:
            return all(getattr(self, file).is_file() for file in self.steps[name].outputs)
        provenance = read_record(self.provenance, Provenance)
        return provenance.digests.get(name) == step_digest(self, self.steps[name], provenance)

    def is_finished(self) -> bool:
        """Whether nothing is left to do for the main job."""
        return all(self.is_current(name) for name in self.steps) and self.targets_finished()

    def targets_finished(self) -> bool:
        """Whether nothing is left to do for any of several labels."""
        label_runs = self.target_runs()
        labels = read_record(self.targets, Targets).labels if label_runs else ()
        return all(
            r.provenance.is_file()
            and all(map(r.is_current, target_steps(len(labels), number=label.number is not None)))
            for r, label in zip(label_runs, labels, strict=True)
        )

    def mark_begun(self, name: str) -> None:
        """Mark a step as begun: it and later steps that write the same files are out of date."""
        names, outputs = list(self.steps), {*self.steps[name].outputs}
        later = names[names.index(name) + 1 :]
        stale = {name, *(other for other in later if outputs & {*self.steps[other].outputs})}
        provenance = read_record(self.provenance, Provenance)
        digests = {step: digest for step, digest in provenance.digests.items() if step not in stale}
        if digests != provenance.digests:
            write_record(self.provenance, replace(provenance, digests=digests))

    def mark_done(self, name: str, seconds: float | None = None) -> None:
        """Mark a step as done: note its inputs and, if given, its seconds."""
        provenance = read_record(self.provenance, Provenance)
        if seconds is not None:
            provenance = replace(provenance, seconds=provenance.seconds | {name: round(seconds, 3)})
        digests = provenance.digests | {name: step_digest(self, self.steps[name], provenance)}
        write_record(self.provenance, replace(provenance, digests=digests))


def has_framing(run: Run) -> bool:
    """Whether images are brought to the training images' frame for the model."""
    return run.framing.is_file() and read_record(run.framing, FramingCard).used


# --- to begin, and to open -----------------------------------------------------------------------


def claim(root: Path, name: str) -> Path:
    """Make the folder `root/2026-11-24-plain-1`, or with the next free number; else OutputError.

    Runs that begin at the same moment get a folder each.
    """
    today = datetime.date.today().isoformat()
    with writing(root, "--out"):
        root.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = root / f"{today}-{name}-{number}"
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                return path


def refuse_full(path: Path) -> None:
    """Raise an OutputError for a new run's folder that holds more than a killed start left."""
    if path.is_dir() and set(path.iterdir()) - {*_list_leftovers(path)}:
        is_run = (path / "config.toml").is_file()
        raise OutputError(
            f"{path} is not empty.",
            expected="a new or empty folder",
            todo=f"go on with --resume {path}" if is_run else "name another place with --out",
        )


# Packing goes before the folder, so a run that was stopped in it is not there.
_NO_RUN = "check the path; a run that was stopped while it packed has no folder: begin it again"


def _list_leftovers(path: Path) -> list[Path]:
    """The files of a killed start, in a folder that did not become a run."""
    run = Run(path)
    if run.config.exists():
        return []
    provenance = [run.provenance] if written_by(path) else []
    return [
        *provenance,
        *(p for f in (run.provenance, run.config) for p in path.glob(f".{f.name}.*.part")),
    ]


def create(path: Path, config: Config, provenance: Provenance) -> Run:
    """Make a run folder with its settings and provenance; OutputError where it is full."""
    refuse_full(path)
    with writing(path, "--out"):
        path.mkdir(parents=True, exist_ok=True)
        for leftover in _list_leftovers(path):
            leftover.unlink(missing_ok=True)
    run = Run(path, config)
    write_record(run.provenance, provenance)
    write_text(run.config, to_toml(config))  # the last: it makes the folder a run
    return run


def open_run(path: str | PathLike[str], *, trust: bool = False) -> Run:
    """An existing run, with its settings.

    >>> run = candid.open_run("runs/first")
    >>> run.predict(["a.jpg", "b.jpg"]).to_frame()

    `trust`: whether this process may import and run the code of the network that it names.

    Raises
    ------
    RunError
        Where there is no run, or one in the format of another release.
    """
    run = Run(path := Path(path))
    if not run.config.is_file():
        raise RunError(
            f"{path} is not a run: it has no config.toml.",
            expected="a folder that candid run or candid train wrote",
            todo=f"begin anew with --out {path}" if _list_leftovers(path) else _NO_RUN,
        )
    try:
        return trusted(Run(path, read_config(run.config)), trust)
    except ConfigError as error:
        version = written_by(path) or "of an unknown version"
        other = "" if version == candid.__version__ else f"use Candid {version} for this run; or "
        raise RunError(
            f"{run.config}, which Candid {version} wrote: {error.what}",
            expected=error.expected,
            todo=f"{other}{error.todo}",
        ) from error
