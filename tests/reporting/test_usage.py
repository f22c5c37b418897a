"""The lines of Python in the model card run as they stand, and give what the model gives."""

import ast
import dataclasses
import math
import re

import numpy as np
import pytest
from PIL import Image

from candid.config import with_values
from candid.data.decode import decode
from candid.reporting.card import card
from inference.tiny import always_framed, tiny_run

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SIDE = 16


def lines_of(text: str) -> list[str]:
    return [c for _, c in re.findall(r"^(`{3,})python\n(.*?)\n\1$", text, flags=re.M | re.S)]


CLASSES = ("a\"'b", "```", "\\n")


@pytest.fixture(scope="module")
def model(plain):
    """What is told of the model whose files `exported` makes."""
    return dataclasses.replace(
        plain.model,
        network="deep",
        options={"width": 8, "depth": 1},
        classes=CLASSES,
        side=SIDE,
        flip_tta=True,
    )


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """A folder with the model as files, and its own probabilities for a picture."""
    from candid.models.model import TorchEngine, Whole
    from candid.models.networks import build
    from candid.models.onnx_file import onnx_path, to_onnx
    from candid.models.weights import save_weights
    from candid.records import write_record
    from candid.runs import Run

    folder = tmp_path_factory.mktemp("exported")
    run = Run(folder)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build("deep", side=SIDE, n_classes=len(model.classes), **model.options)
    save_weights(run.weights, network.state_dict())
    write_record(run.model_file, model)
    whole = Whole(network, model).eval()
    onnx_path(run).write_bytes(to_onnx(whole, model, "test"))
    return folder, TorchEngine(whole)


@pytest.mark.parametrize(
    ("fit", "within"),
    [
        ("stretch", 1e-5),
        ("crop", 1e-5),
        ("pad", 1e-2),  # the mean colour of the picture before it was resized
    ],
)
def test_the_lines_of_the_card_run(plain, model, exported, fit, within, monkeypatch, capsys):
    folder, engine = exported
    config = with_values(plain.config, {"data": {"fit": fit}})
    lines = lines_of(card(dataclasses.replace(plain, model=model, config=config)))
    assert len(lines) == 2 and all(len(code.splitlines()) <= 12 for code in lines)
    photo = np.random.default_rng(0).integers(0, 256, (24, 12, 3), dtype=np.uint8)
    Image.fromarray(photo).save(folder / "face.png")
    (folder / "face.png").rename(folder / "face.jpg")  # Pillow looks at the bytes
    squared = decode((folder / "face.jpg").read_bytes(), side=SIDE, fit=fit, max_pixels=1000)
    (expected,) = engine(squared.pixels[None])
    monkeypatch.chdir(folder)
    for code in lines:
        exec(code, {"__name__": "__main__"})
        found = ast.literal_eval(capsys.readouterr().out)
        assert tuple(found) == CLASSES
        np.testing.assert_allclose(list(found.values()), expected, atol=within)
        assert math.isclose(sum(found.values()), 1, abs_tol=1e-5)


def test_the_lines_frame_a_picture_as_the_run_does(plain, tmp_path, monkeypatch, capsys):
    import candid
    from candid.pipeline.exporting import export_run
    from candid.records import ModelCard, read_record
    from candid.records.framing import FramingCard

    run = tiny_run(tmp_path / "run", network="deep", width=4, flip_tta=True)
    always_framed(run, (0.5, 0.05, 0.2, -0.1, 0.1))
    export_run(run, None)
    model, framing = read_record(run.model_file, ModelCard), read_record(run.framing, FramingCard)
    photo = np.kron(np.random.default_rng(0).integers(0, 256, (6, 5, 3)), np.ones((20, 20, 1)))
    Image.fromarray(photo.astype(np.uint8)).save(run.path / "face.png")
    (run.path / "face.png").rename(run.path / "face.jpg")
    (expected,) = candid.predict(run, [run.path / "face.jpg"], check=False)
    monkeypatch.chdir(run.path)
    for framed, within in ((framing, True), (None, False)):
        lines = lines_of(card(dataclasses.replace(plain, model=model, framing=framed)))
        assert len(lines) == 2 and all(len(code.splitlines()) <= 12 for code in lines)
        exec(lines[1], {"__name__": "__main__"})
        found = ast.literal_eval(capsys.readouterr().out)
        assert (found["yes"] == pytest.approx(expected["p_yes"], abs=0.01)) is within
    exec(lines_of(card(dataclasses.replace(plain, model=model, framing=framing)))[0], {})
    found = ast.literal_eval(capsys.readouterr().out)
    assert found["yes"] == pytest.approx(expected["p_yes"], abs=0.01)


def test_without_a_model_there_are_no_lines(plain):
    assert "```python" not in card(dataclasses.replace(plain, model=None))
