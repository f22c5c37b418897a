"""What cards and reports say of the settings: no path of a machine, and whose code was run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from candid.config import changed_settings, load_config, to_toml, with_values
from candid.records import Provenance
from candid.records.model import Beginning
from candid.settings import Config
from candid.settings.named_parts import distrust
from candid.text.model import custom_code, public_settings


def test_what_others_read_names_no_path(tmp_path: Path) -> None:
    place = tmp_path / "celeba"
    config = with_values(Config(), {"train": {"initial": str(place)}})
    about = Provenance("0", "", "", {}, 0, None, {}, {}, "x", "f")
    begun = Beginning(str(place), "0123456789abcdef", "Male", 3)
    assert public_settings(Config(), about) == {}
    assert public_settings(config, about) == {"train.initial": "celeba"}
    shown = public_settings(config, replace(about, initial=begun))
    assert shown == {"train.initial": "celeba (digest 0123456789ab)"}
    assert [s.value for s in changed_settings(config, shown)] == [shown["train.initial"]]
    assert str(tmp_path) in to_toml(config) and str(tmp_path) not in to_toml(config, shown)


def test_the_card_says_which_parts_are_one_s_own() -> None:
    words = ("network.name=a:b", "train.loss=c:d", "augment.extra=e:f")
    said = custom_code(SimpleNamespace(config=load_config(overrides=words)))
    for name, word in zip(("a:b", "c:d", "e:f"), words, strict=True):
        assert name in said and name in word
        distrust(name)
    assert "cross-entropy" in said and "no part of Candid" in said
    assert custom_code(SimpleNamespace(config=Config())) == ""
