"""Corrections from the command line: applied, written back, brought together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import candid as package
from candid.config import with_values
from candid.data.synthetic import demo_world, write_faces
from candid.pipeline.opening import reload
from candid.runs import open_run
from candid.settings import Config
from candid.tables.corrections import Correction, read_corrections, write_corrections
from commands import candid


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = write_faces(
        tmp_path_factory.mktemp("data") / "faces", demo_world(60, side=16, seed=1), quiet=True
    )
    return folder


def decisions(faces: Path, file: Path, who: str = "ann", other: int = 0) -> Path:
    """The first ten images, of which the first three (and `other` more) are given another class."""
    data = package.load(faces, target="Face")
    rows = []
    for row in range(10):
        was = data.classes[data.label[row]]
        now = data.classes[1 - data.label[row]] if row < 3 + other else was
        rows.append(Correction(str(data.ids[row]), was, now, "label", who, f"2026-01-{row + 1:02}"))
    write_corrections(file, rows)
    return file


def test_a_run_keeps_the_corrections_that_it_began_with(faces: Path, tmp_path: Path) -> None:
    file = decisions(faces, tmp_path / "c.csv")
    about = {"target": "Face", "corrections": str(file), "side": 16, "workers": 1}
    config = with_values(Config(), {"data": about, "evaluate": {"draws": 50}})
    found = package.explore(faces, config, out=tmp_path / "run", cache=tmp_path / "cache")
    (finding,) = [f for f in found.findings if f.code == "CORRECTIONS"]
    assert (finding.count, finding.values["who"]) == (3, {"ann": 3})
    run = open_run(tmp_path / "run")
    assert read_corrections(run.applied) == read_corrections(file)
    before = reload(run, cache=tmp_path / "cache")
    decisions(faces, file, other=2)  # the review goes on
    assert reload(run, cache=tmp_path / "cache").fingerprint == before.fingerprint
    assert (before.dataset.label != before.dataset.label_as_read).sum() == 3


def test_explore_takes_corrections(faces: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    file = decisions(faces, tmp_path / "c.csv")
    words = ["explore", faces, "--target", "Face", "--set", "data.side=16", "--set",
             "evaluate.draws=50", "--cache", tmp_path / "cache"]  # fmt: skip
    said = candid(capsys, *words, "--corrections", file).out
    assert "note: CORRECTIONS: By c.csv: 3 labels were changed" in said
    assert "CORRECTIONS" not in candid(capsys, *words).out
    said = candid(capsys, *words, "--corrections", tmp_path / "none.csv", code=2).err
    assert "Cannot read the corrections" in said and "to do:" in said


def test_apply_writes_the_labels(faces: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    file, out = decisions(faces, tmp_path / "c.csv"), tmp_path / "labels.csv"
    said = candid(capsys, "corrections", "apply", faces, file, "--target", "Face", "--out", out)
    assert said.out.splitlines() == [
        "By c.csv: 3 labels were changed, 0 images left out, 0 copies left out, 0 identities "
        "changed. Whose: ann 3.",
        f"{out}: 60 images",
    ]
    before, after = (package.load(path, target="Face") for path in (faces, out))
    assert [Path(i).name for i in after.ids] == [Path(i).name for i in before.ids]
    assert (before.label != after.label).nonzero()[0].tolist() == [0, 1, 2]
    plain = json.loads(
        candid(capsys, "corrections", "apply", faces, file, "--target", "Face", "--out", out,
               "--json").out
    )  # fmt: skip
    assert (plain["files"], plain["images"], plain["corrections"]["count"]) == ([str(out)], 60, 3)


def test_merge_says_how_far_two_agree(faces: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    a = decisions(faces, tmp_path / "a.csv")
    b = decisions(faces, tmp_path / "b.csv", "ben", other=1)
    said = candid(capsys, "corrections", "merge", a, b, "--out", tmp_path / "c.csv").out
    assert "20 decisions on 10 images" in said
    data = package.load(faces, target="Face")
    here, there = data.classes[data.label[3]], data.classes[1 - data.label[3]]
    assert f"    {here} in the first file, {there} in the second: 1" in said.splitlines()
    assert "the same decision: 90% (60 to 98), Wilson" in said
    assert "bootstrap by image" in said
    assert len(read_corrections(tmp_path / "c.csv")) == 20
    out = candid(capsys, "corrections", "merge", a, b, "--out", tmp_path / "c.csv", "--json").out
    plain = json.loads(out)
    assert (plain["both"], plain["agreement"]["n"]) == (10, 10)
    assert sum(pair["count"] for pair in plain["apart"]) == 1
    # The one that is disputed stays as it was.
    said = candid(
        capsys, "corrections", "apply", faces, tmp_path / "c.csv", "--target", "Face", "--out",
        tmp_path / "labels.csv",
    ).out  # fmt: skip
    assert "3 labels were changed" in said and "1 image is disputed" in said


def test_the_data_s_own_files_are_not_written_over(faces: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    own = Path(shutil.copytree(faces, tmp_path / "own"))
    file, before = decisions(own, tmp_path / "c.csv"), (own / "labels.csv").read_bytes()
    (tmp_path / "linked").symlink_to(own)
    words = ("corrections", "apply", own, file, "--target", "Face", "--out")
    for place in (own, tmp_path / "linked"):
        said = candid(capsys, *words, place / "labels.csv", code=2).err
        assert "stands among the data" in said and "to do:" in said
        assert (own / "labels.csv").read_bytes() == before
    candid(capsys, *words, own / "metadata.jsonl")  # a new one, as Hugging Face has it
    assert (own / "metadata.jsonl").is_file()


def test_files_with_nothing_in_common(faces: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    a = decisions(faces, tmp_path / "a.csv")
    write_corrections(tmp_path / "b.csv", [])
    said = candid(capsys, "corrections", "merge", a, tmp_path / "b.csv", "--out", tmp_path / "c")
    assert "no image was decided in both" in said.out


@pytest.mark.slow
def test_a_run_with_corrections_says_so_from_the_labels_to_the_report(
    faces: Path, tmp_path: Path, capsys
) -> None:  # type: ignore[no-untyped-def]
    data = package.load(faces, target="Face")
    rows = [
        Correction(str(data.ids[i]), data.classes[k], data.classes[1 - k], "label", "ann")
        for i, k in enumerate(data.label.tolist())
        if data.split[i] != "train"
    ]
    write_corrections(tmp_path / "c.csv", rows)
    small = ["data.side=16", "data.workers=1", "network.width=4", "train.steps=2",
             "train.batch_size=8", "framing.steps=0", "evaluate.draws=50"]  # fmt: skip
    settings = [word for one in small for word in ("--set", one)]
    cache = ["--cache", tmp_path / "cache"]
    candid(capsys, "train", faces, "--target", "Face", "--corrections", tmp_path / "c.csv",
           "--out", tmp_path / "run", "--quiet", *cache, *settings)  # fmt: skip
    (tmp_path / "c.csv").unlink()  # the run has its own copy
    plain = json.loads(candid(capsys, "evaluate", tmp_path / "run", *cache, "--json").out)
    for split in plain["splits"]:
        assert split["corrected"] == split["n"]
        # Every label is the other one, so what was right is wrong.
        before = split["metrics_as_read"]["accuracy"]["value"]
        assert before == pytest.approx(1 - split["metrics"]["accuracy"]["value"])
    said = candid(capsys, "report", tmp_path / "run").out
    report = Path(said.split(": ", 1)[1].strip()).read_text()
    assert "test labels were corrected. Weighted F1 against the labels" in report
