"""The lines of Python in the model card run as they stand, and give what the model gives."""

import dataclasses
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from candid.report.card import card

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SIDE = 16


def lines_of(text: str) -> str:
    ((_, code),) = re.findall(r"^(`{3,})python\n(.*?)\n\1$", text, flags=re.M | re.S)
    return code


def exported(folder, model):
    """The model as `model.onnx`, and its own probabilities for a picture."""
    from candid.deploy.network import TorchEngine, Whole
    from candid.deploy.onnx_file import onnx_path, to_onnx
    from candid.learn.networks import build
    from candid.runs import RunFolder

    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build("deep", side=SIDE, classes=len(model.classes), width=8)
    whole = Whole(network, model).eval()
    onnx_path(RunFolder(folder)).write_bytes(to_onnx(whole, model, "test"))
    return TorchEngine(whole)


@pytest.mark.parametrize("classes", [("Female", "Male"), ("a\"'b", "```", "\\n")])
def test_the_lines_of_the_card_run(tmp_path, plain, classes):
    model = dataclasses.replace(plain.model, classes=classes, side=SIDE, mirrored=True)
    code = lines_of(card(dataclasses.replace(plain, model=model)))
    assert len([line for line in code.splitlines() if line]) <= 10
    engine = exported(tmp_path, model)
    photo = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "face.png")
    (tmp_path / "face.png").rename(tmp_path / "face.jpg")  # Pillow looks at the bytes
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    squared = Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    (expected,) = engine(np.asarray(squared)[None])
    found = eval(done.stdout)
    assert tuple(found) == classes
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-5)
    assert math.isclose(sum(found.values()), 1, abs_tol=1e-5)


def test_without_a_model_there_are_no_lines(plain):
    assert "```python" not in card(dataclasses.replace(plain, model=None))
