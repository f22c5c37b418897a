from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn import put, real

from candid.data.joining import load_labels
from candid.data.layouts import load_dataset
from candid.data.targets import select_target
from candid.errors import ConfigError, DataError, LayoutError, TargetError
from candid.settings import DataConfig

NAMES = ["Eyeglasses", "Male", "No_Beard", "Wearing_Hat"]
N = 24
RNG = np.random.default_rng(0)
VALUES = RNG.choice([-1, 1], (N, len(NAMES)))
SPLIT = np.arange(N) % 3
PERSON = 100 + np.arange(N) // 6
FILES = [f"{i:06d}.jpg" for i in range(1, N + 1)]


def write(root: Path, *, anno: str = "", evaluation: str = "", img: str = "") -> None:
    """CelebA as published: a count, names with a space after them, values two characters wide."""
    for folder in (anno, evaluation, img):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(FILES):
        put(root / img / "img_align_celeba" / name, i)
    rows = "".join(
        f"{name} {' '.join(f'{v:2d}' for v in row)}\n"
        for name, row in zip(FILES, VALUES, strict=True)
    )
    (root / anno / "list_attr_celeba.txt").write_text(f"{N}\n{' '.join(NAMES)} \n{rows}")
    (root / anno / "identity_CelebA.txt").write_text(
        "".join(f"{n} {p}\n" for n, p in zip(FILES, PERSON, strict=True))
    )
    (root / evaluation / "list_eval_partition.txt").write_text(
        "".join(f"{n} {s}\n" for n, s in zip(FILES, SPLIT, strict=True))
    )


def published(root: Path) -> None:
    write(root, anno="Anno", evaluation="Eval", img="Img")


def nested(root: Path) -> None:
    write(root)
    (root / "img_align_celeba").rename(root / "inner")
    (root / "img_align_celeba").mkdir()
    (root / "inner").rename(root / "img_align_celeba" / "img_align_celeba")


def kaggle(root: Path) -> None:
    nested(root)
    for file in root.glob("*.txt"):
        if "attr" in file.name:
            lines = [",".join(["image_id", *NAMES])]
            lines += [f"{n},{','.join(map(str, v))}" for n, v in zip(FILES, VALUES, strict=True)]
            file.with_suffix(".csv").write_text("\r\n".join(lines) + "\r\n")
        elif "partition" in file.name:
            lines = ["image_id,partition", *file.read_text().replace(" ", ",").split()]
            file.with_suffix(".csv").write_text("\n".join(lines))
        if "identity" not in file.name:
            file.unlink()


def as_png(root: Path) -> None:
    write(root)
    (root / "img_align_celeba").rename(root / "img_align_celeba_png")
    for file in (root / "img_align_celeba_png").iterdir():
        file.rename(file.with_suffix(".png"))


def unpacked(root: Path) -> None:
    write(root / "CelebA-download")


@pytest.mark.parametrize("make", [write, published, nested, kaggle, as_png, unpacked])
def test_everything_is_as_written(tmp_path: Path, make: Callable[[Path], None]) -> None:
    root = tmp_path / "faces"
    make(root)
    data = load_dataset(root)
    assert (data.layout, data.target, data.classes) == ("celeba", "Male", ("Female", "Male"))
    assert [Path(i).stem for i in data.ids] == [Path(f).stem for f in FILES]
    assert data.label.tolist() == (VALUES[:, 1] > 0).astype(int).tolist()
    assert data.split.tolist() == np.array(["train", "validation", "test"])[SPLIT].tolist()
    assert data.person is not None
    assert data.person.tolist() == PERSON.tolist()
    assert list(data.attributes) == ["Eyeglasses", "No_Beard", "Wearing_Hat"]
    for name, attribute in data.attributes.items():
        assert (attribute.kind, attribute.values) == ("binary", ("no", "yes"))
        assert attribute.data.tolist() == (VALUES[:, NAMES.index(name)] > 0).astype(int).tolist()
    written = {p.stem: p.read_bytes() for p in root.rglob("0*.*g")}
    for i, name in enumerate(FILES):
        assert data.source.read(i) == written[Path(name).stem]
    assert {f.code for f in data.findings if f.state == "found"} == set()


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        ("Wearing_Hat", ("not Wearing Hat", "Wearing Hat")),
        ("No_Beard", ("Beard", "No Beard")),
        ("Male", ("Female", "Male")),
    ],
)
def test_another_target(tmp_path: Path, target: str, classes: tuple[str, str]) -> None:
    write(tmp_path)
    data = load_dataset(tmp_path, target=target)
    assert data.classes == classes
    assert data.label.tolist() == (VALUES[:, NAMES.index(target)] > 0).astype(int).tolist()
    assert target not in data.attributes
    assert len(data.attributes) == 3


def test_one_of_several_targets_has_the_words_that_it_has_alone(tmp_path: Path) -> None:
    write(tmp_path)
    config = DataConfig(targets=("Wearing_Hat", "*"))
    several = load_labels(tmp_path, config)
    assert several.targets == ("Wearing_Hat", "Eyeglasses", "Male", "No_Beard")
    mine = select_target(several, "Male", config)
    alone = load_dataset(tmp_path, target="Male")
    assert mine.classes == alone.classes == ("Female", "Male")
    assert np.array_equal(mine.label, alone.label)
    assert mine.attributes["Wearing_Hat"].values == ("no", "yes")
    assert load_labels(tmp_path, DataConfig(targets=("*",))).target == "Male"


def test_without_a_partition_people_stay_together(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "list_eval_partition.txt").unlink()
    pairs = np.arange(N) // 2
    lines = "".join(f"{n} {p}\n" for n, p in zip(FILES, pairs, strict=True))
    (tmp_path / "identity_CelebA.txt").write_text(lines)
    data = load_dataset(tmp_path, config=DataConfig(validation_share=0.4, test_share=0.2))
    assert set(data.split) == {"train", "validation", "test"}
    for person in np.unique(pairs):
        assert len(set(data.split[pairs == person])) == 1


def test_rows_without_picture_and_pictures_without_row(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "img_align_celeba" / FILES[3]).unlink()
    put(tmp_path / "img_align_celeba" / "000099.jpg")
    data = load_dataset(tmp_path)
    assert data.ids.tolist() == FILES[:3] + FILES[4:]
    found = {f.code: f for f in data.findings if f.state == "found"}
    assert set(found) == {"LABELS-WITHOUT-IMAGE", "IMAGES-WITHOUT-LABEL"}
    assert (found["LABELS-WITHOUT-IMAGE"].count, found["LABELS-WITHOUT-IMAGE"].of) == (1, N)
    assert found["LABELS-WITHOUT-IMAGE"].examples == (FILES[3],)
    assert found["IMAGES-WITHOUT-LABEL"].examples == ("000099.jpg",)


def test_pictures_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "labels")
    (tmp_path / "labels" / "img_align_celeba").rename(tmp_path / "faces")
    data = load_dataset(
        tmp_path / "labels", config=DataConfig(image_folder=str(tmp_path / "faces"))
    )
    assert (data.layout, data.ids.tolist()) == ("celeba", FILES)
    assert data.source.read(0) == (tmp_path / "faces" / FILES[0]).read_bytes()


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def _row(i: int) -> str:
    return f"{FILES[i]} {' '.join(f'{v:2d}' for v in VALUES[i])}\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (
            "list_attr_celeba.txt",
            _row(4),
            f"{FILES[4]} -1 1\n",
            r"attr_celeba.txt, line 7: 3 fields",
        ),
        ("list_attr_celeba.txt", _row(4), _row(4)[:-1] + " 1\n", r"line 7: 6 fields"),
        ("list_attr_celeba.txt", _row(4), f"{FILES[4]} x 1 1 1\n", r"line 7: Eyeglasses is 'x'"),
        ("list_attr_celeba.txt", _row(4), f"{FILES[4]} 0 1 1 1\n", r"line 7: Eyeglasses is '0'"),
        ("list_attr_celeba.txt", f"{N}\n", "hello\n", "does not begin as"),
        ("list_eval_partition.txt", f"{FILES[4]} 1", f"{FILES[4]} 7", f"'7' for {FILES[4]}"),
        ("list_eval_partition.txt", f"{FILES[4]} 1\n", "", f"no row for {FILES[4]}"),
        ("list_eval_partition.txt", f"{FILES[4]} 1\n", f"{FILES[4]}\n", "line 5: 1 fields"),
        ("identity_CelebA.txt", f"{FILES[4]} 100\n", f"{FILES[4]}\n", "line 5: 1 fields"),
    ],
)
def test_a_bad_label_file(tmp_path: Path, file: str, old: str, new: str, says: str) -> None:
    write(tmp_path)
    _edit(tmp_path / file, old, new)
    with pytest.raises(DataError, match=says) as caught:
        load_dataset(tmp_path)
    assert caught.value.expected
    assert caught.value.todo


def test_a_bad_value_in_the_csv_names_its_line(tmp_path: Path) -> None:
    kaggle(tmp_path)
    file = tmp_path / "list_attr_celeba.csv"
    lines = file.read_text().split("\n")
    lines[6] = f"{FILES[5]},1,1,x,1"
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match="line 7: No_Beard is 'x'"):
        load_dataset(tmp_path)


def test_an_empty_label_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    write(tmp_path)
    for content, says in (
        (b"", "does not begin"),
        (b"24\nA B\n\xff\xfe 1 1\n", "line 3: not UTF-8"),
    ):
        (tmp_path / "list_attr_celeba.txt").write_bytes(content)
        with pytest.raises(DataError, match=says):
            load_dataset(tmp_path)


def test_a_label_file_that_was_cut_off_between_lines(tmp_path: Path) -> None:
    write(tmp_path)
    _edit(tmp_path / "list_attr_celeba.txt", _row(N - 1), "")
    found = {f.code for f in load_dataset(tmp_path).findings if f.state == "found"}
    assert found == {"LABEL-COUNT", "IMAGES-WITHOUT-LABEL"}


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg", "..\\s.jpg"]
)
def test_a_name_that_leaves_the_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / "data")
    put(tmp_path / "secret.jpg")
    _edit(tmp_path / "data" / "list_attr_celeba.txt", FILES[4], name)
    with pytest.raises(DataError, match=r"Row 5 of list_attr_celeba.txt .*leaves the data folder"):
        load_dataset(tmp_path / "data")


def test_a_link_that_leaves_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "data")
    put(tmp_path / "secret.jpg")
    link = tmp_path / "data" / "img_align_celeba" / FILES[4]
    link.unlink()
    link.symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(DataError, match=r"Row 5 .*leaves the data folder"):
        load_dataset(tmp_path / "data")


def test_a_row_twice(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "list_attr_celeba.txt"
    other = VALUES[5] * [1, -1, 1, 1]
    text = file.read_text().replace(f"{N}\n", f"{N + 2}\n", 1) + _row(4)
    file.write_text(text + f"{FILES[5]} {' '.join(map(str, other))}\n")
    data = load_dataset(tmp_path)
    assert data.ids.tolist() == FILES
    expected = (VALUES[:, 1] > 0).astype(int)
    expected[5] = -1
    assert data.label.tolist() == expected.tolist()
    found = {f.code: f.examples for f in data.findings if f.state == "found"}
    assert found == {"ROWS-REPEATED": (FILES[4], FILES[5]), "ROWS-CONTRADICT": (FILES[5],)}


def test_unknown_target_and_attributes(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(TargetError, match="did you mean 'Eyeglasses'"):
        load_dataset(tmp_path, target="Eyeglases")
    with pytest.raises(ConfigError, match="did you mean 'Wearing_Hat'"):
        load_dataset(tmp_path, config=DataConfig(attributes=("Wearing_Hut",)))
    kept = load_dataset(tmp_path, config=DataConfig(attributes=("No_Beard", "Male"))).attributes
    assert list(kept) == ["No_Beard"]


def test_no_pictures_at_all(tmp_path: Path) -> None:
    write(tmp_path)
    shutil.rmtree(tmp_path / "img_align_celeba")
    with pytest.raises(LayoutError, match="no folder img_align_celeba"):
        load_dataset(tmp_path)
    (tmp_path / "img_align_celeba").mkdir()
    with pytest.raises(DataError, match=f"None of the {N} pictures"):
        load_dataset(tmp_path)


def test_one_class_only_in_train(tmp_path: Path) -> None:
    write(tmp_path)
    wanted = np.where(VALUES[:, 1] > 0, 0, 1)
    lines = "".join(f"{n} {s}\n" for n, s in zip(FILES, wanted, strict=True))
    (tmp_path / "list_eval_partition.txt").write_text(lines)
    with pytest.raises(TargetError, match="one class only"):
        load_dataset(tmp_path)


def test_real_celeba() -> None:
    folder = real("celeba64")
    data = load_dataset(folder)
    assert {s: len(data.rows(s)) for s in ("train", "validation", "test")} == {
        "train": 24_152,
        "validation": 2_945,
        "test": 2_903,
    }
    assert len(data.attributes) == 39
    lines = (folder / "list_attr_celeba.txt").read_text().split("\n")
    male = lines[1].split().index("Male") + 1
    for i in range(0, len(data), 997):  # against a plain reading of the same lines
        cells = lines[i + 2].split()
        assert data.ids[i] == cells[0]
        assert data.label[i] == (cells[male] == "1")
    assert data.source.read(0)[:2] == b"\xff\xd8"
