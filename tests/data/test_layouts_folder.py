from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from drawn import put

from candid.data import splits
from candid.data.layouts import load_dataset
from candid.errors import DataError, LayoutError, TargetError
from candid.settings import DataConfig


def write(root: Path, *folders: str, n: int = 3) -> list[str]:
    """n pictures in each folder; their ids."""
    ids = [f"{folder}/{i}.jpg" for folder in folders for i in range(n)]
    for seed, name in enumerate(ids):
        put(root / name, seed)
    return sorted(ids)


def check(root: Path, ids: Sequence[str], classes: tuple[str, ...], depth: int) -> None:
    data = load_dataset(root)
    assert (data.layout, data.target, data.classes) == ("folder", "class", classes)
    assert data.ids.tolist() == ids
    assert [data.classes[c] for c in data.label] == [i.split("/")[depth] for i in ids]
    for row, name in enumerate(ids):
        assert data.source.read(row) == (root / name).read_bytes()


@pytest.mark.parametrize("val", ["val", "valid", "Validation", "dev"])
def test_split_folders(tmp_path: Path, val: str) -> None:
    ids = write(
        tmp_path, "train/b", "train/a 2", "train/a 10", f"{val}/b", f"{val}/a 2/deep", "test/b"
    )
    check(tmp_path, ids, ("a 2", "a 10", "b"), depth=1)
    data = load_dataset(tmp_path)
    assert [i.split("/")[0] for i in ids] == [
        val if s == "validation" else s for s in data.split.tolist()
    ]


def test_without_split_a_hash_of_the_id_decides(tmp_path: Path) -> None:
    ids = write(tmp_path, "cat", "dog", "owl", n=20)
    check(tmp_path, ids, ("cat", "dog", "owl"), depth=0)
    data = load_dataset(tmp_path)
    group = splits.hash_keys([f"image {i}" for i in ids])
    assert data.split.tolist() == splits.split_groups(group, data.label, 0.1, 0.1).tolist()
    (tmp_path / "dog" / "1.jpg").unlink()  # what remains stays where it was
    fewer = load_dataset(tmp_path)
    assert (
        dict(zip(data.ids, data.split, strict=True)).items()
        > dict(zip(fewer.ids, fewer.split, strict=True)).items()
    )


def test_train_and_test_alone(tmp_path: Path) -> None:
    ids = write(tmp_path, "train/a", "train/b", "test/a", "test/b", n=20)
    data = load_dataset(tmp_path)
    assert np.array_equal(data.split == "test", [i.startswith("test/") for i in ids])
    assert "VALIDATION-FROM-TRAIN" in {f.code for f in data.findings}


def test_no_test(tmp_path: Path) -> None:
    write(tmp_path, "train/a", "train/b", "val/a", "val/b")
    assert "NO-TEST-SPLIT" in {f.code for f in load_dataset(tmp_path).findings}


def test_an_archive_in_a_folder_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "x" / "y", "train/a", "train/b", "val/a", "val/b")
    assert len(load_dataset(tmp_path)) == 12


def test_a_target_that_is_not_the_folders_names(tmp_path: Path) -> None:
    write(tmp_path, "train/a", "train/b", "val/a", "val/b")
    assert load_dataset(tmp_path, target="class").target == "class"  # as a run's config.toml has it
    with pytest.raises(TargetError, match="no label called 'Shape'") as caught:
        load_dataset(tmp_path, target="Shape")
    assert "--target" in caught.value.todo


def test_names_for_folders(tmp_path: Path) -> None:
    write(tmp_path, "train/0", "train/1", "train/2", "val/0", "val/1")
    config = DataConfig(class_names=("0=Female", "1=Male"), exclude_classes=("2",))
    data = load_dataset(tmp_path, config=config)
    assert data.classes == ("Female", "Male")
    assert data.label.tolist() == [int(i.split("/")[1]) for i in data.ids]
    assert len(data) == 12


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    write(tmp_path, "train/a", "train/b", "val/a", "val/b", "extra/a", "__MACOSX/a")
    put(tmp_path / "train" / "loose.jpg")
    put(tmp_path / "train" / "a" / "._0.jpg")
    (tmp_path / "train" / "a" / "notes.txt").write_text("x")
    data = load_dataset(tmp_path)
    assert len(data) == 12
    found = {f.code: f.examples for f in data.findings if f.state == "found"}
    assert found["IMAGES-WITHOUT-LABEL"] == (
        "extra/a/0.jpg",
        "extra/a/1.jpg",
        "extra/a/2.jpg",
        "train/loose.jpg",
    )
    assert found["FILES-LEFT-OUT"] == ("train/a/notes.txt",)


def test_a_name_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "train/a", "train/b", "val/a", "val/ü")
    (tmp_path / "train" / "b" / os.fsdecode(b"caf\xe9.jpg")).touch()
    data = load_dataset(tmp_path)
    assert len(data) == 12
    assert data.classes == ("a", "b", "ü")
    found = {f.code: f.examples for f in data.findings if f.state == "found"}
    assert found["FILES-LEFT-OUT"] == (r"train/b/'caf\udce9.jpg'",)


def test_links(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(data, "train/a", "train/b", "val/a", "val/b")
    (data / "train" / "a" / "loop").symlink_to("..")
    assert len(load_dataset(data)) == 12
    put(tmp_path / "outside" / "x.jpg")
    (data / "train" / "c").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match=r"The link 'train/c' leaves the data folder"):
        load_dataset(data)


@pytest.mark.parametrize(
    ("folders", "kind", "says"),
    [
        (["only"], TargetError, "one class only"),
        (["train/a", "val/a"], TargetError, "one class only"),
        (["train/a", "val/a", "val/b"], TargetError, "Training would see one class only"),
        (["val/a", "val/b", "test/a"], DataError, "The train split of .* is empty"),
    ],
)
def test_what_cannot_be_learned(
    tmp_path: Path, folders: list[str], kind: type[DataError], says: str
) -> None:
    write(tmp_path, *folders)
    with pytest.raises(kind, match=says):
        load_dataset(tmp_path)


def test_a_split_that_is_empty(tmp_path: Path) -> None:
    write(tmp_path, "a", "b", n=20)
    with pytest.raises(DataError, match=r"The validation split of .* is empty"):
        load_dataset(tmp_path, config=DataConfig(validation_share=0.0))


def test_pictures_without_folders(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    with pytest.raises(LayoutError, match=r"No layout fits .*1 file with \.jpg"):
        load_dataset(tmp_path)
    with pytest.raises(LayoutError, match="do not lie in folders"):
        load_dataset(tmp_path, layout="folder")
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="no pictures"):
        load_dataset(tmp_path, layout="folder")
