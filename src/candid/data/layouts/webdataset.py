"""WebDataset: tar shards in a folder or on an object store, pictures beside their annotations.

The target is the number in `.cls` (called class), or a value in `.json`; every other value is an
attribute. A shard's name (`train-000.tar`) or its folder's says the split, or a value `split` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candid.data import splits
from candid.data.dataset import Dataset
from candid.data.layouts.assembly import without_image, without_label
from candid.data.layouts.huggingface import split_of
from candid.data.layouts.pictures import files_in, folders_in
from candid.data.layouts.samples import Sample, samples
from candid.data.layouts.shards import TAR, each, is_tar
from candid.data.layouts.table import from_columns
from candid.data.tars import TarSource
from candid.errors import DataError, LayoutError
from candid.settings import DataConfig
from candid.storage import places
from candid.tables.delimited import from_rows

_GLANCE = 8  # members of a shard that are looked at to recognise the layout


def recognise(path: Path) -> bool:
    """Whether there are tar shards whose first members are a picture with annotations."""
    try:
        shards = _near_shards(path)
        return bool(shards) and any(
            sample.name and sample.annotations for sample in samples(shards[0], _GLANCE)
        )
    except DataError:
        return False


def read(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read the headers and annotations of all shards; without a target, class, label or target."""
    return read_shards(path, _near_shards(path), target, config)


def read_shards(
    path: Path, shards: Sequence[str], target: str | None, config: DataConfig
) -> Dataset:
    """Read the headers and annotations of shards that `path` means; as `read`."""
    name = places.name_of(path)
    if not shards:
        raise LayoutError(
            f"There are no tar shards in {name}.",
            expected="files such as train-000.tar, here or in folders called train, val or test",
            todo="name the folder that holds them, or another layout with --layout",
        )
    named = {shard: split_of(PurePosixPath(shard)) for shard in shards}
    if len({split is None for split in named.values()}) > 1:
        odd = next(shard for shard, split in named.items() if split is None)
        raise DataError(
            f"The name of {odd} does not say its split, and other names do.",
            expected="names such as train-000.tar for every shard",
            todo="rename it, or move it away",
        )
    seen = each(lambda number: _one(shards[number], number, named[shards[number]]), shards)
    return _dataset(path, name, shards, seen, target, config)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is in one shard.

    Attributes
    ----------
    names
        (n,) of the pictures that are described.
    places
        (n, 3) shard, offset and size.
    table
        n rows of annotations.
    bare, without
        Pictures that nothing describes, and keys without a picture.
    """

    names: list[str]
    places: NDArray[np.int64]
    table: pa.Table
    bare: list[str]
    without: list[str]


def _one(shard: str, number: int, split: str | None) -> _Seen:
    kept: list[Sample] = []
    bare: list[str] = []
    without: list[str] = []
    for sample in samples(shard):
        if not sample.name:
            without.append(f"{PurePosixPath(shard).name}/{sample.key}")
        elif not sample.annotations:
            bare.append(f"{PurePosixPath(shard).name}/{sample.name}")
        else:
            kept.append(sample)
    table = from_rows([sample.annotations for sample in kept])
    if split is not None:
        if "split" in table.column_names:
            table = table.drop_columns(["split"])
        table = table.append_column("split", pa.array([split] * len(kept), pa.string()))
    where = [(number, sample.offset, sample.size) for sample in kept]
    return _Seen(
        [sample.name for sample in kept],
        np.array(where, np.int64).reshape(-1, 3),
        table,
        bare,
        without,
    )


def _dataset(
    path: Path,
    name: str,
    shards: Sequence[str],
    seen: Sequence[_Seen],
    target: str | None,
    config: DataConfig,
) -> Dataset:
    bare = [b for one in seen for b in one.bare]
    without = [w for one in seen for w in one.without]
    n = sum(len(one.names) for one in seen)
    if not n:
        raise LayoutError(
            f"No picture in the {len(shards):,} shards of {name} has annotations.",
            expected="pictures beside their .json or .cls, under the same names",
            todo="pack the annotations into the shards, too",
        )
    where = np.concatenate([one.places for one in seen])
    return from_columns(
        path,
        "webdataset",
        _joined([one.table for one in seen if one.names], name),
        _ids(shards, seen),
        lambda keep: TarSource(shards, *np.ascontiguousarray(where[keep].T)),
        target,
        config,
        where=PurePosixPath(name).name,
        findings=(without_image(without, n + len(without)), without_label(bare, n + len(bare))),
    )


def _joined(tables: Sequence[pa.Table], name: str) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        pass
    # A value that is a number in one shard and a word in another is a word.
    kinds = {f.name: set[pa.DataType]() for table in tables for f in table.schema}
    for table in tables:
        for f in table.schema:
            kinds[f.name].add(f.type)
    words = [name for name, found in kinds.items() if len(found) > 1]
    try:
        return pa.concat_tables([_as_words(t, words) for t in tables], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"The annotations in the shards of {name} do not fit together: {error}",
            expected="the same names with the same kinds of values in every shard",
            todo="pack the shards again",
        ) from error


def _as_words(table: pa.Table, names: Sequence[str]) -> pa.Table:
    for name in names:
        if name in table.column_names:
            at = table.column_names.index(name)
            words = [None if v is None else str(v) for v in table[name].to_pylist()]
            table = table.set_column(at, name, pa.array(words, pa.string()))
    return table


def _ids(shards: Sequence[str], seen: Sequence[_Seen]) -> list[str]:
    """The members' names; where shards use a name twice, all with their shard's."""
    names = [name for one in seen for name in one.names]
    if len(set(names)) == len(names):
        return names
    stems = Counter(PurePosixPath(shard).stem for shard in shards)
    folders = [PurePosixPath(shard) for shard in shards]
    called = [s.stem if stems[s.stem] == 1 else f"{s.parent.name}/{s.stem}" for s in folders]
    return [f"{call}/{name}" for call, one in zip(called, seen, strict=True) for name in one.names]


def _near_shards(path: Path) -> list[str]:
    """The tar files of a folder, or of folders in it that are called after splits."""
    if path.is_file():
        return [str(path)] if is_tar(path.name) else []
    inner = [f for f in folders_in(path) if f.name.lower() in splits.WORDS]
    return [str(file) for folder in (path, *inner) for file in files_in(folder, *TAR)]
