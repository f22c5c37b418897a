import dataclasses
import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candid.config import (
    OLD_NAMES,
    all_settings,
    changed_settings,
    differences,
    load_config,
    read_config,
    recipes,
    to_toml,
    toml,
    with_values,
)
from candid.errors import ConfigError, RunError
from candid.settings import Config, DeepConfig
from candid.settings.network import PlainConfig, TimmConfig
from candid.storage.files import FORMAT
from commands import candid


def test_to_toml_and_back(tmp_path):
    config = with_values(
        Config(),
        {"train": {"learning_rate": 3e-5, "seed": 7}, "data": {"attributes": ["a", 'b "c"']}},
    )
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert read_config(path) == config


@given(st.text())
def test_any_text_survives_toml(text):
    config = with_values(Config(), {"data": {"path_column": text}})
    assert tomllib.loads(to_toml(config))["data"]["path_column"] == text


def test_every_setting_is_explained_and_its_default_is_possible():
    for section in dataclasses.fields(Config):
        defaults = getattr(Config(), section.name)
        for f in dataclasses.fields(defaults):
            assert f.metadata["explanation"], f.name
        values = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(defaults)}
        assert with_values(Config(), {section.name: values}) == Config()


def test_later_settings_win(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[train]\nsteps = 10\nseed = 3\n")
    config = load_config(recipe="plain", file=path, overrides=["train.steps=20", "data.fit=crop"])
    assert (config.train.steps, config.train.seed, config.data.fit) == (20, 3, "crop")


@pytest.mark.parametrize("recipe", recipes())
def test_recipes_load(recipe):
    assert isinstance(load_config(recipe=recipe), Config)


def test_plain_is_the_description():
    config = load_config(recipe="plain")
    train = config.train
    assert (train.steps, train.batch_size, train.optimizer) == (635, 256, "adam")
    assert (train.learning_rate, train.class_weights) == (1e-3, "inverse")
    assert config.augment.rotation_degrees == 5
    assert config.data.side == 64


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("trian.steps=1", "did you mean 'train'"),
        ("train.stesp=1", "did you mean 'train.steps'"),
        ("train.steps=0", "at least 1"),
        ("train.steps=1.5", "a whole number"),
        ("train.steps=true", "a whole number"),
        ("train.steps=many", "a whole number"),
        ("train.learning_rate=nan", "a number"),
        ("train.optimizer=sgdd", "one of: "),
        ("augment.flip=1.5", "at most 1"),
        ("data.attributes=Smiling", "a list of str"),
        ("data.attributes=[1]", "a list of str"),
        ("train=5", "section.key=value"),
        ("train.steps", "section.key=value"),
        ("augment.erase_smallest=0.5", "the smallest patch no larger"),
    ],
)
def test_impossible_settings_are_refused(word, says):
    with pytest.raises(ConfigError) as error:
        load_config(overrides=[word])
    assert says in str(error.value)


@pytest.mark.parametrize("content", [b"[train\n", b"\xff\xfe", b"train = 5\n", b"[tarin]\n"])
def test_bad_files_are_refused(tmp_path, content):
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_config(file=path)


def test_missing_file_and_unknown_recipe(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no file .*none\.toml") as caught:
        load_config(file=tmp_path / "none.toml")
    assert "Errno" not in str(caught.value)
    with pytest.raises(ConfigError, match="Cannot read the settings") as caught:
        load_config(file=tmp_path)
    assert "Errno" not in str(caught.value)
    with pytest.raises(ConfigError, match="no recipe 'plane'"):
        load_config(recipe="plane")


def test_numbers_may_be_whole_where_a_number_is_asked():
    rate = load_config(overrides=["train.learning_rate=1"]).train.learning_rate
    assert rate == 1.0
    assert isinstance(rate, float)
    assert math.isfinite(rate)


def test_settings_that_hang_together_may_come_in_any_order(tmp_path):
    words = ["augment.erase_smallest=0.3", "augment.erase_largest=0.4"]
    for some in (words, words[::-1]):
        config = load_config(overrides=some)
        assert (config.augment.erase_smallest, config.augment.erase_largest) == (0.3, 0.4)
    file = tmp_path / "c.toml"
    file.write_text("[augment]\nerase_smallest = 0.3\n")
    assert load_config(file=file, overrides=words[1:]) == load_config(overrides=words)
    assert load_config(overrides=["train.steps=3", "train.steps=4"]).train.steps == 4


@pytest.mark.parametrize("section", ["train", "evaluate"])
def test_a_seed_that_no_generator_takes(section):
    assert getattr(load_config(overrides=[f"{section}.seed={2**32 - 1}"]), section).seed > 0
    with pytest.raises(ConfigError, match="at most 4294967295"):
        load_config(overrides=[f"{section}.seed={2**32}"])


def test_differences_name_both_values():
    one, other = (
        Config(),
        load_config(overrides=["train.steps=5", "data.target=Hat"]),
    )
    assert differences(one, one) == []
    assert differences(other, one) == ['data.target ("Hat", not "")', "train.steps (5, not 635)"]


# --- bounds --------------------------------------------------------------------------------------

NUMBERS = {
    f"{section}.{name}": about
    for section, settings in all_settings().items()
    for name, about in settings.items()
    if about.is_number
}
WITH = {"network.drop_path": "vit", "network.components": "features", "network.cell": "features"}


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_bounds_and_what_lies_beyond_is_refused_before_data_is_read(
    name, capsys, tmp_path
):
    about, network = NUMBERS[name], WITH.get(name, "deep")
    assert math.isfinite(about.low) and math.isfinite(about.high)
    for beyond in (about.low - 1, about.high + 1, 10**30):
        words = ["--set", f"{name}={about.kind(beyond)}", "--set", f"network.name={network}"]
        said = candid(capsys, "run", tmp_path / "there is none", *words, code=2).err
        assert f"{name} = " in said and "is not possible" in said
        assert f"at most {about.high}" in said
        assert "there is none" not in said


def test_a_setting_s_own_sentence_says_its_bounds():
    text = to_toml(with_values(Config(), {"seeds": {"count": 2}}))  # else it is left out
    assert "(a whole number at least 2 and at most 65536)\nbatch_size = " in text
    assert text.count(" and at most ") == len(NUMBERS.keys() - WITH.keys())


@pytest.mark.parametrize(("size", "images", "fits"), [(16, 32, True), (16, 31, False)])
def test_networks_that_divide_a_batch_need_two_images_each(size, images, fits):
    words = [f"network.ensemble_size={size}", f"train.batch_size={images}"]
    if fits:
        assert load_config(overrides=words).network.ensemble_size == size
    else:
        with pytest.raises(ConfigError, match="divide each batch"):
            load_config(overrides=words)


# --- the network's own options -------------------------------------------------------------------


def test_an_option_that_the_network_does_not_have_is_refused_with_those_that_it_has():
    for word, meant in (("depht=1", "depth"), ("drop_path=0.2", "")):
        with pytest.raises(ConfigError, match="no setting network") as error:
            load_config(recipe="deep", overrides=[f"network.{word}"])
        assert meant in error.value.todo
    with pytest.raises(ConfigError, match=r"network\.ensemble_size of the network plain"):
        load_config(overrides=["network.ensemble_size=4", "network.name=plain"])


def test_a_setting_s_old_name_says_its_new_one(capsys, tmp_path):
    every = all_settings()
    for old, new in OLD_NAMES.items():
        section, key = new.split(".")
        assert key in every[section] and old.split(".")[1] not in every[section]
        for recipe in ("deep", "vit"):
            with pytest.raises(ConfigError, match=f"{old} is called {new} now"):
                load_config(recipe=recipe, overrides=[f"{old}=1"])
    file = tmp_path / "c.toml"
    file.write_text("[train]\nmirrored = false\n")
    said = candid(capsys, "run", tmp_path, "--config", file, code=2).err
    assert "train.mirrored is called train.flip_tta now" in said and "Traceback" not in said
    file.write_text("format = 1\n[train]\nsteps = 7\n")  # as the config.toml of an older run
    assert load_config(file=file).train.steps == 7
    file.write_text("format = 99\n")
    with pytest.raises(RunError, match="has the format 99"):
        load_config(file=file)


def test_another_network_keeps_the_options_that_it_has_too():
    vit = load_config(recipe="vit")
    assert load_config(recipe="vit", overrides=["network.name=deep"]).network == DeepConfig(
        width=vit.network.width
    )
    assert load_config(recipe="best", overrides=["network.name=plain"]).network == PlainConfig()
    assert with_values(vit, {"network": {"name": "timm"}}).network == TimmConfig()


def test_a_file_that_holds_every_network_s_defaults_is_read(tmp_path):
    """As files of runs did before each network had options of its own."""
    every = "".join(f"{k} = {toml(s.default)}\n" for k, s in all_settings()["network"].items())
    (tmp_path / "config.toml").write_text(
        f"format = {FORMAT}\n[network]\n" + every.replace('"deep"', '"plain"', 1)
    )
    assert read_config(tmp_path / "config.toml").network == PlainConfig()


def test_brackets_in_brackets_without_end_are_refused(tmp_path):
    """TOML's reader calls itself for each."""
    (tmp_path / "config.toml").write_text("[train]\nsteps = " + "[" * 5000)
    with pytest.raises(ConfigError, match="Cannot read the settings"):
        load_config(file=tmp_path / "config.toml")
    with pytest.raises(ConfigError):
        load_config(overrides=["train.steps=" + "[" * 5000])


def test_changed_settings_are_those_that_differ() -> None:
    assert changed_settings(Config()) == []
    config = with_values(Config(), {"train": {"steps": 9}, "data": {"attributes": ["Hat"]}})
    changed = {s.name: (s.value, s.default) for s in changed_settings(config)}
    assert changed == {
        "train.steps": ("9", str(Config().train.steps)),
        "data.attributes": ("Hat", "(none)"),
    }
