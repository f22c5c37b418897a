"""Maps of framed pictures lie where the picture is that they are of."""

import io
import json
import math

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from candid.explanation.drawing import overlay_map
from candid.explanation.projection import (
    frame_corners,
    onto_picture,
    projected,
)
from candid.models.warping import frame_matrices
from candid.runs import Run
from commands import call
from inference.tiny import SIDE, always_framed, tiny_run

FRAME = (-0.4, 0.1, 0.25, -0.15, 0.2)  # log scale, log aspect, x, y, angle


def square_place(x, y, width, height, fit):
    """From pixels of a picture to -1…1 of the square that it was made into, by hand."""
    if fit == "stretch":
        return 2 * x / width - 1, 2 * y / height - 1
    if fit == "crop":
        edge = min(width, height)
        left, top = (width - edge) / 2, (height - edge) / 2
        return 2 * (x - left) / edge - 1, 2 * (y - top) / edge - 1
    edge = max(width, height)
    left, top = (edge - width) / 2, (edge - height) / 2
    return 2 * (x + left) / edge - 1, 2 * (y + top) / edge - 1


def frame_place(x, y, frame):
    """From -1…1 of the square to -1…1 of the frame: move, turn and stretch undone by hand."""
    scale, aspect, dx, dy, angle = frame
    x, y = x - dx, y - dy
    x, y = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    return x / math.exp(scale + aspect), y / math.exp(scale - aspect)


def read(values, x, y):
    """A map at a place of its own square, bilinearly, its edge repeated; 0 outside."""
    if max(abs(x), abs(y)) > 1:
        return 0.0
    side = len(values)
    column, row = ((1 + at) / 2 * side - 0.5 for at in (x, y))
    total = 0.0
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            weight = (1 - abs(row - i)) * (1 - abs(column - j))
            total += weight * values[min(max(i, 0), side - 1), min(max(j, 0), side - 1)]
    return total


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(30, 20), (17, 26)])
def test_every_pixel_is_read_where_the_frame_says(fit, width, height):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 9, 9)).astype(np.float32)
    (frame,) = frame_matrices(torch.tensor([FRAME])).numpy()
    # The picture came ten times as large as the grid that it is shown on.
    matrix = onto_picture(frame, 10 * width, 10 * height, fit)
    found = projected(maps, matrix, height, width)
    assert found.shape == (2, height, width)
    for values, drawn in zip(maps, found, strict=True):
        expected = np.zeros((height, width))
        for y in range(height):
            for x in range(width):
                fine = [(x + a, y + b) for a in (0.25, 0.75) for b in (0.25, 0.75)]
                squares = [square_place(*at, width, height, fit) for at in fine]
                expected[y, x] = np.mean([read(values, *frame_place(*s, FRAME)) for s in squares])
        np.testing.assert_allclose(drawn, expected, atol=1e-4)
        assert (drawn == 0).mean() > 0.3, "outside the frame it is 0"
    for (x, y), corner in zip(
        frame_corners(matrix), [(-1, -1), (1, -1), (1, 1), (-1, 1)], strict=True
    ):
        place = frame_place(*square_place(x * width, y * height, width, height, fit), FRAME)
        np.testing.assert_allclose(place, corner, atol=1e-6)


def test_a_picture_left_as_it_is_gets_the_map_as_it_is():
    maps = np.random.default_rng(0).normal(size=(1, 8, 8)).astype(np.float32)
    found = projected(maps, onto_picture(np.eye(3), 64, 64, "stretch"), 8, 8)
    # Four readings around a pixel's centre are nearly the pixel.
    smooth = np.pad(maps[0], 1, mode="edge")
    near = sum(
        w * smooth[1 + i : 9 + i, 1 + j : 9 + j]
        for i, u in ((-1, 1), (0, 6), (1, 1))
        for j, v in ((-1, 1), (0, 6), (1, 1))
        for w in [u * v / 64]
    )
    np.testing.assert_allclose(found[0], near, atol=1e-5)


def test_the_line_goes_round_the_frame_alone():
    grey = np.full((128, 64, 3), 100, np.uint8)
    none = np.zeros((128, 64), np.float32)
    corners = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])
    drawn = np.asarray(overlay_map(grey, none, 0.5, corners))
    assert drawn.shape == (256, 128, 3)
    rows, columns = np.nonzero(drawn[..., 0] == 255)
    assert abs(rows.min() - 64) <= 2 and abs(rows.max() - 192) <= 2
    assert abs(columns.min() - 32) <= 2 and abs(columns.max() - 96) <= 2
    whole = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    assert (np.asarray(overlay_map(grey, none, 0.5, whole)) == 100).all()


# --- a patch is found again: by the command, and by the server -----------------------------------

PATCH = (slice(48, 60), slice(110, 130))  # rows and columns of a picture of 160 × 120


@pytest.fixture(scope="module")
def framed(tmp_path_factory):
    """A run that frames, and a picture of the mean colour but for a patch.

    Integrated gradients are 0 wherever a picture has the mean colour, whatever the network.
    """
    folder = tmp_path_factory.mktemp("framed")
    run = tiny_run(folder / "run")
    always_framed(run, FRAME)
    pixels = np.empty((120, 160, 3), np.uint8)
    pixels[:] = np.rint(255 * np.array([0.5, 0.4, 0.3]))
    pixels[PATCH] = (255, 255, 255)
    path = folder / "picture.png"
    Image.fromarray(pixels).save(path)
    return run, path


def weight_in_patch(shades, width, height):
    """The share of a map's strength that lies in the patch, or next to it in what was seen."""
    strength = np.abs(shades)
    rows, columns = (np.arange(n) + 0.5 for n in strength.shape)
    rows, columns = rows / strength.shape[0] * 120, columns / strength.shape[1] * 160
    near_x, near_y = 160 / SIDE, 120 / SIDE  # one of its pixels and a half, about
    inside = (
        ((rows > 48 - near_y) & (rows < 60 + near_y))[:, None]
        & ((columns > 110 - near_x) & (columns < 130 + near_x))[None]
    )  # fmt: skip
    assert strength.shape == (height, width)
    assert inside.mean() < 0.12
    return strength[inside].sum() / strength.sum()


def test_the_command_draws_the_map_on_the_original_picture(framed, tmp_path, capsys):
    from candid.config import with_values
    from candid.pipeline.explaining import explain_pictures
    from candid.runs import open_run

    run, path = framed
    opened = open_run(run.path)
    methods = {"explain": {"methods": ["integrated_gradients", "gradient"]}}
    settings = with_values(opened.settings, methods)
    (one,) = explain_pictures(Run(run.path, settings), [path])
    assert np.array_equal(one.pixels, np.asarray(Image.open(path)))
    assert weight_in_patch(one.maps["integrated_gradients"], 160, 120) > 0.85
    # What the network minds everywhere, it minds elsewhere.
    assert weight_in_patch(one.maps["gradient"], 160, 120) < 0.5
    out = tmp_path / "maps.png"
    assert call("explain", run.path, path, path, "--out", out, "--json",
                "--method", "integrated_gradients") == 0  # fmt: skip
    assert len(json.loads(capsys.readouterr().out)["images"]) == 2
    with Image.open(out) as drawn:
        assert drawn.size == (2 * 256, 2 * (192 + 18))


def test_pictures_of_several_shapes_share_a_drawing(framed, tmp_path):
    run, path = framed
    tall = tmp_path / "tall.png"
    Image.open(path).rotate(90, expand=True).save(tall)
    out = tmp_path / "maps.png"
    assert call("explain", run.path, path, tall, "--out", out, "--method", "gradient") == 0
    with Image.open(out) as drawn:
        assert drawn.size == (2 * 256, 192 + 256 + 2 * 18)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_the_server_answers_with_the_map_on_the_original_picture(framed, fit):
    pytest.importorskip("fastapi")
    from dataclasses import replace

    from candid.inference.classifier import open_classifier
    from candid.serving import schema
    from candid.serving.served import Served
    from serving.served import running

    run, path = framed
    classifier = replace(open_classifier(run, engine="torch"), fit=fit)
    served = Served(name="first", classifier=classifier, weights=run.weights)
    with running(served, timeout=60.0) as url:
        address = f"{url}/v1/explain?method=integrated_gradients"
        how = {"content": path.read_bytes(), "timeout": 60,
               "headers": {"Content-Type": "application/octet-stream"}}  # fmt: skip
        plain = httpx.post(address, **how).json()
        flat = httpx.post(f"{address}&output=png&strength=0", **how).content
    answer = schema.MapAnswer.model_validate(plain, strict=True)
    shades, longest = np.array(answer.map), 2 * SIDE
    assert weight_in_patch(shades, longest, longest * 3 // 4) > 0.7
    assert np.abs(shades).max() == 1
    (matrix,) = frame_matrices(torch.tensor([FRAME])).numpy()
    expected = frame_corners(onto_picture(matrix, 160, 120, fit))
    np.testing.assert_allclose(answer.frame, expected, atol=1e-4)
    import base64

    shown = Image.open(io.BytesIO(base64.b64decode(answer.picture)))
    assert shown.size == (longest, longest * 3 // 4)
    assert Image.open(io.BytesIO(flat)).size == (256, 192)
