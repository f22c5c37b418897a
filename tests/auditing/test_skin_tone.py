"""Skin tone from pixels, held to scikit-image, to drawn skin of known tone, and to brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from candid.auditing.skin_tone import BINS, HUE, ITA, TONE, Tone, measure_tone, srgb_to_lab
from candid.data.synthetic.face import SKIN_BINS, skin_rgb
from candid.errors import DataError
from candid.records import read_record, write_record
from candid.records.tone import ToneSummary


def flat(*colours, side=32):
    """Pictures of one colour each."""
    rows = [np.full((side, side, 3), np.round(c), np.uint8) for c in colours]
    return np.stack(rows)


def test_lab_equals_scikit_image():
    colour = pytest.importorskip("skimage.color")
    rng = np.random.default_rng(0)
    pixels = np.concatenate(
        [rng.integers(0, 256, (4000, 3)), rng.integers(0, 12, (500, 3)), [[0] * 3, [255] * 3]]
    ).astype(np.uint8)
    np.testing.assert_allclose(srgb_to_lab(pixels), colour.rgb2lab(pixels), atol=2e-3)


@pytest.mark.parametrize("ita", [-50, -20, 5, 20, 35, 50, 60])
def test_plain_skin_has_the_angle_that_it_was_painted_with(ita):
    tone = measure_tone(flat(skin_rgb(ita)), corrected=False, quiet=True)
    lab = srgb_to_lab(np.round([skin_rgb(ita)]).astype(np.uint8))[0]
    assert tone.ita[0] == pytest.approx(math.degrees(math.atan2(lab[0] - 50, lab[2])), abs=1e-3)
    assert tone.ita[0] == pytest.approx(ita, abs=1.5)  # 8 bits a channel
    assert tone.hue[0] == pytest.approx(math.degrees(math.atan2(lab[2], lab[1])), abs=1e-3)
    assert tone.error[0] == pytest.approx(0, abs=1e-5) and tone.skin[0] == 1
    low, high = SKIN_BINS[BINS[tone.bin[0]]]
    assert low < ita <= high


def test_edges_of_the_bins():
    ita = np.array([55.1, 55, 41.1, 41, 28.1, 28, 10.1, 10, -29.9, -30, -90, 90, np.nan])
    tone = Tone(ita, ita, np.zeros(13), np.ones(13), corrected=True)
    assert tone.bin.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, -1]
    unsure = Tone(ita, ita, np.full(13, 20.0), np.ones(13), corrected=True)
    assert (unsure.bin == -1).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (40, 60, 220)])
@pytest.mark.parametrize("corrected", [True, False])
def test_what_is_no_skin_is_not_measured(colour, corrected):
    tone = measure_tone(flat(colour), corrected=corrected, quiet=True)
    assert np.isnan([tone.ita[0], tone.hue[0], tone.error[0]]).all() and tone.bin[0] == -1
    assert tone.skin[0] == 0


def test_hair_eyes_and_shadows_do_not_move_the_median():
    skin = flat(skin_rgb(35), side=64)
    changed = skin.copy()
    changed[0, :20] = (20, 18, 20)  # a fringe
    changed[0, 26:30, 18:26] = changed[0, 26:30, 38:46] = (245, 245, 248)  # eyes
    changed[0, 48:52, 26:38] = (150, 40, 50)  # a mouth
    plain, busy = (measure_tone(x, corrected=False, quiet=True) for x in (skin, changed))
    assert busy.ita[0] == pytest.approx(plain.ita[0], abs=1) and busy.skin[0] < plain.skin[0]


def test_a_lamp_from_one_side_makes_it_unsure():
    skin = flat(skin_rgb(35), side=64).astype(float)
    lamp = np.linspace(1.2, 0.1, 64)[None, None, :, None]
    lit = np.clip(skin * lamp, 0, 255).astype(np.uint8)
    tone = measure_tone(np.concatenate([skin.astype(np.uint8), lit]), quiet=True)
    assert tone.error[0] < 1 < 8 < tone.error[1]
    assert tone.bin[0] >= 0 and tone.bin[1] == -1


def test_correction_takes_a_part_of_the_light_out():
    """Under a dim or bright light the angle moves less than it would; the hue hardly changes."""
    picture = np.full((1, 64, 64, 3), 150, np.uint8)
    picture[0, 14:58, 14:50] = np.round(skin_rgb(35))
    picture[0, 30:33, 30:34] = 235  # something that shines in the face
    linear = (picture / 255) ** 2.2

    def moved(light, corrected):
        lit = np.round(255 * (linear * light).clip(0, 1) ** (1 / 2.2)).astype(np.uint8)
        tone = measure_tone(np.concatenate([picture, lit]), corrected=corrected, quiet=True)
        assert abs(np.diff(tone.hue)[0]) < 2
        return abs(np.diff(tone.ita)[0])

    for light in (0.35, 0.6, 1.2):
        assert moved(light, True) < 0.85 * moved(light, False)


def noisy(n=40, side=48):
    rng = np.random.default_rng(0)
    base = np.stack([skin_rgb(x) for x in rng.uniform(-50, 60, n)])[:, None, None]
    return np.clip(base + rng.normal(0, 25, (n, side, side, 3)), 0, 255).astype(np.uint8)


def test_medians_by_brute_force():
    pixels = noisy(n=6, side=32)
    tone = measure_tone(pixels, corrected=False, quiet=True)
    for i in range(len(pixels)):
        kept = []
        for y in range(32):
            for x in range(32):
                u, v = (x + 0.5) / 16 - 1, (y + 0.5) / 16 - 1
                if (u / 0.45) ** 2 + ((v - 0.15) / 0.6) ** 2 > 1:
                    continue
                lightness, a, b = (float(z) for z in srgb_to_lab(pixels[i, y, x]))
                angle = math.degrees(math.atan2(b, a))
                if 10 < angle < 95 and math.hypot(a, b) > 4 and 10 < lightness < 97:
                    kept.append((lightness, a, b))
        m = np.median(kept, axis=0)
        assert tone.ita[i] == pytest.approx(math.degrees(math.atan2(m[0] - 50, m[2])), abs=1e-3)
        assert tone.hue[i] == pytest.approx(math.degrees(math.atan2(m[2], m[1])), abs=1e-3)


def test_blocks_rows_and_sizes(monkeypatch):
    pixels = noisy()
    whole = measure_tone(pixels, quiet=True)
    monkeypatch.setattr("candid.auditing.skin_tone._BLOCK", 3 * 48 * 48)
    rows = np.array([7, 3, 3, 39])
    np.testing.assert_array_equal(measure_tone(pixels, quiet=True).ita, whole.ita)
    some = measure_tone(pixels, rows=rows, quiet=True)
    for name in ("ita", "hue", "error", "skin"):
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[rows])
    large = measure_tone(pixels.repeat(4, axis=1).repeat(4, axis=2), quiet=True)
    assert np.corrcoef(large.ita, whole.ita)[0, 1] > 0.99
    assert np.nanmedian(large.error) == pytest.approx(np.nanmedian(whole.error), rel=0.5)


def test_attributes_and_summary(tmp_path):
    pixels = np.concatenate([noisy(), flat((128, 128, 128), side=48)])
    tone = measure_tone(pixels, quiet=True)
    attributes = tone.attributes()
    assert list(attributes) == [TONE, ITA, HUE]
    assert attributes[TONE].values == BINS and attributes[TONE].words()[-1] is None
    s = tone.summary()
    assert (s.n, s.no_skin) == (41, np.isnan(tone.ita).sum())
    assert s.measured + s.unsure + s.no_skin == s.n
    assert [b.n for b in s.bins] == [(tone.bin == i).sum() for i in range(6)]
    assert sum(b.n for b in s.bins) == s.measured
    assert [(b.low, b.high) for b in s.bins][:2] == [(55, 90), (41, 55)]
    assert sum(s.ita.counts) == sum(s.hue.counts) == s.n - s.no_skin
    assert s.ita.mean == pytest.approx(np.nanmean(tone.ita))
    assert "affected by light" in s.caveat and "highlights" in s.method
    write_record(tmp_path / "t.json", s)
    assert read_record(tmp_path / "t.json", ToneSummary) == s


def test_no_picture():
    tone = measure_tone(np.zeros((0, 64, 64, 3), np.uint8), quiet=True)
    s = tone.summary()
    assert (s.n, s.measured) == (0, 0) and math.isnan(s.uncertainty) and math.isnan(s.ita.mean)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 64, 64), np.uint8),
        np.zeros((2, 64, 64, 1), np.uint8),
        np.zeros((2, 64, 64, 3), np.float32),
        np.zeros((2, 4, 4, 3), np.uint8),
    ],
)
def test_what_cannot_be_measured(pixels):
    with pytest.raises(DataError) as caught:
        measure_tone(pixels)
    assert caught.value.expected and caught.value.todo


def test_drawn_faces_of_known_tone():
    scipy_stats = pytest.importorskip("scipy.stats")
    from candid.data.synthetic import FaceWorld, draw_faces

    faces = draw_faces(FaceWorld(n=40, side=32, seed=3))
    known = np.array([f.skin_tone for f in faces.truth.faces])
    for corrected in (True, False):
        tone = measure_tone(faces.images, corrected=corrected, quiet=True)
        assert scipy_stats.spearmanr(tone.ita, known).statistic > 0.9
