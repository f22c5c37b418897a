"""How the pictures of several data sets are found to lie, and brought to the frame of one."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from candid.errors import RunError
from candid.inference.source_frames import (
    ImageSample,
    SourceReframe,
    frames_digest,
    source_frame,
)
from candid.models.framing import Framing, save_framing
from candid.models.warping import frame_matrices
from candid.records.files import from_plain, to_plain
from candid.records.framing import IDENTITY_FRAME, CommonFrame, SourceFrame, SourceFrames
from candid.storage.files import file_digest

SIDE = 16
HOME = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class Reads:
    """Reads how a bright square lies in each picture, against one that fills half of it.

    It tells `share` of the truth, as a network does that stops short, with some noise of each
    picture's own; `found` is how far off a picture lies, as it sees it.
    """

    rest_limit, far_limit = math.inf, 0.6

    def __init__(self, share=1.0):
        self.share = share

    def __call__(self, pixels, start=IDENTITY_FRAME, limit=None):
        side = pixels.shape[1]
        bright = pixels[..., 0] > 127
        places = (2 * np.arange(side) + 1) / side - 1
        columns, rows = (bright.sum(axis) for axis in (1, 2))
        wide = (columns > 0).sum(1) / (side / 2)
        high = (rows > 0).sum(1) / (side / 2)
        x, y = ((b > 0) @ places / (b > 0).sum(1) for b in (columns, rows))
        rng = np.random.default_rng(int(pixels.sum() % 2**32))
        noise = 0.02 * rng.standard_normal((4, len(pixels)))
        truth = np.stack([np.log(wide), np.log(high), x, y]) * self.share + noise
        frames = np.tile(np.eye(3), (len(pixels), 1, 1))
        frames[:, 0, 0], frames[:, 1, 1] = np.exp(truth[0]), np.exp(truth[1])
        frames[:, 0, 2], frames[:, 1, 2] = truth[2], truth[3]
        off = np.abs(frames - start).sum((1, 2))
        return pixels[:, :SIDE, :SIDE], frames, 0 * off, frames, off


def squares(n, wide=1.0, high=1.0, right=0.0, down=0.0, side=128):
    """Pictures with a square of half their side, times `wide` and `high`, moved by shares of it."""
    made = np.zeros((n, side, side, 3), np.uint8)
    made[:] = np.arange(n)[:, None, None, None] % 50
    half, middle = np.array([high, wide]) * side / 4, side / 2 + np.array([down, right]) * side
    (top, left), (bottom, end) = (middle - half).round().astype(int), (middle + half).round()
    made[:, top : int(bottom), left : int(end)] = 255
    return ImageSample(made)


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_the_frame_is_found_also_by_a_network_that_stops_short(share):
    """What it stops short by is what it stops short by in pictures of the reference, cut so."""
    found = source_frame("tight", Reads(share), squares(60, 1.5, 1.25, 0.0625, -0.125), squares(80))
    assert found.frame is not None and found.seen is not None and found.moved
    for name, truth in {"width": 1.5, "height": 1.25, "x": 0.0625, "y": -0.125}.items():
        measure = found.measures[name]
        assert measure.value == pytest.approx(truth, abs=0.03), name
        assert measure.low < measure.value < measure.high and measure.n == 60
    a, _, x, _, d, y = found.frame.matrix
    assert (a, d, x / 2, y / 2) == pytest.approx((1.5, 1.25, 0.0625, -0.125), abs=0.03)
    seen = found.seen.matrix[0]
    assert seen == pytest.approx(1.5**share, abs=0.03)
    assert found.frame.alike and found.frame.pictures == 60


def test_at_home_nothing_is_moved():
    found = source_frame("same", Reads(), squares(60), squares(80))
    assert found.frame == found.seen and not found.moved
    assert found.frame is not None and found.frame.matrix == HOME
    unlike = replace(found, frame=replace(found.frame, alike=False))
    assert unlike.moved  # each by itself


def test_the_interval_is_by_person():
    many = squares(60, 1.5, 1.5)
    each = source_frame("a", Reads(), many, squares(80)).measures["width"]
    few = replace(many, person=np.arange(60) // 20)
    by_person = source_frame("a", Reads(), few, squares(80)).measures["width"]
    assert (each.people, by_person.people) == (None, 3)
    assert each.value == by_person.value and "by person" in by_person.method


# --- moved ---------------------------------------------------------------------------------------


def common(*matrix, alike=True):
    return CommonFrame(matrix, alike, 0.05 if alike else 0.3, 100)


def reframe(source, path="none", weights=""):
    codes = np.array([0, 1, 1], np.int16)
    return SourceReframe({1: source}, codes, SIDE, path, weights, "digest")


def test_pictures_that_lie_alike_are_read_in_their_frame():
    """The middle half of a picture of twice the size, pixel for pixel; and beyond it, mirrored."""
    pixels = np.random.default_rng(0).integers(0, 256, (2 * SIDE, 2 * SIDE, 3), dtype=np.uint8)
    middle = common(0.5, 0, 0, 0, 0.5, 0)
    source = SourceFrame("far", 100, middle, middle)
    half = SIDE // 2
    moved = pickle.loads(pickle.dumps(reframe(source)))
    assert np.array_equal(moved(1, pixels), pixels[half:-half, half:-half])
    shifted = common(0.5, 0, 0.5, 0, 0.5, -0.5)
    source = SourceFrame("far", 100, shifted, middle)
    assert np.array_equal(reframe(source)(1, pixels), pixels[:SIDE, SIDE:])
    beyond = common(0.5, 0, 1.0, 0, 0.5, 0)
    source = SourceFrame("far", 100, beyond, middle)
    right = pixels[half:-half, -half:]
    mirrored = np.concatenate([right, right[:, ::-1]], 1)
    assert np.array_equal(reframe(source)(2, pixels), mirrored)


def finds(path, frame):
    """A framing network that finds the same frame in every picture, in one look."""
    framing = Framing(SIDE, width=2, looks=1).eval()
    with torch.no_grad():
        framing.head.weight.zero_()
        framing.head.bias.copy_(torch.tensor(frame) / framing.units)
    framing.limit.fill_(1e-3)
    save_framing(path, framing)
    return file_digest(path)


def test_pictures_that_do_not_are_framed_one_by_one_and_corrected_alike(tmp_path):
    """The network finds a tenth more of scale; half of what it sees is what it stops short by."""
    path, own = tmp_path / "framer.safetensors", (math.log(1.1), 0.0, 0.0, 0.0, 0.0)
    weights = finds(path, own)
    pixels = np.random.default_rng(0).integers(0, 256, (2 * SIDE, 2 * SIDE, 3), dtype=np.uint8)
    smooth = np.asarray(
        torch.nn.functional.avg_pool2d(
            torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), 5, 1, 2
        )[0].permute(1, 2, 0).to(torch.uint8)
    )  # fmt: skip
    seen, true = (common(s, 0, 0, 0, s, 0, alike=False) for s in (0.8, 0.5))
    source = SourceFrame("far", 100, true, seen)
    got = reframe(source, path, weights)(1, smooth)
    # 0.5 / 0.8 of 0.8 · 1.1: as if it were read in a frame of 0.55.
    wanted = common(0.55, 0, 0, 0, 0.55, 0)
    same = reframe(SourceFrame("far", 100, wanted, wanted))(1, smooth)
    assert np.abs(got.astype(int) - same).max() <= 1
    assert frame_matrices(torch.tensor([own]))[0, 0, 0] == pytest.approx(1.1)
    with pytest.raises(RunError, match="is not the network"):
        reframe(source, path, "another")(1, smooth)


def test_the_digest_is_of_what_decides_the_pixels():
    alike, unlike = common(1.5, 0, 0, 0, 1.5, 0), common(1.2, 0, 0, 0, 1.2, 0, alike=False)
    home = common(*HOME)
    frames = SourceFrames("a", None, "w", (SourceFrame("b", 9, alike, alike), SourceFrame("c", 9)))
    assert frames_digest(frames) == frames_digest(replace(frames, framer="x")) != ""
    mixed = replace(frames, sources=(*frames.sources, SourceFrame("d", 9, unlike, unlike)))
    digests = {frames_digest(replace(mixed, framer=f)) for f in ("w", "x")}
    assert len(digests | {frames_digest(frames)}) == 3
    assert frames_digest(replace(frames, sources=(SourceFrame("b", 9, home, home),))) == ""
    assert from_plain(SourceFrames, to_plain(mixed)) == mixed
    broken = replace(alike, matrix=(1.0, math.nan, 0.0, 0.0, 1.0, 0.0))
    assert "matrix" in replace(mixed, sources=(SourceFrame("b", 9, broken, alike),)).problem()
    assert mixed.problem() == ""
