"""WebDataset: tar shards in a folder or on an object store, images beside their annotations.

The target is the number in `.cls` (called class), or a value in `.json`; every other value is an
attribute. The split is in a shard's name (`train-000.tar`) or its folder's, or in a value `split`.

Neighbours with one key are one sample: `000017.jpg` beside `000017.json` and `000017.cls` is one
image with its annotations (Aizman, Maltby and Breuel 2019, "High performance I/O for large scale
deep learning"). `candid.data.tars` reads the images.
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
from candid.data.layouts.assembly import unmatched
from candid.data.layouts.pictures import files_in, folders_in, is_picture
from candid.data.layouts.shards import TAR, check_names, is_tar, map_shards, split_of
from candid.data.layouts.table import dataset_from_columns, set_split
from candid.data.tars import Member, TarSource, members
from candid.errors import DataError, ImageError, LayoutError
from candid.settings import DataConfig
from candid.storage import filesystem
from candid.tables.delimited import flatten, to_table

_GLANCE = 8  # members of a shard that decide whether it is one
_ANNOTATION = 1 << 20  # bytes of one sample's annotations
CLASS = "class"  # the name of the number in a .cls file


def recognise_webdataset(path: Path) -> bool:
    """Whether there are tar shards whose first members are an image with annotations."""
    try:
        shards = _list_tars(path)
        return bool(shards) and any(
            sample.name and sample.annotations for sample in samples(shards[0], _GLANCE)
        )
    except DataError:
        return False


def read_webdataset(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read the headers and annotations of all shards; without a target, class, label or target."""
    return read_tar_shards(path, _list_tars(path), target, config)


def read_tar_shards(
    path: Path, shards: Sequence[str], target: str | None, config: DataConfig
) -> Dataset:
    """Read the headers and annotations of shards; as `read_webdataset`."""
    name = filesystem.name_of(path)
    if not shards:
        raise LayoutError(
            f"There are no tar shards in {name}.",
            expected="files such as train-000.tar, here or in folders called train, val or test",
            todo="name the folder that holds them, or another layout with --layout",
        )
    split = {shard: split_of(PurePosixPath(shard)) for shard in shards}
    check_names([*split.items()], "train-000.tar", "shard")
    contents = map_shards(lambda i: _read_shard(shards[i], i, split[shards[i]]), shards)
    return _dataset(path, name, shards, contents, target, config)


@dataclass(frozen=True, eq=False)
class _ShardRows:
    """One shard: (n,) names of images with their (n, 3) shard, offset and size, and n rows.

    `unlabelled` are images without annotations, `without_image` keys without an image.
    """

    names: list[str]
    positions: NDArray[np.int64]
    table: pa.Table
    unlabelled: list[str]
    without_image: list[str]


def _read_shard(shard: str, number: int, split: str | None) -> _ShardRows:
    labelled: list[TarSample] = []
    unlabelled: list[str] = []
    without_image: list[str] = []
    for sample in samples(shard):
        if not sample.name:
            without_image.append(f"{PurePosixPath(shard).name}/{sample.key}")
        elif not sample.annotations:
            unlabelled.append(f"{PurePosixPath(shard).name}/{sample.name}")
        else:
            labelled.append(sample)
    table = to_table([sample.annotations for sample in labelled])
    table = table if split is None else set_split(table, split)
    positions = [(number, sample.offset, sample.size) for sample in labelled]
    return _ShardRows(
        [sample.name for sample in labelled],
        np.array(positions, np.int64).reshape(-1, 3),
        table,
        unlabelled,
        without_image,
    )


def _dataset(
    path: Path,
    name: str,
    shards: Sequence[str],
    contents: Sequence[_ShardRows],
    target: str | None,
    config: DataConfig,
) -> Dataset:
    unlabelled = [b for c in contents for b in c.unlabelled]
    without_image = [w for c in contents for w in c.without_image]
    n = sum(len(c.names) for c in contents)
    if not n:
        raise LayoutError(
            f"No picture in the {len(shards):,} shards of {name} has annotations.",
            expected="pictures beside their .json or .cls, under the same names",
            todo="pack the annotations into the shards, too",
        )
    positions = np.concatenate([c.positions for c in contents])
    return dataset_from_columns(
        path,
        "webdataset",
        _concatenate([c.table for c in contents if c.names], name),
        _ids(shards, contents),
        lambda keep: TarSource(shards, *np.ascontiguousarray(positions[keep].T)),
        target,
        config,
        file=PurePosixPath(name).name,
        findings=unmatched(without_image, n + len(without_image), unlabelled, n + len(unlabelled)),
    )


def _concatenate(tables: Sequence[pa.Table], name: str) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        pass
    # A column that is a number in one shard and a word in another becomes words.
    types_of = {f.name: set[pa.DataType]() for table in tables for f in table.schema}
    for table in tables:
        for f in table.schema:
            types_of[f.name].add(f.type)
    words = [name for name, types in types_of.items() if len(types) > 1]
    try:
        return pa.concat_tables([_to_words(t, words) for t in tables], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"The annotations in the shards of {name} do not fit together: {error}",
            expected="the same names with the same kinds of values in every shard",
            todo="pack the shards again",
        ) from error


def _to_words(table: pa.Table, names: Sequence[str]) -> pa.Table:
    for name in names:
        if name in table.column_names:
            index = table.column_names.index(name)
            words = [None if v is None else str(v) for v in table[name].to_pylist()]
            table = table.set_column(index, name, pa.array(words, pa.string()))
    return table


def _ids(shards: Sequence[str], contents: Sequence[_ShardRows]) -> list[str]:
    """The members' names; if they are not unique, with their shard's."""
    names = [name for c in contents for name in c.names]
    if len(set(names)) == len(names):
        return names
    stems = Counter(PurePosixPath(shard).stem for shard in shards)
    folders = [PurePosixPath(shard) for shard in shards]
    prefixes = [s.stem if stems[s.stem] == 1 else f"{s.parent.name}/{s.stem}" for s in folders]
    return [f"{p}/{name}" for p, c in zip(prefixes, contents, strict=True) for name in c.names]


def _list_tars(path: Path) -> list[str]:
    """The tar files of a folder, or of folders in it with names of splits."""
    if path.is_file():
        return [str(path)] if is_tar(path.name) else []
    inner = [f for f in folders_in(path) if f.name.lower() in splits.WORDS]
    return [str(file) for folder in (path, *inner) for file in files_in(folder, *TAR)]


# --- one shard -----------------------------------------------------------------------------------


@dataclass(slots=True)
class TarSample:
    """One image in a shard: its member's name ("" where there is none), and the place of its bytes.

    Nested annotations are called `outer.inner`.
    """

    key: str
    name: str = ""
    offset: int = 0
    size: int = 0
    annotations: dict[str, Any] = field(default_factory=dict)


def samples(shard: str, most: int | None = None) -> Iterator[TarSample]:
    """The samples of a shard in order; of at most `most` members, if given.

    Raises DataError where it cannot be read, is damaged, or has invalid annotations.
    """
    sample: TarSample | None = None
    with filesystem.open_file(shard) as file:
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
    """A member's key, up to the first dot of its last part, and the rest as its ending."""
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
