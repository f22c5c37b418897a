"""Layouts of data sets on disk, one module each; `load_dataset` reads any of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from candid.data.dataset import Dataset
from candid.data.layouts import (
    celeba,
    fairface,
    folder,
    huggingface,
    lfw,
    shards,
    table,
    utkface,
    webdataset,
)
from candid.data.layouts.assembly import check_class_settings, check_learnable, rename_classes
from candid.data.layouts.pictures import files_in, folders_in
from candid.errors import ConfigError, DataError, LayoutError, did_you_mean, nearest_names
from candid.settings import DataConfig
from candid.storage import filesystem


@dataclass(frozen=True, slots=True)
class Layout:
    """How a layout is recognised and read.

    `recognise` says whether a path looks like it: quick, and never an error. `read` returns the
    Dataset at a path, for a target (None: the layout's default) and settings.
    """

    recognise: Callable[[Path], bool]
    read: Callable[[Path, str | None, DataConfig], Dataset]


LAYOUTS = {  # the specific before the general
    "celeba": Layout(celeba.recognise_celeba, celeba.read_celeba),
    "fairface": Layout(fairface.recognise_fairface, fairface.read_fairface),
    "lfw": Layout(lfw.recognise_lfw, lfw.read_lfw),
    "utkface": Layout(utkface.recognise_utkface, utkface.read_utkface),
    "huggingface": Layout(huggingface.recognise_huggingface, huggingface.read_huggingface),
    "webdataset": Layout(webdataset.recognise_webdataset, webdataset.read_webdataset),
    "table": Layout(table.recognise_image_table, table.read_image_table),
    "folder": Layout(folder.recognise_folder, folder.read_folder),
}
_SEPARATE_IMAGES = ("celeba", "fairface", "table")  # those that may have data.image_folder

_ARCHIVES = (".zip", ".7z", ".rar", ".tgz", ".gz", ".bz2", ".xz", ".zst")

_DEFAULTS = DataConfig()


def load_dataset(
    path: Path,
    *,
    target: str | None = None,
    layout: str | None = None,
    config: DataConfig = _DEFAULTS,
    learnable: bool = True,
) -> Dataset:
    """Read the labels at a path and find their images, without opening these.

    `path` is a data folder, a table (CSV, TSV, Parquet) or a shard; or shards (tar or Parquet
    files) by a URL, or by a pattern such as `shards/train-*.tar`. The default of `target` is the
    layout's, such as Male for CelebA; `layout`, a name from `LAYOUTS`, is recognised by default.
    `learnable`: raise where training is not possible.

    Raises
    ------
    LayoutError
        For an unknown layout, or where none fits.
    TargetError
        For a target that does not exist or cannot be learned.
    DataError
        For a missing folder, a bad label file, a path that leaves the folder, or an empty split.
    ConfigError
        For a column, class or attribute in the settings that the data does not have.
    """
    dataset = read_place(Path(path), target=target, layout=layout, config=config)
    words = dataset.class_words
    check_class_settings(words, rename_classes(words, config), dataset.target, config)
    if learnable:
        check_learnable(dataset)
    return dataset


def read_place(
    path: Path, *, target: str | None, layout: str | None, config: DataConfig
) -> Dataset:
    """As `load_dataset`, but the settings may name classes of other data sets."""
    if layout is not None and layout not in LAYOUTS:
        raise LayoutError(
            f"There is no layout {layout!r}.",
            expected=f"one of: {', '.join(LAYOUTS)}",
            todo=did_you_mean(layout, LAYOUTS),
        )
    name = filesystem.name_of(path)
    local = filesystem.local_path(name)
    if local is None or shards.is_pattern(name):
        dataset = _read_shards(path, name, target, layout, config)
        return replace(dataset, origin=name if local is None else str(local.absolute()))
    _check_path(local)
    if config.image_folder:
        _check_image_folder(Path(config.image_folder), layout)
    names = [layout] if layout else _SEPARATE_IMAGES if config.image_folder else [*LAYOUTS]
    root, reader = _recognise(local, [LAYOUTS[name] for name in names])
    return replace(reader.read(root, target, config), origin=str(local.resolve()))


def _read_shards(
    path: Path, name: str, target: str | None, layout: str | None, config: DataConfig
) -> Dataset:
    """Read the shards that a URL or a pattern names."""
    files = shards.list_shards(name)
    kind, read = "huggingface", huggingface.read_parquet_shards
    if shards.is_tar(files[0]):
        kind, read = "webdataset", webdataset.read_tar_shards
    if config.image_folder:
        _check_image_folder(Path(config.image_folder), kind)
    if layout not in (None, kind):
        raise LayoutError(
            f"{name} names shards of the layout {kind!r}; the layout {layout!r} was asked for.",
            expected="a folder of this machine for any other layout than webdataset (tar) and "
            "huggingface (Parquet): nothing else is read from an object store or by a pattern",
            todo="leave --layout out; or pack the data into shards, or fetch it",
        )
    return read(path, files, target, config)


def _check_image_folder(folder: Path, layout: str | None) -> None:
    if layout not in (None, *_SEPARATE_IMAGES):
        raise ConfigError(
            f"The layout {layout!r} has its pictures where its labels are, and data.image_folder "
            f"names {folder}.",
            expected=f"an image folder for {', '.join(_SEPARATE_IMAGES)} alone",
            todo="leave --image-folder out, or name the table with the labels",
        )
    if not folder.is_dir():
        raise ConfigError(
            f"data.image_folder names {folder}, which is no folder.",
            expected="the folder of this machine that holds the pictures",
            todo="check the path after --image-folder",
        )


def _recognise(path: Path, layouts: list[Layout]) -> tuple[Path, Layout]:
    """The path and the layout that fits it; a single one is not checked, as it raises itself."""
    for candidate in _nested_folders(path):
        for layout in layouts:
            if layout.recognise(candidate):
                return candidate, layout
    if len(layouts) == 1:
        return path, layouts[0]
    if len(layouts) < len(LAYOUTS):
        raise LayoutError(
            f"No layout whose pictures may lie elsewhere fits {path}. {_describe_contents(path)}",
            expected=f"with an image folder: {', '.join(_SEPARATE_IMAGES)}",
            todo="name the table with the labels, or leave --image-folder out",
        )
    raise LayoutError(
        f"No layout fits {path}. {_describe_contents(path)}",
        expected="CelebA, UTKFace, FairFace, LFW, a table beside its pictures, folders of pictures "
        "named after their class, a Hugging Face data set, or tar shards as WebDataset has them",
        todo="name the folder that holds the data, or its layout with --layout "
        f"({', '.join(LAYOUTS)})",
    )


def _check_path(path: Path) -> None:
    if not path.exists():
        siblings = [f.name for f in folders_in(path.parent)]
        raise DataError(
            f"There is no folder or table {path}.",
            expected="a data folder, or a CSV, TSV or Parquet file",
            todo=nearest_names(path.name, siblings) or "check the path",
        )
    if path.is_dir():
        try:
            empty = next(path.iterdir(), None) is None
        except OSError as error:
            raise DataError(
                f"Cannot list {path}: {error.strerror}.",
                expected="a folder that this user can read",
                todo="mend its permissions",
            ) from error
        if empty:
            raise DataError(
                f"The folder {path} is empty.",
                expected="pictures and their labels",
                todo="unpack the data there, or name another folder",
            )
    elif path.name.lower().endswith(_ARCHIVES):
        raise LayoutError(
            f"{path} is a compressed archive.",
            expected=f"a data folder, a table, or a file ending in {shards.TAR[0]}, uncompressed",
            todo="unpack it, and name the folder that comes out",
        )
    elif not (path.is_file() and path.name.lower().endswith((*table.SUFFIXES, *shards.TAR))):
        raise LayoutError(
            f"{path} is neither a folder nor a table.",
            expected=f"a data folder, or a file ending in {', '.join(table.SUFFIXES)} or "
            f"{shards.TAR[0]}",
            todo="name the folder that holds the data",
        )


def _nested_folders(path: Path) -> list[Path]:
    """The path, and the only folder in it, and so on: archives unpack like that."""
    folders = [path]
    while folders[-1].is_dir() and len(folders) < 4:
        inner = folders_in(folders[-1])
        if len(inner) != 1 or inner[0].is_symlink() or files_in(folders[-1], ""):
            break
        folders.append(inner[0])
    return folders


def _describe_contents(path: Path) -> str:
    """The contents of a folder, as a sentence."""
    if path.is_file():
        return "It is a file."
    entries = list(path.iterdir())
    folders = sorted(f.name for f in entries if f.is_dir())
    suffixes = Counter(f.suffix.lower() or "no suffix" for f in entries if not f.is_dir())
    names = ", ".join(folders[:4]) + (", …" if len(folders) > 4 else "")
    summary = f"{len(folders):,} {'folder' if len(folders) == 1 else 'folders'} ({names})"
    parts = [summary] if folders else []
    for suffix, n in suffixes.most_common(4):
        parts.append(f"{n:,} {'file' if n == 1 else 'files'} with {suffix}")
    return f"Seen: {'; '.join(parts)}."
