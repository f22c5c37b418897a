"""Where a run comes from: versions, commit, command, machine, data."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import candid
from candid.records import Provenance

_LIBRARIES = ("numpy", "pillow", "pyarrow", "torch", "safetensors", "altair")


def provenance_now(
    *, seed: int, data: str, data_fingerprint: str, sources: Mapping[str, str] | None = None
) -> Provenance:
    """Where a run that starts now comes from; `sources`: each of several data sets, by its name."""
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
        sources=dict(sources or {}),
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
