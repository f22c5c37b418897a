"""Pictures are held to what their files hold, and decoders to the memory that they may fill."""

from __future__ import annotations

import struct
import threading
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from candid.data import decode as decoding
from candid.data.decode import decode
from candid.data.encoded import (
    TOO_MANY_PIXELS,
    TOO_MUCH_MEMORY,
    Budget,
    memory,
    open_encoded,
    readable,
)
from candid.errors import ImageError
from hostile import pictures
from peak import peak

SIDE = 64
NOISE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def png(rows: int, width: int = SIDE, height: int = SIDE, interlaced: bool = False) -> bytes:
    """A PNG whose stream of pixels ends well, after some rows (or bytes, where interlaced)."""

    raw = b"".join(b"\0" + row[:width].tobytes() for row in NOISE[:height])
    body = zlib.compress(raw[: rows * (1 + 3 * width)])
    return pictures.png(width, height, 8, 2, body, interlaced=interlaced)


def jpeg_with_an_end(share: float, **options: Any) -> bytes:
    data = encode(Image.fromarray(NOISE), "JPEG", **options)
    return data[: int(len(data) * share)] + b"\xff\xd9"


def gif_that_ends_early() -> bytes:
    """Two pixels of 16 × 16: clear, 1, 1, end, in codes of three bits."""
    codes = 0b101_001_001_100
    body = b"\x02\x02" + codes.to_bytes(2, "little") + b"\x00"
    colours = bytes(range(12))
    frame = b"," + struct.pack("<HHHHB", 0, 0, 16, 16, 0)
    return b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x81, 0, 0) + colours + frame + body + b";"


CUT = {
    "PNG, 10 of 64 rows": png(10),
    "PNG, 63 of 64 rows": png(63),
    "PNG, interlaced": png(40, interlaced=True),
    "PNG, interlaced, one row": png(0, width=5, height=1, interlaced=True),
    "JPEG": jpeg_with_an_end(0.4),
    "JPEG, nearly whole": jpeg_with_an_end(0.9),
    "JPEG, in one colour a pixel": jpeg_with_an_end(0.5, subsampling=0),
    "JPEG, restarted": jpeg_with_an_end(0.5, restart_marker_rows=1),
    "GIF": gif_that_ends_early(),
}


@pytest.mark.parametrize("name", CUT)
def test_what_ends_before_its_pixels_is_damaged(name: str) -> None:
    with pytest.raises(ImageError, match="damaged or cut short"):
        decode(CUT[name], side=SIDE, max_pixels=10**6)


def test_so_it_is_in_a_jpeg_decoded_at_a_quarter() -> None:
    with pytest.raises(ImageError, match="damaged or cut short"):
        decode(jpeg_with_an_end(0.4), side=8, max_pixels=10**6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM"])
def test_it_is_so_where_a_program_told_pillow_not_to_mind(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(Image.fromarray(NOISE), kind)
    decode(data, side=SIDE, max_pixels=10**6)
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2], side=SIDE, max_pixels=10**6)
    assert ImageFile.LOAD_TRUNCATED_IMAGES  # theirs, as it was


@pytest.mark.parametrize("level", [0, 85, 128, 171, 255])
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_whole_pictures_that_end_in_any_colour_are_whole(mode: str, level: int) -> None:
    """Also in the colours that stand for what is missing."""
    kinds = {"F": ["TIFF"], "CMYK": ["JPEG", "TIFF"], "I;16": ["PNG", "TIFF", "PPM"]}
    usual = ["PNG", "WEBP"] if mode in ("RGBA", "LA") else ["PNG", "BMP", "GIF", "TIFF"]
    usual += ["JPEG", "WEBP"] if mode in ("L", "RGB") else []
    for kind in kinds.get(mode, usual):
        plain = Image.new(mode, (21, 13), level)
        if mode == "P":
            plain.putpalette(bytes(range(256)) * 3)
        assert decode(encode(plain, kind), side=8, max_pixels=10**6).width == 21


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_jpegs_with_a_plain_end_and_more_behind_it_are_whole(options: dict[str, Any]) -> None:
    plain = NOISE.copy()
    plain[10:] = 128
    data = encode(Image.fromarray(plain), "JPEG", **options)
    for behind in (b"", b"\0" * 9, b"\xff\xd8 another one \xff\xd9"):
        decode(data + behind, side=SIDE, max_pixels=10**6)


# --- memory --------------------------------------------------------------------------------------


def test_who_waits_for_memory_gets_it_when_it_is_given_back() -> None:
    budget, got, free = Budget(100), threading.Event(), threading.Event()

    def much() -> None:
        with budget.holding(60):
            got.set()

    with budget.holding(50):
        thread = threading.Thread(target=much)
        thread.start()
        assert not got.wait(0.1)
        with budget.holding(50):  # who needs less passes
            free.set()
        assert free.is_set() and not got.is_set()
    thread.join(5)
    assert got.is_set()
    with budget.holding(100):  # all was given back
        pass


def test_memory_is_given_back_after_an_error() -> None:
    budget = Budget(1 << 20)
    for _ in range(50):
        with pytest.raises(ImageError, match="damaged"):
            decode(png(10), side=SIDE, max_pixels=10**6, budget=budget)
    with budget.holding(1 << 20):
        pass


def test_what_can_never_fit_is_refused_by_its_header() -> None:
    """7,000 × 7,000 grey pixels of 16 bits, of which the file holds none."""
    head = encode(Image.new("I;16", (1, 1)), "PNG")
    size = struct.pack(">II", 7000, 7000)
    ihdr = head[12:16] + size + head[24:29]
    data = head[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + head[33:]
    with pytest.raises(ImageError, match=r"needs .* bytes") as caught:
        decode(data, side=SIDE, max_pixels=10**8, budget=Budget(200_000_000))
    assert caught.value.code == TOO_MUCH_MEMORY
    with pytest.raises(ImageError) as caught:
        decode(data, side=SIDE, max_pixels=10**6)
    assert caught.value.code == TOO_MANY_PIXELS


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {"transparency": 1}),
        ("I;16", "PNG", {}),
        ("F", "TIFF", {}),
        ("RGB", "WEBP", {"lossless": True, "method": 0}),
        ("RGB", "AVIF", {"subsampling": "4:4:4", "speed": 10}),
        ("RGBA", "AVIF", {"speed": 10}),
        ("CMYK", "TIFF", {"compression": "tiff_lzw"}),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    ],
)
@pytest.mark.parametrize(("width", "height"), [(3000, 2000), (1, 2_000_000), (2_000_000, 1)])
@pytest.mark.parametrize("turned", [1, 6])
def test_decoding_takes_no_more_than_was_said(
    mode: str, kind: str, options: dict[str, Any], width: int, height: int, turned: int
) -> None:
    """By the kernel's own account of the most memory that the process ever had."""
    if max(width, height) > 16_000 and kind in ("WEBP", "JPEG", "AVIF"):
        pytest.skip("these formats end at 16,383 and 65,535 pixels, or are not written larger")
    if kind not in readable():
        pytest.skip(f"nothing here reads {kind}")
    exif = Image.Exif()
    exif[0x0112] = turned
    picture = Image.new(mode, (width, height), 0.5 if mode == "F" else 85)
    data = encode(picture, kind, **options, **({"exif": exif} if turned > 1 else {}))
    said = memory(open_encoded(data), (width, height))
    del picture
    before = peak(forget=True)
    decode(data, side=SIDE, max_pixels=10**8)
    assert peak() - before <= said + 4_000_000


def test_all_who_decode_share_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads, memory for two: no more are ever at it, and all come through."""
    data = encode(Image.new("RGB", (600, 500), "navy"), "PNG")
    budget = Budget(2 * memory(open_encoded(data), (600, 500)))
    inside, most, lock = 0, 0, threading.Lock()
    load = decoding.load_whole

    def counted(*args: Any) -> Image.Image:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        try:
            return load(*args)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(decoding, "load_whole", counted)
    done = []
    threads = [
        threading.Thread(
            target=lambda: done.append(decode(data, side=9, max_pixels=10**6, budget=budget))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(done) == 8
    assert most <= 2
