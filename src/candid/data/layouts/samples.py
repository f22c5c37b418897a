"""Tar shards as WebDataset has them: neighbours with one key are one sample.

`000017.jpg` beside `000017.json` and `000017.cls` is one picture with its annotations (Aizman,
Maltby and Breuel 2019, "High performance I/O for large scale deep learning"). Of the pictures, only
where they lie is kept (`candid.data.tars` reads them).
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from candid.data.layouts.pictures import is_picture
from candid.data.tars import Member, members
from candid.errors import DataError, ImageError
from candid.storage import places
from candid.tables.delimited import flat

_ANNOTATION = 1 << 20  # bytes of one sample's annotations
CLASS = "class"  # what the number in a .cls file is called


@dataclass(slots=True)
class Sample:
    """One picture in a shard, and what is written about it.

    Attributes
    ----------
    name
        Of the picture's member; "" where there is none.
    offset, size
        Where its bytes lie in the shard.
    annotations
        From its .json and .cls; a value inside a value is called `outer.inner`.
    """

    key: str
    name: str = ""
    offset: int = 0
    size: int = 0
    annotations: dict[str, Any] = field(default_factory=dict)


def samples(shard: str, most: int | None = None) -> Iterator[Sample]:
    """The samples of a shard in order; at most so many members are read, if that is given.

    Raises
    ------
    DataError
        Where it cannot be read, is damaged, or holds annotations that are none.
    """
    sample: Sample | None = None
    with places.opened(shard) as file:
        try:
            for member in islice(members(file, "r:", to_the_end=False), most):
                key, ending = _split_name(member.name)
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = Sample(key)
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


def _add(sample: Sample, member: Member, ending: str, shard: str) -> None:
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
        sample.annotations |= flat(value)


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
