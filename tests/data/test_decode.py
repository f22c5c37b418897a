"""Decoding is held to OpenCV, to arithmetic on pixels that the test wrote, and to invariances."""

from __future__ import annotations

import struct
import threading
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from bomb import bomb
from candid.data import decode as decoding
from candid.data import encoded
from candid.data.decode import decode, decode_whole
from candid.data.encoded import readable
from candid.errors import ImageError

LIMIT = 100_000_000


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def scene(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A smooth colourful picture: (height, width, 3) uint8 without symmetry."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 5, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def as_opencv_sees(data: bytes) -> np.ndarray:
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(seen, cv2.COLOR_BGR2RGB)


def gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


# --- detail ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize(("width", "height"), [(16, 16), (11, 14), (37, 50), (90, 70)])
def test_pixels_in_detail_have_the_pixels_as_they_are_for_means(width, height, times) -> None:
    """But for what would be brighter than white or darker than black; by arithmetic per block."""
    data = encode(Image.fromarray(scene(width, height)), "PNG")
    plain = decode(data, side=16, max_pixels=LIMIT).pixels.astype(int)
    fine = decode(data, side=16 * times, max_pixels=LIMIT).pixels.astype(int)
    found = decode(data, side=16, max_pixels=LIMIT, detail=times).pixels
    assert found.shape == (16 * times, 16 * times, 3) and found.dtype == np.uint8
    for y, x, colour in np.ndindex(16, 16, 3):
        block = (slice(y * times, (y + 1) * times), slice(x * times, (x + 1) * times), colour)
        if min(width, height) <= 16:  # there is no more detail: each pixel is repeated
            assert (found[block] == plain[y, x, colour]).all()
            continue
        by, rest = divmod(int(plain[y, x, colour] * times**2 - fine[block].sum()), times**2)
        moved = fine[block].ravel() + by + (np.arange(times**2) < rest)
        assert moved.sum() == plain[y, x, colour] * times**2
        np.testing.assert_array_equal(found[block].ravel(), moved.clip(0, 255))


# --- formats and modes ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_picture_of_the_right_size_comes_through_bit_for_bit(kind: str) -> None:
    pixels = scene(32, 32)
    options = {"lossless": True} if kind == "WEBP" else {}
    got = decode(encode(Image.fromarray(pixels), kind, **options), side=32, max_pixels=LIMIT)
    np.testing.assert_array_equal(got.pixels, pixels)
    assert (got.width, got.height, got.mode, got.format) == (32, 32, "RGB", kind)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_jpeg_of_the_right_size_is_what_opencv_decodes(
    progressive: bool, subsampling: int
) -> None:
    options = {"progressive": progressive, "subsampling": subsampling, "quality": 90}
    data = encode(Image.fromarray(scene(48, 48)), "JPEG", **options)
    got = decode(data, side=48, max_pixels=LIMIT).pixels
    assert np.abs(got.astype(int) - as_opencv_sees(data)).max() <= 2


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_a_picture_of_a_telephone_is_what_was_written(kind: str) -> None:
    if kind not in readable():
        pytest.skip(f"nothing here reads {kind}")
    pixels = scene(48, 32)
    exact = {"subsampling": "4:4:4"} if kind == "AVIF" else {"chroma": 444}
    data = encode(Image.fromarray(pixels), kind, quality=100, **exact)
    got = decode_whole(data, longest=48, max_pixels=LIMIT)
    assert (got.width, got.height, got.mode, got.format) == (48, 32, "RGB", kind)
    assert np.abs(got.pixels.astype(int) - pixels).max() <= 8
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2], side=16, max_pixels=LIMIT)
    with pytest.raises(ImageError, match="claims 48 × 32 pixels"):
        decode(data, side=16, max_pixels=1000)


@pytest.mark.parametrize(("brand", "needed"), [("avif", "Pillow 11.3"), ("heic", "pillow-heif")])
def test_a_picture_that_takes_another_library_says_so(
    monkeypatch: pytest.MonkeyPatch, brand: str, needed: str
) -> None:
    monkeypatch.setattr(encoded, "readable", lambda: encoded.FORMATS)
    data = b"\0\0\0\x18ftyp" + brand.encode() + bytes(40)
    with pytest.raises(ImageError, match=rf"^not a picture in a known format, but \w+, .*{needed}"):
        decode(data, side=8, max_pixels=LIMIT)


def test_a_grey_picture_becomes_grey() -> None:
    grey = scene(16, 16)[:, :, 0]
    got = decode(encode(Image.fromarray(grey), "PNG"), side=16, max_pixels=LIMIT)
    np.testing.assert_array_equal(got.pixels, np.repeat(grey[:, :, None], 3, axis=2))
    assert got.mode == "L"


def test_one_bit_becomes_black_and_white() -> None:
    bits = scene(16, 16)[:, :, 0] > 127
    got = decode(encode(Image.fromarray(bits), "PNG"), side=16, max_pixels=LIMIT)
    np.testing.assert_array_equal(got.pixels[:, :, 1], np.where(bits, 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_a_palette_becomes_its_colours(kind: str) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (7, 3)).astype(np.uint8)
    index = np.random.default_rng(2).integers(0, 7, (16, 16)).astype(np.uint8)
    image = Image.fromarray(index, "L")
    image.putpalette(colours.tobytes())
    got = decode(encode(image, kind), side=16, max_pixels=LIMIT).pixels
    np.testing.assert_array_equal(got, colours[index])


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_transparent_palette_entry_shows_the_white_page(as_bytes: bool) -> None:
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16) % 4, "L")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    data = encode(image, "PNG", transparency=b"\xff\x00\xff\xff" if as_bytes else 1)
    got = decode(data, side=16, max_pixels=LIMIT).pixels
    assert got[0, 0].tolist() == [10, 20, 30]
    assert got[0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP")])
def test_alpha_is_laid_over_white(mode: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    channels = rng.integers(0, 256, (16, 16, len(mode))).astype(np.uint8)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    got = decode(
        encode(Image.fromarray(channels, mode), kind, **options), side=16, max_pixels=LIMIT
    ).pixels
    alpha = channels[:, :, -1:].astype(float) / 255
    expected = channels[:, :, :-1] * alpha + 255 * (1 - alpha)
    assert np.abs(got - np.broadcast_to(expected, got.shape)).max() <= 1


def test_a_grey_png_with_one_transparent_level_shows_the_white_page() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    got = decode(encode(Image.fromarray(grey), "PNG", transparency=9), side=16, max_pixels=LIMIT)
    expected = np.where(grey == 9, 255, grey)
    np.testing.assert_array_equal(got.pixels[:, :, 0], expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind: str) -> None:
    deep = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    got = decode(encode(Image.fromarray(deep), kind), side=16, max_pixels=LIMIT).pixels
    np.testing.assert_array_equal(got[:, :, 0], np.rint(deep / 257))
    assert got.min() == 0
    assert got.max() == 255


def test_sixteen_bit_colour_is_what_opencv_sees() -> None:
    deep = (scene(16, 16).astype(np.uint16) * 257).astype(np.uint16)
    data = cv2.imencode(".png", cv2.cvtColor(deep, cv2.COLOR_RGB2BGR))[1].tobytes()
    got = decode(data, side=16, max_pixels=LIMIT).pixels
    assert np.abs(got.astype(int) - as_opencv_sees(data)).max() <= 1


@pytest.mark.parametrize("highest", [1.0, 255.0])
def test_floating_point_pixels_have_a_known_range_or_are_refused(highest: float) -> None:
    shape = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    got = decode(encode(Image.fromarray(shape * highest), "TIFF"), side=16, max_pixels=LIMIT)
    np.testing.assert_array_equal(got.pixels[:, :, 2], np.rint(shape * 255))
    for odd in (shape * 1000, np.where(shape > 0.5, np.nan, shape).astype(np.float32)):
        with pytest.raises(ImageError, match="floating-point pixels"):
            decode(encode(Image.fromarray(odd), "TIFF"), side=16, max_pixels=LIMIT)


def test_cmyk_is_neither_inverted_nor_muddy() -> None:
    pixels = scene(48, 48)
    data = encode(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95)
    got = decode(data, side=48, max_pixels=LIMIT)
    assert got.mode == "CMYK"
    assert gap(got.pixels, pixels) < 4
    assert gap(got.pixels, as_opencv_sees(data)) < 4
    tiff = encode(Image.fromarray(pixels).convert("CMYK"), "TIFF")
    np.testing.assert_array_equal(decode(tiff, side=48, max_pixels=LIMIT).pixels, pixels)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        got = decode(data, side=16, max_pixels=LIMIT).pixels
        assert got[8, 8].tolist() == [255, 0, 0], kind


def test_an_embedded_profile_becomes_srgb() -> None:
    # Red and green are swapped in the profile: managed colour shows green where bytes say red.
    swapped = ImageCms.ImageCmsProfile(BytesIO(_profile_with_red_and_green_swapped()))
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    data = encode(red, "PNG", icc_profile=swapped.tobytes())
    got = decode(data, side=16, max_pixels=LIMIT).pixels
    assert got[0, 0, 1] > 200
    assert got[0, 0, 0] < 50


def _profile_with_red_and_green_swapped() -> bytes:
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data = data.replace(b"sRGB built-in", b"test built-in")
    data = data.replace(b"s\x00R\x00G\x00B", b"t\x00e\x00s\x00t"[:7])
    count = struct.unpack(">I", data[128:132])[0]
    at = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = at[b"rXYZ"], at[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = data[green : green + 4], data[red : red + 4]
    return bytes(data)


def test_srgb_and_damaged_profiles_change_nothing() -> None:
    pixels = scene(16, 16)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"not a profile", srgb[:200]):
        data = encode(Image.fromarray(pixels), "PNG", icc_profile=profile)
        np.testing.assert_array_equal(decode(data, side=16, max_pixels=LIMIT).pixels, pixels)


# --- geometry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_rotation_is_applied(kind: str, orientation: int) -> None:
    upright = scene(40, 24, seed=4)
    # What a camera held that way stores: the inverse of what a viewer must do (EXIF 2.3, tag 274).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"exif": exif}
    options |= {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    options |= {"lossless": True} if kind == "WEBP" else {}
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), kind, **options)
    got = decode(data, side=24, fit="crop", max_pixels=LIMIT)
    assert (got.width, got.height) == (40, 24)
    assert gap(got.pixels, upright[:, 8:32]) < (2.5 if kind == "JPEG" else 0.01)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(900, 700), (333, 1201), (64, 65), (20, 30)])
def test_resizing_agrees_with_opencv(fit: str, width: int, height: int) -> None:
    pixels = scene(width, height, seed=5)
    side = 64
    got = decode(
        encode(Image.fromarray(pixels), "PNG"), side=side, fit=fit, max_pixels=LIMIT
    ).pixels
    method = cv2.INTER_AREA if min(width, height) > side else cv2.INTER_CUBIC
    if fit == "stretch":
        expected = cv2.resize(pixels, (side, side), interpolation=method)
    elif fit == "crop":
        edge = min(width, height)
        top, left = (height - edge) // 2, (width - edge) // 2
        square = pixels[top : top + edge, left : left + edge]
        expected = cv2.resize(square, (side, side), interpolation=method)
    else:
        scale = side / max(width, height)
        w, h = round(width * scale), round(height * scale)
        inner = cv2.resize(pixels, (w, h), interpolation=method)
        expected = np.empty((side, side, 3), np.uint8)
        expected[:] = np.rint(inner.mean((0, 1)))
        top, left = (side - h) // 2, (side - w) // 2
        expected[top : top + h, left : left + w] = inner
    assert gap(got, expected) < 1.5


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(1600, 1200), (300, 240)])
def test_scaled_decoding_of_a_large_jpeg_looks_like_decoding_it_whole(
    fit: str, width: int, height: int
) -> None:
    # Patches of a little more than a pixel of the result: too small a scale would blur them.
    cells = np.random.default_rng(6).integers(0, 256, (40, 50)).astype(np.uint8)
    grey = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.repeat(np.asarray(grey)[:, :, None], 3, axis=2)
    jpeg = decode(
        encode(Image.fromarray(pixels), "JPEG", quality=95), side=64, fit=fit, max_pixels=LIMIT
    )
    whole = decode(
        encode(Image.fromarray(pixels), "PNG", compress_level=1),
        side=64,
        fit=fit,
        max_pixels=LIMIT,
    )
    assert (jpeg.width, jpeg.height) == (width, height)
    assert gap(jpeg.pixels, whole.pixels) < 1.5


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    got = decode(encode(Image.fromarray(stripes), "PNG"), side=64, max_pixels=LIMIT).pixels
    assert np.abs(got.astype(int) - 127).max() <= 3


def test_a_sliver_is_padded_and_does_not_vanish() -> None:
    got = decode(
        encode(Image.new("RGB", (2000, 1), "navy"), "PNG"), side=16, fit="pad", max_pixels=LIMIT
    )
    assert got.pixels.shape == (16, 16, 3)
    assert got.pixels[8, 8].tolist() == [0, 0, 128]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [10_001, 12_000, 30_000])
def test_a_bomb_is_refused_at_once_and_without_memory(edge: int) -> None:
    data, limit = bomb(edge), Image.MAX_IMAGE_PIXELS
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(ImageError, match="pixels"):
        decode(data, side=64, max_pixels=LIMIT)
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 0.5
    assert peak < 2_000_000
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_limit_itself_is_allowed_and_warns_of_nothing() -> None:
    data = encode(Image.new("L", (300, 200), 7), "PNG")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode(data, side=16, max_pixels=60_000)
        with pytest.raises(ImageError, match=r"300 × 200 pixels, more than .* = 59,999"):
            decode(data, side=16, max_pixels=59_999)
    assert not seen


def test_pillows_own_warning_of_size_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40_000)  # below the picture, above its half
    data = encode(Image.new("L", (300, 200), 7), "PNG")
    assert decode(data, side=16, max_pixels=60_000).width == 300


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_file_that_was_cut_short_is_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(ImageError) as caught:
        decode(data[: int(len(data) * share)], side=64, max_pixels=LIMIT)
    assert caught.value.what
    assert caught.value.expected
    assert caught.value.todo


def test_text_says_that_it_is_text_and_nothing_says_that_it_is_empty() -> None:
    with pytest.raises(ImageError, match=r"^not a picture in a known format, but text\n"):
        decode(b"hello, I am no picture\n" * 20, side=8, max_pixels=LIMIT)
    with pytest.raises(ImageError, match=r"^not a picture in a known format, but a zip archive"):
        decode(b"PK\x03\x04" + bytes(100), side=8, max_pixels=LIMIT)
    with pytest.raises(ImageError, match="empty file"):
        decode(b"", side=8, max_pixels=LIMIT)
    with pytest.raises(ImageError, match=r"not a picture in a known format\n"):
        decode(bytes(range(256)), side=8, max_pixels=LIMIT)


def test_a_picture_with_damaged_exif_is_kept() -> None:
    pixels = scene(16, 16)
    data = encode(Image.fromarray(pixels), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    np.testing.assert_array_equal(decode(data, side=16, max_pixels=LIMIT).pixels, pixels)


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_gives_a_picture_or_an_image_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        whole = encode(Image.fromarray(scene(24, 24)), kind)
        for _ in range(40):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), 4):
                data[at] = rng.integers(0, 256)
            try:
                assert decode(bytes(data), side=16, max_pixels=10_000).pixels.shape == (16, 16, 3)
            except ImageError as error:
                assert error.what


def test_threads_decode_side_by_side_and_leave_warnings_as_they_were():
    """No warning of a decoder escapes, and none is swallowed afterwards."""
    pictures = [np.full((9, 9, 3), level, np.uint8) for level in range(0, 240, 8)]
    encoded = []
    for picture in pictures:
        encoded.append(encode(Image.fromarray(picture), "PNG"))
    inside, gate = threading.Barrier(3, timeout=20), threading.Event()

    def warned(data):
        # All three are inside a decoder at once: none waits for another.
        with decoding._translate_errors(data):
            inside.wait()
            warnings.warn("odd EXIF", UserWarning, stacklevel=1)
            gate.wait(20)
            return decode(data, side=9, max_pixels=10_000)

    before = list(warnings.filters)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(warned, data) for data in encoded[:3]]
        gate.set()
        found = [w.result() for w in waiting]
        found += pool.map(lambda d: decode(d, side=9, max_pixels=10_000), encoded[3:])
    for decoded, picture in zip(found, pictures, strict=True):
        np.testing.assert_array_equal(decoded.pixels, picture)
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)


def test_a_whole_picture_keeps_its_shape_and_is_made_smaller_where_it_is_long():
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    data = encode(Image.fromarray(picture), "PNG")
    whole = decode_whole(data, longest=100, max_pixels=10_000)
    np.testing.assert_array_equal(whole.pixels, picture)
    small = decode_whole(data, longest=30, max_pixels=10_000)
    assert small.pixels.shape == (20, 30, 3)
    assert (small.width, small.height) == (60, 40)
    with pytest.raises(ImageError, match="max_pixels"):
        decode_whole(data, longest=100, max_pixels=100)
