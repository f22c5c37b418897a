"""The lines of Python in the model card run as they stand, and give what the model gives."""

import dataclasses
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from candid.config import with_values
from candid.data.decode import decode
from candid.reporting.card import card

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SIDE = 16


def lines_of(text: str) -> list[str]:
    return [c for _, c in re.findall(r"^(`{3,})python\n(.*?)\n\1$", text, flags=re.M | re.S)]


def exported(folder, model):
    """The model as files, and its own probabilities for a picture."""
    from candid.models.model import TorchEngine, Whole
    from candid.models.networks import build
    from candid.models.onnx_file import onnx_path, to_onnx
    from candid.models.weights import save_weights
    from candid.records import write_record
    from candid.runs import Run

    run = Run(folder)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build("deep", side=SIDE, n_classes=len(model.classes), **model.options)
    save_weights(run.weights, network.state_dict())
    write_record(run.model_file, model)
    whole = Whole(network, model).eval()
    onnx_path(run).write_bytes(to_onnx(whole, model, "test"))
    return TorchEngine(whole)


@pytest.mark.parametrize(
    ("fit", "classes", "within"),
    [
        ("stretch", ("a\"'b", "```", "\\n"), 1e-5),
        ("crop", ("Female", "Male"), 1e-5),
        ("pad", ("Female", "Male"), 1e-2),  # the mean colour of the picture before it was resized
    ],
)
def test_the_lines_of_the_card_run(tmp_path, plain, fit, classes, within):
    model = dataclasses.replace(
        plain.model,
        network="deep",
        options={"width": 8, "depth": 1},
        classes=classes,
        side=SIDE,
        flip_tta=True,
    )
    config = with_values(plain.config, {"data": {"fit": fit}})
    lines = lines_of(card(dataclasses.replace(plain, model=model, config=config)))
    assert len(lines) == 2 and all(len(code.splitlines()) <= 12 for code in lines)
    engine = exported(tmp_path, model)
    photo = np.random.default_rng(0).integers(0, 256, (24, 12, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "face.png")
    (tmp_path / "face.png").rename(tmp_path / "face.jpg")  # Pillow looks at the bytes
    squared = decode((tmp_path / "face.jpg").read_bytes(), side=SIDE, fit=fit, max_pixels=1000)
    (expected,) = engine(squared.pixels[None])
    for code in lines:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        found = eval(done.stdout)
        assert tuple(found) == classes
        np.testing.assert_allclose(list(found.values()), expected, atol=within)
        assert math.isclose(sum(found.values()), 1, abs_tol=1e-5)


def test_without_a_model_there_are_no_lines(plain):
    assert "```python" not in card(dataclasses.replace(plain, model=None))
