"""The cache of packed images: what is in it, how big it is, when it was used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from candid.records.frames import Tabular

PackState = Literal["whole", "unfinished", "in use"]


@dataclass(frozen=True, slots=True)
class PackSummary:
    """One pack.

    Attributes
    ----------
    folder
        Where it lies.
    state
        "unfinished": a stop left it, and it can be gone on with; "in use": a process writes to it.
    data
        What the data set was called that it was made of; "" where that was not noted, in packs that
        are unfinished or were made before.
    example
        The id of its first image; "" where unfinished.
    images, side
        How many, and their pixels per side; 0 where that cannot be read.
    size
        Bytes of all its files.
    made, used
        When it was finished, or last written to, and when it was last opened, in ISO 8601.
    """

    folder: str
    state: PackState
    data: str
    example: str
    images: int
    side: int
    size: int
    made: str
    used: str


@dataclass(frozen=True, slots=True)
class PackList(Tabular):
    """The packs of a cache, the last used first; `pruned` are those that go, or went if `done`."""

    cache: str
    packs: tuple[PackSummary, ...]
    pruned: tuple[PackSummary, ...] = ()
    done: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """One row for each."""
        pruned = {pack.folder for pack in self.pruned}
        return [
            {
                "pack": p.folder,
                "state": p.state,
                "data": p.data,
                "images": p.images,
                "side": p.side,
                "bytes": p.size,
                "made": p.made,
                "used": p.used,
                "pruned": p.folder in pruned,
            }
            for p in self.packs
        ]
