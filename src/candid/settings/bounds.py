"""How a setting is written: a default, the sentence that explains it, and its bounds."""

from __future__ import annotations

import math
from dataclasses import field, fields
from typing import Any

from candid.errors import ConfigError, did_you_mean

MOST_PIXELS = 10**9  # 3 GB once decoded
LARGEST_SEED = 2**32 - 1  # what every generator of random numbers takes


def refuse_words(
    name: str, given: tuple[str, ...], known: tuple[str, ...], some: str, *, least: int = 0
) -> None:
    """Raise a ConfigError where a setting holds a word that is not known, one twice, or too few."""
    strange = [word for word in given if word not in known]
    if strange or len(set(given)) < max(least, len(given)):
        raise ConfigError(
            f"{name} = {list(given)} is not possible.",
            expected=f"{some} of, each once: {', '.join(known)}",
            todo=did_you_mean(strange[0], known) if strange else f"set {name}",
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
    about = {"explanation": explanation, "low": low, "high": high, "choices": choices, "off": off}
    return field(default=default, metadata=about)


def without_unused(section: Any) -> str:
    """The repr of a section without those settings that came later and are not used.

    Digests of runs hold it: what a release adds does not make the runs of earlier ones stale.
    """
    shown = [
        f"{f.name}={getattr(section, f.name)!r}"
        for f in fields(section)
        if getattr(section, f.name) != f.metadata["off"]
    ]
    return f"{type(section).__name__}({', '.join(shown)})"


def off_before(section: Any) -> dict[str, Any]:
    """What runs did that were made before there were settings which are used by default."""
    about = {f.name: (f.default, f.metadata["off"]) for f in fields(section)}
    return {name: off for name, (default, off) in about.items() if off not in (None, default)}
