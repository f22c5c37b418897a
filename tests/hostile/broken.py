"""What the runner must see: cases that do each of the things that no case may do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from hostile.kit import Kit


def crash(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    os.abort()


def hang(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    time.sleep(1000)
    return []


class _Words(list[str]):
    """A command line that does something when it is read for the first time."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(["--version"])
        self.works = [work]

    def __iter__(self) -> Iterator[str]:
        if self.works:
            self.works.pop()()
        return super().__iter__()


def traceback(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    return [_Words({}.popitem)]


def memory(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    return [_Words(lambda: bytearray(b"x") * 1_600_000_000)]


KINDS = {"crash": crash, "hang": hang, "traceback": traceback, "memory": memory}
