"""All shards of a job: what is done already, what is missing, and the manifest that tells of it.

The parts themselves are the journal: each says which job and which state of its shard it was made
from, so a job that was stopped in any way goes on by reading their ends.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import candid
from candid.errors import DataError, OutputError
from candid.inference.journal import locked
from candid.inference.predict import Labeller, Tally
from candid.inference.shards import Failed, Order, Part, Shard, label_shard, read_part
from candid.records import from_plain, to_plain
from candid.storage import places
from candid.storage.files import writing

MANIFEST = "manifest.json"
_FORMAT = 2
_READERS = 16  # parts whose ends are read at a time: on a store each costs a round trip or two
_LIBRARIES = ("numpy", "pillow", "pyarrow", "onnxruntime", "torch", "fsspec", "ray")

# Does the shards that it is given, in any order: a context that gives what became of each.
Work = Callable[[Sequence[Shard]], contextlib.AbstractContextManager[Iterator[Part | Failed]]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What lies in a folder of labels.

    Attributes
    ----------
    finished
        Whether the job came to its end; what failed is started again with it.
    job, fingerprint
        All that decides the rows of a shard, and a digest of it.
    about
        The model, in words.
    engine
        What did the work: "local" or "ray".
    versions
        Of the libraries that this job was started with.
    tally
        Of all parts; `resumed` counts the pictures of those that were there before.
    parts, failed
        In the order of the shards.
    """

    finished: bool
    job: dict[str, Any]
    fingerprint: str
    about: dict[str, Any]
    engine: str
    versions: dict[str, str]
    tally: Tally
    parts: tuple[Part, ...]
    failed: tuple[Failed, ...]
    format: int = _FORMAT

    @property
    def damaged(self) -> tuple[Part, ...]:
        """The parts whose shard could not be read to its end."""
        return tuple(part for part in self.parts if part.damaged)


def label_shards(
    shards: Sequence[Shard],
    order: Order,
    work: Work,
    *,
    engine: str = "local",
    force: bool = False,
    done: Callable[[int], object] = lambda _: None,
) -> Manifest:
    """Label the shards whose part is missing or stale, and write the manifest.

    Parameters
    ----------
    shards
        All of them.
    order
        What is the same for each.
    work
        Does the shards that it is given, in any order: a context that gives what became of each.
    engine
        What to call it.
    force
        Replace parts of another model or other settings.
    done
        Called with the number of shards that are done.

    Raises
    ------
    OutputError
        Where the folder holds other labels, or cannot be written to.
    """
    with _alone(order.out):
        there = {entry.name for entry in _listed(order.out)}
        kept = _kept(shards, order, there, force)
        todo = [shard for shard in shards if shard.name not in kept]
        parts = {shard.name: places.join(order.out, shard.part) for shard in shards}
        results: dict[str, Part | Failed] = dict(kept)
        done(len(kept))
        told = functools.partial(_manifest, shards, order, engine, results, kept)
        _write(order.out, told(finished=False))
        with work(todo) as finished:
            for result in finished:
                results[result.shard] = result
                if isinstance(result, Failed):  # an older part would be taken for its rows
                    places.remove(parts[result.shard])
                done(1)
        manifest = told(finished=True)
        _write(order.out, manifest)
        _sweep(order.out, shards)
    return manifest


def label_here(labeller: Labeller, order: Order, *, workers: int = 0) -> Work:
    """The work, done by threads of this process, shard after shard."""

    @contextlib.contextmanager
    def work(todo: Sequence[Shard]) -> Iterator[Iterator[Part | Failed]]:
        yield (label_shard(labeller, shard, order, workers=workers) for shard in todo)

    return work


@contextlib.contextmanager
def _alone(out: str) -> Iterator[None]:
    """One job at a time in a folder of this machine; on a store there are no locks."""
    path = places.local(out)
    if path is None:
        yield
        return
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("a+b")
    with lock:
        if not locked(lock.fileno()):
            raise OutputError(
                f"Another process is writing to {out}.",
                expected="one job per folder",
                todo="wait for it, or name another folder with --out",
            )
        yield


def _listed(out: str) -> list[places.Entry]:
    return places.below(out) if places.is_folder(out) else []


def _kept(shards: Sequence[Shard], order: Order, there: set[str], force: bool) -> dict[str, Part]:
    """The parts that are as they should be, by shard.

    Raises
    ------
    OutputError
        Where there are labels of other shards, or, without `force`, of another job.
    """
    expected = {places.join(order.out, shard.part): shard for shard in shards}
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
    results: dict[str, Part | Failed],
    kept: dict[str, Part],
    *,
    finished: bool,
) -> Manifest:
    ordered = [results[shard.name] for shard in shards if shard.name in results]
    parts = tuple(result for result in ordered if isinstance(result, Part))
    return Manifest(
        finished=finished,
        job=json.loads(json.dumps(order.job, default=str), parse_constant=str),
        fingerprint=order.fingerprint,
        about=order.about,
        engine=engine,
        versions=_versions(),
        tally=_sum(parts, sum(part.tally.pictures for part in kept.values())),
        parts=parts,
        failed=tuple(result for result in ordered if isinstance(result, Failed)),
    )


def _sum(parts: Sequence[Part], resumed: int) -> Tally:
    """The tallies of all parts together."""
    total: dict[str, Any] = {}
    for field in fields(Tally):
        values = [getattr(part.tally, field.name) for part in parts]
        if field.name in ("reasons", "predictions"):
            words = sorted({word for value in values for word in value})
            total[field.name] = {w: sum(value.get(w, 0) for value in values) for w in words}
        else:
            total[field.name] = sum(values)
    return Tally(**(total | {"resumed": resumed}))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found | {"candid": candid.__version__}


def _write(out: str, manifest: Manifest) -> None:
    text = json.dumps(to_plain(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with places.written(places.join(out, MANIFEST)) as path:
        path.write_bytes(text.encode("utf-8", "backslashreplace"))


def read_manifest(out: str) -> Manifest:
    """The manifest of a folder of labels.

    Raises
    ------
    DataError
        Where there is none, or it is not one.
    """
    name = places.join(out, MANIFEST)
    with places.opened(name) as file:
        data = file.read()
    try:
        return from_plain(Manifest, json.loads(data))
    except Exception as error:  # cattrs raises groups of many kinds
        raise DataError(
            f"{name} is damaged or comes from another version: {type(error).__name__}.",
            expected="the manifest that candid predict wrote",
            todo="start the job again: parts that are whole are kept",
        ) from error


def _sweep(out: str, shards: Sequence[Shard]) -> None:
    """Remove what killed workers began: no one else writes here, and all parts are whole."""
    path = places.local(out)
    if path is None:
        return
    ours = tuple(f".{shard.part}." for shard in shards)
    for left in path.glob(".part-*.part"):
        if left.name.startswith(ours):
            left.unlink(missing_ok=True)
