"""A picture that claims to be far larger than it is."""

import zlib

from hostile.pictures import png

GREY, RGB = 0, 2  # of PNG's kinds of colour


def bomb(side: int, *, colour: int = RGB, held: int = 100_000) -> bytes:
    """A PNG that claims side × side pixels, and whose pixels are `held` bytes of nothing."""
    return png(side, side, 8, colour, zlib.compress(bytes(held), 9))
