"""A picture that claims to be far larger than it is."""

import struct
import zlib

GREY, RGB = 0, 2  # of PNG's kinds of colour


def bomb(side: int, *, colour: int = RGB, held: int = 100_000) -> bytes:
    """A PNG that claims side × side pixels, and whose pixels are `held` bytes of nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(held), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)
