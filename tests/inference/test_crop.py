"""Faces are found by OpenCV, and cut out so that they lie as in the training pictures."""

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from candid.errors import DataError, DependencyError, RunError
from candid.inference.detectors import Box, DetectedFace, open_detector
from candid.inference.faces import CELEBA, Finder, Frame, measure_frame
from candid.pipeline.labelling import training_frame as frame_of
from inference.tiny import tiny_run

cv2 = pytest.importorskip("cv2")

SIDE = 40
FRAME = Frame(1.0, (0.35, 0.4, 0.65, 0.4), (0.5, 0.5, 0.6), 30, "made up", 1.0)


def training_picture(side=400):
    """A smooth picture, made to be found again after it was turned, scaled and moved."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(7 * x + 2 * y), np.cos(5 * y - 3 * x), np.sin(9 * x * y + 1)]
    return np.rint(127 + 100 * np.stack(waves, -1)).astype(np.uint8)


def small(picture, side=SIDE):
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


@dataclass
class Found:
    """A detector that knows."""

    faces: list
    name: str = "made up"

    def __call__(self, pixels):
        return self.faces


def placed(picture, scale, degrees, middle=800, size=(1600, 1600)):
    """The picture somewhere in a photograph, and the face in it with its eyes."""
    side = len(picture)
    turn = scale * complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    corner = complex(middle, middle) - turn * side * complex(0.5, 0.5)
    x, y = corner.real, corner.imag
    matrix = np.array([[turn.real, -turn.imag, x], [turn.imag, turn.real, y]])
    # Pixels are areas: the middle of the first lies at a half.
    shift = matrix.copy()
    shift[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    photo = cv2.warpAffine(picture, shift, size, borderMode=cv2.BORDER_REPLICATE)
    eyes = [complex(x, y) + turn * side * complex(*FRAME.eyes[i : i + 2]) for i in (0, 2)]
    centre = complex(x, y) + turn * side * complex(*FRAME.box[:2])
    edge = scale * side * FRAME.box[2]
    box = Box(centre.real - edge / 2, centre.imag - edge / 2, edge, edge, 1.0)
    return photo, DetectedFace(box, tuple((e.real, e.imag) for e in eyes))


@pytest.mark.parametrize("degrees", [0, 20, -35, 180])
@pytest.mark.parametrize("scale", [0.1, 0.4, 1.0])
def test_by_its_eyes_a_face_lies_as_in_training(scale, degrees):
    picture = training_picture()
    photo, face = placed(picture, scale, degrees)
    crop = Finder(Found([face]), FRAME).crop(photo, face, side=SIDE, fit="stretch")
    inside = np.s_[8:-8, 8:-8]  # what the photograph holds for certain
    difference = crop.astype(int) - small(picture).astype(int)
    assert np.abs(difference[inside]).max() <= 6


def test_by_its_box_where_there_are_no_eyes():
    picture = training_picture()
    photo, face = placed(picture, 0.8, 0)
    crop = Finder(Found([]), FRAME).crop(photo, replace(face, eyes=None), side=SIDE, fit="stretch")
    assert np.abs(crop.astype(int) - small(picture).astype(int)).max() <= 4
    blind = replace(FRAME, eyes=(math.nan,) * 4)
    again = Finder(Found([]), blind).crop(photo, face, side=SIDE, fit="stretch")
    np.testing.assert_array_equal(again, crop)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("aspect", [1.5, 0.75])
def test_pictures_that_are_not_square_are_squared_as_in_training(fit, aspect):
    """Cut out, and squared at once, gives what `decode` gives of the picture itself."""
    from candid.data.decode import decode
    from inference.tiny import encoded

    tall = cv2.resize(training_picture(), (240, round(240 * aspect)))
    frame = Frame(aspect, (0.3, 0.4, 0.7, 0.4), (0.5, 0.5, 0.6), 30, "made up", 1.0)
    face = DetectedFace(Box(0, 0, 1, 1, 1.0), ((0.3 * 240, 0.4 * 240), (0.7 * 240, 0.4 * 240)))
    crop = Finder(Found([]), frame).crop(tall, face, side=SIDE, fit=fit)
    expected = decode(encoded(tall), side=SIDE, fit=fit, max_pixels=10**7).pixels
    difference = np.abs(crop.astype(int) - expected.astype(int))
    assert np.median(difference) <= 2
    assert np.quantile(difference, 0.95) <= 12


def test_what_lies_outside_of_the_photograph_is_its_edge():
    photo = np.full((100, 100, 3), 50, np.uint8)
    face = DetectedFace(Box(80, 80, 60, 60, 1.0))
    crop = Finder(Found([]), FRAME).crop(photo, face, side=SIDE, fit="stretch")
    assert (crop == 50).all()


def test_a_large_face_is_made_small_without_moiré():
    photo = np.zeros((1400, 1400, 3), np.uint8)
    photo[:, ::2] = 255  # lines of one pixel
    face = DetectedFace(Box(350, 350, 700, 700, 1.0))
    crop = Finder(Found([]), FRAME).crop(photo, face, side=SIDE, fit="stretch")
    assert np.abs(crop.astype(int) - 127).max() < 12


def test_the_largest_face_comes_first():
    few = [DetectedFace(Box(0, 0, e, e, 1.0)) for e in (10, 30, 20)]
    assert [f.box.width for f in Finder(Found(few), FRAME).find(None)] == [30, 20, 10]


# --- how faces lie in training -------------------------------------------------------------------


def test_the_frame_is_the_median_over_pictures_with_one_face():
    rng = np.random.default_rng(0)
    moves = rng.normal(0, 2, 60)
    answers = iter(
        [[DetectedFace(Box(20 + m, 30, 50, 54, 1.0), ((30 + m, 50), (60 + m, 52)))] for m in moves]
        + [[], 2 * [DetectedFace(Box(0, 0, 1, 1, 1.0))]]
    )
    detector = Found([])
    detector.__class__ = type("Next", (Found,), {"__call__": lambda self, p: next(answers)})
    found = measure_frame([np.zeros((120, 100, 3), np.uint8)] * 62, detector)
    m = np.median(moves)
    assert found.n == 60
    assert found.aspect == pytest.approx(1.2)
    np.testing.assert_allclose(found.eyes, np.array([30 + m, 50, 60 + m, 52]) / 100)
    np.testing.assert_allclose(found.box, np.array([45 + m, 57, 52]) / 100)


def test_too_few_faces_in_training_is_an_error():
    with pytest.raises(DataError, match="0 of 50"):
        measure_frame([np.zeros((9, 9, 3), np.uint8)] * 50, Found([]))


def test_without_its_data_a_run_on_celeba_uses_what_is_usual(tmp_path):
    run = tiny_run(tmp_path / "run")
    with pytest.raises(RunError, match="gone"):
        frame_of(run, Found([]))
    text = run.config.read_text().replace('layout = "folder"', 'layout = "celeba"')
    run.config.write_text(text)
    assert frame_of(run, Found([])) == CELEBA


class FaceInTheMiddle:
    """A detector with square boxes, as wide as half of the picture."""

    name = "made up"

    def __call__(self, pixels):
        height, width = pixels.shape[:2]
        return [DetectedFace(Box(width / 4, height / 2 - width / 4, width / 2, width / 2, 1.0))]


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_what_was_squeezed_in_training_is_cut_out_tall_and_squeezed(fit):
    """From a photograph with the picture as it was comes the picture as it lies in its file."""
    tall = cv2.resize(training_picture(), (400, 500))
    files = [cv2.resize(tall, (64, 64), interpolation=cv2.INTER_AREA)] * 20
    frame = measure_frame(files, FaceInTheMiddle(), squeeze=1.25)
    assert (frame.aspect, frame.squeeze) == (1.25, 1.25)
    np.testing.assert_allclose(frame.box, (0.5, 0.625, 0.5))
    (face,) = FaceInTheMiddle()(tall)
    crop = Finder(FaceInTheMiddle(), frame).crop(tall, face, side=SIDE, fit=fit)
    assert np.abs(crop.astype(int) - small(tall).astype(int)).max() <= 6


def test_a_kept_frame_that_knows_no_squeeze_is_measured_anew(tmp_path, monkeypatch):
    import json

    from candid.inference import faces
    from candid.pipeline import labelling as using

    run = tiny_run(tmp_path / "run")
    plain = {"aspect": 1.0, "eyes": [0.3] * 4, "box": [0.5] * 3, "n": 30, "detector": "made up"}
    (run.path / "frame.json").write_text(json.dumps(plain))
    monkeypatch.setattr(using, "reload", lambda *_, **__: SimpleNamespace(dataset=None))
    monkeypatch.setattr(using, "reference_rows", lambda *_: None)
    monkeypatch.setattr(using, "_sample_training_images", lambda *_: iter(()))
    monkeypatch.setattr(faces, "measure_squeeze", lambda _: 1.2)
    found = replace(FRAME, squeeze=1.2)
    monkeypatch.setattr(faces, "measure_frame", lambda *_, squeeze: replace(FRAME, squeeze=squeeze))
    assert frame_of(run, Found([])) == found
    monkeypatch.setattr(faces, "measure_frame", None)
    assert frame_of(run, Found([])) == found  # kept


# --- OpenCV --------------------------------------------------------------------------------------


def red_square_detector(path):
    """A model in YuNet's form whose faces are red: eight pixels to a cell, no learning.

    YuNet gives, for steps of 8, 16 and 32 pixels and each cell, two scores, the middle and the
    logarithm of the edges of a box in steps, and five points in steps. Here a cell is as much of
    a face as it is redder than green; the box is one step wide, and the eyes lie left and right.
    """
    nodes, weights, outputs = [], [], []
    for name, shape, value in (
        ("box", (1, 4, 1, 1), [0.5, 0.5, 0.0, 0.0]),
        ("points", (1, 10, 1, 1), [0.25, 0.25, 0.75, 0.25, 0.5, 0.5, 0.25, 0.75, 0.75, 0.75]),
        ("redness", (1, 3, 1, 1), [-1 / 255, -1 / 255, 1 / 255]),  # OpenCV gives BGR
    ):
        weights.append(numpy_helper.from_array(np.array(value, np.float32).reshape(shape), name))
    weights.append(numpy_helper.from_array(np.array([0], np.float32), "zero"))
    weights.append(numpy_helper.from_array(np.array([1], np.float32), "one"))
    for step in (8, 16, 32):
        nodes += [
            helper.make_node(
                "AveragePool",
                ["input"],
                [f"m{step}"],
                kernel_shape=[step, step],
                strides=[step, step],
            ),
            helper.make_node("Conv", [f"m{step}", "redness"], [f"r{step}"], kernel_shape=[1, 1]),
            helper.make_node("Max", [f"r{step}", "zero"], [f"p{step}"]),
            helper.make_node("Min", [f"p{step}", "one"], [f"s{step}"]),
            helper.make_node("Mul", [f"s{step}", "zero"], [f"z{step}"]),
        ]
        score = f"s{step}"
        for kind, source, channels in (
            *(("cls", score, 1), ("obj", score, 1)),
            *(("bbox", "box", 4), ("kps", "points", 10)),
        ):
            plain = source
            if channels > 1:
                plain = f"{kind}p{step}"
                nodes.append(helper.make_node("Add", [f"z{step}", source], [plain]))
            shape = numpy_helper.from_array(np.array([1, channels, -1], np.int64), f"{kind}{step}s")
            weights.append(shape)
            nodes += [
                helper.make_node("Reshape", [plain, shape.name], [f"{kind}r{step}"]),
                helper.make_node(
                    "Transpose", [f"{kind}r{step}"], [f"{kind}_{step}"], perm=[0, 2, 1]
                ),
            ]
    for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for step in (8, 16, 32):
            outputs.append(
                helper.make_tensor_value_info(
                    f"{kind}_{step}", TensorProto.FLOAT, [1, None, channels]
                )
            )
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "red", [given], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def test_a_detector_by_path_finds_what_it_knows(tmp_path):
    detector = open_detector(red_square_detector(tmp_path / "red.onnx"))
    photo = np.zeros((320, 480, 3), np.uint8)
    photo[64:96, 128:160, 0] = 255  # one cell of 32, and the smaller ones in it
    photo[160:192, 320:352] = (255, 0, 0)
    found = Finder(detector, FRAME).find(photo)
    large = [f for f in found if f.box.width == 32]
    assert sorted((f.box.left, f.box.top) for f in large) == [(128, 64), (320, 160)]
    eyes = next(f.eyes for f in large if f.box.left == 128)
    np.testing.assert_allclose(eyes, [(136, 72), (152, 72)], atol=1e-3)
    assert Finder(detector, FRAME).find(np.zeros((320, 480, 3), np.uint8)) == []


def test_what_is_no_detector_is_refused(tmp_path):
    with pytest.raises(DataError, match="no detector"):
        open_detector(tmp_path / "gone.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(DataError, match="OpenCV cannot use"):
        open_detector(tmp_path / "bad.onnx")


def test_without_a_detector_of_its_own_opencv_is_not_enough(monkeypatch):
    monkeypatch.setattr(cv2.data, "haarcascades", "/nowhere/")
    with pytest.raises(DependencyError, match="brings no face detector"):
        open_detector()


@pytest.mark.skipif(not hasattr(cv2, "CascadeClassifier"), reason="OpenCV 5 brings no detector")
@pytest.mark.parametrize(("width", "height"), [(1, 1600), (1600, 1), (1, 1), (8, 1600)])
def test_slivers_hold_no_face_and_are_not_blown_up(width, height, monkeypatch):
    seen = []
    border = cv2.copyMakeBorder
    monkeypatch.setattr(cv2, "copyMakeBorder", lambda g, *a: seen.append(g.size) or border(g, *a))
    detector = open_detector()
    assert detector(np.full((height, width, 3), 120, np.uint8)) == []
    assert max(seen) <= 256 * 4096


@pytest.mark.skipif(not hasattr(cv2, "CascadeClassifier"), reason="OpenCV 5 brings no detector")
def test_the_cascade_finds_real_faces(real_data):
    from PIL import Image

    detector = open_detector()
    files = sorted((real_data / "celeba64" / "img_align_celeba").glob("*.jpg"))[:60]
    found = measure_frame((np.asarray(Image.open(f)) for f in files), detector)
    assert found.n > 40
    np.testing.assert_allclose(found.eyes, (0.385, 0.51, 0.61, 0.51), atol=0.03)
