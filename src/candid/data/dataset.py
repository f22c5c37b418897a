"""A Dataset: images with labels and annotations, without pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from candid.errors import ConfigError
from candid.records import SPLITS, Finding
from candid.records.frames import html_of
from candid.table import Table


class Source(Protocol):
    """The encoded images. Picklable, as worker processes read from it."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> bytes:
        """The encoded bytes of one image.

        Raises
        ------
        ImageError
            Where they cannot be read (missing, empty, outside the data folder).
        """
        ...

    def stamp(self) -> str:
        """A digest that changes when an image does: of names, sizes and modification times."""
        ...


@runtime_checkable
class Sharded(Source, Protocol):
    """A source whose images lie in a few large files, one after the other.

    `files` are the shards, by path or URL; `file` (n,) is the shard of each image, in whose order
    rows ascend.
    """

    files: tuple[str, ...]
    file: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> Source:
        """The source of some of the images."""
        ...


class SourceSubset:
    """The images of a source at `rows`, in their order."""

    def __init__(self, source: Source, rows: NDArray[np.intp]) -> None:
        self.source, self.rows = source, rows

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, row: int) -> bytes:
        """The bytes of one image."""
        return self.source.read(int(self.rows[row]))

    def stamp(self) -> str:
        """A digest of the source's stamp and of `rows`."""
        digest = blake2b(self.source.stamp().encode(), digest_size=16)
        digest.update(self.rows.astype(np.int64).tobytes())
        return digest.hexdigest()


def require_sharded(source: Source) -> Sharded:
    """The source, if it is in shards; else raises ConfigError."""
    if not isinstance(source, Sharded):
        raise ConfigError(
            "The pictures do not lie in shards, from which they could be streamed.",
            expected="tar or Parquet shards for data.stream = always",
            todo="leave data.stream as it is, or pack the data into shards",
        )
    return source


@dataclass(frozen=True, slots=True)
class Part:
    """One of the data sets that were joined.

    `name` is the value of the attribute "source", `origin` and `layout` are as in `Dataset`, and
    `target` is its own name of the label.
    """

    name: str
    origin: str
    layout: str
    target: str


@dataclass(frozen=True, eq=False)
class Dataset(Table):
    """The n images of a `Table`, with their source.

    Attributes
    ----------
    name
        Its name in a report: the folder's name.
    layout
        The layout that read it: "celeba", "folder", …
    source
        The encoded images; row i is image i, whose id is the path inside the data folder, or a
        row's key.
    findings
        The layout's findings: rows without an image, contradictory labels, …
    origin
        The path that it was read from, to read it again; empty where it was made by hand.
    split_hash
        (n,) uint64 hashes of the person or the name, by which Candid chose the split; 0 where the
        data has its own, None where it has for all. Packing keeps copies together then.
    class_words
        The label's values as the layout read them, before the settings renamed or excluded any.
    parts
        The data sets that it was joined from, in order; empty for a single one. The attribute
        "source" has the data set of each image.
    no_yes
        Words for no and yes of binary labels, by name, where the layout has better ones than "not
        Smiling" and "Smiling".
    targets_left_out
        Annotations that cannot be learned with all others, and why.
    numbers
        The labels that are numbers; where `target` is one, `classes` are its distinct values,
        ascending.
    """

    PER_IMAGE = (*Table.PER_IMAGE, "split_hash")

    name: str
    layout: str
    source: Source
    findings: tuple[Finding, ...] = ()
    origin: str = ""
    split_hash: NDArray[np.uint64] | None = None
    class_words: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    no_yes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    targets_left_out: Mapping[str, str] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether the label is a number."""
        return self.target in self.numbers

    @property
    def is_several(self) -> bool:
        """Whether a run has a folder for each label: several labels, or a number."""
        return self.is_number or bool(self.further_targets)

    @property
    def origins(self) -> dict[str, str]:
        """The path of each of several joined data sets, by name."""
        return {part.name: part.origin for part in self.parts}

    def __getitem__(self, rows: NDArray[Any]) -> Dataset:
        """Some of the images, by a mask or by indices."""
        rows = np.arange(len(self))[rows]
        source = self.source
        subset = source.take(rows) if isinstance(source, Sharded) else SourceSubset(source, rows)
        return replace(super().__getitem__(rows), source=subset)

    def __repr__(self) -> str:
        classes = "a number" if self.is_number else f"classes={self.classes}"
        return (
            f"Dataset({self.name!r}, {len(self)} images, target={self.target!r}, "
            f"{classes}, {len(self.attributes)} attributes, layout={self.layout!r})"
        )

    def _repr_html_(self) -> str:
        rows = []
        for split in SPLITS:
            label = self.label[self.split == split]
            classes = () if self.is_number else self.classes
            counts = {name: int((label == code).sum()) for code, name in enumerate(classes)}
            rows.append({"split": split, "images": len(label), **counts})
        people = self.n_people()
        people_text = f", {people:,} people" if people is not None else ""
        return html_of(
            rows,
            f"{self.name}: {len(self):,} images{people_text}, {len(self.attributes)} attributes; "
            f"target {self.target}",
        )
