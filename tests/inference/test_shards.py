"""Shards in, one table for each out: the rows of the ordinary way, whatever was stopped or lost."""

import json
import os
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candid.errors import DataError, OutputError
from candid.inference import parts, shards
from candid.inference.parts import label_here, label_missing, read_manifest
from candid.inference.shards import JobSpec, find_shards, label_shard, read_part
from candid.pipeline.labelling import model_key, open_labeller
from commands import candid
from inference.shards import faces, parquet_shard, rows_of, tar_shards
from inference.tiny import encoded, pixels, tiny_run, write_tar

SIZES = [5, 70, 1, 33]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def ready(run):
    return open_labeller(run, engine="torch", abstain_below=0.6)


@pytest.fixture
def tars(tmp_path):
    return tar_shards(tmp_path / "in", SIZES)


def order_of(ready, out):
    return JobSpec(str(out), model_key(ready), {"target": "Hat"})


def do(ready, words, out, **options):
    """Label what is missing; the manifest, and the shards that were done now."""
    order = order_of(ready, out)
    here, now = label_here(ready, order, workers=1), []

    def work(todo):
        now.extend(s.name for s in todo)
        return here(todo)

    found = find_shards([str(w) for w in words], str(out))
    return label_missing(found, order, work, **options), now


# --- which ---------------------------------------------------------------------------------------


def test_shards_are_found_in_order_and_their_parts_named_after_them(tmp_path):
    tar_shards(tmp_path / "in" / "b", [1, 1])
    parquet_shard(tmp_path / "in" / "a.parquet", faces(1))
    (tmp_path / "in" / ".hidden.tar").touch()
    (tmp_path / "in" / "readme.txt").touch()
    shutil.copy(tmp_path / "in" / "b" / "faces-000.tar", tmp_path / "z.tar.gz")
    found = find_shards([str(tmp_path / "z.tar.gz"), str(tmp_path / "in")], str(tmp_path / "out"))
    assert [(s.name.removeprefix(f"{tmp_path}/"), s.part) for s in found] == [
        ("z.tar.gz", "part-z.parquet"),
        ("in/a.parquet", "part-a.parquet"),
        ("in/b/faces-000.tar", "part-b__faces-000.parquet"),
        ("in/b/faces-001.tar", "part-b__faces-001.parquet"),
    ]


def test_the_labels_are_no_shards(tmp_path):
    parquet_shard(tmp_path / "in" / "a.parquet", faces(1))
    parquet_shard(tmp_path / "in" / "labels" / "part-a.parquet", faces(1))
    found = find_shards([str(tmp_path / "in")], str(tmp_path / "in" / "labels"))
    assert [s.part for s in found] == ["part-a.parquet"]


@pytest.mark.parametrize("what", ["picture", "empty", "list", "twins"])
def test_what_is_no_shard_is_said(tmp_path, what):
    (tmp_path / "a.png").write_bytes(encoded(pixels(1)[0]))
    (tmp_path / "empty").mkdir()
    tar_shards(tmp_path / "x", [1])
    tar_shards(tmp_path / "y", [1])
    words = {
        "picture": [tmp_path / "a.png"],
        "empty": [tmp_path / "empty"],
        "list": ["-"],
        "twins": [tmp_path / "x" / "faces-000.tar", tmp_path / "y" / "faces-000.tar"],
    }[what]
    with pytest.raises(DataError) as error:
        find_shards([str(w) for w in words], str(tmp_path / "out"))
    assert error.value.expected and error.value.todo


# --- rows ----------------------------------------------------------------------------------------


def without(row, names):
    return {name: value for name, value in row.items() if name not in names}


def test_the_rows_are_those_of_one_table(capsys, run, tmp_path, tars):
    options = ["--engine", "torch", "--abstain-below", "0.6", "--quiet"]
    tables = [*tars, parquet_shard(tmp_path / "in" / "z.parquet", faces(40, seed=9))]
    candid(capsys, "predict", run.path, *tables, "--out", tmp_path / "one.parquet", *options)
    candid(capsys, "predict", run.path, tmp_path / "in", "--out", f"{tmp_path}/many/", *options)
    one = pq.read_table(tmp_path / "one.parquet")
    many = rows_of(tmp_path / "many")
    assert [*many] == [f"part-{t.stem}.parquet" for t in tables]
    # Shards end batches where one table does not, and a batch of another size may be summed in
    # another order.
    parts = [row for rows in many.values() for row in rows]
    probabilities = [name for name in one.column_names if name.startswith("p_")]
    assert [without(row, probabilities) for row in parts] == [
        without(row, probabilities) for row in one.to_pylist()
    ]
    for name in probabilities:
        values = np.array([row[name] for row in parts], float)
        np.testing.assert_allclose(values, one[name].to_numpy().astype(float), rtol=0, atol=2e-7)
    assert pq.read_schema(tmp_path / "many" / "part-z.parquet").equals(one.schema)
    assert len(one) == sum(SIZES) + 40 + 1  # the shard of one picture holds the unreadable one, too
    manifest = read_manifest(str(tmp_path / "many"))
    assert manifest.finished and not manifest.failed and not manifest.damaged
    assert [p.tally.rows for p in manifest.parts] == [len(rows) for rows in many.values()]
    t = manifest.tally
    assert t.rows == t.images == len(one) == t.answered + t.abstained + t.errors
    assert t.errors == 4 and t.answered > 0 and t.abstained > 0
    assert t.predictions == Counter(r["prediction"] for r in one.to_pylist() if r["prediction"])


def test_from_python_it_is_the_same(capsys, run, tmp_path, tars):
    import candid as package

    words = ["--engine", "torch", "--abstain-below", "0.6", "--quiet"]
    candid(capsys, "predict", run.path, *tars, "--out", f"{tmp_path}/a/", *words)
    manifest = package.predict_shards(
        run, [tmp_path / "in"], tmp_path / "b", engine="torch", abstain_below=0.6, workers=1
    )
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    assert manifest == read_manifest(f"{tmp_path}/b") == read_manifest(f"{tmp_path}/a")


def test_a_part_says_what_it_was_made_from(ready, tmp_path, tars):
    manifest, _ = do(ready, tars, tmp_path / "out")
    made_for, part = read_part(str(tmp_path / "out" / "part-faces-001.parquet"))
    assert made_for == manifest.fingerprint
    assert part == manifest.parts[1]
    about = json.loads(pq.read_schema(tmp_path / "out" / part.part).metadata[b"candid"])
    assert about == {"target": "Hat"}


# --- again ---------------------------------------------------------------------------------------


def test_started_again_it_does_only_what_is_missing(ready, tmp_path, tars):
    out = tmp_path / "out"
    _, now = do(ready, tars, out)
    assert now == [str(t) for t in tars]
    before = {p.name: p.read_bytes() for p in out.glob("*.parquet")}
    manifest, now = do(ready, tars, out)
    assert now == []
    assert manifest.tally.resumed == manifest.tally.images
    (out / "part-faces-001.parquet").unlink()
    torn = out / "part-faces-003.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    shutil.copy(out / "part-faces-000.parquet", out / "part-faces-002.parquet")  # another shard's
    manifest, now = do(ready, tars, out)
    assert now == [str(tars[i]) for i in (1, 2, 3)]
    assert manifest.tally.resumed == SIZES[0]
    assert {p.name: p.read_bytes() for p in out.glob("*.parquet")} == before


def test_a_shard_that_changed_is_done_again(ready, tmp_path, tars):
    do(ready, tars, tmp_path / "out")
    write_tar(tars[2], {"new.png": encoded(pixels(1, seed=77)[0])})
    _, now = do(ready, tars, tmp_path / "out")
    assert now == [str(tars[2])]
    (row,) = pq.read_table(tmp_path / "out" / "part-faces-002.parquet").to_pylist()
    assert row["id"] == f"{tars[2]}/new.png"


def test_a_shard_that_comes_later_is_added(ready, tmp_path, tars):
    do(ready, tars[:3], tmp_path / "out")
    _, now = do(ready, tars, tmp_path / "out")
    assert now == [str(tars[3])]


def test_labels_of_another_model_are_replaced_only_on_request(run, ready, tmp_path, tars):
    out = tmp_path / "out"
    do(ready, tars, out)
    before = rows_of(out)
    other = open_labeller(run, engine="torch", abstain_below=0.9)
    with pytest.raises(OutputError, match="other settings"):
        do(other, tars, out)
    assert rows_of(out) == before and read_manifest(str(out)).finished
    _, now = do(other, tars, out, force=True)
    assert len(now) == len(tars)
    assert rows_of(out) != before


def test_labels_of_other_shards_do_not_mix_with_these(ready, tmp_path, tars):
    do(ready, tars, tmp_path / "out")
    with pytest.raises(OutputError, match="none of this job's"):
        do(ready, tars[:2], tmp_path / "out")


def test_a_job_that_breaks_leaves_whole_parts_and_a_manifest_that_says_so(
    ready, tmp_path, tars, monkeypatch
):
    class Stopped(BaseException):
        pass

    def stop(labeller, shard, *rest, **options):
        if shard.name == str(tars[2]):
            raise Stopped
        return label_shard(labeller, shard, *rest, **options)

    monkeypatch.setattr(parts, "label_shard", stop)
    with pytest.raises(Stopped):
        do(ready, tars, tmp_path / "out")
    assert not read_manifest(str(tmp_path / "out")).finished
    monkeypatch.undo()
    manifest, now = do(ready, tars, tmp_path / "out")
    assert now == [str(t) for t in tars[2:]]
    assert manifest.finished and manifest.tally.images == sum(SIZES) + 1


# --- what goes wrong -----------------------------------------------------------------------------


def test_bad_shards_are_told_of_and_the_others_done(capsys, run, tmp_path, tars):
    whole = tars[1].read_bytes()
    tars[1].write_bytes(whole[: len(whole) // 2])
    tars[3].write_bytes(b"no tar at all")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "in" / "y.parquet")
    said = candid(
        capsys, "predict", run.path, tmp_path / "in", "--out", f"{tmp_path}/out/",
        "--engine", "torch", "--json", "--quiet", code=1,
    )  # fmt: skip
    told = json.loads(said.out)
    assert told["parts"] == 4
    assert [f["shard"] for f in told["failed"]] == [f"{tmp_path}/in/y.parquet"]
    assert "embedded pictures" in told["failed"][0]["reason"]
    assert [d["shard"] for d in told["damaged"]] == [str(tars[1]), str(tars[3])]
    assert "cut short" in told["damaged"][0]["reason"]
    assert "Of 5 shards 1 could not be read, and 2 not to the end" in said.err
    assert "expected:" in said.err and "to do:" in said.err
    manifest = read_manifest(f"{tmp_path}/out")
    assert manifest.finished and len(manifest.failed) == 1 and len(manifest.damaged) == 2
    # Mended, it becomes a part.
    tars[1].write_bytes(whole)
    tar_shards(tmp_path / "new", SIZES)
    os.replace(tmp_path / "new" / tars[3].name, tars[3])
    (tmp_path / "in" / "y.parquet").unlink()
    candid(capsys, "predict", run.path, tmp_path / "in", "--out", f"{tmp_path}/out/",
           "--engine", "torch", "--quiet")  # fmt: skip
    assert len(rows_of(tmp_path / "out")["part-faces-001.parquet"]) == SIZES[1]


def test_a_part_of_a_shard_that_fails_now_does_not_stay(ready, tmp_path, tars):
    do(ready, tars, tmp_path / "out")
    tars[0].unlink()
    tars[0].mkdir()
    with pytest.raises(DataError):
        find_shards([str(tars[0])], "")  # a folder without shards
    tars[0].rmdir()
    found = find_shards([str(t) for t in tars[1:]], "")
    gone = shards.Shard(str(tars[0]), "part-faces-000.parquet", "1 1")
    order = order_of(ready, tmp_path / "out")
    manifest = label_missing([gone, *found], order, label_here(ready, order, workers=1))
    assert [f.shard for f in manifest.failed] == [str(tars[0])]
    assert not (tmp_path / "out" / "part-faces-000.parquet").exists()


def test_a_folder_that_cannot_be_written_stops_the_job(ready, tmp_path, tars):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError):
        do(ready, tars, tmp_path / "out")


def test_two_jobs_do_not_share_a_folder(ready, tmp_path, tars):
    order = order_of(ready, tmp_path / "out")
    with parts._lock_folder(order.out), pytest.raises(OutputError, match="Another process"):
        do(ready, tars, tmp_path / "out")


def test_what_killed_workers_began_is_swept_away(ready, tmp_path, tars):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".part-faces-000.parquet.x1.part").write_bytes(b"begun")
    (tmp_path / "out" / ".another.part").write_bytes(b"someone's")
    do(ready, tars, tmp_path / "out")
    left = {p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")}
    assert left == {".another.part", ".lock"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["in", "--out", "out/", "--format", "csv"], "not labelled as 'csv'"),
        (["in", "--out", "memory://b/labels.csv"], "is one table"),
        (["in", "--engine", "ray"], "No folder"),
        (["in", "--engine", "ray", "--out", "labels.parquet"], "is one table"),
        (["one.png", "--out", "out/"], "is no shard"),
        (["xyz://b/a.tar", "--out", "out/"], "Cannot reach xyz"),
        (["memory://nothing/a.tar", "--out", "out/"], "There is no"),
    ],
)
def test_bad_orders_are_told_in_three_parts(capsys, run, tmp_path, tars, monkeypatch, words, said):
    pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.png").write_bytes(encoded(pixels(1)[0]))
    engine = [] if "--engine" in words else ["--engine", "torch"]
    err = candid(capsys, "predict", run.path, *engine, *words, code=2).err
    assert said in err
    assert "expected:" in err and "to do:" in err


# --- far away ------------------------------------------------------------------------------------


@pytest.fixture
def store():
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/", recursive=True) if fs.ls("/") else None


def test_shards_and_labels_on_a_store(capsys, run, tmp_path, tars, store):
    for tar in tars:
        store.pipe(f"/bucket/in/{tar.name}", tar.read_bytes())
    options = ["--engine", "torch", "--quiet"]
    words = ["memory://bucket/in", "--out", "memory://bucket/labels"]
    candid(capsys, "predict", run.path, *words, *options)
    candid(capsys, "predict", run.path, tmp_path / "in", "--out", f"{tmp_path}/out/", *options)
    for name, rows in rows_of(tmp_path / "out").items():
        with store.open(f"/bucket/labels/{name}", "rb") as file:
            far = pq.read_table(file).to_pylist()
        for row in rows:
            row["id"] = row["id"].replace(f"{tmp_path}/", "memory://bucket/")
        assert far == rows
    before = store.info("/bucket/labels/part-faces-001.parquet")["created"]
    store.rm("/bucket/labels/part-faces-000.parquet")
    said = candid(capsys, "predict", run.path, *words, "--engine", "torch", "--json", "--quiet")
    assert json.loads(said.out)["resumed"] == sum(SIZES) + 1 - SIZES[0]
    assert store.info("/bucket/labels/part-faces-001.parquet")["created"] == before


def test_pictures_on_a_store_in_one_table(capsys, run, tmp_path, tars, store):
    store.pipe("/b/x/1.png", encoded(pixels(1)[0]))
    store.pipe("/b/x/2.png", b"nothing")
    store.pipe("/b/t.tar", tars[0].read_bytes())
    words = ["memory://b/x", "memory://b/t.tar"]
    candid(capsys, "predict", run.path, *words, "--out", tmp_path / "a.parquet",
           "--engine", "torch", "--quiet")  # fmt: skip
    found = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [r["id"] for r in found[:3]] == [
        "memory://b/x/1.png", "memory://b/x/2.png", "memory://b/t.tar/0000.png",
    ]  # fmt: skip
    assert [r["error"] is None for r in found[:3]] == [True, False, True]
    assert len(found) == 2 + SIZES[0]


def test_without_fsspec_a_url_says_what_to_install(capsys, run, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    err = candid(capsys, "predict", run.path, "s3://b/a.tar", "--engine", "torch", code=2).err
    assert "candid-faces[cloud]" in err
