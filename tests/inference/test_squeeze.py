"""A squeeze is told from faces alone, and nothing is made of what tells nothing."""

import math

import numpy as np
import pytest
from PIL import Image

from candid.data.synthetic import demo_world, draw_faces
from candid.inference import faces
from candid.inference.faces import measure_squeeze

cv2 = pytest.importorskip("cv2")
pytestmark = pytest.mark.skipif(
    not hasattr(cv2, "CascadeClassifier"), reason="OpenCV 5 brings no cascade"
)


def squeezed(pictures, times):
    """Each picture so many times less tall than faces in it are."""
    images = [Image.fromarray(p) for p in pictures]
    return [np.asarray(i.resize((i.width, round(i.height / times)))) for i in images]


@pytest.mark.slow
def test_drawn_faces():
    drawn = list(draw_faces(demo_world(60)).images[:30])
    assert measure_squeeze(drawn) == 1.0
    assert measure_squeeze(squeezed(drawn, 1.3)) == pytest.approx(1.3, rel=0.1)
    assert measure_squeeze(squeezed(drawn, 0.75)) == pytest.approx(0.75, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "truth"),
    [("celeba64/img_align_celeba", 218 / 178), ("utkface", 1.0), ("fairface", 1.0)],
)
def test_real_faces(real_data, folder, truth):
    files = sorted((real_data / folder).rglob("*.jpg"))
    files = files[:: len(files) // 60]
    found = measure_squeeze(np.asarray(Image.open(file).convert("RGB")) for file in files)
    assert found == (1.0 if truth == 1 else pytest.approx(truth, rel=0.08))


def test_where_no_face_is_nothing_is_told():
    noise = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3), dtype=np.uint8)
    assert measure_squeeze(noise) == 1.0
    assert measure_squeeze(np.zeros((20, 1, 3000, 3), np.uint8)) == 1.0
    assert measure_squeeze([]) == 1.0


@pytest.mark.parametrize(
    ("top", "noise", "found"),
    [
        (0.2, 0.1, math.exp(0.2)),
        (-0.3, 0.1, math.exp(-0.3)),
        (0.05, 0.1, 1.0),  # too near to tell from one
        (0.2, 60, 1.0),  # too few pictures to be sure
        (2.0, 0.1, math.exp(0.75)),  # beyond what was tried
    ],
)
def test_the_top_of_a_parabola(top, noise, found):
    rng = np.random.default_rng(0)
    off = faces._STRETCHES - top - faces._BIAS
    counts = 50 - 40 * off**2 + noise * rng.normal(size=(30, 11))
    assert faces._find_peak(counts) == pytest.approx(found, rel=0.05)
    assert faces._find_peak(counts[:10]) == 1.0
    assert faces._find_peak(np.ones((30, 11))) == 1.0
