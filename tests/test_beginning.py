"""A training that begins with the weights of another run: what is taken, noted and said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import candid
from candid.errors import ConfigError, RunError
from candid.pipeline.beginning import initial_weights, take_initial
from candid.records import Provenance, read_record
from candid.text.model import beginning
from inference.tiny import SIDE, pixels, tiny_run


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
        take_initial(build("plain", side=SIDE, n_classes=2), config, faces, noted)


def test_what_cannot_be_begun_from_is_refused(tmp_path, faces):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no trained network"):
        initial_weights(config_from(tmp_path / "empty"), faces)
    deep = tiny_run(tmp_path / "deep", network="deep", width=4)
    with pytest.raises(ConfigError, match="another network"):
        initial_weights(config_from(deep.path), faces)


def test_what_is_said(tmp_path, faces):
    class Inputs:
        config = config_from(tiny_run(tmp_path / "source").path, freeze=3, depth_decay=0.8)
        provenance = Provenance("0", "", "", {}, 0, None, {}, {}, "", "none")

    Inputs.provenance = replace(Inputs.provenance, initial=initial_weights(Inputs.config, faces)[1])
    said = beginning(Inputs)
    assert "weights of source, which had learned Hat" in said
    assert "The first 3 layers were not trained." in said
    assert "0.8 times that of the next" in said
