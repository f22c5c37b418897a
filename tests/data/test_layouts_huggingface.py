"""The files are written as `datasets` 5.2 writes them, by Arrow alone."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import jpeg

from candid.data.layouts import load_dataset
from candid.errors import DataError, LayoutError, TargetError
from candid.settings import DataConfig

FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["Female", "Male"], "_type": "ClassLabel"},
    "age": {"dtype": "int32", "_type": "Value"},
    "hat": {"dtype": "bool", "_type": "Value"},
    "box": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"},
}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PARTS = {"train": (0, 24), "validation": (24, 36), "test": (36, 44)}
LABEL = [i % 2 for i in range(44)]
HAT = [i % 3 == 0 for i in range(44)]
AGE = [20 + i for i in range(44)]


def rows(first: int, last: int, *, names: bool = True, features: bool = True) -> pa.Table:
    span = range(first, last)
    images = [{"bytes": jpeg(i), "path": f"face{i}.jpg" if names else None} for i in span]
    table = pa.table(
        {
            "image": pa.array(images, IMAGE),
            "label": pa.array([LABEL[i] for i in span], pa.int64()),
            "age": pa.array([AGE[i] for i in span], pa.int32()),
            "hat": pa.array([HAT[i] for i in span], pa.bool_()),
            "box": pa.array([[0.0, 1.0] for _ in span], pa.list_(pa.float32())),
        }
    )
    info = json.dumps({"info": {"features": FEATURES}})
    return table.replace_schema_metadata({"huggingface": info} if features else None)


def save(folder: Path, table: pa.Table, shards: int) -> None:
    """As Dataset.save_to_disk: Arrow's stream format, a state and the features."""
    folder.mkdir(parents=True)
    bounds = np.linspace(0, len(table), shards + 1).astype(int)
    names = []
    for k in range(shards):
        names.append(f"data-{k:05d}-of-{shards:05d}.arrow")
        with (
            pa.OSFile(str(folder / names[-1]), "wb") as sink,
            pa.ipc.new_stream(sink, table.schema) as writer,
        ):
            writer.write_table(table.slice(bounds[k], bounds[k + 1] - bounds[k]), max_chunksize=5)
    state = {"_data_files": [{"filename": n} for n in names], "_fingerprint": "0", "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def saved(root: Path, **how: Any) -> None:
    for split, span in PARTS.items():
        save(root / split, rows(*span, **how), 2 if split == "train" else 1)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": list(PARTS)}))


def hub(root: Path, **how: Any) -> None:
    (root / "data").mkdir(parents=True)
    for split, (first, last) in PARTS.items():
        middle = (first + last) // 2
        for k, span in enumerate(((first, middle), (middle, last))):
            file = root / "data" / f"{split}-{k:05d}-of-00002.parquet"
            pq.write_table(rows(*span, **how), file, row_group_size=5)


def converted(root: Path, **how: Any) -> None:
    for split, span in PARTS.items():
        (root / "default" / split).mkdir(parents=True)
        pq.write_table(rows(*span, **how), root / "default" / split / "0000.parquet")


@pytest.mark.parametrize("make", [saved, hub, converted])
@pytest.mark.parametrize("names", [True, False])
def test_everything_is_as_written(tmp_path: Path, make: Any, names: bool) -> None:
    make(tmp_path / "set", names=names)
    data = load_dataset(tmp_path / "set")
    assert (data.layout, data.target, data.classes) == ("huggingface", "label", ("Female", "Male"))
    assert len(data) == 44
    at = (data.attributes["age"].data - 20).astype(int)  # files are read in alphabetical order
    assert sorted(at) == list(range(44))
    assert data.label.tolist() == [LABEL[i] for i in at]
    assert data.attributes["hat"].words() == [("no", "yes")[HAT[i]] for i in at]
    part = {i: s for s, span in PARTS.items() for i in range(*span)}
    assert data.split.tolist() == [part[i] for i in at]
    assert len(set(data.ids)) == 44
    if names:
        assert data.ids.tolist() == [f"face{i}.jpg" for i in at]
    for source in (data.source, pickle.loads(pickle.dumps(data.source))):
        assert [source.read(row) for row in range(44)] == [jpeg(i) for i in at]
    found = {f.code: f.detail for f in data.findings if f.state == "found"}
    assert set(found) == {"COLUMNS-LEFT-OUT"}
    assert "box" in found["COLUMNS-LEFT-OUT"]


def test_one_saved_dataset_is_split_by_hash(tmp_path: Path) -> None:
    save(tmp_path / "one", rows(0, 44), 3)
    data = load_dataset(tmp_path / "one", config=DataConfig(validation_share=0.3, test_share=0.2))
    assert set(data.split) == {"train", "validation", "test"}
    assert data.ids.tolist() == [f"face{i}.jpg" for i in range(44)]
    assert data.source.read(43) == jpeg(43)


def test_one_parquet_file_with_a_split_column(tmp_path: Path) -> None:
    part = {i: s for s, span in PARTS.items() for i in range(*span)}
    table = rows(0, 44).append_column("split", pa.array([part[i] for i in range(44)]))
    pq.write_table(table, tmp_path / "faces.parquet")
    for path in (tmp_path / "faces.parquet", tmp_path):
        data = load_dataset(path)
        assert data.layout == "huggingface"
        assert data.split.tolist() == list(part.values())


def test_without_features_labels_are_yes_or_no(tmp_path: Path) -> None:
    hub(tmp_path, features=False)
    assert load_dataset(tmp_path).classes == ("not label", "label")
    assert load_dataset(tmp_path, target="hat").classes == ("not hat", "hat")


def test_features_beside_the_arrow_files(tmp_path: Path) -> None:
    save(tmp_path / "one", rows(0, 44, features=False), 1)
    config = DataConfig(validation_share=0.3, test_share=0.2)
    assert load_dataset(tmp_path / "one", config=config).classes == ("Female", "Male")


def test_class_labels_that_are_missing_or_unknown(tmp_path: Path) -> None:
    table = rows(0, 44)
    where = table.column_names.index("label")
    some = pa.array([-1, *LABEL[1:]], pa.int64())
    config = DataConfig(validation_share=0.3, test_share=0.2)
    save(tmp_path / "some", table.set_column(where, "label", some), 1)
    assert load_dataset(tmp_path / "some", config=config).label[:2].tolist() == [-1, 1]
    wrong = pa.array([7, *LABEL[1:]], pa.int64())
    save(tmp_path / "wrong", table.set_column(where, "label", wrong), 1)
    with pytest.raises(TargetError, match="holds 7, which is none of its 2 classes"):
        load_dataset(tmp_path / "wrong", config=config)


def test_nested_annotations(tmp_path: Path) -> None:
    inner = pa.array([{"Male": bool(x), "Young": True} for x in LABEL])
    table = rows(0, 44).select(["image", "age"]).append_column("attributes", inner)
    save(tmp_path / "one", table.replace_schema_metadata(None), 1)
    config = DataConfig(validation_share=0.3, test_share=0.2)
    data = load_dataset(tmp_path / "one", target="attributes.Male", config=config)
    assert data.label.tolist() == LABEL
    assert set(data.attributes) == {"age", "attributes.Young"}


def test_images_that_are_not_embedded(tmp_path: Path) -> None:
    cells = pa.array([{"bytes": None, "path": f"/x/{i}.jpg"} for i in range(44)], IMAGE)
    save(tmp_path / "one", rows(0, 44).set_column(0, "image", cells), 1)
    with pytest.raises(DataError, match="a path but no bytes"):
        load_dataset(tmp_path / "one")


def test_no_image_column(tmp_path: Path) -> None:
    save(tmp_path / "one", rows(0, 44).drop_columns(["image"]), 1)
    with pytest.raises(LayoutError, match=r"No column of .* holds images"):
        load_dataset(tmp_path / "one")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("dataset_dict.json", "{", "Cannot read .*dataset_dict.json"),
        ("dataset_dict.json", '{"splits": 3}', "names no splits"),
        ("dataset_dict.json", '{"splits": ["../train"]}', "leaves the data folder"),
        ("train/state.json", '{"_data_files": [{"filename": "/etc/passwd"}]}', "leaves the data"),
        ("train/state.json", '{"_data_files": 3}', "names no files"),
        ("train/state.json", '{"_indices_files": ["x"]}', "list of indices"),
        ("train/state.json", None, "Cannot read .*state.json"),
        ("train/data-00001-of-00002.arrow", "garbage", "Cannot read .*00001-of-00002.arrow"),
    ],
)
def test_a_damaged_set(tmp_path: Path, file: str, content: str | None, says: str) -> None:
    saved(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(DataError, match=says) as caught:
        load_dataset(tmp_path)
    assert caught.value.todo


def test_several_configurations(tmp_path: Path) -> None:
    for name in ("0.25", "1.25"):
        (tmp_path / name).mkdir()
        pq.write_table(rows(0, 20), tmp_path / name / "train-00000-of-00001.parquet")
    with pytest.raises(LayoutError, match=r"several data sets: 0\.25, 1\.25"):
        load_dataset(tmp_path)


def test_a_shard_of_no_split_beside_others(tmp_path: Path) -> None:
    hub(tmp_path)
    pq.write_table(rows(0, 4), tmp_path / "data" / "extra.parquet")
    with pytest.raises(DataError, match=r"extra\.parquet does not say its split"):
        load_dataset(tmp_path)
