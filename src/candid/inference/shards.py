"""Shards in, one Parquet file for each out: work that is cut so that any part can be lost.

A shard is a tar or Parquet file with images, on this machine or on an object store. Its rows become
`part-<shard>.parquet`, whole or not at all, and the part itself says which job and which state of
the shard it was made from. Whoever does it (threads here, or `candid.inference.cluster`) makes
equal rows, for there is one function that labels a shard.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow.parquet as pq

from candid.errors import DataError, DependencyError, OutputError, RunError
from candid.inference import sources
from candid.inference.classify import Labeller, label
from candid.inference.rows import Counter, Outcome, ParquetWriter
from candid.inference.sources import Item
from candid.records import from_plain, to_plain
from candid.storage import places
from candid.storage.jobs import Job, job_digest

_NOTE = "candid.part"
_LOOKED_INTO = 4  # shards at most, as one of an object store is fetched whole
_PICTURES = 256  # of these together


@dataclass(frozen=True, slots=True)
class Shard:
    """One container of images that is not read yet."""

    name: str  # its path or URL, as the ids of its rows begin
    part: str  # the name of the file with its rows
    stamp: str  # changes when it does


@dataclass(frozen=True, slots=True)
class LabelledShard:
    """A shard that was labelled; `shard`, `part` and `stamp` are those of `Shard`."""

    shard: str
    part: str
    stamp: str
    damaged: str  # why no more images came from the shard; "" where all of it was read
    tally: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """A shard of which there is no part, and why."""

    shard: str
    reason: str


# --- which shards --------------------------------------------------------------------------------


def find_shards(words: Sequence[str], out: str) -> list[Shard]:
    """The tar and Parquet files that are `resolve`'s words, or lie in them but not in `out`.

    Raises DataError where there is none, one is no shard, or two parts would have one name.
    """
    shards: list[Shard] = []
    for word in words:
        path = places.local(word)
        if sources.is_container(word) and not (path and path.is_dir()):
            entry = places.entry(word)
            shards.append(Shard(word, _part(word.rpartition("/")[2]), entry.stamp))
        elif word != sources.LIST and places.is_folder(word):
            start = len(places.join(word, ""))
            shards += [
                Shard(entry.name, _part(entry.name[start:]), entry.stamp)
                for entry in places.below(word)
                if sources.is_container(entry.name) and not _lies_in(entry.name, out)
            ]
        else:
            raise _no_shards(f"{word!r} is no shard")
    if not shards:
        raise _no_shards("There is no shard in what was named")
    seen: dict[str, str] = {}
    for shard in shards:
        if shard.part in seen:
            raise DataError(
                f"Two shards would both become {shard.part}: {seen[shard.part]} and {shard.name}.",
                expected="shards of different names",
                todo="name the folder that holds them all, or rename one",
            )
        seen[shard.part] = shard.name
    return shards


def _lies_in(name: str, folder: str) -> bool:
    path, root = places.local(name), places.local(folder)
    if path is None or root is None:
        return name.startswith(places.join(folder, ""))
    return path.absolute().is_relative_to(root.absolute())


def _part(name: str) -> str:
    return f"part-{sources.container_stem(name).replace('/', '__')}.parquet"


def _no_shards(what: str) -> DataError:
    return DataError(
        f"{what}.",
        expected="tar or Parquet files with pictures, or a folder or URL with some",
        todo="pack the pictures into tar files, or write one table: --out labels.parquet without "
        "--engine ray",
    )


def first_pictures(shards: Sequence[Shard], column: str) -> Iterator[Item]:
    """Some pictures of a few shards from the first to the last, to see what they hold.

    A shard that cannot be read gives none: its part will say why.
    """
    chosen = {shards[i * (len(shards) - 1) // (_LOOKED_INTO - 1)].name for i in range(_LOOKED_INTO)}
    for name in sorted(chosen):
        with contextlib.suppress(Exception), places.near(name) as path:
            pictures = sources.container_items(str(path), name, column)
            yield from islice(pictures, _PICTURES // len(chosen))


# --- one shard -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Order:
    """What is the same for every shard of a job; plain values, for it travels."""

    out: str  # the folder of the parts: a path or a URL
    job: Job  # all that decides the rows of a shard
    about: dict[str, Any]  # what a part says of its model
    column: str = ""  # Parquet: the column with the images; "": recognised

    @property
    def fingerprint(self) -> str:
        """A digest of the job."""
        return job_digest(self.job)


def label_shard(
    labeller: Labeller,
    shard: Shard,
    order: Order,
    *,
    workers: int = 1,
    bar: Callable[[int], object] = lambda _: None,
) -> LabelledShard | Failed:
    """Write a shard's part; where it cannot be read at all, say why.

    Raises OutputError where the part cannot be written: the others could not be, either; RunError
    or DependencyError where the model or a library fails, as it would for the others.
    """
    try:
        return _written(labeller, shard, order, workers, bar)
    except (OutputError, RunError, DependencyError):
        raise
    except DataError as error:
        return Failed(shard.name, error.what)
    except Exception as error:  # one odd shard among a hundred thousand must not stop the others
        return Failed(shard.name, " ".join(f"{type(error).__name__}: {error}".split())[:500])


def _written(
    labeller: Labeller, shard: Shard, order: Order, workers: int, bar: Callable[[int], object]
) -> LabelledShard:
    counter = Counter(labeller.columns)
    schema = labeller.columns.schema()
    error, damaged = schema.names.index("error"), ""
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(places.near(shard.name))
        file = stack.enter_context(places.written(places.join(order.out, shard.part)))
        writer = stack.enter_context(ParquetWriter(file, schema, order.about))
        images = sources.container_items(str(path), shard.name, order.column)
        whole = sources.printable(shard.name)
        blocks = contextlib.closing(label(labeller, images, workers=workers, bar=bar))
        for block in stack.enter_context(blocks):
            writer.write(block.rows)
            counter.add(block.items, block.rows)
            for row in block.rows:
                if row[0] == whole:  # a row of the shard itself tells why it ends there
                    damaged = row[error]
        part = LabelledShard(shard.name, shard.part, shard.stamp, damaged, counter.tally())
        writer.note(_NOTE, {"fingerprint": order.fingerprint, "part": to_plain(part)})
    return part


def read_part(name: str) -> tuple[str, LabelledShard] | None:
    """The fingerprint of a part's job, and what it tells of itself; None where it tells nothing."""
    try:
        with places.opened(name) as file:
            metadata = pq.read_metadata(file).metadata or {}
        note = json.loads(metadata[_NOTE.encode()])
        return str(note["fingerprint"]), from_plain(LabelledShard, note["part"])
    except Exception:  # cut short, no Parquet, of another version: it is made anew
        return None
