"""What looks like the training pictures is told from what does not, at a promised rate."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from candid.errors import RunError
from candid.inference import unfamiliar
from candid.inference.unfamiliar import (
    Unfamiliar,
    displace,
    features,
    fit_unfamiliar,
    read_unfamiliar,
    write_unfamiliar,
)


def faces(n, seed=0, side=32):
    """(n, side, side, 3): a light disc with two dark eyes, each a little other."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    out = np.empty((n, side, side, 3))
    for picture in out:
        cx, cy = 0.5 + rng.normal(0, 0.015, 2)
        skin, back = rng.uniform(150, 230, 3), rng.uniform(20, 120, 3)
        picture[:] = np.where(((x - cx) ** 2 + (y - cy) ** 2 < 0.13)[..., None], skin, back)
        for eye in (-0.13, 0.13):
            picture[((x - cx - eye) ** 2 + (y - cy + 0.1) ** 2) < 0.004] = 10
        picture += rng.normal(0, 8, picture.shape)
    return np.clip(out, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def fitted():
    pictures = faces(1200)
    edges = np.full(1200, 32)
    train, validation = np.arange(800), np.arange(800, 1200)
    return fit_unfamiliar(pictures, train, validation, edges, edges, false_alarms=0.02)


def share(fitted, pictures):
    return np.mean(fitted.distances(pictures) > fitted.limit)


def test_new_pictures_of_the_kind_are_flagged_no_more_than_promised(fitted):
    assert fitted.checked == 400
    # 0.02 ± four standard deviations of two samples
    assert share(fitted, faces(2000, seed=1)) < 0.02 + 4 * math.sqrt(0.02 * (1 / 400 + 1 / 2000))


def test_other_kinds_are_flagged(fitted):
    new = faces(200, seed=2)
    other = {
        "upside down": new[:, ::-1],
        "on its side": np.rot90(new, axes=(1, 2)),
        "moved": np.roll(new, 10, axis=2),
        "noise": np.random.default_rng(0).integers(0, 256, new.shape, dtype=np.uint8),
        "stripes": np.broadcast_to(
            (np.arange(32) % 8 < 4)[None, :, None, None] * np.uint8(200), new.shape
        ),
    }
    for name, pictures in other.items():
        assert share(fitted, np.ascontiguousarray(pictures)) > 0.9, name
    assert fitted.power.value > 0.5
    assert fitted.power.n == 400


def test_nothing_to_be_seen_is_flagged(fitted):
    edges = np.full(2, 32)
    flat = np.stack([np.full((32, 32, 3), 128), np.zeros((32, 32, 3))]).astype(np.uint8)
    assert fitted.unlike(flat, edges, edges) == 2 * [
        "unlike the training data: hardly any contrast"
    ]
    assert fitted.unlike(faces(2, seed=9), edges, edges) == ["", ""]


def test_light_and_contrast_do_not_matter(fitted):
    new = faces(300, seed=3).astype(float)
    assert share(fitted, np.clip(0.6 * new + 30, 0, 255).astype(np.uint8)) < 0.1


def test_the_limit_is_the_conformal_quantile(fitted):
    """Counted by hand: of n distances at most a share above it, and no smaller one would do."""
    distances = np.sort(fitted.distances(faces(1200)[800:]))
    rank = math.ceil(401 * 0.98)
    assert fitted.limit == pytest.approx(distances[rank - 1], rel=1e-6)
    assert unfamiliar._limit(np.arange(99), 0.01) == 98  # n = 99 is just enough for 1%
    assert unfamiliar._limit(np.arange(98), 0.01) == math.inf
    assert unfamiliar._limit(np.zeros(0), 0.01) == math.inf


def test_too_few_pictures_flag_shapes_alone():
    pictures, edges = faces(60), np.full(60, 32)
    few = fit_unfamiliar(pictures, np.arange(40), np.arange(40, 60), edges, edges)
    assert share(few, np.zeros((3, 32, 32, 3), np.uint8)) == 0
    assert "too few" in few.describe()
    assert few.unlike(pictures[:1], np.array([64]), np.array([32]))[0].startswith("unlike")


def test_shapes(fitted):
    new = faces(4, seed=4)
    widths, heights = np.array([32, 34, 48, 8]), np.array([32, 32, 32, 8])
    why = fitted.unlike(new, widths, heights)
    assert why[:2] == ["", ""]
    assert "another shape (48 × 32)" in why[2]
    assert "too small (8 × 8)" in why[3]
    assert fitted.unlike(new, widths, heights, cut=True)[2] == ""


@pytest.mark.parametrize("edge", [24, 32, 224])
def test_what_is_as_large_as_the_model_sees_is_never_too_small(edge):
    """Whatever the training pictures' files measure; half of what it learned to see is enough."""
    pictures, edges = faces(60), np.full(60, edge)
    few = fit_unfamiliar(pictures, np.arange(40), np.arange(40, 60), edges, edges)
    sizes = np.array([32, 224, min(edge, 32) // 2, min(edge, 32) // 2 - 1])
    why = few.unlike(pictures[:4], sizes, sizes)
    assert why[:3] == ["", "", ""]
    assert "too small" in why[3]
    before = replace(few, smallest=112)  # as another version wrote it
    assert before.unlike(pictures[:2], sizes[:2], sizes[:2]) == ["", ""]


@pytest.mark.parametrize("side", [32, 64, 48, 37, 16])
def test_features_are_those_of_a_plain_computation(side):
    picture = np.random.default_rng(side).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    found = features(picture)[0].reshape(7, 8, 8)
    grey = picture[0] @ np.array([0.299, 0.587, 0.114])
    if side in (32, 64):
        small = grey.reshape(32, side // 32, 32, side // 32).mean((1, 3))
    else:  # area averaging, by way of a picture in which every pixel is 32 × 32 of equal ones
        small = np.kron(grey, np.ones((32, 32))).reshape(32, side, 32, side).mean((1, 3))
    cells = np.zeros((7, 8, 8))
    for v in range(1, 31):
        for u in range(1, 31):
            gx, gy = small[v, u + 1] - small[v, u - 1], small[v + 1, u] - small[v - 1, u]
            size, angle = math.hypot(gx, gy), math.atan2(gy, gx)
            cells[:, v // 4, u // 4] += np.array(
                [size, gx, gy, size * math.cos(2 * angle), size * math.sin(2 * angle),
                 size * math.cos(4 * angle), size * math.sin(4 * angle)]
            ) / 16  # fmt: skip
    padded = np.pad(cells[0], 1, mode="edge")
    for v in range(8):
        for u in range(8):
            expected = cells[:, v, u] / (padded[v : v + 3, u : u + 3].mean() + 2)
            np.testing.assert_allclose(found[:, v, u], expected, atol=2e-3)


def test_moving_moves_as_it_says():
    picture = np.asarray(Image.fromarray(faces(1)[0]).resize((64, 64)))
    still = unfamiliar._affine(picture)
    np.testing.assert_array_equal(still, picture)
    quarter = unfamiliar._affine(picture, right=0.25)
    np.testing.assert_array_equal(quarter[:, :48], picture[:, 16:])
    np.testing.assert_array_equal(quarter[:, 48:], picture[:, 48:][:, ::-1])  # mirrored at the edge
    turned = unfamiliar._affine(picture, degrees=90).astype(int)
    assert min(np.abs(turned - np.rot90(picture, k)).mean() for k in (1, 3)) < 1
    half = unfamiliar._affine(picture, scale=2.0).astype(int)
    middle = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BOX)).astype(int)
    assert np.abs(half[16:48, 16:48] - middle).mean() < 8


def test_displaced_pictures_are_others_and_the_same_for_a_seed():
    pictures = faces(70)
    one = displace(pictures, np.random.default_rng(1))
    assert one.shape == pictures.shape and one.dtype == np.uint8
    assert (one != pictures).any((1, 2, 3)).all()
    np.testing.assert_array_equal(one, displace(pictures, np.random.default_rng(1)))


def test_there_and_back(tmp_path, fitted):
    path = tmp_path / "unfamiliar.npz"
    assert read_unfamiliar(path) is None
    write_unfamiliar(path, fitted)
    back = read_unfamiliar(path)
    np.testing.assert_array_equal(back.weight, fitted.weight)
    for name in unfamiliar._NUMBERS:
        assert getattr(back, name) == getattr(fitted, name)
    assert back.describe() == fitted.describe()
    assert isinstance(back, Unfamiliar)
    with np.load(path) as kept:
        older = {name: kept[name] for name in kept.files if name != "format"}
    np.savez(tmp_path / "older.npz", **older)
    with pytest.raises(RunError, match="has the format 1, which"):
        read_unfamiliar(tmp_path / "older.npz")
    for damage in (b"", b"hello", path.read_bytes()[:200]):
        path.write_bytes(damage)
        with pytest.raises(RunError, match="damaged"):
            read_unfamiliar(path)
