"""The table of packs that a terminal shows."""

from __future__ import annotations

from collections.abc import Iterator

from candid.records.packs import PackList, PackSummary
from candid.text import words

_HEAD = ("pack", "data", "images", "side", "size", "made", "last used", "state")


def pack_lines(pack_list: PackList) -> Iterator[str]:
    """A table of the packs; below it how much they take, and what is or was pruned."""
    if not pack_list.packs:
        yield f"no packs in {pack_list.cache}"
        return
    yield from words.align_columns([_HEAD, *map(_cells, pack_list.packs)])
    total = sum(pack.size for pack in pack_list.packs)
    packs = words.many(len(pack_list.packs), "pack", "packs")
    yield f"{packs}, {words.size(total)}, in {pack_list.cache}"
    if pack_list.pruned:
        size = words.size(sum(pack.size for pack in pack_list.pruned))
        verb = "removed" if pack_list.done else "would remove"
        yield f"{verb} {', '.join(_short_name(pack) for pack in pack_list.pruned)}: {size}"
        if not pack_list.done:
            yield "nothing was removed: add --yes to do so"


def _cells(pack: PackSummary) -> tuple[str, ...]:
    return (
        _short_name(pack),
        pack.data or (f"{pack.example}, …" if pack.example else "–"),
        words.count(pack.images) if pack.images else "–",
        str(pack.side) if pack.side else "–",
        words.size(pack.size),
        pack.made[:10],
        pack.used[:16].replace("T", " "),
        pack.state,
    )


def _short_name(pack: PackSummary) -> str:
    """As many letters of its name as tell it from others."""
    return pack.folder.replace("\\", "/").rsplit("/", 1)[-1][:12]
