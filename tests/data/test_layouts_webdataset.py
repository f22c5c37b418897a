"""Tar shards of pictures and annotations: the data set that a table of the same pictures makes."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from by_hand import png, texture

from candid.data.layouts import load_dataset
from candid.data.store import pack
from candid.errors import DataError, LayoutError, TargetError
from candid.settings import DataConfig

N = 30
SMALL = DataConfig(side=16, workers=1)


def annotations(i):
    """What is written about a picture."""
    return {
        "Hat": "yes" if i % 3 else "no",
        "age": i,
        "more": {"Young": i % 2},
        "person": f"p{i // 2}",
        "split": ("validation", "test", "train", "train")[i // 2 % 4],
    }


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return path


def member(i, said=None):
    said = annotations(i) if said is None else said
    return [(f"{i:03}.png", png(texture(i))), (f"{i:03}.json", json.dumps(said).encode())]


@pytest.fixture
def shards(tmp_path):
    """Three shards of ten."""
    for k in range(3):
        members = [m for i in range(10 * k, 10 * k + 10) for m in member(i)]
        write_tar(tmp_path / "shards" / f"faces-{k:03}.tar", members)
    return tmp_path / "shards"


@pytest.fixture
def table(tmp_path):
    """The same pictures, with the same annotations in a table beside them."""
    folder = tmp_path / "table"
    folder.mkdir()
    lines = ["path,Hat,age,more.Young,person,split"]
    for i in range(N):
        said = annotations(i)
        (folder / f"{i:03}.png").write_bytes(png(texture(i)))
        lines.append(
            f"{i:03}.png,{said['Hat']},{i},{said['more']['Young']},{said['person']},{said['split']}"
        )
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def assert_alike(a, b):
    assert (a.target, a.classes) == (b.target, b.classes)
    for name in ("ids", "label", "split", "person"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.attributes.keys() == b.attributes.keys()
    for name, attribute in a.attributes.items():
        other = b.attributes[name]
        assert attribute.values == other.values
        np.testing.assert_array_equal(attribute.data, other.data)


def test_the_same_data_and_the_same_pack_as_from_a_table(shards, table, tmp_path):
    a, b = (
        load_dataset(shards, target="Hat", config=SMALL),
        load_dataset(table, target="Hat", config=SMALL),
    )
    assert (a.layout, b.layout) == ("webdataset", "table")
    assert len(a) == N and {*a.attributes} == {"age", "more.Young"}
    assert_alike(a, b)
    one = pack(a, SMALL, cache=tmp_path / "cache", quiet=True)
    two = pack(b, SMALL, cache=tmp_path / "cache", quiet=True)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    np.testing.assert_array_equal(one.digests, two.digests)
    assert one.usable.all() and one.pixels.std() > 10


def test_packed_by_several_processes_it_is_the_same(shards, tmp_path):
    dataset = load_dataset(shards, target="Hat", config=SMALL)
    one = pack(dataset, SMALL, cache=tmp_path / "a", quiet=True)
    # So small a chunk that each process gets some.
    two = pack(dataset, replace(SMALL, workers=2, side=16), cache=tmp_path / "b", quiet=True)
    np.testing.assert_array_equal(one.pixels, two.pixels)


def test_from_a_store_it_is_the_same(shards, tmp_path):
    fs = pytest.importorskip("fsspec").filesystem("memory")
    for shard in shards.iterdir():
        fs.pipe(f"/data/shards/{shard.name}", shard.read_bytes())
    from pathlib import Path

    try:
        near = load_dataset(shards, target="Hat", config=SMALL)
        far = load_dataset(Path("memory://data/shards"), target="Hat", config=SMALL)
        assert_alike(near, far)
        assert far.origin == "memory://data/shards"
        one = pack(near, SMALL, cache=tmp_path / "cache", quiet=True)
        two = pack(far, SMALL, cache=tmp_path / "cache", quiet=True)
        np.testing.assert_array_equal(one.pixels, two.pixels)
        again = load_dataset(Path(far.origin), target="Hat", config=SMALL)
        assert again.source.stamp() == far.source.stamp()
        with pytest.raises(LayoutError, match="object store"):
            load_dataset(Path("memory://data/shards"), layout="celeba")
        with pytest.raises(DataError):
            load_dataset(Path("memory://nothing/here"))
    finally:
        fs.rm("/data", recursive=True)


def test_pictures_are_read_wherever_they_lie_in_any_order(shards):
    source = load_dataset(shards, target="Hat", config=SMALL).source
    for row in np.random.default_rng(0).permutation(N):
        assert source.read(int(row)) == png(texture(int(row)))


def test_a_number_in_a_cls_file_is_the_class_and_names_say_the_split(tmp_path):
    for k, split in enumerate(["train", "val", "test"]):
        members = []
        for i in range(4):
            members += [(f"{i}.jpg", png(texture(10 * k + i))), (f"{i}.cls", f"{i % 3}\n".encode())]
        write_tar(tmp_path / f"{split}-000000.tar", members)
    dataset = load_dataset(tmp_path)
    assert (dataset.target, dataset.classes) == ("class", ("0", "1", "2"))
    assert dataset.label.tolist() == [0, 1, 2, 0] * 3
    assert dataset.split.tolist() == ["test"] * 4 + ["train"] * 4 + ["validation"] * 4
    assert dataset.ids[:2].tolist() == ["test-000000/0.jpg", "test-000000/1.jpg"]


def test_what_has_no_partner_is_told_of(tmp_path):
    members = [m for i in range(20) for m in member(i)]
    members += [("bare.png", png(texture(50))), ("alone.json", b'{"Hat": "no"}')]
    dataset = load_dataset(write_tar(tmp_path / "a.tar", members), target="Hat", config=SMALL)
    assert len(dataset) == 20
    found = {f.code: f for f in dataset.findings}
    assert found["IMAGES-WITHOUT-LABEL"].examples == ("a.tar/bare.png",)
    assert found["LABELS-WITHOUT-IMAGE"].examples == ("a.tar/alone",)


def test_kinds_that_differ_between_shards_become_words(tmp_path):
    for k, value in enumerate([1, "two"]):
        members = [
            m for i in range(15) for m in member(15 * k + i, annotations(i) | {"kind": value})
        ]
        write_tar(tmp_path / f"{k}.tar", members)
    dataset = load_dataset(tmp_path, target="Hat", config=SMALL)
    assert dataset.attributes["kind"].values == ("1", "two")


def test_a_changed_shard_changes_the_fingerprint(shards):
    before = load_dataset(shards, target="Hat", config=SMALL).source.stamp()
    assert load_dataset(shards, target="Hat", config=SMALL).source.stamp() == before
    members = [m for i in range(40, 50) for m in member(i)]
    write_tar(shards / "faces-001.tar", members)
    assert load_dataset(shards, target="Hat", config=SMALL).source.stamp() != before


def test_a_shard_that_went_or_shrank_makes_unusable_pictures_not_an_error(shards, tmp_path):
    dataset = load_dataset(shards, target="Hat", config=SMALL)
    (shards / "faces-001.tar").unlink()
    whole = (shards / "faces-002.tar").read_bytes()
    (shards / "faces-002.tar").write_bytes(whole[:600])
    config = replace(SMALL, max_bad_share=0.9)
    store = pack(dataset, config, cache=tmp_path / "cache", quiet=True)
    assert store.usable.tolist() == [True] * 10 + [False] * 20
    assert "cannot be opened" in store.reasons[10] and "cut short" in store.reasons[29]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("a.png", png(texture(0))), ("a.json", b"{")], "no JSON"),
        ([("a.png", png(texture(0))), ("a.json", b"[1]")], "holds no object"),
        ([("a.png", png(texture(0))), ("a.cls", b"\xff\xfe")], "not UTF-8"),
        ([("a.png", png(texture(0)))], "has annotations"),
    ],
)
def test_bad_shards_are_told_in_three_parts(tmp_path, members, said):
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=said) as error:
        load_dataset(tmp_path, layout="webdataset")
    assert error.value.expected and error.value.todo


def test_damaged_shards_are_told_of(shards):
    path = shards / "faces-001.tar"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match="faces-001"):
        load_dataset(shards, target="Hat", config=SMALL)


def test_a_target_that_is_not_there(shards):
    with pytest.raises(TargetError):
        load_dataset(shards, target="Glasses", config=SMALL)
    with pytest.raises(TargetError):
        load_dataset(shards, config=SMALL)


def test_a_folder_of_other_archives_is_not_taken_for_shards(tmp_path):
    write_tar(tmp_path / "code.tar", [("a.py", b"x = 1"), ("b.py", b"y = 1")])
    with pytest.raises(LayoutError, match="No layout fits"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("odd", ["x\n", "1\n0\n", "9" * 400 + "\n", ""])
def test_a_shard_with_an_odd_sparse_header_is_refused(tmp_path, odd):
    info = tarfile.TarInfo("a.png")
    info.size = 512
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in/train-0.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in member(0):
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
        archive.addfile(info, io.BytesIO(odd.encode().ljust(512, b"\0")))
    with pytest.raises(DataError, match="damaged or cut short"):
        load_dataset(tmp_path / "in", layout="webdataset", config=SMALL)
