"""candid compare: two as an audit of two, more as one page."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

import candid
from candid.errors import ConfigError, PredictionsError
from candid.predictions import write_predictions
from commands import candid as command

QUICK = ("--set", "audit.draws=100")


def said(wrong, *, hats=0.0):
    """Predictions of a model that is wrong so often, and more often under a hat."""
    rng = np.random.default_rng(0)
    label, hat, luck = rng.integers(0, 2, 500), rng.integers(0, 2, 500), rng.random(500)
    right = luck > wrong + hats * hat
    return candid.Predictions.from_arrays(
        np.array(["no", "yes"])[label],
        np.where(right == label.astype(bool), 0.9, 0.1),
        groups={"Hat": np.array(["no", "yes"])[hat]},
        target="Smile",
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("said")
    made = {"good": said(0.05), "<plain>": said(0.1), "hats": said(0.1, hats=0.3)}
    for name, predictions in made.items():
        write_predictions(folder / f"{name}.parquet", predictions)
    return [folder / f"{name}.parquet" for name in made]


def test_three_make_one_page(files, tmp_path, capsys):
    page = tmp_path / "c.html"
    out = command(capsys, "compare", *files, "--page", page, *QUICK).out
    lines = out.splitlines()
    assert lines[0] == "Smile on 500 images of test"
    assert [line.split()[0] for line in lines[1:4]] == [
        "good.parquet",
        "<plain>.parquet",
        "hats.parquet",
    ]
    assert "“good.parquet” is right more often than “hats.parquet”" in out
    assert "For Hat: yes" in out and "Holm" in out and "Benjamini and Hochberg" in out
    assert lines[-1] == f"comparison: {page}"
    html = page.read_text("utf-8")
    text = unescape(re.sub(r"<[^>]+>", " ", html))
    assert "<plain>" not in html and "<plain>.parquet" in text
    for name in files:
        assert f"Right with {name.name}" in text
    assert html.count("data-group=") == len(candid.compare(*files).across())
    assert "comparison-pairs" in html and "3 models on the same images" in text
    best = candid.compare(*files, config=candid.load_config(overrides=QUICK[1:])).ranked()[0]
    right = (
        best.metrics["accuracy"].value,
        best.metrics["accuracy"].low,
        best.metrics["accuracy"].high,
    )
    share, low, high = (f"{100 * x:.1f}" for x in right)
    assert f"Most were right with “{best.name}”: {share}% ({low} to {high}) of 500 test" in text
    assert "paired by image" in text and "paired by person" not in text  # nobody is known


def test_as_json_and_from_python(files, capsys):
    plain = json.loads(command(capsys, "compare", *files, "--json", *QUICK).out)
    assert plain["names"] == [file.name for file in files]
    assert [(p["a"][:4], p["b"][:4]) for p in plain["pairs"]] == [
        ("good", "<pla"), ("good", "hats"), ("<pla", "hats"),
    ]  # fmt: skip
    config = candid.load_config(overrides=["audit.draws=100"])
    found = candid.compare(*files, config=config)
    assert found.looked_at == plain["looked_at"]
    assert len(found.rows()) == sum(len(pair.every()) for pair in found.pairs)
    assert "accuracy" in found._repr_html_()
    mine = candid.compare(*map(candid.read_predictions, files), config=config)
    assert mine.names == ("A", "B", "C") and mine.figures[0] == replace(found.figures[0], name="A")


def test_two_are_what_an_audit_of_two_says(files, tmp_path, capsys):
    words = (*files[:2], "--page", tmp_path / "two.html", *QUICK)
    audited = command(capsys, "audit", *words).out
    page = (tmp_path / "two.html").read_text()
    assert command(capsys, "compare", *words).out == audited
    assert (tmp_path / "two.html").read_text() == page


def test_one_and_none_are_refused(files, tmp_path, capsys):
    assert "name another" in command(capsys, "compare", files[0], code=2).err
    gone = command(capsys, "compare", *files[:2], tmp_path / "gone", code=2).err
    assert "There is no" in gone


def test_names_tell_runs_apart(files, tmp_path):
    from candid.pipeline.comparing import compare

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.parquet").write_bytes(files[0].read_bytes())
    twice = [tmp_path / "a" / "p.parquet", tmp_path / "b" / "p.parquet"]
    found = compare(*twice, files[0], config=candid.load_config(overrides=["audit.draws=50"]))
    assert found.names[:2] == ("a/p.parquet", "b/p.parquet")
    assert found.pairs[0].overall.gained == found.pairs[0].overall.lost == 0


def test_tables_of_others_are_sent_to_the_audit(tmp_path, files, capsys):
    table = tmp_path / "theirs.csv"
    table.write_text("label,p_b\na,0.2\nb,0.7\n")
    for others in ([files[0]], files[:2]):
        told = command(capsys, "compare", *others, table, code=2).err
        assert "columns nobody names" in told and f"candid audit {table.name} OTHER" in told
    with pytest.raises(ConfigError, match=r"Predictions\.from_table"):
        candid.compare(files[0], table)


def test_rows_without_names_are_paired_by_number_only_where_labels_agree():
    a, b = said(0.05), said(0.1)
    found = candid.compare(a, b)
    assert any("Nothing names the images" in note for note in found.notes)
    assert found.n == 500
    shuffled = b[np.random.default_rng(1).permutation(500)]
    shuffled = candid.Predictions.from_arrays(
        [b.classes[i] for i in shuffled.label], shuffled.probability, target="Smile"
    )
    with pytest.raises(PredictionsError, match="not the same images in the same order"):
        candid.compare(a, shuffled)
    named = replace(a, ids=np.array([f"{i}.jpg" for i in range(500)]))
    again = candid.compare(named, replace(b, ids=named.ids))
    assert not any("Nothing names" in note for note in again.notes + again.pairs[0].notes)


def test_what_is_no_model_is_refused(files):
    numbers = candid.NumberAnswers.from_arrays([1, 2], [1, 3])
    with pytest.raises(PredictionsError, match="with classes, and another of a number"):
        candid.compare(files[0], numbers)
    for strange in ({"label": ["a"]}, 3):
        with pytest.raises(ConfigError, match=f"There is a {type(strange).__name__} among"):
            candid.compare(files[0], strange)
    with pytest.raises(PredictionsError, match="beside them, person"):
        candid.audit(numbers, before=numbers, person=[1, 2])
    assert candid.audit(numbers).splits[0].metrics["mae"].value == 0.5
