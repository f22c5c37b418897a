"""Arrays, frames and files into `Table`, `Predictions`, `candid.audit` and `candid.evaluate`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import candid
from candid.errors import DataError, PredictionsError, RunError
from candid.predictions import Predictions, write_predictions
from candid.records import frames
from candid.settings import AuditConfig, Config
from candid.table import Table, arrow_table

CONFIG = Config(audit=AuditConfig(draws=100, more=False, slices=0))


def pandas(columns):
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(columns, index=range(5, 5 + len(next(iter(columns.values())))))


def polars(columns):
    return pytest.importorskip("polars").DataFrame(columns)


LIBRARIES = [dict, pa.table, pandas, polars]


def people(n=400, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.choice(["no", "yes"], n)
    hat = rng.random(n) < 0.4
    wrong = rng.random(n) < np.where(hat, 0.4, 0.05)
    p = np.where((label == "yes") ^ wrong, 0.9, 0.1)
    return label, p, {"hat": hat.tolist(), "town": ["a", "b", None, "c"] * (n // 4)}, np.arange(n)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_says_the_same(library):
    label, p, groups, who = people(8)
    found = Predictions.from_arrays(label, p, groups=library(groups), person=who)
    assert found.attributes["hat"].kind == "binary"
    assert found.attributes["town"].words() == ["a", "b", None, "c"] * 2
    assert found.attributes["hat"].words() == ["yes" if h else "no" for h in groups["hat"]]
    assert found.person.tolist() == who.tolist()
    assert found.split.tolist() == ["test"] * 8
    np.testing.assert_array_equal(found.probability, np.stack([1 - p, p], 1))
    assert arrow_table(library(groups)).column_names == ["hat", "town"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([True, False, True], ("False", "True")),
        ([10, 9, 10], ("9", "10")),
        ([1.0, 0.0, 0.0], ("0", "1")),
        (["b", "NA", "b"], ("NA", "b")),
        (np.array([["x"], ["y"], ["x"]]), ("x", "y")),
        (pa.array(["q", "p", "q"]), ("p", "q")),
    ],
)
def test_labels_of_any_type_are_sorted_as_scikit_learn_does(labels, classes):
    found = Predictions.from_arrays(labels, [0.1, 0.6, 0.7])
    assert found.classes == classes
    plain = np.asarray(labels).ravel()
    assert found.label.tolist() == np.unique(plain, return_inverse=True)[1].tolist()


def test_a_probability_per_class_stands_in_the_order_of_the_classes():
    p = [[0.2, 0.3, 0.5], [1, 0, 0]]
    found = Predictions.from_arrays(["z", "x"], p, classes=["z", "y", "x"], ids=["i", "j"])
    assert found.classes == ("z", "y", "x")
    assert (found.label.tolist(), found.ids.tolist()) == ([0, 2], ["i", "j"])
    assert found.prediction.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y_prob": [0.1, np.nan, 0.3]}, "impossible"),
        ({"y_prob": [0.1, 1.2, 0.3]}, "from 0 to 1"),
        ({"y_prob": [[0.5, 0.4]] * 3}, "sum to 1"),
        ({"y_prob": [0.1, 0.2]}, "shape (2,) for 3 labels"),
        ({"y_prob": [[0.2, 0.3, 0.5]] * 3}, "2 classes ('a', 'b')"),
        ({"y_prob": ["x", "y", "z"]}, "'x' is none of the classes"),
        ({"y_true": ["a", None, "b"]}, "row 2 is missing"),
        ({"y_true": [1.0, np.nan, 0.0]}, "row 2 is missing"),
        ({"y_true": ["a", 1, None]}, "cannot be read as a column"),
        ({"y_true": [["a", "b"]] * 3}, "cannot be read as a column"),
        ({"classes": ["a", "c"]}, "'b' is not among the classes 'a', 'c'"),
        ({"classes": ["a", "b", "b"]}, "each of the label's values once"),
        ({"groups": {"hat": ["x", "y"]}}, "3 labels and 2 values of hat"),
        ({"groups": {"hat": [["x"], ["y"]], "age": [1, 2, 3]}}, "different lengths"),
        ({"groups": {"hat": [None, None, None]}}, "every row is empty"),
        ({"person": [1, 2]}, "2 values of person"),
        ({"ids": ["i", "i", "j"]}, "more than once"),
        ({"ids": ["i", None, "j"]}, "no value for row 2"),
        ({"split": ["test", "train", "other"]}, "called 'other'"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    given = {"y_true": ["a", "b", "a"], "y_prob": [0.1, 0.2, 0.3]} | change
    with pytest.raises((DataError, PredictionsError)) as caught:
        Predictions.from_arrays(given.pop("y_true"), given.pop("y_prob"), **given)
    assert words in str(caught.value)
    assert caught.value.expected and caught.value.todo


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_table_from_a_frame_and_from_a_file(library, tmp_path):
    columns = {
        "image": ["1.jpg", "2.jpg", "3.jpg"],
        "mood": ["glad", "sad", "glad"],
        "who": ["ann", "bob", "ann"],
        "part": ["train", "val", "test"],
        "age": [31.5, 22.0, 40.0],
    }
    named = {"target": "mood", "ids": "image", "person": "who", "split": "part"}
    found = Table.from_frame(library(columns), **named)
    assert found.targets == ("mood",)
    assert (found.classes, found.label.tolist()) == (("glad", "sad"), [0, 1, 0])
    assert found.split.tolist() == ["train", "validation", "test"]
    assert found.person.tolist() == [0, 1, 0]
    assert [*found.attributes] == ["age"]
    assert found.take(np.array([2, 0])).ids.tolist() == ["3.jpg", "1.jpg"]
    assert found.rows("train").tolist() == [0]
    (tmp_path / "t.csv").write_text(
        "\n".join(
            ",".join(map(str, row)) for row in ([*columns], *zip(*columns.values(), strict=True))
        )
    )
    again = Table.read(tmp_path / "t.csv", **named)
    assert again.label.tolist() == [0, 1, 0]
    assert again.attributes["age"].data.tolist() == columns["age"]
    with pytest.raises(DataError, match="no column called 'mod'"):
        Table.from_frame(library(columns), target="mod")


@pytest.mark.parametrize("library", LIBRARIES[1:])
def test_predictions_of_a_frame_with_named_columns(library):
    label, p, groups, who = people()
    frame = library({"label": label.tolist(), "p_yes": p.tolist(), "who": who.tolist(), **groups})
    found = Predictions.from_table(frame, label="label", prediction="p_yes", groups=["hat"])
    np.testing.assert_array_equal(found.probability[:, 1], p)
    assert [*found.attributes] == ["hat"]


def test_the_same_audit_from_arrays_predictions_and_a_file(tmp_path):
    label, p, groups, who = people()
    mine = candid.audit(label, p, CONFIG, groups=groups, person=who)
    whole = Predictions.from_arrays(label, p, groups=groups, person=who)
    write_predictions(tmp_path / "predictions.parquet", whole)
    for given in (whole, tmp_path / "predictions.parquet", str(tmp_path / "predictions.parquet")):
        assert candid.audit(given, CONFIG).rows() == mine.rows()
    gap = next(r for r in mine.rows() if (r["group"], r["metric"]) == ("hat: yes", "accuracy"))
    right = (p > 0.5) == (label == "yes")
    hat = np.array(groups["hat"])
    assert gap["value"] == pytest.approx(right[hat].mean() - right[~hat].mean())
    assert gap["state"] == "found"
    compared = candid.audit(label, p, CONFIG, groups=groups, before=np.full(len(p), 0.6))
    assert compared.comparison.n == len(p)


def test_the_same_evaluation_from_arrays_and_predictions():
    label, p, _, who = people()
    mine = candid.evaluate(label, p, person=who)
    assert mine == candid.evaluate(Predictions.from_arrays(label, p, person=who))


def test_half_of_what_is_needed_is_refused():
    label, p, _, _ = people(8)
    whole = Predictions.from_arrays(label, p)
    for given in ((label,), (whole, p)):
        with pytest.raises(PredictionsError):
            candid.audit(*given)
    with pytest.raises(PredictionsError, match="beside them, groups"):
        candid.audit(whole, groups={"hat": [1] * 8})


def test_an_audit_is_a_frame_and_a_table_to_look_at():
    label, p, groups, who = people()
    audit = candid.audit(label, p, CONFIG, groups=groups, person=who)
    frame = arrow_table(audit.to_frame())
    assert frame.num_rows == len(audit.rows()) > 0
    assert {"split", "kind", "group", "metric", "value", "low", "high", "state"} <= {
        *frame.column_names
    }
    page = audit._repr_html_()
    assert "gaps were found" in page and "hat: yes" in page and page.count("<tr>") > 1
    split = audit.splits[0]
    title, head, *rows = str(audit).splitlines()
    assert title == f"label: {split.gaps_found} of {split.gaps_looked_at} gaps were found"
    assert f"<caption>{title}</caption>" in page and head.split()[:2] == ["split", "group"]
    assert 0 < len(rows) <= 20 and all(line.startswith("test ") for line in rows)
    assert rows[0].index("hat") == head.index("group")
    none = str(candid.audit(["a", "b"] * 9, [0.2, 0.9] * 9, CONFIG))
    assert none == "label: 0 of 0 gaps were found"


def test_an_evaluation_is_printed_as_a_table():
    label, p, _, who = people(100)
    found = candid.evaluate(label, p, person=who)
    title, head, *rows = str(found).splitlines()
    assert title == "label: no, yes" and head.split() == [
        "split",
        "metric",
        "value",
        "interval",
        "n",
    ]
    right = found.splits[0].metrics["accuracy"]
    (line,) = [row.split() for row in rows if row.split()[1] == "accuracy"]
    assert line == ["test", "accuracy", f"{right.value:.4g}", f"{right.low:.4g}", "to",
                    f"{right.high:.4g}", "100"]  # fmt: skip


def test_what_is_no_file_of_candids_is_told_where_to_go(tmp_path):
    table = tmp_path / "theirs.csv"
    table.write_text("label,p_b\na,0.2\nb,0.7\n")
    with pytest.raises(PredictionsError, match=r"Predictions\.from_table"):
        candid.evaluate(table)
    with pytest.raises(RunError, match=r"There is no .*nothing\.csv"):
        candid.evaluate(tmp_path / "nothing.csv")


def test_frames_without_pandas_and_polars(monkeypatch):
    monkeypatch.setattr(frames, "find_spec", lambda name: None)
    assert isinstance(frames.frame_of([{"a": 1, "b": None}]), pa.Table)
    assert "&lt;b&gt;" in frames.html_of([{"<b>": 0.12345}], "c") != ""


def test_several_targets_are_possible():
    table = Table.from_arrays(["a", "b"], columns={"hat": ["x", "y"]})
    table = replace(table, further_targets=("hat",))
    assert table[np.array([1])].targets == ("label", "hat")


def test_answers_in_place_of_probabilities_have_no_loss_and_no_area():
    """`predict` in place of `predict_proba`: figures that need probabilities are undefined."""
    label, p, groups, who = people()
    answers = (p > 0.5).astype(int)
    for given in (answers, answers.astype(bool), answers.astype(float)[:, None]):
        found = candid.evaluate(label, given, person=who)
        metrics = found.splits[0].metrics
        assert metrics["accuracy"].value == np.mean(answers == np.unique(label).searchsorted(label))
        for name in ("roc_auc", "average_precision", "log_loss", "brier_score"):
            assert np.isnan(metrics[name].value), name
        assert any("answers and no probabilities" in note for note in found.notes)
    said = candid.audit(label, answers, CONFIG, groups=groups, person=who).notes
    assert any("answers and no probabilities" in note for note in said)
    assert not Predictions.from_arrays(label, p).hard
    assert not Predictions.from_arrays(label, np.stack([1 - answers, answers], axis=1)).hard


def test_a_frame_with_a_name_twice_is_refused():
    pd = pytest.importorskip("pandas")
    hats = pd.Series(["x", "y", "x"], name="hat")
    with pytest.raises(DataError, match=r"data frame cannot be read.*hat") as caught:
        Predictions.from_arrays(
            ["a", "b", "a"], [0.1, 0.6, 0.2], groups=pd.concat([hats] * 2, axis=1)
        )
    assert caught.value.todo


# --- what others hand over -----------------------------------------------------------------------


@pytest.mark.parametrize("library", [dict, pa.table, pandas, polars])
@pytest.mark.parametrize("names", [("no", "yes"), ("p_no", "p_yes"), ("yes", "no"), ("YES", "No")])
def test_columns_named_after_the_classes_stand_in_any_order(library, names):
    label, p, _, _ = people(40)
    by_class = {"no": 1 - p, "yes": p}
    given = library({name: by_class[name.lower().removeprefix("p_")] for name in names})
    found = Predictions.from_arrays(label, given)
    np.testing.assert_allclose(found.probability, np.stack([1 - p, p], axis=1))
    assert not found.hard


@pytest.mark.parametrize("library", [pa.table, pandas, polars])
def test_columns_named_after_nothing_stand_as_they_are_and_after_some_are_refused(library):
    label, p, _, _ = people(40)
    found = Predictions.from_arrays(label, library({"first": 1 - p, "second": p}))
    np.testing.assert_allclose(found.probability[:, 1], p)
    with pytest.raises(PredictionsError, match=r"'yes', 'rest'.*'no', 'yes'"):
        Predictions.from_arrays(label, library({"yes": p, "rest": 1 - p}))


@pytest.mark.parametrize("library", [list, np.array, pa.array, "pandas"])
@pytest.mark.parametrize("words", [["a", "b", "c"], [3, 5, 9], ["A", "B", "C"]])
def test_answers_by_name_are_answers(library, words):
    """As `predict` gives them, of any number of classes: nothing is taken for a probability."""
    make = pytest.importorskip("pandas").Series if library == "pandas" else library
    code = np.arange(60) % 3
    said = np.where(np.arange(60) % 5, code, (code + 1) % 3)
    labels = [w.lower() if isinstance(w, str) else w for w in words]
    found = Predictions.from_arrays([labels[i] for i in code], make([words[i] for i in said]))
    assert found.hard and found.wrong.tolist() == (said != code).tolist()
    audit = candid.audit(found, CONFIG)
    assert audit.splits[0].metrics["accuracy"].value == pytest.approx(48 / 60)
    assert np.isnan(audit.splits[0].metrics["roc_auc"].value)


def test_one_answer_alone_is_the_class_that_it_names():
    """Of the labels 1 and 2, ones are no certainty of the second."""
    for answer in (1, 2):
        found = Predictions.from_arrays([1, 2] * 10, [answer] * 20)
        assert [found.classes[i] for i in found.prediction] == [str(answer)] * 20
    none = Predictions.from_arrays(["no", "yes"] * 10, [False] * 20)
    assert none.hard and none.prediction.sum() == 0


def test_an_answer_that_is_no_class_is_refused():
    with pytest.raises(PredictionsError, match="'maybe' is none of the classes 'no', 'yes'"):
        Predictions.from_arrays(["no", "yes"], ["yes", "maybe"])


@pytest.mark.parametrize("one", [lambda x: [x], lambda x: np.array([[x]]), lambda x: pa.array([x])])
def test_one_image_is_enough(one):
    found = candid.audit(
        one("yes"), one(0.8), CONFIG, classes=["no", "yes"], groups={"a": one("b")}
    )
    assert found.splits[0].n == 1 and found.splits[0].metrics["accuracy"].value == 1
    number = candid.audit(candid.NumberAnswers.from_arrays(one(30), one(33)), CONFIG)
    assert number.splits[0].metrics["mae"].value == 3


def test_no_image_is_not_enough():
    with pytest.raises(DataError, match="There are no labels"):
        candid.audit([], [])
    with pytest.raises(PredictionsError, match=r"shape \(0,\)"):
        candid.NumberAnswers.from_arrays([], [])


@pytest.mark.filterwarnings("error")
def test_impossible_numbers_are_refused_without_a_warning():
    with pytest.raises(PredictionsError, match="of 1 of 4 images are impossible"):
        candid.audit(["a", "b"] * 2, [0.1, np.inf, 0.2, 0.9])
    with pytest.raises(PredictionsError, match=r"labels hold 1e\+300 in row 2"):
        candid.NumberAnswers.from_arrays([1, 1e300], [1, 2])


def test_a_number_is_evaluated_by_what_it_is():
    answers = candid.NumberAnswers.from_arrays([1, 2, 3], [1, 2, 4])
    assert candid.evaluate(answers).splits[0].metrics["mae"].value == pytest.approx(1 / 3)


def test_a_column_may_be_named_as_a_word(tmp_path):
    file = tmp_path / "t.csv"
    rows = (f"{'ab'[i % 2]},0.{1 + i % 8},{i % 3}\n" for i in range(60))
    file.write_text("label,p_b,place\n" + "".join(rows))
    found = candid.audit(file, CONFIG, columns=candid.Columns("label", "p_b", "place"))
    assert {g.conditions[0].attribute for g in found.splits[0].groups} == {"place"}
    assert candid.Columns("label", "p_b") == candid.Columns("label", ("p_b",))


def test_answers_alone_are_not_told_as_sure():
    """No mistake is surer than another, and no answer is the least sure."""
    label, p, groups, _ = people(400)
    said = np.where(p > 0.5, "yes", "no")
    found = candid.audit(label, said, CONFIG, groups={"hat": groups["hat"]}).splits[0]
    mistakes = [example for f in found.findings for example in f.mistakes]
    evaluated = candid.evaluate(label, said).splits[0]
    assert mistakes and evaluated.surest_mistakes and not evaluated.least_sure
    for example in (*mistakes, *evaluated.surest_mistakes):
        assert np.isnan(example.confidence) and np.isnan(example.label_probability)
        assert example.prediction != example.label
    degrees = candid.evaluate(label, p).splits[0]
    assert degrees.least_sure and degrees.surest_mistakes[0].confidence == 0.9
