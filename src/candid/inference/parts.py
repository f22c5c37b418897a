"""All shards of a job: what is done already, what is missing, and the manifest that tells of it.

The parts themselves are the job's journal: each says which job and which state of its shard it was
made from, so a job that was stopped in any way goes on by reading their ends.
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
from candid.inference.shards import Failed, LabelledShard, Order, Shard, label_shard, read_part
from candid.records import from_plain, to_plain
from candid.storage import filesystem
from candid.storage.files import as_utf8
from candid.storage.jobs import Job, alone, plain_job

MANIFEST = "manifest.json"
_FORMAT = 3
_READERS = 16  # parts whose ends are read at a time: on a store each costs a round trip or two
_LIBRARIES = ("numpy", "pillow", "pyarrow", "onnxruntime", "torch", "fsspec", "ray")

# Does the shards that it is given, in any order: a context that gives what became of each.
Work = Callable[
    [Sequence[Shard]], contextlib.AbstractContextManager[Iterator[LabelledShard | Failed]]
]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What lies in a folder of labels."""

    finished: bool  # whether the job came to its end; what failed is started again with it
    job: Job  # all that decides the rows of a shard
    fingerprint: str  # a digest of it
    about: dict[str, Any]  # the model, in words
    engine: str  # what did the work: "local" or "ray"
    versions: dict[str, str]  # of the libraries that this job was started with
    tally: Outcome  # of all parts; `resumed` counts the images of those that were there before
    parts: tuple[LabelledShard, ...]  # in the order of the shards
    failed: tuple[Failed, ...]
    format: int = _FORMAT

    @property
    def damaged(self) -> tuple[LabelledShard, ...]:
        """The parts whose shard could not be read to its end."""
        return tuple(part for part in self.parts if part.damaged)


def label_missing(
    shards: Sequence[Shard],
    order: Order,
    work: Work,
    *,
    engine: str = "local",
    force: bool = False,
    done: Callable[[int], object] = lambda _: None,
) -> Manifest:
    """Label the shards whose part is missing or stale, and write the manifest.

    `work` does them, `engine` is what to call it. `force` replaces parts of another model or other
    settings; `done` is called with the number of shards that are done. Raises OutputError where the
    folder holds other labels, or cannot be written to.
    """
    with _alone(order.out):
        kept = _kept(shards, order, force)
        results: dict[str, LabelledShard | Failed] = dict(kept)
        parts = {shard.name: filesystem.join(order.out, shard.part) for shard in shards}
        manifest = functools.partial(_manifest, shards, order, engine, results, kept)
        done(len(kept))
        _write(order.out, manifest(finished=False))
        with work([shard for shard in shards if shard.name not in kept]) as finished:
            for result in finished:
                results[result.shard] = result
                if isinstance(result, Failed):  # an older part would be taken for its rows
                    filesystem.remove(parts[result.shard])
                done(1)
        whole = manifest(finished=True)
        _write(order.out, whole)
        _sweep(order.out, shards)
    return whole


def label_here(labeller: Labeller, order: Order, *, workers: int = 0) -> Work:
    """The work, done by threads of this process, shard after shard."""

    @contextlib.contextmanager
    def work(todo: Sequence[Shard]) -> Iterator[Iterator[LabelledShard | Failed]]:
        yield (label_shard(labeller, shard, order, workers=workers) for shard in todo)

    return work


def _alone(out: str) -> contextlib.AbstractContextManager[Any]:
    """One job at a time in a folder of this machine; on a store there are no locks."""
    path = filesystem.local(out)
    if path is None:
        return contextlib.nullcontext()
    todo = "wait for it, or name another folder with --out"
    return alone(path / ".lock", output=out, expected="one job per folder", todo=todo)


def _kept(shards: Sequence[Shard], order: Order, force: bool) -> dict[str, LabelledShard]:
    """The parts that are as they should be, by shard.

    Raises OutputError where there are labels of other shards, or, without `force`, of another job.
    """
    listed = filesystem.below(order.out) if filesystem.is_folder(order.out) else []
    there = {entry.name for entry in listed}
    expected = {filesystem.join(order.out, shard.part): shard for shard in shards}
    strays = sorted(n for n in there if n.endswith(".parquet") and n not in expected)
    if strays:
        raise OutputError(
            f"{order.out} holds {len(strays):,} tables that are none of this job's, such as "
            f"{strays[0]}.",
            expected="an empty folder, or parts of the same shards",
            todo="name another folder with --out, or move them away",
        )
    names = [name for name in expected if name in there]
    with ThreadPoolExecutor(_READERS) as pool:
        told = dict(zip(names, pool.map(read_part, names), strict=True))
    whole = {name: note for name, note in told.items() if note is not None}
    others = [name for name, (made_for, _) in whole.items() if made_for != order.fingerprint]
    if others and not force:
        raise OutputError(
            f"{order.out} holds {len(others):,} parts of another model or other settings, such as "
            f"{others[0]}.",
            expected="parts of the same model and settings, to go on with",
            todo="name another folder with --out, or make them anew with --force",
        )
    return {
        part.shard: part
        for name, (made_for, part) in whole.items()
        if made_for == order.fingerprint
        and (part.shard, part.stamp) == (expected[name].name, expected[name].stamp)
    }


def _manifest(
    shards: Sequence[Shard],
    order: Order,
    engine: str,
    results: dict[str, LabelledShard | Failed],
    kept: dict[str, LabelledShard],
    *,
    finished: bool,
) -> Manifest:
    ordered = [results[shard.name] for shard in shards if shard.name in results]
    parts = tuple(result for result in ordered if isinstance(result, LabelledShard))
    return Manifest(
        finished=finished,
        job=plain_job(order.job),
        fingerprint=order.fingerprint,
        about=order.about,
        engine=engine,
        versions=_versions(),
        tally=Outcome.sum(
            [part.tally for part in parts], resumed=sum(part.tally.images for part in kept.values())
        ),
        parts=parts,
        failed=tuple(result for result in ordered if isinstance(result, Failed)),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found | {"candid": candid.__version__}


def _write(out: str, manifest: Manifest) -> None:
    text = json.dumps(to_plain(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with filesystem.written(filesystem.join(out, MANIFEST)) as path:
        path.write_bytes(as_utf8(text))


def read_manifest(out: str) -> Manifest:
    """The manifest of a folder of labels.

    Raises DataError where there is none, or it is not one.
    """
    name = filesystem.join(out, MANIFEST)
    with filesystem.opened(name) as file:
        data = file.read()
    try:
        return from_plain(Manifest, json.loads(data))
    except Exception as error:  # cattrs raises groups of many kinds
        raise DataError(
            f"{name} is damaged or comes from another version: {type(error).__name__}.",
            expected="the manifest that candid predict wrote",
            todo="start the job again: parts that are whole are kept",
        ) from error


def job_begun(out: str) -> Job | None:
    """All that decides the rows of what a folder of labels holds; None where it tells nothing."""
    try:
        return read_manifest(out).job
    except DataError:
        return None


def _sweep(out: str, shards: Sequence[Shard]) -> None:
    """Remove what killed workers began: no one else writes here, and all parts are whole."""
    path = filesystem.local(out)
    if path is None:
        return
    ours = tuple(f".{shard.part}." for shard in shards)
    for left in path.glob(".part-*.part"):
        if left.name.startswith(ours):
            left.unlink(missing_ok=True)
