"""How often Python looks for objects that hold each other and nobody else."""

from __future__ import annotations

import atexit
import gc

_MANY = 50_000  # new objects between two looks; Python's own number is 700


def collect_seldom() -> None:
    """Have this process look seldom, and not when it ends: its memory goes back as a whole.

    Torch and what is imported with it are many objects that stay, and looks go through them: a
    tenth of the processor time of imports and report, and half a second at the end.
    """
    gc.set_threshold(_MANY, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)
