"""Packing images once, into a memory-mapped uint8 array that later runs reuse.

A pack is a folder in the cache, named after its fingerprint::

    pixels.npy        (n, side, side, 3) uint8; row i is the dataset's row i
    index.parquet     one row per image: usable, reason, cause, width, height, mode, format, digest
    copies-1.npz      the duplicates, once they were searched for
    journal.jsonl     only while unfinished: the pack's key, and a line per finished chunk of rows
    lock              held by the process that packs; as old as the last use

`index.parquet` is written last and atomically, so a folder without it is no pack. After a kill, the
chunks in the journal whose pixels still have their checksum are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from candid.data import decode
from candid.data.dataset import Dataset
from candid.data.encoded import PHONE_SUFFIXES, readable
from candid.data.packing import INDEX, Reframe, Repacking, Row, fill
from candid.data.processes import LOCK, locked_folder
from candid.errors import DataError, OutputError
from candid.settings import DataConfig
from candid.storage.files import writing

# Part of every fingerprint: raise it when the format of a pack's files changes.
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Store:
    """The pixels of a dataset's n images, and facts about their files."""

    folder: Path  # the pack's
    pixels: NDArray[np.uint8]  # (n, side, side, 3), memory-mapped, read-only; 0 where not usable
    usable: NDArray[np.bool_]  # (n,) whether the image could be decoded
    reasons: Mapping[int, str]  # row → why not, for the others
    # (n,) of the images in their files, after the EXIF rotation; 0 where not usable
    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    modes: NDArray[np.str_]  # (n,) "RGB", "L", …; "" where not usable
    formats: NDArray[np.str_]  # (n,) "JPEG", "PNG", …
    digests: NDArray[np.str_]  # (n,) BLAKE2b-128 of the file in hexadecimal; "" where not read
    fingerprint: str  # of ids, files, size and decoder, which determine the pixels
    # Row → its reason without the file's particulars; empty in older packs.
    causes: Mapping[int, str] = field(default_factory=dict)

    def cause(self, row: int) -> str:
        """Why an image cannot be read, without the file's particulars."""
        return self.causes.get(row, self.reasons[row])

    def __len__(self) -> int:
        return len(self.usable)

    @property
    def side(self) -> int:
        """Pixels per side."""
        return int(self.pixels.shape[1])

    def __repr__(self) -> str:
        bad = len(self) - int(np.count_nonzero(self.usable))
        return f"Store({len(self)} images of {self.side}×{self.side}, {bad} unusable)"


def default_cache() -> Path:
    """The folder of packs: $CANDID_CACHE, else the platform's cache folder."""
    if path := os.environ.get("CANDID_CACHE"):
        return Path(path)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "candid"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "candid" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "candid"


def pack(
    dataset: Dataset, config: DataConfig, *, cache: Path | None = None, quiet: bool = False
) -> Store:
    """Decode every image, or open the pack if it exists.

    With more than one process (`config.workers`), a script must start its work below `if __name__
    == "__main__":`. `cache` is the folder with all packs; None: `default_cache()`. Raises DataError
    where there are no images, or more unreadable ones than `config.max_bad_share`; OutputError
    where the cache cannot be written to or the disk is full.
    """
    if not len(dataset):
        raise DataError(
            f"{dataset.name} has no images.",
            expected="at least one image",
            todo="name a folder with images, or see why the layout found none",
        )
    return _find_or_fill(dataset, config, fingerprint(dataset, config), cache, None, quiet=quiet)


def repack(
    dataset: Dataset,
    config: DataConfig,
    source: Store,
    moved: NDArray[np.bool_],
    reframe: Reframe,
    *,
    quiet: bool = False,
) -> Store:
    """Make a pack in which the images that `moved` (n,) marks get another frame, or open it.

    The others are copied bit for bit from the pack `source`, beside which it lies. Raises DataError
    or OutputError as for `pack`.
    """
    digest = hashlib.blake2b(f"{source.fingerprint} {reframe.digest}".encode(), digest_size=32)
    digest.update(np.packbits(moved).tobytes())
    repacking = Repacking(reframe, moved & source.usable, source.pixels, partial(_rows, source))
    cache = source.folder.parent
    return _find_or_fill(dataset, config, digest.hexdigest(), cache, repacking, quiet=quiet)


def _rows(store: Store, start: int, stop: int) -> list[Row]:
    """Rows of a pack's index."""
    return [
        (
            store.reasons.get(row, ""),
            store.causes.get(row, ""),
            int(store.widths[row]),
            int(store.heights[row]),
            str(store.modes[row]),
            str(store.formats[row]),
            str(store.digests[row]),
        )
        for row in range(start, stop)
    ]


def _find_or_fill(
    dataset: Dataset,
    config: DataConfig,
    key: str,
    cache: Path | None,
    repacking: Repacking | None,
    *,
    quiet: bool,
) -> Store:
    folder = _folder(key, cache)
    store = _open(folder, len(dataset), key, config.side)
    if store is None:
        with writing(folder, "--cache"):
            folder.mkdir(parents=True, exist_ok=True)
        with locked_folder(folder, quiet=quiet):
            # Another process that held the lock may have done the work.
            store = _open(folder, len(dataset), key, config.side)
            if store is None:
                fill(folder, dataset, config, key, repacking=repacking, quiet=quiet)
                store = _open(folder, len(dataset), key, config.side)
    if store is None:
        raise OutputError(
            f"The pack in {folder} vanished while it was written.",
            expected="a cache that nothing else deletes from",
            todo="start again, or name another place with --cache",
        )
    _check_bad_share(dataset, store, config.max_bad_share)
    with contextlib.suppress(OSError):  # a cache may be read-only
        os.utime(folder / LOCK)
    return store


def fingerprint(dataset: Dataset, config: DataConfig) -> str:
    """A digest of all that determines the pixels: ids, files, size, fit, limit, decoder."""
    digest = hashlib.blake2b(digest_size=32)
    settings = (_FORMAT, decode.VERSION, config.side, config.fit, config.max_pixels)
    ids = np.ascontiguousarray(dataset.ids)
    for part in (repr(settings), dataset.source.stamp(), f"{ids.dtype.str}{len(ids)}"):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    digest.update(ids.tobytes())
    if any(str(name).lower().endswith(PHONE_SUFFIXES) for name in dataset.ids):
        digest.update(repr(readable()).encode())  # a new library makes them readable
    return digest.hexdigest()


def pack_size(n: int, side: int) -> int:
    """The bytes of a pack of `n` images."""
    return n * side * side * 3


def is_begun(dataset: Dataset, config: DataConfig, *, cache: Path | None = None) -> bool:
    """Whether there is a pack, finished or not, whose disk space is reserved."""
    return (_folder(fingerprint(dataset, config), cache) / "pixels.npy").exists()


def _folder(key: str, cache: Path | None) -> Path:
    return (default_cache() if cache is None else Path(cache)) / key[:32]


def _check_bad_share(dataset: Dataset, store: Store, most: float) -> None:
    bad, n = len(store.reasons), len(store)
    if bad == 0 or (bad <= most * n and bad < n):
        return
    examples = "\n".join(
        f"    {dataset.ids[row]}: {store.reasons[row]}" for row in list(store.reasons)[:5]
    )
    more = f"\n    … and {bad - 5:,} more" if bad > 5 else ""
    raise DataError(
        f"{bad:,} of {n:,} images cannot be read ({bad / n:.1%}):\n{examples}{more}",
        expected=f"at most data.max_bad_share = {most:.1%} of all, and at least one that can",
        todo="mend or remove them, or raise data.max_bad_share",
    )


# --- opening -------------------------------------------------------------------------------------


def _open(folder: Path, n: int, key: str, side: int) -> Store | None:
    """The finished pack in `folder`; None where there is none, or a damaged one."""
    try:
        with pq.ParquetFile(folder / "index.parquet") as file:
            index = file.read([name for name in INDEX if name in file.schema_arrow.names])
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, pa.ArrowException):
        return None
    if pixels.shape != (n, side, side, 3) or pixels.dtype != np.uint8 or len(index) != n:
        return None
    if {*INDEX} - {*index.column_names} - {"cause"}:
        return None
    usable = index["usable"].to_numpy()
    rows = np.flatnonzero(~usable)

    def by_row(column: str) -> dict[int, str]:
        words = index[column].take(pa.array(rows)).to_pylist()
        return {int(row): word for row, word in zip(rows, words, strict=True)}

    return Store(
        folder=folder,
        pixels=pixels,
        usable=usable,
        reasons=by_row("reason"),
        widths=index["width"].to_numpy(),
        heights=index["height"].to_numpy(),
        modes=_words(index["mode"]),
        formats=_words(index["format"]),
        digests=np.asarray(index["digest"].to_pylist(), np.str_),
        fingerprint=key,
        causes=by_row("cause") if "cause" in index.column_names else {},
    )


def _words(column: pa.ChunkedArray) -> NDArray[np.str_]:
    dictionary = column.combine_chunks().dictionary_encode()
    words = np.asarray(dictionary.dictionary.to_pylist(), np.str_)
    result: NDArray[np.str_] = words[dictionary.indices.to_numpy()]
    return result
