"""Faces in photographs by a network that says how one lies against a window.

The network stands in: it finds squares of one colour by their moments, exactly where it sees a
whole one, so that where they lie is known in closed form.
"""

import csv
import io
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

import candid
from candid.data.synthetic import FaceWorld, write_faces
from candid.inference.detectors import OPENCV, Box, DetectedFace
from candid.inference.faces import Finder
from candid.inference.windows import FramingFinder
from candid.pipeline.labelling import face_finder, open_labeller
from candid.runs import Run
from commands import call
from made_once import made_once

SIDE = 32
FILLED = 0.5  # of a training picture's side is the square that stands for a face


@dataclass
class Marks:
    """Says how a red square lies; far off where there is none."""

    look_side: int = SIDE
    limit: float = 0.2

    def look(self, planes):
        red = ((planes[:, 0] - planes[:, 1]).double() / 255).clamp(0, 1)
        share = red.mean((1, 2))
        places = (torch.arange(SIDE).double() * 2 + 1) / SIDE - 1
        x = (red.sum(1) * places).sum(1) / red.sum((1, 2))
        y = (red.sum(2) * places).sum(1) / red.sum((1, 2))
        scale = torch.log(share.sqrt() / FILLED)
        zero = torch.zeros_like(x)
        off = torch.stack([scale, zero, x, y, zero], 1).nan_to_num(0, 0, 0).clamp(-0.9, 0.9)
        far = torch.where(share > 0.02, off.abs().sum(1), 99.0)
        return off.float(), far.float()


def scene(places, size=(240, 320)):
    """Grey, with a red square of half of each place (left, top, side) in its middle."""
    pixels = np.full((*size, 3), 100, np.uint8)
    for left, top, side in places:
        edge = side // 4
        pixels[top + edge : top + side - edge, left + edge : left + side - edge] = (255, 0, 0)
    return pixels


def test_each_square_is_found_once_where_it_lies():
    places = [(20, 30, 64), (200, 40, 100), (120, 150, 80)]
    faces = FramingFinder(Marks()).find(scene(places))
    assert [f.box.width for f in faces] == sorted((f.box.width for f in faces), reverse=True)
    found = sorted((f.box.left, f.box.top, f.box.width, f.box.height) for f in faces)
    wanted = sorted((x, y, s, s) for x, y, s in places)
    np.testing.assert_allclose(found, wanted, atol=3)
    assert all(f.box.score >= 8 for f in faces)


def test_where_there_is_nothing_nothing_is_found():
    assert FramingFinder(Marks()).find(scene([])) == []
    for size in ((1, 1), (1, 900), (900, 3), (33, 31)):
        assert FramingFinder(Marks()).find(scene([], size)) == []


def test_a_face_that_fills_the_photograph_is_found():
    (face,) = FramingFinder(Marks()).find(scene([(0, 0, 200)], (200, 200)))
    np.testing.assert_allclose([face.box.left, face.box.top, face.box.width], [0, 0, 200], atol=8)


@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_what_is_cut_out_is_the_square_at_the_size_asked_for(degrees):
    """A ramp: its values say where each pixel was read, at the photograph's own detail."""
    y, x = np.mgrid[:200, :300]
    photo = np.stack([x * 0.8, y, np.zeros_like(x)], -1).round().astype(np.uint8)
    c, s = (40 * f(math.radians(degrees)) for f in (math.cos, math.sin))
    square = np.array([[c, -s, 150.0], [s, c, 100.0], [0, 0, 1]])
    finder = FramingFinder(Marks())
    crop = finder.crop(photo, DetectedFace(Box(0, 0, 1, 1, 8), square=square), side=20, fit="pad")
    at = (np.arange(20) * 2 + 1) / 20 - 1
    u, v = np.meshgrid(at, at)
    # The centre of the first pixel lies at a half.
    wanted = np.stack([0.8 * (c * u - s * v + 149.5), s * u + c * v + 99.5], -1)
    np.testing.assert_allclose(crop[..., :2].astype(float), wanted, atol=1.5)
    with pytest.raises(ValueError, match="framing network"):
        finder.crop(photo, DetectedFace(Box(0, 0, 1, 1, 8)), side=20, fit="pad")


# --- a whole run ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run on drawn faces whose framing network learned something."""

    def make(folder):
        data = write_faces(folder / "faces", FaceWorld(n=400, people=100, side=32), quiet=True)
        settings = {
            "data.side": 32, "network.width": 8, "train.steps": 30, "train.batch_size": 64,
            "train.threads": 1, "framing.steps": 350, "framing.width": 8, "data.workers": 1,
            "framing.learning_rate": 4e-3,
            "evaluate.draws": 60, "audit.more": "false", "explain.make": "false",
        }  # fmt: skip
        words = [w for k, v in settings.items() for w in ("--set", f"{k}={v}")]
        where = ["--out", folder / "run", "--cache", folder / "cache", "--quiet"]
        assert call("run", data, "--target", "Face", *words, *where) == 0

    return Run(made_once(tmp_path_factory, "windows", make) / "run")


def test_drawn_faces_are_found_in_a_photograph(run, capsys, tmp_path):
    """Three faces that nobody learned from, on a smooth ground; and none where there is none."""
    data = candid.load(run.path.parent / "faces", target="Face")
    rows = data.rows("test")[:3]
    y, x = np.mgrid[:150, :420]
    photo = np.stack([90 + x / 8, 120 + y / 8, 140 - x / 10], -1).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "empty.png")
    places = [(20, 30), (160, 50), (300, 20)]
    for (left, top), row in zip(places, rows.tolist(), strict=True):
        face = Image.open(io.BytesIO(data.source.read(row))).convert("RGB").resize((90, 90))
        photo[top : top + 90, left : left + 90] = np.asarray(face)
    Image.fromarray(photo).save(tmp_path / "three.png")
    assert call("predict", run.path, tmp_path, "--crop", "--quiet", "--no-check") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    none, *faces = sorted(table, key=lambda row: (row["id"], row["face"]))
    assert none["id"].endswith("empty.png") and none["face"] == "" and none["prediction"] == ""
    centres = sorted(float(f["box_left"]) + float(f["box_width"]) / 2 for f in faces)
    np.testing.assert_allclose(centres, [65, 205, 345], atol=18)
    assert all(f["prediction"] for f in faces)


def test_opencv_is_taken_where_it_is_named(run):
    assert isinstance(face_finder(run), FramingFinder)
    assert face_finder(run).frame.detector == "framing"
    cache = run.path.parent / "cache"
    try:
        found = face_finder(run, OPENCV, cache=cache)
    except candid.CandidError as error:  # it may find no face in drawings: then it was asked
        assert "training pictures" in str(error)
    else:
        assert isinstance(found, Finder)


def test_a_job_with_faces_goes_on_where_it_was_stopped(run, tmp_path):
    """What decides a row compares equal to itself, for a job that was stopped."""
    from candid.pipeline.labelling import model_key
    from candid.storage.jobs import plain_job

    jobs = [plain_job(model_key(open_labeller(run, crop=True))) for _ in range(2)]
    assert jobs[0] == jobs[1] and jobs[0]["faces"]["detector"] == "framing"
