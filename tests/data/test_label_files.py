"""Labels written for others are read back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import candid
from candid.data.dataset import Dataset
from candid.data.label_files import write_labels
from candid.errors import ConfigError, OutputError


@pytest.fixture
def faces(tmp_path: Path) -> Dataset:
    folder = tmp_path / "faces"
    folder.mkdir()
    lines = ["path,kind,person,split,age,hat"]
    for i in range(12):
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(folder / f"{i}.png")
        split = ["train", "train", "val", "test"][i % 4]
        lines.append(f"{i}.png,{['cat', 'dog'][i // 4 % 2]},{i // 3},{split},{i}.5,{i % 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return candid.load(folder, target="kind")


@pytest.mark.parametrize(
    "name", ["new/labels.csv", "faces/metadata.jsonl", "labels.csv", "new/metadata.csv"]
)
def test_a_table_is_read_back(faces: Dataset, tmp_path: Path, name: str) -> None:
    some = faces[faces.ids != "3.png"]
    (file,) = write_labels(tmp_path / name, some)
    if file.suffix == ".jsonl":
        assert json.loads(file.read_text().splitlines()[0])["file_name"] == "0.png"
    if file.name == "metadata.csv":
        assert file.read_text().startswith("file_name,kind,")
    again = candid.load(file, target="kind")
    assert again.classes == some.classes
    assert [Path(i).name for i in again.ids.tolist()] == some.ids.tolist()
    for field in ("label", "split", "person"):
        assert (getattr(again, field) == getattr(some, field)).all()
    assert (again.attributes["age"].data == some.attributes["age"].data).all()
    assert again.attributes["hat"].values == some.attributes["hat"].values
    assert [again.source.read(i) for i in range(11)] == [some.source.read(i) for i in range(11)]


def celeba(folder: Path) -> None:
    (folder / "img_align_celeba").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(9):
        name = f"{i + 1:06d}.jpg"
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(folder / "img_align_celeba" / name)
        rows.append(f"{name} {' '.join(map(str, rng.choice([-1, 1], 2)))} {[-1, 1][i % 2]}")
    text = "\n".join(["9", "Bald Hat Male", *rows]) + "\n"
    (folder / "list_attr_celeba.txt").write_text(text)
    for name, value in (("list_eval_partition.txt", 3), ("identity_CelebA.txt", 4)):
        lines = [f"{i + 1:06d}.jpg {i % value}" for i in range(9)]
        (folder / name).write_text("\n".join(lines) + "\n")


def test_celeba_is_read_back(tmp_path: Path) -> None:
    celeba(tmp_path / "a")
    before = candid.load(tmp_path / "a")
    files = write_labels(tmp_path / "b" / "list_attr_celeba.txt", before)
    assert [f.name for f in files] == [
        "list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt",
    ]  # fmt: skip
    (tmp_path / "b" / "img_align_celeba").symlink_to(tmp_path / "a" / "img_align_celeba")
    again = candid.load(tmp_path / "b")
    for field in ("ids", "label", "split", "person"):
        assert (getattr(again, field) == getattr(before, field)).all()
    for name in ("Bald", "Hat"):
        assert (again.attributes[name].data == before.attributes[name].data).all()


def test_what_cannot_be_written_is_said(faces: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not say how"):
        write_labels(tmp_path / "labels.xlsx", faces)
    with pytest.raises(ConfigError, match="cannot be written as CelebA's"):
        write_labels(tmp_path / "list_attr_celeba.txt", faces)


def test_no_file_of_the_data_is_written_over(tmp_path: Path) -> None:
    celeba(tmp_path / "a")
    before = candid.load(tmp_path / "a")
    files = {file: file.read_bytes() for file in (tmp_path / "a").iterdir() if file.is_file()}
    with pytest.raises(OutputError, match="stands among the data"):
        write_labels(tmp_path / "a" / "list_attr_celeba.txt", before)
    (tmp_path / "a" / "list_attr_celeba.txt").rename(tmp_path / "list.txt")
    with pytest.raises(OutputError, match="list_eval_partition"):  # which would go along
        write_labels(tmp_path / "a" / "list_attr_celeba.txt", before)
    (tmp_path / "list.txt").rename(tmp_path / "a" / "list_attr_celeba.txt")
    assert all(file.read_bytes() == data for file, data in files.items())
