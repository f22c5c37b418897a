"""candid evaluate RUN DATA: a run's model on another place's labelled pictures."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

import candid as package
from candid.data.layouts import load_dataset
from candid.pipeline.labelled import predict_dataset
from candid.pipeline.labelling import open_labeller
from candid.predictions import read_predictions, write_predictions
from candid.records import read_record
from candid.records.external import Transfer
from candid.runs import Run
from candid.storage.files import FORMAT
from commands import candid
from inference.tiny import encoded, pixels, tiny_run

FEW = ["--set", "evaluate.draws=60", "--set", "audit.draws=60"]


def write_classes(folder: Path, n: int, classes=("no", "yes"), seed=0) -> Path:
    for i, picture in enumerate(pixels(n, seed=seed)):
        place = folder / classes[i % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(encoded(picture))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with predictions on its own data, made by the way that is tested; and those data."""
    root = tmp_path_factory.mktemp("transfer")
    home = write_classes(root / "home", 60)
    run = tiny_run(root / "run", data=str(home.resolve()))
    dataset = load_dataset(home)
    rows = np.arange(len(dataset))
    found = predict_dataset(
        open_labeller(run, engine="torch"), dataset, rows, root / "t.parquet", quiet=True
    )
    tested = np.flatnonzero(dataset.split != "train")
    write_predictions(run.predictions_file, found.predictions[tested])
    package.evaluate(run)
    return run.path, home


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "run")


@pytest.fixture
def away(tmp_path):
    return write_classes(tmp_path / "away", 40, ("No", "YES"), seed=9)


def evaluate(capsys, run, *words, **more):
    return candid(capsys, "evaluate", run, *words, "--engine", "torch", *FEW, **more)


def test_it_answers_as_predict_does(capsys, run, away):
    (away / "No" / "broken.png").write_bytes(b"no picture")
    said = json.loads(evaluate(capsys, run, away, "--json").out)
    (source,) = said["sources"]
    assert (source["name"], source["pictures"], source["unread_count"]) == ("away", 41, 1)
    assert source["unread"][0]["id"] == "No/broken.png"
    assert source["layout"] == "folder" and source["figures"]["evaluation"]["n"] == 40
    kept = read_predictions(run / "transfer" / "away.parquet")
    rows = {
        str(Path(row["id"]).relative_to(away)): row
        for row in package.predict(run, [away], engine="torch")
        if row["error"] is None
    }
    assert {*rows} == {*kept.ids.tolist()}
    assert {*kept.split.tolist()} == {"test"}  # so that an audit or a comparison takes all of them
    for name, label, p in zip(kept.ids.tolist(), kept.label, kept.probability, strict=True):
        assert p[1] == pytest.approx(rows[name]["p_yes"], abs=1e-6)
        assert ("No", "YES")[label] == name.split("/")[0]
    right = np.mean(kept.prediction == kept.label)
    assert source["figures"]["evaluation"]["metrics"]["accuracy"]["value"] == pytest.approx(right)
    assert [f.name for f in (run / "transfer").iterdir()] == ["away.parquet"]
    assert read_record(run / "transfer.json", Transfer).home is not None
    assert json.loads((run / "transfer.json").read_text())["format"] == FORMAT


def test_a_second_set_is_added_and_the_same_one_replaced(capsys, run, away, tmp_path):
    other = write_classes(tmp_path / "other", 30, seed=4)
    evaluate(capsys, run, away, other, "--quiet")
    evaluate(capsys, run, away, "--quiet", "--split", "train")
    found = read_record(run / "transfer.json", Transfer)
    assert [(s.name, s.split) for s in found.sources] == [("other", ""), ("away", "train")]
    told = evaluate(capsys, run, away, "--name", "again").out
    assert told.startswith("again: ") and "other: " not in told  # what was not asked for
    assert [s.name for s in read_record(run / "transfer.json", Transfer).sources][-1] == "again"
    assert (run / "transfer" / "again.parquet").is_file()
    same = shutil.copytree(away, tmp_path / "b" / "away")
    said = evaluate(capsys, run, away, same, code=2).err
    assert "called 'away'" in said and "--name" in said


def test_of_its_own_data_only_what_it_did_not_learn_from(capsys, run, made, tmp_path):
    moved = shutil.copytree(made[1], tmp_path / "elsewhere")
    own = read_predictions(run / "predictions.parquet")
    tested = {*own.ids[own.split == "test"].tolist()}
    for place, words in ((made[1], "are the data"), (moved, "have the names and labels")):
        evaluate(capsys, run, place, "--quiet", "--name", "own")
        (source,) = read_record(run / "transfer.json", Transfer).sources
        assert {*read_predictions(run / "transfer" / "own.parquet").ids.tolist()} == tested
        assert source.paired and source.split == "test"
        assert source.differences["accuracy"].value == 0
        assert words in source.notes[0]
    evaluate(capsys, run, moved, "--quiet", "--name", "own", "--split", "train")
    (source,) = read_record(run / "transfer.json", Transfer).sources
    assert not source.paired and source.pictures > len(tested)


def test_other_classes_are_mapped(capsys, run, tmp_path):
    coded = write_classes(tmp_path / "coded", 20, ("0", "1"))
    said = evaluate(capsys, run, coded, code=2).err
    assert "'0', '1'" in said and "data.class_names" in said and "'no', 'yes'" in said
    assert '["0=…", "1=…"]' in said  # which is which nobody can tell
    letters = write_classes(tmp_path / "letters", 20, ("N", "Y"))
    said = evaluate(capsys, run, letters, code=2).err
    assert '["N=no", "Y=yes"]' in said
    names = '["0=No","1=yes"]'
    evaluate(capsys, run, coded, "--set", f"data.class_names={names}", "--quiet")
    assert read_predictions(run / "transfer" / "coded.parquet").classes == ("no", "yes")


def test_data_with_a_test_part_alone(capsys, run, tmp_path):
    write_classes(tmp_path / "held" / "test", 12)
    evaluate(capsys, run, tmp_path / "held", "--quiet")
    (source,) = read_record(run / "transfer.json", Transfer).sources
    assert source.pictures == 12
    said = evaluate(capsys, run, tmp_path / "held", "--split", "train", code=2).err
    assert "no labelled images in train" in said


@pytest.mark.parametrize("only", ["no", "yes"])
def test_data_with_one_class_alone(capsys, run, tmp_path, only):
    place = write_classes(tmp_path / "one", 40, (only,), seed=9)
    both = '["no=no","yes=yes"]'  # of which the data have one
    told = evaluate(capsys, run, place, "--set", f"data.class_names={both}").out
    (source,) = read_record(run / "transfer.json", Transfer).sources
    kept, k = read_predictions(run / "transfer" / "one.parquet"), ("no", "yes").index(only)
    right = np.count_nonzero(kept.probability.argmax(axis=1) == k)
    found = source.figures.evaluation
    assert found.only_class.name == only and found.classes[1 - k].support == 0
    wilson = binomtest(right, 40).proportion_ci(method="wilson")
    for figure in (found.metrics["accuracy"], found.classes[k].recall):
        assert (figure.value, figure.n) == (right / 40, 40)
        assert (figure.low, figure.high) == pytest.approx(wilson, abs=0.03)
    for figure in (found.metrics["roc_auc"], found.classes[1 - k].recall):
        assert math.isnan(figure.value) and math.isnan(figure.low) and math.isnan(figure.high)
    own = read_predictions(run / "predictions.parquet")
    own = own[(own.split == "test") & (own.label == k)]
    assert [*source.differences] == ["recall"]
    apart = right / 40 - np.mean(own.probability.argmax(axis=1) == k)
    assert source.differences["recall"].value == pytest.approx(apart)
    assert f"of 40 images, all labelled {only}" in told and "the recall of " + only in told
    candid(capsys, "report", run, "--quiet")
    assert told.splitlines()[0] in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--split", "half"], "no split 'half'"),
        (["--name", "a/b"], "no name for a file"),
        (["--target", "Smiling"], "no label called 'Smiling'"),
    ],
)
def test_bad_input(capsys, run, away, words, said):
    assert said in evaluate(capsys, run, away, *words, code=2).err


def test_options_of_the_data_need_some(capsys, run):
    assert "--crop is for DATA" in candid(capsys, "evaluate", run, "--crop", code=2).err
    candid(capsys, "evaluate", run, "--quiet")


def test_another_model_s_sources_are_dropped(capsys, run, away):
    evaluate(capsys, run, away, "--quiet")
    text = (run / "transfer.json").read_text()
    model = json.loads(text)["model"]
    (run / "transfer.json").write_text(text.replace(model, "0" * len(model)))
    evaluate(capsys, run, away, "--name", "fresh", "--quiet")
    assert [s.name for s in read_record(run / "transfer.json", Transfer).sources] == ["fresh"]


def test_a_job_that_was_stopped_goes_on(run, away, monkeypatch, tmp_path):
    from candid.inference.classify import Labeller

    dataset = load_dataset(away, learnable=False)
    ready, out, done = open_labeller(Run(run), engine="torch"), tmp_path / "t.parquet", []
    monkeypatch.setattr("candid.inference.classify.BATCH", 8)
    rows_of = Labeller.rows

    def rows(self, images):
        done.append(len(images))
        if len(done) > 2 and stops:
            raise KeyboardInterrupt
        return rows_of(self, images)

    stops = True
    monkeypatch.setattr(Labeller, "rows", rows)
    with pytest.raises(KeyboardInterrupt):
        predict_dataset(ready, dataset, np.arange(40), out, workers=1, quiet=True)
    assert (tmp_path / "t.parquet.partial").exists()
    done, stops = [], False
    found = predict_dataset(ready, dataset, np.arange(40), out, workers=1, quiet=True)
    assert sum(done) == 24
    assert found.predictions.ids.tolist() == dataset.ids.tolist()
    assert not out.exists()


def test_the_report_and_the_card_say_it(capsys, run, away):
    candid(capsys, "report", run, "--quiet")
    nobody = "Nobody looked: nothing was measured on pictures from another place"
    assert nobody in (run / "report.html").read_text()
    assert nobody in (run / "README.md").read_text()
    said = evaluate(capsys, run, away).out
    candid(capsys, "report", run, "--quiet")
    page, card = (run / "report.html").read_text(), (run / "README.md").read_text()
    assert nobody not in page + card and "of its own data set alone" not in page
    first = said.splitlines()[0]
    assert first.startswith("away: right in") and first in page and first in card
    assert 'id="transfer-sureness"' in page


def test_python_gives_the_same(run, away):
    dataset = load_dataset(away)
    config = package.load_config(overrides=["evaluate.draws=60", "audit.draws=60"])
    found = package.transfer(run, dataset, config, engine="torch")
    assert [s.name for s in found.sources] == ["away"]
    assert {row["source"] for row in found.rows()} == {"home", "away"}
    assert "accuracy less home" in found._repr_html_() or found.to_frame() is not None
    columns = pq.read_schema(run / "transfer" / "away.parquet").names
    assert "answered" in columns
