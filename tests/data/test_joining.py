"""Several data sets as one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from several import celeba, folder, table, utkface

import candid
from candid.config import with_values
from candid.data import layouts
from candid.data.dataset import Dataset
from candid.data.joining import load_labels
from candid.errors import CandidError, ConfigError, LayoutError, TargetError
from candid.settings import Config, DataConfig


def load(*where: Path, target: str = "", **settings: object) -> Dataset:
    config = with_values(Config(), {"data": {"target": target, **settings}})
    return load_labels(where, config.data)


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [celeba(tmp_path / "celeba"), utkface(tmp_path / "utk"), folder(tmp_path / "faces")]


def test_each_by_its_own_layout(three: list[Path]) -> None:
    """Row by row what each is by itself, under ids, people and a label that are one."""
    data = load(*three, target="Male")
    alone = [layouts.load_dataset(path) for path in three]
    assert (data.target, data.classes) == ("Male", ("Female", "Male"))
    assert [(p.name, p.layout, p.target) for p in data.parts] == [
        ("celeba", "celeba", "Male"), ("utk", "utkface", "gender"), ("faces", "folder", "class"),
    ]  # fmt: skip
    assert [p.origin for p in data.parts] == [a.origin for a in alone]
    assert len(set(data.ids)) == len(data) == sum(map(len, alone)) == len(data.source)
    words = [f"{p.name}/{i}" for p, a in zip(data.parts, alone, strict=True) for i in a.ids]
    assert data.ids.tolist() == words
    assert data.split.tolist() == [s for a in alone for s in a.split]
    labels = [a.classes[k].capitalize() for a in alone for k in map(int, a.label)]
    assert [data.classes[k].capitalize() for k in data.label] == labels
    assert data.attributes["source"].words() == ["celeba"] * 24 + ["utk"] * 40 + ["faces"] * 40
    row = 0
    for one in alone:
        for i in range(len(one)):
            assert data.source.read(row) == one.source.read(i)
            row += 1


def test_attributes_that_only_some_have_are_missing_elsewhere(three: list[Path]) -> None:
    data = load(*three, target="Male")
    assert list(data.attributes) == ["source", "Eyeglasses", "No_Beard", "age", "race"]
    glasses, age = data.attributes["Eyeglasses"], data.attributes["age"]
    assert (glasses.kind, glasses.values) == ("binary", ("no", "yes"))
    assert (glasses.data[:24] >= 0).all() and (glasses.data[24:] == -1).all()
    assert np.isnan(age.data[:24]).all() and not np.isnan(age.data[24:64]).any()
    assert np.isnan(age.data[64:]).all()


def test_people_of_two_data_sets_are_not_the_same(tmp_path: Path) -> None:
    both = [celeba(tmp_path / "a"), celeba(tmp_path / "b"), utkface(tmp_path / "utk")]
    data = load(*both, target="Male")
    assert data.person is not None
    a, b, utk = np.split(data.person, [24, 48])
    assert len(set(a)) == len(set(b)) == 8 and set(a).isdisjoint(b) and set(utk) == {-1}
    assert np.array_equal(a[:3], a[[0, 0, 0]]) and a[3] != a[0]
    (told,) = (f for f in data.findings if f.code == "PEOPLE-OF-SOME-SOURCES")
    assert "pictures of utk." in told.detail and (told.count, told.of) == (40, 88)
    nobody = load(both[2], folder(tmp_path / "f"))
    assert nobody.person is None
    assert "PEOPLE-OF-SOME-SOURCES" not in {
        f.code for f in (*nobody.findings, *load(*both[:2]).findings)
    }


def test_the_order_of_the_data_sets_is_kept_and_the_same_call_gives_the_same(
    three: list[Path],
) -> None:
    one, two = load(*three, target="Male"), load(*three, target="Male")
    assert np.array_equal(one.ids, two.ids) and one.source.stamp() == two.source.stamp()
    other = load(*reversed(three), target="Male")
    assert [p.name for p in other.parts] == ["faces", "utk", "celeba"]
    assert other.classes == ("female", "MALE")
    assert other.source.stamp() != one.source.stamp()


def test_one_data_set_is_as_it_was(three: list[Path]) -> None:
    for path in three:
        one, alone = candid.load([path]), layouts.load_dataset(path)
        assert np.array_equal(one.ids, alone.ids) and one.parts == ()
        assert "source" not in one.attributes
        assert one.source.stamp() == alone.source.stamp()


def test_an_attribute_that_is_called_source_already(tmp_path: Path) -> None:
    a = table(tmp_path / "a", source=["web", "studio"])
    data = load(a, table(tmp_path / "b"), target="sex")
    assert set(data.attributes["source"].values) == {"a", "b"}
    assert data.attributes["source (column)"].words()[:2] == ["web", "studio"]
    with pytest.raises(TargetError, match="called 'source'"):
        load(a, table(tmp_path / "c", source=["web", "studio"]), target="source")


# --- the target ----------------------------------------------------------------------------------


def test_without_a_target_each_has_its_layouts_own(three: list[Path]) -> None:
    data = load(*three)
    assert data.target == "Male" and [p.target for p in data.parts] == ["Male", "gender", "class"]


def test_a_target_by_another_name_is_named_by_source(tmp_path: Path) -> None:
    both = [celeba(tmp_path / "celeba"), table(tmp_path / "mine", smile=["yes", "no"])]
    with pytest.raises(TargetError) as caught:
        load(*both, target="Male")
    said = str(caught.value)
    assert "'mine' has no label called 'Male'" in said
    assert "mine.target=…" in said and "sex, smile" in said
    data = load(
        *both, target="Male", source_settings=["mine.target=sex"],
        class_names=["m=Male", "f=Female"],
    )  # fmt: skip
    assert data.classes == ("Female", "Male")
    assert data.label[24:28].tolist() == [1, 0, 1, 0]


def test_the_usual_target_of_other_classes_is_not_taken(tmp_path: Path) -> None:
    both = [celeba(tmp_path / "celeba"), folder(tmp_path / "pets", ("cat", "dog"))]
    with pytest.raises(TargetError, match="its 'class' has the classes 'cat', 'dog'"):
        load(*both, target="Male")
    with pytest.raises(TargetError, match=r"'cat' is one of 'pets' alone.* no 'Female' or 'Male'"):
        load(*both)


def test_a_target_that_none_has(three: list[Path]) -> None:
    with pytest.raises(TargetError, match="celeba: There is no label called 'Mail'") as caught:
        load(*three, target="Mail")
    assert "did you mean 'Male'" in caught.value.todo


def test_what_is_wrong_with_one_says_which(tmp_path: Path, three: list[Path]) -> None:
    with pytest.raises(TargetError, match=r"'age' is a number in 'utk', and in 'celeba' 'Male'"):
        load(*three[:2], target="Male", source_settings=["utk.target=age"])
    (tmp_path / "odd" / "empty").mkdir(parents=True)
    with pytest.raises(LayoutError, match="odd"):
        load(three[0], tmp_path / "odd")


# --- numbers -------------------------------------------------------------------------------------


def test_a_number_has_the_value_that_stands_in_each_data_set(tmp_path: Path) -> None:
    years = ["30.5", "", "20", "71"]
    mine = table(tmp_path / "mine", years=years)
    asked = {"target": "age", "source_settings": ["mine.target=years"]}
    data = load(utkface(tmp_path / "utk"), mine, **asked)  # type: ignore[arg-type]
    assert data.is_number and data.numbers == ("age",)
    assert [*map(float, data.classes)] == sorted({*map(float, range(20, 60)), 30.5, 71.0})
    for name, code in zip(data.ids, data.label, strict=True):
        file = Path(name).stem
        told = file.split("_")[0] if name.startswith("utk") else years[int(file) % 4]
        assert (code < 0) if told == "" else float(data.classes[code]) == float(told), name
    assert [p.target for p in data.parts] == ["age", "years"]
    assert {f.code: f.count for f in data.findings}["CLASSES-OF-SOME-SOURCES"] == 0


def test_numbers_that_count_from_one_are_numbers_where_they_are_named(tmp_path: Path) -> None:
    both = [utkface(tmp_path / "utk"), table(tmp_path / "mine", ("1", "2", "3"), target="age")]
    with pytest.raises(TargetError, match="in 'mine' 'age' has the classes '1', '2', '3'") as said:
        load(*both, target="age")
    assert "data.numbers" in said.value.todo
    assert {"1", "2", "3", "20"} <= {*load(*both, target="age", numbers=["age"]).classes}


# --- classes -------------------------------------------------------------------------------------


def test_a_word_that_is_not_mapped_is_an_error_with_advice(tmp_path: Path) -> None:
    both = [utkface(tmp_path / "utk"), table(tmp_path / "mine", ("m", "Female"), target="gender")]
    with pytest.raises(TargetError) as caught:
        load(*both, target="gender")
    said = str(caught.value)
    assert "'m' is one of 'mine' alone, which has no 'Male'" in said
    assert "'data.class_names=[\"m=Male\"]'" in said
    (advice,) = re.findall(r"data\.class_names=(\[.*?\])", said)
    data = load(*both, target="gender", class_names=[advice[2:-2]])
    assert data.classes == ("Female", "Male")
    assert data.label[40:44].tolist() == [1, 0, 1, 0]


def test_a_class_of_its_own_is_one_where_somebody_says_so(tmp_path: Path) -> None:
    both = [
        utkface(tmp_path / "utk"),
        table(tmp_path / "mine", ("White", "Roma", "Black"), target="race"),
    ]
    with pytest.raises(TargetError, match="'Roma' is one of 'mine' alone") as caught:
        load(*both, target="race")
    own = [f"{w}={w}" for w in ("Asian", "Indian", "Other", "Roma")]
    assert json.dumps(own) in caught.value.todo
    data = load(*both, target="race", class_names=own)
    assert data.classes == ("White", "Black", "Asian", "Indian", "Other", "Roma")
    (finding,) = (f for f in data.findings if f.code == "CLASSES-OF-SOME-SOURCES")
    assert finding.state == "found" and finding.count == 4
    assert "'Roma' not in utk" in finding.detail and "'Asian' not in mine" in finding.detail


def test_a_class_more_than_the_others_have_is_no_other_word(tmp_path: Path) -> None:
    """Nothing is missing that it could stand for."""
    words = ("Female", "Male", "unsure")
    data = load(utkface(tmp_path / "utk"), folder(tmp_path / "mine", words))
    assert data.classes == ("Female", "Male", "unsure")
    (finding,) = (f for f in data.findings if f.code == "CLASSES-OF-SOME-SOURCES")
    assert finding.detail.endswith("'unsure' not in utk.")


def test_codes_mean_what_the_settings_of_each_say(tmp_path: Path) -> None:
    """0 is a woman in one table and a man in the other."""
    both = [table(tmp_path / n, ("0", "1"), target="gender") for n in ("a", "b")]
    data = load(
        *both,
        source_settings=[
            "a.target=gender", 'a.class_names=["0=Female", "1=Male"]',
            "b.target=gender", 'b.class_names=["0=Male", "1=Female"]',
        ],
    )  # fmt: skip
    assert data.classes == ("Female", "Male")
    assert data.label[[0, 1, 40, 41]].tolist() == [0, 1, 1, 0]


def test_names_for_classes_that_none_has(three: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"data.class_names names 'mael'"):
        load(*three, class_names=["mael=Male"])
    with pytest.raises(ConfigError, match=r"data.exclude_classes names 'Unsure'"):
        load(*three, exclude_classes=["Unsure"])
    with pytest.raises(ConfigError, match="names 'Female', which is no class of class in faces"):
        load(*three, source_settings=['faces.class_names=["Female=F"]'])
    named = load(*three, class_names=["female=Woman", "Female=Woman"])
    assert named.classes == ("Woman", "Male")


def test_classes_are_left_out_where_they_are(tmp_path: Path) -> None:
    words = ("Female", "Male", "unsure")
    data = load(
        utkface(tmp_path / "utk"), folder(tmp_path / "mine", words), exclude_classes=["unsure"]
    )
    assert data.classes == ("Female", "Male")
    assert len(data) == 40 + 27


# --- which attributes ----------------------------------------------------------------------------


def test_chosen_attributes_need_stand_in_one_of_them(three: list[Path]) -> None:
    data = load(*three, attributes=["age", "Eyeglasses"])
    assert list(data.attributes) == ["source", "Eyeglasses", "age"]
    with pytest.raises(ConfigError, match="'ages', which none of the data sets has"):
        load(*three, attributes=["ages"])


def test_chosen_attributes_of_two_kinds(tmp_path: Path) -> None:
    both = [utkface(tmp_path / "utk"), table(tmp_path / "mine", ("Male", "Female"),
            target="gender", age=["young", "old"])]  # fmt: skip
    data = load(*both, target="gender", attributes=["age"])
    assert list(data.attributes) == ["source", "age (utk)", "age (mine)"]
    data = load(*both, target="gender", attributes=["age (mine)"])
    assert list(data.attributes) == ["source", "age (mine)"]


# --- refusals ------------------------------------------------------------------------------------


def test_streams_are_of_one_data_set(three: list[Path]) -> None:
    with pytest.raises(ConfigError, match="cannot be streamed together"):
        load(*three, stream="always")


def test_nothing_to_load() -> None:
    with pytest.raises(CandidError, match="No data set was named"):
        candid.load([])


def test_findings_say_whose_they_are(three: list[Path]) -> None:
    put_aside = three[2] / "loose.txt"
    put_aside.write_text("a note")
    data = load(*three)
    chosen = [f for f in data.findings if f.code == "SPLIT-BY-HASH"]
    assert [f.detail.split(":")[0] for f in chosen] == ["utk", "faces"]
    (left_out,) = (f for f in data.findings if f.code == "FILES-LEFT-OUT")
    assert left_out.examples == ("faces/loose.txt",)


def test_defaults_are_the_same_settings(three: list[Path]) -> None:
    assert candid.load(three).classes == load_labels(tuple(three), DataConfig()).classes


def test_a_data_set_with_one_of_the_classes_alone(tmp_path: Path) -> None:
    both, one = folder(tmp_path / "both"), folder(tmp_path / "one", ("male",), seed=9000)
    data = load(both, one)
    assert data.classes == ("female", "MALE")
    assert {data.label[i] for i, word in enumerate(data.ids) if word.startswith("one/")} == {1}
    (lacking,) = [f for f in data.findings if f.code == "CLASSES-OF-SOME-SOURCES"]
    assert lacking.state == "found" and "one" in lacking.detail
    with pytest.raises(TargetError, match="one class only: every labelled image is"):
        load(one, folder(tmp_path / "same", ("male",), seed=9500))
