"""The main job from the outside: what a user types, what lies in the folder, how it fails."""

import functools
import hashlib
import itertools
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

import candid
from bomb import bomb
from candid import pipeline, runs
from candid.cli import cli, options
from candid.config import DEFAULT_RECIPE, QUICK_RECIPE
from candid.data.synthetic import FaceWorld, write_faces
from candid.pipeline import main_job, opening
from candid.predictions import read_predictions
from candid.records import Evaluation, Exploration, ModelCard, Provenance, read_record
from candid.runs import Run, open_run, read_history, read_pictures
from candid.text.words import figure_of
from commands import call
from commands import candid as said_by
from made_once import made_once

QUICK = [
    "--set", "network.width=8", "--set", "data.side=24", "--set", "train.steps=24",
    "--set", "train.batch_size=32", "--set", "framing.steps=6",
    "--set", "train.evaluations=4", "--set", "train.threads=1", "--set", "data.workers=1",
    "--set", "evaluate.draws=100", "--set", "train.precision=float32",
    "--set", "audit.draws=100", "--set", "explain.images=16", "--set", "explain.check_images=4",
    "--set", 'explain.methods=["gradient"]', "--set", "explain.examples=2",
    "--set", "explain.curve_steps=3", "--set", "explain.draws=60",
]  # fmt: skip
# Where it only matters that each stage was reached.
BRIEF = [
    *QUICK, "--set", "train.steps=2", "--set", "train.evaluations=1", "--set", "audit.more=false",
    "--set", "explain.images=6", "--set", "explain.check_images=0",
]  # fmt: skip


def command(*arguments: object) -> list[str]:
    """The same as a process of its own."""
    return [sys.executable, "-m", "candid", *(str(a) for a in arguments)]


@pytest.fixture(scope="session")
def faces(tmp_path_factory) -> Path:
    world = FaceWorld(n=240, people=60, side=24, validation_share=0.2, test_share=0.2)

    def make(folder: Path) -> None:
        write_faces(folder / "small", world, workers=1, quiet=True)

    return made_once(tmp_path_factory, "faces", make) / "small"


@pytest.fixture(scope="session")
def finished(faces, tmp_path_factory) -> Run:
    """A run of the main job on a few synthetic faces."""

    def make(folder: Path) -> None:
        where = ("--out", folder / "run", "--cache", folder / "cache", "--quiet")
        assert call("run", faces, "--target", "Face", *where, *QUICK) == 0

    return Run(made_once(tmp_path_factory, "finished", make) / "run")


@pytest.fixture(scope="session")
def again(faces, tmp_path_factory) -> Run:
    """The same from Python."""

    def make(folder: Path) -> None:
        config = candid.load_config(overrides=[w for w in QUICK if w != "--set"])
        dataset = candid.load(faces, target="Face")
        candid.run(dataset, config, out=folder / "run", cache=folder / "cache")

    return Run(made_once(tmp_path_factory, "again", make) / "run")


# --- the main job --------------------------------------------------------------------------------


def test_run_writes_every_file(finished):
    names = {p.name for p in finished.path.iterdir()}
    assert names == {
        "README.md", "audit.json", "checkpoint", "config.toml", "data.json", "drift.npz",
        "evaluation.json",
        "explanation.json", "explanation.npz", "findings.parquet", "framing.json",
        "framing.safetensors", "history.parquet",
        "inside.json", "inside.npz", "model.json", "model.safetensors", "pictures.parquet",
        "predictions.parquet", "provenance.json", "report.html", "unfamiliar.npz",
    }  # fmt: skip


def test_scikit_learn_finds_the_same_in_the_predictions(finished):
    """From the Parquet file alone, as a stranger would read it."""
    rows = pq.read_table(finished.predictions_file).to_pylist()
    evaluation = read_record(finished.evaluation, Evaluation)
    names = list(evaluation.classes)
    assert [s.split for s in evaluation.splits] == ["validation", "test"]
    for split in evaluation.splits:
        part = [r for r in rows if r["split"] == split.split]
        label = [r["label"] for r in part]
        predicted = [max(names, key=lambda c, r=r: r[f"p_{c}"]) for r in part]
        ours = split.metrics
        expected = f1_score(label, predicted, average="weighted")
        assert ours["weighted_f1"].value == pytest.approx(expected, abs=1e-12)
        assert ours["accuracy"].value == pytest.approx(accuracy_score(label, predicted), abs=1e-12)
        assert np.array_equal(split.confusion, confusion_matrix(label, predicted, labels=names))
        assert ours["weighted_f1"].n == len(part) == split.n
        assert ours["weighted_f1"].people == len({r["person"] for r in part})


def test_files_agree_with_each_other(finished, faces):
    evaluation = read_record(finished.evaluation, Evaluation)
    model = read_record(finished.model_file, ModelCard)
    provenance = read_record(finished.provenance, Provenance)
    predictions = read_predictions(finished.predictions_file)
    exploration = read_record(finished.data, Exploration)
    history = read_history(finished)
    config = open_run(finished.path).settings
    assert evaluation.temperature == model.temperature == predictions.temperature
    assert evaluation.classes == model.classes == predictions.classes == exploration.classes
    assert predictions.provenance["data_fingerprint"] == provenance.data_fingerprint
    assert provenance.data == str(faces.resolve())
    assert set(provenance.seconds) == {
        "explore",
        "train",
        "frame",
        "predict",
        "evaluate",
        "audit",
        "explain",
        "inside",
        "unfamiliar",
        "drift",
        "pictures",
    }
    assert len(history) == config.train.steps == 24
    measured = {r.step: r.validation_f1 for r in history if r.validation_f1 == r.validation_f1}
    assert (model.kept, model.step) == (config.train.keep, max(measured)) == ("last", 24)
    validation = evaluation.splits[0].metrics["weighted_f1"].value
    assert measured[model.step] == pytest.approx(validation, abs=1e-12)
    assert sum(layer.parameters for layer in model.layers) == model.parameters
    assert exploration.synthetic  # the folder says that a program drew the faces
    counts = {s.split: s.n for s in exploration.splits}
    assert [s.n for s in evaluation.splits] == [counts["validation"], counts["test"]]
    head = yaml.safe_load(finished.card.read_text("utf-8").split("---")[1])
    results = head["model-index"][0]["results"]
    by_split = {r["dataset"]["split"]: r["metrics"] for r in results}
    for split in evaluation.splits:
        card = [m for m in by_split[split.split] if m["type"] == "f1"]
        assert card[0]["value"] == pytest.approx(split.metrics["weighted_f1"].value, abs=1e-4)


def test_report_tells_the_headline(finished):
    html = finished.report.read_text("utf-8")
    evaluation = read_record(finished.evaluation, Evaluation)
    for split in evaluation.splits:
        assert f"{figure_of(split.metrics['weighted_f1'])}" in html
    assert "A program drew them all." in html
    assert "words of the annotators" not in html
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", html.split("<script")[0])


def test_weights_alone_give_the_predictions(finished, faces, tmp_path):
    """From model.json and model.safetensors, by hand: normalise, run, average, divide, softmax."""
    import torch

    from candid.models.model import load_network

    card = read_record(finished.model_file, ModelCard)
    predictions = read_predictions(finished.predictions_file)
    network = load_network(finished.weights, card, torch.device("cpu"))
    for i in (0, len(predictions) - 1):
        pixels = np.asarray(Image.open(faces / predictions.ids[i]).convert("RGB"))
        image = (pixels / 255 - card.mean) / card.std
        batch = torch.from_numpy(image.transpose(2, 0, 1)[None]).float()
        with torch.no_grad():
            logits = network(batch)[0]
            if card.flip_tta:
                logits = (logits + network(batch.flip(3))[0]) / 2
            p = torch.softmax(logits / card.temperature, dim=0)
        np.testing.assert_allclose(p, predictions.probability[i], atol=1e-5)


def test_run_prints_weighted_f1_with_its_interval(finished, tmp_path, capsys):
    assert call("evaluate", shutil.copytree(finished.path, tmp_path / "run")) == 0
    out = capsys.readouterr().out
    line = (
        r"weighted F1 on (validation|test): 0\.\d{4} \(95% interval 0\.\d{4} to \d\.\d{4}; \d+ im"
    )
    assert len(re.findall(line, out)) == 2


def test_run_prints_what_is_seriously_wrong_and_what_the_network_sees(finished, tmp_path, capsys):
    run = Path(shutil.copytree(finished.path, tmp_path / "run"))
    card, data = json.loads((run / "model.json").read_text()), run / "data.json"
    found = json.loads(data.read_text())
    one = next(f for f in found["findings"] if f["code"] == "LABEL-ABSENT-IN-SPLIT")
    one |= {"state": "found", "severity": "serious", "detail": "There is no yes in test."}
    told = "serious: LABEL-ABSENT-IN-SPLIT: There is no yes in test."
    part = "The network sees a part of each picture alone, from 25% to 75% of its width"
    assert call("evaluate", run) == 0
    before = capsys.readouterr().out
    assert told not in before and part not in before
    data.write_text(json.dumps(found))
    card["options"] |= {"window": "0.25 0.3 0.75 0.9"}
    (run / "model.json").write_text(json.dumps(card))
    assert call("evaluate", run) == 0
    lines = capsys.readouterr().out.splitlines()
    assert told in lines and any(line.startswith(part) for line in lines)
    assert not any(line.startswith(("warning:", "note:")) for line in lines)


def test_json_of_every_verb(finished, faces, tmp_path, capsys):
    """One JSON document on standard output and nothing else."""
    calls = {
        "evaluate": ["evaluate", shutil.copytree(finished.path, tmp_path / "evaluated")],
        "report": ["report", shutil.copytree(finished.path, tmp_path / "reported")],
        "explore": ["explore", faces, "--target", "Face", "--cache", tmp_path, *QUICK],
        "train": ["train", faces, "--target", "Face", "--cache", tmp_path, "--out",
                  tmp_path / "train", *BRIEF],
        "run": ["run", faces, "--target", "Face", "--cache", tmp_path, "--out",
                tmp_path / "run", *BRIEF],
        "audit": ["audit", shutil.copytree(finished.path, tmp_path / "audited")],
    }  # fmt: skip
    capsys.readouterr()
    for verb, arguments in calls.items():
        assert call(*arguments, "--json") == 0, verb
        assert json.loads(capsys.readouterr().out), verb
    # These have files of tests of their own.
    elsewhere = {
        "cache", "calibrate", "check", "compare", "corrections", "demo", "explain", "export",
        "improve", "predict", "push", "review", "runs", "serve", "tune",
    }  # fmt: skip
    assert set(calls) | elsewhere == set(cli.commands)


def test_the_same_seed_gives_the_same_model(finished, again):
    for file in ("weights", "predictions_file", "evaluation"):
        assert getattr(again, file).read_bytes() == getattr(finished, file).read_bytes(), file


def test_a_run_s_settings_make_the_run_again(finished, faces, tmp_path):
    out = tmp_path / "again"
    arguments = ["--config", finished.config, "--out", out, "--cache", tmp_path / "cache"]
    assert call("train", faces, *arguments, "--quiet") == 0
    assert Run(out).weights.read_bytes() == finished.weights.read_bytes()


def test_explore_draws_what_augmentation_does(faces, tmp_path):
    png = tmp_path / "grid.png"
    arguments = ["--target", "Face", "--cache", tmp_path, "--augmented", png, "--quiet", *QUICK]
    assert call("explore", faces, *arguments) == 0
    grid = np.asarray(Image.open(png))
    assert grid.shape == (8 * 24, 8 * 24, 3)
    columns = grid.reshape(8, 24, 8, 24, 3).swapaxes(1, 2).astype(int)
    changed = np.abs(columns[:, 1:] - columns[:, :1]).mean((2, 3, 4))
    assert (changed > 1).all()  # every image of every column differs from the original


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> list[object]:
    """A demo that was made, and its command."""
    words = ["demo", "--out", tmp_path_factory.mktemp("demo") / "demo", "--images", 90, *BRIEF]
    assert call(*words, "--quiet") == 0
    return words


def test_demo(demo):
    run = Run(demo[2] / "run")
    assert run.report.stat().st_size > 100_000
    first = run.weights.stat().st_mtime_ns
    assert call(*demo, "--quiet") == 0
    assert run.weights.stat().st_mtime_ns == first  # not trained again


def test_demo_does_not_pass_off_a_run_with_other_settings(demo, capsys):
    refused(capsys, r"other settings: train.steps \(3, not 2\)\.", *demo, "--set", "train.steps=3")


def test_python_face(faces, again, tmp_path):
    config = open_run(again.path).settings
    dataset = candid.load(faces, target="Face")
    assert candid.explore(dataset, config, cache=tmp_path).n == len(dataset) == 240
    predictions = candid.read_predictions(again.predictions_file)
    f1 = candid.evaluate(predictions, config).splits[0].metrics["weighted_f1"]
    assert f1 == read_record(again.evaluation, Evaluation).splits[0].metrics["weighted_f1"]


# --- resume --------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(faces, tmp_path):
    settings = [*QUICK, "--set", "train.steps=90", "--set", "train.checkpoints=45"]
    common = ["--cache", tmp_path / "cache", "--quiet"]
    whole = Run(tmp_path / "whole")
    assert call("train", faces, "--target", "Face", *settings, "--out", whole.path, *common) == 0
    killed = Run(tmp_path / "killed")
    begin = command("train", faces, "--target", "Face", *settings, "--out", killed.path, *common)
    go_on = command("train", "--resume", killed.path, *common)
    chance = random.Random(0)
    kills = 0
    for arguments in (begin, go_on):
        process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
        before = killed.checkpoint.stat().st_mtime_ns if killed.checkpoint.is_file() else 0
        while process.poll() is None and (
            not killed.checkpoint.is_file() or killed.checkpoint.stat().st_mtime_ns == before
        ):
            time.sleep(0.005)
        time.sleep(chance.random() * 0.15)
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills == 2
    assert not killed.weights.exists()
    assert call("train", "--resume", killed.path, *common) == 0
    assert digest(killed.weights) == digest(whole.weights)
    losses = [[r.train_loss for r in read_history(run)] for run in (whole, killed)]
    assert losses[0] == losses[1]


def test_resume_of_a_finished_run_does_nothing_and_says_so(finished, tmp_path, monkeypatch, capsys):
    """Without the data, and without torch."""
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(opening, "load_packed", interrupt)
    assert call("run", "--resume", run.path) == 0
    assert "is finished: nothing was done again" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before


def test_resume_of_a_finished_run_says_whether_named_data_are_its_own(
    finished, faces, tmp_path, capsys
):
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    other = Path(shutil.copytree(faces, tmp_path / "faces"))
    again = ("run", "--resume", run.path, other, "--cache", tmp_path / "cache")
    said = said_by(capsys, *again).out
    assert "nothing was done again; the data are those that it began with" in said
    table = other / "labels.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-7]) + "\n")
    said = said_by(capsys, *again, code=2).err
    assert f"The data in {other} are not those that the run {run.path} began with" in said
    assert f"{len(lines) - 8} images" in said and f"not {len(lines) - 1}" in said
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before


@pytest.fixture
def slower(monkeypatch) -> None:
    """A step takes another time than before, which the report shows; by luck it takes the same."""
    clock = itertools.count(step=1000)
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))


def done_again(run: Run, tmp_path: Path, capsys) -> set[str]:
    """The steps that --resume does again."""
    assert call("run", "--resume", run.path, "--cache", tmp_path / "cache") == 0
    told = capsys.readouterr().err
    assert call("run", "--resume", run.path) == 0
    assert "nothing was done again" in capsys.readouterr().out
    return set(re.findall(r"^(\w+) \(\d+ of 12\)$", told, re.MULTILINE))


@pytest.mark.parametrize(
    ("lost", "again"),
    [
        ("explanation", {"explain", "report"}),
        ("evaluation", {"evaluate", "report"}),
        ("card", {"report"}),
        # The same weights come from the checkpoint, and the same table from them.
        ("weights", {"train", "predict", "report"}),
        # The pictures of two steps lie in one file.
        ("pictures", {"explore", "pictures", "report"}),
    ],
)
@pytest.mark.usefixtures("slower")
def test_resume_does_what_is_missing_again_and_what_reads_it(
    lost, again, finished, tmp_path, capsys
):
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    shown = set(read_pictures(run))
    getattr(run, lost).unlink()
    assert done_again(run, tmp_path, capsys) == again
    assert set(read_pictures(run)) == shown
    assert (
        read_record(run.model_file, ModelCard).temperature
        == read_predictions(run.predictions_file).temperature
    )


@pytest.mark.usefixtures("slower")
def test_resume_follows_the_settings_and_the_files(finished, tmp_path, capsys):
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    text = run.config.read_text("utf-8")
    assert text.count("images = 16") == 1
    run.config.write_text(text.replace("images = 16", "images = 12"), "utf-8")
    assert done_again(run, tmp_path, capsys) == {"explain", "report"}
    with run.history.open("ab") as file:
        file.write(b"")
    assert call("run", "--resume", run.path) == 0
    rows = read_history(run)
    runs.write_history(run, rows[:-1])
    capsys.readouterr()
    assert {"evaluate", "report"} <= done_again(run, tmp_path, capsys) <= {
        "evaluate", "pictures", "report"
    }  # fmt: skip


def test_a_verb_with_other_settings_does_not_pass_for_the_run_s_own(finished, tmp_path, capsys):
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    cache = ["--cache", tmp_path / "cache", "--quiet"]
    assert call("explain", run.path, "--set", "explain.images=10", *cache) == 0
    assert call("audit", run.path, *cache) == 0  # without skin tone
    assert done_again(run, tmp_path, capsys) >= {"explain", "audit", "report"}


@pytest.mark.parametrize(
    "verb", ["evaluate", "report", "audit", "explain", "export", "predict", "serve"]
)
def test_half_finished_runs_get_the_command_that_goes_on(verb, finished, faces, tmp_path, capsys):
    run = Run(tmp_path / "half")
    run.path.mkdir()
    for file in (finished.config, finished.provenance, finished.data):
        shutil.copy(file, run.path)
    more = [faces] if verb == "predict" else []
    began = time.monotonic()
    assert call(verb, run.path, *more) == 2
    assert time.monotonic() - began < 30  # nothing is packed for it
    assert f"go on with: candid run --resume {run.path}" in capsys.readouterr().err


def test_train_leaves_a_finished_run_as_it_is(finished, tmp_path, capsys):
    """The temperature in model.json is that of the predictions."""
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    before = run.model_file.read_bytes()
    assert call("train", "--resume", run.path, "--cache", tmp_path / "cache", "--quiet") == 0
    assert run.model_file.read_bytes() == before


def test_time_before_a_stop_counts(finished, tmp_path):
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    run.model_file.unlink()
    seconds = read_history(run)[-1].seconds
    assert seconds > 0
    assert call("train", "--resume", run.path, "--cache", tmp_path / "cache", "--quiet") == 0
    assert read_record(run.provenance, Provenance).seconds["train"] > seconds


def test_resume_goes_on_with_copied_data_and_says_where_they_are_gone(
    finished, faces, tmp_path, capsys
):
    other = shutil.copytree(faces, tmp_path / "faces", copy_function=shutil.copyfile)
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    text = run.provenance.read_text().replace(str(faces.resolve()), str(other))
    run.provenance.write_text(text)
    resume = ["run", "--resume", run.path, "--cache", tmp_path / "cache", "--quiet"]
    run.inside.unlink()  # what is whole needs no data
    assert call(*resume) == 0
    run.inside.unlink()
    other.rename(tmp_path / "elsewhere")
    refused(capsys, f"are gone: there is no {other}", *resume)


def test_a_table_whose_pictures_lie_elsewhere(faces, tmp_path, monkeypatch, capsys):
    """By a relative folder, which a run that goes on from elsewhere must find again."""
    (tmp_path / "tables").mkdir()
    shutil.copyfile(faces / "labels.csv", tmp_path / "tables" / "theirs.csv")
    (tmp_path / "pictures").symlink_to(faces)
    common = ["--cache", tmp_path / "cache", "--quiet"]
    monkeypatch.chdir(tmp_path)
    run = Run(tmp_path / "run")
    named = ["tables/theirs.csv", "--image-folder", "pictures", "--target", "Face"]
    assert call("train", *named, "--out", run.path, *common, *BRIEF) == 0
    assert open_run(run.path).settings.data.image_folder == str(tmp_path / "pictures")
    about = read_record(run.provenance, Provenance)
    assert about.data == str(tmp_path / "tables" / "theirs.csv")
    run.model_file.unlink()
    monkeypatch.chdir(tmp_path.parent)
    assert call("train", "--resume", run.path, *common) == 0
    table = tmp_path / named[0]
    for verb in ("explore", "tune", "run"):
        refused(capsys, "nowhere, which is no", verb, table, "--image-folder", "nowhere", *common)


def test_exploring_that_was_stopped_is_done_again(faces, tmp_path, monkeypatch):
    out = tmp_path / "run"
    common = ["--cache", tmp_path / "cache", "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_pictures", interrupt)
        assert call("run", faces, "--target", "Face", "--out", out, *common, *BRIEF) == 130
    (out / "checkpoint").mkdir()
    left = [out / "checkpoint" / name for name in (".state.safetensors.a1.part", ".tmpAb12")]
    for file in left:  # as of who is killed while a checkpoint is written
        file.touch()
    assert call("run", "--resume", out, *common) == 0
    assert not any(file.exists() for file in left)
    names = {kind: {n for k, n in read_pictures(Run(out)) if k == kind}
             for kind in ("picture", "thumbnail")}  # fmt: skip
    assert {"mean-Round", "mean-Square", "difference", "augmented"} == names["picture"]
    shown = read_record(Run(out).data, Exploration).samples
    assert names["thumbnail"] >= {i for ids in shown.values() for i in ids}


def test_resume_refuses_other_data(finished, faces, tmp_path, capsys):
    other = shutil.copytree(faces, tmp_path / "faces")
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    text = run.provenance.read_text().replace(str(faces.resolve()), str(other))
    run.provenance.write_text(text)
    table = other / "labels.csv"
    lines = table.read_text().splitlines()
    first = lines[1].split(",")
    assert {"Round", "Square"} & set(first)
    lines[1] = lines[1].replace("Round", "?").replace("Square", "Round").replace("?", "Square")
    table.write_text("\n".join(lines) + "\n")
    run.evaluation.unlink()
    assert call("run", "--resume", run.path, "--cache", tmp_path / "cache") == 2
    assert "are not those that the run" in capsys.readouterr().err


def test_resume_takes_no_other_settings(finished, capsys):
    assert call("run", "--resume", finished.path, "--set", "train.steps=3") == 2
    assert call("run", "--resume", finished.path, "--seed", 0) == 2
    assert call("run", "--resume", finished.path, "--recipe", "plain") == 2
    assert "give no others" in capsys.readouterr().err


# --- bad input -----------------------------------------------------------------------------------


def refused(capsys, says: str, *arguments: object) -> None:
    """Exit 2, a message that says so with what to do, no traceback."""
    capsys.readouterr()
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert re.search(says, error), error
    assert "Traceback" not in error
    assert "to do:" in error or "Usage:" in error


@pytest.fixture
def copy(faces, tmp_path) -> Path:
    return shutil.copytree(faces, tmp_path / "faces")


@pytest.fixture
def attempt(tmp_path, capsys):
    """Try the main job on a folder, see it refused, and see that nothing was left half-written."""

    def try_(says: str, data: Path, *more: object, target: str = "Face") -> None:
        out, cache = tmp_path / "out", tmp_path / "cache"
        where = ["--out", out, "--cache", cache]
        refused(capsys, says, "run", data, "--target", target, *where, "--quiet", *QUICK, *more)
        left = [p for p in tmp_path.rglob("*") if p.name.endswith(".part")]
        assert not left
        assert not out.exists()

    return try_


def relabel(folder: Path, change) -> None:
    table = folder / "labels.csv"
    header, *rows = table.read_text().splitlines()
    names = header.split(",")
    changed = [change(dict(zip(names, row.split(","), strict=True))) for row in rows]
    lines = [",".join(row[n] for n in names) for row in changed]
    table.write_text("\n".join([header, *lines]) + "\n")


def test_missing_folder(attempt, tmp_path):
    attempt("There is no folder", tmp_path / "nowhere")


def test_unknown_target_with_the_nearest_names(attempt, faces):
    attempt("did you mean .*'Eyeglasses'", faces, target="Eyeglases")


def test_empty_split(attempt, copy):
    relabel(copy, lambda row: row | {"split": "test"} if row["split"] == "train" else row)
    attempt("The train split of faces is empty", copy)


def test_one_class_only(attempt, copy):
    relabel(copy, lambda row: row | {"Face": "Round"})
    attempt("one class only: every labelled image is 'Round'", copy)


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ({"split": "validation"}, "validation split .* no labelled one that can be read"),
        ({"split": "train"}, "train split .* no labelled one that can be read"),
        ({"split": "train", "Face": "Round"}, "one class only: .* that can be read are 'Square'"),
    ],
)
def test_a_split_or_class_of_unreadable_files(lost, says, copy, attempt, monkeypatch):
    def lose(row):
        if lost.items() <= row.items():
            (copy / row["path"]).write_bytes(b"not a picture")
        return row

    relabel(copy, lose)
    attempt(says, copy, "--set", "data.max_bad_share=0.9")


def test_what_can_be_explored_need_not_be_trainable(copy, tmp_path, capsys):
    def lose(row):
        if row["split"] == "validation":
            (copy / row["path"]).write_bytes(b"not a picture")
        return row

    relabel(copy, lose)
    run, cache = tmp_path / "run", ["--cache", tmp_path / "cache"]
    settings = [*QUICK, "--set", "data.max_bad_share=0.9"]
    assert call("explore", copy, "--target", "Face", "--out", run, *cache, *settings) == 0
    refused(capsys, "no labelled one that can be read", "run", "--resume", run, *cache)


def first_image(folder: Path) -> Path:
    return min((folder / "images").iterdir())


def with_bad_image(folder: Path, content: bytes) -> str:
    path = first_image(folder)
    assert path.suffix == ".jpg"
    path.write_bytes(content)
    return str(path.relative_to(folder))


BAD = {
    "truncated": (lambda whole: whole[: len(whole) // 2], "cut short|damaged|truncated"),
    "text": (lambda _: b"not a picture\n", "not a picture"),
    "empty": (lambda _: b"", "empty"),
    "bomb": (lambda _: bomb(30_000), "pixels"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_listed_and_skipped(kind, copy, tmp_path, capsys):
    make, says = BAD[kind]
    name = with_bad_image(copy, make(first_image(copy).read_bytes()))
    where = ["--cache", tmp_path / "cache"]
    assert call("explore", copy, "--target", "Face", *where, "--json", *QUICK) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["unreadable"] == 1
    (finding,) = [f for f in found["findings"] if f["code"] == "UNREADABLE-FILES"]
    assert finding["state"] == "found"
    assert name in finding["examples"]
    assert re.search(says, finding["detail"], re.IGNORECASE), finding["detail"]


@pytest.mark.parametrize("kind", BAD)
def test_too_many_bad_images_are_an_error(kind, copy, attempt):
    make, says = BAD[kind]
    with_bad_image(copy, make(first_image(copy).read_bytes()))
    attempt(says, copy, "--set", "data.max_bad_share=0")


def test_a_label_file_with_a_short_row(copy, attempt):
    table = copy / "labels.csv"
    lines = table.read_text().splitlines()
    lines[5] = ",".join(lines[5].split(",")[:3])
    table.write_text("\n".join(lines) + "\n")
    attempt(r"labels\.csv.*\b(line|row) 6", copy)


def test_a_link_that_leaves_the_data_folder(copy, attempt):
    outside = copy.parent / "outside.jpg"
    outside.write_bytes(first_image(copy).read_bytes())
    (copy / "inside.jpg").symlink_to(outside)
    number = iter(range(10**6))

    def leave(row):
        return row | {"path": "inside.jpg"} if next(number) == 0 else row

    relabel(copy, leave)
    attempt(r"'inside\.jpg', which leaves the data folder", copy)


def mounted(folder: Path, options: str):
    """A small file system at `folder`, where this user may mount one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode:
        pytest.skip("cannot mount a file system here")


@pytest.fixture
def unmount():
    folders: list[Path] = []
    yield folders
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux does")
@pytest.mark.parametrize("option", ["--out", "--cache"])
@pytest.mark.parametrize(("system", "says"), [("size=64k", "disk is full"), ("ro", "read-only")])
def test_a_full_disk_and_a_read_only_one(system, says, option, faces, tmp_path, capsys, unmount):
    small = tmp_path / "small"
    mounted(small, system)
    unmount.append(small)
    places = {"--out": tmp_path / "out", "--cache": tmp_path / "cache"} | {option: small / "x"}
    where = [w for pair in places.items() for w in pair]
    refused(capsys, says, "run", faces, "--target", "Face", *where, "--quiet", *QUICK)
    assert not [p for p in small.rglob("*") if p.name.endswith(".part")]


def test_an_option_and_a_setting_that_contradict_each_other(faces, tmp_path, capsys):
    for words, says in (
        (("--target", "Face", "--set", "data.target=Hat"), "--target says 'Face', .*'Hat'"),
        (("--target", "Face", "--set", "data.targets=['Hat']"), "--target says 'Face', .*'Hat'"),
        (("--layout", "table", "--set", "data.layout=folder"), "--layout says 'table', .*'folder'"),
    ):
        refused(capsys, says, "explore", faces, *words)
    same = ("--target", "Nobody", "--set", "data.target=Nobody")
    refused(capsys, "There is no label called 'Nobody'", "explore", faces, *same)


def test_output_below_a_file(faces, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    where = ["--out", tmp_path / "file" / "run", "--cache", tmp_path / "cache"]
    refused(capsys, "Cannot write", "run", faces, "--target", "Face", *where, "--quiet", *QUICK)


@pytest.mark.parametrize("verb", ["train", "explore"])
def test_output_that_holds_something(verb, faces, tmp_path, capsys, finished):
    where = ["--out", finished.path, "--cache", tmp_path / "cache"]
    refused(capsys, "--resume", verb, faces, "--target", "Face", *where, "--quiet", *QUICK)
    assert not (tmp_path / "cache").exists()  # said before the images are packed


def test_other_mistakes(faces, tmp_path, capsys, finished):
    refused(capsys, "did you mean 'train.steps'", "run", faces, "--set", "train.step=4")
    refused(capsys, "no recipe", "run", faces, "--recipe", "plane")
    refused(capsys, "no layout", "run", faces, "--layout", "celebb")
    refused(capsys, "is not a run", "evaluate", tmp_path)
    refused(capsys, "is not a run", "run", "--resume", tmp_path)
    refused(capsys, "No such command", "trian")
    refused(capsys, "Missing argument", "run")


def test_a_damaged_run(finished, tmp_path, capsys):
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    run.predictions_file.write_bytes(run.predictions_file.read_bytes()[:100])
    refused(capsys, "Cannot read .* as predictions", "evaluate", run.path)
    shutil.copy(finished.predictions_file, run.predictions_file)
    for file, verb in ((run.history, "evaluate"), (run.pictures, "report")):
        whole = file.read_bytes()
        file.write_bytes(whole[:100])
        refused(capsys, f"{file.name} is damaged", verb, run.path)
        file.write_bytes(whole)
    run.evaluation.write_text("{")
    refused(capsys, "damaged", "report", run.path)


def test_without_torch_the_message_says_what_to_install(faces, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    where = ["--out", tmp_path / "out", "--cache", tmp_path / "cache"]
    refused(
        capsys,
        r"pip install 'candid-faces\[train\]'",
        "train",
        faces,
        "--target",
        "Face",
        *where,
        *QUICK,
    )
    assert not list(tmp_path.iterdir())


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_interrupted_before_there_is_a_run(faces, monkeypatch, capsys):
    monkeypatch.setattr(opening, "load_packed", interrupt)
    assert call("run", faces, "--target", "Face") == 130
    error = capsys.readouterr().err
    assert "interrupted" in error
    assert "--resume" not in error


def test_run_goes_on_where_a_run_is_and_does_what_reads_a_changed_setting(
    finished, faces, tmp_path, capsys
):
    run = Run(shutil.copytree(finished.path, tmp_path / "run"))
    where = ["--target", "Face", "--out", run.path, "--cache", tmp_path / "cache", *QUICK]
    assert call("run", faces, *where, "--set", "explain.images=8") == 0
    done = set(re.findall(r"^(\w+) \(\d+ of 12\)$", capsys.readouterr().err, re.MULTILINE))
    assert done == {"explain", "report"}
    assert open_run(run.path).settings.explain.images == 8
    assert run.weights.read_bytes() == finished.weights.read_bytes()
    assert call("run", "--resume", run.path) == 0
    assert "nothing was done again" in capsys.readouterr().out
    refused(capsys, r"other settings: train.steps \(25, not 24\)\.", "run", faces, *where,
            "--set", "train.steps=25", "--set", "explain.images=4")  # fmt: skip
    assert open_run(run.path).settings.explain.images == 8


def test_the_way_to_the_loop_and_to_the_audit_is_short(faces, tmp_path, monkeypatch):
    """At most seven of our own calls deep."""
    source, deep = Path(candid.__file__).parent, {}

    def counting(name, function):
        @functools.wraps(function)
        def counted(*arguments, **named):
            frame, found = sys._getframe(1), 1
            while frame is not None:
                found += Path(frame.f_code.co_filename).is_relative_to(source)
                frame = frame.f_back
            deep.setdefault(name, found)
            if name == "audit":  # nothing of what follows is asked for
                raise KeyboardInterrupt
            return function(*arguments, **named)

        return counted

    import candid.auditing.audit as auditing
    import candid.training.loop as training

    steps = counting("train", training.train_in_steps)
    monkeypatch.setattr(training, "train_in_steps", steps)
    monkeypatch.setattr(auditing, "audit_groups", counting("audit", auditing.audit_groups))
    where = ["--out", tmp_path / "run", "--cache", tmp_path / "cache", "--quiet", *BRIEF]
    assert call("run", faces, "--target", "Face", *where) == 130
    assert set(deep) == {"train", "audit"}
    assert max(deep.values()) <= 7, deep


def test_the_recipe_of_the_help_is_the_default():
    assert (options.RECIPE, options.QUICK) == (DEFAULT_RECIPE, QUICK_RECIPE)


@pytest.mark.parametrize("verb", ["run", "train"])
def test_interrupted_it_names_the_command_that_goes_on(verb, faces, tmp_path, monkeypatch, capsys):
    out = tmp_path / "a run"
    where = ["--out", out, "--cache", tmp_path / "cache", "--quiet", *BRIEF]
    with monkeypatch.context() as patch:
        patch.setattr(main_job if verb == "run" else pipeline, "train_network", interrupt)
        assert call(verb, faces, "--target", "Face", *where) == 130
    told = re.search(r"to go on: candid (.*)", capsys.readouterr().err)
    assert call(*shlex.split(told[1]), "--cache", tmp_path / "cache", "--quiet") == 0
    assert Run(out).weights.is_file()


def test_what_the_system_refuses_is_no_traceback(faces, tmp_path, capsys):
    long = "x" * 300
    refused(capsys, "too long", "run", tmp_path / long, "--target", "Face")
    refused(capsys, "too long", "run", faces, "--target", "Face", "--out", tmp_path / long)
    refused(capsys, "too long", "evaluate", tmp_path / long)


@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-8:strict"])
def test_names_that_the_terminal_cannot_show(encoding, copy, tmp_path):
    """A folder whose name is not UTF-8 breaks neither the words nor the JSON nor the files."""
    data = copy.rename(Path(os.fsdecode(os.fsencode(copy) + b"-caf\xe9")))
    where = ["--target", "Face", "--cache", tmp_path / "cache", *QUICK]
    environment = os.environ | {"PYTHONIOENCODING": encoding}

    def said(*words):
        line = command("explore", data, *words, *where)
        return subprocess.run(line, capture_output=True, env=environment, check=True).stdout

    assert json.loads(said("--json"))["name"] == data.name
    assert said("--out", tmp_path / "run").startswith(b"faces-caf")
    assert read_record(Run(tmp_path / "run").provenance, Provenance).data == str(data)


# --- real images ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_celeba(real_data, tmp_path):
    """The whole job on real images with a short training; its accuracy is for bench/ to say."""
    out = tmp_path / "run"
    settings = ["--set", "network.width=8", "--set", "train.steps=12",
                "--set", "train.evaluations=1",
                "--set", "train.threads=1", "--set", "evaluate.draws=100",
                "--set", "audit.draws=100", "--set", "explain.images=24",
                "--set", "explain.check_images=8", "--set", "explain.examples=2",
                "--set", 'explain.methods=["gradient"]']  # fmt: skip
    where = ["--out", out, "--cache", tmp_path / "cache"]
    data = real_data / "celeba64"
    assert call("run", data, "--target", "Male", *where, "--quiet", *settings) == 0
    exploration = read_record(Run(out).data, Exploration)
    assert {s.split: s.n for s in exploration.splits} == {
        "train": 24_152, "validation": 2_945, "test": 2_903
    }  # fmt: skip
    assert exploration.classes == ("Female", "Male")
    evaluation = read_record(Run(out).evaluation, Evaluation)
    assert evaluation.splits[1].metrics["weighted_f1"].people > 500
