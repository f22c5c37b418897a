"""The audit as it is written (`audit.json`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from candid.records import to_plain
from candid.records.audit import Audit
from candid.storage.files import FORMAT, write_json

_DIGITS = 6  # far below any standard error: that of a million images is in the fourth
# What an answer's probability is held against, to the bit; a rounded one might exclude the very
# image that it comes from.
_EXACT = {"threshold", "least_probability", "own_least_probability"}
_OMIT_ZERO = ("draws", "undefined_draws")  # 0 where they are not written


def plain_audit(audit: Audit) -> dict[str, Any]:
    """The audit as it is written: figures to six digits, thresholds as they are.

    Of dozens of attributes there are tens of thousands of figures. `draws` and `undefined_draws`
    are left out where they are 0, which is what reading makes of them.
    """
    rounded: dict[str, Any] = _round_floats(to_plain(audit))
    return rounded


def write_audit(path: Path, audit: Audit) -> None:
    """Write `audit.json`, whole or not at all; `read_record` reads it."""
    write_json(path, {"format": FORMAT} | plain_audit(audit))


def _round_floats(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, list | tuple):
        return [_round_floats(v) for v in value]
    if isinstance(value, dict):
        return {
            k: v if k in _EXACT else _round_floats(v)
            for k, v in value.items()
            if not (k in _OMIT_ZERO and v == 0)
        }
    return value
