"""Shards on a cluster of Ray: one task per shard, and a worker that dies loses nothing.

Plain tasks, not Ray Data: there, rows flow between operators in blocks that know nothing of the
shard they came from, while here each shard must become one file. A task reads its shard, labels it
and writes its part with the function that the local engine uses; only counts come back. Ray starts
a task again elsewhere where its process or machine is gone, and a part appears whole or not at all,
so a task that runs twice writes the same file twice.

The model travels through Ray's object store, so the run need lie on one machine only. What every
machine needs is Candid in the same version, and to reach the shards and the folder of labels.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import candid
from candid.cores import cores
from candid.errors import CandidError, DependencyError, RunError
from candid.inference.classify import Labeller
from candid.inference.parts import Work
from candid.inference.shards import Failed, LabelledShard, Order, Shard, label_shard
from candid.storage.jobs import Job, job_digest

# Lost machines are common in clusters of cheap ones; a shard that kills its process every time is
# given up in the end.
_RETRIES = 10
_AHEAD = 64  # tasks that wait at least, so that a cluster that grows by demand sees some
_OBJECT_STORE = 256 << 20  # bytes on a machine of our own: nothing but the model lies there


@dataclass(frozen=True, slots=True)
class PackedModel:
    """A run's model, on its way."""

    files: dict[str, bytes]  # of the run, which a labeller reads, by name
    opened: Callable[[Path], Labeller]  # makes the labeller from a folder with these files
    job: Job  # all that decides the rows; a labeller there must come out the same
    job_of: Callable[[Labeller], Job]  # gives that of a labeller
    version: str = candid.__version__


def needs_ray() -> None:
    """Raise a DependencyError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise DependencyError(
            "The engine ray needs a library that is not installed: ray.",
            expected="the extra 'ray', on every machine of the cluster",
            todo="pip install 'candid-faces[ray]', or leave --engine ray out",
        )


def label_on_cluster(
    model: PackedModel, order: Order, *, workers: int = 0, quiet: bool = False
) -> Work:
    """The work of `candid.inference.parts.label_missing`, done by tasks of Ray.

    Ray is taken as it is where the caller has started it; else the cluster that $RAY_ADDRESS or
    `ray start` tells of; else one of this machine alone, for as long as the work lasts. `workers`
    tasks run at a time, one core each (0: as many as the cluster has cores); `quiet`: Ray keeps
    what it and the tasks print to itself.
    """
    needs_ray()

    @contextlib.contextmanager
    def work(todo: Sequence[Shard]) -> Iterator[Iterator[LabelledShard | Failed]]:
        if not todo:
            yield iter(())
            return
        # Ray prints that a worker died to standard output, where the caller's JSON belongs.
        with (
            contextlib.redirect_stdout(io.StringIO() if quiet else sys.stderr),
            _connected(workers, quiet) as most,
            contextlib.closing(_finished(todo, model, order, most)) as results,
        ):
            yield results

    return work


@contextlib.contextmanager
def _connected(workers: int, quiet: bool) -> Iterator[int]:
    """Ray while the block runs, and how many tasks to ask for at most; 0: as it sees fit."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    import ray

    if ray.is_initialized():
        yield workers
        return
    how: dict[str, Any] = {
        "log_to_driver": not quiet,
        "logging_level": logging.ERROR if quiet else logging.WARNING,
    }
    own: dict[str, Any] = {
        "num_cpus": workers or cores(),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE,
    }
    most = 0
    try:
        try:
            ray.init(**own, **how)
        except ValueError:  # a cluster is there, and says itself what it has
            ray.init(**how)
            most = workers
    except Exception as error:  # a node that does not come up is a plain Exception of Ray's
        raise RunError(
            f"Ray cannot be reached or started: {' '.join(str(error).split())[:300]}",
            expected="a cluster at $RAY_ADDRESS or one that ray start made, or none at all",
            todo="see whether ray status finds it; unset RAY_ADDRESS to work on this machine alone",
        ) from error
    try:
        yield most
    finally:
        ray.shutdown()


def _finished(
    todo: Sequence[Shard], model: PackedModel, order: Order, most: int
) -> Generator[LabelledShard | Failed]:
    """What became of each shard, as they are done."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    # One core each: within a process, reading and answering take turns well enough.
    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_label)
    there = ray.put(model)
    seen: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    most = most or max(_AHEAD, 4 * int(seen.get("CPU", 1)))
    waiting: dict[Any, Shard] = {}
    rest = iter(todo)
    try:
        while True:
            for shard in rest:
                # In a list it stays a reference: whoever has the model already does not fetch it.
                waiting[task.remote([there], shard, order)] = shard
                if len(waiting) >= most:
                    break
            if not waiting:
                return
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            shard = waiting.pop(ready)
            try:
                yield ray.get(ready)
            except RayTaskError as error:
                raise _meaning(error.cause) from error
            except RayError as error:
                reason = " ".join(str(error).split())[:300]
                yield Failed(shard.name, f"its worker died {_RETRIES + 1} times: {reason}")
    finally:
        for ref in waiting:
            ray.cancel(ref, force=True)


def _meaning(cause: Exception) -> CandidError:
    """What an error of a task means: a shard's own come back as a result, so it is not that."""
    if isinstance(cause, CandidError):
        return cause
    reason = " ".join(str(cause).split())
    return RunError(
        f"A task on the cluster could not begin: {type(cause).__name__}: {reason[:500]}",
        expected="the same Candid, Python and libraries on every machine",
        todo="install them there; what is done is kept",
    )


# --- on a worker ---------------------------------------------------------------------------------

_ready: dict[str, Labeller] = {}  # of this process: tasks that follow find the model loaded


def _label(there: list[Any], shard: Shard, order: Order) -> LabelledShard | Failed:
    key = job_digest(order.job)
    if key not in _ready:
        import ray

        _ready.clear()
        _ready[key] = _open(ray.get(there[0]), key)
    return label_shard(_ready[key], shard, order, workers=1)


def _open(model: PackedModel, key: str) -> Labeller:
    if model.version != candid.__version__:
        raise RunError(
            f"A machine of the cluster has Candid {candid.__version__}, and the one that began "
            f"has {model.version}.",
            expected="one version, or rows might differ",
            todo="install the same version everywhere",
        )
    with tempfile.TemporaryDirectory(prefix="candid-") as folder:
        for name, data in model.files.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        labeller = model.opened(Path(folder))
    if labeller.classifier.engine == "torch":
        import torch

        torch.set_num_threads(1)
    found = model.job_of(labeller)
    if job_digest(found) != key:
        changed = sorted(k for k in model.job if model.job[k] != found.get(k))
        raise RunError(
            f"On a machine of the cluster the model came out otherwise: {', '.join(changed)}.",
            expected="the same model and settings as where the job began",
            todo="install the same libraries everywhere",
        )
    return labeller
