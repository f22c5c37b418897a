"""The model as one function, held to the network itself."""

import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from candid.errors import DataError, RunError
from candid.inference.abstaining import Rule
from candid.inference.classifier import open_classifier
from candid.models.forward import Images, logits
from candid.models.model import load_network
from candid.models.onnx_file import onnx_path
from candid.records import ModelCard, read_record
from candid.runs import Run
from candid.storage.files import FORMAT
from inference.tiny import SIDE, pixels, tiny_run

ENGINES = ("onnx", "torch")


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A run whose model was exported, to be copied: an export takes its time."""
    run = tiny_run(tmp_path_factory.mktemp("exported") / "run")
    open_classifier(run, engine="onnx")
    return run


@pytest.fixture
def exported(once, tmp_path):
    shutil.copytree(once.path, tmp_path / "copy")
    return Run(tmp_path / "copy")


def truth(run, pictures):
    """What the stage that judges a model computes: logits, then the temperature, in float64."""
    card = read_record(run.model_file, ModelCard)
    device = torch.device("cpu")
    raw = logits(
        load_network(run.weights, card, device),
        Images(pictures, card.mean, card.std),
        np.arange(len(pictures)),
        device=device,
        bfloat16=False,
        flip_tta=card.flip_tta,
    ).astype(np.float64)
    e = np.exp(raw / card.temperature - (raw / card.temperature).max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("flip_tta", [False, True])
def test_gives_what_evaluation_gives(exported, tmp_path, engine, flip_tta):
    run = tiny_run(tmp_path / "run", flip_tta=True) if flip_tta else exported
    pictures = pixels(70)  # more than two batches
    expected = truth(run, pictures)
    assert expected.std() > 0.05  # pictures are told apart
    found = open_classifier(run, engine=engine)
    assert found.engine == engine
    probability = found.probabilities(pictures)
    assert probability.dtype == np.float64
    np.testing.assert_allclose(probability, expected, atol=2e-6)
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-12)
    if flip_tta:
        np.testing.assert_allclose(
            probability, found.probabilities(pictures[:, :, ::-1]), atol=2e-6
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_get_their_own_answers(exported, engine):
    found = open_classifier(exported, engine=engine, threads=1)
    parts = [pixels(33, seed=seed) for seed in range(12)]
    alone = [found.probabilities(part) for part in parts]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(found.probabilities, parts))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_export_follows_the_weights(exported, tmp_path):
    run = exported
    before = open_classifier(run, engine="onnx").probabilities(pixels(4))
    first = onnx_path(run).stat()
    open_classifier(run, engine="onnx")
    assert onnx_path(run).stat().st_mtime_ns == first.st_mtime_ns  # made once
    other = tiny_run(tmp_path / "other", seed=1)
    run.weights.write_bytes(other.weights.read_bytes())
    after = open_classifier(run, engine="onnx").probabilities(pixels(4))
    np.testing.assert_allclose(after, truth(run, pixels(4)), atol=2e-6)
    assert np.abs(after - before).max() > 1e-3


def test_the_export_follows_the_temperature(exported):
    run = exported
    plain = json.loads(run.model_file.read_text())
    run.model_file.write_text(json.dumps(plain | {"temperature": 3.0}))
    found = open_classifier(run, engine="onnx").probabilities(pixels(4))
    np.testing.assert_allclose(found, truth(run, pixels(4)), atol=2e-6)


def test_an_export_alone_is_enough_to_answer(exported):
    run = exported
    expected = open_classifier(run, engine="onnx").probabilities(pixels(4))
    run.weights.unlink()
    np.testing.assert_array_equal(
        open_classifier(run, engine="onnx").probabilities(pixels(4)), expected
    )


def test_a_damaged_export_is_made_again(exported):
    run = exported
    expected = open_classifier(run, engine="onnx").probabilities(pixels(4))
    onnx_path(run).write_bytes(onnx_path(run).read_bytes()[:1000])
    np.testing.assert_array_equal(
        open_classifier(run, engine="onnx").probabilities(pixels(4)), expected
    )
    onnx_path(run).write_bytes(b"no model")
    run.weights.unlink()
    with pytest.raises(RunError, match="cannot be run"):
        open_classifier(run, engine="onnx")


def test_a_run_that_cannot_be_written_to_still_answers(tmp_path, monkeypatch):
    from candid.errors import OutputError
    from candid.models import onnx_file

    def refuse(path, data):
        raise OutputError("read-only")

    monkeypatch.setattr(onnx_file, "write_onnx", refuse)
    run = tiny_run(tmp_path / "run")
    found = open_classifier(run, engine="onnx").probabilities(pixels(4))
    np.testing.assert_allclose(found, truth(run, pixels(4)), atol=2e-6)
    assert not onnx_path(run).exists()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, SIDE, SIDE + 1, 3), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.zeros((1, 3, SIDE, SIDE), np.uint8),
        np.zeros((1, SIDE, SIDE, 3), np.float32),
    ],
)
def test_other_arrays_are_refused(tmp_path, wrong):
    with pytest.raises(DataError, match="shape"):
        open_classifier(tiny_run(tmp_path / "run"), engine="torch").probabilities(wrong)


def test_no_picture_no_answer(tmp_path):
    found = open_classifier(tiny_run(tmp_path / "run"), engine="torch")
    assert found.probabilities(np.zeros((0, SIDE, SIDE, 3), np.uint8)).shape == (0, 2)


def test_int8_must_have_been_exported(tmp_path):
    with pytest.raises(RunError, match="model-int8"):
        open_classifier(tiny_run(tmp_path / "run"), engine="int8")


def test_no_run_no_classifier(tmp_path):
    with pytest.raises(RunError):
        open_classifier(tiny_run(tmp_path / "run").__class__(tmp_path))


# --- when it abstains ----------------------------------------------------------------------------


def test_a_rule_abstains_below_its_threshold():
    rule = Rule(0.8, "")
    probability = np.array([[0.8, 0.2], [0.79, 0.21], [0.1, 0.9], [0.5, 0.5]])
    assert rule.abstains(probability).tolist() == [False, True, False, True]


def test_the_users_threshold(tmp_path):
    run = tiny_run(tmp_path / "run")
    assert open_classifier(run, engine="torch").rule is None  # nobody audited it
    assert open_classifier(run, engine="torch", abstain_below=0).rule is None
    assert open_classifier(run, engine="torch", abstain_below=0.9).rule.threshold == 0.9
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(DataError, match="threshold"):
            open_classifier(run, engine="torch", abstain_below=wrong)


def audit(rule):
    plain = {"threshold": 0.83, "target_error": 0.01, "confidence": 0.95, "guarantee": "promised",
             "n": 300, "mistakes": 1, "by_person": True}  # fmt: skip
    target = {"target_error": 0.01, "rule": plain if rule else None, "sentence": "", "groups": []}
    return {
        "format": FORMAT,
        "abstention": {"target": "Hat", "classes": ["no", "yes"], "calibrated_on": "validation",
                       "verified_on": "test", "calibration_n": 1, "calibration_people": None,
                       "n": 1, "people": None, "targets": [target], "conformal": [], "curves": []}
    }  # fmt: skip


def test_the_audits_rule_is_the_default(tmp_path):
    run = tiny_run(tmp_path / "run")
    path = run.path / "audit.json"
    path.write_text(json.dumps(audit(rule=True)))
    said = "promised This is promised for pictures like the validation pictures."
    assert open_classifier(run, engine="torch").rule == Rule(0.83, said, 0.01, 0.95)
    assert open_classifier(run, engine="torch", abstain_below=0).rule is None
    path.write_text(json.dumps(audit(rule=False)))
    assert open_classifier(run, engine="torch").rule is None
    path.write_text(json.dumps({"format": FORMAT, "findings": []}))
    assert open_classifier(run, engine="torch").rule is None
    path.write_text(json.dumps(audit(rule=True) | {"format": 1}))
    with pytest.raises(RunError, match=r"audit\.json has the format 1"):
        open_classifier(run, engine="torch")
    path.write_text("{")
    with pytest.raises(RunError, match="audit"):
        open_classifier(run, engine="torch")
