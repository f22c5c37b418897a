"""Labelling on a Ray cluster: one task per shard, retried when a worker dies.

Plain tasks, not Ray Data, whose blocks of rows do not know their shard, while here each shard must
become one file. A task reads its shard, labels it and writes its part with the function of the
local engine; only counts come back. Ray restarts a task elsewhere if its process or machine is
gone, and parts are written atomically, so a task that runs twice writes the same file twice.

The model is sent through Ray's object store, so the run is needed on one machine only. Every
machine needs the same version of Candid, and access to the shards and the folder of labels.
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
from candid.inference.shards import Failed, JobSpec, LabelledShard, Shard, label_shard
from candid.storage.jobs import Job, job_digest

# Machines of cheap clusters are often lost; a shard that kills its process every time is given up.
_RETRIES = 10
_MIN_PENDING = 64  # submitted tasks at least, so that an autoscaling cluster sees the demand
_OBJECT_STORE = 256 << 20  # bytes on this machine: only the model is stored there


@dataclass(frozen=True, slots=True)
class PackedModel:
    """A run's model to send to workers."""

    files: dict[str, bytes]  # of the run, which a labeller reads, by name
    opened: Callable[[Path], Labeller]  # opens the labeller from a folder with these files
    job: Job  # all that determines the rows; a worker's labeller must have the same
    job_of: Callable[[Labeller], Job]  # the job of a labeller
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
    model: PackedModel, order: JobSpec, *, workers: int = 0, quiet: bool = False
) -> Work:
    """Work for `candid.inference.parts.label_missing`, done by tasks of Ray.

    On the Ray that the caller has started, if any; else on the cluster of $RAY_ADDRESS or `ray
    start`; else on this machine alone, while the work lasts. `workers` tasks run at a time, one
    core each (0: as many as the cluster has cores); `quiet` suppresses the output of Ray and of the
    tasks.
    """
    needs_ray()

    @contextlib.contextmanager
    def work(todo: Sequence[Shard]) -> Iterator[Iterator[LabelledShard | Failed]]:
        if not todo:
            yield iter(())
            return
        # Ray prints that a worker died to standard output, which is for the caller's JSON.
        with (
            contextlib.redirect_stdout(io.StringIO() if quiet else sys.stderr),
            _connect(workers, quiet) as max_pending,
            contextlib.closing(_run_tasks(todo, model, order, max_pending)) as results,
        ):
            yield results

    return work


@contextlib.contextmanager
def _connect(workers: int, quiet: bool) -> Iterator[int]:
    """Ray inside the block; yields the maximal number of tasks, 0: by the cluster's cores."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    import ray

    if ray.is_initialized():
        yield workers
        return
    options: dict[str, Any] = {
        "log_to_driver": not quiet,
        "logging_level": logging.ERROR if quiet else logging.WARNING,
    }
    local_options: dict[str, Any] = {
        "num_cpus": workers or cores(),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE,
    }
    max_tasks = 0
    try:
        try:
            ray.init(**local_options, **options)
        except ValueError:  # there is a cluster, which has its own resources
            ray.init(**options)
            max_tasks = workers
    except Exception as error:  # Ray raises a plain Exception for a node that does not start
        raise RunError(
            f"Ray cannot be reached or started: {' '.join(str(error).split())[:300]}",
            expected="a cluster at $RAY_ADDRESS or one that ray start made, or none at all",
            todo="see whether ray status finds it; unset RAY_ADDRESS to work on this machine alone",
        ) from error
    try:
        yield max_tasks
    finally:
        ray.shutdown()


def _run_tasks(
    todo: Sequence[Shard], model: PackedModel, order: JobSpec, max_pending: int
) -> Generator[LabelledShard | Failed]:
    """The shards' results, in order of completion."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    # One core each: within a process, reading and inference alternate well enough.
    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_label_task)
    reference = ray.put(model)
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    max_pending = max_pending or max(_MIN_PENDING, 4 * int(resources.get("CPU", 1)))
    pending: dict[Any, Shard] = {}
    remaining = iter(todo)
    try:
        while True:
            for shard in remaining:
                # In a list it stays a reference: a worker with the model does not fetch it again.
                pending[task.remote([reference], shard, order)] = shard
                if len(pending) >= max_pending:
                    break
            if not pending:
                return
            (done,), _ = ray.wait(list(pending), num_returns=1)
            shard = pending.pop(done)
            try:
                yield ray.get(done)
            except RayTaskError as error:
                raise _task_error(error.cause) from error
            except RayError as error:
                reason = " ".join(str(error).split())[:300]
                yield Failed(shard.name, f"its worker died {_RETRIES + 1} times: {reason}")
    finally:
        for ref in pending:
            ray.cancel(ref, force=True)


def _task_error(cause: Exception) -> CandidError:
    """The error for a failed task; a shard's own errors are results and do not get here."""
    if isinstance(cause, CandidError):
        return cause
    reason = " ".join(str(cause).split())
    return RunError(
        f"A task on the cluster could not begin: {type(cause).__name__}: {reason[:500]}",
        expected="the same Candid, Python and libraries on every machine",
        todo="install them there; what is done is kept",
    )


# --- on a worker ---------------------------------------------------------------------------------

_labellers: dict[str, Labeller] = {}  # cache of this process, for the tasks that follow


def _label_task(reference: list[Any], shard: Shard, order: JobSpec) -> LabelledShard | Failed:
    key = job_digest(order.job)
    if key not in _labellers:
        import ray

        _labellers.clear()
        _labellers[key] = _open_labeller(ray.get(reference[0]), key)
    return label_shard(_labellers[key], shard, order, workers=1)


def _open_labeller(model: PackedModel, key: str) -> Labeller:
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
    job = model.job_of(labeller)
    if job_digest(job) != key:
        changed = sorted(k for k in model.job if model.job[k] != job.get(k))
        raise RunError(
            f"On a machine of the cluster the model came out otherwise: {', '.join(changed)}.",
            expected="the same model and settings as where the job began",
            todo="install the same libraries everywhere",
        )
    return labeller
