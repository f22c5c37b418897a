"""Linear weights brought back: against differences of scores, and scikit-image's own features."""

import numpy as np
import pytest
from skimage.feature import hog
from sklearn.decomposition import PCA

from candid.errors import DataError
from candid.explanation.filters import cell_weights, pixel_weights, strokes

SIDE, CELL, BLOCK, PARTS = 32, 8, 2, 9
SIZES = {"cell": CELL, "block": BLOCK, "orientations": PARTS}


def test_eigenfaces_are_exact():
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(60, 3 * 8 * 8))
    faces = PCA(12, random_state=0).fit(pictures)
    weight = rng.normal(size=(2, 12))
    maps = pixel_weights(weight, faces.components_, 8)
    a, b = rng.normal(size=(2, 3, 8, 8))
    change = weight @ (faces.transform(a.reshape(1, -1)) - faces.transform(b.reshape(1, -1)))[0]
    np.testing.assert_allclose((maps * (a - b)).sum((1, 2, 3)), change, atol=1e-10)


def test_cells_are_summed_over_their_blocks():
    rng = np.random.default_rng(1)
    count = SIDE // CELL
    blocks = count - BLOCK + 1
    weight = rng.normal(size=(3, (blocks * BLOCK) ** 2 * PARTS))
    cells = rng.random((count, count, PARTS))
    # As hog() lays them out, with every block normalised alike.
    features = [
        cells[i + y, j + x, k]
        for i in range(blocks)
        for j in range(blocks)
        for y in range(BLOCK)
        for x in range(BLOCK)
        for k in range(PARTS)
    ]
    found = cell_weights(weight, SIDE, **SIZES)
    np.testing.assert_allclose((found * cells).sum((1, 2, 3)), weight @ np.array(features))


@pytest.mark.parametrize("part", range(PARTS))
def test_the_stroke_of_a_direction_is_an_edge_of_that_direction(part):
    """What is drawn lies along a line at right angles to the middle of that part of 180°."""
    cells = np.zeros((1, 2, 2, PARTS))
    cells[0, 0, 1, part] = 1
    (drawn,) = strokes(cells, 128)
    y, x = np.mgrid[:64, :64] - 31.5
    ink = drawn[:64, 64:]
    across = np.array([[(ink * a * b).sum() for a in (x, y)] for b in (x, y)])
    _, axes = np.linalg.eigh(across)  # the first: the way that the ink spreads least
    gradient = np.rad2deg(np.arctan2(axes[1, 0], axes[0, 0]))
    off = (gradient - 180 * (part + 0.5) / PARTS + 90) % 180 - 90
    assert abs(off) < 1
    assert ink.max() >= 0.5
    ink[:] = 0
    assert not drawn.any()


def test_the_parts_of_180_degrees_are_those_of_hog():
    """A ramp of a known direction is found in the part that `strokes` draws it for."""
    y, x = np.mgrid[:SIDE, :SIDE]
    for part in range(PARTS):
        angle = np.pi * (part + 0.5) / PARTS
        ramp = y * np.sin(angle) + x * np.cos(angle)
        found = hog(ramp, PARTS, (CELL, CELL), (1, 1), feature_vector=False)
        assert int(found[1:-1, 1:-1].sum((0, 1, 2, 3)).argmax()) == part


def test_weights_against_a_class_are_drawn_below_zero():
    cells = np.random.default_rng(2).normal(size=(2, 3, 3, PARTS))
    np.testing.assert_allclose(strokes(-cells, 26), -strokes(cells, 26))
    assert not strokes(cells, 26)[:, 24:].any()


def test_shapes_that_do_not_go_together_are_refused():
    with pytest.raises(DataError, match="go together"):
        pixel_weights(np.zeros((2, 5)), np.zeros((4, 192)), 8)
    with pytest.raises(DataError, match="go together"):
        cell_weights(np.zeros((2, 80)), SIDE, **SIZES)
    with pytest.raises(DataError, match="go together"):
        cell_weights(np.zeros((2, 0)), 8, **SIZES)
