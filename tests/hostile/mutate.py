"""Small ways to spoil bytes, plain values and names; each needs a generator of random numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

WORDS = (
    *("", " ", "NaN", "-inf", "1e999", "9" * 400, "null", "\u202egnp.exe", "é", "𝔘𝔫𝔦", "\ufeff"),
    *(
        "a\x00b",
        "a\rb",
        "a\nb",
        "a,b;c\t|",
        '"',
        "'",
        "=1+1",
        "@x",
        "-x",
        "<script>alert(1)</script>",
    ),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\x",
        "file:///etc/passwd",
        "x" * 5000,
        "%s%n",
        "{0.a}",
    ),
)
NUMBERS = (0, -1, 1, 2**31, -(2**63), 2**64, 10**400, 1e308, 1e-320, math.inf, -math.inf, math.nan)


def flip(data: bytes, rng: Random) -> bytes:
    """A few bits turned."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        if spoilt:
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def flip_edge(data: bytes, rng: Random) -> bytes:
    """Bits turned where headers and footers lie."""
    first = rng.random() < 0.5
    edge = data[:200] if first else data[-200:]
    spoilt = flip(edge, rng)
    return spoilt + data[200:] if first else data[:-200] + spoilt


def truncate(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def append(data: bytes, rng: Random) -> bytes:
    return data + rng.randbytes(rng.choice((1, 100, 70_000)))


def blank(data: bytes, rng: Random) -> bytes:
    """A stretch of zeros or ones."""
    start = rng.randrange(len(data) + 1)
    size = rng.choice((1, 4, 8, 64, 4096))
    return (
        data[:start]
        + rng.choice((b"\0", b"\xff")) * len(data[start : start + size])
        + data[start + size :]
    )


def repeat(data: bytes, rng: Random) -> bytes:
    """A stretch twice."""
    start = rng.randrange(len(data) + 1)
    end = start + rng.randrange(1, 2000)
    return data[:end] + data[start:]


def noise(data: bytes, rng: Random) -> bytes:
    return rng.randbytes(len(data) % 5000)


def nothing(data: bytes, rng: Random) -> bytes:
    return b""


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(flip, flip_edge, truncate, append, blank, repeat, noise, nothing),
)


def spoil(data: bytes, rng: Random) -> bytes:
    return rng.choice(BYTES)(data, rng)


def value(rng: Random) -> Any:
    """Something that nobody expects there."""
    deep: Any = []
    for _ in range(rng.choice((3, 400))):
        deep = [deep]
    return rng.choice([*WORDS, *NUMBERS, None, True, [], {}, [None] * 3, {"a": 1}, deep])


def spoil_plain(plain: Any, rng: Random) -> Any:
    """The same JSON with one or two values changed, left out, or of another kind."""
    for _ in range(rng.choice((1, 1, 2))):
        places = list(_places(plain, 4 if rng.random() < 0.5 else 0))
        if not places:
            return value(rng)
        holder, key = rng.choice(places)
        what = rng.random()
        if what < 0.2 and isinstance(holder, dict):
            del holder[key]
        elif what < 0.3 and isinstance(holder, list):
            holder.extend(holder[:] * 3)
        else:
            holder[key] = value(rng)
    return plain


def _places(plain: Any, depth: int = 0) -> Any:
    if isinstance(plain, dict | list) and depth < 5:
        keys = list(plain) if isinstance(plain, dict) else range(min(3, len(plain)))
        for key in keys:
            yield plain, key
            yield from _places(plain[key], depth + 1)


def spoil_json(data: bytes, rng: Random) -> bytes:
    """JSON that is well formed and wrong, or hardly formed at all."""
    text = json.dumps(spoil_plain(json.loads(data), rng))
    odd = rng.random()
    if odd < 0.05:
        return b"[" * 100_000
    if odd < 0.1:
        return text.encode("utf-16")
    if odd < 0.15:  # a key twice
        return (text.rstrip("}\n ") + f", {text.lstrip('{')[:40].split(',')[0]}}}").encode()
    if odd < 0.2:
        return json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return text.encode()
