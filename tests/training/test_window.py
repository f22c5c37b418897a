"""The face in aligned pictures: planted patterns, whose place is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from candid.models.forward import Images
from candid.training.window import coherence, face_window, face_windows

SIDE = 64


def pictures(n: int, box: tuple[int, int, int, int] | None, seed: int = 0) -> np.ndarray:
    """(n, SIDE, SIDE, 3) of noise, in a box (left, top, right, bottom) the same in all."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 256, (n, SIDE, SIDE, 3)).astype(float)
    if box is not None:
        left, top, right, bottom = box
        half = rng.integers(0, 256, (bottom - top, (right - left) // 2, 3))
        pattern = np.concatenate([half, half[:, ::-1]], axis=1)  # faces are symmetric in the mean
        found[:, top:bottom, left:right] = pattern + rng.normal(0, 20, (n, *pattern.shape))
    return found.clip(0, 255).astype(np.uint8)


def images(pixels: np.ndarray) -> Images:
    return Images(pixels, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


@pytest.mark.parametrize("box", [(16, 20, 48, 56), (24, 8, 40, 30)])
def test_the_window_is_where_all_pictures_are_alike(box):
    left, top, right, bottom = box
    words = face_window(images(pictures(400, box)), np.arange(400))
    found = np.array([float(word) for word in words.split()]) * SIDE
    # With a margin of one pixel, and one more that the gradient reaches.
    np.testing.assert_allclose(found, [left - 1, top - 1, right + 1, bottom + 1], atol=1.01)


def test_pictures_with_nothing_in_common_are_seen_whole():
    assert face_window(images(pictures(300, None)), np.arange(300)) == ""


def test_the_face_without_its_forehead_lacks_the_upper_sixth():
    given = images(pictures(400, (16, 20, 48, 56)))
    inner, face = face_windows(given, np.arange(400))
    assert face == face_window(given, np.arange(400))
    left, top, right, bottom = (float(edge) for edge in face.split())
    expected = (left, top + (bottom - top) / 6, right, bottom)
    assert tuple(float(edge) for edge in inner.split()) == pytest.approx(expected, abs=1e-4)
    assert face_windows(images(pictures(300, None)), np.arange(300)) == ()


def test_only_the_rows_that_are_named_are_looked_at():
    pixels = np.concatenate([pictures(200, (16, 20, 48, 56)), pictures(200, None, seed=1)])
    assert face_window(images(pixels), np.arange(200, 400)) == ""
    packed = Images(pixels, (0,) * 3, (1,) * 3, at=np.r_[np.full(5, -1), np.arange(400)])
    assert face_window(packed, np.arange(205)) == face_window(images(pixels), np.arange(200)) != ""
    resident = Images(torch.from_numpy(pixels), (0,) * 3, (1,) * 3)
    assert face_window(resident, np.arange(200)) == face_window(images(pixels), np.arange(200))


def test_coherence_is_one_where_all_have_the_same_and_one_in_n_by_chance():
    pixels = pictures(500, None)
    assert np.median(coherence(pixels)) == pytest.approx(1 / 1000, rel=0.4)  # with mirror images
    one = pictures(1, None)
    same = np.concatenate([one, one[:, :, ::-1]])
    both = np.concatenate([same + 0] * 3)
    mean = both.mean(axis=(0, 3))
    slopes = np.gradient(both.mean(3), axis=(1, 2))
    expected = sum(g**2 for g in np.gradient(mean)) / sum((s**2).mean(0) for s in slopes)
    np.testing.assert_allclose(coherence(both), expected, rtol=1e-9)
    assert not coherence(np.full((4, 8, 8, 3), 9, np.uint8)).any()
