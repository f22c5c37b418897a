"""Hugging Face: a folder that `datasets` saved, or Parquet shards as on the Hub, images embedded.

Read with Arrow alone. Only the other columns are read into memory, not the images.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from candid.data import splits
from candid.data.dataset import Dataset, Source
from candid.data.layouts.pictures import files_in, folders_in
from candid.data.layouts.shards import PARQUET, check_names, is_parquet, map_shards, split_of
from candid.data.layouts.table import LABELS, dataset_from_columns, set_split
from candid.data.sources import ArrowSource, ParquetSource, holds_bytes, open_arrow, open_parquet
from candid.errors import DataError, ImageError, LayoutError
from candid.settings import DataConfig
from candid.storage import filesystem
from candid.storage.files import read_bytes, regular
from candid.tables.columns import find_usual, to_words

_IMAGE_WORDS = ("image", "img", "picture", "photo", "face", "jpg", "bytes")


@dataclass(frozen=True)
class ShardFile:
    """A file with rows, and the split in its name or folder, if any."""

    name: str
    split: str | None

    @property
    def path(self) -> PurePath:
        """Its name as a path."""
        return PurePath(self.name)


def recognise_huggingface(path: Path) -> bool:
    """Whether `datasets` saved this folder, or there is Parquet with an image column."""
    if path.is_file():
        return is_parquet(path.name) and _has_images(path)
    if _is_saved(path):
        return True
    files = [f for folder in _shard_folders(path) for f in files_in(folder, *PARQUET)[:1]]
    return any(_has_images(f) for f in files[:3])


def _is_saved(path: Path) -> bool:
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_huggingface(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read embedded images; without a target: label, class or target, or the only ClassLabel."""
    shards = _saved_shards(path) if _is_saved(path) else _parquet_shards(path)
    return _read(path, shards, target, config)


def read_parquet_shards(
    path: Path, shards: Sequence[str], target: str | None, config: DataConfig
) -> Dataset:
    """Read the annotations of Parquet files; as `read_huggingface`."""
    _check_one_dataset(path, [PurePath(shard).parts[:-1] for shard in shards])
    shard_files = [ShardFile(shard, split_of(PurePath(shard))) for shard in shards]
    return _read(path, shard_files, target, config)


def _read(
    path: Path, shards: Sequence[ShardFile], target: str | None, config: DataConfig
) -> Dataset:
    is_arrow = not is_parquet(shards[0].name)
    schema = _read_schema(shards[0].name)
    features = _read_features(schema, shards[0].name)
    image = _image_column(schema, features, path)
    table, file, row = _read_annotations(shards, image, is_arrow)
    names: list[str | None] = [None] * table.num_rows
    if image in table.column_names:  # the images' own names, which are no annotation
        names, table = to_words(table[image]), table.drop_columns([image])
    ids = _ids(names, shards, file, row)
    source_class = ArrowSource if is_arrow else ParquetSource
    files = [shard.name for shard in shards]
    _check_images(source_class(files, image, file, row), path)
    class_names = {n: tuple(f["names"]) for n, f in features.items() if _is_class_label(f)}
    only = class_names if len(class_names) == 1 else ()
    while any(pa.types.is_struct(f.type) for f in table.schema):
        table = table.flatten()  # one column per field, `attributes.Male`, to be an attribute each
    return dataset_from_columns(
        path,
        "huggingface",
        table,
        ids,
        lambda keep: source_class(files, image, file[keep], row[keep]),
        target,
        config,
        file=path.name,
        class_names=class_names,
        usual=(*LABELS, *only),
    )


# --- files ---------------------------------------------------------------------------------------


def _saved_shards(path: Path) -> list[ShardFile]:
    """The Arrow files of a folder that `save_to_disk` wrote."""
    if not (path / "dataset_dict.json").is_file():
        return _read_state(path, None)
    names = _read_json(path / "dataset_dict.json").get("splits")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or not names:
        raise _damaged(path / "dataset_dict.json", "it names no splits")
    shards = []
    for name in names:
        shards += _read_state(_resolve_inside(path, name), name)
    return shards


def _read_state(folder: Path, split: str | None) -> list[ShardFile]:
    state = _read_json(folder / "state.json")
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise DataError(
            f"{folder} was saved with a list of indices.",
            expected="a data set whose rows are stored in order",
            todo="save it again with a current version of datasets",
        )
    try:
        names = [file["filename"] for file in state["_data_files"]]
    except (KeyError, TypeError) as error:
        raise _damaged(folder / "state.json", "it names no files") from error
    own_split = state.get("_split")
    split = split or (own_split if isinstance(own_split, str) else None)
    return [ShardFile(str(_resolve_inside(folder, str(name))), split) for name in names]


def _resolve_inside(folder: Path, name: str) -> Path:
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{folder} names {name!r}, which leaves the data folder.",
            expected="files inside the data folder",
            todo="save the data set again in one folder",
        )
    return file


def _shard_folders(path: Path) -> list[Path]:
    """Folders for Parquet shards: this one, data/, or those called train, val or test."""
    folders = [path, path / "data"]
    inner = [f for p in folders for f in folders_in(p) if f.name.lower() in splits.WORDS]
    if not any(files_in(p, *PARQUET) for p in (*folders, *inner)):
        # One configuration of a data set: a folder of its own.
        inner = [f for f in folders_in(path)[:50] if files_in(f, *PARQUET)]
        for folder in folders_in(path)[:50]:
            inner += [f for f in folders_in(folder) if f.name.lower() in splits.WORDS]
    return [p for p in (*folders, *inner) if p.is_dir()]


def _parquet_shards(path: Path) -> list[ShardFile]:
    if path.is_file():
        return [ShardFile(str(path), None)]
    files = [f for folder in _shard_folders(path) for f in files_in(folder, *PARQUET)]
    if not files:
        raise LayoutError(
            f"There is neither a saved data set nor Parquet in {path}.",
            expected="dataset_dict.json or state.json, or data/train-00000-of-00001.parquet, …",
            todo="name the folder that holds it, or another layout with --layout",
        )
    for file in files:
        _resolve_inside(path, str(file.relative_to(path)))
    _check_one_dataset(path, [f.relative_to(path).parts[:-1] for f in files])
    return [ShardFile(str(file), split_of(file)) for file in files]


def _check_one_dataset(path: Path, folders: Sequence[Sequence[str]]) -> None:
    """Raise a LayoutError where the files' folders are not splits of one data set."""
    configurations = {
        "/".join(part for part in parts if part.lower() not in splits.WORDS) for parts in folders
    }
    if len(configurations) > 1:
        raise LayoutError(
            f"{path} holds several data sets: {', '.join(sorted(configurations)[:8])}.",
            expected="one",
            todo="name the folder of one of them",
        )


# --- contents ------------------------------------------------------------------------------------


def _read_schema(file: str) -> pa.Schema:
    try:
        if is_parquet(file):
            return open_parquet(file).schema_arrow
        return open_arrow(file).schema
    except (OSError, pa.ArrowException) as error:
        raise _damaged(file, str(error)) from error


def _has_images(file: Path) -> bool:
    try:
        schema = pq.read_schema(regular(file))
    except (OSError, pa.ArrowException):
        return False
    return any(_holds_images(field) for field in schema)


def _holds_images(field: pa.Field) -> bool:
    is_candidate = pa.types.is_struct(field.type) or field.name.lower() in _IMAGE_WORDS
    return bool(is_candidate) and holds_bytes(field.type)


def _read_features(schema: pa.Schema, file: str) -> dict[str, dict[str, Any]]:
    """The features that `datasets` wrote for each column; {} without them."""
    info: Any = {}
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])["info"]
    except (KeyError, TypeError, ValueError, RecursionError):
        path = filesystem.local_path(file)
        info_file = path.parent / "dataset_info.json" if path else None
        if info_file and info_file.is_file():
            info = _read_json(info_file)
    features = info.get("features") if isinstance(info, dict) else None
    features = features if isinstance(features, dict) else {}
    return {name: f for name, f in features.items() if isinstance(f, dict)}


def _is_class_label(feature: dict[str, Any]) -> bool:
    names = feature.get("names")
    return (
        feature.get("_type") == "ClassLabel"
        and isinstance(names, list)
        and all(isinstance(n, str) for n in names)
    )


def _image_column(schema: pa.Schema, features: dict[str, dict[str, Any]], path: Path) -> str:
    images = [f.name for f in schema if _holds_images(f)]
    declared = [name for name in images if features.get(name, {}).get("_type") == "Image"]
    images = declared or images
    column = find_usual(images, _IMAGE_WORDS) or next(iter(images), None)
    if column is not None:
        return column
    raise LayoutError(
        f"No column of {path} holds images (columns: {', '.join(schema.names[:12])}).",
        expected="a column of embedded images, with their bytes",
        todo="save the data set with its images, or name another layout with --layout",
    )


def _read_annotations(
    shards: Sequence[ShardFile], image: str, is_arrow: bool
) -> tuple[pa.Table, np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Every column but the images' bytes, with the split; and each row's file and row in it."""
    files = [s.name for s in shards]
    read = map_shards(lambda number: _read_shard(files[number], image, is_arrow), files)
    sizes = [table.num_rows for table in read]
    tables = [
        t if s.split is None else set_split(t, s.split) for s, t in zip(shards, read, strict=True)
    ]
    check_names([(s.path.name, s.split) for s in shards], "train-00000-of-00001.parquet", "file")
    try:
        joined = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise _damaged(shards[0].path.parent, f"its files do not fit together: {error}") from error
    file = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    return joined, file, np.concatenate([np.arange(n, dtype=np.int64) for n in sizes])


def _read_shard(file: str, image: str, is_arrow: bool) -> pa.Table:
    """One file's columns; the images' column is replaced by their names, or dropped without."""
    try:
        parquet = None if is_arrow else open_parquet(file)
        table: Any = open_arrow(file) if parquet is None else None
        schema = table.schema if parquet is None else parquet.schema_arrow
        dtype = schema.field(image).type
        has_names = pa.types.is_struct(dtype) and dtype.get_field_index("path") >= 0
        if parquet is not None:  # of the images' column, only the names come into memory
            rest = [n for n in schema.names if n != image]
            table = parquet.read(columns=[*rest, f"{image}.path"] if has_names else rest)
        if not has_names:
            return table.drop_columns([image]) if image in table.column_names else table
        index = table.column_names.index(image)
        names = [chunk.field("path") for chunk in table[image].chunks]
        return table.set_column(index, image, pa.chunked_array(names, pa.string()))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise _damaged(file, str(error)) from error


def _check_images(source: Source, path: Path) -> None:
    """Raise a DataError where none of the first images is embedded."""
    reason = "it has no rows"
    for row in range(min(5, len(source))):
        try:
            source.read(row)
        except ImageError as error:
            reason = error.what
        else:
            return
    raise DataError(
        f"The images of {path} cannot be read: {reason}.",
        expected="images that are embedded, with their bytes",
        todo="save the data set again with embedded images, or name their folder and its table",
    )


def _ids(
    names: Sequence[str | None],
    shards: Sequence[ShardFile],
    file: Iterable[int],
    row: Iterable[int],
) -> list[str]:
    """The images' own names where they are unique, otherwise the file and the row."""
    clean = [posixpath.basename(n.replace("\\", "/")) if n else "" for n in names]
    if all(clean) and len(set(clean)) == len(clean):
        return clean
    stems = [f"{s.path.parent.name}/{s.path.stem}" for s in shards]
    return [f"{stems[f]}#{r}" for f, r in zip(file, row, strict=True)]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_bytes(file))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(value, dict):
        raise _damaged(file, "it is not an object")
    return value


def _damaged(file: PurePath | str, reason: str) -> DataError:
    return DataError(
        f"Cannot read {file}: {reason}",
        expected="a whole data set as Hugging Face's datasets writes it",
        todo="fetch or save it again",
    )
