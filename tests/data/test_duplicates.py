"""The search is held to brute force with SciPy's cosine transform, and to copies made by hand."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from by_hand import dataset, png, store, texture
from PIL import Image, ImageEnhance

from candid.data import duplicates
from candid.data.duplicates import NEAR, _correlate_decoys, detail, exact_groups, luma, near_pairs
from candid.data.store import pack
from candid.settings import DataConfig


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    both = detail(np.stack([a, b]))
    return float(both[0] @ both[1])


def test_the_correlation_is_that_of_weighed_cosine_coefficients() -> None:
    pixels = np.stack([texture(i) for i in range(4)])
    rows = []
    for image in pixels:
        grey = image.astype(float) @ [0.299, 0.587, 0.114]
        coefficients = scipy.fft.dctn(grey, norm="ortho")
        row = [
            coefficients[u, v] * np.hypot(u, v) ** 1.2
            for u in range(20)
            for v in range(20)
            if 6 <= np.hypot(u, v) < 20
        ]
        rows.append(row)
    expected = np.asarray(rows)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    got = detail(pixels)
    # The floor for pictures without detail shortens these rows by well under 1%.
    np.testing.assert_allclose(got @ got.T, expected @ expected.T, atol=0.01)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_the_search_finds_what_brute_force_finds(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("candid.data.duplicates._ROWS", 7)
    rng = np.random.default_rng(0)
    pixels = np.stack([texture(i % 11, 24) for i in range(count)])
    noise = rng.normal(0, 12, pixels.shape)
    pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    rows = np.flatnonzero(rng.random(count) < 0.8)
    found = near_pairs(store(pixels), rows)
    features = detail(pixels).astype(float)
    expected = {
        (int(i), int(j)) for i in rows for j in rows if i < j and features[i] @ features[j] >= NEAR
    }
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    assert (len(expected) > 5) == (count == 30)
    np.testing.assert_allclose(
        found.correlation,
        np.sum(features[found.first] * features[found.second], axis=1),
        atol=1e-5,
    )
    assert found.complete


def test_copies_are_found_whatever_was_done_to_them() -> None:
    picture = texture(1, 64)
    image = Image.fromarray(picture)
    jpeg = BytesIO()
    image.save(jpeg, "JPEG", quality=50)
    smaller = image.resize((48, 48), Image.Resampling.BICUBIC)
    copies = {
        "compressed": Image.open(jpeg),
        "resized": smaller.resize((64, 64), Image.Resampling.BICUBIC),
        "darker": ImageEnhance.Brightness(image).enhance(0.6),
        "flatter": ImageEnhance.Contrast(image).enhance(0.5),
        "grey": image.convert("L").convert("RGB"),
        "cropped": image.crop((1, 1, 63, 63)).resize((64, 64), Image.Resampling.BICUBIC),
    }
    for name, copy in copies.items():
        assert likeness(picture, np.asarray(copy)) > NEAR, name


def test_different_pictures_are_not_taken_for_one_and_nor_are_blank_ones() -> None:
    pixels = np.stack([texture(i, 64) for i in range(60)])
    assert len(near_pairs(store(pixels), np.arange(60)).first) == 0
    rng = np.random.default_rng(1)
    blank = np.full((2, 64, 64, 3), 128, np.uint8)
    blank[1, ::8] += 1  # what compression leaves
    assert likeness(blank[0], blank[1]) < 0.1
    assert likeness(blank[1], blank[1]) < 0.8
    one = rng.integers(0, 2, (64, 64, 3)).astype(np.uint8)
    assert likeness(100 + one, 100 + one) < NEAR


def test_what_aligned_faces_share_does_not_count() -> None:
    rng = np.random.default_rng(2)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3)).astype(np.uint8))
    shared = np.asarray(coarse.resize((64, 64), Image.Resampling.BICUBIC), float)
    pixels = np.stack([0.75 * shared + 0.25 * texture(i, 64) for i in range(12)]).astype(np.uint8)
    grey = luma(pixels).reshape(12, -1)
    assert np.corrcoef(grey)[~np.eye(12, dtype=bool)].min() > 0.8  # alike to the naive eye
    assert len(near_pairs(store(pixels), np.arange(12)).first) == 0


def test_a_flood_of_pairs_ends_the_search_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("candid.data.duplicates._MOST_PAIRS", 20)
    monkeypatch.setattr("candid.data.duplicates._ROWS", 4)
    pixels = np.repeat(texture(0)[None], 30, axis=0)
    found = near_pairs(store(pixels), np.arange(30))
    assert not found.complete
    assert 20 < len(found.first) < 60


def test_exact_groups_are_brute_force() -> None:
    kinds = np.random.default_rng(3).integers(0, 9, 40)
    pixels = np.stack([texture(k, 8) for k in kinds])
    pixels[5] = 0
    usable = np.ones(40, np.bool_)
    usable[[3, 17]] = False
    groups = exact_groups(store(pixels, usable=usable))
    assert (groups[~usable] == -1).all()
    for i in np.flatnonzero(usable):
        for j in np.flatnonzero(usable):
            assert (groups[i] == groups[j]) == np.array_equal(pixels[i], pixels[j])


def drawn(count: int, side: int = 48) -> np.ndarray:
    """Faces that share their outlines and differ in detail: alike by chance, as drawn faces are."""
    mirror = texture(0, side).astype(float)
    mirror = (mirror + mirror[:, ::-1]) / 2  # as symmetric as a face
    return np.stack([0.8 * mirror + 0.2 * texture(i + 1, side) for i in range(count)]).astype(
        np.uint8
    )


def test_pictures_that_are_alike_by_chance_are_not_taken_for_one() -> None:
    pixels = drawn(40)
    features = detail(pixels)
    assert (features @ features.T)[~np.eye(40, dtype=bool)].min() > NEAR  # all pairs reach it
    found = near_pairs(store(pixels), np.arange(40))
    assert len(found.first) == 0
    assert found.threshold > NEAR


def test_a_copy_among_pictures_that_are_alike_is_found() -> None:
    pixels = drawn(40)
    rng = np.random.default_rng(4)
    copy = np.clip(pixels[7] + rng.normal(0, 1, pixels[7].shape), 0, 255).astype(np.uint8)
    found = near_pairs(store(np.concatenate([pixels, copy[None]])), np.arange(41))
    assert list(zip(found.first, found.second, strict=True)) == [(7, 40)]
    assert found.by_chance < 0.01


def test_decoys_are_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mirroring coefficients is mirroring pictures; every mirrored pair is counted twice."""
    monkeypatch.setattr("candid.data.duplicates._ROWS", 7)
    pixels = drawn(20, 24)
    reached, each = _correlate_decoys(detail(pixels), 24, -1.0)
    expected = detail(pixels) @ detail(pixels[:, :, ::-1]).T
    np.testing.assert_allclose(
        np.sort(reached), np.sort(expected[~np.eye(20, dtype=bool)]), atol=1e-5
    )
    assert each == 0.5


def test_what_was_found_is_kept_beside_the_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [png(texture(i % 5)) for i in range(7)]
    packed = pack(dataset(pictures), DataConfig(side=32, workers=1), cache=tmp_path, quiet=True)
    first = duplicates.find_copies(packed)
    assert [list(part) for part in first.links()] == [[0, 1], [5, 6]]
    with monkeypatch.context() as context:
        context.delattr(duplicates, "near_pairs")  # not looked for again
        again = duplicates.find_copies(packed)
    assert np.array_equal(again.groups, first.groups)
    for name, value in vars(first.pairs).items():
        assert np.array_equal(getattr(again.pairs, name), value)
    (packed.folder / "copies-1.npz").write_bytes(b"PK spoilt")
    assert np.array_equal(duplicates.find_copies(packed).groups, first.groups)


def test_pixels_that_are_no_pack_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    duplicates.find_copies(store(np.stack([texture(0), texture(0)])))
    assert list(tmp_path.iterdir()) == []
