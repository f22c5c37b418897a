"""`candid train`: what it settles when it begins, and what it leaves."""

import json

import pytest
import torch

from candid.config import differences, load_config
from candid.data.synthetic import FaceWorld, write_faces
from candid.inference.unfamiliar import read_unfamiliar
from candid.models import device
from candid.pipeline.opening import begin_or_resume
from candid.runs import Run, open_run
from commands import call, candid

QUICK = [
    "--recipe", "plain", "--set", "data.side=24", "--set", "train.steps=2", "--quiet",
    "--set", "train.batch_size=32", "--set", "train.evaluations=1", "--set", "data.workers=1",
    "--set", "train.precision=float32",
]  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    world = FaceWorld(n=120, people=40, side=24, validation_share=0.2, test_share=0.2)
    return write_faces(tmp_path_factory.mktemp("faces") / "few", world, workers=1, quiet=True)


@pytest.fixture
def words(faces, tmp_path):
    return [faces, "--target", "Face", "--cache", tmp_path / "cache", *QUICK]


def test_threads_are_chosen_once_and_kept_by_the_run(words, tmp_path, monkeypatch):
    """Whatever the load is when it goes on, also where only explore ran before."""
    used = []
    monkeypatch.setattr(device, "process_cores", lambda: 4)
    monkeypatch.setattr(device, "idle_cores", lambda most: 3)
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    for verb, out in (("train", tmp_path / "a"), ("explore", tmp_path / "b")):
        used.clear()
        assert call(verb, *words, "--out", out) == 0
        monkeypatch.setattr(device, "idle_cores", lambda most: 2)
        (out / "model.json").unlink(missing_ok=True)
        go_on = ["train", "--resume", out, "--cache", tmp_path / "cache", "--quiet"]
        assert call(*go_on) == 0
        (out / "model.json").unlink()
        monkeypatch.setattr(device, "idle_cores", lambda most: 1)
        assert call(*go_on) == 0
        chosen = 3 if verb == "train" else 2
        assert open_run(out).settings.train.threads == chosen
        assert used[::2] == [chosen] * len(used[::2])  # each other one sets the old number back


def test_more_threads_than_cores_are_refused(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(device, "process_cores", lambda: 4)
    more = ["--set", "train.threads=5", "--out", tmp_path / "run"]
    said = candid(capsys, "train", *words, *more, code=2).err
    assert "train.threads = 5" in said and "at most 4" in said
    assert not (tmp_path / "run").exists()


def test_the_same_command_finds_its_run_whatever_the_load(faces, tmp_path, monkeypatch):
    config = load_config(
        recipe="plain", overrides=["data.target=Face", *(w for w in QUICK if "=" in w)]
    )
    monkeypatch.setattr(device, "process_cores", lambda: 4)
    monkeypatch.setattr(device, "idle_cores", lambda most: 3)
    how = {"cache": tmp_path / "cache", "quiet": True}
    first = begin_or_resume(faces, config, tmp_path / "run", **how)[0].settings
    monkeypatch.setattr(device, "idle_cores", lambda most: 1)
    second = begin_or_resume(faces, config, tmp_path / "run", **how)[0].settings
    assert differences(first, second) == []
    assert second.train.threads == 3


def test_a_trained_model_knows_its_pictures(words, tmp_path, capsys):
    run = Run(tmp_path / "run")
    assert call("train", *words, "--out", run.path) == 0
    assert read_unfamiliar(run.unfamiliar) is not None
    before = run.unfamiliar.stat().st_mtime_ns
    assert call("train", "--resume", run.path, "--cache", tmp_path / "cache", "--quiet") == 0
    assert run.unfamiliar.stat().st_mtime_ns == before
    capsys.readouterr()
    table = ["--out", tmp_path / "labels.csv", "--engine", "torch", "--json", "--quiet"]
    said = candid(capsys, "predict", run.path, words[0], *table)
    assert json.loads(said.out)["unlike_checked"] is True
    assert said.err == ""


def test_a_run_is_repeated_with_its_settings_and_its_data(words, faces, tmp_path, capsys):
    first, same, other = (tmp_path / name for name in ("first", "same", "other"))
    where = ["--cache", tmp_path / "cache", "--quiet"]
    assert call("train", *words, "--seed", 3, "--set", "train.threads=1", "--out", first) == 0
    assert call("train", "--repeat", first, "--out", same, *where) == 0
    assert open_run(same).settings == open_run(first).settings
    assert Run(same).weights.read_bytes() == Run(first).weights.read_bytes()
    changed = ["--seed", 4, "--set", "train.steps=1"]
    assert call("train", faces, "--repeat", first, "--out", other, *where, *changed) == 0
    found = differences(open_run(other).settings, open_run(first).settings)
    assert {word.split()[0] for word in found} == {"train.seed", "train.steps"}
    said = candid(capsys, "train", "--repeat", first, "--recipe", "deep", "--out", "x", code=2).err
    assert "--repeat takes settings from the run" in said
    said = candid(capsys, "train", "--repeat", first, "--resume", first, code=2).err
    assert "--resume takes settings from the run" in said
    assert "is not a run" in candid(capsys, "run", "--repeat", tmp_path, code=2).err
