"""What each recipe means, written out: changing a default must not change a recipe."""

import dataclasses
import inspect

import pytest

import candid
from candid.config import load_config, recipes, with_values
from candid.settings import Config

DEEP = {
    "network": {"name": "deep", "width": 0, "depth": 0, "ensemble_size": 1},
    "augment": {
        "flip": 0.5, "rotation_degrees": 5.0, "rotation": 1.0, "perspective_shift": 0.05,
        "perspective": 0.5, "zoom": 0.0, "aspect": 0.0, "shift": 0.0,
        "outside": "border", "brightness": 0.45, "contrast": 0.3, "saturation": 0.3,
        "crop": 0.1, "crop_smallest": 0.45,
        "erase": 0.1, "erase_patches": 1, "erase_smallest": 0.02, "erase_largest": 0.05,
    },
    "train": {
        "steps": 635, "batch_size": 256, "optimizer": "muon", "learning_rate": 4e-3,
        "schedule": "cosine", "warmup": 0.15, "weight_decay": 0.02, "ema_decay": 0.99,
        "label_smoothing": 0.1, "mixup": 0.0, "cutmix": 0.0, "progressive_side": 0, "patience": 0,
        "flip_tta": True, "class_weights": "none", "balance": "none", "evaluations": 10,
        "checkpoints": 20, "keep": "last", "seed": 0, "target_weights": "inverse",
    },
}  # fmt: skip
STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "crop": 0.0, "erase": 0.5}
ADAM = {
    "optimizer": "adam", "learning_rate": 1e-3, "schedule": "constant", "warmup": 0.0,
    "weight_decay": 0.0, "ema_decay": 0.0, "label_smoothing": 0.0, "class_weights": "inverse",
    "evaluations": 20,
}  # fmt: skip
RECIPES = {
    "deep": {},
    "best": {"network": {"ensemble_size": 4, "window": ""}, "train": {"batch_size": 1024}},
    "fast": {
        "data": {"side": 48},
        "network": {"width": 16, "window": ""},
        "augment": {**STILL, "rotation": 0.0, "perspective": 0.0, "erase": 0.0},
        "train": {
            "steps": 350, "learning_rate": 6e-3, "warmup": 0.1, "ema_decay": 0.97,
            "label_smoothing": 0.2, "evaluations": 1,
        },
        "check": {"steps": 0},
    },
    "many": {
        "network": {"window": ""},
        "augment": {"erase": 0.0, "perspective": 0.0},
        "train": {
            "steps": 1270, "batch_size": 128, "learning_rate": 6e-3, "target_weights": "none",
        },
    },
    "plain": {
        "network": {"name": "plain"},
        "augment": STILL,
        "framing": {"steps": 0},
        "train": {**ADAM, "flip_tta": False, "keep": "best"},
    },
    "features": {"network": {"name": "features"}, "augment": STILL, "train": ADAM},
    "vit": {
        "network": {"name": "vit", "width": 128},
        "augment": STILL,
        "train": {
            "steps": 1270, "optimizer": "adamw", "learning_rate": 1e-3, "warmup": 0.1,
            "weight_decay": 0.1, "ema_decay": 0.998,
        },
    },
}  # fmt: skip


def test_the_settings_of_each_recipe():
    assert sorted(RECIPES) == sorted(recipes())
    deep = dataclasses.asdict(load_config(recipe="deep"))
    for section, values in DEEP.items():
        assert deep[section] | values == deep[section]
    for name, changes in RECIPES.items():
        assert load_config(recipe=name) == with_values(load_config(recipe="deep"), changes), name


def test_one_default():
    """In Python, for `candid run` and for `candid train`."""
    assert Config() == load_config() == load_config(recipe="deep")


@pytest.mark.parametrize("name", [n for n in candid.__all__ if n[0].islower()])
def test_signatures_are_short(name):
    """Help begins with words, not with kilobytes of defaults."""
    assert "Config(" not in str(inspect.signature(getattr(candid, name)))
