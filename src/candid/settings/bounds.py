"""How a setting is written: default, explanation, bounds."""

from __future__ import annotations

import math
from dataclasses import field, fields
from typing import Any

from candid.errors import ConfigError, did_you_mean

MOST_PIXELS = 10**9  # 3 GB once decoded
LARGEST_SEED = 2**32 - 1  # what every generator of random numbers takes


def refuse_words(
    name: str, words: tuple[str, ...], allowed: tuple[str, ...], count: str, *, least: int = 0
) -> None:
    """Raise a ConfigError for unknown words, repetitions, or too few words."""
    unknown = [word for word in words if word not in allowed]
    if unknown or len(set(words)) < max(least, len(words)):
        raise ConfigError(
            f"{name} = {list(words)} is not possible.",
            expected=f"{count} of, each once: {', '.join(allowed)}",
            todo=did_you_mean(unknown[0], allowed) if unknown else f"set {name}",
        )


def setting(
    default: Any,
    explanation: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    choices: tuple[str, ...] = (),
    off: Any = None,
) -> Any:
    """A dataclass field with its explanation and the values that it may take.

    Every number has both bounds: what lies beyond is refused before any data is read. `choices`
    are for words that no `Literal` names. A setting that came with a later release says with `off`
    what was done before.
    """
    metadata = {"explanation": explanation, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata | {"off": off})


def without_unused(section: Any) -> str:
    """The repr of a section without unused settings that came later.

    Digests of runs hold it: what a release adds does not make the runs of earlier ones stale.
    """
    parts = [
        f"{f.name}={getattr(section, f.name)!r}"
        for f in fields(section)
        if getattr(section, f.name) != f.metadata["off"]
    ]
    return f"{type(section).__name__}({', '.join(parts)})"


def off_before(section: Any) -> dict[str, Any]:
    """The values of settings that older runs lack, where their default is not "off"."""
    defaults = {f.name: (f.default, f.metadata["off"]) for f in fields(section)}
    return {name: off for name, (default, off) in defaults.items() if off not in (None, default)}
