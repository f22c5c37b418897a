"""What a page holds packed: deflated, as text that costs less than base64."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

# Every printable character but those that HTML reads: as many as it takes for 13 bits in two.
_LETTERS = bytes(code for code in range(ord("!"), ord("~") + 1) if code not in b"&<>")
_BITS = 13


@dataclass(frozen=True)
class Deflated:
    """Text that `packed.js` turns back into the bytes it was made from."""

    text: str  # two of 91 letters for every 13 bits, the highest bit first, the lower letter first
    size: int  # how many bytes the text holds: the last letters hold bits to spare


def deflate(data: bytes, *, repeats: bool = True) -> Deflated:
    """Deflate bytes (zlib) and write them as text without `&`, `<` and `>`.

    Without `repeats`, none but runs of one byte are looked for. A network's weights have no others,
    and looking for what is not there takes up to eighty times as long.
    """
    strategy = zlib.Z_DEFAULT_STRATEGY if repeats else zlib.Z_RLE
    compressor = zlib.compressobj(9, strategy=strategy)
    compressed = compressor.compress(data) + compressor.flush()
    bits = np.unpackbits(np.frombuffer(compressed, np.uint8))
    groups = np.pad(bits, (0, -len(bits) % _BITS)).reshape(-1, _BITS)
    numbers = groups @ (1 << np.arange(_BITS - 1, -1, -1, dtype=np.int64))
    high, low = np.divmod(numbers, len(_LETTERS))
    text = np.frombuffer(_LETTERS, np.uint8)[np.stack([low, high], axis=1).ravel()]
    return Deflated(text.tobytes().decode("ascii"), len(compressed))
