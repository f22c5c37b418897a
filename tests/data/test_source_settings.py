"""What each of several data sets is called, and which settings hold for it alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from several import celeba, table, utkface

from candid.data.joining import load_labels
from candid.data.source_settings import as_before, resolve_settings, settings_of, source_names
from candid.errors import ConfigError
from candid.settings import DataConfig


def test_names_are_folders_and_files() -> None:
    assert source_names([Path("/d/celeba"), Path("/d/faces.csv")]) == ("celeba", "faces.csv")
    assert source_names([Path("s3://bucket/train-*.tar"), Path("/d/a")]) == ("train-*.tar", "a")


def test_equal_names_are_told_apart() -> None:
    assert source_names([Path("/x/faces"), Path("/y/faces"), Path("/z/utk")]) == (
        "x-faces", "y-faces", "utk",
    )  # fmt: skip
    deep = [Path("/1/x/faces"), Path("/2/x/faces"), Path("/3/x/faces")]
    assert source_names(deep) == ("x-faces", "x-faces-2", "x-faces-3")


def test_one_data_set_twice(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "faces")
    with pytest.raises(ConfigError, match="named 2 times"):
        source_names([tmp_path / "faces", tmp_path / "other" / ".." / "link"])


def test_settings_of_one() -> None:
    words = ("a.target=sex", 'a.b.class_names=["0=Female"]', "a.b.target=1", "a.encoding = cp1252")
    config = DataConfig(target="Male", source_settings=words)
    a, b, c = (settings_of(config, name, ["a", "a.b", "c"]) for name in ("a", "a.b", "c"))
    assert (a.target, a.encoding, a.class_names) == ("sex", "cp1252", ())
    assert (b.target, b.encoding, b.class_names) == ("1", "", ("0=Female",))
    assert c == config


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("d.target=sex", "source_settings holds 'd.target=sex'"),
        ("abc.side=32", "'side' is no setting of one data set"),
        ("abc.target", "no setting of one data set|holds 'abc.target'"),
        ("abc.class_names=3", "data.class_names = 3 is not possible"),
        ("abc.class_names=[\"Female\"]", "data.class_names holds 'Female'"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        settings_of(DataConfig(source_settings=(word,)), "abc", ["abc", "xyz"])
    assert caught.value.todo


def test_what_was_found_loads_the_same_without_a_guess(tmp_path: Path) -> None:
    where = [
        celeba(tmp_path / "celeba"), utkface(tmp_path / "utk"),
        table(tmp_path / "mine", ("0", "1")),
    ]  # fmt: skip
    own = ("mine.target=sex", 'mine.class_names=["0=Female", "1=Male"]')
    asked = DataConfig(target="Male", source_settings=own)
    data = load_labels(where, asked)
    found = resolve_settings(asked, data)
    assert found.source_settings == (
        'celeba.target="Male"', 'celeba.layout="celeba"',
        'utk.target="gender"', 'utk.layout="utkface"',
        'mine.target="sex"', 'mine.layout="table"', 'mine.class_names=["0=Female", "1=Male"]',
    )  # fmt: skip
    again = load_labels(where, found)
    assert again.parts == data.parts and again.label.tolist() == data.label.tolist()
    assert resolve_settings(found, again) == found


def test_settings_that_say_nothing_else_are_those_that_were_found(tmp_path: Path) -> None:
    names = ["celeba", "utk"]
    found = DataConfig(
        target="Male",
        source_settings=('celeba.target="Male"', 'celeba.layout="celeba"', 'utk.target="gender"'),
    )
    asked = DataConfig(target="Male")
    assert as_before(asked, found, names) == found
    said = replace(asked, source_settings=("utk.target=gender",))
    assert as_before(said, found, names) == found
    other = replace(asked, source_settings=("utk.target=race",))
    assert as_before(other, found, names) == other
    other = replace(asked, source_settings=("utk.encoding=cp1252",))
    assert as_before(other, found, names) == other
