"""candid predict and candid export from the outside."""

import contextlib
import csv
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from candid.inference.unfamiliar import fit_unfamiliar, write_unfamiliar
from commands import candid
from inference.tiny import encoded, pixels, tiny_run, write_tar


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture
def faces(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    for i, picture in enumerate(pixels(5)):
        (folder / f"{i}.png").write_bytes(encoded(picture))
    return folder


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def predict(capsys, run, *words, **options):
    return candid(capsys, "predict", run, "--engine", "torch", *words, **options)


def test_rows_on_standard_output(capsys, run, faces):
    found = rows(predict(capsys, run, faces).out)
    assert [r["id"] for r in found] == [f"{faces}/{i}.png" for i in range(5)]
    assert {r["prediction"] for r in found} <= {"no", "yes"}
    assert all(abs(float(r["p_no"]) + float(r["p_yes"]) - 1) < 1e-6 for r in found)
    lines = predict(capsys, run, faces, "--json").out.splitlines()
    assert [json.loads(line)["prediction"] for line in lines] == [r["prediction"] for r in found]


def test_into_a_file(capsys, run, faces, tmp_path):
    out = tmp_path / "labels.csv"
    said = predict(capsys, run, faces, "--out", out)
    assert "5 pictures" in said.out
    assert "Hat = " in said.out
    assert "candid export" in said.err  # nobody taught it what its pictures look like
    assert len(rows(out.read_text())) == 5
    said = predict(capsys, run, faces, "--out", tmp_path / "b.jsonl", "--json", "--quiet")
    tally = json.loads(said.out)
    assert tally["images"] == 5 and tally["errors"] == 0
    assert sum(tally["predictions"].values()) == 5
    assert tally["unlike_checked"] is False
    assert "are not flagged" in said.err  # that is no progress that --quiet leaves out
    said = predict(capsys, run, faces, "--out", tmp_path / "d.csv", "--quiet", "--no-check")
    assert said.err == ""
    said = predict(capsys, run, faces, "--out", tmp_path / "c.parquet", "--quiet", "--no-check")
    assert said.out == "" and said.err == ""


@pytest.mark.parametrize("words", [(), ("--json",), ("--out", "labels.csv", "--json")])
def test_a_full_disk_behind_standard_output(capsys, run, faces, tmp_path, monkeypatch, words):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    monkeypatch.chdir(tmp_path)
    full = open("/dev/full", "w")  # noqa: SIM115 - closing it fails
    monkeypatch.setattr(sys, "stdout", full)
    err = predict(capsys, run, faces, *words, code=2).err
    assert "Cannot write standard output: the disk is full." in err
    assert "expected:" in err and "to do:" in err
    with contextlib.suppress(OSError):
        full.close()


def test_a_list_on_standard_input(capsys, run, faces, monkeypatch):
    listed = io.TextIOWrapper(io.BytesIO(f"{faces}/3.png\n{faces}/gone.png\n".encode()))
    monkeypatch.setattr(sys, "stdin", listed)
    found = rows(predict(capsys, run, faces / "0.png", "-").out)
    assert [Path(r["id"]).name for r in found] == ["0.png", "3.png", "gone.png"]
    assert found[2]["error"] == "the file is missing"


def test_bad_pictures_do_not_stop_the_others(capsys, run, faces, tmp_path):
    members = {
        "<img src=x>.png": (faces / "0.png").read_bytes(),
        "../e.png": b"",
        "t.png": b"<html>",
    }
    tar = write_tar(tmp_path / "a.tar", members)
    out = tmp_path / "labels.csv"
    said = predict(capsys, run, tar, faces, "--out", out)
    assert "could not be read: 2" in said.out
    found = rows(out.read_text())
    assert [r["id"] for r in found[:3]] == [f"{tar}/{name}" for name in members]
    assert [bool(r["error"]) for r in found] == [False, True, True, *5 * [False]]


def test_not_one_picture_that_can_be_read_is_an_error(capsys, run, faces, tmp_path):
    for i in range(5):
        (faces / f"{i}.png").write_bytes(b"no picture")
    why = ["Not one of 5 pictures could be read", "expected:", "to do:", "column error of "]
    shards = write_tar(tmp_path / "a.tar", {f"{i}.png": b"no picture" for i in range(5)})
    table, parts = tmp_path / "labels.csv", f"{tmp_path / 'parts'}/"
    for place, words in (
        (faces, ("--out", table)),
        (faces, ("--out", tmp_path / "b.jsonl", "--json")),
        (shards, ("--out", parts)),
        (shards, ("--out", parts, "--json", "--force")),
        (faces, ()),
        (faces, ("--json",)),
    ):
        said = predict(capsys, run, place, *words, code=2)
        assert all(word in said.err for word in why)
        if "--json" in words:
            told = [json.loads(line) for line in said.out.splitlines()]
            assert [t["errors"] for t in told] == [5] if "--out" in words else len(told) == 5
        elif words:
            assert "could not be read: 5" in said.out
        else:
            assert [r["id"] for r in rows(said.out)] == [f"{faces}/{i}.png" for i in range(5)]
    assert [r["error"] != "" for r in rows(table.read_text())] == [True] * 5
    (faces / "3.png").write_bytes(encoded(pixels(1)[0]))
    assert len(rows(predict(capsys, run, faces).out)) == 5
    assert predict(capsys, run, faces, "--out", table, "--force")
    (faces / "3.png").write_bytes(b"")
    assert "The one picture could not be read" in predict(capsys, run, faces / "3.png", code=2).err


def test_abstention(capsys, run, faces, tmp_path):
    said = predict(capsys, run, faces, "--abstain-below", "1", "--out", tmp_path / "a.csv")
    assert "no prediction, not sure: 5" in said.out
    found = rows((tmp_path / "a.csv").read_text())
    assert {r["prediction"] for r in found} == {""}
    assert found[0]["reason"] == "not sure: the highest probability is below 1"


def test_photographs_are_told_of_faces_to_be_found(capsys, run, tmp_path):
    """A run that knows its pictures by their look, and pictures that are mostly others."""
    knowing = Path(shutil.copytree(run, tmp_path / "knowing"))
    sides, every = np.full(60, 16), np.arange(60)
    known = fit_unfamiliar(pixels(60), every, every, sides, sides)
    write_unfamiliar(knowing / "unfamiliar.npz", known)
    for i, picture in enumerate(pixels(3)):
        (tmp_path / f"own{i}.png").write_bytes(encoded(picture))
    for i in range(2):
        Image.new("RGB", (400, 20), "navy").save(tmp_path / f"wide{i}.png")
    named = sorted(tmp_path.glob("*.png"))
    for some, told in ((named, False), (named[2:], True)):
        said = predict(capsys, knowing, *some, "--out", tmp_path / f"{len(some)}.csv").out
        assert "no prediction, unlike the training data: 2" in said
        assert ("--crop looks for the faces" in said) is told


def test_engines_answer_alike(capsys, run, faces):
    torch = rows(predict(capsys, run, faces).out)
    onnx = rows(candid(capsys, "predict", run, faces, "--engine", "onnx").out)
    assert [r["prediction"] for r in torch] == [r["prediction"] for r in onnx]
    a, b = ([float(r["p_yes"]) for r in found] for found in (torch, onnx))
    np.testing.assert_allclose(a, b, atol=2e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "There is no 'nowhere'"),
        (["faces", "--out", "labels.xyz"], "does not say its format"),
        (["faces", "--out", "there.csv"], "exists already"),
        (["faces", "--format", "parquet"], "standard output"),
        (["faces", "--format", "excel"], "no format 'excel'"),
        (["empty"], "not one picture"),
        (["faces", "--engine", "int8"], "model-int8"),
        (["faces", "--detector", "no.onnx"], "no detector"),
        (["faces", "--detector", "faces/0.png"], "OpenCV cannot use"),
    ],
)
def test_bad_input_is_told_in_three_parts(capsys, run, faces, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.csv").touch()
    if "--detector" in words:
        pytest.importorskip("cv2")
    engine = [] if "--engine" in words else ["--engine", "torch"]
    err = candid(capsys, "predict", run, *engine, *words, code=2).err
    assert said in err
    assert "expected:" in err and "to do:" in err
    assert (tmp_path / "there.csv").read_text() == ""


def test_a_folder_that_is_no_run(capsys, faces):
    assert "is not a run" in candid(capsys, "predict", faces, faces, code=2).err
    assert "is not a run" in candid(capsys, "export", faces, code=2).err


def test_a_run_without_a_model(capsys, run, faces, tmp_path):
    (tmp_path / "config.toml").write_bytes((run / "config.toml").read_bytes())
    assert "holds no trained network" in candid(capsys, "predict", tmp_path, faces, code=2).err


def test_export_without_its_data_checks_on_noise(capsys, run, tmp_path):
    said = candid(capsys, "export", run, "--out", tmp_path / "out")
    assert "the same labels as torch on noise" in said.out
    assert "checked on noise alone" in said.err
    assert (tmp_path / "out" / "model.onnx").is_file()
    said = candid(capsys, "export", run, "--out", tmp_path / "out", "--json", "--quiet")
    told = json.loads(said.out)
    assert told["largest_difference"] < 1e-4
    assert told["without_data"].endswith(f"are gone: there is no {run / 'gone'}.")
    assert said.err == ""
    err = candid(capsys, "export", run, "--int8", code=2).err
    assert "data" in err and "to do:" in err


def test_export_refuses_named_data_that_are_not_the_runs(capsys, run, faces, tmp_path):
    run = Path(shutil.copytree(run, tmp_path / "run"))
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace('target = "Hat"', 'target = ""'))
    others = tmp_path / "others"
    for i, picture in enumerate(pixels(80)):
        folder = others / ("no", "yes")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(encoded(picture))
    for data, said in (
        (tmp_path / "nowhere", "there is no"),
        (faces, "do not lie in folders"),
        (others, f"The data in {others} are not those that the run {run} began with"),
    ):
        out = tmp_path / "out"
        err = candid(capsys, "export", run, "--out", out, "--data", data, "--quiet", code=2).err
        assert said in err and "expected:" in err and "to do:" in err
        assert not out.exists()


def test_pictures_by_the_thousand_pixels(capsys, run, tmp_path):
    """A photograph: decoded, made small, answered; its size is that of the file."""
    Image.fromarray(pixels(1, side=300)[0]).resize((900, 600)).save(tmp_path / "photo.jpg")
    (found,) = rows(predict(capsys, run, tmp_path / "photo.jpg").out)
    assert (found["width"], found["height"]) == ("900", "600")
    assert found["prediction"]


def test_python_gives_the_same_rows(capsys, run, faces):
    import candid
    from candid.runs import Run

    told = rows(predict(capsys, run, faces).out)
    found = list(candid.predict(Run(run), [faces], engine="torch"))
    assert list(told[0]) == list(found[0])
    assert [r["id"] for r in found] == [r["id"] for r in told]
    assert [repr(r["p_yes"]) for r in found] == [r["p_yes"] for r in told]


# --- its own tables, audited ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet", "labels/"])
def test_the_audit_knows_a_table_of_predictions(capsys, run, faces, tmp_path, name):
    """Not as a stranger's, nor as one with labels; its answers are no labels to judge it by."""
    given = faces if "." in name else write_tar(
        tmp_path / "faces.tar", {f.name: f.read_bytes() for f in faces.iterdir()}
    )  # fmt: skip
    predict(capsys, run, given, "--out", f"{tmp_path}/{name}", "--quiet")
    table = tmp_path / name
    said = candid(capsys, "audit", table, code=2).err
    assert f"{table.name} was written by candid predict" in said and "join them by id" in said
    columns = ("--label", "prediction", "--prediction", "p_*")
    said = candid(capsys, "audit", table, *columns, code=2).err
    assert "'prediction' is no label: candid predict wrote it" in said


def test_a_table_of_predictions_with_labels_joined_is_audited(capsys, run, faces, tmp_path):
    predict(capsys, run, faces, "--out", tmp_path / "labels.csv", "--quiet")
    joined = rows((tmp_path / "labels.csv").read_text())
    with (tmp_path / "joined.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*joined[0], "hat"])
        writer.writeheader()
        writer.writerows(r | {"hat": ("no", "yes")[i % 2]} for i, r in enumerate(joined))
    columns = ("--label", "hat", "--prediction", "p_*", "--json")
    split = json.loads(candid(capsys, "audit", tmp_path / "joined.csv", *columns).out)["splits"][0]
    right = np.mean([r["prediction"] == ("no", "yes")[i % 2] for i, r in enumerate(joined)])
    assert split["metrics"]["accuracy"]["value"] == right
    groups = {c["attribute"] for g in split["groups"] for c in g["conditions"]}
    assert not groups & {"prediction", "abstained", "reason", "error"}
