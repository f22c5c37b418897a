"""A part of the user's own that fails amid training: three parts, its file and line, and go on."""

from __future__ import annotations

import sys

import pytest
from safetensors.torch import load_file

from candid.data.synthetic import FaceWorld, write_faces
from candid.runs import Run
from candid.settings.named_parts import distrust
from commands import candid

MODULE = "failing_part_of_a_test"
NAMES = [f"{MODULE}:{name}" for name in ("Small", "stack", "loss", "extra")]
SOURCE = """
import torch
from torch import nn
from torch.nn import functional as F

class Back(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        BACKWARD
        return gradient

class Small(nn.Module):
    def __init__(self, side, n_classes):
        super().__init__()
        self.linear = nn.Linear(3 * side * side, n_classes)
        self.seen = 0

    def forward(self, images):
        self.seen += self.training
        out = Back.apply(self.linear(images.flatten(1)))
        FORWARD
        return out

def stack(side, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(STACK, n_classes))

def loss(output, labels):
    LOSS
    return F.cross_entropy(output, labels, reduction="none")

def extra(images, generator):
    EXTRA
    return images
"""
MENDED = {
    "BACKWARD": "pass",
    "FORWARD": "pass",
    "STACK": "3 * side * side",
    "LOSS": "pass",
    "EXTRA": "pass",
}


def write(folder, **broken):
    """Write the module, and forget the one of before, as a new process would."""
    source = SOURCE
    for name, line in (MENDED | broken).items():
        source = source.replace(name, line)
    (folder / f"{MODULE}.py").write_text(source)
    sys.modules.pop(MODULE, None)
    return {text.strip(): n for n, text in enumerate(source.splitlines(), 1)}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the file changes within a second
    yield tmp_path
    sys.modules.pop(MODULE, None)
    for name in NAMES:
        distrust(name)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    world = FaceWorld(n=96, people=32, side=16, validation_share=0.25, test_share=0.25)
    return write_faces(tmp_path_factory.mktemp("faces") / "few", world, workers=1, quiet=True)


@pytest.fixture
def words(faces, tmp_path):
    settings = ["network.name=" + MODULE + ":Small", "data.side=16", "train.steps=6"]
    settings += ["train.batch_size=16", "train.evaluations=3", "train.checkpoints=6"]
    settings += ["framing.steps=0", "data.workers=1", "train.ema_decay=0"]
    settings += ["train.precision=float32", "train.threads=1"]
    said = [word for s in settings for word in ("--set", s)]
    return [faces, "--target", "Face", "--cache", tmp_path / "cache", "--quiet", *said]


AMID = "if self.seen == 4: raise ValueError('the fourth batch')"
CASES = {
    "forward": ({"FORWARD": AMID}, (), "ValueError: the fourth batch", AMID),
    "backward": (
        {"BACKWARD": "raise OSError('on the way back')"},
        (),
        "OSError: on the way back",
        "raise OSError('on the way back')",
    ),
    "in place": (
        {"FORWARD": "out = out.exp(); out.mul_(2)"},
        (),
        "modified by an inplace operation",
        "class Small(nn.Module):",
    ),
    "not its own": (
        {"STACK": "7"},
        ("network.name=" + MODULE + ":stack",),
        "cannot be multiplied",
        "def stack(side, n_classes):",
    ),
    "shape": (
        {"FORWARD": "return out[:, :1]"},
        (),
        "gives float32 of the shape (16, 1) for 16 images",
        "class Small(nn.Module):",
    ),
    "tuple": (
        {"FORWARD": "return out, 1"},
        (),
        "The network gives a tuple for 16 images",
        "class Small(nn.Module):",
    ),
    "type": (
        {"FORWARD": "return out.argmax(1, keepdim=True).expand(-1, 2)"},
        (),
        "gives int64 of the shape (16, 2)",
        "class Small(nn.Module):",
    ),
    "NaN": (
        {"FORWARD": "return out * float('nan')"},
        (),
        "The loss of batch 1 is nan.",
        "class Small(nn.Module):",
    ),
    "loss": (
        {"LOSS": "output[999]"},
        ("train.loss=" + MODULE + ":loss",),
        "IndexError",
        "output[999]",
    ),
    "augmentation": (
        {"EXTRA": "images.turn()"},
        ("augment.extra=" + MODULE + ":extra",),
        "AttributeError",
        "images.turn()",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_said_where_and_the_run_goes_on(words, folder, capsys, case):
    broken, settings, error, line = CASES[case]
    lines = write(folder, **broken)
    out = folder / "run"
    own = [word for s in settings for word in ("--set", s)]
    said = candid(capsys, "train", *words, *own, "--out", out, code=2).err
    assert error in said
    assert f"{folder / MODULE}.py, line {lines[line]}" in said
    assert MODULE + ":" in said
    assert "expected:" in said and f"candid train --resume {out} --trust" in said
    assert Run(out).checkpoint.is_file() == (case == "forward")  # after each whole batch
    write(folder)
    for name in NAMES:  # another process
        distrust(name)
    go_on = ["train", "--resume", out, "--cache", folder / "cache", "--quiet"]
    assert "--trust" in candid(capsys, *go_on, code=2).err
    candid(capsys, *go_on, "--trust")
    candid(capsys, "train", *words, *own, "--out", folder / "whole")
    weights = load_file(Run(out).weights)
    for name, value in load_file(Run(folder / "whole").weights).items():
        assert (weights[name] == value).all()


def test_what_builds_it_and_what_imports_it_may_fail(words, folder, capsys):
    (folder / f"{MODULE}.py").write_text("def Small(side, n_classes):\n    return 1 / 0\n")
    said = candid(capsys, "train", *words, "--out", folder / "run", code=2).err
    assert f"ZeroDivisionError: division by zero ({folder / MODULE}.py, line 2)" in said
    (folder / f"{MODULE}.py").write_text("\nprint(gone)\n")
    sys.modules.pop(MODULE)
    said = candid(capsys, "train", *words, "--out", folder / "other", code=2).err
    assert f"NameError: name 'gone' is not defined ({folder / MODULE}.py, line 2)" in said
    (folder / f"{MODULE}.py").write_text("def small(:\n")
    said = candid(capsys, "train", *words, "--out", folder / "other", code=2).err
    assert f"SyntaxError: invalid syntax ({MODULE}.py, line 1)" in said
    assert not (folder / "other").exists()


def test_one_that_fails_only_afterwards_is_named_too(words, folder, capsys):
    write(folder)
    candid(capsys, "train", *words, "--out", folder / "run")
    line = "if not self.training: raise RuntimeError('unseen')"
    lines = write(folder, FORWARD=line)
    again = ["evaluate", folder / "run", "--cache", folder / "cache", "--trust"]
    said = candid(capsys, *again, code=2).err
    assert f"RuntimeError: unseen ({folder / MODULE}.py, line {lines[line]})" in said


def test_a_model_that_is_audited_is_named_where_it_failed(faces, folder, capsys):
    source = "import numpy as np\n\n\ndef model(pictures):\n    return np.stack([])\n"
    (folder / f"{MODULE}.py").write_text(source)
    words = ["audit", faces, "--model", MODULE + ":model", "--set", "data.target=Face"]
    said = candid(capsys, *words, code=2).err
    assert f"ValueError: need at least one array to stack ({folder / MODULE}.py, line 5)" in said
