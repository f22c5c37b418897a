"""`candid check`: planted wrong labels and identities on drawn faces, in training, too."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import candid as package
from candid import pipeline
from candid.config import load_config, with_values
from candid.data.synthetic import FaceWorld, write_faces
from candid.errors import ConfigError, DataError, OutputError, RunError
from candid.pipeline.checking import assign_folds, check_run
from candid.pipeline.opening import load_packed
from candid.pipeline.reviewing import open_review
from candid.predictions import Predictions, read_predictions
from candid.records import read_record
from candid.records.label_check import LabelCheck
from candid.runs import open_run
from candid.tables.corrections import Correction, write_corrections
from commands import candid

pytestmark = pytest.mark.slow  # all stand on one check

STEPS = 60
WORLD = FaceWorld(
    n=300, people=50, side=16, seed=3, cue="hat", label_noise=0.0, blur=0, noise=2, light=0.3
)
QUICK = [
    "data.side=16", "data.workers=1", "augment.rotation=0", "augment.perspective=0",
    f"check.steps={STEPS}", "check.folds=3", "train.batch_size=32", "train.learning_rate=2e-3",
    "train.threads=1", "train.precision=float32", "evaluate.draws=50",
]  # fmt: skip
WORDS = ["--recipe", "plain", *(word for one in QUICK for word in ("--set", one))]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str], set[str]]:
    """Faces of which some labels are the other class and some bear another person's name."""
    folder = write_faces(tmp_path_factory.mktemp("check") / "faces", WORLD, workers=1, quiet=True)
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(0)
    whose = {row["person"]: row["Face"] for row in rows}
    times = {who: sum(row["person"] == who for row in rows) for who in whose}
    many = [k for k, row in enumerate(rows) if times[row["person"]] >= 6]
    chosen = rng.permutation(many)
    flips, swaps = chosen[:15].tolist(), []
    for k in chosen[15:].tolist():
        if len(swaps) == 8 or any(rows[k]["person"] == rows[j]["person"] for j in swaps):
            continue
        swaps.append(k)
    for k in flips:
        rows[k]["Face"] = next(c for c in WORLD.classes if c != rows[k]["Face"])
    for k in swaps:
        others = [w for w in whose if times[w] >= 6 and whose[w] != whose[rows[k]["person"]]]
        rows[k]["person"] = str(rng.choice(others))
    # A copy under another name and another person: it must stay on the side of the first.
    shutil.copy(folder / rows[0]["path"], folder / "images/copy.jpg")
    rows.append(rows[0] | {"path": "images/copy.jpg", "person": "4711"})
    with (folder / "labels.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        out.writeheader()
        out.writerows(rows)
    return folder, *({rows[k]["path"] for k in some} for some in (flips, swaps))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def config():  # type: ignore[no-untyped-def]
    return load_config(recipe="plain", overrides=["data.target=Face", *QUICK])


@pytest.fixture(scope="module")
def checked(planted, config, cache, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    out = tmp_path_factory.mktemp("out") / "check"
    package.check(planted[0], config, out=out, cache=cache)
    return out


def average_precision(ranked: list[str], bad: set[str]) -> float:
    hits = np.array([image in bad for image in ranked])
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1) * hits).sum() / len(bad))


def test_planted_flips_lead_the_list_and_swapped_identities_stand_apart(planted, checked) -> None:  # type: ignore[no-untyped-def]
    _, flips, swaps = planted
    found = read_record(open_run(checked).check, LabelCheck)
    assert found.n == 301 and found.persons_count and len(found.folds) == 3
    ranked = [one.id for one in (*found.by_both, *found.by_model)]
    assert average_precision(ranked, flips) > max(0.7, 5 * len(flips) / found.n)
    assert {one.split for one in found.by_both} >= {"train"}
    apart = {one.id for one in found.by_person}
    assert len(apart & swaps) >= 0.7 * len(swaps)
    assert len(apart & swaps) >= 0.7 * len(apart)
    assert {one.id for one in found.by_person[:4]} <= swaps
    assert {one.id for one in found.by_both} & flips and not {*ranked[:8]} & swaps


def test_the_list_is_at_least_as_good_as_cleanlab_s(planted, checked) -> None:  # type: ignore[no-untyped-def]
    filters = pytest.importorskip("cleanlab.filter")
    p = read_predictions(open_run(checked).predictions_file)
    theirs = filters.find_label_issues(
        p.label.astype(int), p.probability, filter_by="confident_learning",
        return_indices_ranked_by="normalized_margin", n_jobs=1,
    )  # fmt: skip
    found = read_record(open_run(checked).check, LabelCheck)
    ranked = [one.id for one in (*found.by_both, *found.by_model)]
    before = average_precision(p.ids[theirs].tolist(), planted[1])
    assert average_precision(ranked, planted[1]) >= before > 0


def test_nobody_and_no_picture_is_in_two_folds(planted, config, cache) -> None:  # type: ignore[no-untyped-def]
    data = load_packed(planted[0], config, cache=cache, quiet=True)
    fold, dataset = assign_folds(data, config), data.dataset
    assert (fold >= 0).all() and set(fold.tolist()) == {0, 1, 2}
    pairs = {(who, k) for who, k in zip(dataset.person.tolist(), fold.tolist(), strict=True)}  # type: ignore[union-attr]
    assert len(pairs) == len(np.unique(dataset.person))  # type: ignore[arg-type]
    ids = dataset.ids.tolist()
    assert fold[ids.index("images/copy.jpg")] == fold[0] and ids[0] == "images/000000.jpg"
    np.testing.assert_array_equal(fold, assign_folds(data, config))
    other = with_values(config, {"train": {"seed": 1}})
    assert (assign_folds(data, other) != fold).any()
    many = with_values(config, {"check": {"folds": 100}})
    with pytest.raises(DataError, match="cannot make 100 folds"):
        assign_folds(data, many)


def test_a_killed_check_goes_on_to_the_same_bytes(  # type: ignore[no-untyped-def]
    planted, config, cache, checked, tmp_path, monkeypatch
) -> None:
    from candid.training import loop

    done: list[int] = []
    update = loop.update_ema

    def killed(state, decay):  # type: ignore[no-untyped-def]
        done.append(state.step)
        if len(done) == STEPS + 40:
            raise KeyboardInterrupt
        update(state, decay)

    monkeypatch.setattr(loop, "update_ema", killed)
    out = tmp_path / "check"
    with pytest.raises(KeyboardInterrupt):
        package.check(planted[0], config, out=out, cache=cache)
    assert not (out / "check.json").exists()
    first, second = (sorted((out / "folds").glob(f"*.{kind}")) for kind in ("npz", "safetensors"))
    assert (len(first), len(second)) == (1, 1)
    done[:] = [0] * (STEPS + 40)
    package.check(planted[0], config, out=out, cache=cache)
    assert len(done) - STEPS - 40 < 2 * STEPS  # not from the start of the second fold
    for name in ("check.json", "predictions.parquet"):
        assert (out / name).read_bytes() == (checked / name).read_bytes()
    before = len(done)
    package.check(planted[0], config, out=out, cache=cache)  # it is finished
    assert len(done) == before
    with pytest.raises(RunError, match=r"train\.learning_rate"):
        other = with_values(config, {"train": {"learning_rate": 1e-3}})
        package.check(planted[0], other, out=out, cache=cache)
    assert len(sorted((out / "folds").glob("*.npz"))) == 3


def test_folds_of_several_processes_and_those_of_a_run_are_the_same_bytes(  # type: ignore[no-untyped-def]
    planted, config, cache, checked, tmp_path, monkeypatch
) -> None:
    from candid.data import processes

    def sent(work, tasks, workers):  # type: ignore[no-untyped-def]
        """As a process would get it and give it back, without the seconds that one takes."""
        assert workers == 1 and len(pickle.dumps(work)) < 300_000
        for task in tasks:
            yield pickle.loads(pickle.dumps(work))(pickle.loads(pickle.dumps(task)))

    monkeypatch.setattr(processes, "in_processes", sent)
    out = shutil.copytree(checked, tmp_path / "check")
    first, *_ = sorted((out / "folds").glob("1-*.npz"))
    for file in (first, out / "check.json", out / "predictions.parquet"):
        file.unlink()
    package.check(planted[0], config, out=out, jobs=2, cache=cache)
    for name in ("check.json", "predictions.parquet", f"folds/{first.name}"):
        assert (out / name).read_bytes() == (checked / name).read_bytes()
    # In a run the same lies in its folder check/, with what was answered already.
    run = replace(open_run(shutil.copytree(checked, tmp_path / "run")), quiet=True)
    shutil.move(run.path / "folds", run.path / "check" / "folds")
    data = load_packed(planted[0], config, cache=cache, quiet=True)
    run.step("check", check_run, data)
    assert run.is_current("check") and not run.is_current("report")
    assert run.checked.read_bytes() == (checked / "check.json").read_bytes()
    with open_review(run.checked.parent, who="ann", queues=["labels"], cache=cache) as ready:
        assert ready.session.review.showings
    off = replace(run, settings=with_values(run.settings, {"check": {"folds": 0}}))
    assert "check" in run.steps and "check" not in off.steps
    with pytest.raises(ConfigError, match=r"check\.folds = 1"):
        with_values(config, {"check": {"folds": 1}})


def test_review_takes_it_for_its_queue(planted, checked, cache, tmp_path) -> None:  # type: ignore[no-untyped-def]
    found = read_record(open_run(checked).check, LabelCheck)
    p: Predictions = read_predictions(open_run(checked).predictions_file)
    assert p.out_of_fold and len(p) == found.n and set(p.split.tolist()) >= {"train", "test"}
    for queue, why in (("labels", "likely wrong"), ("people", "person")):
        how = {"queues": [queue], "out": tmp_path / queue, "cache": cache}
        with open_review(checked, who="ann", **how) as ready:
            shown = {s.image for s in ready.session.review.showings if s.why == why}
        assert len(shown) > 5
        if queue == "people":
            assert shown == {one.id for one in (*found.by_both, *found.by_person)}
        else:
            assert shown & {one.id for one in found.by_both if one.split == "train"}


def test_the_command_says_what_it_found_and_takes_corrections(  # type: ignore[no-untyped-def]
    planted, checked, cache, tmp_path, capsys
) -> None:
    faces, flips, _ = planted
    words = [faces, "--target", "Face", "--cache", cache, *WORDS]
    said = candid(capsys, "check", *words, "--out", checked)
    assert "301 images of 51 people, every label of 'Face' examined in 3 folds" in said.out
    assert "the model and the person's other pictures speak against" in said.out
    assert "likely another person's picture: " in said.out
    assert f"next:  candid review {checked}" in said.out and "fold 1: done before" in said.err
    plain = json.loads(candid(capsys, "check", *words, "--out", checked, "--json").out)
    assert plain["folder"] == str(checked) and plain["check"]["n"] == 301
    silent = candid(capsys, "check", *words, "--out", checked, "--quiet")
    assert not silent.out and not silent.err

    rows = [Correction(image, "", "", "leave out", "ann") for image in sorted(flips)[:5]]
    write_corrections(tmp_path / "c.csv", rows)
    words += ["--corrections", tmp_path / "c.csv", "--folds", "2", "--set", "check.steps=2"]
    out = candid(capsys, "check", *words, "--out", tmp_path / "second", "--json").out
    plain = json.loads(out)["check"]
    assert plain["n"] == 296 and len(plain["folds"]) == 2


def test_the_quick_recipe_is_the_default(planted, tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    quick, asked = load_config(recipe="fast"), []

    def stop(_, config, *__, **___):  # type: ignore[no-untyped-def]
        asked.append(config)
        raise DataError("Enough.", expected="no more", todo="nothing")

    monkeypatch.setattr(pipeline, "begin_or_resume", stop)
    with pytest.raises(DataError):
        package.check(package.load(planted[0], target="Face"), out=tmp_path / "check")
    words = [planted[0], "--out", tmp_path / "check", "--target"]
    candid(capsys, "check", *words, "Face", code=2)
    for config in asked:
        for section in ("network", "augment", "train"):
            assert getattr(config, section) == getattr(quick, section)
        assert (config.check.steps, config.check.folds, config.data.side) == (0, 5, 48)
    candid(capsys, "check", *words, "Face", "--recipe", "deep", code=2)
    assert len(asked) == 3 and asked[2].check.steps == 200


def test_a_run_is_no_check(planted, config, cache, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    package.explore(planted[0], config, out=tmp_path / "run", cache=cache)
    with pytest.raises(OutputError, match="holds a run"):
        package.check(planted[0], config, out=tmp_path / "run", cache=cache)
    words = [planted[0], "--target", "Face", "--cache", cache, *WORDS]
    said = candid(capsys, "check", *words, "--out", tmp_path / "run", code=2).err
    assert "no check of labels" in said and "to do:" in said
