"""`candid audit` from the outside: runs, strangers' tables, two models, conditions, bad input."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import candid
from auditing.audited import crowd, predictions
from candid import runs
from candid.auditing.skin_tone import measure_tone
from candid.errors import RunError
from candid.pipeline.auditing import ToneCache, add_tone, audit_predictions
from candid.pipeline.provenance import collect_provenance
from candid.predictions import write_predictions
from candid.records import read_record
from candid.records.audit import Audit
from candid.records.audit_file import plain_audit
from candid.runs import Run
from candid.settings import Config
from candid.storage.files import FORMAT
from commands import call

SHARES = {"hat": 0.2, "smile": 0.5}
QUICK = ["--set", "audit.draws=60", "--set", "audit.more=false", "--set", "audit.slices=0"]


def planted(seed=0, base=0.05):
    return crowd(500, SHARES, seed, base=base, planted={("hat",): 0.3})


def table(path, p, *, missing=0):
    """The predictions as a stranger would write them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "Who?", "gender", "p_c1", "hat", "smile"])
        for i in range(len(p)):
            row = [p.ids[i], f"person {p.person[i]}", p.classes[p.label[i]], p.probability[i, 1]]
            row += [p.attributes[a].values[p.attributes[a].data[i]] for a in SHARES]
            writer.writerow(row if i >= missing else [*row[:4], "", row[5]])
    return path


COLUMNS = ["--label", "gender", "--prediction", "p_c1", "--person", "Who?"]


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A run folder that has predictions and nothing else."""
    path = tmp_path_factory.mktemp("audited") / "run"
    runs.create(path, Config(), collect_provenance(seed=0, data="none", data_fingerprint="none"))
    write_predictions(path / "predictions.parquet", planted())
    return path


def test_a_run(run, capsys):
    assert call("audit", run, *QUICK) == 0
    said = capsys.readouterr().out
    assert "serious: Of " in said and "with hat: yes," in said
    assert "Wrong, in 100 pictures of each label: c" in said
    assert "500 people" in said and "gaps were looked at" in said
    found = read_record(run / "audit.json", Audit)
    assert found.splits[0].findings[0].conditions[0].attribute == "hat"
    assert "audit" in read_record(Run(run).provenance, candid.records.Provenance).seconds


def test_a_promise_is_not_measured_on_what_it_was_made_on(tmp_path, capsys):
    p = crowd(700, SHARES, 0, base=0.0)
    path = tmp_path / "predictions.parquet"
    write_predictions(path, replace(p, split=np.full(len(p), "validation")))
    words = ["audit", path, "--set", "audit.draws=60", "--set", "audit.slices=0"]
    assert call(*words) == 0
    said = capsys.readouterr().out
    assert "How many of these answers are wrong was not measured" in said
    assert "of these answers 0" not in said
    assert call(*words, "--json") == 0
    (first, _) = json.loads(capsys.readouterr().out)["abstention"]["targets"]
    everyone = first["groups"][0]
    assert first["rule"]["target_error"] == 0.01
    assert (everyone["state"], everyone["error"]["value"]) == ("not applicable", None)
    write_predictions(path, replace(p, split=np.full(len(p), "train")))
    assert call(*words) == 0
    said = capsys.readouterr().out
    assert "No threshold for abstention" in said and "\nabstention: " not in said


def test_json_and_out_say_the_same(run, tmp_path, capsys):
    out = tmp_path / "audit.json"
    assert call("audit", run / "predictions.parquet", "--json", "--out", out, *QUICK) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {"format": FORMAT} | printed == json.loads(out.read_text())
    assert printed["source"] == "predictions.parquet"
    assert call("audit", run, "--quiet", *QUICK) == 0
    assert capsys.readouterr() == ("", "")


def test_a_strangers_table_has_the_same_gaps(run, tmp_path, capsys):
    p = planted()
    file = table(tmp_path / "other.csv", p)
    assert (
        call("audit", file, *COLUMNS, "--group", "hat", "--group", "smile", "--json", *QUICK) == 0
    )
    theirs = json.loads(capsys.readouterr().out)
    ours = plain_audit(audit_predictions(p, candid.load_config(overrides=tuple(QUICK[1::2])).audit))

    def gaps(found):
        return {
            (*g["conditions"][0].values(), g["label"]): g["gaps"]["accuracy"]["value"]
            for g in found["splits"][0]["groups"]
        }

    assert gaps(theirs) == pytest.approx(gaps(ours))
    assert theirs["splits"][0]["people"] == 500
    assert any("test" in note for note in theirs["notes"])


def test_missing_values_of_a_table_are_told(tmp_path, capsys):
    p = planted()
    file = table(tmp_path / "other.csv", p, missing=40)
    assert call("audit", file, *COLUMNS, "--json", *QUICK) == 0
    split = json.loads(capsys.readouterr().out)["splits"][0]
    hat = split["groups"][0]["gaps"]["accuracy"]
    assert hat["n"] + hat["rest_n"] == len(p) - 40
    assert any("no value for hat" in note for note in split["notes"])


def test_conditions_exit_with_1(run, capsys):
    assert call("audit", run, "--quiet", "--fail-on", "gap>0.9", *QUICK) == 0
    assert call("audit", run, "--quiet", "--fail-on", "gap>0.05", *QUICK) == 1
    said = capsys.readouterr()
    assert "gap>0.05 holds on test" in said.err and "hat: yes" in said.err and said.out == ""
    assert (run / "audit.json").is_file()  # the work was done


def test_two_models_on_the_same_images(run, tmp_path, capsys):
    better = tmp_path / "better"
    shutil.copytree(run, better)
    p = planted()
    fixed = (p.attributes["hat"].data == 1) & (np.arange(len(p)) % 2 == 0)
    attributes = {name: a.data for name, a in p.attributes.items()}
    write_predictions(
        better / "predictions.parquet",
        predictions(
            p.label,
            np.where(fixed, p.label, p.prediction),
            attributes=attributes,
            person=p.person,
            classes=p.classes,
        ),
    )
    assert call("audit", run, better, *QUICK) == 0
    said = capsys.readouterr().out
    assert "run → better" in said and f"comparison: {better / 'comparison.html'}" in said
    page = (better / "comparison.html").read_text(encoding="utf-8")
    assert "What changed for whom from “run” to “better”" in page and "Better for hat: yes" in page
    comparison = read_record(better / "audit.json", Audit).comparison
    expected = (fixed & (p.prediction != p.label)).sum()
    assert comparison.overall.gained == expected and comparison.overall.lost == 0
    changed = [g for g in comparison.groups if g.state == "found"]
    most = max(changed, key=lambda g: g.metrics["accuracy"].difference.value)
    assert (most.attribute, most.value) == ("hat", "yes")


def test_what_changed_between_two_files_is_written_where_it_was_asked_for(run, tmp_path, capsys):
    file, page = run / "predictions.parquet", tmp_path / "changed.html"
    assert call("audit", file, file, "--page", page, *QUICK) == 0
    said = capsys.readouterr().out
    assert f"comparison: {page}" in said and "0 images became wrong, 0 became right" in said
    assert "changed by more than chance explains" in page.read_text(encoding="utf-8")
    assert not (run / "comparison.html").exists()


def test_from_python():
    found = candid.audit(planted(), candid.load_config(overrides=tuple(QUICK[1::2])))
    assert found.splits[0].findings[0].conditions[0].value == "yes"
    both = candid.audit(
        planted(1), candid.load_config(overrides=tuple(QUICK[1::2])), before=planted(1)
    )
    assert both.comparison.overall.gained == both.comparison.overall.lost == 0


def test_skin_tone_is_measured_from_the_pictures_and_audited(tmp_path):
    """Light and dark faces, drawn flat; the model is wrong about half of the dark ones."""
    skin = np.asarray([[225, 185, 160], [95, 60, 45]], np.uint8)
    dark = np.arange(120) % 2
    pixels = np.repeat(skin[dark], 32 * 32, axis=0).reshape(120, 32, 32, 3)
    label = np.arange(120) // 2 % 2
    answer = np.where((dark == 1) & (np.arange(120) % 8 < 4), 1 - label, label)
    p = predictions(label, answer)
    order = np.random.default_rng(0).permutation(120)  # the store has them in another order
    data = SimpleNamespace(
        dataset=SimpleNamespace(ids=p.ids[order]), store=SimpleNamespace(pixels=pixels[order])
    )
    toned, summary = add_tone(p, ToneCache(data, quiet=True))
    assert summary.n == 120
    measured = toned.attributes["Skin ITA (measured)"].data
    assert np.nanmax(measured[dark == 1]) < np.nanmin(measured[dark == 0])
    config = candid.load_config(overrides=tuple(QUICK[1::2]))
    first = audit_predictions(toned, config.audit).splits[0].findings[0]
    assert "(measured)" in first.finding.title and "annotated" not in first.finding.detail
    gone = SimpleNamespace(dataset=SimpleNamespace(ids=p.ids[:5]), store=data.store)
    with pytest.raises(RunError, match="not in the data"):
        add_tone(p, ToneCache(gone, quiet=True))


def test_skin_tone_of_a_picture_is_measured_once_for_all_labels(monkeypatch):
    """Three labels of which two lack some pictures; each has what its own pictures alone give."""
    pixels = np.random.default_rng(1).integers(40, 220, (30, 32, 32, 3), np.uint8)
    pixels = (pixels // 4 + np.asarray([150, 110, 90])).astype(np.uint8)  # skin, and noise
    ids = np.asarray([f"face {i}" for i in range(30)])
    data = SimpleNamespace(dataset=SimpleNamespace(ids=ids), store=SimpleNamespace(pixels=pixels))
    seen = []

    def counted(pixels, *, rows, **how):
        seen.extend(rows.tolist())
        return measure_tone(pixels, rows=rows, **how)

    monkeypatch.setattr("candid.auditing.skin_tone.measure_tone", counted)
    measured = ToneCache(data, quiet=True)
    for rows in ([5, 3, 20], [3, 4, 29, 5], [*range(30)], []):
        tone = measured.of(ids[np.asarray(rows, np.intp)])
        alone = measure_tone(pixels, rows=np.asarray(rows, np.intp), quiet=True)
        for part in ("ita", "hue", "error", "skin"):
            np.testing.assert_allclose(getattr(tone, part), getattr(alone, part), rtol=1e-5)
    assert sorted(seen) == [*range(30)]
    assert not np.isnan(measured.of(ids).ita).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "There is no nowhere"),
        (["{file}"], "its columns must be named"),
        (["{file}", *COLUMNS, "--group", "hatt"], "did you mean"),
        (["{run}", "--label", "gender"], "was written by Candid"),
        (["{file}", *COLUMNS, "--tone"], "--tone needs a run"),
        (["{run}", "--fail-on", "gapp>0.05"], "did you mean 'gap'"),
        (["{run}", "--set", "audit.drawss=100"], "audit.draws"),
        (["{run}", "--set", 'audit.attributes=["hatt"]'], "did you mean 'hat'"),
        (["{empty}"], "is not a run"),
    ],
)
def test_bad_input_is_explained(arguments, said, run, tmp_path, capsys):
    places = {
        "{run}": run,
        "{file}": table(tmp_path / "other.csv", planted()),
        "{empty}": tmp_path / "empty",
    }
    (tmp_path / "empty").mkdir()
    assert call("audit", *(places.get(a, a) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


@pytest.mark.parametrize("words", [("inf", "-inf"), ("inf",), ("nan", "inf", "")])
def test_a_column_without_one_finite_number_is_no_group(words, tmp_path, capsys):
    p = planted()
    path = tmp_path / "theirs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["gender", "p_c1", "odd"])
        for i in range(len(p)):
            label, probability = p.classes[p.label[i]], p.probability[i, 1]
            rows.writerow([label, probability, words[i % len(words)]])
    named = ["--label", "gender", "--prediction", "p_c1"]
    assert call("audit", path, *named, *QUICK, "--set", "audit.pairs=true") == 0
    assert "Columns that are no groups: odd" in capsys.readouterr().out
    assert call("audit", path, *named, *QUICK, "--group", "odd") == 2
    assert "it holds no finite number" in capsys.readouterr().err
