"""WebDataset: tar shards in a folder or on an object store, pictures beside their annotations.

The target is the number in `.cls` (called class), or a value in `.json`; every other value is an
attribute. A shard's name (`train-000.tar`) or its folder's says the split, or a value `split` does.

Neighbours with one key are one sample: `000017.jpg` beside `000017.json` and `000017.cls` is one
picture with its annotations (Aizman, Maltby and Breuel 2019, "High performance I/O for large scale
deep learning"). Of the pictures, only where they lie is kept (`candid.data.tars` reads them).
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candid.data import splits
from candid.data.dataset import Dataset
from candid.data.layouts.assembly import left_over
from candid.data.layouts.pictures import files_in, folders_in, is_picture
from candid.data.layouts.shards import TAR, each, is_tar, refuse_odd, split_of
from candid.data.layouts.table import from_columns, with_split
from candid.data.tars import Member, TarSource, members
from candid.errors import DataError, ImageError, LayoutError
from candid.settings import DataConfig
from candid.storage import filesystem
from candid.tables.delimited import flatten, to_table

_GLANCE = 8  # members of a shard that are looked at to recognise the layout
_ANNOTATION = 1 << 20  # bytes of one sample's annotations
CLASS = "class"  # what the number in a .cls file is called


def recognise_webdataset(path: Path) -> bool:
    """Whether there are tar shards whose first members are a picture with annotations."""
    try:
        shards = _near_shards(path)
        return bool(shards) and any(
            sample.name and sample.annotations for sample in samples(shards[0], _GLANCE)
        )
    except DataError:
        return False


def read_webdataset(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read the headers and annotations of all shards; without a target, class, label or target."""
    return read_tar_shards(path, _near_shards(path), target, config)


def read_tar_shards(
    path: Path, shards: Sequence[str], target: str | None, config: DataConfig
) -> Dataset:
    """Read the headers and annotations of shards that `path` means; as `read_webdataset`."""
    name = filesystem.name_of(path)
    if not shards:
        raise LayoutError(
            f"There are no tar shards in {name}.",
            expected="files such as train-000.tar, here or in folders called train, val or test",
            todo="name the folder that holds them, or another layout with --layout",
        )
    named = {shard: split_of(PurePosixPath(shard)) for shard in shards}
    refuse_odd([*named.items()], "train-000.tar", "shard")
    seen = each(lambda number: _one(shards[number], number, named[shards[number]]), shards)
    return _dataset(path, name, shards, seen, target, config)


@dataclass(frozen=True, eq=False)
class _Seen:
    """One shard: (n,) names of pictures with their (n, 3) shard, offset and size, and n rows.

    `bare` are pictures that nothing describes, `without` keys without a picture.
    """

    names: list[str]
    places: NDArray[np.int64]
    table: pa.Table
    bare: list[str]
    without: list[str]


def _one(shard: str, number: int, split: str | None) -> _Seen:
    kept: list[TarSample] = []
    bare: list[str] = []
    without: list[str] = []
    for sample in samples(shard):
        if not sample.name:
            without.append(f"{PurePosixPath(shard).name}/{sample.key}")
        elif not sample.annotations:
            bare.append(f"{PurePosixPath(shard).name}/{sample.name}")
        else:
            kept.append(sample)
    table = to_table([sample.annotations for sample in kept])
    table = table if split is None else with_split(table, split)
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
        findings=left_over(without, n + len(without), bare, n + len(bare)),
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


# --- one shard -----------------------------------------------------------------------------------


@dataclass(slots=True)
class TarSample:
    """One picture in a shard: its member's name ("" where there is none), where its bytes lie.

    A value inside a value of its annotations is called `outer.inner`.
    """

    key: str
    name: str = ""
    offset: int = 0
    size: int = 0
    annotations: dict[str, Any] = field(default_factory=dict)


def samples(shard: str, most: int | None = None) -> Iterator[TarSample]:
    """The samples of a shard in order; at most so many members are read, if that is given.

    Raises DataError where it cannot be read, is damaged, or holds annotations that are none.
    """
    sample: TarSample | None = None
    with filesystem.opened(shard) as file:
        try:
            for member in islice(members(file, "r:", to_the_end=False), most):
                key, ending = _split_name(member.name)
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = TarSample(key)
                _add(sample, member, ending, shard)
        except tarfile.ReadError as error:
            raise _damaged(shard, str(error)) from error
    if sample is not None:
        yield sample


def _split_name(name: str) -> tuple[str, str]:
    """A member's key and ending: all up to the first dot of its last part, and the rest."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, ending = base.partition(".")
    return folder + slash + stem, ending.lower()


def _add(sample: TarSample, member: Member, ending: str, shard: str) -> None:
    if is_picture(f".{ending}"):
        if not sample.name:
            sample.name = member.name.removeprefix("./")
            sample.offset, sample.size = member.offset, member.size
    elif ending in ("json", "cls"):
        text = _text(member, shard)
        if ending == "cls":
            sample.annotations[CLASS] = text.strip()
            return
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _damaged(shard, f"{member.name} is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise _damaged(shard, f"{member.name} holds no object")
        sample.annotations |= flatten(value)


def _text(member: Member, shard: str) -> str:
    try:
        return member.read(_ANNOTATION).decode()
    except ImageError as error:
        raise _damaged(shard, f"{member.name}: {error.what}") from error
    except UnicodeDecodeError as error:
        raise _damaged(shard, f"{member.name} is not UTF-8") from error


def _damaged(shard: str, reason: str) -> DataError:
    return DataError(
        f"Cannot read {shard}: {reason}.",
        expected="a whole tar file, not compressed, with pictures beside their .json or .cls",
        todo="fetch or pack it again; unpack .tar.gz to .tar",
    )
