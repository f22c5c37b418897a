"""UTKFace, FairFace and LFW."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn import put, real

from candid.data.layouts import load_dataset
from candid.errors import DataError, LayoutError, TargetError
from candid.settings import DataConfig

EVEN = DataConfig(validation_share=0.3, test_share=0.2)

# --- UTKFace -------------------------------------------------------------------------------------

RNG = np.random.default_rng(1)
AGE, GENDER, RACE = RNG.integers(1, 111, 40), RNG.integers(0, 2, 40), RNG.integers(0, 5, 40)
UTK = [
    f"{a}_{g}_{r}_201701{i:011d}" for i, (a, g, r) in enumerate(zip(AGE, GENDER, RACE, strict=True))
]


@pytest.mark.parametrize(("suffix", "inner"), [(".jpg", ""), (".jpg.chip.jpg", "UTKFace/part1")])
def test_utkface(tmp_path: Path, suffix: str, inner: str) -> None:
    for i, name in enumerate(UTK):
        put(tmp_path / inner / (name + suffix), i)
    data = load_dataset(tmp_path, config=EVEN)
    assert (data.layout, data.target, data.classes) == ("utkface", "gender", ("Female", "Male"))
    assert data.person is None
    row = [UTK.index(Path(i).name.removesuffix(suffix)) for i in data.ids]
    assert sorted(row) == list(range(40))
    assert [data.classes[c] for c in data.label] == [("Male", "Female")[g] for g in GENDER[row]]
    words = ["White", "Black", "Asian", "Indian", "Other"]
    assert data.attributes["race"].words() == [words[r] for r in RACE[row]]
    assert data.attributes["age"].kind == "numeric"
    assert data.attributes["age"].data.tolist() == AGE[row].tolist()


def test_utkface_copies_fall_on_one_side(tmp_path: Path) -> None:
    for i, name in enumerate(UTK):
        put(tmp_path / "UTKFace" / f"{name}.jpg.chip.jpg", i)
        put(tmp_path / "crop_part1" / f"{name}.jpg", i)
    data = load_dataset(tmp_path, config=EVEN)
    assert len(data) == 80
    side = {(Path(i).name.split(".")[0], s) for i, s in zip(data.ids, data.split, strict=True)}
    assert len(side) == 40


def test_utkface_names_that_say_too_little(tmp_path: Path) -> None:
    for i, name in enumerate(UTK):
        put(tmp_path / f"{name}.jpg", i)
    bad = ["39_1_20170116174525125.jpg.chip.jpg", "20_2_0_20170116174525125.jpg"]
    for name in bad:
        put(tmp_path / name)
    data = load_dataset(tmp_path, config=EVEN)
    assert len(data) == 40
    found = {f.code: f for f in data.findings}["NAMES-NOT-READ"]
    assert (found.state, found.count, found.of) == ("found", 2, 42)
    assert sorted(found.examples) == sorted(bad)


def test_utkface_targets(tmp_path: Path) -> None:
    for i, name in enumerate(UTK):
        put(tmp_path / f"{name}.jpg", i)
    assert load_dataset(tmp_path, target="race", config=EVEN).classes[1] == "Black"
    ages = load_dataset(tmp_path, target="age", config=EVEN)
    assert ages.is_number and ages.numbers == ("age",)
    words = [ages.classes[code] for code in ages.label]
    assert words == [Path(i).name.split("_")[0] for i in ages.ids]
    with pytest.raises(TargetError, match="did you mean 'gender'"):
        load_dataset(tmp_path, target="Gendre", config=EVEN)
    with pytest.raises(LayoutError, match="as LFW names them"):
        load_dataset(tmp_path, layout="lfw")


def test_real_utkface() -> None:
    data = load_dataset(real("utkface"))
    assert len(data) == 6000
    genders = [int(i.split("_")[1]) for i in data.ids]
    assert data.label.tolist() == [1 - g for g in genders]
    assert data.attributes["age"].data.tolist() == [int(i.split("_")[0]) for i in data.ids]


# --- FairFace ------------------------------------------------------------------------------------

FAIR = [
    ("train/1.jpg", "50-59", "Male", "East Asian", "True"),
    ("train/2.jpg", "3-9", "Female", "Black", "False"),
    ("train/3.jpg", "more than 70", "Female", "Latino_Hispanic", "False"),
    ("val/1.jpg", "10-19", "Male", "White", "False"),
    ("val/2.jpg", "3-9", "Female", "Indian", "True"),
]


def fairface(root: Path, names: tuple[str, str], inner: str = "") -> None:
    root.mkdir(exist_ok=True)
    for name, split in zip(names, ("train", "val"), strict=True):
        rows = [",".join(r) for r in FAIR if r[0].startswith(split)]
        (root / name).write_text("\n".join(["file,age,gender,race,service_test", *rows, ""]))
    for i, row in enumerate(FAIR):
        put(root / inner / row[0], i)


@pytest.mark.parametrize(
    "names",
    [
        ("fairface_label_train.csv", "fairface_label_val.csv"),
        ("train_labels.csv", "val_labels.csv"),
    ],
)
@pytest.mark.parametrize("inner", ["", "fairface-img-margin025-trainval"])
def test_fairface(tmp_path: Path, names: tuple[str, str], inner: str) -> None:
    fairface(tmp_path, names, inner)
    data = load_dataset(tmp_path)
    assert (data.layout, data.target, data.classes) == ("fairface", "gender", ("Female", "Male"))
    assert [data.classes[c] for c in data.label] == [r[2] for r in FAIR]
    assert data.split.tolist() == ["train"] * 3 + ["validation"] * 2
    assert data.attributes["age"].values == ("3-9", "10-19", "50-59", "more than 70")
    assert data.attributes["age"].words() == [r[1] for r in FAIR]
    assert data.attributes["race"].words() == [r[3] for r in FAIR]
    yes = {"True": "yes", "False": "no"}
    assert data.attributes["service_test"].words() == [yes[r[4]] for r in FAIR]
    for i, row in enumerate(FAIR):
        assert data.source.read(i) == (tmp_path / inner / row[0]).read_bytes()
    assert {f.code for f in data.findings if f.state == "found"} == {"NO-TEST-SPLIT"}


def test_fairface_with_pictures_elsewhere_and_ages_from_a_spreadsheet(tmp_path: Path) -> None:
    names = ("fairface_label_train.csv", "fairface_label_val.csv")
    fairface(tmp_path / "labels", names)
    before = load_dataset(tmp_path / "labels")
    (tmp_path / "pictures").mkdir()
    for name in ("train", "val"):
        (tmp_path / "labels" / name).rename(tmp_path / "pictures" / name)
    for name in names:
        file = tmp_path / "labels" / name
        file.write_text(file.read_text().replace("3-9", "03-Sep"))
    data = load_dataset(
        tmp_path / "labels", config=DataConfig(image_folder=str(tmp_path / "pictures"))
    )
    assert data.layout == "fairface"
    assert data.ids.tolist() == before.ids.tolist()
    assert data.attributes["age"].words() == before.attributes["age"].words()
    assert data.source.read(0) == (tmp_path / "pictures" / data.ids[0]).read_bytes()


def test_fairface_without_pictures(tmp_path: Path) -> None:
    fairface(tmp_path, ("fairface_label_train.csv", "fairface_label_val.csv"))
    for row in FAIR:
        (tmp_path / row[0]).unlink()
    with pytest.raises(DataError, match="None of the 5 pictures"):
        load_dataset(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "notes.txt").write_text("no table")
    with pytest.raises(LayoutError, match=r"no fairface_label_train\.csv"):
        load_dataset(elsewhere, layout="fairface")


# --- LFW -----------------------------------------------------------------------------------------

PEOPLE = {
    f"{first}_{last}": n
    for n, (first, last) in enumerate(
        [(f, s) for f in ("Ada", "Bo", "Cy", "Di") for s in ("Ek", "Fu", "Go", "Ha", "Ip")], start=1
    )
}
FACES = [(p, i) for p, n in PEOPLE.items() for i in range(1, 1 + n % 3 + 1)]
SCORES = RNG.normal(size=(len(FACES), 3))


def lfw(root: Path, inner: str = "lfw") -> None:
    for seed, (person, i) in enumerate(FACES):
        put(root / inner / person / f"{person}_{i:04d}.jpg", seed)


def lfw_scores(root: Path) -> None:
    lines = ["#\tLFW attributes", "#\tperson\timagenum\tMale\tWearing Hat\tYouth"]
    for (person, i), scores in zip(FACES, SCORES, strict=True):
        lines.append("\t".join([person.replace("_", " "), str(i), *(f"{s:.6f}" for s in scores)]))
    (root / "lfw_attributes.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("inner", ["", "lfw", "lfw-deepfunneled/lfw-deepfunneled"])
def test_lfw_with_scores(tmp_path: Path, inner: str) -> None:
    lfw(tmp_path, inner)
    lfw_scores(tmp_path)
    data = load_dataset(tmp_path, config=EVEN)
    assert (data.layout, data.target, data.classes) == ("lfw", "Male", ("Female", "Male"))
    assert [Path(i).stem for i in data.ids] == [f"{p}_{i:04d}" for p, i in FACES]
    assert data.label.tolist() == (SCORES[:, 0] > 0).astype(int).tolist()
    assert data.attributes["Wearing Hat"].data.tolist() == (SCORES[:, 1] > 0).astype(int).tolist()
    assert data.attributes["Youth"].values == ("no", "yes")
    person = np.array([p for p, _ in FACES])
    assert data.person is not None
    pairs = set(zip(person.tolist(), data.person.tolist(), strict=True))
    assert len(pairs) == len(PEOPLE) == len({number for _, number in pairs})
    for name in PEOPLE:
        assert len(set(data.split[person == name])) == 1
    assert data.source.read(3) == (tmp_path / data.ids[3]).read_bytes()


def test_lfw_scores_that_do_not_fit(tmp_path: Path) -> None:
    lfw(tmp_path)
    lfw_scores(tmp_path)
    file = tmp_path / "lfw_attributes.txt"
    whole = file.read_text()
    file.write_text(whole + "Nobody Here\t1\t1.0\t1.0\t1.0\n")
    found = {f.code: f for f in load_dataset(tmp_path, config=EVEN).findings if f.state == "found"}
    assert found["LABELS-WITHOUT-IMAGE"].examples == ("Nobody_Here 1",)
    file.write_text(whole + "Nobody Here\t1\t1.0\n")
    with pytest.raises(DataError, match=f"line {len(FACES) + 3}: 3 fields"):
        load_dataset(tmp_path)
    file.write_text(whole + "Nobody Here\t1\t1.0\tx\t1.0\n")
    with pytest.raises(DataError, match="score of Wearing Hat that is no number"):
        load_dataset(tmp_path)
    file.write_text(whole + "Nobody Here\tx\t1.0\t1.0\t1.0\n")
    with pytest.raises(DataError, match="picture number 'x'"):
        load_dataset(tmp_path)


def is_male(person: str) -> bool:
    return person.startswith(("Bo", "Cy"))


def test_lfw_with_lists_of_names(tmp_path: Path) -> None:
    lfw(tmp_path)
    male = [f"{p}_{i:04d}.jpg" for p, i in FACES if is_male(p)]
    (tmp_path / "male_names.txt").write_text("\r\n".join(male))
    female = sorted({p for p, _ in FACES if not is_male(p)})  # people, not pictures
    (tmp_path / "female_names.txt").write_text("\n".join(female) + "\n")
    data = load_dataset(tmp_path, config=EVEN)
    assert (data.target, data.classes) == ("gender", ("Female", "Male"))
    assert len(data) == len(FACES)
    assert data.label.tolist() == [is_male(Path(i).name) for i in data.ids]


def test_lfw_with_a_csv_of_people(tmp_path: Path) -> None:
    lfw(tmp_path)
    rows = [f"{p},{PEOPLE[p]},{'male' if is_male(p) else 'female'}" for p in PEOPLE]
    (tmp_path / "people.csv").write_text("\n".join(["name,images,gender", *rows]))
    (tmp_path / "lfw_allnames.csv").write_text(
        "name,images\n" + "\n".join(f"{p},1" for p in PEOPLE)
    )
    data = load_dataset(tmp_path, config=EVEN)
    assert (data.target, data.classes) == ("gender", ("female", "male"))
    assert len(data) == len(FACES)
    assert data.label.tolist() == [is_male(Path(i).name) for i in data.ids]


def test_lfw_without_labels(tmp_path: Path) -> None:
    lfw(tmp_path)
    with pytest.raises(LayoutError, match="no table of their attributes"):
        load_dataset(tmp_path)
