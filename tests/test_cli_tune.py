"""`candid tune` from the outside, on a few synthetic faces."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import candid
from candid.config import differences, load_config, read_config
from candid.data.synthetic import FaceWorld, write_faces
from candid.pipeline import tuning
from candid.pipeline.opening import load_packed
from candid.predictions import read_predictions
from candid.records import Evaluation, from_plain, read_record
from candid.records.tuning import Finalist, Trial, Tuning
from candid.runs import Run
from candid.stats.intervals import mean, mean_of_labels, mean_over_seeds
from commands import call

QUICK = [
    "--recipe", "plain", "--set", "data.side=16", "--set", "train.steps=6",
    "--set", "train.batch_size=32", "--set", "train.evaluations=3", "--set", "train.threads=1",
    "--set", "data.workers=1", "--set", "evaluate.draws=50", "--set", "train.precision=float32",
    "--set", "tune.finalists=1", "--set", "tune.seeds=2", "--set", "tune.pruner=none",
    "--set", "explain.images=6", "--set", "explain.check_images=0",
    "--set", "audit.more=false",
    "--search", "train.learning_rate=1e-4..1e-2", "--search", "train.optimizer=adam,sgd",
]  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    world = FaceWorld(n=120, people=40, side=16, validation_share=0.2, test_share=0.2)
    return write_faces(tmp_path_factory.mktemp("faces") / "few", world, workers=1, quiet=True)


@pytest.fixture(scope="module")
def command(faces, tmp_path_factory) -> list[object]:
    cache = tmp_path_factory.mktemp("cache")
    return ["tune", faces, "--target", "Face", "--cache", cache, "--trials", 3, *QUICK]


@pytest.fixture(scope="module")
def study(command, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("studies") / "study"
    assert call(*command, "--out", out, "--quiet") == 0
    return out


def test_every_file_is_there_and_agrees(study):
    assert {p.name for p in study.iterdir()} == {
        "best", "best.toml", "provenance.json", "report.html", "study.db", "study.toml",
        "tuning.json",
    }  # fmt: skip
    tuning = read_record(study / "tuning.json", Tuning)
    assert [t.number for t in tuning.trials] == [0, 1, 2]
    assert [t.is_start for t in tuning.trials] == [True, False, False]
    assert all(len(t.curve) == 3 and t.images == 6 * 32 for t in tuning.trials)
    assert all(t.f1 == max(t.curve) for t in tuning.trials)  # the best weights are kept
    assert len(tuning.finalists) == 2
    assert all(f.seeds == (1, 2) and len(f.f1) == 2 for f in tuning.finalists)
    means = {f.number: sum(f.f1) / 2 for f in tuning.finalists}
    assert means[tuning.winner] == max(means.values()) == tuning.best.mean.value
    # The last training is a run like any other, with the settings of best.toml.
    run = Run(study / "best")
    evaluation = read_record(run.evaluation, Evaluation)
    by_split = {s.split: s.metrics["weighted_f1"] for s in evaluation.splits}
    assert tuning.test == by_split["test"]
    assert tuning.validation == by_split["validation"]
    assert tuning.n_validation == sum(read_predictions(run.predictions_file).split == "validation")
    best, trained = read_config(study / "best.toml"), read_config(run.config)
    assert differences(best, trained) == []
    for name, value in tuning.best.settings.items():
        section, key = name.split(".")
        assert getattr(getattr(best, section), key) == value
    # The same seed gives the same result: the last training is one of the finals that won.
    assert trained.train.seed == best.train.seed == tuning.seed
    won = dict(zip(tuning.best.seeds, tuning.best.f1, strict=True))[tuning.seed]
    assert by_split["validation"].value == pytest.approx(won, abs=1e-12)


def test_best_toml_is_what_config_takes(study):
    """Whatever recipe stands below it."""
    for recipe in ("plain", "deep"):
        config = load_config(recipe=recipe, file=study / "best.toml")
        assert differences(config, read_config(study / "best" / "config.toml")) == []


def test_the_same_command_again_changes_nothing(study, command, capsys):
    before = (study / "tuning.json").read_bytes()
    weights = (study / "best" / "model.safetensors").stat().st_mtime_ns
    assert call(*command, "--out", study, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (study / "tuning.json").read_bytes() == before
    assert (study / "best" / "model.safetensors").stat().st_mtime_ns == weights
    assert told["best"] == str(study / "best.toml")
    assert from_plain(Tuning, told["tuning"]) == read_record(study / "tuning.json", Tuning)


def test_what_is_printed(study, command, capsys):
    assert call(*command, "--out", study) == 0
    printed = capsys.readouterr()
    tuning = read_record(study / "tuning.json", Tuning)
    table = [line.split() for line in printed.out.splitlines()[:4]]
    assert table[0] == ["trial", "F1", "ended", "learning_rate", "optimizer"]
    ranked = sorted(tuning.trials, key=lambda t: -t.f1)
    assert [row[0] for row in table[1:]] == [str(t.number) for t in ranked]
    assert f"{tuning.test.value:.4f}" in printed.out
    name = "where it began" if tuning.best.is_start else f"trial {tuning.winner}"
    mean = f"mean {tuning.best.mean.value:.4f} over fresh seeds"
    assert f"winner: {name}, {mean}; best/ is its training with seed {tuning.seed}" in printed.out
    assert f"weighted F1 of best/ on validation: {tuning.validation.value:.4f}" in printed.out
    assert "chosen on validation" in printed.out


def test_the_report_says_what_was_found(study):
    html = (study / "report.html").read_text("utf-8")
    tuning = read_record(study / "tuning.json", Tuning)
    head = html.split("<script>", 1)[0]
    assert "http:" not in head
    assert "https:" not in head
    text = re.sub(r"<script.*?</script>|<style.*?</style>|<svg.*?</svg>", "", html, flags=re.S)
    ends = f"{tuning.test.low:.2f} to {tuning.test.high:.2f}"  # too wide for a third digit
    assert f"{tuning.test.value:.2f}" in text and ends in text
    assert "looked at once" in text
    assert "flatters the winner" in text
    assert "Too few trials were finished to say" in text  # three are too few for importances
    for figure in ("history", "curves", "finalists"):
        assert f'<figure id="{figure}">' in text
    for trial in tuning.trials:
        assert f'data-value="{trial.f1}"' in text


def test_other_settings_are_refused_and_another_budget_is_not(study, command, capsys):
    assert call(*command, "--out", study, "--set", "augment.flip=0.1") == 2
    assert "augment.flip (0.1, not 0.5)" in capsys.readouterr().err
    assert call(*command, "--out", study, "--minutes", "5", "--quiet") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--search", "train.lerning_rate=0..1"], "train.learning_rate"),
        (["--search", "train.optimizer=adam,adamm"], "train.optimizer"),
        (["--trials", "0"], "tune.trials"),
        (["--minutes", "-1"], "tune.minutes"),
        (["--set", "tune.sampler=grid"], "tpe, random"),
        (["--set", "network.name=own"], "network.name"),
        (["--storage", "nonsense"], "--storage"),
        (["--storage", "sqlite:////nowhere/study.db"], "--storage"),
    ],
)
def test_what_cannot_be_is_said(command, tmp_path, capsys, words, said):
    out = tmp_path / "study"
    assert call(*command, "--out", out, *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "expected:" in error
    assert "Traceback" not in error
    assert not out.exists()  # and the next command may name it


def test_a_folder_with_something_else_is_left_alone(command, tmp_path, capsys):
    (tmp_path / "letters.txt").write_text("dear")
    assert call(*command, "--out", tmp_path) == 2
    assert "letters.txt" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["letters.txt"]


def test_a_run_is_no_study(study, command, capsys):
    assert call(*command, "--out", study / "best") == 2
    assert "no study.toml" in capsys.readouterr().err


# --- killed --------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing may catch it, as nothing catches a kill."""


@pytest.fixture(scope="module")
def data(command):
    config = load_config(recipe="plain", overrides=["data.target=Face", "data.workers=1"])
    return config, load_packed(Path(str(command[1])), config, cache=command[5], quiet=True)


@pytest.mark.parametrize("when", ["study.toml", "provenance.json", "study.db"])
def test_a_folder_is_a_study_wherever_its_making_was_killed(data, tmp_path, monkeypatch, when):
    config, loaded = data
    out = tmp_path / "study"

    def die(part: Path, path: Path) -> Path:
        if path.name == when:
            (part.parent / f".{when}.0.part").write_text("torn")
            raise Killed
        return os.rename(part, path) or path

    with monkeypatch.context() as context, suppress(Killed):
        context.setattr(Path, "replace", die)
        tuning._open_folder(out, config, loaded)
    for side in ("", "-journal", "-wal", "-shm") if when == "study.db" else ():
        (out / f"study.db{side}").write_text("")
    known = tuning._open_folder(out, config, loaded)
    assert known == tuning._open_folder(out, config, loaded)
    assert read_config(out / "study.toml") == known
    assert (out / "provenance.json").is_file()


def test_a_study_that_another_process_begins_just_now_is_joined(data, tmp_path, monkeypatch):
    """Its files appear while the folder is listed."""
    config, loaded = data
    entries = Path.iterdir

    def listed(folder: Path) -> list[Path]:
        monkeypatch.setattr(Path, "iterdir", entries)
        tuning._open_folder(folder, config, loaded)
        (folder / "study.db-journal").write_text("")
        return list(entries(folder))

    monkeypatch.setattr(Path, "iterdir", listed)
    assert tuning._open_folder(tmp_path, config, loaded).data.target == "Face"


def test_a_search_that_was_killed_goes_on(command, tmp_path, monkeypatch):
    """With SIGKILL, in the middle of a trial and of what a neighbour writes into the database."""
    from candid.training.tuning import study as study_module

    out = tmp_path / "study"
    words = [*map(str, command), "--out", str(out), "--quiet"]
    victim = subprocess.Popen([sys.executable, "-m", "candid", *words])
    write = (
        "import sqlite3, time; c = sqlite3.connect({!r}, timeout=60);"
        "c.execute('BEGIN IMMEDIATE'); c.execute('CREATE TABLE half (a)');"
        "print('in it', flush=True); time.sleep(600)"
    ).format(str(out / "study.db"))
    try:
        while not _begun(out / "study.db"):
            assert victim.poll() is None
            time.sleep(0.1)
        with subprocess.Popen(
            [sys.executable, "-c", write], stdout=subprocess.PIPE, text=True
        ) as neighbour:
            assert neighbour.stdout.readline() == "in it\n"
            victim.kill()
            victim.wait()
            neighbour.kill()
    finally:
        victim.kill()
        victim.wait()
    assert (out / "study.db-journal").is_file()
    soon = partial(study_module.open_study, heartbeat=1, grace=2)
    monkeypatch.setattr(study_module, "open_study", soon)
    assert call(*words) == 0
    tuning = read_record(out / "tuning.json", Tuning)
    assert len([t for t in tuning.trials if t.state == "finished"]) == 3
    assert (out / "best" / "report.html").is_file()


def _begun(database: Path) -> bool:
    """Whether a trial is there, without touching the database: a reader would mend it."""
    if not database.is_file():
        return False
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as reader:
        try:
            return reader.execute("SELECT count(*) FROM trials").fetchone()[0] > 0
        except sqlite3.OperationalError:  # its tables are being made
            return False


def test_without_optuna_it_says_what_to_install(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert call(*command, "--out", tmp_path / "study") == 2
    assert "pip install 'candid-faces[tune]'" in capsys.readouterr().err


def test_a_last_training_that_was_killed_goes_on(study, command, tmp_path):
    """As it lies on the disk when it was killed before it had written its settings, or after."""
    config = read_config(study / "best" / "config.toml")
    data = load_packed(Path(str(command[1])), config, quiet=True)
    left = tmp_path / "best"
    left.mkdir()
    (left / "provenance.json").write_bytes((study / "best" / "provenance.json").read_bytes())
    (left / ".config.toml.x.part").write_text("[data")
    first, _ = tuning._train_winner(left, config, data, quiet=True)
    (left / "evaluation.json").unlink()
    again, told = tuning._train_winner(left, config, data, quiet=True)
    assert first == again == told["validation"]["value"]


def test_python_does_the_same(faces, tmp_path):
    config = load_config(
        recipe="plain",
        overrides=["data.side=16", "train.steps=2", "train.batch_size=32", "train.evaluations=1",
                   "train.threads=1", "data.workers=1", "evaluate.draws=50", "tune.trials=2",
                   "tune.seeds=0", "tune.search=[\"train.optimizer=adam,sgd\"]",
                   "explain.images=6", "explain.check_images=0",
                   "audit.more=false"],
    )  # fmt: skip
    dataset = candid.load(faces, target="Face")
    tuning = candid.tune(dataset, config, out=tmp_path / "study", cache=tmp_path / "cache")
    assert len(tuning.trials) == 2
    assert tuning.difference is None  # nothing was repeated
    assert tuning.best.mean.n == tuning.n_validation
    assert (tmp_path / "study" / "report.html").is_file()


def test_several_labels_are_searched_together_by_the_mean_of_their_f1(command, tmp_path):
    words = [*command[:2], "--target", "Smiling", *command[2:], "--trials", 2]
    assert call(*words, "--out", tmp_path / "both", "--quiet") == 0
    found = read_record(tmp_path / "both" / "tuning.json", Tuning)
    assert (found.target, found.classes) == ("Smiling, Face", ())
    best = Run(tmp_path / "both" / "best")
    of_each = [read_record(one.evaluation, Evaluation).splits for one in best.target_runs()]
    assert len(of_each) == 2
    for split, told in (("validation", found.validation), ("test", found.test)):
        f1 = [s.metrics["weighted_f1"] for splits in of_each for s in splits if s.split == split]
        assert told.value == pytest.approx(sum(e.value for e in f1) / 2)
        assert told.low <= told.value <= told.high
    assert "labels “Smiling, Face”" in (tmp_path / "both" / "report.html").read_text()


def test_the_interval_of_a_mean_of_labels_is_no_narrower_than_that_of_the_mean():
    """Two labels that are right together have as wide an interval as one of them."""
    right = np.random.default_rng(0).random(400) < 0.8
    one = mean(right.astype(float), None)
    both = mean_of_labels([one, one])
    assert (both.value, both.low, both.high) == pytest.approx((one.value, one.low, one.high))
    other = mean(np.random.default_rng(1).permutation(right).astype(float), None)
    apart = mean(np.random.default_rng(1).permutation(right) / 2 + right / 2, None)
    wide = mean_of_labels([one, other])
    assert wide.value == pytest.approx(apart.value)
    assert wide.high - wide.low > apart.high - apart.low


def test_the_mean_over_seeds_has_student_s_interval():
    from scipy.stats import t

    values = [0.91, 0.95, 0.94, 0.9]
    found = mean_over_seeds(values, 100)
    low, high = t.interval(0.95, 3, loc=0.925, scale=0.02380476 / 2)
    assert (found.value, found.low, found.high) == pytest.approx((0.925, low, high), abs=1e-5)
    assert mean_over_seeds([0.5], 9).low != mean_over_seeds([0.5], 9).low  # one seed: no interval


def test_names_from_the_data_are_escaped():
    from candid.records import Estimate
    from candid.reporting.page import render_search

    nasty = "<script>alert(1)</script>"
    mean = Estimate(0.5, 0.4, 0.6, 10, "Student's t over 2 seeds")
    trial = Trial(0, "finished", 0.5, {"network.model": nasty}, (0.4, 0.5), 64, 1.0, note=nasty)
    finalist = Finalist(0, False, {"network.model": nasty}, 0.5, (1, 2), (0.5, 0.5), mean)
    html = render_search(
        Tuning(
            nasty, nasty, nasty, (nasty, "b"), 10, 64, 2, "tpe", "median", "1 trials are made",
            {"network.model": nasty}, (trial,), 0, {}, (finalist,), 0, None, mean, None, 1.0, 64,
            "2026-01-01T00:00:00+00:00", "0",
        )
    )  # fmt: skip
    assert nasty not in html
    assert "no images in this split" in html
