"""The cache of packed images, seen and pruned: `candid cache` from Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from candid.pipeline.opening import Place
from candid.records.packs import PackList


def list_packs(
    cache: Place | None = None,
    *,
    prune_older: float | None = None,
    prune_above: int | None = None,
    remove: bool = False,
) -> PackList:
    """The packs of a cache, the last used first, and which of them are not worth their room.

    Parameters
    ----------
    cache
        Its folder; None: $CANDID_CACHE, or the user's cache folder.
    prune_older
        Prune what was not used for more days than this.
    prune_above
        Prune what was not used for longest, until what is left has at most so many bytes.
    remove
        Remove what is to be pruned, too; else it is only listed in `pruned`.

    Raises
    ------
    OutputError
        Where a file cannot be removed.
    """
    from candid.data.cached import packs_in, prunable, remove_pack

    packs = packs_in(None if cache is None else Path(cache))
    pruned = prunable(packs, older=prune_older, above=prune_above)
    if remove:
        pruned = tuple(pack for pack in pruned if remove_pack(pack))
    return replace(packs, pruned=pruned, done=remove)
