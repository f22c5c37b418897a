"""A label that is a number, from the outside."""

import csv
import io
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import candid as package
from candid.data.synthetic import FaceWorld, write_faces
from candid.errors import PredictionsError, RunError, TargetError
from candid.predictions.numbers import read_number_predictions
from candid.records import ModelCard, read_record
from candid.records.audit import Audit
from candid.records.calibration import NumberCalibration
from candid.records.explanation import Explanation, read_explanation_arrays
from candid.records.external_number import NumberTransfer
from candid.records.inside import Inside, read_inside_arrays
from candid.records.number import NumberEvaluation
from candid.runs import Run
from commands import call, candid
from made_once import made_once
from test_cli import BRIEF

HOW = (*BRIEF, "--set", "train.steps=4", "--set", "framing.steps=0")


def make(folder: Path) -> None:
    """Faces whose stature is a number that nobody sees, and is missing for every ninth."""
    world = FaceWorld(n=160, people=40, side=16, validation_share=0.3, test_share=0.3)
    faces = write_faces(folder / "faces", world)
    header, *lines = (faces / "labels.csv").read_text().splitlines()
    stature = np.random.default_rng(0).normal(170, 12, len(lines)).round(1)
    told = ["" if i % 9 == 0 else str(h) for i, h in enumerate(stature)]
    rows = [f"{line},{h}" for line, h in zip(lines, told, strict=True)]
    (faces / "labels.csv").write_text("\n".join([f"{header},stature", *rows]))
    where = ["--out", folder / "run", "--cache", folder / "cache", "--quiet"]
    assert call("run", faces, "--target", "stature", *where, *HOW) == 0


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return made_once(tmp_path_factory, "number", make)


def test_a_run_of_a_number_alone_is_taken_for_its_label(made, tmp_path, capsys):
    """What is said of the run is what is said of its label's folder, verb by verb."""
    run = tmp_path / "run"
    shutil.copytree(made / "run", run)
    one = run / "targets" / "stature"
    face = next((made / "faces").rglob("*.jpg"))
    where = ["--cache", made / "cache"]
    for words in (
        ("evaluate", "{}", "--json"),
        ("audit", "{}", "--json"),
        ("audit", "{}", "--json", "--tone", *where),
        ("predict", "{}", face, "--quiet"),
        ("explain", "{}", "--json", *where),
    ):
        mine, other = (
            candid(capsys, *(str(w).format(place) for w in words)).out for place in (run, one)
        )
        timed = r'"seconds": [0-9.e-]+'
        assert re.sub(timed, "", mine) == re.sub(timed, "", other), words
    tone = json.loads(candid(capsys, "audit", run, "--json", "--tone", *where).out)
    assert tone["tone"] is not None
    measured = {g["conditions"][0]["attribute"] for g in tone["splits"][0]["groups"]}
    assert "Skin ITA (measured)" in measured


def test_two_runs_of_numbers_are_compared_and_the_report_shows_it(made, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(made / "run", run)
    one = Run(run / "targets" / "stature")
    told = candid(capsys, "compare", made / "run", run).out
    assert f"comparison: {one.comparison}" in told and "mean absolute error" in told
    found = read_record(one.audit, Audit).comparison
    assert found.is_number and found.n == read_record(one.audit, Audit).splits[0].n
    candid(capsys, "report", one.path)
    for file in (one.comparison, one.report):
        page = file.read_text()
        assert "Error before" in page and "Gap before" in page, file
    assert "## Beside another model" in one.card.read_text()
    three = candid(capsys, "compare", made / "run", run, one.path, "--json").out
    assert [f["metrics"].keys() for f in json.loads(three)["figures"]] == [
        {"mae": 0, "rmse": 0}.keys()
    ] * 3


def test_notebooks_show_runs_and_answers_of_a_number(made):
    run = package.open_run(made / "run")
    one = package.open_run(run.path / "targets" / "stature")
    for shown in (run, one):
        assert "<table>" in shown._repr_html_() and "mae" in shown._repr_html_()
    with pytest.raises(RunError, match="learned 'stature', which is a number"):
        _ = run.predictions
    face = next((made / "faces").rglob("*.jpg"))
    for asked in (run, one):
        answers = asked.predict([face])
        assert (answers.target, answers.classes) == ("stature", ())
        assert {"stature", "stature_low", "stature_high"} <= {*answers[0]}
        assert "stature_low" in answers._repr_html_()
        with pytest.raises(PredictionsError, match="not of one label with classes"):
            _ = answers.prediction


def test_what_a_number_cannot_have_leaves_no_run(made, tmp_path, capsys):
    where = ["--target", "stature", "--cache", made / "cache", "--out", tmp_path / "run"]
    for words in (("run", "--seeds", "2"), ("check",)):
        said = candid(capsys, *words, made / "faces", *where, *HOW, code=2).err
        assert "number" in said or "one label with classes" in said
        assert not (tmp_path / "run").exists()


def test_a_number_has_a_record_and_a_report_and_needs_nothing_more(made, capsys):
    run, one = Run(made / "run"), Run(made / "run" / "targets" / "stature")
    evaluation = read_record(one.evaluation, NumberEvaluation)
    predictions = read_number_predictions(one.predictions_file)
    assert [s.split for s in evaluation.splits] == ["validation", "test"]
    assert sum(s.n for s in evaluation.splits) == len(predictions)
    assert not np.isnan(predictions.value).any()
    card = read_record(one.model_file, ModelCard)
    held = (predictions.low <= predictions.value) & (predictions.value <= predictions.high)
    own = held[predictions.split == "validation"]
    assert own.sum() >= min(len(own), math.ceil((len(own) + 1) * card.number.coverage))
    assert {g.attribute for g in evaluation.headline.groups} >= {"Smiling", "Hair_Style"}
    page = one.report.read_text()
    for text in ("Mean absolute error", "Error by range", "For whom it fails", "training median"):
        assert text in page
    assert "predicts the number “stature”" in run.report.read_text()
    said = candid(capsys, "run", "--resume", run.path, "--json", "--quiet").out
    told = json.loads(said)["numbers"]["stature"]
    assert told["mae"]["value"] == pytest.approx(evaluation.headline.metrics["mae"].value)
    said = candid(capsys, "evaluate", one.path, "--json", "--quiet").out
    assert json.loads(said)["target"] == "stature"
    assert "mean absolute error" in candid(capsys, "audit", one.path).out
    candid(capsys, "report", one.path, "--quiet")
    candid(capsys, "report", run.path, "--quiet")
    assert package.open_run(run.path).is_finished()


def test_predict_gives_a_value_and_an_interval_as_the_run_predicted(made, capsys):
    one = read_number_predictions(made / "run" / "targets" / "stature" / "predictions.parquet")
    some = [made / "faces" / "images" / Path(i).name for i in one.ids[:6]]
    some = [
        path if path.is_file() else made / "faces" / i
        for path, i in zip(some, one.ids[:6], strict=True)
    ]
    out = candid(capsys, "predict", made / "run", *some, "--no-check", "--quiet").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0])[1:4] == ["stature", "stature_low", "stature_high"]
    for row, value, low, high in zip(rows, one.predicted, one.low, one.high, strict=False):
        assert float(row["stature"]) == pytest.approx(value, abs=0.01)
        assert float(row["stature_low"]) == pytest.approx(low, abs=0.01)
        assert float(row["stature_high"]) == pytest.approx(high, abs=0.01)
        assert row["abstained"] == "false"


def test_pictures_are_explained_by_what_raises_and_lowers_the_number(made, capsys, tmp_path):
    one = read_number_predictions(made / "run" / "targets" / "stature" / "predictions.parquet")
    some = [made / "faces" / i for i in one.ids[:2]]
    words = ["explain", made / "run" / "targets" / "stature", *some, "--method", "gradient"]
    said = candid(capsys, *words, "--out", tmp_path / "maps.png", "--json").out
    rows = json.loads(said)["images"]
    assert [row["value"] for row in rows] == pytest.approx(one.predicted[:2], abs=0.01)
    assert [row["low"] for row in rows] == pytest.approx(one.low[:2], abs=0.01)
    assert "probability" not in rows[0]
    assert (tmp_path / "maps.png").stat().st_size > 1000


def test_a_run_of_a_number_explains_it_and_its_report_shows_the_maps(made, capsys):
    run, one = Run(made / "run"), Run(made / "run" / "targets" / "stature")
    found = read_record(one.explanation, Explanation)
    maps = read_explanation_arrays(one.explanation_arrays)
    assert (found.target, found.split, found.n) == ("stature", "validation", 6)
    assert maps.examples.shape[:2] == (len(found.methods), len(found.examples))
    evaluated = read_number_predictions(one.predictions_file)
    both = zip(evaluated.value, evaluated.predicted, strict=True)
    said = dict(zip(evaluated.ids.tolist(), both, strict=True))
    for x in found.examples:
        value, predicted = said[x.id]
        assert float(x.label) == pytest.approx(value)
        assert x.prediction.startswith(f"{predicted:.0f} (")
    assert {m.region for m in found.number.maskings} == {r.name for r in found.regions}
    known = package.open_run(run.path).settings
    for name, change, inside in (
        ("evaluate", {"tolerance": 3.0}, False),
        ("explain", {"images": 5}, True),
    ):
        other = replace(known, **{name: replace(getattr(known, name), **change)})
        assert replace(one, settings=known).is_current("explain")
        assert not replace(one, settings=other).is_current("explain")
        assert replace(one, settings=other).is_current("inside") == inside
    page = one.report.read_text()
    assert 'id="explanation"' in page and "raises and where it lowers the number" in page
    assert page.count('class="panel') == len(found.examples) + len(found.methods) > 1
    assert "What it looks at" in one.card.read_text()
    assert 'href="targets/stature/report.html#explanation"' in run.report.read_text()
    candid(capsys, "run", "--resume", run.path, "--quiet")
    assert read_record(one.explanation, Explanation) == found


def seen_inside(one: Run) -> Inside:
    """What a run's folder has of a look inside, after its mistakes were held to what it predicts.

    They are the validation images that are further off than counts as near.
    """
    seen = read_record(one.inside, Inside)
    said = read_number_predictions(one.predictions_file)
    rows = np.flatnonzero(said.split == "validation")
    off = np.abs(said.predicted - said.value)[rows]
    tolerance = read_record(one.evaluation, NumberEvaluation).tolerance
    order = rows[np.argsort(-off, kind="stable")][:12]
    assert (seen.n, seen.mistakes) == (len(rows), np.count_nonzero(off > tolerance))
    assert seen.number.tolerance == tolerance and len(seen.worst) == min(12, seen.mistakes) > 0
    for found, row in zip(seen.worst, order, strict=False):
        assert found.id == said.ids[row] and found.neighbours
        told = (found.value, found.predicted, found.low, found.high)
        assert told == tuple(x[row] for x in (said.value, said.predicted, said.low, said.high))
    weights = [u.weight for u in seen.units]
    assert weights == sorted(weights, reverse=True) and weights[-1] > 0
    assert all(0 <= u.raises <= 1 for u in seen.units)
    assert len(read_inside_arrays(one.inside_arrays)["faces"]) == len(seen.faces)
    return seen


def test_a_run_of_a_number_looks_inside_and_its_report_shows_it(made):
    one = Run(made / "run" / "targets" / "stature")
    seen = seen_inside(one)
    with (made / "faces" / "labels.csv").open() as lines:
        told = {row["path"]: row["stature"] for row in csv.DictReader(lines)}
    for neighbour in (n for found in seen.worst for n in found.neighbours):
        assert neighbour.value == float(told[neighbour.id])
    page, worst = one.report.read_text(), seen.worst[0]
    section = page[page.index('<section id="inside">') :]
    section = re.sub(r"<[^>]+>", "", section[: section.index("</section>")])
    assert f"labelled {worst.value:g}, predicted {worst.predicted:.0f} (interval " in section
    assert f"furthest off of {seen.mistakes} that are off by more than" in section
    assert f"Unit {seen.units[0].number} " in section and "moves the number by" in section
    assert section.count("(interval ") == len(seen.worst)
    assert '<a href="#inside">Seen from inside</a>' in page


def test_a_number_among_several_labels_is_looked_into_as_well(capsys, tmp_path):
    world = FaceWorld(n=80, people=40, side=16, validation_share=0.3, test_share=0.3)
    faces = write_faces(tmp_path / "faces", world)
    run = Run(tmp_path / "run")
    words = [faces, "--target", "Smiling", "--target", "ITA", "--cache", tmp_path / "cache"]
    candid(capsys, "run", *words, "--out", run.path, "--quiet", *HOW)
    both = {name: Run(run.path / "targets" / name) for name in ("Smiling", "ITA")}
    seen = seen_inside(both["ITA"])
    assert 'id="inside"' in both["ITA"].report.read_text()
    smiling = read_record(both["Smiling"].inside, Inside)
    assert smiling.number is None and {r.label for r in smiling.worst} <= {"Smiling", "not Smiling"}
    assert all(math.isnan(u.raises) for u in smiling.units)
    # One network: the same units, which move each label otherwise.
    assert (smiling.layer, smiling.hidden_size) == (seen.layer, seen.hidden_size)
    was = both["ITA"].inside.read_bytes()
    both["ITA"].inside.unlink()
    assert not package.open_run(run.path).is_finished()
    candid(capsys, "run", "--resume", run.path, "--quiet", "--cache", tmp_path / "cache")
    assert both["ITA"].inside.read_bytes() == was
    assert package.open_run(run.path).is_finished()


def test_a_number_is_explained_where_asked_and_not_where_not(made, capsys, tmp_path):
    run = Run(shutil.copytree(made / "run", tmp_path / "run"))
    one = Run(run.path / "targets" / "stature")
    was = read_record(one.explanation, Explanation)
    seen, looked = (f.stat().st_mtime_ns for f in (one.evaluation, one.inside))
    words = [one.path, "--method", "occlusion", "--set", "explain.images=4", "--data"]
    words += [made / "faces", "--cache", made / "cache"]
    said = candid(capsys, "explain", *words).out
    assert "4 validation images of 4 people explained" in said and "the number moves by" in said
    found = read_record(one.explanation, Explanation)
    assert ([m.name for m in found.methods], found.n) == (["occlusion"], 4)
    assert one.inside.stat().st_mtime_ns > looked
    seen_inside(one)
    again = candid(capsys, "explain", *words, "--json")
    assert json.loads(again.out)["number"]["median"] == found.number.median
    # The run's own settings ask for another, which is all that is made again.
    candid(capsys, "run", "--resume", run.path, "--cache", made / "cache", "--quiet")
    anew = read_record(one.explanation, Explanation)
    assert (anew.methods[0].name, anew.shares) == (was.methods[0].name, was.shares)
    assert one.evaluation.stat().st_mtime_ns == seen
    where = ["--out", tmp_path / "off", "--cache", made / "cache", "--quiet", "--no-explain"]
    candid(capsys, "run", made / "faces", "--target", "stature", *where, *HOW)
    off = Run(tmp_path / "off" / "targets" / "stature")
    assert not off.explanation.exists() and 'id="explanation"' not in off.report.read_text()
    assert not off.inside.exists() and 'id="inside"' not in off.report.read_text()
    assert "#explanation" not in Run(tmp_path / "off").report.read_text()
    assert package.open_run(tmp_path / "off").is_finished()
    assert "No maps were made" in off.card.read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["export", "run", "--int8"],
        ["export", "run/targets/stature", "--to", "transformers"],
        ["review", "run"],
        ["improve", "run"],
        ["push", "run", "me/ages", "--dry-run"],
    ],
)
def test_what_needs_classes_is_refused_in_a_sentence(made, capsys, words):
    placed = [made / w if w.split("/")[0] in ("run", "faces") else w for w in words]
    said = candid(capsys, *placed, "--quiet", code=2).err
    assert "is a number" in said, said


def test_what_is_not_done_for_a_number_is_refused(made, capsys, tmp_path):
    for verb in ("check", "tune"):
        words = [verb, made / "faces", "--target", "stature", "--out", tmp_path / verb]
        said = candid(capsys, *words, "--cache", made / "cache", "--quiet", *BRIEF, code=2).err
        assert "is a number" in said, said


def test_a_number_of_two_data_sets_is_learned_and_audited_by_source(capsys, tmp_path):
    both = [
        write_faces(
            tmp_path / name,
            FaceWorld(n=80, people=40, side=16, seed=i, validation_share=0.3, test_share=0.3),
            workers=1,
            quiet=True,
        )
        for i, name in enumerate(("here", "there"))
    ]
    run = Run(tmp_path / "run")
    words = [*both, "--target", "ITA", "--cache", tmp_path / "cache", "--quiet", *HOW]
    candid(capsys, "run", *words, "--out", run.path)
    found = read_number_predictions(run.path / "targets" / "ITA" / "predictions.parquet")
    of = found.attributes["source"].words()
    for place, name in zip(both, ("here", "there"), strict=True):
        with (place / "labels.csv").open() as lines:
            told = {f"{name}/{row['path']}": float(row["ITA"]) for row in csv.DictReader(lines)}
        mine = {i: v for i, v, s in zip(found.ids, found.value, of, strict=True) if s == name}
        assert len(mine) > 20
        assert mine == pytest.approx({i: told[i] for i in mine})
    groups = read_record(run.path / "targets" / "ITA" / "audit.json", Audit).splits[0].singles()
    assert {g.conditions[0].value for g in groups} >= {"here", "there"}
    candid(capsys, "run", "--resume", run.path, "--quiet")
    assert package.open_run(run.path).is_finished()
    aligned = [*words, "--set", "data.align_sources=true", "--out", tmp_path / "no"]
    assert "data.align_sources" in candid(capsys, "train", *aligned, code=2).err


ELSEWHERE = ["--engine", "torch", "--set", "evaluate.draws=60", "--set", "audit.draws=60"]


def elsewhere(folder: Path, stature=None, n=60) -> Path:
    """Other faces, taller than at home, whose stature is what `stature` gives or drawn."""
    faces = write_faces(folder, FaceWorld(n=n, people=n // 3, side=16, seed=5))
    header, *lines = (faces / "labels.csv").read_text().splitlines()
    drawn = np.random.default_rng(1).normal(180, 12, len(lines)).round(1)
    values = drawn if stature is None else np.full(len(lines), stature)
    rows = [f"{line},{h}" for line, h in zip(lines, values, strict=True)]
    (faces / "labels.csv").write_text("\n".join([f"{header},stature", *rows]))
    return faces


@pytest.fixture
def moved(made, tmp_path):
    return shutil.copytree(made / "run", tmp_path / "run")


def test_a_number_elsewhere_is_judged_as_predict_answers(moved, capsys, tmp_path):
    away, one = elsewhere(tmp_path / "away"), moved / "targets" / "stature"
    said = candid(capsys, "evaluate", one, away, *ELSEWHERE, "--json", "--quiet").out
    (source,) = json.loads(said)["sources"]
    truth = {
        row["path"]: float(row["stature"])
        for row in csv.DictReader(io.StringIO((away / "labels.csv").read_text()))
    }
    words = ["--engine", "torch", "--no-check", "--quiet"]
    rows = list(csv.DictReader(io.StringIO(candid(capsys, "predict", moved, away, *words).out)))
    at = [truth[str(Path(row["id"]).relative_to(away))] for row in rows]
    said, low, high = (
        np.array([float(row[f"stature{end}"]) for row in rows]) for end in ("", "_low", "_high")
    )
    figures = source["figures"]["evaluation"]["metrics"]
    assert source["figures"]["evaluation"]["n"] == len(truth) == len(rows) == 60
    assert source["figures"]["evaluation"]["people"] == 20
    expected = {
        "mae": mean_absolute_error(at, said),
        "rmse": mean_squared_error(at, said) ** 0.5,
        "r2": r2_score(at, said),
        "within": np.mean(np.abs(said - at) <= 5),
        "coverage": np.mean((low <= at) & (at <= high)),
    }
    for name, value in expected.items():
        assert figures[name]["value"] == pytest.approx(value, abs=0.02), name
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]
    home = read_record(one / "evaluation.json", NumberEvaluation).headline.metrics
    for name in ("mae", "rmse", "coverage"):
        apart = figures[name]["value"] - home[name].value
        assert source["differences"][name]["value"] == pytest.approx(apart, abs=1e-4)
    assert "r2" not in source["differences"] and not source["paired"]
    kept = read_number_predictions(one / "transfer" / "away.parquet")
    smiling = kept.attributes["Smiling"].data
    off = np.abs(kept.predicted - kept.value)
    (group,) = (
        g
        for g in source["audit"]["groups"]
        if g["conditions"] == [{"attribute": "Smiling", "value": "yes"}]
    )
    gap = off[smiling == 1].mean() - off[smiling == 0].mean()
    assert group["gaps"]["mae"]["value"] == pytest.approx(gap, abs=1e-4)


def columns_of(capsys, run, pictures, *words):
    """(n,) value, low and high of each picture, as `candid predict` gives them, by its path."""
    words = ["--engine", "torch", "--no-check", "--quiet", *words]
    rows = list(csv.DictReader(io.StringIO(candid(capsys, "predict", run, pictures, *words).out)))
    names = [str(Path(row["id"]).relative_to(pictures)) for row in rows]
    ends = ("stature", "stature_low", "stature_high")
    return names, *(np.array([float(row[end]) for row in rows]) for end in ends)


def statures(faces: Path) -> dict[str, float]:
    rows = csv.DictReader(io.StringIO((faces / "labels.csv").read_text()))
    return {row["path"]: float(row["stature"]) for row in rows}


def test_a_number_is_calibrated_for_a_place(moved, capsys, tmp_path):
    """The network of the fixture knows nothing, and people there are ten taller."""
    away, one = elsewhere(tmp_path / "away", n=150), moved / "targets" / "stature"
    words = ["--name", "there", "--engine", "torch"]
    lines = candid(capsys, "calibrate", moved, away, *words).out
    made = read_record(one / "calibrations" / "there.json", NumberCalibration)
    assert (made.fitted_n + made.n, made.fitted_people + made.people) == (150, 50)
    assert f"in {one / 'calibrations' / 'there.json'}; to use it: --calibration there" in lines
    names, before, *_ = columns_of(capsys, moved, away)
    _, after, low, high = columns_of(capsys, moved, away, "--calibration", "there")
    value = np.array([statures(away)[name] for name in names])
    assert np.median(value - before) == pytest.approx(made.shift, abs=3)  # of a third
    assert after - before == pytest.approx(made.shift, abs=1e-4)
    assert np.abs(value - after).mean() < np.abs(value - before).mean() - 2
    assert made.before["mae"].value == pytest.approx(np.abs(value - before).mean(), abs=2)
    assert made.differences["mae"].high < 0 and made.notes == ()
    assert (low < after).all() and (after < high).all()
    found = package.transfer(moved, away, engine="torch", calibration="there")
    assert found.sources[0].name == "away-there"
    assert found.sources[0].figures.evaluation.metrics["mae"].value == pytest.approx(
        np.abs(value - after).mean(), abs=0.3
    )
    assert "these figures flatter it" in found.sources[0].notes[-1]
    package.transfer(moved, away, engine="torch")  # of the same model: what is there stays
    kept = read_record(one / "transfer.json", NumberTransfer)
    assert [source.name for source in kept.sources] == ["away-there", "away"]
    assert "shifted by" in made._repr_html_() and len(made.rows()) == 8


def test_calibrated_intervals_hold_what_they_promise_on_other_pictures_of_the_place(
    moved, capsys, tmp_path
):
    away = elsewhere(tmp_path / "away", n=300)
    package.calibrate(moved, away, name="there", engine="torch")
    others = write_faces(tmp_path / "others", FaceWorld(n=200, people=100, side=16, seed=9))
    names, _, low, high = columns_of(capsys, moved, others, "--calibration", "there")
    value = np.random.default_rng(8).normal(180, 12, len(names))
    _, _, own_low, own_high = columns_of(capsys, moved, others)
    held = np.mean((low <= value) & (value <= high))
    # 90% from 200 images: a standard deviation of 2.1 points (a beta distribution), and as much
    # from 200 others.
    assert 0.81 <= held <= 0.99 and np.mean((own_low <= value) & (value <= own_high)) < held


def test_too_few_pictures_calibrate_no_number(moved, capsys, tmp_path):
    few = write_faces(tmp_path / "few", FaceWorld(n=20, people=10, side=16, seed=5))
    header, *lines = (few / "labels.csv").read_text().splitlines()
    rows = [f"{line},{170 + i}" for i, line in enumerate(lines)]
    (few / "labels.csv").write_text("\n".join([f"{header},stature", *rows]))
    said = candid(capsys, "calibrate", moved, few, "--name", "x", "--engine", "torch", code=2).err
    assert "at the least 9 images in each third of the people" in said


def test_the_report_of_a_number_says_how_far_from_home(moved, capsys, tmp_path):
    one = moved / "targets" / "stature"
    assert "Nobody looked" in (one / "report.html").read_text()
    same = elsewhere(tmp_path / "same", 175.5)
    told = candid(capsys, "evaluate", moved, same, *ELSEWHERE).out  # of one number alone
    first = told.splitlines()[0]
    assert first.startswith("same: off by ") and "60 images of 20 people" in first
    assert "more than on its own test images" in first or "less than on" in first
    assert told.splitlines()[-1].startswith(f"in {one / 'transfer.json'}; candid report {one}")
    assert "R² undefined" in told and "within 5: " in told and "Its intervals, made to" in told
    candid(capsys, "report", one, "--quiet")
    page, card = (one / "report.html").read_text(), (one / "README.md").read_text()
    assert first in page and first in card and "Nobody looked" not in page
    found = package.transfer(one, same, engine="torch")
    assert {row["source"] for row in found.rows()} == {"home", "same"}
    assert math.isnan(found.sources[0].figures.evaluation.metrics["r2"].value)
    assert "mae less home" in found._repr_html_()


def test_of_a_number_s_own_data_only_what_it_did_not_learn_from(made, moved, capsys):
    one = moved / "targets" / "stature"
    candid(capsys, "evaluate", one, made / "faces", *ELSEWHERE, "--name", "own", "--quiet")
    (source,) = json.loads((one / "transfer.json").read_text())["sources"]
    own = read_number_predictions(one / "predictions.parquet")
    assert source["paired"] and source["split"] == "test"
    assert source["pictures"] == np.count_nonzero(own.split == "test")
    assert source["differences"]["mae"]["value"] == pytest.approx(0, abs=0.01)


def test_what_has_no_meaning_for_a_number_is_refused(moved, capsys, tmp_path):
    away, one = elsewhere(tmp_path / "away"), moved / "targets" / "stature"
    for words, said in (
        (["--abstain-below", "0.9"], "--abstain-below is for a label with classes"),
        (["--calibration", "x"], "has no calibration 'x'"),
        (["--target", "Hair_Style"], "is to be learned as a number and has the values"),
        (["--target", "height"], "no label called 'height'"),
    ):
        assert said in candid(capsys, "evaluate", one, away, *words, *ELSEWHERE, code=2).err
    classes = package.load(away, target="Smiling")
    with pytest.raises(TargetError, match="has classes, and the model's 'stature' is a number"):
        package.transfer(one, classes, engine="torch")
