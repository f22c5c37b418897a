"""The audit of anybody's model: asked picture by picture, and what it had no answer for."""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from PIL import Image

import candid
from candid.errors import ConfigError, PredictionsError, RunError
from candid.inference.other_models import open_other, row_of
from candid.stats.intervals import wilson_share
from commands import candid as command

CLASSES = ("dark", "light")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Forty pictures that are dark or light, five of these light ones nearly white; one damaged."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    for name, low in (("dark", 10), ("light", 150)):
        (folder / name).mkdir()
        for i in range(20):
            level = 250 if name == "light" and i < 5 else low
            pixels = rng.integers(level, level + 6, (12, 10, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    (folder / "dark" / "broken.png").write_bytes(b"no picture")
    return folder


def by_brightness(images):
    """Surely right, but for what is nearly white, of which it says nothing."""
    assert all(image.dtype == np.uint8 and image.shape == (12, 10, 3) for image in images)
    light = [float(image.mean()) for image in images]
    return [None if m > 240 else [0.1, 0.9] if m > 100 else [0.9, 0.1] for m in light]


def test_a_function_is_audited_and_its_silence_counted(faces, tmp_path):
    keep = tmp_path / "said.parquet"
    found = candid.audit(faces, model=by_brightness, keep=keep)
    assert found.splits[0].metrics["accuracy"].value == 1.0
    assert found.splits[0].metrics["accuracy"].n == 35
    e = wilson_share(5, 40)
    said = " ".join(found.notes)
    # Half the interval is 10 points: no figure behind the point.
    assert f"no answer for 5 of 40 images ({100 * e.value:.0f}%, {100 * e.low:.0f}%" in said
    assert (
        "Most often: " in said and "light 25% of 20" in said and "dark" not in said.split("Most")[1]
    )
    assert "1 of 41 pictures could not be read" in said
    kept = candid.read_predictions(keep)
    assert len(kept) == 35 and kept.provenance["data"] == faces.name


def test_an_array_with_nan_and_names_are_understood(faces):
    def as_array(images):
        rows = by_brightness(images)
        return np.array([[np.nan, np.nan] if row is None else row for row in rows])

    def by_name(images):
        return [
            None if row is None else {"LIGHT": row[1], "dark": row[0]}
            for row in by_brightness(images)
        ]

    found = [candid.audit(faces, model=model) for model in (by_brightness, as_array, by_name)]
    assert found[0].splits == found[1].splits == found[2].splits
    assert found[0].notes == found[1].notes == found[2].notes


def test_the_command_line_names_the_function(faces, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_model_of_a_test.py").write_text(
        "def p(images):\n    return [float(i.mean() > 100) for i in images]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    said = command(capsys, "audit", faces, "--model", "my_model_of_a_test:p", "--json")
    assert json.loads(said.out)["splits"][0]["metrics"]["accuracy"]["value"] == 1.0
    sys.modules.pop("my_model_of_a_test")
    command(capsys, "audit", faces, "--model", "my_model_of_a_test:gone", code=2)
    sys.modules.pop("my_model_of_a_test")
    command(capsys, "audit", faces, "--model", "neither", code=2)
    command(capsys, "audit", faces, "--model", "a:b", "--label", "x", code=2)
    command(capsys, "audit", faces, "--keep", "x.parquet", code=2)


class Handler(BaseHTTPRequestHandler):
    """Answers in the form of `candid serve`."""

    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["images"]
        images = [np.asarray(Image.open(io.BytesIO(base64.b64decode(i)))) for i in sent]
        named = [
            None if row is None else dict(zip(CLASSES, row, strict=True))
            for row in by_brightness(images)
        ]
        plain = {"results": [{"probabilities": row} for row in named]}
        self.send_response(200 if self.path == "/predict" else 404)
        self.end_headers()
        self.wfile.write(json.dumps(plain).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_server_is_asked(faces, server, tmp_path):
    whole = tmp_path / "faces"
    for name in CLASSES:
        (whole / name).mkdir(parents=True)
        for file in (faces / name).glob("[0-9]*.png"):
            (whole / name / file.name).write_bytes(file.read_bytes())
    found = candid.audit(whole, model=f"{server}/predict")
    expected = candid.audit(whole, model=by_brightness)
    assert found.splits == expected.splits and found.notes == expected.notes
    with pytest.raises(RunError, match="did not answer"):
        candid.audit(whole, model=f"{server}/gone")


def test_a_file_of_onnx_is_asked(faces, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto as Kind
    from onnx import helper as h

    nodes = [
        h.make_node("Cast", ["pixels"], ["f"], to=Kind.FLOAT),
        h.make_node("ReduceMean", ["f", "axes"], ["m"], keepdims=0),
        h.make_node("Div", ["m", "most"], ["p"]),
        h.make_node("Sub", ["one", "p"], ["q"]),
        h.make_node("Unsqueeze", ["p", "last"], ["p1"]),
        h.make_node("Unsqueeze", ["q", "last"], ["q1"]),
        h.make_node("Concat", ["q1", "p1"], ["probabilities"], axis=1),
    ]
    constants = [
        h.make_tensor("axes", Kind.INT64, [3], [1, 2, 3]),
        h.make_tensor("last", Kind.INT64, [1], [1]),
        h.make_tensor("most", Kind.FLOAT, [], [255.0]),
        h.make_tensor("one", Kind.FLOAT, [], [1.0]),
    ]
    graph = h.make_graph(
        nodes,
        "brightness",
        [h.make_tensor_value_info("pixels", Kind.UINT8, ["n", 8, 8, 3])],
        [h.make_tensor_value_info("probabilities", Kind.FLOAT, ["n", 2])],
        constants,
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    entry = model.metadata_props.add()
    entry.key, entry.value = "candid.model", json.dumps({"classes": CLASSES, "side": 8})
    onnx.save(model, str(tmp_path / "model.onnx"))
    found = candid.audit(faces, model=str(tmp_path / "model.onnx"))
    assert found.splits[0].metrics["accuracy"].value == 1.0
    assert found.splits[0].metrics["accuracy"].n == 40
    with pytest.raises(RunError, match="no"):
        open_other("gone.onnx", max_pixels=100)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (None, None),
        ([np.nan, np.nan], None),
        (0.25, [0.75, 0.25]),
        ([0.3, 0.69], [0.3 / 0.99, 0.69 / 0.99]),
        ({"b": 0.9, "A": 0.1}, [0.1, 0.9]),
    ],
)
def test_what_a_row_means(row, expected):
    found = row_of(row, ("a", "b"))
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("row", [[0.1, 0.2, 0.7], [0.7, 0.7], [-0.5, 1.5], "a", {"a": 1.0}])
def test_what_is_no_row_is_refused(row):
    with pytest.raises(PredictionsError):
        row_of(row, ("a", "b"))


def test_what_answers_badly_is_refused(faces):
    with pytest.raises(PredictionsError, match="gave 1 row for"):
        candid.audit(faces, model=lambda images: [[0.5, 0.5]])
    with pytest.raises(PredictionsError, match=r"KeyError: 'face' \(.*, line \d+\)") as failed:
        candid.audit(faces, model=lambda images: {}["face"])
    assert isinstance(failed.value.__cause__, KeyError)
    with pytest.raises(PredictionsError, match="no answer for any"):
        candid.audit(faces, model=lambda images: [None] * len(images))
    with pytest.raises(ConfigError, match="names no model"):
        open_other("neither", max_pixels=100)


def test_a_model_of_a_number_is_asked_for_numbers(tmp_path):
    """Each picture's label is its brightness; the model says three more, of one nothing."""
    folder = tmp_path / "ages"
    folder.mkdir()
    rows = ["path,age"]
    for i in range(40):
        pixels = np.full((12, 10, 3), 20 + 5 * i, np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{20 + 5 * i}.5")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")

    def brightness(images):
        return [None if m == 20 else m + 3 for m in (float(image.mean()) for image in images)]

    config = candid.load_config(overrides=["data.target=age"])
    found = candid.audit(folder, config, model=brightness)
    mae = found.splits[0].metrics["mae"]
    assert (found.target, found.classes, mae.n) == ("age", (), 39)
    assert mae.value == pytest.approx(2.5, abs=1e-4)
    assert any("no answer for 1 of 40 images" in note for note in found.notes)
    with pytest.raises(PredictionsError, match=r"The model gave \[0.1, 0.9\] for a picture"):
        candid.audit(folder, config, model=lambda images: [[0.1, 0.9] for _ in images])
    with pytest.raises(ConfigError, match="gives no numbers"):
        candid.audit(folder, config, model="http://127.0.0.1:1/v1/predict")
    with pytest.raises(ConfigError, match="kept in no file"):
        candid.audit(folder, config, model=brightness, keep=tmp_path / "p.parquet")
