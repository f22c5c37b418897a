"""How often Python searches memory for reference cycles."""

from __future__ import annotations

import atexit
import gc

_MANY = 50_000  # new objects between two looks; Python's own number is 700


def collect_rarely() -> None:
    """Look seldom, and not at exit, where memory goes back as a whole.

    Torch and its imports are many objects that stay: looks took a tenth of the processor time of
    imports and report, and half a second at exit.
    """
    gc.set_threshold(_MANY, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)
