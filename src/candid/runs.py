"""The run: its folder's files, its steps, and where it came from."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

import candid
from candid.config import read_config, to_toml
from candid.errors import ConfigError, OutputError, RunError, go_on_with
from candid.records import HistoryRow, Provenance, read_record, write_record
from candid.records.framing import FramingCard
from candid.settings import Config
from candid.storage.files import atomic, reading, regular, write_text, writing, written_by

if TYPE_CHECKING:
    from torch import nn


class Shown(Protocol):
    """Who is told which step of a job is done, such as `candid.progress.Stages`."""

    def begin(self, name: str) -> AbstractContextManager[None]:
        """A step that is done inside."""

    def skip(self, name: str) -> None:
        """A step that was done before."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the main job.

    Attributes
    ----------
    settings
        What it reads of the settings: sections, or single ones such as "train.seed".
    inputs, outputs
        The files that it reads and writes, as `Run` calls them. Every step but the report
        may read the data, too, which have one fingerprint.
    resumes
        Whether it goes on from a checkpoint. Then it is whole where its files are, as the
        checkpoint belongs to the settings that it began with; and it writes down itself what it
        took, with what it took before it was stopped.
    """

    settings: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    resumes: bool = False


_DEVICE = ("train.device", "train.precision")
_FRAMED = ("framing", "framing_weights")
_MODEL = ("weights", "model")
_MADE = ("framing", "data", "history", "model", "evaluation", "audit", "pictures")
_EXPLAINED = ("explanation", "explanation_arrays", "inside", "inside_arrays")

# In their order: each may change what those below it read.
STEPS = {
    "explore": Step(("data", "evaluate"), (), ("data", "findings", "pictures")),
    "train": Step(("data", "network", "augment", "train"), (), ("weights", "model"), resumes=True),
    "frame": Step(("data", "framing", "train"), (), ("framing", "framing_weights")),
    "predict": Step(("data", *_DEVICE), ("weights",), ("predictions", "model")),
    "evaluate": Step(("evaluate",), ("predictions", "history"), ("evaluation",)),
    "audit": Step(("audit",), ("predictions",), ("audit",)),
    "pictures": Step(
        ("data", "augment", "train.seed"), ("data", "evaluation", "audit"), ("pictures",)
    ),
    "explain": Step(("data", "explain", *_DEVICE), _MODEL, ("explanation", "explanation_arrays")),
    "inside": Step(("data", *_DEVICE), (*_MODEL, "predictions"), ("inside", "inside_arrays")),
    "unfamiliar": Step(("data", "predict", "train.seed"), _FRAMED, ("unfamiliar",)),
    "drift": Step(("data", "train.seed"), (*_MODEL, *_FRAMED, "unfamiliar"), ("drift",)),
    "report": Step(
        tuple(f.name for f in fields(Config)),
        ("provenance", *_MADE, *_EXPLAINED, "transfer"),
        ("report", "card"),
    ),
}


class _File:
    """A file's place in the folder of a run."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: Run | None, owner: type | None = None) -> Path:
        return Path(self.name) if run is None else run.path / self.name


@dataclass(frozen=True, slots=True)
class Run:
    """A folder of plain files, each written by one step, and the settings to work on it with.

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
    """

    path: Path
    settings: Config = field(default_factory=Config)
    network: nn.Module | None = field(default=None, compare=False, repr=False)
    quiet: bool = field(default=False, compare=False, repr=False)

    config = _File("config.toml")  # every setting
    provenance = _File("provenance.json")  # versions, seed, commit, command, machine, data
    data = _File("data.json")  # what explore found
    findings = _File("findings.parquet")  # every image behind it
    history = _File("history.parquet")  # loss and metrics per step
    checkpoint = _File("checkpoint/state.safetensors")  # to go on from; last and best weights
    weights = _File("model.safetensors")
    model = _File("model.json")  # what the weights belong to, and how to feed it
    framing = _File("framing.json")  # how well pictures are brought to the training pictures' frame
    framing_weights = _File("framing.safetensors")  # what does so
    framing_checkpoint = _File("checkpoint/framing.safetensors")  # its training, to go on from
    predictions = _File("predictions.parquet")  # for validation and test
    evaluation = _File("evaluation.json")  # how well it does
    explanation = _File("explanation.json")  # what it looks at
    explanation_arrays = _File("explanation.npz")  # the maps
    inside = _File("inside.json")  # what the network looks like from inside
    inside_arrays = _File("inside.npz")  # the faces and filters that belong to it
    audit = _File("audit.json")  # for whom it fails
    comparison = _File("comparison.html")  # what changed from another model to this one
    pictures = _File("pictures.parquet")  # what the report shows, by kind and name
    unfamiliar = _File("unfamiliar.npz")  # tells pictures like the training pictures from others
    drift = _File("drift.npz")  # tells whether a stream of pictures is like the validation pictures
    applied = _File("corrections-applied.csv")  # the corrections that its data were read with
    corrections = _File("corrections.csv")  # what people decided while they reviewed it
    check = _File("check.json")  # which of all labels are likely wrong, of a check's folder
    transfer = _File("transfer.json")  # how it does on pictures from elsewhere
    report = _File("report.html")
    card = _File("README.md")  # the model card

    def step(
        self, name: str, function: Callable[..., object], *inputs: Any, shown: Shown | None = None
    ) -> None:
        """Do a step, `function(run, *inputs)`, unless it is whole."""
        if self.is_whole(name):
            if shown is not None:
                shown.skip(name)
            return
        with nullcontext() if shown is None else shown.begin(name), self.doing(name):
            function(self, *inputs)

    @contextlib.contextmanager
    def doing(self, name: str) -> Iterator[None]:
        """Do a step inside, whole or not; it is written down where it ends well."""
        if STEPS[name].resumes:
            yield
            return
        self.forget(name)
        began = time.monotonic()
        yield
        # The report shows all seconds: its own would make it stale the moment that it is written.
        self.note(name, None if name == "report" else time.monotonic() - began)

    def is_whole(self, name: str) -> bool:
        """Whether a step need not be done again: it read what there is now, and its files exist."""
        if STEPS[name].resumes:
            return all(getattr(self, file).is_file() for file in STEPS[name].outputs)
        about = read_record(self.provenance, Provenance)
        return about.digests.get(name) == self._digest(name, about)

    def all_whole(self) -> bool:
        """Whether nothing is left to do for the main job."""
        return all(self.is_whole(name) for name in STEPS)

    def forget(self, name: str) -> None:
        """A step begins: it is no longer whole, nor is what adds to the same files after it."""
        names, written = list(STEPS), {*STEPS[name].outputs}
        later = names[names.index(name) + 1 :]
        gone = {name, *(other for other in later if written & {*STEPS[other].outputs})}
        about = read_record(self.provenance, Provenance)
        kept = {step: digest for step, digest in about.digests.items() if step not in gone}
        if kept != about.digests:
            write_record(self.provenance, replace(about, digests=kept))

    def note(self, name: str, seconds: float | None = None) -> None:
        """A step is done: write down what it read and, where it is given, how long it took."""
        about = read_record(self.provenance, Provenance)
        if seconds is not None:
            about = replace(about, seconds=about.seconds | {name: round(seconds, 3)})
        digests = about.digests | {name: self._digest(name, about)}
        write_record(self.provenance, replace(about, digests=digests))

    def _digest(self, name: str, about: Provenance) -> str:
        """Of the data, the settings and files that a step reads, and which of its files exist."""
        read = STEPS[name]
        plain = [
            about.data_fingerprint,
            {setting: repr(attrgetter(setting)(self.settings)) for setting in read.settings},
            {file: _hashed(getattr(self, file)) for file in read.inputs if file != "provenance"},
            about.seconds if "provenance" in read.inputs else None,
            [file for file in read.outputs if getattr(self, file).is_file()],
        ]
        return hashlib.blake2b(json.dumps(plain).encode(), digest_size=16).hexdigest()


def _hashed(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def is_framed(run: Run) -> bool:
    """Whether pictures are brought to the training pictures' frame before the model looks."""
    return run.framing.is_file() and read_record(run.framing, FramingCard).used


# --- to begin, and to open -----------------------------------------------------------------------


def claim(root: Path, name: str) -> Path:
    """Make the folder `root/2026-11-24-plain-1`, or with the next number that is free.

    Runs that begin at the same moment get a folder each.

    Raises
    ------
    OutputError
        Where it cannot be made.
    """
    today = datetime.date.today().isoformat()
    with writing(root):
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
    """Raise an OutputError where a new run's folder holds something already.

    What a start that was killed left is nothing.
    """
    if path.is_dir() and set(path.iterdir()) - {*_leftovers(path)}:
        is_run = (path / "config.toml").is_file()
        raise OutputError(
            f"{path} is not empty.",
            expected="a new or empty folder",
            todo=f"go on with --resume {path}" if is_run else "name another place with --out",
        )


def _leftovers(path: Path) -> list[Path]:
    """What a start that was killed left in a folder that did not become a run."""
    run = Run(path)
    if run.config.exists():
        return []
    whole = [run.provenance] if written_by(path) else []
    return [
        *whole,
        *(p for f in (run.provenance, run.config) for p in path.glob(f".{f.name}.*.part")),
    ]


def create(path: Path, config: Config, provenance: Provenance) -> Run:
    """Make a run folder and write down its settings and where it comes from.

    Raises
    ------
    OutputError
        Where the folder holds something already, or cannot be written to.
    """
    refuse_full(path)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        for leftover in _leftovers(path):
            leftover.unlink(missing_ok=True)
    run = Run(path, config)
    write_record(run.provenance, provenance)
    write_text(run.config, to_toml(config))  # the last: it makes the folder a run
    return run


def open_run(path: Path) -> Run:
    """An existing run, with its settings.

    Raises
    ------
    RunError
        Where there is no run, or one in the format of another release.
    """
    run = Run(path)
    if not run.config.is_file():
        raise RunError(
            f"{path} is not a run: it has no config.toml.",
            expected="a folder that candid run or candid train wrote",
            todo=f"begin anew with --out {path}" if _leftovers(path) else "check the path",
        )
    try:
        return Run(path, read_config(run.config))
    except ConfigError as error:
        version = written_by(path) or "of an unknown version"
        other = "" if version == candid.__version__ else f"use Candid {version} for this run; or "
        raise RunError(
            f"{run.config}, which Candid {version} wrote: {error.what}",
            expected=error.expected,
            todo=f"{other}{error.todo}",
        ) from error


def refuse_untrained(run: Run) -> None:
    """Raise a RunError, with the command that goes on, where a run's training is not finished."""
    if not run.model.is_file():
        raise RunError(
            f"{run.path} holds no trained network.",
            expected="a run whose training was finished",
            todo=go_on_with(run.path),
        )


# --- history -------------------------------------------------------------------------------------


def write_history(run: Run, rows: Sequence[HistoryRow]) -> None:
    """Write one row per training step."""
    columns = {
        f.name: [getattr(row, f.name) for row in rows] for f in dataclasses.fields(HistoryRow)
    }
    with atomic(run.history) as part:
        pq.write_table(pa.table(columns), part, compression="zstd")


def read_history(run: Run) -> list[HistoryRow]:
    """The rows that were written; none where nothing was trained.

    Raises
    ------
    RunError
        Where the file is damaged.
    """
    return _rows(run.history, lambda row: HistoryRow(**row))


# --- pictures ------------------------------------------------------------------------------------


def write_pictures(run: Run, pictures: Mapping[tuple[str, str], bytes]) -> None:
    """Write encoded pictures by (kind, name): ("mean", "Male"), ("thumbnail", "000123.jpg")."""
    table = pa.table(
        {
            "kind": pa.array([kind for kind, _ in pictures], pa.string()),
            "name": pa.array([name for _, name in pictures], pa.string()),
            "png": pa.array(list(pictures.values()), pa.binary()),
        }
    )
    with atomic(run.pictures) as part:
        pq.write_table(table, part)


def read_pictures(run: Run) -> dict[tuple[str, str], bytes]:
    """The pictures that were written; none where the stage did not run.

    Raises
    ------
    RunError
        Where the file is damaged.
    """
    return dict(_rows(run.pictures, lambda row: ((row["kind"], row["name"]), row["png"])))


def _rows(file: Path, made: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """What is made of each row of a table; nothing where there is none."""
    wanted = "a file that this version of Candid wrote"
    todo = "run the stage that writes it again, or start a new run"
    with reading(file, expected=wanted, todo=todo):
        rows = pq.read_table(regular(file)).to_pylist() if file.exists() else []
        return [made(row) for row in rows]
