"""Labelling by shards: one Parquet file of rows for each, so that any part can be redone.

A shard is a tar or Parquet file with images, on this machine or on an object store. Its rows become
`part-<shard>.parquet`, written atomically, with the fingerprint of the job and the stamp of the
shard. Threads here and `candid.inference.cluster` make equal rows, as one function labels a shard.
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
from candid.storage import filesystem
from candid.storage.jobs import Job, job_digest

_NOTE = "candid.part"
_MAX_SAMPLED = 4  # shards to sample, as one of an object store is fetched as a whole
_MAX_IMAGES = 256  # sampled images


@dataclass(frozen=True, slots=True)
class Shard:
    """One container of images that is not read yet."""

    name: str  # its path or URL, the prefix of its rows' ids
    part: str  # the name of the file with its rows
    stamp: str  # changes with its content


@dataclass(frozen=True, slots=True)
class LabelledShard:
    """A shard that was labelled; `shard`, `part` and `stamp` are those of `Shard`."""

    shard: str
    part: str
    stamp: str
    damaged: str  # why the shard could not be read to its end; "" if it could
    tally: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """A shard without a part, and why."""

    shard: str
    reason: str


# --- finding shards ------------------------------------------------------------------------------


def find_shards(words: Sequence[str], out: str) -> list[Shard]:
    """The tar and Parquet files among `resolve`'s words and in their folders, except in `out`.

    Raises DataError where there is none, one is no shard, or two parts would have one name.
    """
    shards: list[Shard] = []
    for word in words:
        path = filesystem.local_path(word)
        if sources.is_container(word) and not (path and path.is_dir()):
            entry = filesystem.entry(word)
            shards.append(Shard(word, _part_name(word.rpartition("/")[2]), entry.stamp))
        elif word != sources.LIST and filesystem.is_folder(word):
            prefix = len(filesystem.join(word, ""))
            shards += [
                Shard(entry.name, _part_name(entry.name[prefix:]), entry.stamp)
                for entry in filesystem.list_files(word)
                if sources.is_container(entry.name) and not _is_inside(entry.name, out)
            ]
        else:
            raise _no_shards_error(f"{word!r} is no shard")
    if not shards:
        raise _no_shards_error("There is no shard in what was named")
    names: dict[str, str] = {}
    for shard in shards:
        if shard.part in names:
            raise DataError(
                f"Two shards would both become {shard.part}: {names[shard.part]} and {shard.name}.",
                expected="shards of different names",
                todo="name the folder that holds them all, or rename one",
            )
        names[shard.part] = shard.name
    return shards


def _is_inside(name: str, folder: str) -> bool:
    path, root = filesystem.local_path(name), filesystem.local_path(folder)
    if path is None or root is None:
        return name.startswith(filesystem.join(folder, ""))
    return path.absolute().is_relative_to(root.absolute())


def _part_name(name: str) -> str:
    return f"part-{sources.container_stem(name).replace('/', '__')}.parquet"


def _no_shards_error(what: str) -> DataError:
    return DataError(
        f"{what}.",
        expected="tar or Parquet files with pictures, or a folder or URL with some",
        todo="pack the pictures into tar files, or write one table: --out labels.parquet without "
        "--engine ray",
    )


def first_pictures(shards: Sequence[Shard], column: str) -> Iterator[Item]:
    """Some images of a few shards, evenly spaced, as a sample.

    A shard that cannot be read has none: its part will say why.
    """
    names = {shards[i * (len(shards) - 1) // (_MAX_SAMPLED - 1)].name for i in range(_MAX_SAMPLED)}
    for name in sorted(names):
        with contextlib.suppress(Exception), filesystem.local_copy(name) as path:
            images = sources.container_items(str(path), name, column)
            yield from islice(images, _MAX_IMAGES // len(names))


# --- one shard -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What all shards of a job share; plain values, as it is pickled."""

    out: str  # the folder of the parts: a path or a URL
    job: Job  # all that determines the rows of a shard
    about: dict[str, Any]  # metadata of a part, on its model
    column: str = ""  # Parquet: the column with the images; "": recognised

    @property
    def fingerprint(self) -> str:
        """A digest of the job."""
        return job_digest(self.job)


def label_shard(
    labeller: Labeller,
    shard: Shard,
    order: JobSpec,
    *,
    workers: int = 1,
    bar: Callable[[int], object] = lambda _: None,
) -> LabelledShard | Failed:
    """Write a shard's part; `Failed` where the shard cannot be read at all.

    Raises OutputError where the part cannot be written, RunError or DependencyError where the model
    or a library fails, as the other shards would fail, too.
    """
    try:
        return _write_part(labeller, shard, order, workers, bar)
    except (OutputError, RunError, DependencyError):
        raise
    except DataError as error:
        return Failed(shard.name, error.what)
    except Exception as error:  # one odd shard among a hundred thousand must not stop the others
        return Failed(shard.name, " ".join(f"{type(error).__name__}: {error}".split())[:500])


def _write_part(
    labeller: Labeller, shard: Shard, order: JobSpec, workers: int, bar: Callable[[int], object]
) -> LabelledShard:
    counter = Counter(labeller.columns)
    schema = labeller.columns.schema()
    error_column, damaged = schema.names.index("error"), ""
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(filesystem.local_copy(shard.name))
        file = stack.enter_context(filesystem.atomic_write(filesystem.join(order.out, shard.part)))
        writer = stack.enter_context(ParquetWriter(file, schema, order.about))
        images = sources.container_items(str(path), shard.name, order.column)
        shard_id = sources.printable(shard.name)
        blocks = contextlib.closing(label(labeller, images, workers=workers, bar=bar))
        for block in stack.enter_context(blocks):
            writer.write(block.rows)
            counter.add(block.items, block.rows)
            for row in block.rows:
                if row[0] == shard_id:  # a row of the shard itself: why it ends there
                    damaged = row[error_column]
        part = LabelledShard(shard.name, shard.part, shard.stamp, damaged, counter.tally())
        writer.note(_NOTE, {"fingerprint": order.fingerprint, "part": to_plain(part)})
    return part


def read_part(name: str) -> tuple[str, LabelledShard] | None:
    """The fingerprint of a part's job, and its record; None where it has none."""
    try:
        with filesystem.open_file(name) as file:
            metadata = pq.read_metadata(file).metadata or {}
        note = json.loads(metadata[_NOTE.encode()])
        return str(note["fingerprint"]), from_plain(LabelledShard, note["part"])
    except Exception:  # cut short, no Parquet, of another version: it is written again
        return None
