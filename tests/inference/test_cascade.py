"""The second look goes to the pictures in doubt alone, and averages as two looks at all would."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from candid.inference.exporting import export_int8
from candid.inference.second_look import add_mirror
from candid.models.model import load_whole_model
from candid.models.onnx_file import OnnxEngine, int8_path, to_onnx
from candid.records import ModelCard, read_record
from inference.tiny import pixels, tiny_run

N = 40


@pytest.fixture(scope="module", params=["", "0.2 0.3 0.8 0.9"], ids=["all", "window"])
def both(tmp_path_factory, request):
    """A model that looks once as ONNX, and what torch says of pictures and of their mirror images.

    The logits, divided by the temperature, of pictures and of their mirror images: (2, n, 3).
    """
    folder = tmp_path_factory.mktemp("second")
    how = {"width": 8} | ({"window": request.param} if request.param else {})
    run = tiny_run(folder / "run", network="deep", classes=("a", "b", "c"), flip_tta=True, **how)
    card = read_record(run.model_file, ModelCard)
    whole = load_whole_model(run.weights, card)
    whole.flip_tta = False
    given = pixels(N)
    with torch.no_grad():
        looks = [
            whole(torch.from_numpy(np.ascontiguousarray(p))).double().log().numpy()
            for p in (given, given[:, :, ::-1])
        ]
    return to_onnx(whole, card, "test"), given, np.stack(looks)


def twice(data: bytes, sure: float) -> OnnxEngine:
    model = onnx.load_from_string(data)
    add_mirror(model, pixels="pixels", probabilities="probabilities", sure=sure)
    onnx.checker.check_model(model, full_check=True)
    return OnnxEngine(model.SerializeToString(), threads=1)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size", [1, 7, N])
def test_pictures_in_doubt_have_the_mean_of_two_looks_and_no_others(both, share, size):
    data, given, looks = both
    first = np.exp(looks[0])
    highest = np.sort(first.max(1))
    # Between two pictures' probabilities, so that rounding decides nothing.
    edge = round(share * N)
    sure = (np.r_[0.0, highest, 2.0][edge] + np.r_[0.0, highest, 2.0][edge + 1]) / 2
    doubt = first.max(1) < sure
    assert np.count_nonzero(doubt) == edge
    assert np.abs(looks[0] - looks[1]).max() > 0.01  # it matters which way a picture is seen
    mean = np.exp((looks[0] + looks[1]) / 2)
    expected = np.where(doubt[:, None], mean / mean.sum(1, keepdims=True), first)
    engine = twice(data, sure)
    for start in range(0, N, size):
        some = slice(start, start + size)
        np.testing.assert_allclose(engine(given[some]), expected[some], atol=2e-6)


def test_the_weights_are_held_once(both):
    data, _, _ = both
    model = onnx.load_from_string(data)
    before = model.ByteSize()
    add_mirror(model, pixels="pixels", probabilities="probabilities")
    weights = sum(len(i.raw_data) for i in model.graph.initializer)
    assert model.ByteSize() < before + 0.5 * weights


def test_a_model_without_a_softmax_is_refused(both):
    model = onnx.load_from_string(both[0])
    with pytest.raises(ValueError, match="softmax"):
        add_mirror(model, pixels="pixels", probabilities="other")


def test_int8_of_a_mirrored_model_is_close_to_it(tmp_path):
    options = {"network": "deep", "width": 8}
    run = tiny_run(tmp_path / "run", flip_tta=True, temperature=0.3, **options)
    card = read_record(run.model_file, ModelCard)
    given = pixels(64)
    export_int8(run, card, int8_path(run), given)
    found = OnnxEngine(int8_path(run), threads=1)(given)
    with torch.no_grad():
        averaged = load_whole_model(run.weights, card)(torch.from_numpy(given)).numpy()
        once = load_whole_model(run.weights, replace(card, flip_tta=False))(torch.from_numpy(given))
    off = np.abs(found - averaged).max(1)
    in_doubt = once.numpy().max(1) < 0.97
    assert in_doubt.any()
    assert np.median(off[in_doubt]) < np.median(np.abs(found - once.numpy()).max(1)[in_doubt])


def test_int8_crops_to_a_window_in_float(tmp_path):
    run = tiny_run(tmp_path / "run", network="deep", width=8, window="0.2 0.3 0.8 0.9")
    card, given = read_record(run.model_file, ModelCard), pixels(64)
    export_int8(run, card, int8_path(run), given)
    nodes = onnx.load(int8_path(run)).graph.node
    kinds = [node.op_type for node in nodes]
    assert kinds.index("MatMul") < kinds.index("QuantizeLinear") < kinds.index("Conv")
    found = OnnxEngine(int8_path(run), threads=1)(given)
    with torch.no_grad():
        exact = load_whole_model(run.weights, card)(torch.from_numpy(given)).numpy()
    assert np.abs(found - exact).max() < 0.05
