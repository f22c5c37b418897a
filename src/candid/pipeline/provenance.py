"""The provenance of a run: versions, commit, command, machine, data."""

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


def collect_provenance(
    *, seed: int, data: str, data_fingerprint: str, sources: Mapping[str, str] | None = None
) -> Provenance:
    """The provenance of a run that starts now; `sources`: of several data sets, by name."""
    return Provenance(
        candid=candid.__version__,
        command=shlex.join(["candid", *sys.argv[1:]]),
        started=utc_now(),
        seconds={},
        seed=seed,
        commit=_current_commit(),
        versions={"python": platform.python_version()} | _library_versions(),
        machine=_describe_machine(),
        data=data,
        data_fingerprint=data_fingerprint,
        sources=dict(sources or {}),
    )


def utc_now() -> str:
    """The time, for records."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _describe_machine() -> dict[str, str]:
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count() or "unknown"),
    }
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        machine["processor"] = next(x.split(":")[1].strip() for x in lines if "model name" in x)
    except (OSError, StopIteration):
        machine["processor"] = platform.processor() or "unknown"
    return machine


def _current_commit() -> str | None:
    """The commit of the checkout that Candid runs from; None if it was installed."""
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
