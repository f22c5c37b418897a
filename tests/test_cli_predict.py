"""candid predict and candid export from the outside."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import candid
from deploy.tiny import encoded, pixels, tiny_run, write_tar


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
    assert {r["label"] for r in found} <= {"no", "yes"}
    assert all(abs(float(r["p_no"]) + float(r["p_yes"]) - 1) < 1e-6 for r in found)
    lines = predict(capsys, run, faces, "--json").out.splitlines()
    assert [json.loads(line)["label"] for line in lines] == [r["label"] for r in found]


def test_into_a_file(capsys, run, faces, tmp_path):
    out = tmp_path / "labels.csv"
    said = predict(capsys, run, faces, "--out", out)
    assert "5 pictures" in said.out
    assert "Hat = " in said.out
    assert "candid export" in said.err  # nobody taught it what its pictures look like
    assert len(rows(out.read_text())) == 5
    said = predict(capsys, run, faces, "--out", tmp_path / "b.jsonl", "--json", "--quiet")
    tally = json.loads(said.out)
    assert tally["pictures"] == 5 and tally["errors"] == 0
    assert sum(tally["labels"].values()) == 5
    assert tally["unlike_checked"] is False
    assert "are not flagged" in said.err  # that is no progress that --quiet leaves out
    said = predict(capsys, run, faces, "--out", tmp_path / "d.csv", "--quiet", "--no-check")
    assert said.err == ""
    said = predict(capsys, run, faces, "--out", tmp_path / "c.parquet", "--quiet", "--no-check")
    assert said.out == "" and said.err == ""


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


def test_abstention(capsys, run, faces, tmp_path):
    said = predict(capsys, run, faces, "--abstain-below", "1", "--out", tmp_path / "a.csv")
    assert "no label, not sure: 5" in said.out
    found = rows((tmp_path / "a.csv").read_text())
    assert {r["label"] for r in found} == {""}
    assert found[0]["reason"] == "not sure: the highest probability is below 1"


def test_engines_answer_alike(capsys, run, faces):
    torch = rows(predict(capsys, run, faces).out)
    onnx = rows(candid(capsys, "predict", run, faces, "--engine", "onnx").out)
    assert [r["label"] for r in torch] == [r["label"] for r in onnx]
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
    assert "model.json" in candid(capsys, "predict", tmp_path, faces, code=2).err


def test_export_without_its_data_checks_on_noise(capsys, run, tmp_path):
    said = candid(capsys, "export", run, "--out", tmp_path / "out")
    assert "the same labels as torch on noise" in said.out
    assert "checked on noise alone" in said.err
    assert (tmp_path / "out" / "model.onnx").is_file()
    said = candid(capsys, "export", run, "--out", tmp_path / "out", "--json", "--quiet")
    assert json.loads(said.out)["largest_difference"] < 1e-4
    assert said.err == ""
    err = candid(capsys, "export", run, "--int8", code=2).err
    assert "data" in err and "to do:" in err


def test_pictures_by_the_thousand_pixels(capsys, run, tmp_path):
    """A photograph: decoded, made small, answered; its size is that of the file."""
    Image.fromarray(pixels(1, side=300)[0]).resize((900, 600)).save(tmp_path / "photo.jpg")
    (found,) = rows(predict(capsys, run, tmp_path / "photo.jpg").out)
    assert (found["width"], found["height"]) == ("900", "600")
    assert found["label"]


def test_python_gives_the_same_rows(capsys, run, faces):
    import candid
    from candid.runs import RunFolder

    told = rows(predict(capsys, run, faces).out)
    found = list(candid.predict(RunFolder(run), [faces], engine="torch"))
    assert list(told[0]) == list(found[0])
    assert [r["id"] for r in found] == [r["id"] for r in told]
    assert [repr(r["p_yes"]) for r in found] == [r["p_yes"] for r in told]
