from dataclasses import replace

import numpy as np
import pytest
from drawn import put

import candid
from candid.data.joining import load_labels
from candid.data.layouts.assembly import check_learnable
from candid.data.targets import cut_into_ranges, labels_of, number_scale, outputs_of, select_target
from candid.errors import ConfigError, DataError, TargetError
from candid.settings import DataConfig

HEAD = "path,split,person,Hat,mood,stars,age,label,site,alone,late"
SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    for i in range(12):
        put(folder / f"{i}.jpg", i)
    hat = ["1", "-1", "1", "-1", "1", "-1", "1", "-1", "1", "", "-1", "1"]
    mood = ["", "sad", "glad", "glad", "calm", "sad", "glad", "sad", "calm", "", "glad", "sad"]
    late = ["", "", "", "", "", "", "a", "b", "a", "b", "a", "b"]  # of nobody in train
    lines = [HEAD]
    for i, split in enumerate(SPLITS):
        stars, alone = 1 + i % 3, "no" if i < 11 else ""
        kind = "xy"[i % 2] if i != 9 else ""
        lines.append(
            f"{i}.jpg,{split},{i},{hat[i]},{mood[i]},{stars},{20 + 3.5 * i},{kind},{'pq'[i % 2]},"
            f"{alone},{late[i]}"
        )
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def same(one, two):
    for name in ("target", "classes", "name", "layout", "further_targets"):
        assert getattr(one, name) == getattr(two, name), name
    for name in ("ids", "label", "split", "person"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert one.attributes.keys() == two.attributes.keys()
    for name, a in one.attributes.items():
        b = two.attributes[name]
        assert (a.name, a.kind, a.values) == (b.name, b.kind, b.values)
        assert np.array_equal(a.data, b.data, equal_nan=a.kind == "numeric"), name


@pytest.mark.parametrize("names", [("Hat", "mood", "label"), ("label", "mood", "Hat")])
@pytest.mark.parametrize("attributes", [(), ("site", "Hat")])
def test_each_label_alone_is_what_reading_the_data_for_it_gives(table, names, attributes):
    config = DataConfig(targets=names, attributes=attributes)
    several = load_labels(table, config)
    assert several.targets[0] == names[0]
    assert len(several.targets) == 3
    for name in several.targets:
        alone = load_labels(table, DataConfig(target=name.split(" ")[0], attributes=attributes))
        mine = select_target(several, name, config)
        if name == "label (column)":  # a table of predictions has such a column
            mine = replace(mine, target="label")
        same(mine, alone)


def test_rows_are_those_with_any_label_and_codes_are_missing_where_one_is(table):
    several = load_labels(table, DataConfig(targets=("Hat", "mood")))
    label, sizes = labels_of(several)
    assert sizes == (2, 3)
    assert outputs_of(several) == (
        *("Hat: not Hat", "Hat: Hat"),
        *("mood: calm", "mood: glad", "mood: sad"),
    )
    assert label[0].tolist() == [1, -1] and label[9].tolist() == [-1, -1]
    assert several.rows("train").tolist() == [0, 1, 2, 3, 4, 5]
    assert several.rows("test").tolist() == [10, 11]
    assert select_target(several, "mood", DataConfig()).rows("train").tolist() == [1, 2, 3, 4, 5]
    one = load_labels(table, DataConfig(target="mood"))
    alone, (n,) = labels_of(one)
    assert alone is one.label and n == 3 and outputs_of(one) == one.classes


def test_all_are_those_that_can_be_learned_and_the_others_say_why(table):
    found = load_labels(table, DataConfig(targets=("mood", "*")))
    assert found.targets == ("mood", "Hat", "stars", "label (column)", "site")
    why = found.targets_left_out
    assert set(why) == {"age", "alone", "late"}
    assert "is a number" in why["age"]
    assert "one class" in why["alone"]
    assert "one class" in why["late"]
    assert load_labels(table, DataConfig(targets=("*",))).target == "label"  # the layout's own


def test_a_number_among_several_has_bins(table):
    several = load_labels(table, DataConfig(targets=("Hat", "age")))
    assert several.numbers == ("age",) and not several.is_number
    label, sizes = labels_of(several)
    assert sizes == (2, 6)  # the values of the six training images
    assert label[:, 1].tolist() == list(range(12))  # codes of all values
    assert outputs_of(several)[2:4] == ("age: 20", "age: 23.5")
    scale = number_scale(several, "age")
    assert scale.values.tolist() == [20 + 3.5 * i for i in range(12)]
    assert scale.centres.tolist() == scale.values[:6].tolist()
    assert number_scale(several, "Hat") is None
    alone = load_labels(table, DataConfig(target="age"))
    same(select_target(several, "age", DataConfig()), alone)
    assert labels_of(alone)[0].shape == (12, 1)


def test_a_number_that_comes_first_is_an_attribute_of_the_others(table):
    several = load_labels(table, DataConfig(targets=("age", "Hat")))
    assert several.is_number
    hat = select_target(several, "Hat", DataConfig())
    assert hat.numbers == () and hat.attributes["age"].kind == "numeric"
    assert hat.attributes["age"].data.tolist() == [20 + 3.5 * i for i in range(12)]


def test_a_number_in_ranges_is_cut_at_the_quartiles_of_train(table):
    alone = load_labels(table, DataConfig(target="age"))
    cut = cut_into_ranges(alone)
    assert not cut.is_number and len(cut.classes) == 4
    assert np.bincount(cut.label[cut.split == "train"]).sum() == 6
    assert (np.diff(cut.label) >= 0).all()
    hat = load_labels(table, DataConfig(target="Hat"))
    assert cut_into_ranges(hat) is hat


def test_python_face(table):
    assert candid.load(table, target=["Hat", "mood"]).targets == ("Hat", "mood")
    assert candid.load(table, target="Hat").targets == ("Hat",)
    assert candid.load(table, target=["Hat"]).targets == ("Hat",)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("Hat", "alone"), "one class only"),
        (("Hat", "Moods"), "no label called 'Moods'"),
        (("Hat", "late"), "late: .*no label among them"),
    ],
)
def test_one_that_is_named_must_be_possible(table, names, says):
    with pytest.raises((TargetError, DataError), match=says):
        load_labels(table, DataConfig(targets=names))


def test_what_can_be_read_must_teach_every_label(table):
    several = load_labels(table, DataConfig(targets=("Hat", "mood")))
    check_learnable(several, np.ones(12, np.bool_))
    usable = np.ones(12, np.bool_)
    usable[[1, 3, 5]] = False
    with pytest.raises(TargetError, match="Hat: Training would see one class only"):
        check_learnable(several, usable)


def test_settings_of_one_label_go_with_no_others(table, tmp_path):
    assert DataConfig(targets=("Hat",)) == DataConfig(target="Hat")
    assert DataConfig(targets=("Hat", "mood", "Hat")).targets == ("Hat", "mood")
    assert DataConfig(targets=("*",)).targets == ("*",)
    for other in ({"target": "age"}, {"class_names": ("0=no",)}, {"exclude_classes": ("sad",)}):
        with pytest.raises(ConfigError, match="is about one"):
            DataConfig(targets=("Hat", "mood"), **other)
    with pytest.raises(ConfigError, match="Several labels of several data sets"):
        load_labels((table, tmp_path), DataConfig(targets=("Hat", "mood")))
