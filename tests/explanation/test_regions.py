"""Where the parts of a face are."""

import numpy as np
import pytest

from candid.errors import ConfigError
from candid.explanation.regions import CELEBA, PARTS, Regions, fit_points, from_masks, from_points


def at(regions, x, y, row=0):
    side = regions.masks.shape[1]
    return regions.names[regions.of(row)[int(y * side), int(x * side)]]


def test_the_landmarks_lie_in_their_parts():
    regions = from_points(CELEBA, 64)
    left, right, nose, *corners = CELEBA
    assert at(regions, *left) == at(regions, *right) == "eyes"
    assert at(regions, *nose) == "nose"
    assert {at(regions, *c) for c in corners} == {"mouth"}
    middle = (left[0] + right[0]) / 2
    down = [at(regions, middle, y) for y in np.linspace(0.02, 0.98, 49)]
    order = list(dict.fromkeys(down))
    assert order == [*("background", "hair", "forehead", "nose", "mouth", "jaw", "neck")]
    assert at(regions, left[0], left[1] - 0.06) == "brows"
    assert at(regions, 0.03, 0.97) == at(regions, 0.97, 0.03) == "background"


def test_the_template_is_symmetric_and_complete():
    points = np.array([[0.4, 0.5], [0.6, 0.5], [0.5, 0.6], [0.42, 0.7], [0.58, 0.7]])
    mask = from_points(points, 128).masks[0]
    assert np.array_equal(mask, mask[:, ::-1])
    assert set(np.unique(mask)) == set(range(len(PARTS)))


def test_points_carry_the_template_with_them():
    """Moved, scaled and turned points give the moved, scaled and turned parts."""
    base = from_points(CELEBA, 256).masks[0]
    moved = from_points(CELEBA + np.array([8, -16]) / 256, 256).masks[0]
    assert np.mean(moved[:-16, 8:] == base[16:, :-8]) > 0.999
    turned = np.stack([1 - CELEBA[:, 1], CELEBA[:, 0]], axis=1)  # by a quarter, clockwise
    assert np.mean(from_points(turned, 256).masks[0] == np.rot90(base, -1)) > 0.999
    both = from_points(np.stack([CELEBA, CELEBA + 0.05]), 32)
    assert both.masks.shape == (2, 32, 32)
    assert np.array_equal(both[np.array([1])].of(0), both.of(1))


def test_sums_and_areas_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(4, 9, 9)).astype(np.float32)
    own = from_masks(("a", "b", "c"), rng.integers(0, 3, (4, 9, 9)).astype(np.uint8), 9)
    shared = Regions(own.names, own.masks[:1], "masks")
    for regions in (own, shared):
        for row in range(4):
            for part in range(3):
                inside = regions.of(row) == part
                assert regions.sums(maps)[row, part] == pytest.approx(
                    maps[row][inside].sum(), abs=1e-4
                )
                assert regions.areas(4)[row, part] == pytest.approx(inside.mean())


def test_masks_are_resized_without_mixing():
    masks = np.zeros((1, 4, 4), np.uint8)
    masks[0, :2, 2:] = 7
    big = from_masks(tuple("abcdefgh"), masks, 8).masks[0]
    assert np.array_equal(big, masks[0].repeat(2, 0).repeat(2, 1))
    assert np.array_equal(from_masks(tuple("abcdefgh"), big[None], 4).masks, masks)
    tall = np.arange(8, dtype=np.uint8).reshape(1, 8, 1).repeat(2, axis=2)  # (1, 8, 2)
    assert from_masks(tuple("abcdefgh"), tall, 4).masks[0].tolist() == [
        [i] * 4 for i in (1, 3, 5, 7)
    ]


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_points_follow_the_picture_into_its_square(fit):
    """A white dot on a picture of 178 × 218 is where its point says, whatever the fit."""
    import io

    from PIL import Image

    from candid.data.decode import decode

    picture = np.zeros((218, 178, 3), np.uint8)
    picture[128:136, 84:92] = 255  # around the nose
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    square = decode(file.getvalue(), side=100, fit=fit, max_pixels=10**6).pixels
    y, x = (c.mean() for c in np.nonzero(square[..., 0] > 128))
    expected = fit_points(np.array([88 / 178, 132 / 218]), 178, 218, fit)
    assert [x + 0.5, y + 0.5] == pytest.approx(expected * 100, abs=0.6)


@pytest.mark.parametrize(
    "points",
    [
        CELEBA[:4],
        CELEBA[[1, 0, 2, 3, 4]],
        np.full((5, 2), np.nan),
        np.tile(np.linspace(0, 1, 5)[:, None], 2),
    ],
)
def test_impossible_points_are_refused(points):
    with pytest.raises(ConfigError, match="points of the face"):
        from_points(points, 64)


def test_impossible_masks_are_refused():
    with pytest.raises(ConfigError, match="number 3"):
        from_masks(("a", "b"), np.full((1, 4, 4), 3, np.uint8), 4)
    with pytest.raises(ConfigError, match="shape"):
        from_masks(("a", "b"), np.zeros((4, 4), np.uint8), 4)
