"""Hostile pictures, in folders, by name and in lists, for predict and explain."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from hostile import mutate
from hostile.kit import Kit

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MODES = ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16", "LA")


def encoded(rng: Random, kind: str | None = None, size: tuple[int, int] | None = None) -> bytes:
    """A good picture of any kind."""
    kind = kind or rng.choice(FORMATS)
    size = size or rng.choice(((16, 16), (20, 31), (64, 48), (1, 1), (1, 300)))
    pixels = np.frombuffer(rng.randbytes(size[0] * size[1] * 3), np.uint8).reshape(*size, 3)
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    try:
        image.convert(rng.choice(MODES)).save(out, kind)
    except (OSError, ValueError):  # not every format has every mode
        out = io.BytesIO()
        image.save(out, kind)
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    bits: int,
    colour: int,
    data: bytes,
    extra: bytes = b"",
    *,
    interlaced: bool = False,
) -> bytes:
    """A PNG with any header and any data."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    body = _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bomb(rng: Random) -> bytes:
    """Large claims in few bytes: within the limit on pixels, above it, or in text beside them."""
    side = rng.choice((60_000, 2**31 - 1, 4096, 6000))
    zeros = zlib.compress(
        bytes(side * rng.choice((1, 100, 4000))) if side < 7000 else bytes(1000), 9
    )
    extra = b""
    if rng.random() < 0.3:
        extra = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    bits, colour = rng.choice(((8, 2), (16, 6), (1, 0), (16, 0), (8, 3), (7, 9)))
    return png(side, rng.choice((side, 1, 0)), bits, colour, zeros, extra)


def numbers(rng: Random) -> bytes:
    """Formats whose headers are plain numbers, with absurd ones."""
    number = rng.choice((0, 1, 65_535, 2**31 - 1, 2**32 - 1))
    other = rng.choice((0, 1, 3, 2**31 - 1))
    which = rng.randrange(4)
    if which == 0:
        words = rng.choice((f"P6 {number} {other} 255\n", f"P5 {number} 1 {other}\n", "P6 x y z\n"))
        return words.encode() + rng.randbytes(300)
    data = bytearray(encoded(rng, ("BMP", "TIFF", "GIF")[which - 1]))
    place = rng.choice((4, 6, 8, 10, 14, 18, 22, 28))
    data[place : place + 4] = struct.pack("<I", number)
    return bytes(data)


def many_frames(rng: Random) -> bytes:
    frames = [Image.new("RGB", (40, 40), (i, 0, 0)) for i in range(60)]
    out = io.BytesIO()
    frames[0].save(out, rng.choice(("GIF", "TIFF", "PNG")), save_all=True, append_images=frames[1:])
    return mutate.flip_edge(out.getvalue(), rng)


def odd_exif(rng: Random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = rng.choice((0, 9, 77, 6))
    exif[0x010E] = rng.choice(mutate.WORDS)
    out = io.BytesIO()
    profile = rng.choice((None, rng.randbytes(500), b""))
    image = Image.new("RGB", (30, 20))
    image.save(out, "JPEG", exif=exif.tobytes() + rng.randbytes(9), icc_profile=profile)
    return out.getvalue()


def spoilt(rng: Random) -> bytes:
    return mutate.spoil(encoded(rng), rng)


def rows_cut(rng: Random) -> bytes:
    """A PNG that promises more rows than it holds."""
    rows = rng.randrange(64)
    return png(64, 64, 8, 2, zlib.compress(b"".join(b"\0" + bytes(192) for _ in range(rows))))


MADE = (spoilt, spoilt, spoilt, bomb, numbers, many_frames, odd_exif, rows_cut)


def file_name(rng: Random, ending: str = ".png") -> bytes:
    name = rng.choice([*mutate.WORDS, "-", "--out", "*", "[a]", "a?b"])[:200]
    plain = name.replace("/", "_").replace("\0", "_").encode()
    return (plain if rng.random() < 0.8 else plain + b"\xff\xfe")[:200] + ending.encode()


def folder(rng: Random, path: Path) -> None:
    """A folder of pictures, good and bad, with odd names, and what else lies about."""
    path.mkdir()
    for _ in range(rng.randint(1, 5)):
        where = (
            os.fsencode(path) + b"/" + file_name(rng, rng.choice((".png", ".jpg", ".TIF", ".gif")))
        )
        if not os.path.lexists(where):
            Path(os.fsdecode(where)).write_bytes(rng.choice(MADE)(rng))
    strange = rng.choice(("none", "fifo", "zero", "out", "loop", "dir", "dangling", "deep"))
    odd = path / "odd.png"
    if strange == "fifo":
        os.mkfifo(odd)
    elif strange == "deep":
        (path / "/".join(["d"] * 60)).mkdir(parents=True)
    elif strange == "dir":
        odd.mkdir()
    elif strange != "none":
        targets = {"zero": "/dev/zero", "out": "/etc/passwd", "loop": "odd.png", "dangling": "x/y"}
        odd.symlink_to(targets[strange])


def in_a_folder(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    folder(rng, path / "in")
    ending = rng.choice(("csv", "jsonl", "parquet"))
    words = ["predict", str(kit.model), str(path / "in"), "--out", str(path / f"out.{ending}")]
    read = ["audit", words[-1], "--label", "label", "--prediction", "p_*"]
    return [words, read] if ending == "csv" and rng.random() < 0.1 else [words]


def by_name(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    picture = path / os.fsdecode(file_name(rng))
    picture.write_bytes(rng.choice(MADE)(rng))
    return [["predict", str(kit.model), str(picture), *rng.choice((["--json"], []))]]


def not_files(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    fifo, link = path / "fifo.png", path / "link.png"
    os.mkfifo(fifo)
    link.symlink_to(rng.choice(("/dev/zero", "/dev/full", "/proc/self/mem", str(path), str(fifo))))
    verb = rng.choice(("predict", "explain"))
    given = rng.choice((fifo, link, Path("/dev/zero"), Path("/dev/null"), Path(os.devnull + "/x")))
    return [[verb, str(kit.model), str(given), "--out", str(path / "out.png.csv")]]


def explained(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    picture = path / "a.png"
    picture.write_bytes(rng.choice(MADE)(rng))
    out = str(path / "maps.png")
    return [["explain", str(kit.model), str(picture), "--method", "gradient", "--out", out]]


KINDS = {
    "folder": in_a_folder,
    "name": by_name,
    "not-a-file": not_files,
    "explain": explained,
}
