"""The door: which layout, and what is no data at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn import put

from candid.data.layouts import LAYOUTS, load_dataset
from candid.errors import ConfigError, DataError, LayoutError, TargetError
from candid.settings import DataConfig


def test_the_layouts_there_are() -> None:
    assert list(LAYOUTS) == [
        "celeba",
        "fairface",
        "lfw",
        "utkface",
        "huggingface",
        "webdataset",
        "table",
        "folder",
    ]


def test_a_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "celeba64").mkdir()
    with pytest.raises(DataError, match=r"no folder or table .*celeba46") as caught:
        load_dataset(tmp_path / "celeba46")
    assert caught.value.todo == "did you mean 'celeba64'?"
    with pytest.raises(DataError, match="no folder or table"):
        load_dataset(tmp_path / "a" / "b")


def test_an_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="did you mean 'celeba'"):
        load_dataset(tmp_path, layout="celebA-HQ")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        load_dataset(tmp_path)


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    with pytest.raises(LayoutError, match="neither a folder nor a table"):
        load_dataset(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["faces.zip", "faces.tar.gz", "labels.csv.gz", "FACES.7Z"])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(LayoutError, match="is a compressed archive") as caught:
        load_dataset(tmp_path / name)
    assert "unpack it" in caught.value.todo


def test_a_label_that_is_not_the_only_column(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,sex\na.jpg,m\nb.jpg,f\n")
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(TargetError, match="the only column with annotations"):
        load_dataset(tmp_path, target="age")


def test_a_folder_that_fits_no_layout_says_what_was_seen(tmp_path: Path) -> None:
    for name in ("notes.txt", "more.txt", "thesis.pdf"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    with pytest.raises(
        LayoutError, match=r"1 folder \(sub\); 2 files with \.txt; 1 file with \.pdf"
    ):
        load_dataset(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_was_named_and_does_not_fit(tmp_path: Path, layout: str) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path, layout=layout)
    assert caught.value.expected
    assert caught.value.todo


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_named_layout_on_a_table(tmp_path: Path, layout: str) -> None:
    (tmp_path / "labels.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path / "labels.csv", layout=layout)
    assert caught.value.expected


def test_data_in_the_only_folder_there_is_found_again_by_the_layout_s_name(tmp_path: Path) -> None:
    """As a run's config.toml names it."""
    for split in ("train", "val"):
        for name in "ab":
            put(tmp_path / "archive" / "inner" / split / name / "1.jpg")
    data = load_dataset(tmp_path)
    again = load_dataset(Path(data.origin), layout=data.layout, target=data.target)
    assert again.ids.tolist() == data.ids.tolist() == [
        "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg"
    ]  # fmt: skip
    assert again.name == data.name == "inner"


def test_an_image_folder_where_there_is_none_to_name(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        put(tmp_path / "data" / name / "1.jpg")
    gone = DataConfig(image_folder=str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"gone, which is no folder") as caught:
        load_dataset(tmp_path / "data", config=gone)
    assert "--image-folder" in caught.value.todo
    config = DataConfig(image_folder=str(tmp_path))
    with pytest.raises(LayoutError, match="elsewhere fits") as caught:
        load_dataset(tmp_path / "data", config=config)
    assert "--image-folder" in caught.value.todo
    with pytest.raises(ConfigError, match="layout 'folder' has its pictures where"):
        load_dataset(tmp_path / "data", layout="folder", config=config)
    (tmp_path / "a.tar").touch()
    with pytest.raises(ConfigError, match="layout 'webdataset' has its pictures where"):
        load_dataset(tmp_path / "*.tar", config=config)


def test_a_relative_image_folder_is_kept_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert DataConfig(image_folder="pics").image_folder == str(tmp_path / "pics")
    assert DataConfig().image_folder == ""
