"""A Dataset: which images there are and what was written about them; no pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from candid.errors import ConfigError
from candid.predictions import Attribute
from candid.records import Finding


class Source(Protocol):
    """Where the encoded images lie. Picklable: worker processes read from it."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> bytes:
        """The encoded bytes of one image.

        Raises
        ------
        ImageError
            Where they cannot be had (missing, empty, outside the data folder).
        """
        ...

    def stamp(self) -> str:
        """A digest that changes when an image does: of names, sizes and modification times."""
        ...


@runtime_checkable
class Sharded(Source, Protocol):
    """A source whose images lie in a few large files, one after the other.

    Attributes
    ----------
    files
        The shards: paths or URLs.
    file
        (n,) which of them holds each image; rows of one ascend as its images do.
    """

    files: tuple[str, ...]
    file: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> Source:
        """The source of some of the images."""
        ...


def sharded(source: Source) -> Sharded:
    """The source, which is in shards.

    Raises
    ------
    ConfigError
        Where it is not.
    """
    if not isinstance(source, Sharded):
        raise ConfigError(
            "The pictures do not lie in shards, from which they could be streamed.",
            expected="tar or Parquet shards for data.stream = always",
            todo="leave data.stream as it is, or pack the data into shards",
        )
    return source


@dataclass(frozen=True, eq=False)
class Dataset:
    """n images with a label each.

    Attributes
    ----------
    name
        What to call it in a report: the folder's name.
    layout
        The layout that read it: "celeba", "folder", …
    target
        The label's name: "Male".
    classes
        The label's values in the data's own words, in a fixed order; for a two-valued target, the
        negative one first: ("Female", "Male").
    ids
        (n,) str, unique: the path inside the data folder, or a row's key.
    label
        (n,) int16 index into `classes`; -1 where missing.
    split
        (n,) str: "train", "validation" or "test".
    source
        Where the encoded images lie; row i is image i.
    identity
        (n,) int64, the same number for the same person, -1 unknown; None where nobody knows.
    attributes
        Every other annotation, by name.
    findings
        What the layout saw while it read: rows without a picture, contradictory labels, …
    origin
        The path that it was read from, to read it again; empty where it was made by hand.
    split_hash
        (n,) uint64 hashes of the person or the name, by which Candid chose the split; 0 where the
        data says it itself, None where it does so everywhere. Packing keeps copies together then.
    """

    name: str
    layout: str
    target: str
    classes: tuple[str, ...]
    ids: NDArray[np.str_]
    label: NDArray[np.int16]
    split: NDArray[np.str_]
    source: Source
    identity: NDArray[np.int64] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    origin: str = ""
    split_hash: NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, {len(self)} images, target={self.target!r}, "
            f"classes={self.classes}, {len(self.attributes)} attributes, layout={self.layout!r})"
        )

    def take(self, rows: NDArray[np.intp]) -> Dataset:
        """Some of the images, where the source is in shards."""
        return replace(
            self,
            ids=self.ids[rows],
            label=self.label[rows],
            split=self.split[rows],
            source=sharded(self.source).take(rows),
            identity=None if self.identity is None else self.identity[rows],
            attributes={name: a[rows] for name, a in self.attributes.items()},
            split_hash=None if self.split_hash is None else self.split_hash[rows],
        )

    def rows(self, split: str, usable: NDArray[np.bool_] | None = None) -> NDArray[np.intp]:
        """The labelled rows of one split, ascending; only those that `usable` marks, if given."""
        keep = (self.split == split) & (self.label >= 0)
        if usable is not None:
            keep &= usable
        return np.flatnonzero(keep)


def codes(words: list[Any]) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """Distinct words in sorted order, and each row's index among them (-1 for None or "")."""
    values = tuple(sorted({str(w) for w in words if w is not None and str(w) != ""}))
    index = {w: i for i, w in enumerate(values)}
    return values, np.asarray([index.get(str(w), -1) for w in words], dtype=np.int16)
