"""All shards of a job: finished and missing parts, and the manifest.

The parts themselves are the job's journal: each has the fingerprint of the job and the stamp of its
shard, so a stopped job resumes by reading their footers.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import candid
from candid.errors import DataError, OutputError
from candid.inference.classify import Labeller
from candid.inference.rows import Outcome
from candid.inference.shards import Failed, JobSpec, LabelledShard, Shard, label_shard, read_part
from candid.records import from_plain, to_plain
from candid.storage import filesystem
from candid.storage.files import as_utf8
from candid.storage.jobs import Job, locked, plain_job

MANIFEST = "manifest.json"
_FORMAT = 3
_READERS = 16  # footers read at a time: on a store each costs a round trip or two
_LIBRARIES = ("numpy", "pillow", "pyarrow", "onnxruntime", "torch", "fsspec", "ray")

# Labels shards in any order: a context with the results.
Work = Callable[
    [Sequence[Shard]], contextlib.AbstractContextManager[Iterator[LabelledShard | Failed]]
]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a folder of labels."""

    finished: bool  # whether the job reached its end, also with failed shards
    job: Job  # all that determines the rows of a shard
    fingerprint: str  # a digest of it
    about: dict[str, Any]  # the model, in words
    engine: str  # "local" or "ray"
    versions: dict[str, str]  # of the libraries that this job was started with
    tally: Outcome  # of all parts; `resumed` counts the images of parts that existed before
    parts: tuple[LabelledShard, ...]  # in the order of the shards
    failed: tuple[Failed, ...]
    format: int = _FORMAT

    @property
    def damaged(self) -> tuple[LabelledShard, ...]:
        """The parts whose shard could not be read to its end."""
        return tuple(part for part in self.parts if part.damaged)


def label_missing(
    shards: Sequence[Shard],
    order: JobSpec,
    work: Work,
    *,
    engine: str = "local",
    force: bool = False,
    done: Callable[[int], object] = lambda _: None,
) -> Manifest:
    """Label the shards whose part is missing or stale, and write the manifest.

    `work` labels them, `engine` is its name. `force` replaces parts of another model or other
    settings; `done` is called with numbers of finished shards. Raises OutputError where the folder
    holds other labels, or cannot be written to.
    """
    with _lock_folder(order.out):
        existing = _find_finished(shards, order, force)
        results: dict[str, LabelledShard | Failed] = dict(existing)
        parts = {shard.name: filesystem.join(order.out, shard.part) for shard in shards}
        manifest = functools.partial(_manifest, shards, order, engine, results, existing)
        done(len(existing))
        _write(order.out, manifest(finished=False))
        with work([shard for shard in shards if shard.name not in existing]) as finished:
            for result in finished:
                results[result.shard] = result
                if isinstance(result, Failed):  # or an older part would be taken for its rows
                    filesystem.remove(parts[result.shard])
                done(1)
        final = manifest(finished=True)
        _write(order.out, final)
        _remove_leftovers(order.out, shards)
    return final


def label_here(labeller: Labeller, order: JobSpec, *, workers: int = 0) -> Work:
    """Work done by threads of this process, shard by shard."""

    @contextlib.contextmanager
    def work(todo: Sequence[Shard]) -> Iterator[Iterator[LabelledShard | Failed]]:
        yield (label_shard(labeller, shard, order, workers=workers) for shard in todo)

    return work


def _lock_folder(out: str) -> contextlib.AbstractContextManager[Any]:
    """Lock a local folder for one job; stores have no locks."""
    path = filesystem.local_path(out)
    if path is None:
        return contextlib.nullcontext()
    todo = "wait for it, or name another folder with --out"
    return locked(path / ".lock", output=out, expected="one job per folder", todo=todo)


def _find_finished(
    shards: Sequence[Shard], order: JobSpec, force: bool
) -> dict[str, LabelledShard]:
    """The finished parts of this job, by shard.

    Raises OutputError where there are labels of other shards, or, without `force`, of another job.
    """
    entries = filesystem.list_files(order.out) if filesystem.is_folder(order.out) else []
    present = {entry.name for entry in entries}
    expected = {filesystem.join(order.out, shard.part): shard for shard in shards}
    strays = sorted(n for n in present if n.endswith(".parquet") and n not in expected)
    if strays:
        raise OutputError(
            f"{order.out} holds {len(strays):,} tables that are none of this job's, such as "
            f"{strays[0]}.",
            expected="an empty folder, or parts of the same shards",
            todo="name another folder with --out, or move them away",
        )
    names = [name for name in expected if name in present]
    with ThreadPoolExecutor(_READERS) as pool:
        notes = dict(zip(names, pool.map(read_part, names), strict=True))
    readable = {name: note for name, note in notes.items() if note is not None}
    foreign = [name for name, (job, _) in readable.items() if job != order.fingerprint]
    if foreign and not force:
        raise OutputError(
            f"{order.out} holds {len(foreign):,} parts of another model or other settings, such as "
            f"{foreign[0]}.",
            expected="parts of the same model and settings, to go on with",
            todo="name another folder with --out, or make them anew with --force",
        )
    return {
        part.shard: part
        for name, (job, part) in readable.items()
        if job == order.fingerprint
        and (part.shard, part.stamp) == (expected[name].name, expected[name].stamp)
    }


def _manifest(
    shards: Sequence[Shard],
    order: JobSpec,
    engine: str,
    results: dict[str, LabelledShard | Failed],
    existing: dict[str, LabelledShard],
    *,
    finished: bool,
) -> Manifest:
    ordered = [results[shard.name] for shard in shards if shard.name in results]
    parts = tuple(result for result in ordered if isinstance(result, LabelledShard))
    resumed = sum(part.tally.images for part in existing.values())
    return Manifest(
        finished=finished,
        job=plain_job(order.job),
        fingerprint=order.fingerprint,
        about=order.about,
        engine=engine,
        versions=_versions(),
        tally=Outcome.sum([part.tally for part in parts], resumed=resumed),
        parts=parts,
        failed=tuple(result for result in ordered if isinstance(result, Failed)),
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for library in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(library)
    return versions | {"candid": candid.__version__}


def _write(out: str, manifest: Manifest) -> None:
    text = json.dumps(to_plain(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with filesystem.atomic_write(filesystem.join(out, MANIFEST)) as path:
        path.write_bytes(as_utf8(text))


def read_manifest(out: str) -> Manifest:
    """The manifest of a folder of labels.

    Raises DataError where there is none, or it is not one.
    """
    name = filesystem.join(out, MANIFEST)
    with filesystem.open_file(name) as file:
        data = file.read()
    try:
        return from_plain(Manifest, json.loads(data))
    except Exception as error:  # cattrs raises groups of many kinds
        raise DataError(
            f"{name} is damaged or comes from another version: {type(error).__name__}.",
            expected="the manifest that candid predict wrote",
            todo="start the job again: parts that are whole are kept",
        ) from error


def read_job(out: str) -> Job | None:
    """The job of a folder of labels; None where it has no readable manifest."""
    try:
        return read_manifest(out).job
    except DataError:
        return None


def _remove_leftovers(out: str, shards: Sequence[Shard]) -> None:
    """Remove the unfinished files of killed workers."""
    path = filesystem.local_path(out)
    if path is None:
        return
    prefixes = tuple(f".{shard.part}." for shard in shards)
    for file in path.glob(".part-*.part"):
        if file.name.startswith(prefixes):
            file.unlink(missing_ok=True)
