"""Run folders that a stranger wrote: refused with a reason, at once, and followed nowhere."""

import json
import math
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import candid as package
from candid.errors import RunError
from candid.pipeline.opening import reload
from candid.records import Provenance, read_record
from candid.runs import Run, open_run
from candid.storage import filesystem
from commands import candid
from inference.tiny import encoded, pixels, tiny_run

NETWORKS = {
    "plain": {},
    "deep": {"width": 8, "depth": 1},
    "vit": {"width": 32, "depth": 1},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {n: tiny_run(folder / n, network=n, **options) for n, options in NETWORKS.items()}


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "face.png").write_bytes(encoded(pixels(1)[0]))
    return tmp_path / "face.png"


def copy(run, path):
    return Run(Path(shutil.copytree(run.path, path)))


def refused(capsys, run, picture, *words):
    """By predict, by the server before it listens, and from Python; within seconds."""
    began = time.process_time()
    for command in (("predict", run.path, picture, "--engine", "torch"), ("serve", run.path)):
        more = ("--set", "serve.engine=torch", "--port", 0) if command[0] == "serve" else ()
        said = candid(capsys, *command, *more, code=2)
        assert not said.out
        for word in (*words, "expected:", "to do:"):
            assert word in said.err, said.err
    with pytest.raises(RunError):
        package.load_model(run)
    assert time.process_time() - began < 10


NAN, HUGE = math.nan, 10**9
RECORDS = [
    ({"temperature": NAN}, "temperature is nan"),
    ({"temperature": None}, "temperature is nan"),
    ({"temperature": 0}, "temperature is 0"),
    ({"temperature": -1.0}, "temperature is -1"),
    ({"temperature": 1e300}, "temperature is 1e+300"),
    ({"temperature": math.inf}, "temperature is inf"),
    ({"mean": [NAN, 0.4, 0.3]}, "means of the pixels"),
    ({"mean": [128, 120, 110]}, "means of the pixels"),
    ({"std": [0, 0.2, 0.2]}, "standard deviations"),
    ({"std": [NAN, 0.2, 0.2]}, "standard deviations"),
    ({"std": [1e-300, 0.2, 0.2]}, "standard deviations"),
    ({"classes": []}, "classes are none"),
    ({"classes": ["yes", "yes"]}, "classes are 'yes', 'yes'"),
    ({"side": HUGE}, f"side is {HUGE}"),
    ({"side": 0}, "side is 0"),
    ({"side": "wide"}, "damaged"),
    ({"side": 1e400}, "damaged"),
    ({"mean": [0.5]}, "damaged"),
]


@pytest.mark.parametrize(("change", "says"), RECORDS)
def test_figures_that_cannot_be_are_refused_where_the_record_is_read(
    whole, tmp_path, picture, capsys, change, says
):
    run = copy(whole["plain"], tmp_path / "run")
    run.model_file.write_text(json.dumps(json.loads(run.model_file.read_text()) | change))
    refused(capsys, run, picture, "model.json", says)


DESCRIBED = [
    ("deep", {"options": {"wdith": 8}}, "network.wdith"),
    ("deep", {"options": {"width": "8"}}, "network.width = '8'"),
    ("deep", {"options": {"width": [8]}}, "network.width = [8]"),
    ("deep", {"options": {"width": 100_000}}, "network.width = 100000 is not possible"),
    ("deep", {"options": {"width": 10**30}}, "model.safetensors"),
    ("deep", {"options": {"width": 1000}}, "tensors differ"),
    ("deep", {"options": {"width": 8, "depth": HUGE}}, "is not possible"),
    ("deep", {"options": {"width": 8, "depth": 32, "ensemble_size": 16}}, "blocks"),
    ("deep", {"options": {"width": 8, "depth": 2, "ensemble_size": 60}}, "is not possible"),
    ("deep", {"options": {"width": 8, "depth": 1, "drop_path": 0.1}}, "drop"),
    ("deep", {"network": "vit"}, "model.safetensors"),
    ("deep", {"network": "nothing"}, "network.name = 'nothing'"),
    ("deep", {"classes": ["a", "b", "c"]}, "tensors differ"),
    ("vit", {"options": {"width": 33, "depth": 1}}, "33 channels per token"),
    ("vit", {"side": 1000}, "tensors differ"),
    ("plain", {"side": 1000}, "tensors differ"),
    ("plain", {"side": 3}, "model.safetensors"),
    ("plain", {"network": "features", "options": {"components": 6000}}, "eigenfaces"),
    ("plain", {"network": "features", "options": {"components": HUGE}}, "is not possible"),
]


@pytest.mark.parametrize(("network", "change", "says"), DESCRIBED)
def test_a_record_of_another_network_than_the_weights_is_refused(
    whole, tmp_path, picture, capsys, monkeypatch, network, change, says
):
    """And before anything of the size that it asks for is allocated."""
    run = copy(whole[network], tmp_path / "run")
    run.model_file.write_text(json.dumps(json.loads(run.model_file.read_text()) | change))

    def allocate(*_, **__):
        raise AssertionError("the weights were read")

    monkeypatch.setattr("candid.models.model.load_file", allocate)
    refused(capsys, run, picture, says)


@pytest.mark.parametrize("value", [NAN, math.inf, 1e38])
def test_weights_that_give_no_probabilities_are_refused(whole, tmp_path, picture, capsys, value):
    run = copy(whole["deep"], tmp_path / "run")
    weights = load_file(run.weights)
    for tensor in weights.values():
        if tensor.dim() > 1:
            tensor[0] = value
    save_file(weights, run.weights)
    if math.isfinite(value):  # each weight is a number; the answer is none
        for command in (("predict", run.path, picture), ("serve", run.path, "--port", 0)):
            more = ("--engine", "torch") if command[0] == "predict" else ()
            assert "no probabilities" in candid(capsys, *command, *more, code=2).err
    else:
        refused(capsys, run, picture, "NaN or infinity")


def test_seconds_that_are_no_number_are_refused(whole, tmp_path, capsys):
    run = copy(whole["plain"], tmp_path / "run")
    plain = json.loads(run.provenance.read_text())
    for seconds in (NAN, None, math.inf, -1.0):
        run.provenance.write_text(json.dumps(plain | {"seconds": {"train": seconds}}))
        with pytest.raises(RunError, match="the seconds of 'train' are"):
            read_record(run.provenance, Provenance)
        candid(capsys, "report", run.path, code=2)


@pytest.mark.parametrize("place", ["ftp://evil.test/data", "s3:/bucket/data", "memory://data"])
def test_a_url_in_a_run_is_followed_only_where_the_user_names_it(
    tmp_path, capsys, monkeypatch, place
):
    run = tiny_run(tmp_path / "run", data=place)
    asked = []
    monkeypatch.setattr(filesystem, "_open_store", lambda word: asked.append(word) or 1 / 0)
    verbs = (("explain",), ("evaluate",), ("audit",), ("train", "--resume"), ("run", "--resume"))
    for verb in verbs:
        said = candid(capsys, *verb, run.path, code=2).err
        assert "is not followed unasked" in said
        assert f"--data {filesystem.name_of(Path(place))}" in said
    said = candid(capsys, "export", run.path, "--int8", code=2).err
    assert "is not followed unasked" in said and not asked
    folder = open_run(run.path)
    with pytest.raises(ZeroDivisionError):
        reload(folder, Path(place))
    assert asked == [filesystem.name_of(Path(place))]


def test_data_that_moved_are_found_where_the_user_says(whole, tmp_path, capsys):
    run = whole["plain"]
    assert "--data" in candid(capsys, "explain", run.path, code=2).err
    said = candid(capsys, "explain", run.path, "--data", tmp_path / "nowhere", code=2).err
    assert f"there is no {tmp_path / 'nowhere'}" in said


def test_a_model_needs_only_its_two_files(whole, tmp_path):
    run = whole["deep"]
    for file in (run.model_file, run.weights):
        shutil.copy(file, tmp_path)
    model = package.load_model(tmp_path)
    with torch.inference_mode():
        found = model(torch.from_numpy(pixels(3)))
    assert found.shape == (3, 2) and torch.isfinite(found).all()
