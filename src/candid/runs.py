"""The run folder: where each file lies, and where the run came from."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import candid
from candid.config import read_config, to_toml
from candid.errors import ConfigError, OutputError, RunError, go_on_with
from candid.records import HistoryRow, Provenance, write_record
from candid.settings import Config
from candid.storage.files import atomic, reading, regular, write_text, writing

_LIBRARIES = ("numpy", "pillow", "pyarrow", "torch", "safetensors", "altair")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder of plain files, each written by one stage."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting."""
        return self.path / "config.toml"

    @property
    def provenance(self) -> Path:
        """Versions, seed, commit, command, machine, data."""
        return self.path / "provenance.json"

    @property
    def data(self) -> Path:
        """What explore found."""
        return self.path / "data.json"

    @property
    def findings(self) -> Path:
        """Every image behind what explore found."""
        return self.path / "findings.parquet"

    @property
    def history(self) -> Path:
        """Loss and metrics per step."""
        return self.path / "history.parquet"

    @property
    def checkpoint(self) -> Path:
        """The latest state to go on from; it holds the last and the best weights."""
        return self.path / "checkpoint" / "state.safetensors"

    @property
    def weights(self) -> Path:
        """The model's weights."""
        return self.path / "model.safetensors"

    @property
    def model(self) -> Path:
        """What the weights belong to, and how to feed it."""
        return self.path / "model.json"

    @property
    def predictions(self) -> Path:
        """What the model says about validation and test."""
        return self.path / "predictions.parquet"

    @property
    def evaluation(self) -> Path:
        """How well it does."""
        return self.path / "evaluation.json"

    @property
    def explanation(self) -> Path:
        """What the model looks at."""
        return self.path / "explanation.json"

    @property
    def explanation_arrays(self) -> Path:
        """The maps."""
        return self.path / "explanation.npz"

    @property
    def inside(self) -> Path:
        """What the network looks like from inside."""
        return self.path / "inside.json"

    @property
    def inside_arrays(self) -> Path:
        """The faces and filters that belong to it."""
        return self.path / "inside.npz"

    @property
    def audit(self) -> Path:
        """For whom it fails."""
        return self.path / "audit.json"

    @property
    def comparison(self) -> Path:
        """What changed from another model to this one, and for whom."""
        return self.path / "comparison.html"

    @property
    def pictures(self) -> Path:
        """The pictures that the report shows, by kind and name."""
        return self.path / "pictures.parquet"

    @property
    def typical(self) -> Path:
        """What tells pictures like the training pictures from others."""
        return self.path / "typical.npz"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"


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
    run = RunFolder(path)
    if run.config.exists():
        return []
    whole = [run.provenance] if _written_by(run) else []
    return [
        *whole,
        *(p for f in (run.provenance, run.config) for p in path.glob(f".{f.name}.*.part")),
    ]


def create(path: Path, config: Config, provenance: Provenance) -> RunFolder:
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
    run = RunFolder(path)
    write_record(run.provenance, provenance)
    write_text(run.config, to_toml(config))  # the last: it makes the folder a run
    return run


def open_run(path: Path) -> tuple[RunFolder, Config]:
    """An existing run and its settings.

    Raises
    ------
    RunError
        Where there is no run.
    """
    run = RunFolder(path)
    if not run.config.is_file():
        raise RunError(
            f"{path} is not a run: it has no config.toml.",
            expected="a folder that candid run or candid train wrote",
            todo=f"begin anew with --out {path}" if _leftovers(path) else "check the path",
        )
    try:
        return run, read_config(run.config)
    except ConfigError as error:
        version = _written_by(run) or "of an unknown version"
        other = "" if version == candid.__version__ else f"use Candid {version} for this run; or "
        raise RunError(
            f"{run.config}, which Candid {version} wrote: {error.what}",
            expected=error.expected,
            todo=f"{other}{error.todo}",
        ) from error


def _written_by(run: RunFolder) -> str:
    """The version of Candid that began a run, whatever else it wrote; empty where unknown."""
    try:
        return str(json.loads(run.provenance.read_text(encoding="utf-8"))["candid"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def refuse_untrained(run: RunFolder) -> None:
    """Raise a RunError, with the command that goes on, where a run's training is not finished."""
    if not run.model.is_file():
        raise RunError(
            f"{run.path} holds no trained network.",
            expected="a run whose training was finished",
            todo=go_on_with(run.path),
        )


# --- history -------------------------------------------------------------------------------------


def write_history(run: RunFolder, rows: Sequence[HistoryRow]) -> None:
    """Write one row per training step."""
    columns = {
        f.name: [getattr(row, f.name) for row in rows] for f in dataclasses.fields(HistoryRow)
    }
    with atomic(run.history) as part:
        pq.write_table(pa.table(columns), part, compression="zstd")


def read_history(run: RunFolder) -> list[HistoryRow]:
    """The rows that were written; none where nothing was trained.

    Raises
    ------
    RunError
        Where the file is damaged.
    """
    with _damage(run.history):
        return [HistoryRow(**row) for row in _rows(run.history)]


# --- pictures ------------------------------------------------------------------------------------


def write_pictures(run: RunFolder, pictures: Mapping[tuple[str, str], bytes]) -> None:
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


def read_pictures(run: RunFolder) -> dict[tuple[str, str], bytes]:
    """The pictures that were written; none where the stage did not run.

    Raises
    ------
    RunError
        Where the file is damaged.
    """
    with _damage(run.pictures):
        return {(row["kind"], row["name"]): row["png"] for row in _rows(run.pictures)}


def _rows(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(regular(file)).to_pylist() if file.exists() else []
    return rows


def _damage(file: Path) -> contextlib.AbstractContextManager[None]:
    return reading(
        file,
        expected="a file that this version of Candid wrote",
        todo="run the stage that writes it again, or start a new run",
    )


# --- provenance ----------------------------------------------------------------------------------


def provenance(*, seed: int, data: str, data_fingerprint: str) -> Provenance:
    """Where a run that starts now comes from."""
    return Provenance(
        candid=candid.__version__,
        command=shlex.join(["candid", *sys.argv[1:]]),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds={},
        seed=seed,
        commit=_commit(),
        versions={"python": platform.python_version()} | _versions(),
        machine=_machine(),
        data=data,
        data_fingerprint=data_fingerprint,
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _machine() -> dict[str, str]:
    about = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count() or "unknown"),
    }
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        about["processor"] = next(x.split(":")[1].strip() for x in lines if "model name" in x)
    except (OSError, StopIteration):
        about["processor"] = platform.processor() or "unknown"
    return about


def _commit() -> str | None:
    """The commit of the checkout that Candid itself runs from; None when it was installed."""
    source = Path(candid.__file__).resolve().parent
    git = ["git", "-C", str(source)]
    try:
        tracked = subprocess.run(
            [*git, "ls-files", "--error-unmatch", "__init__.py"], capture_output=True, timeout=10
        )
        if tracked.returncode:
            return None
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, timeout=10)
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    commit = head.stdout.decode().strip()
    return (commit + ("+changes" if dirty.stdout.strip() else "")) or None
