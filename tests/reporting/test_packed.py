"""Bytes as a page holds them: read back by hand, and none too many."""

import zlib

import numpy as np
import pytest

from candid.reporting.packed import deflate


def unpacked(packed):
    """What the text says, as the pages' scripts read it: 13 bits in two of 91 letters."""
    letters = "".join(c for c in map(chr, range(33, 127)) if c not in "&<>")
    pairs = zip(*[map(letters.index, packed.text)] * 2, strict=True)
    bits = "".join(f"{low + 91 * high:013b}" for low, high in pairs)
    return zlib.decompress(int(bits[: 8 * packed.size], 2).to_bytes(packed.size, "big"))


def weights(n):
    """The two planes of bytes in which a report holds weights of 15 bits, then zeros."""
    numbers = np.random.default_rng(0).normal(0, 3000, n).astype(np.int16)
    planes = [(numbers & 255).astype(np.uint8), (numbers >> 8).astype(np.int8)]
    return b"".join(plane.tobytes() for plane in planes) + bytes(n)


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("data", [b"", b"a", b"abc" * 4000, weights(5000)])
def test_bytes_come_back(data, repeats):
    assert unpacked(deflate(data, repeats=repeats)) == data


def test_weights_take_hardly_more_room_without_a_search_for_repeats():
    data = weights(300_000)
    found = deflate(data, repeats=False)
    assert found.size < 1.01 * deflate(data).size
    assert found.size < 0.62 * len(data)  # the zeros are runs, and the higher bytes are few


def test_words_are_packed_with_their_repeats():
    words = b"the same sentence again and again; " * 3000
    assert deflate(words).size < 0.02 * len(words) < deflate(words, repeats=False).size
