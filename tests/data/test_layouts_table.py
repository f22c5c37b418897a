from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn import put

import candid.tables.columns as columns
from candid.data.dataset import Dataset
from candid.data.layouts import load_dataset
from candid.data.layouts.assembly import check_learnable
from candid.data.layouts.pictures import ImageFiles
from candid.data.sources import FileSource
from candid.errors import ConfigError, DataError, ImageError, LayoutError, TargetError
from candid.settings import DataConfig
from candid.tables.delimited import read_delimited

N = 30
RNG = np.random.default_rng(2)
ONES = RNG.integers(0, 2, N)
ONES[:4] = 0, 1, 0, 1
SPLIT = ["train", "val", "test"] * (N // 3)
SPLIT[:4] = "train", "train", "val", "val"
COLUMNS: dict[str, list[Any]] = {
    "path": [f"pics/{i}.jpg" for i in range(N)],
    "label": [("cat", "dog")[x] for x in ONES],
    "hat": [("no", "Yes")[x] for x in ONES[::-1]],
    "wet": [("False", "True")[x] for x in ONES],
    "old": ONES.tolist(),
    "big": (2 * ONES - 1).tolist(),
    "grade": [i % 4 for i in range(N)],
    "age": [20.5 + i for i in range(N)],
    "colour": [("red", "green", "dark blue")[i % 3] for i in range(N)],
    "split": SPLIT,
    "person": [f"p{i // 3}" for i in range(N)],
    "note": [f"about picture {i}" for i in range(N)],
}


def write(root: Path, columns: dict[str, list[Any]] = COLUMNS, name: str = "labels.csv") -> Path:
    """A table, and the pictures that its first column names."""
    root.mkdir(exist_ok=True)
    for i in range(N):
        put(root / "pics" / f"{i}.jpg", i)
    file = root / name
    if name.endswith(".parquet"):
        pq.write_table(pa.table(columns), file)
    else:
        with file.open("w", newline="", encoding="utf-8") as opened:
            delimiter = "\t" if name.endswith(".tsv") else ","
            writer = csv.writer(opened, delimiter=delimiter)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    return file


def but(**changes: list[Any] | None) -> dict[str, list[Any]]:
    """The columns with some replaced, added, or (None) left out."""
    return {k: v for k, v in (COLUMNS | changes).items() if v is not None}


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "labels.parquet"])
@pytest.mark.parametrize("itself", [True, False])
def test_everything_is_as_written(tmp_path: Path, name: str, itself: bool) -> None:
    file = write(tmp_path / "set", name=name)
    data = load_dataset(file if itself else tmp_path / "set")
    assert (data.layout, data.target, data.classes) == ("table", "label", ("cat", "dog"))
    assert data.ids.tolist() == COLUMNS["path"]
    assert data.label.tolist() == ONES.tolist()
    long = {"val": "validation"}
    assert data.split.tolist() == [long.get(s, s) for s in SPLIT]
    assert data.person is not None
    same = data.person[:, None] == data.person
    assert np.array_equal(same, np.arange(N)[:, None] // 3 == np.arange(N) // 3)
    kinds = {name: (a.kind, a.values) for name, a in data.attributes.items()}
    assert kinds == {
        "hat": ("binary", ("no", "yes")),
        "wet": ("binary", ("no", "yes")),
        "old": ("binary", ("no", "yes")),
        "big": ("binary", ("no", "yes")),
        "grade": ("categorical", ("0", "1", "2", "3")),
        "age": ("numeric", ()),
        "colour": ("categorical", ("dark blue", "green", "red")),
    }
    assert data.attributes["hat"].data.tolist() == ONES[::-1].tolist()
    for name in ("wet", "old", "big"):
        assert data.attributes[name].data.tolist() == ONES.tolist()
    assert data.attributes["grade"].words() == [str(i % 4) for i in range(N)]
    assert data.attributes["age"].data.tolist() == COLUMNS["age"]
    assert data.attributes["colour"].words() == COLUMNS["colour"]
    for row in range(N):
        assert data.source.read(row) == (tmp_path / "set" / "pics" / f"{row}.jpg").read_bytes()
    found = {f.code: f.detail for f in data.findings if f.state == "found"}
    assert set(found) == {"COLUMNS-LEFT-OUT"}
    assert "note: it holds 30 different words in 30 rows" in found["COLUMNS-LEFT-OUT"]


@pytest.mark.parametrize("target", ["hat", "wet", "old", "big"])
@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_a_yes_or_no_target_gets_words(tmp_path: Path, target: str, name: str) -> None:
    data = load_dataset(write(tmp_path, name=name), target=target)
    assert data.classes == (f"not {target}", target)
    ones = ONES[::-1] if target == "hat" else ONES
    assert data.label.tolist() == ones.tolist()
    # `label` is a column of every predictions file, so the attribute is called something else.
    assert data.attributes["label (column)"].words() == COLUMNS["label"]
    assert "label" not in data.attributes


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (lambda root, i: f"{i}.jpg", "pics/{}.jpg"),
        (lambda root, i: f"{i}", "pics/{}.jpg"),
        (lambda root, i: f"./pics//{i}.jpg", "pics/{}.jpg"),
        (lambda root, i: f"pics\\{i}.jpg", "pics/{}.jpg"),
        (lambda root, i: f"{root}/pics/{i}.jpg", "pics/{}.jpg"),
        (lambda root, i: f"nowhere/../pics/{i}.jpg", "pics/{}.jpg"),
    ],
)
def test_ways_to_write_a_path(tmp_path: Path, written: Any, expected: str) -> None:
    paths = [written(tmp_path, i) for i in range(N)]
    data = load_dataset(write(tmp_path, but(path=paths)))
    assert data.ids.tolist() == [expected.format(i) for i in range(N)]


@pytest.mark.parametrize("path", ["out/x.jpg", "l.jpg"])
def test_a_link_that_leaves_the_folder(tmp_path: Path, path: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    put(tmp_path / "x.jpg")
    put(tmp_path / "elsewhere" / "x.jpg")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "l.jpg").symlink_to(tmp_path / "x.jpg")
    paths = [*COLUMNS["path"][:7], path, *COLUMNS["path"][8:]]
    with pytest.raises(DataError, match=r"Row 8 of labels\.csv .*leaves the data folder") as caught:
        load_dataset(write(root, but(path=paths)))
    assert "--image-folder" in caught.value.todo


def elsewhere(tmp_path: Path, written: Any, config: DataConfig = DataConfig()) -> Dataset:  # noqa: B008
    """A table in a folder of its own, whose pictures lie beside that folder."""
    write(tmp_path)
    paths = [written(tmp_path, i) for i in range(N)]
    file = write(tmp_path / "tables", but(path=paths))
    shutil.rmtree(file.parent / "pics")
    data = load_dataset(file, config=config)
    for row in range(N):
        assert data.source.read(row) == (tmp_path / "pics" / f"{row}.jpg").read_bytes()
    return data


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (lambda root, i: f"../pics/{i}.jpg", "../pics/{i}.jpg"),
        (lambda root, i: f"x/../..\\pics//{i}", "../pics/{i}.jpg"),
        (lambda root, i: f"{root}/pics/{i}.jpg", "{root}/pics/{i}.jpg"),
        (lambda root, i: f"{root}/x/../pics/{i}", "{root}/pics/{i}.jpg"),
    ],
)
def test_a_table_may_name_pictures_elsewhere(tmp_path: Path, written: Any, expected: str) -> None:
    data = elsewhere(tmp_path, written)
    assert data.ids.tolist() == [expected.format(root=tmp_path, i=i) for i in range(N)]
    assert "LABELS-WITHOUT-IMAGE" not in {f.code for f in data.findings if f.state == "found"}
    before = data.source.stamp()
    assert pickle.loads(pickle.dumps(data.source)).stamp() == before
    put(tmp_path / "pics" / "3.jpg", 99)
    os.utime(tmp_path / "pics" / "3.jpg", (1, 1))
    assert data.source.stamp() != before


def test_one_picture_elsewhere_by_two_names_is_one(tmp_path: Path) -> None:
    data = elsewhere(tmp_path, lambda root, i: f"../pics/{i}.jpg")
    names = [*data.ids[:-1], f"{tmp_path}/pics/0.jpg"]
    file = write(tmp_path / "tables", but(path=names))
    assert load_dataset(file).ids.tolist() == data.ids[:-1].tolist()


@pytest.mark.parametrize(
    "gone", ["/no/x.jpg", "C:\\x.jpg", "../no.jpg", "../pics/0.jpgx", "..", "/"]
)
def test_a_picture_that_is_not_elsewhere(tmp_path: Path, gone: str) -> None:
    file = write(tmp_path, but(path=[*COLUMNS["path"][:-1], gone]))
    found = {f.code: f.examples for f in load_dataset(file).findings if f.state == "found"}
    assert found["LABELS-WITHOUT-IMAGE"] == (gone,)


@pytest.mark.parametrize(
    "written", [lambda root, i: f"{i}.jpg", lambda root, i: f"{root}/pics/{i}.jpg"]
)
def test_the_folder_of_a_table_s_pictures(tmp_path: Path, written: Any) -> None:
    config = DataConfig(image_folder=str(tmp_path / "pics"))
    data = elsewhere(tmp_path, written, config)
    assert data.ids.tolist() == [f"{i}.jpg" for i in range(N)]
    assert load_dataset(tmp_path / "tables", config=config).ids.tolist() == data.ids.tolist()
    assert data.origin == str(tmp_path / "tables" / "labels.csv")


def test_pictures_elsewhere_are_refused_where_the_names_are_not_the_user_s(tmp_path: Path) -> None:
    put(tmp_path / "x.jpg")
    (tmp_path / "in").mkdir()
    for name in ("../x.jpg", f"{tmp_path}/x.jpg"):
        with pytest.raises(DataError, match="leaves the data folder"):
            ImageFiles(tmp_path / "in").locate([name], "a stranger's table")
        with pytest.raises(ImageError, match="leaves the data folder"):
            FileSource(tmp_path / "in", [name]).read(0)


@pytest.mark.parametrize("name", ["0.jpgx", "0.png", "0.jp", "0.jpg.jpg"])
def test_another_suffix_is_another_picture(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, but(path=[f"pics/{name}", *COLUMNS["path"][1:]]))
    data = load_dataset(file)
    assert data.ids.tolist() == COLUMNS["path"][1:]
    assert {f.code: f.examples for f in data.findings}["LABELS-WITHOUT-IMAGE"] == (f"pics/{name}",)


def test_only_folders_with_named_pictures_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path)
    put(tmp_path / "pics" / "extra.jpg")
    for i in range(5):
        put(tmp_path / "other" / "data" / f"{i}.jpg")
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    data = load_dataset(file)
    assert {Path(p).name for p in listed if Path(p).is_dir()} == {"pics"}
    found = {f.code: f for f in data.findings if f.state == "found"}
    assert found["IMAGES-WITHOUT-LABEL"].examples == ("pics/extra.jpg",)
    assert found["IMAGES-WITHOUT-LABEL"].of == N + 1


def test_a_link_out_of_the_folder_beside_paths_relative_to_a_folder_in_it(tmp_path: Path) -> None:
    root = tmp_path / "data"
    paths = [*(f"{i}.jpg" for i in range(N - 1)), "out/x.jpg"]
    file = write(root, but(path=paths))
    put(tmp_path / "elsewhere" / "x.jpg")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=rf"Row {N} of labels\.csv .*leaves the data folder"):
        load_dataset(file)


def test_cells_with_line_ends_in_a_file_of_several_blocks(tmp_path: Path) -> None:
    notes = ["line\n" * (1 + i % 40) for i in range(20_000)]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows(
            [["path", "note"], *([str(i), n] for i, n in enumerate(notes))]
        )
    table = read_delimited(tmp_path / "t.csv")
    assert table["note"].to_pylist() == notes
    assert table["path"].to_pylist() == [str(i) for i in range(20_000)]


def test_columns_named_in_the_settings(tmp_path: Path) -> None:
    odd = {"where": COLUMNS["path"], "label": COLUMNS["label"], "part": SPLIT}
    odd["who"] = [i // 6 for i in range(N)]
    file = write(tmp_path, odd)
    with pytest.raises(LayoutError, match=r"No column of labels\.csv is known to hold paths"):
        load_dataset(file)
    named = DataConfig(path_column="where", split_column="part", person_column="who")
    data = load_dataset(file, config=named)
    assert data.person is not None
    assert data.person.tolist() == odd["who"]
    assert data.split[2] == "validation"
    assert not data.attributes
    for wrong in ("path_column", "split_column", "person_column"):
        config = DataConfig(**({"path_column": "where"} | {wrong: "wher"}))
        with pytest.raises(ConfigError, match=f"data.{wrong} is 'wher'"):
            load_dataset(file, config=config)


def test_missing_cells(tmp_path: Path) -> None:
    label = ["", *COLUMNS["label"][1:]]
    age = ["", "nan", "NA", *map(str, COLUMNS["age"][3:])]
    person = ["", "", *COLUMNS["person"][2:]]
    data = load_dataset(write(tmp_path, but(label=label, age=age, person=person)))
    assert data.label[0] == -1
    assert data.classes == ("cat", "dog")
    assert np.isnan(data.attributes["age"].data[:3]).all()
    assert data.attributes["age"].data[3] == 23.5
    assert data.person is not None
    assert data.person[:2].tolist() == [-1, -1]
    assert 0 not in data.rows("train")


def test_codes_in_a_column_with_gaps(tmp_path: Path) -> None:
    old = pa.array([None if i == 5 else float(x) for i, x in enumerate(ONES)])
    columns: dict[str, Any] = but(old=old)
    data = load_dataset(write(tmp_path, columns, name="labels.parquet"))
    expected = [-1 if i == 5 else x for i, x in enumerate(ONES)]
    assert data.attributes["old"].data.tolist() == expected


def test_more_than_two_classes(tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path), target="colour")
    assert data.classes == ("dark blue", "green", "red")
    assert [data.classes[c] for c in data.label] == COLUMNS["colour"]


def test_usual_names_with_spaces_are_usual_names(tmp_path: Path) -> None:
    spelt = {"path": "Image Path", "person": "Subject-ID"}
    write(tmp_path, {spelt.get(name, name): values for name, values in COLUMNS.items()})
    found = load_dataset(tmp_path, target="label")
    assert found.ids.tolist() == COLUMNS["path"] and found.n_people() == N // 3
    assert "Subject-ID" not in found.attributes


def test_one_person_alone_cannot_be_split(tmp_path: Path) -> None:
    alone = {name: COLUMNS[name] for name in ("path", "label")} | {"person": ["me"] * N}
    write(tmp_path, alone)
    with pytest.raises(
        DataError, match=r"is empty \(images: .*; all are of one person, who stands"
    ):
        check_learnable(load_dataset(tmp_path, target="label"))


def test_identity_of_people_decides_a_missing_split(tmp_path: Path) -> None:
    data = load_dataset(
        write(tmp_path, but(split=None)), config=DataConfig(validation_share=0.4, test_share=0.2)
    )
    assert set(data.split) == {"train", "validation", "test"}
    for person in range(N // 3):
        assert len(set(data.split[3 * person : 3 * person + 3])) == 1


def test_folds_are_no_split_and_a_misspelt_split_is_an_error(tmp_path: Path) -> None:
    folds = [i % 5 for i in range(N)]
    data = load_dataset(
        write(tmp_path, but(split=None, fold=folds)), config=DataConfig(validation_share=0.3)
    )
    assert data.attributes["fold"].words() == [str(f) for f in folds]
    assert "SPLIT-BY-HASH" in {f.code for f in data.findings}
    with pytest.raises(DataError, match=r"Row 5 of labels\.csv has the split 'trian'"):
        load_dataset(write(tmp_path, but(split=[*SPLIT[:4], "trian", *SPLIT[5:]])))


def test_rows_whose_picture_is_missing_do_not_count(tmp_path: Path) -> None:
    file = write(tmp_path, but(wet=["perhaps", *COLUMNS["wet"][1:]]))
    (tmp_path / "pics" / "0.jpg").unlink()
    data = load_dataset(file)
    assert data.ids.tolist() == COLUMNS["path"][1:]
    assert data.attributes["wet"].kind == "binary"
    found = {f.code: f.examples for f in data.findings if f.state == "found"}
    assert found["LABELS-WITHOUT-IMAGE"] == ("pics/0.jpg",)
    with pytest.raises(DataError, match=r"Row 5 of labels\.csv has the split 'trian'"):
        write(tmp_path, but(split=[*SPLIT[:4], "trian", *SPLIT[5:]]))
        (tmp_path / "pics" / "0.jpg").unlink()
        load_dataset(file)


def test_rows_that_repeat(tmp_path: Path) -> None:
    twice = {k: [*v, v[6], v[7]] for k, v in COLUMNS.items()}
    twice["path"][-1] = "./pics/7.jpg"
    twice["label"][-1] = "cat" if COLUMNS["label"][7] == "dog" else "dog"
    data = load_dataset(write(tmp_path, twice))
    assert data.ids.tolist() == COLUMNS["path"]
    assert data.label[7] == -1
    assert data.label[6] == ONES[6]
    found = {f.code: f for f in data.findings if f.state == "found"}
    assert found["ROWS-REPEATED"].examples == ("pics/6.jpg", "pics/7.jpg")
    assert found["ROWS-CONTRADICT"].examples == ("pics/7.jpg",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("path,label\na.jpg,x\nb.jpg\n", "line 3: 1 fields"),
        ("path,label\na.jpg,x\n\nb.jpg,y,z\n", "line 4: 3 fields"),
        ('path,label\n"a\n.jpg",x\nb.jpg\n', "line 4: 1 fields"),
        ("path,label,label\na.jpg,x,y\n", "two columns called 'label'"),
        ("path,label\n", "a header and no rows"),
        ("", "is empty"),
        ("path,label\ngone.jpg,x\n", r"None of the 1 pictures that labels\.csv names"),
    ],
)
def test_a_bad_table(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    put(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=says) as caught:
        load_dataset(tmp_path)
    assert caught.value.expected
    assert caught.value.todo


def test_names_that_differ_in_large_and_small_letters_are_told(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,x\nB.jpg,y\n")
    for name in ("in/a.JPG", "in/b.JPG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        put(tmp_path / name)
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    assert caught.value.what.endswith("the first is 'a.jpg', and in/a.JPG is there.")
    assert "large and small letters" in caught.value.expected
    assert "as the files are called" in caught.value.todo


def test_a_table_from_a_spreadsheet(tmp_path: Path) -> None:
    rows = "\r\n".join(f"{i}.jpg;{x};{s}" for i, (x, s) in enumerate(zip(ONES, SPLIT, strict=True)))
    write(tmp_path).write_bytes(b"\xef\xbb\xbf" + f"file;Hut_grün;split\r\n{rows}".encode())
    data = load_dataset(tmp_path)
    assert data.target == "Hut_grün"  # the only column
    assert data.classes == ("not Hut grün", "Hut grün")
    assert data.label.tolist() == ONES.tolist()
    file = tmp_path / "labels.csv"
    file.write_bytes(file.read_bytes().removeprefix(b"\xef\xbb\xbf").decode().encode("latin-1"))
    with pytest.raises(DataError, match="line 1: not UTF-8"):
        load_dataset(tmp_path)


def test_a_broken_parquet_file(tmp_path: Path) -> None:
    file = write(tmp_path, name="labels.parquet")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="as Parquet"):
        load_dataset(file)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("colur", "did you mean 'colour'"),
        ("note", "cannot be learned: it holds 30 different words"),
        ("path", "no label called 'path'"),
    ],
)
def test_targets_that_cannot_be(tmp_path: Path, target: str, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        load_dataset(write(tmp_path), target=target)


def test_a_target_is_no_identity(tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path), target="person")  # ten words can be learned
    assert data.person is None
    assert len(data.classes) == N // 3


def test_no_obvious_target(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"hat, .*old") as caught:
        load_dataset(write(tmp_path, but(label=None)))
    assert "--target" in caught.value.todo


def test_one_class_only(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="one class only: every labelled image is 'cat'"):
        load_dataset(write(tmp_path, but(label=["cat"] * N)))


@pytest.mark.parametrize("folders", [False, True])
def test_several_tables(tmp_path: Path, folders: bool) -> None:
    write(tmp_path)
    write(tmp_path, name="more.tsv")
    if folders:
        put(tmp_path / "more" / "1.jpg")  # beside pics/ as if the folders were classes
    for layout in (None, "table"):
        with pytest.raises(LayoutError, match=r"labels\.csv, more\.tsv") as caught:
            load_dataset(tmp_path, layout=layout)
        assert str(tmp_path / "labels.csv") in caught.value.todo
    assert len(load_dataset(tmp_path / "more.tsv")) == N


def test_where_there_is_no_table_none_is_named(tmp_path: Path) -> None:
    put(tmp_path / "1.jpg")
    with pytest.raises(LayoutError, match="seen: none") as caught:
        load_dataset(tmp_path, layout="table")
    assert caught.value.todo.startswith("name the table itself instead of its folder; or,")


def test_of_several_tables_the_only_one_with_paths(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "a.csv").write_text("class,meaning\n0,cat\n1,dog\n")
    put(tmp_path / "more" / "1.jpg")
    assert load_dataset(tmp_path).ids.tolist() == COLUMNS["path"]
    write(tmp_path, {"where" if k == "path" else k: v for k, v in COLUMNS.items()})
    data = load_dataset(tmp_path, layout="table", config=DataConfig(path_column="where"))
    assert data.ids.tolist() == COLUMNS["path"]


def test_tables_without_paths_beside_folders_of_classes(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("class,meaning\n0,cat\n1,dog\n")
    for i in range(40):
        put(tmp_path / "cat" / f"{i}.jpg", i)
        put(tmp_path / "dog" / f"{i}.jpg", 50 + i)
    assert load_dataset(tmp_path).layout == "folder"


@pytest.mark.parametrize("itself", [True, False])
def test_metadata_jsonl(tmp_path: Path, itself: bool) -> None:
    write(tmp_path)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "log.jsonl").write_text("no table\n")
    lines = []
    for i in range(N):
        row = {"file_name": COLUMNS["path"][i], "label": COLUMNS["label"][i], "split": SPLIT[i],
               "eye": {"colour": COLUMNS["colour"][i], "box": [1, 2]}, "age": None if i else 3.5,
               "mixed": i if i % 2 else "odd", "note": "a\u2028b\ud800"}  # fmt: skip
        lines.append(json.dumps(row))
    file = tmp_path / "metadata.jsonl"
    file.write_text("\n\n".join(lines))
    data = load_dataset(file if itself else tmp_path)
    assert (data.layout, data.ids.tolist(), data.label.tolist()) == (
        *("table", COLUMNS["path"]),
        ONES.tolist(),
    )
    assert data.attributes["eye.colour"].words() == COLUMNS["colour"]
    assert data.attributes["age"].data[0] == 3.5
    assert data.attributes["mixed"].words()[:3] == ["odd", "1", "odd"]
    left_out = {f.code: f.detail for f in data.findings}["COLUMNS-LEFT-OUT"]
    assert "eye.box: it holds list" in left_out


@pytest.mark.parametrize(
    ("line", "says"),
    [("[1]", "it is no object"), ('{"a": ', "line 2: Expecting value"), ("[" * 10**5, "line 2: ")],
)
def test_a_line_that_is_no_json(tmp_path: Path, line: str, says: str) -> None:
    put(tmp_path / "a.jpg")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.jpg", "label": "x"}\n' + line)
    with pytest.raises(DataError, match=says) as caught:
        load_dataset(tmp_path)
    assert caught.value.expected
    assert caught.value.todo


def test_metadata_jsonl_in_split_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = [{"file_name": f"{i}.jpg", "label": "ab"[i % 2]} for i in range(40)]
        for i in range(40):
            put(tmp_path / split / f"{i}.jpg", i)
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = load_dataset(tmp_path)
    assert data.layout == "table"
    assert data.label.tolist() == [0, 1] * 40


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    file = write(tmp_path, but(label=[("Müller", "Öz")[x] for x in ONES]))
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")  # so that the header is read, too
    text = file.read_text(encoding="utf-8")
    file.write_bytes(text.encode(encoding))
    if encoding == "utf-16":  # says so itself, and none of the settings can make it another one
        for config in (DataConfig(), DataConfig(encoding="latin-1")):
            assert load_dataset(tmp_path, config=config).classes == ("Müller", "Öz")
        return
    with pytest.raises(DataError, match=r"zero bytes|not UTF-8") as caught:
        load_dataset(file)
    assert "data.encoding" in caught.value.todo
    config = DataConfig(encoding=encoding)
    assert load_dataset(tmp_path, layout="table", config=config).classes == ("Müller", "Öz")
    with pytest.raises(DataError, match="not ASCII text"):
        load_dataset(file, config=DataConfig(encoding="ascii"))


def test_an_encoding_that_there_is_not() -> None:
    for name in ("utf8x", "base64"):
        with pytest.raises(ConfigError, match=r"data\.encoding"):
            DataConfig(encoding=name)


def test_words_for_missing(tmp_path: Path) -> None:
    label = ["Unknown", "NA", *COLUMNS["label"][2:]]
    person = ["nobody", "nobody", *COLUMNS["person"][2:]]
    age = ["-1", "", *COLUMNS["age"][2:]]
    file = write(tmp_path, but(label=label, person=person, age=age))
    assert load_dataset(file).classes == ("cat", "dog", "Unknown")
    data = load_dataset(file, config=DataConfig(missing=("unknown", "Nobody", "-1")))
    assert data.classes == ("cat", "dog", "NA")
    assert data.label[0] == -1
    assert data.person is not None
    assert data.person[:3].tolist() == [-1, -1, 0]
    assert np.isnan(data.attributes["age"].data[:2]).all()
    assert DataConfig().missing == columns.MISSING


THREE = [("red", "green", "dark blue")[i // 3 % 3] for i in range(N)]  # in every split


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_names_for_classes(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, but(colour=THREE), name=name)
    both = DataConfig(class_names=("0=Female", "1=Male"))
    data = load_dataset(file, target="old", config=both)
    assert data.classes == ("Female", "Male")
    assert data.label.tolist() == ONES.tolist()
    told = load_dataset(file, target="old", config=DataConfig(class_names=("not old=young",)))
    assert told.classes == ("young", "old")
    assert told.label.tolist() == ONES.tolist()
    data = load_dataset(file, target="big", config=DataConfig(class_names=("-1=Female", "1=a=b")))
    assert data.classes == ("Female", "a=b")
    merged = DataConfig(class_names=("green=bright", "red=bright"))
    data = load_dataset(file, target="colour", config=merged)
    assert data.classes == ("dark blue", "bright")
    assert data.label.tolist() == [int(c != "dark blue") for c in THREE]
    with pytest.raises(ConfigError, match=r"class_names names '2', which is no class of old"):
        load_dataset(file, target="old", config=DataConfig(class_names=("2=x",)))
    with pytest.raises(ConfigError, match=r"data\.class_names holds 'x'"):
        DataConfig(class_names=("x",))


def test_classes_to_leave_out(tmp_path: Path) -> None:
    file = write(tmp_path, but(label=THREE))
    config = DataConfig(class_names=("green=Grün",), exclude_classes=("Grün",))
    data = load_dataset(file, config=config)
    kept = [i for i in range(N) if THREE[i] != "green"]
    assert data.classes == ("dark blue", "red")
    assert data.ids.tolist() == [COLUMNS["path"][i] for i in kept]
    assert [data.classes[c] for c in data.label] == [THREE[i] for i in kept]
    assert data.attributes["age"].data.tolist() == [COLUMNS["age"][i] for i in kept]
    assert data.source.read(1) == (tmp_path / "pics" / f"{kept[1]}.jpg").read_bytes()
    found = {f.code: f for f in data.findings if f.state == "found"}["CLASSES-EXCLUDED"]
    assert (found.count, found.of, found.examples[0]) == (9, N, "pics/3.jpg")
    with pytest.raises(ConfigError, match=r"exclude_classes names 'blue'") as caught:
        load_dataset(file, config=DataConfig(exclude_classes=("blue",)))
    assert "dark blue" in caught.value.todo
    with pytest.raises(TargetError, match="one class only"):
        load_dataset(file, config=DataConfig(exclude_classes=("green", "red")))


def test_ranges_that_a_spreadsheet_took_for_dates(tmp_path: Path) -> None:
    ages = ["0-2", "03-Sep", "Oct-19", "20-29", "more than 70"]
    dates = ["03-Sep", "04-Oct", "Oct-19", "11-May", "30-Dec"]
    wards = ["03-Sep", "Oct-19", "west", "", "NA"]
    spoilt = {n: [v[i % 5] for i in range(N)]
              for n, v in (("group", ages), ("day", dates), ("ward", wards))}  # fmt: skip
    data = load_dataset(write(tmp_path, but(**spoilt)))
    assert data.attributes["group"].values == ("0-2", "3-9", "10-19", "20-29", "more than 70")
    assert data.attributes["group"].words()[1] == "3-9"
    assert data.attributes["day"].values == ("03-Sep", "04-Oct", "11-May", "30-Dec", "Oct-19")
    assert data.attributes["ward"].values == ("03-Sep", "Oct-19", "west")
    found = [f for f in data.findings if f.code == "RANGES-AS-DATES"]
    assert [(f.severity, f.count, f.of) for f in found] == [
        ("note", 12, N),
        ("warning", 12, N),
    ]
    assert "group: 03-Sep (3-9), Oct-19 (10-19)" in found[0].detail
    assert "ward: " in found[1].detail
    data = load_dataset(tmp_path, target="group")
    assert data.classes == ("0-2", "3-9", "10-19", "20-29", "more than 70")


def test_attributes_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'note', but it holds 30 different words"):
        load_dataset(write(tmp_path), config=DataConfig(attributes=("hat", "note")))
    with pytest.raises(ConfigError, match="did you mean 'colour'"):
        load_dataset(tmp_path, config=DataConfig(attributes=("color",)))


def test_metadata_in_split_folders(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        for i in range(4):
            put(tmp_path / split / f"{i}.jpg", i)
        rows = "".join(f"{i}.jpg,{'ab'[i % 2]}\n" for i in range(4))
        (tmp_path / split / "metadata.csv").write_text(f"file_name,label\n{rows}")
    data = load_dataset(tmp_path)
    assert data.layout == "table"
    assert data.ids.tolist() == [f"{s}/{i}.jpg" for s in ("train", "validation") for i in range(4)]
    assert data.split.tolist() == ["train"] * 4 + ["validation"] * 4
    assert data.label.tolist() == [0, 1] * 4


@pytest.mark.parametrize("start", [0, 1])
def test_numbers_that_count_classes_are_a_label(tmp_path: Path, start: int) -> None:
    numbers = [start + i % 12 for i in range(N)]
    write(tmp_path, but(label=[str(n) if i != 5 else "" for i, n in enumerate(numbers)], split=None,
                        person=None))  # fmt: skip
    data = load_dataset(tmp_path, config=DataConfig(validation_share=0.3))
    assert data.classes == tuple(str(start + k) for k in range(12))
    assert data.label.tolist() == [-1 if i == 5 else i % 12 for i in range(N)]


@pytest.mark.parametrize("change", [lambda n: n + 2, lambda n: 2 * n, lambda n: n / 2])
def test_other_numbers_are_none(tmp_path: Path, change: Any) -> None:
    write(tmp_path, but(label=[change(i % 12) for i in range(N)]))
    data = load_dataset(tmp_path)
    assert data.is_number
    assert [float(data.classes[code]) for code in data.label] == [change(i % 12) for i in range(N)]


def test_numbers_that_look_like_classes_are_numbers_where_it_is_said(tmp_path: Path) -> None:
    write(tmp_path, but(label=[i % 7 if i else "" for i in range(N)]))
    assert not load_dataset(tmp_path).is_number
    data = load_dataset(tmp_path, config=DataConfig(numbers=("label",)))
    assert data.is_number and data.classes == tuple(map(str, range(7)))
    assert data.label.tolist() == [-1, *(i % 7 for i in range(1, N))]
    with pytest.raises(TargetError, match="learned as a number and has the values"):
        load_dataset(tmp_path, target="colour", config=DataConfig(numbers=("colour",)))
    with pytest.raises(TargetError, match="has one value only: every image has 3"):
        folder = tmp_path / "one"
        load_dataset(write(folder, but(label=[3] * N)), config=DataConfig(numbers=("label",)))
    wide = [10.0**i for i in range(20)] + [0.5] * (N - 20)
    with pytest.raises(TargetError, match=rf"holds 1e\+16, too large .*; 4 of {N} rows"):
        load_dataset(write(tmp_path / "wide", but(label=wide)))


def test_columns_named_like_those_of_predictions_stay_apart(tmp_path: Path) -> None:
    write(tmp_path, but(**{"id": COLUMNS["hat"], "id (column)": COLUMNS["colour"]}))
    attributes = load_dataset(tmp_path).attributes
    assert attributes["id (column) (column)"].values == ("no", "yes")
    assert attributes["id (column)"].values == ("dark blue", "green", "red")


def test_lines_that_end_as_on_old_macs(tmp_path: Path) -> None:
    file = write(tmp_path)
    before = load_dataset(tmp_path)
    file.write_bytes(file.read_bytes().replace(b"\r\n", b"\r"))
    assert load_dataset(tmp_path).label.tolist() == before.label.tolist()


@pytest.mark.parametrize("first", ["", "path,la\rbel"])
def test_a_first_line_that_is_no_header(tmp_path: Path, first: str) -> None:
    file = write(tmp_path)
    file.write_text(f"{first}\n{file.read_text()}", newline="")
    with pytest.raises(DataError, match=r"names no columns|line 1: "):
        load_dataset(tmp_path)


def test_a_path_column_of_lists(tmp_path: Path) -> None:
    write(tmp_path, but(path=[[p] for p in COLUMNS["path"]]), name="labels.parquet")
    with pytest.raises(DataError, match="holds list<") as caught:
        load_dataset(tmp_path)
    assert "data.path_column" in caught.value.todo


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_one_metadata_file_takes_the_split_from_the_folders_that_it_names(
    tmp_path: Path, kind: str
) -> None:
    names = [f"{('train', 'validation', 'test')[i % 3]}/{i}.png" for i in range(12)]
    rows = [{"file_name": n, "label": ("cat", "dog")[i // 3 % 2]} for i, n in enumerate(names)]
    for i, name in enumerate(names):
        put(tmp_path / name, i)
    file = tmp_path / f"metadata.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        file.write_text("\n".join(["file_name,label", *(",".join(row.values()) for row in rows)]))
    found = load_dataset(tmp_path)
    assert found.split.tolist() == [name.partition("/")[0] for name in found.ids.tolist()]
    if kind == "csv":  # under another name folders say nothing, nor where there is but one
        file.rename(tmp_path / "labels.csv")
        assert load_dataset(tmp_path).split.tolist() != found.split.tolist()


def test_one_folder_called_as_a_split_is_no_split(tmp_path: Path) -> None:
    for i in range(20):
        put(tmp_path / "train" / f"{i}.png", i)
    rows = "".join(f"train/{i}.png,{('cat', 'dog')[i % 2]}\n" for i in range(20))
    (tmp_path / "metadata.csv").write_text(f"file_name,label\n{rows}")
    assert {*load_dataset(tmp_path).split.tolist()} == {"train", "validation", "test"}
