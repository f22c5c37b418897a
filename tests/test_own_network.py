"""A network of one's own by name: from the command line, and out of a run only where trusted."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import candid
from candid.config import read_config, to_toml
from candid.errors import ConfigError
from candid.models.networks import build
from candid.models.weights import save_weights
from candid.settings import OwnConfig
from candid.settings.named_parts import distrust, import_trusted_part, is_named_part
from commands import candid as command
from inference.tiny import SIDE, pixels, tiny_run

NAME = "own_part_of_a_test:small"
SOURCE = """
from torch import nn
ran = True

def small(side, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, n_classes))

def nothing(side, n_classes):
    return 7
"""


@pytest.fixture(autouse=True)
def own_part(tmp_path, monkeypatch):
    """A module in the working folder; nothing of it stays."""
    (tmp_path / "own_part_of_a_test.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    yield
    sys.modules.pop("own_part_of_a_test", None)
    distrust(NAME)


def imported() -> bool:
    return "own_part_of_a_test" in sys.modules


@pytest.fixture
def stranger(tmp_path):
    """A finished run whose records name the module, as a stranger may have written it."""
    from torch import nn

    run = tiny_run(tmp_path / "run")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))
    save_weights(run.weights, network.state_dict())
    plain = json.loads(run.model_file.read_text())
    named = {"network": "own", "options": {"module": NAME}}
    run.model_file.write_text(json.dumps(plain | named))
    return run


def test_a_run_does_not_bring_its_code_along(stranger):
    with pytest.raises(ConfigError, match=r"own_part_of_a_test:small.*no part of Candid"):
        candid.load_model(stranger.path)
    with pytest.raises(ConfigError, match="--trust"):
        [*candid.predict(stranger.path, pixels(2), check=False, engine="torch")]
    assert not imported()


def test_with_trust_it_answers(stranger):
    run = candid.open_run(stranger.path, trust=True)
    assert not imported()  # to trust is not yet to run
    images = pixels(3)
    rows = [*candid.predict(run, images, check=False, engine="torch")]
    assert imported()
    expected = candid.load_model(run)(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose([row["p_yes"] for row in rows], expected[:, 1], atol=1e-5)


def test_the_command_line_asks_for_trust_too(stranger, capsys):
    Image.fromarray(pixels(1)[0]).save("face.png")
    words = ("predict", str(stranger.path), "face.png", "--engine", "torch", "--no-check")
    refused = command(capsys, *words, code=2)
    assert "--trust" in refused.err and NAME in refused.err and not imported()
    assert "face.png" in command(capsys, *words, "--trust").out
    assert imported()
    refused = command(capsys, *words, code=2)  # what one command was let do, the next is not
    assert "--trust" in refused.err


def test_who_names_it_may_use_it(tmp_path):
    config = candid.load_config(overrides=(f"network.name={NAME}",))
    assert config.network == OwnConfig(module=NAME)
    assert build("own", side=16, n_classes=3, module=NAME)(torch.zeros(2, 3, 16, 16)).shape == (
        2,
        3,
    )
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert read_config(tmp_path / "config.toml") == config


def test_a_file_of_settings_is_not_the_user(tmp_path):
    (tmp_path / "theirs.toml").write_text(f'[network]\nname = "{NAME}"\n')
    config = candid.load_config(file=tmp_path / "theirs.toml")
    assert config.network == OwnConfig(module=NAME)
    with pytest.raises(ConfigError, match="no part of Candid"):
        import_trusted_part(NAME, "The network")
    assert not imported()


def test_training_uses_it_and_the_run_says_so(tmp_path):
    label, split = np.resize(["no", "yes"], 32), np.repeat(["train", "validation"], 16)
    faces = candid.load_images(pixels(32), label, target="Hat", split=split)
    words = (f"data.side={SIDE}", "train.steps=1", "train.batch_size=8", "framing.steps=0")
    words = (*words, "train.evaluations=1", "data.workers=1", f"network.name={NAME}")
    config = candid.load_config(overrides=words)
    run = candid.train(faces, config, out=tmp_path / "r", cache=tmp_path / "c", predictions=False)
    card = json.loads(run.model_file.read_text())
    assert (card["network"], card["options"]) == ("own", {"module": NAME})
    assert run.model(torch.from_numpy(pixels(2))).shape == (2, 2)


@pytest.mark.parametrize("named", ["network.name", "train.loss", "augment.extra"])
def test_what_is_not_there_leaves_no_run_behind(tmp_path, monkeypatch, named):
    (tmp_path / "here_in_a_test.py").write_text("")
    monkeypatch.chdir(tmp_path)
    overrides = [f"{named}=here_in_a_test:gone", "data.side=16"]
    config = candid.load_config(overrides=overrides)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 16, 16, 3), np.uint8)
    faces = candid.load_images(pixels, ["a", "b"] * 15)
    with pytest.raises(ConfigError, match="here_in_a_test:gone, which cannot be imported"):
        candid.train(faces, config, out=tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_built_is_said():
    for name, said in (
        ("own_part_of_a_test:nothing", "gives a int"),
        ("own_part_of_a_test:gone", "cannot be imported"),
        ("gone_of_a_test:small", "cannot be imported"),
    ):
        candid.load_config(overrides=(f"network.name={name}",))
        with pytest.raises(ConfigError, match=said):
            build("own", side=16, n_classes=2, module=name)
        distrust(name)


@pytest.mark.parametrize(
    ("word", "is_one"),
    [("a.b:c", True), ("a:c.d", True), ("a.b", False), (":c", False), ("a:", False),
     ("../a:b", False), ("a b:c", False), (7, False)],
)  # fmt: skip
def test_which_words_name_a_function(word, is_one):
    assert is_named_part(word) is is_one
