"""A training that begins with the weights of another run: what is taken, noted and said."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import candid
from candid.errors import ConfigError, RunError
from candid.pipeline.beginning import initial_weights, load_initial
from candid.records import Provenance, read_record
from candid.text.model import starting_weights
from inference.tiny import SIDE, encoded, pixels, tiny_run


def config_from(place, **train):
    found = candid.load_config(
        overrides=(
            "network.name=plain",
            f"data.side={SIDE}",
            "train.steps=2",
            "train.batch_size=16",
            "train.evaluations=1",
            "framing.steps=0",
            "data.workers=1",
        )
    )
    return replace(found, train=replace(found.train, initial=str(place), **train))


@pytest.fixture
def faces():
    label = np.resize(["no", "yes"], 48)
    split = np.repeat(["train", "validation"], 24)
    return candid.load_images(pixels(48), label, target="Hat", split=split)


def test_training_begins_there_and_says_so(tmp_path, faces):
    source = tiny_run(tmp_path / "source")
    config = config_from(source.path, freeze=-1)
    run = candid.train(faces, config, out=tmp_path / "run", cache=tmp_path / "c", predictions=False)
    before, after = load_file(source.weights), load_file(run.weights)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc2.weight", "fc2.bias"}
    noted = read_record(run.provenance, Provenance).initial
    assert noted.place == str(source.path) and noted.target == "Hat"
    assert noted.anew == () and noted.tensors == len(before)


def test_other_classes_begin_anew(tmp_path, faces):
    same = tiny_run(tmp_path / "same")
    assert initial_weights(config_from(same.path), faces)[1].anew == ()
    more = tiny_run(tmp_path / "more", classes=("a", "b", "c"))
    head = ("fc2.weight", "fc2.bias")
    assert initial_weights(config_from(more.path), faces)[1].anew == head
    as_many = tiny_run(tmp_path / "as-many", classes=("old", "young"))
    assert initial_weights(config_from(as_many.path), faces)[1].anew == head
    # of a file nobody knows what the outputs mean
    found = initial_weights(config_from(as_many.weights), faces)[1]
    assert found.anew == () and found.target == ""


def test_weights_that_changed_since_are_refused(tmp_path, faces):
    from candid.models.networks import build

    source = tiny_run(tmp_path / "source")
    config = config_from(source.path)
    noted = initial_weights(config, faces)[1]
    source.weights.write_bytes(tiny_run(tmp_path / "other", seed=1).weights.read_bytes())
    with pytest.raises(RunError, match="not those that this run was to begin with"):
        load_initial(build("plain", side=SIDE, n_classes=2), config, faces, noted)


def test_what_cannot_be_begun_from_is_refused(tmp_path, faces):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no trained network"):
        initial_weights(config_from(tmp_path / "empty"), faces)
    deep = tiny_run(tmp_path / "deep", network="deep", width=4)
    with pytest.raises(ConfigError, match="another network"):
        initial_weights(config_from(deep.path), faces)
    # Asked before there is a run: the settings name more layers than the network has.
    source = tiny_run(tmp_path / "source")
    with pytest.raises(ConfigError, match="leaves none of"):
        initial_weights(config_from(source.path, freeze=40), faces)


def test_what_is_said(tmp_path, faces):
    class Inputs:
        config = config_from(tiny_run(tmp_path / "source").path, freeze=3, depth_decay=0.8)
        provenance = Provenance("0", "", "", {}, 0, None, {}, {}, "", "none")

    Inputs.provenance = replace(Inputs.provenance, initial=initial_weights(Inputs.config, faces)[1])
    said = starting_weights(Inputs)
    assert "weights of source, which had learned Hat" in said
    assert "The first 3 layers were not trained." in said
    assert "0.8 times that of the next" in said


# --- the weights of timm --------------------------------------------------------------------------

TIMM = ("--set", "network.name=timm", "--set", "network.model=test_resnet")


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Weights of timm's smallest network, drawn anew, as if the Hub had been asked before."""
    timm = pytest.importorskip("timm")
    repo = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    weights = repo / "snapshots" / ("0" * 40) / "model.safetensors"
    weights.parent.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return weights


def train_in_a_process(tmp_path, *words):
    """In a process of its own: where the Hub's files lie is read when its library is imported."""
    for i, picture in enumerate(pixels(48)):
        place = tmp_path / "faces" / ("no", "yes")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(encoded(picture))
    rest = ("data.side=32", "train.steps=2", "train.batch_size=16", "framing.steps=0",
            "data.workers=1", "train.freeze=-1")  # fmt: skip
    settings = [word for one in rest for word in ("--set", one)]
    command = [sys.executable, "-m", "candid", "train", tmp_path / "faces", *settings, *words,
               "--out", tmp_path / "run", "--cache", tmp_path / "c", "--quiet"]  # fmt: skip
    return subprocess.run([*map(str, command)], capture_output=True, text=True)


def test_a_network_of_timm_begins_with_the_weights_that_timm_has(fetched, tmp_path):
    done = train_in_a_process(tmp_path, *TIMM, "--set", "network.pretrained=true")
    assert done.returncode == 0, done.stderr
    run = candid.open_run(tmp_path / "run")
    theirs, ours = load_file(fetched), load_file(run.weights)
    head = {"fc.weight", "fc.bias"}
    assert {name for name in theirs if not torch.equal(theirs[name], ours[name])} == head
    noted = read_record(run.provenance, Provenance).initial
    assert noted.place == "test_resnet.r160_in1k of timm"
    assert {*noted.anew} == head and noted.tensors == len(theirs) - 2
    fetched.unlink()  # what learned needs them no more
    assert run.predict(pixels(2)).probability.shape == (2, 2)


def test_weights_that_timm_cannot_have_are_told_of(fetched, tmp_path):
    fetched.unlink()
    done = train_in_a_process(tmp_path, *TIMM, "--set", "network.pretrained=true")
    assert done.returncode == 2 and "cannot be had" in done.stderr
    assert "network.pretrained" in done.stderr and not (tmp_path / "run").exists()


def test_training_begins_with_one_of_two():
    words = ["network.name=timm", "network.model=resnet18", "network.pretrained=true"]
    assert candid.load_config(overrides=words).begins_with == "network.pretrained"
    with pytest.raises(ConfigError, match="of both train"):
        candid.load_config(overrides=[*words, "train.initial=run"])
