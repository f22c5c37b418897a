"""Data sets in tar and Parquet shards: by folder, pattern and URL, packed by several processes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from candid.data import packing
from candid.data.layouts import huggingface, load_dataset, webdataset
from candid.data.store import pack
from candid.errors import DataError, LayoutError
from candid.settings import DataConfig
from candid.storage import filesystem
from made_shards import KINDS, SlowTars, picture, said, write_shards

SIZES = [10, 23, 3, 17]
N = sum(SIZES)
SMALL = DataConfig(side=16, workers=1)


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    return write_shards(tmp_path / "shards", request.param, SIZES)


@pytest.fixture
def memory():
    fs = pytest.importorskip("fsspec").filesystem("memory")
    yield fs
    if fs.exists("/shards"):
        fs.rm("/shards", recursive=True)


def put(fs, folder):
    for shard in folder.iterdir():
        fs.pipe(f"/shards/{shard.name}", shard.read_bytes())


def loaded(path, **options):
    return load_dataset(Path(path), target="Hat", config=SMALL, **options)


def assert_alike(a, b):
    assert (a.target, a.classes, a.layout) == (b.target, b.classes, b.layout)
    for name in ("ids", "label", "split", "person"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert {n: x.values for n, x in a.attributes.items()} == {
        n: x.values for n, x in b.attributes.items()
    }


def kind_of(folder):
    return next(folder.iterdir()).suffix


def test_a_folder_a_pattern_a_url_and_a_pattern_of_urls_are_the_same_data(folder, memory, tmp_path):
    put(memory, folder)
    near = loaded(folder)
    assert len(near) == N and {*near.attributes} == {"age"}
    assert Counter(near.classes[c] for c in near.label) == Counter(said(i)["Hat"] for i in range(N))
    for row in range(N):
        i = int(near.ids[row].partition(".")[0])
        assert near.source.read(row) == picture(i)
        assert (near.classes[near.label[row]], near.split[row]) == (
            said(i)["Hat"],
            said(i)["split"],
        )
    names = (
        f"{folder}/faces-*{kind_of(folder)}",
        "memory://shards",
        f"memory://shards/*-0*{kind_of(folder)}",
    )
    packed = pack(near, SMALL, cache=tmp_path / "near", quiet=True)
    for name in names:
        dataset = loaded(name)
        assert dataset.origin == name
        assert_alike(dataset, near)
        again = pack(dataset, SMALL, cache=tmp_path / "far", quiet=True)
        np.testing.assert_array_equal(again.pixels, packed.pixels)
    assert len(loaded(f"memory://shards/faces-001{kind_of(folder)}")) == SIZES[1]


def test_rows_are_read_in_any_order_from_many_shards_at_a_time(folder, memory):
    put(memory, folder)
    order = np.random.default_rng(0).permutation(N)
    for source in (loaded(folder).source, loaded("memory://shards").source):
        few = source.take(order[:9])
        assert [few.read(k) for k in range(9)] == [source.read(int(row)) for row in order[:9]]
        assert few.stamp() != source.stamp()
        assert sorted(map(source.read, range(N))) == sorted(picture(i) for i in range(N))


def test_a_shard_on_a_store_is_fetched_in_ranges_each_byte_about_once(folder, memory, monkeypatch):
    put(memory, folder)
    dataset = loaded("memory://shards")
    fetched = []
    whole = filesystem.read_range

    def counted(url, start, size):
        fetched.append(len(data := whole(url, start, size)))
        return data

    monkeypatch.setattr(filesystem, "read_range", counted)
    shard = dataset.source.file
    turns = np.argsort([np.count_nonzero(shard[:row] == shard[row]) for row in range(N)])
    for row in turns:  # by turns, as a stream does
        dataset.source.read(int(row))
    stored = sum(memory.size(name) for name in memory.find("/shards"))
    assert sum(fetched) < 2 * stored  # a Parquet file's footer comes on top


def test_a_connection_that_breaks_off_is_tried_again(folder, memory, monkeypatch):
    put(memory, folder)
    near = loaded(folder)
    monkeypatch.setattr(filesystem, "_PAUSES", (0.0, 0.0))
    once, tries = type(memory).cat_file, Counter()

    def flaky(self, path, start, end):
        tries[path, start] += 1
        if tries[path, start] % 3:
            raise ConnectionError("reset by peer")
        return once(self, path, start, end)

    monkeypatch.setattr(type(memory), "cat_file", flaky)
    far = loaded("memory://shards")
    assert_alike(far, near)
    assert [far.source.read(row) for row in range(N)] == [near.source.read(row) for row in range(N)]
    assert min(tries.values()) == 3


def test_a_store_that_breaks_off_is_an_error_and_no_bad_picture(folder, memory, monkeypatch):
    put(memory, folder)
    dataset = loaded("memory://shards")
    monkeypatch.setattr(filesystem, "_PAUSES", (0.0, 0.0))
    tries = []

    def broken(*_, **__):
        tries.append(1)
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(type(memory), "cat_file", broken)
    with pytest.raises(DataError, match="reset by peer"):
        dataset.source.read(0)
    assert len(tries) == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_packed_in_parts_by_several_processes_rows_are_those_of_one(
    folder, tmp_path, monkeypatch, workers
):
    dataset = loaded(folder)
    serial = pack(dataset, SMALL, cache=tmp_path / "serial", quiet=True)
    monkeypatch.setattr(packing, "_CHUNK_ROWS", 4)
    chunks = packing._chunks(set(), N, 16, dataset.source.file)
    assert len(chunks) >= 14  # more than one for each shard and each process
    assert all(len(set(dataset.source.file[a:b])) == 1 for a, b in chunks)
    config = replace(SMALL, workers=workers)
    store = pack(dataset, config, cache=tmp_path / "parts", quiet=True)
    np.testing.assert_array_equal(store.pixels, serial.pixels)
    np.testing.assert_array_equal(store.digests, serial.digests)
    assert store.usable.all()


def test_on_a_store_a_process_packs_whole_shards(folder, tmp_path, monkeypatch):
    """`local://` is a store as any other for us, and one that other processes see."""
    pytest.importorskip("fsspec")
    near = loaded(folder)
    serial = pack(near, SMALL, cache=tmp_path / "serial", quiet=True)
    read = (
        webdataset.read_tar_shards if kind_of(folder) == ".tar" else huggingface.read_parquet_shards
    )
    urls = [f"local://{path}" for path in sorted(folder.iterdir())]
    far = read(Path("shards"), urls, "Hat", SMALL)
    monkeypatch.setattr(packing, "_CHUNK_ROWS", 4)
    chunks = packing._chunks(set(), N, 16, far.source.file)
    tasks = packing._group_chunks(far.source, chunks, 2)
    assert [sum(b - a for a, b in task) for task in tasks] == SIZES
    assert len(packing._group_chunks(far.source, chunks, 5)) == len(chunks)
    store = pack(far, replace(SMALL, workers=2), cache=tmp_path / "far", quiet=True)
    np.testing.assert_array_equal(store.pixels, serial.pixels)


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from made_shards import SlowTars
from candid.data import packing
from candid.data.layouts import load_dataset
from candid.data.store import pack
from candid.settings import DataConfig
from dataclasses import replace

packing._CHUNK_ROWS = 4

if __name__ == "__main__":
    config = DataConfig(side=16, workers=2)
    dataset = load_dataset(Path({folder!r}), target="Hat", config=config)
    s = dataset.source
    dataset = replace(dataset, source=SlowTars(s.files, s.file, s.offset, s.size))
    pack(dataset, config, cache=Path({cache!r}), quiet=True)
"""


def test_killed_in_the_middle_what_was_packed_stays_packed(tmp_path, monkeypatch):
    folder = write_shards(tmp_path / "shards", "tar", SIZES)
    where = {"here": str(Path(__file__).parents[1]), "folder": str(folder)}
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD).format(**where, cache=str(tmp_path / "cache")))
    running = subprocess.Popen(
        [sys.executable, script],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    until = time.monotonic() + 120
    lines = 0
    while lines < 1 + 3 and running.poll() is None and time.monotonic() < until:
        found = [*tmp_path.glob("cache/*/journal.jsonl")]
        lines = found[0].read_bytes().count(b"\n") if found else 0
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert lines >= 1 + 3 and not [*tmp_path.glob("cache/*/index.parquet")]
    dataset = loaded(folder)
    read = []
    once = type(dataset.source).read
    monkeypatch.setattr(
        type(dataset.source), "read", lambda self, row: read.append(row) or once(self, row)
    )
    store = pack(dataset, SMALL, cache=tmp_path / "cache", quiet=True)
    assert len(read) == len(set(read)) < N - 2 * 4  # three chunks, one of which may be of 2 rows
    monkeypatch.undo()
    serial = pack(dataset, SMALL, cache=tmp_path / "serial", quiet=True)
    np.testing.assert_array_equal(store.pixels, serial.pixels)
    assert issubclass(SlowTars, type(dataset.source))


def test_names_of_shards_that_mean_nothing_are_told_of(folder, memory, tmp_path):
    put(memory, folder)
    for name in (f"{folder}/none-*.tar", "memory://nothing/here", "memory://shards/none-*"):
        with pytest.raises(DataError, match="Nothing is called"):
            loaded(name)
    memory.pipe("/shards/more/readme.txt", b"hello")
    with pytest.raises(LayoutError, match="holds none"):
        loaded("memory://shards/more")
    with pytest.raises(LayoutError, match="layout"):
        loaded("memory://shards", layout="celeba")
    other = {"tar": "parquet", "parquet": "tar"}[kind_of(folder)[1:]]
    memory.pipe(f"/shards/x.{other}", b"hello")
    with pytest.raises(LayoutError, match="some are tar"):
        loaded("memory://shards")
