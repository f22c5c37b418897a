"""Which hostile case a seed stands for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from hostile import archives, broken, messages, pictures, runs, tables

FAMILIES = {
    "pictures": pictures.KINDS,
    "archives": archives.KINDS,
    "tables": tables.KINDS,
    "runs": runs.KINDS,
    "requests": messages.KINDS,
}
BROKEN = {-1 - i: f"broken/{kind}" for i, kind in enumerate(broken.KINDS)}  # to try the runner
ALL = range(1200)
SAMPLE = ALL[::12]  # 100 cases of all families

# Kinds that are not run, as "family/kind", each with the reason.
SKIPPED: dict[str, str] = {}


def named(seed: int) -> str:
    """ "family/kind" of a seed."""
    if seed in BROKEN:
        return BROKEN[seed]
    family = sorted(FAMILIES)[seed // 12 % 5]
    kinds = list(FAMILIES[family])
    return f"{family}/{kinds[(seed // 60 + seed % 12) % len(kinds)]}"


def made_by(name: str) -> Callable[..., Any]:
    """What makes the cases of a kind."""
    family, kind = name.split("/")
    kinds: dict[str, Callable[..., Any]] = {"broken": broken.KINDS, **FAMILIES}[family]
    return kinds[kind]


def rng_of(seed: int) -> Random:
    """What a case is drawn from."""
    return Random(f"hostile {seed}")
