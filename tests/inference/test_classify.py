"""Rows of pictures: in order, complete, the same however often the job was stopped."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from bomb import bomb
from candid.errors import DataError, ImageError, OutputError
from candid.inference import classify
from candid.inference.abstaining import Rule
from candid.inference.classifier import BATCH, Classifier
from candid.inference.classify import Labeller, label
from candid.inference.detectors import Box, DetectedFace, open_detector
from candid.inference.faces import Finder, Frame
from candid.inference.label_file import journal_path, label_to_file
from candid.inference.rows import Block, RowColumns, format_of
from candid.inference.sources import Item, items
from candid.inference.unfamiliar import Unfamiliar
from candid.records import ModelCard
from candid.storage.jobs import open_journal
from candid.tables.delimited import read_table
from inference.tiny import CLASSES, SIDE, encoded, pixels, tiny_run, write_tar
from peak import peak


class Mean:
    """A model that can be worked out by hand: "yes" is as probable as the picture is red."""

    name = "by hand"

    def __init__(self):
        self.sizes = []
        self.seen = 0

    def __call__(self, batch):
        self.sizes.append(len(batch))
        self.seen += len(batch)
        red = batch[..., 0].mean((1, 2)) / 255
        return np.stack([1 - red, red], 1).astype(np.float32)


def by_hand(model=None, rule=None, unfamiliar=None):
    card = ModelCard(
        "plain", {}, "Hat", CLASSES, SIDE, (0, 0, 0), (1, 1, 1), 1.0, 0, 0, (), 1, "last"
    )
    classifier = Classifier(card, "stretch", 10_000, rule, model or Mean())
    return Labeller(classifier, unfamiliar)


def of(pictures, *, ordered=False):
    return [
        Item(f"{i}.png", lambda p=p: p if isinstance(p, bytes) else encoded(p), ordered)
        for i, p in enumerate(pictures)
    ]


def rows(labeller, given, **options):
    names = labeller.columns.names
    return [
        dict(zip(names, row, strict=True))
        for block in label(labeller, given, **options)
        for row in block.rows
    ]


# --- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("workers", [1, 4])
def test_every_picture_gets_its_own_answer_in_order(workers, ordered):
    pictures = pixels(5 * BATCH + 7)
    model = Mean()
    found = rows(by_hand(model), of(pictures, ordered=ordered), workers=workers)
    red = pictures[..., 0].mean((1, 2)) / 255
    assert [r["id"] for r in found] == [f"{i}.png" for i in range(len(pictures))]
    np.testing.assert_allclose([r["p_yes"] for r in found], red, atol=1e-6)
    assert [r["prediction"] for r in found] == [CLASSES[int(p > 0.5)] for p in red]
    assert {(r["abstained"], r["reason"], r["width"], r["height"], r["error"]) for r in found} == {
        (False, None, SIDE, SIDE, None)
    }
    assert sorted(model.sizes) == [7] + 5 * [BATCH]  # full batches


def test_bad_pictures_are_rows_with_an_error_between_good_ones():
    good = pixels(3)
    whole = encoded(pixels(1, side=64)[0], "JPEG")
    bad = [
        b"",
        whole[: len(whole) // 2],
        bomb(100_000),
        b"<html>no picture</html>",
        b"%PDF-1.4",
        b"\0" * 99,
    ]
    found = rows(by_hand(), of([good[0], *bad, good[1], good[2]]))
    assert [r["error"] is None for r in found] == [True, *6 * [False], True, True]
    for r in found[1:7]:
        assert r["prediction"] is None and r["p_yes"] is None and r["abstained"] is None
        assert "\n" not in r["error"]
    assert "empty" in found[1]["error"]
    assert "cut short" in found[2]["error"]
    assert "too many pixels" in found[3]["error"] or "100,000" in found[3]["error"]
    assert "text" in found[4]["error"]
    red = good[..., 0].mean((1, 2)) / 255
    np.testing.assert_allclose([found[i]["p_yes"] for i in (0, 7, 8)], red, atol=1e-6)


def test_a_batch_of_bad_pictures_alone():
    model = Mean()
    assert len(rows(by_hand(model), of(3 * [b""]))) == 3
    assert model.seen == 0


def test_abstention_has_a_reason_and_no_label():
    labeller = by_hand(rule=Rule(0.6, ""))
    shades = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in (10, 120, 140, 250)]
    found = rows(labeller, of(shades))
    assert [r["prediction"] for r in found] == ["no", None, None, "yes"]
    assert [r["abstained"] for r in found] == [False, True, True, False]
    assert found[1]["reason"] == "not sure: the highest probability is below 0.6"
    assert [r["reason_code"] for r in found[:2]] == [None, "not sure"]
    assert found[1]["p_yes"] == pytest.approx(120 / 255, abs=1e-6)  # still there to look at


def test_pictures_unlike_the_training_data_get_no_label():
    unfamiliar = Unfamiliar(np.zeros(448, np.float32), 0.5, 0.01, 100, 0, 0, 0.5, 2.0, 4, 1.0)
    wide, small, like = pixels(1)[0][:4], pixels(1)[0][:3, :3], pixels(1)[0]
    found = rows(by_hand(unfamiliar=unfamiliar), of([wide, small, like]))
    assert [r["prediction"] is None for r in found] == [True, True, False]
    assert found[0]["reason"] == "unlike the training data: another shape (16 × 4)"
    assert found[0]["reason_code"] == "unlike the training data"
    assert found[1]["reason"] == "unlike the training data: too small (3 × 3)"
    far = Unfamiliar(np.zeros(448, np.float32), -0.5, 0.01, 100, 0, 0, 0.5, 2.0, 4, 1.0)
    assert rows(by_hand(unfamiliar=far), of([like]))[0]["reason"].endswith(
        "another kind of picture"
    )


def test_what_is_cut_out_counts_as_it_is_cut_and_not_as_its_box():
    """A box of 6 pixels, half as wide as the crop: a crop of 12, where 8 are enough."""
    frame = Frame(1.0, (math.nan,) * 4, (0.5, 0.5, 0.5), 0, "by hand", 1.0)
    unfamiliar = Unfamiliar(np.zeros(448, np.float32), 0.5, 0.01, 100, 0, 0, 0.5, 2.0, 8, 1.0)
    for edge, reason in ((6, None), (3, "unlike the training data: too small (6 × 6)")):
        finder = Finder(lambda _, edge=edge: [DetectedFace(Box(9, 9, edge, edge, 1.0))], frame)
        labeller = replace(by_hand(unfamiliar=unfamiliar), finder=finder)
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        (row,) = rows(labeller, of([noise]))
        assert row["reason"] == reason


def test_a_sliver_of_a_photograph_holds_no_face():
    pytest.importorskip("cv2")
    frame = Frame(1.0, (math.nan,) * 4, (0.5, 0.5, 0.5), 0, "by hand", 1.0)
    labeller = replace(by_hand(), finder=Finder(open_detector(), frame))
    before = peak(forget=True)
    for shape in ((5000, 1, 3), (1, 5000, 3)):
        (row,) = rows(labeller, of([np.zeros(shape, np.uint8)]))
        assert row["reason"] == "no face found"
    assert peak() - before < 100_000_000


# --- flat memory, no more than is needed ---------------------------------------------------------


def test_reading_runs_no_further_ahead_than_a_few_blocks():
    taken = 0

    def counted():
        nonlocal taken
        for item in of(3000 * [b""]):
            taken += 1
            yield item

    blocks = label(by_hand(), counted(), workers=2)
    next(blocks)
    assert taken <= (2 * 2 + 4) * BATCH
    blocks.close()
    assert taken <= (2 * 2 + 4) * BATCH


def test_large_pictures_from_an_archive_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(classify, "_BLOCK_BYTES", 100_000)
    held, most, lock = 0, 0, threading.Lock()

    class Weighed(bytes):
        def __del__(self):
            nonlocal held
            with lock:
                held -= len(self)

    def read():
        nonlocal held, most
        data = Weighed(60_000)
        with lock:
            held += len(data)
            most = max(most, held)
        return data

    found = rows(by_hand(), [Item(str(i), read, ordered=True) for i in range(200)], workers=2)
    assert len(found) == 200
    assert most <= 4 * 100_000 + 3 * 160_000  # of 12,000,000


def test_memory_is_flat():
    def peak(n):
        picture = encoded(pixels(1)[0])
        given = (Item(str(i), lambda: picture, True) for i in range(n))
        tracemalloc.start()
        try:
            total = sum(block.items for block in label(by_hand(), given, workers=1))
            return tracemalloc.get_traced_memory()[1], total
        finally:
            tracemalloc.stop()

    small, large = peak(500), peak(2500)
    assert large[1] == 2500
    assert large[0] < 1.3 * small[0] + 100_000


def test_what_goes_wrong_inside_a_thread_comes_out():
    class Broken(Mean):
        def __call__(self, batch):
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        rows(by_hand(Broken()), of(pixels(100)))


# --- files ---------------------------------------------------------------------------------------


def written(out):
    if out.suffix == ".parquet":
        return pq.read_table(out).to_pylist()
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    return [{k: v or "" for k, v in row.items()} for row in read_table(out).to_pylist()]


ODD = ["a,b.png", 'quo"te.png', "a\rb\nc.png", "<script>.png", "=1+1.png", "é漢.png"]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_the_three_formats_hold_the_same(tmp_path, ending):
    pictures = [*pixels(len(ODD) - 1), b""]
    given = [
        Item(name, lambda p=p: p if isinstance(p, bytes) else encoded(p))
        for name, p in zip(ODD, pictures, strict=True)
    ]
    out = tmp_path / f"labels.{ending}"
    tally = label_to_file(by_hand(), given, out, format_of(out, None), {"job": 1})
    found = written(out)
    assert [r["id"] for r in found] == ODD
    assert list(found[0]) == RowColumns(CLASSES, faces=False).schema().names
    red = np.stack(pictures[:-1])[..., 0].mean((1, 2)) / 255
    np.testing.assert_allclose([float(r["p_yes"]) for r in found[:-1]], red, atol=1e-6)
    undefined = "" if ending == "csv" else None
    assert found[-1]["p_yes"] == undefined and found[-1]["prediction"] == undefined
    assert found[0]["abstained"] == ("false" if ending == "csv" else False)
    assert (tally.images, tally.answered, tally.errors) == (6, 5, 1)
    assert sum(tally.predictions.values()) == 5
    assert os.listdir(tmp_path) == [out.name]


def test_formats_by_name_and_ending(tmp_path):
    assert format_of(tmp_path / "a.PARQUET", None) == "parquet"
    assert format_of(tmp_path / "a.txt", "csv") == "csv"
    for path, named in (("a.txt", None), ("a.csv", "xslx")):
        with pytest.raises(OutputError):
            format_of(tmp_path / path, named)


class Stop(BaseException):
    """As abrupt as a kill, but inside the process."""


def stopped_after(n, pictures):
    for i, item in enumerate(of(pictures)):
        if i == n:
            raise Stop
        yield item


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_stopped_job_goes_on_without_doing_anything_twice(tmp_path, ending):
    pictures = pixels(10 * BATCH + 5)
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"labels.{ending}"
    label_to_file(by_hand(), of(pictures), whole, format_of(out, None), {"job": 1})
    seen = 0
    for stop in (3 * BATCH, 3 * BATCH, 7 * BATCH + 1):
        model = Mean()
        with pytest.raises(Stop):
            given, kind = stopped_after(stop, pictures), format_of(out, None)
            label_to_file(by_hand(model), given, out, kind, {"job": 1}, workers=1)
        assert not out.exists()
        seen += model.seen
    model = Mean()
    tally = label_to_file(by_hand(model), of(pictures), out, format_of(out, None), {"job": 1})
    assert tally.images == len(pictures)
    assert 0 < tally.resumed < len(pictures)
    assert model.seen == len(pictures) - tally.resumed
    assert out.read_bytes() == whole.read_bytes()
    assert not journal_path(out).exists()


def journal_of_a_stopped_job(tmp_path, pictures, job):
    out = tmp_path / "labels.csv"
    with pytest.raises(Stop):
        label_to_file(by_hand(), stopped_after(6 * BATCH, pictures), out, "csv", job, workers=1)
    return out


@pytest.mark.parametrize("damage", ["torn", "zeros", "flipped"])
def test_a_damaged_end_of_the_journal_is_done_again(tmp_path, damage):
    pictures = pixels(9 * BATCH)
    whole = tmp_path / "whole.csv"
    label_to_file(by_hand(), of(pictures), whole, "csv", {})
    out = journal_of_a_stopped_job(tmp_path, pictures, {})
    path = journal_path(out)
    data = path.read_bytes()
    assert data.count(b"\n") >= 2
    if damage == "torn":
        path.write_bytes(data[:-100])
    elif damage == "zeros":
        path.write_bytes(data[:-100] + 100 * b"\0")
    else:
        path.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    tally = label_to_file(by_hand(), of(pictures), out, "csv", {})
    assert tally.resumed == (data.count(b"\n") - 2) * BATCH
    assert out.read_bytes() == whole.read_bytes()


def test_other_pictures_are_not_mixed_with_those_before(tmp_path):
    pictures = pixels(9 * BATCH)
    out = journal_of_a_stopped_job(tmp_path, pictures, {})
    with pytest.raises(DataError, match="not those"):
        label_to_file(by_hand(), of(pictures)[1:], out, "csv", {})
    with pytest.raises(DataError, match="not those"):
        label_to_file(by_hand(), of(pictures)[:BATCH], out, "csv", {})
    assert label_to_file(by_hand(), of(pictures), out, "csv", {}).resumed > 0  # still there


def test_another_job_is_not_gone_on_with(tmp_path):
    pictures = pixels(9 * BATCH)
    out = journal_of_a_stopped_job(tmp_path, pictures, {"model": "a", "crop": False})
    with pytest.raises(OutputError, match="differs in: model"):
        label_to_file(by_hand(), of(pictures), out, "csv", {"model": "b", "crop": False})
    tally = label_to_file(by_hand(), of(pictures), out, "csv", {"model": "b"}, force=True)
    assert tally.resumed == 0


def test_a_table_that_is_there_is_not_replaced_unasked(tmp_path):
    out = tmp_path / "labels.csv"
    out.write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        label_to_file(by_hand(), of(pixels(2)), out, "csv", {})
    assert out.read_text() == "precious"
    label_to_file(by_hand(), of(pixels(2)), out, "csv", {}, force=True)
    assert len(written(out)) == 2


def test_one_job_per_table(tmp_path):
    out = tmp_path / "labels.csv"
    with open_journal(journal_path(out), {}), pytest.raises(OutputError, match="Another process"):
        label_to_file(by_hand(), of(pixels(2)), out, "csv", {})


def test_no_pictures_at_all(tmp_path):
    out = tmp_path / "labels.csv"
    with pytest.raises(DataError, match="not one picture"):
        label_to_file(by_hand(), [], out, "csv", {})
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_item_keeps_its_place():
    def broken():
        raise ImageError("gone")

    given = [*of(pixels(1)), Item("b", broken, True), Item("c", broken), *of(pixels(1))]
    assert [r["error"] for r in rows(by_hand(), given)] == [None, "gone", "gone", None]


# --- killed --------------------------------------------------------------------------------------


def test_killed_three_times_at_random_the_table_is_the_same(tmp_path):
    """The process is killed with SIGKILL while it works, each time somewhere else."""
    run = tiny_run(tmp_path / "run")
    n = 2000
    tar = write_tar(
        tmp_path / "faces.tar", {f"{i:05}.png": encoded(p) for i, p in enumerate(pixels(n))}
    )
    code = (
        "import sys, time; from pathlib import Path\n"
        "from candid.runs import Run\n"
        "from candid.pipeline.labelling import label_pictures, open_labeller\n"
        "ready = open_labeller(Run(Path(sys.argv[1])), engine='torch')\n"
        "tally = label_pictures(ready, [sys.argv[2]], Path(sys.argv[3]), 'csv', workers=1,\n"
        "    bar=lambda n: (print(n, flush=True), time.sleep(float(sys.argv[4]))))\n"
        "print('done', tally.images, tally.resumed)"
    )

    def start(out, pause="0"):
        return subprocess.Popen(
            [sys.executable, "-c", code, run.path, tar, out, pause],
            stdout=subprocess.PIPE,
            text=True,
        )

    whole, out = tmp_path / "whole.csv", tmp_path / "labels.csv"
    assert start(whole).communicate(timeout=120)[0].splitlines()[-1] == f"done {n} 0"
    rng = random.Random(time.time_ns())
    for _ in range(3):
        job = start(out, "0.01")
        for _ in range(rng.randint(1, 25)):
            assert job.stdout.readline().strip().isdigit()
        time.sleep(rng.uniform(0, 0.02))
        job.send_signal(signal.SIGKILL)
        job.communicate()
        assert not out.exists()
        assert journal_path(out).exists()
    last = start(out).communicate(timeout=120)[0].splitlines()[-1].split()
    assert last[:2] == ["done", str(n)]
    assert int(last[2]) > 0
    assert out.read_bytes() == whole.read_bytes()
    assert len(written(out)) == n


def test_the_same_pictures_by_file_and_by_tar(tmp_path):
    members = {f"{i}.png": encoded(p) for i, p in enumerate(pixels(40))}
    tar = write_tar(tmp_path / "a.tar", members)
    folder = tmp_path / "a"
    folder.mkdir()
    for name, data in members.items():
        (folder / name).write_bytes(data)
    one = {r["id"].rpartition("/")[2]: r["p_yes"] for r in rows(by_hand(), items([str(tar)]))}
    two = {r["id"].rpartition("/")[2]: r["p_yes"] for r in rows(by_hand(), items([str(folder)]))}
    assert one == two
    assert len(one) == 40


def test_a_job_may_hold_a_threshold_that_nothing_reaches(tmp_path):
    path, job = tmp_path / "out.partial", {"threshold": math.inf, "limit": math.nan}
    with open_journal(path, job) as journal:
        journal.add(vars(Block(1, "digest", [{"id": "a"}])))
    with open_journal(path, job) as journal:
        assert [part["names"] for part in journal.parts()] == ["digest"]
    with pytest.raises(OutputError, match="threshold"), open_journal(path, job | {"threshold": 1}):
        pass
