"""A stranger's table, in every form that we could think of: a right answer or a clear error."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import candid
from candid.errors import CandidError, PredictionsError
from candid.predictions import Attribute, Predictions, read_predictions, write_predictions
from candid.predictions.from_table import written_by_candid

pd = pytest.importorskip("pandas")


def truth(n=60, seed=0):
    """The table that the forms below all say: label, probability of Male, groups."""
    rng = np.random.default_rng(seed)
    male = rng.random(n) < 0.4
    return pd.DataFrame(
        {
            "image": [f"{i:03d}.jpg" for i in range(n)],
            "gender": np.where(male, "Male", "Female"),
            "p_Male": np.round(np.clip(rng.normal(np.where(male, 0.7, 0.3), 0.2), 0.01, 0.99), 4),
            "race": rng.choice(["a", "b", "c"], n),
            "age": rng.integers(1, 90, n),
            "person": rng.integers(0, 20, n),
        }
    )


def write(table, path, **how):
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False, **how)
    return path


def read(table, path, **how):
    how.setdefault("label", "gender")
    how.setdefault("prediction", "p_Male")
    return Predictions.from_table(write(table, path), **how)


def refused(table, path, *words, **how):
    """The error's three parts, each of which must be there."""
    with pytest.raises(CandidError) as caught:
        read(table, path, **how)
    error = caught.value
    assert error.exit_code == 2
    assert error.what and error.expected and error.todo
    for word in words:
        assert word in str(error), str(error)


@pytest.fixture
def csv(tmp_path):
    return tmp_path / "preds.csv"


def same(p, table):
    """What was read is what the table says."""
    assert p.classes == ("Female", "Male")
    assert p.ids.tolist() == table["image"].tolist()
    np.testing.assert_array_equal(p.label, (table["gender"] == "Male").astype(int))
    np.testing.assert_allclose(p.probability[:, 1], table["p_Male"], atol=1e-12)
    np.testing.assert_allclose(p.probability.sum(axis=1), 1, atol=1e-12)
    assert not p.hard


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_plain_table(tmp_path, ending):
    table = truth()
    path = tmp_path / f"preds.{ending}"
    how = {"sep": "\t"} if ending == "tsv" else {}
    p = Predictions.from_table(
        write(table, path, **how),
        label="gender",
        prediction="p_Male",
        groups=["race", "age"],
        person="person",
    )
    same(p, table)
    assert p.target == "gender"
    assert set(p.split) == {"test"} and "every row counts as test" in p.provenance["notes"]
    assert p.attributes["race"].words() == table["race"].tolist()
    assert p.attributes["age"].kind == "numeric"
    np.testing.assert_array_equal(p.attributes["age"].data, table["age"])
    np.testing.assert_array_equal(p.person, table["person"])


def test_a_table_of_a_spreadsheet(csv):
    table = truth()
    ages = np.array(["3-9", "10-19", "20-29"])[np.arange(len(table)) % 3]
    spoilt = pd.Series(ages).replace({"3-9": "03-Sep", "10-19": "Oct-19"}).to_numpy()
    csv.write_bytes(table.assign(years=spoilt).to_csv(index=False).encode("utf-16"))
    p = Predictions.from_table(
        csv, label="gender", prediction="p_Male", groups=["years"], ids="image"
    )
    same(p, table)
    assert p.attributes["years"].values == ("3-9", "10-19", "20-29")
    assert p.attributes["years"].words() == ages.tolist()
    assert "years: 03-Sep (3-9), Oct-19 (10-19) in " in p.provenance["notes"]


def test_it_can_be_kept_as_our_own_file(tmp_path, csv):
    p = read(truth(), csv, person="person")
    assert not written_by_candid(csv)
    write_predictions(tmp_path / "own.parquet", p)
    assert written_by_candid(tmp_path / "own.parquet")
    again = read_predictions(tmp_path / "own.parquet")
    np.testing.assert_array_equal(again.probability, p.probability)
    assert again.hard is p.hard is False


# --- forms of the prediction ---------------------------------------------------------------------

FORMS = {
    "the other class's probability": (lambda t: t.assign(p_Female=1 - t.p_Male), "p_Female", {}),
    "both": (lambda t: t.assign(p_Female=1 - t.p_Male), ["p_Male", "p_Female"], {}),
    "a pattern": (lambda t: t.assign(p_Female=1 - t.p_Male), "p_*", {}),
    "odd names": (
        lambda t: t.rename(columns={"p_Male": "P(Class = male) %"}),
        "P(Class = male) %",
        {},
    ),
    "a suffix": (lambda t: t.rename(columns={"p_Male": "Male.score"}), "Male.score", {}),
    "no name of a class": (
        lambda t: t.rename(columns={"p_Male": "score"}),
        "score",
        {"positive": "male"},
    ),
    "percents": (lambda t: t.assign(p_Male=100 * t.p_Male), "p_Male", {"scale": "percent"}),
    "percent signs": (
        lambda t: t.assign(p_Male=[f"{100 * x:.2f} %" for x in t.p_Male]),
        "p_Male",
        {},
    ),
    "logits": (
        lambda t: t.assign(p_Male=np.log(t.p_Male / (1 - t.p_Male))),
        "p_Male",
        {"scale": "logit"},
    ),
    "two logits": (
        lambda t: t.assign(p_Male=np.log(t.p_Male) + 7, p_Female=np.log(1 - t.p_Male) + 7),
        "p_*",
        {"scale": "logit"},
    ),
    "decimal commas": (
        lambda t: t.assign(p_Male=[str(x).replace(".", ",") for x in t.p_Male]),
        "p_Male",
        {},
    ),
    "blanks": (lambda t: t.assign(p_Male=[f"  {x} " for x in t.p_Male]), "p_Male", {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_the_prediction(csv, form):
    change, prediction, how = FORMS[form]
    same(read(change(truth()), csv, prediction=prediction, **how), truth())


@pytest.mark.parametrize("kind", ["float32", "float16", "Float64"])
def test_number_types_of_parquet(tmp_path, kind):
    table = truth()
    p = read(table.assign(p_Male=table.p_Male.astype(kind)), tmp_path / "p.parquet")
    np.testing.assert_allclose(p.probability[:, 1], table.p_Male, atol=1e-3)


@pytest.mark.parametrize(
    ("no", "yes"), [(0, 1), ("no", "yes"), (False, True), (-1, 1), ("n", "y"), (0.0, 1.0)]
)
@pytest.mark.parametrize("name", ["score", "p_Male", "prob_1", "y_hat"])
def test_a_label_of_two_values(csv, no, yes, name):
    table = truth()
    male = table.gender == "Male"
    given = table.assign(Male=np.where(male, yes, no)).drop(columns="gender")
    p = read(given.rename(columns={"p_Male": name}), csv, label="Male", prediction=name)
    assert p.classes == ("not Male", "Male")
    np.testing.assert_array_equal(p.label, male.astype(int))
    np.testing.assert_allclose(p.probability[:, 1], table.p_Male)


def test_whose_probability_it_is_must_be_clear(csv):
    """UTKFace writes 1 for female: to take 1 for what the column's name says would be a guess."""
    table = truth()
    coded = table.assign(gender=(table.gender == "Female").astype(int))
    refused(coded, csv, "p_Male", "not clear", "--positive")
    p = read(coded, csv, positive="0")
    np.testing.assert_array_equal(p.label, (table.gender == "Female").astype(int))
    np.testing.assert_allclose(p.probability[:, 0], table.p_Male)
    refused(table.rename(columns={"p_Male": "score"}), csv, "score", prediction="score")
    refused(table, csv, "'Mail'", "'Male'", positive="Mail")
    refused(table.assign(p_Female=1 - table.p_Male), csv, prediction="p_*", positive="Male")


def test_two_columns_for_a_label_of_0_and_1(csv):
    table = truth()
    given = table.assign(Male=(table.gender == "Male") + 0, p_Female=1 - table.p_Male)
    p = read(given, csv, label="Male", prediction=["p_Female", "p_Male"])
    assert p.classes == ("not Male", "Male")
    np.testing.assert_allclose(p.probability[:, 1], table.p_Male, atol=1e-12)


def three(n=50):
    rng = np.random.default_rng(1)
    p = rng.dirichlet([1, 1, 1], n)
    mood = rng.choice(["calm", "glad", "very sad"], n)
    return pd.DataFrame({"mood": mood, "p_calm": p[:, 0], "p_very_sad": p[:, 1], "p_glad": p[:, 2]})


def test_three_classes(csv):
    table = three()
    p = read(table, csv, label="mood", prediction="p_*")
    assert p.classes == ("calm", "glad", "very sad")
    np.testing.assert_allclose(p.probability, table[["p_calm", "p_glad", "p_very_sad"]], atol=1e-12)
    assert [p.classes[i] for i in p.label] == table.mood.tolist()
    assert p.ids[0] == "row 1" and "rows are numbered" in p.provenance["notes"]


def test_rounded_probabilities_are_normalised(csv):
    table = three().round(2)
    p = read(table, csv, label="mood", prediction="p_*")
    np.testing.assert_allclose(p.probability.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "columns", "words"),
    [
        ({}, "p_calm", ["3 classes", "p_*"]),
        ({}, ["p_calm", "p_glad"], ["no probability for 'very sad'"]),
        ({"p_glad": 0.9}, "p_*", ["do not sum to 1", "row 1"]),
        ({"p_glad": -4.2}, "p_*", ["p_glad", "outside 0 to 1", "logits", "--scale logit"]),
        ({"p_glad": np.inf}, "p_*", ["p_glad", "infinite in 50 rows"]),
        ({"p_Calm": 0.1}, ["p_calm", "p_Calm", "p_glad"], ["very sad"]),
    ],
)
def test_three_classes_refused(csv, change, columns, words):
    refused(three().assign(**change), csv, *words, label="mood", prediction=columns)


def test_an_absent_class_and_an_unseen_one(csv):
    table = three()
    table = table[table.mood != "glad"]
    p = read(table, csv, label="mood", prediction="p_*")
    assert p.classes == ("calm", "glad", "very sad")
    assert not (p.label == 1).any()
    hard = pd.DataFrame({"gender": ["Male", "Female", "Male"], "said": ["Male", "Alien", "Female"]})
    p = read(hard, csv, prediction="said")
    assert p.classes == ("Alien", "Female", "Male")
    assert [p.classes[i] for i in p.prediction] == hard.said.tolist()


@pytest.mark.parametrize("column", ["p_Male", "p_Female"])
def test_only_one_class_in_the_label(csv, column):
    table = truth().assign(gender="Male")
    table["p_Female"] = 1 - table.p_Male
    if column == "p_Female":
        refused(table, csv, "not clear", prediction=column)
        p = read(table, csv, prediction=column, positive="Female")
        assert p.classes == ("Female", "Male")
    else:
        p = read(table, csv, prediction=column)
        assert p.classes == ("Male", "not Male")
    male = p.classes.index("Male")
    assert (p.label == male).all()
    np.testing.assert_allclose(p.probability[:, male], table.p_Male, atol=1e-12)


# --- answers without probabilities ---------------------------------------------------------------

HARD = {
    "words": (lambda t, said: (t, np.where(said, "Male", "Female")), {}),
    "another case": (lambda t, said: (t, np.where(said, "MALE", "female")), {}),
    "0 and 1 for words": (lambda t, said: (t, said + 0), {"positive": "Male"}),
    "0 and 1": (lambda t, said: (t.assign(gender=(t.gender == "Male") + 0), said + 0), {}),
    "yes for 1": (
        lambda t, said: (t.assign(gender=(t.gender == "Male") + 0), np.where(said, "yes", "no")),
        {},
    ),
    "−1 and 1": (
        lambda t, said: (t.assign(gender=2 * (t.gender == "Male") - 1), 2 * said - 1),
        {},
    ),
    "codes": (lambda t, said: (t.assign(gender=(t.gender == "Male") + 7), said + 7), {}),
    "codes as decimals": (
        lambda t, said: (t.assign(gender=(t.gender == "Male") + 7.0), said + 7.0),
        {},
    ),
}


@pytest.mark.parametrize("form", HARD)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_answers(tmp_path, form, ending):
    table = truth()
    change, how = HARD[form]
    right = (table.p_Male > 0.5).to_numpy()
    changed, said = change(table, right)
    p = read(changed.assign(said=said), tmp_path / f"p.{ending}", prediction="said", **how)
    assert p.hard and "undefined" in p.provenance["notes"]
    np.testing.assert_array_equal(p.prediction, right)
    np.testing.assert_array_equal(p.label, table.gender == "Male")
    assert set(np.unique(p.probability)) == {0.0, 1.0}
    again = tmp_path / "own.parquet"
    write_predictions(again, p)
    assert read_predictions(again).hard


def test_answers_in_other_words_are_refused(csv):
    said = {"said": ["M", "F"] * 30}
    refused(truth().assign(**said), csv, "'F', 'M'", "'Female', 'Male'", prediction="said")
    table = truth()
    coded = table.assign(gender=(table.gender == "Male") + 0, said=[0, 1, 2] * 20)
    refused(coded, csv, "said", prediction="said")
    refused(table.assign(said=[0, 1] * 30), csv, "--positive", prediction="said")


# --- missing, impossible and mixed ---------------------------------------------------------------


def test_missing_values_are_counted_not_filled(csv):
    table = truth().astype({"p_Male": object, "gender": object, "race": object, "person": object})
    table.loc[[3, 5], "p_Male"] = ["NA", np.nan]
    table.loc[[7, 8, 9], "gender"] = ["", "n/a", np.nan]
    table.loc[0, "race"] = np.nan
    table.loc[1, "person"] = np.nan
    p = read(table, csv, groups=["race"], person="person")
    assert len(p) == 58 and "003.jpg" not in p.ids
    assert (p.label < 0).sum() == 3 and np.isfinite(p.probability).all()
    notes = p.provenance["notes"]
    assert "2 of 60 rows have no prediction" in notes
    assert "no label" not in notes  # an audit and an evaluation count them
    assert p.attributes["race"].data[0] == -1 and p.person[1] == -1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({3: 1.7}, ["outside 0 to 1 in 1 of 60", "1.7 in row 4"]),
        ({3: -0.2}, ["outside 0 to 1", "-0.2 in row 4"]),
        ({3: "inf"}, ["infinite in 1 rows", "row 4"]),
        ({3: "-Infinity"}, ["infinite"]),
        ({3: "high"}, ["'high' in row 4", "no number"]),
        ({3: "93%"}, ["'93%' in row 4"]),
        ({3: "1_0"}, ["'1_0' in row 4"]),
        (dict.fromkeys(range(60), ""), ["empty in every row"]),
        (dict.fromkeys(range(60), "cat"), ["'cat'", "'Female', 'Male'"]),
    ],
)
def test_impossible_cells(csv, values, words):
    table = truth().astype({"p_Male": object})
    for row, value in values.items():
        table.loc[row, "p_Male"] = value
    refused(table, csv, *words)


def test_scales_by_mistake(csv):
    table = truth()
    logit = np.log(table.p_Male / (1 - table.p_Male))
    refused(table.assign(p_Male=logit), csv, "look like logits", "--scale logit")
    refused(table.assign(p_Male=100 * table.p_Male), csv, "look like percents", "--scale percent")
    refused(table.assign(p_Male=1000 * table.p_Male), csv, "outside 0 to 1", scale="percent")


def test_extreme_logits(csv):
    table = truth(4).assign(p_Male=[-1e308, 1e308, 0, 800])
    p = read(table, csv, scale="logit")
    np.testing.assert_array_equal(p.probability[:, 1].round(12), [0, 1, 0.5, 1])


def test_what_is_possible_and_hardly_meant(csv):
    table = truth(400)
    plain = read(table, csv).provenance["notes"]
    assert "other class" not in plain and "confidence in" not in plain
    assert "the probability of 'Male'" in plain
    wrong = read(table.assign(p_Male=1 - table.p_Male), csv).provenance["notes"]
    assert "it may be the probability of the other class" in wrong
    sure = table.assign(p_Male=np.maximum(table.p_Male, 1 - table.p_Male).clip(0.5))
    assert "confidence in the answer" in read(sure, csv).provenance["notes"]


def test_labels_that_are_none(csv):
    table = truth()
    refused(table.assign(gender=""), csv, "'gender' is empty in every row")
    refused(table.assign(gender=np.linspace(0, 1, 60)), csv, "holds numbers", "--label")
    refused(truth(300).assign(gender=[f"w{i}" for i in range(300)]), csv, "300 different values")
    table.loc[table.index[:30], "gender"] = np.nan
    table.loc[table.index[30:], "p_Male"] = np.nan
    refused(table, csv, "No row has both a label in 'gender' and a prediction in p_Male")


def test_a_single_row(csv):
    p = read(truth(1), csv, positive="Male")
    assert len(p) == 1 and p.probability.shape == (1, 2)


def test_duplicate_ids(csv):
    table = truth()
    twice = pd.concat([table, table.iloc[[4, 4, 9]]])
    p = read(twice, csv)
    same(p, table)
    assert "3 rows repeat another one" in p.provenance["notes"]
    empty = twice.assign(age=twice.age.where(twice.image != "004.jpg"))  # nothing equals nothing
    same(read(empty, csv), table)
    twice.iloc[-1, twice.columns.get_loc("p_Male")] = 0.123
    refused(twice, csv, "'009.jpg' stands in rows 10 and 63", "different contents")
    p = read(twice.assign(key=range(63)), csv, ids="key")
    assert len(p) == 63
    table = table.astype({"image": object})
    table.loc[[0, 1], "image"] = np.nan
    assert read(table, csv).ids[:3].tolist() == ["row 1", "row 2", "002.jpg"]


# --- files and columns ---------------------------------------------------------------------------


def test_names_that_do_not_exist(csv, tmp_path):
    table = truth()
    refused(table, csv, "no column called 'gendre'", "'gender'", label="gendre")
    refused(table, csv, "'p_male'", "'p_Male'", prediction="p_male")
    refused(table, csv, "'rase'", "'race'", groups=["rase"])
    refused(table, csv, "'who'", person="who")
    refused(table, csv, "No column", "'q_*'", prediction="q_*")
    refused(table, csv, "named as the label and as the prediction", prediction="gender")
    refused(table, csv, prediction=[])
    free = table.assign(note=[f"seen {i}" for i in range(60)])
    refused(free, csv, "'note' cannot be a group", groups=["note"])
    for path in (tmp_path / "absent.csv", tmp_path, tmp_path / "p.xlsx"):
        if path.suffix == ".xlsx":
            path.write_bytes(b"PK")
        with pytest.raises(CandidError):
            Predictions.from_table(path, label="gender", prediction="p_Male")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"gender,p_Male\n",
        b"gender,gender,p_Male\nMale,Male,0.3\n",
        b"gender,p_Male\nMale,0.3\nFemale\n",
        "gender,p_Male\nMâle,0.3\n".encode("latin-1"),
        "gender,p_Male\nMale,0.3\n".encode("utf-16-le"),
        b"\x00\x01\x02",
    ],
)
def test_broken_files(csv, content):
    csv.write_bytes(content)
    with pytest.raises(CandidError) as caught:
        Predictions.from_table(csv, label="gender", prediction="p_Male")
    assert caught.value.expected and caught.value.todo


def test_forms_of_the_file(csv):
    table = truth()
    text = table.to_csv(index=False)
    for form in (
        b"\xef\xbb\xbf" + text.encode(),
        text.replace("\n", "\r\n").encode(),
        text.replace(",", ";").encode(),
        text.replace(",", "|").encode(),
        table.to_csv(index=False, quoting=1).encode(),
        table.rename(columns={"gender": " gender "}).to_csv(index=False).encode(),
        table.to_csv().encode(),  # with pandas' index
    ):
        csv.write_bytes(form)
        p = Predictions.from_table(csv, label="gender", prediction="p_Male")
        same(p, table)
        assert list(p.attributes) == ["race", "age"]
        np.testing.assert_array_equal(p.person, table["person"])  # a usual name


def test_no_group_named_takes_every_column_that_can_be_one(csv):
    table = truth().assign(p_Female=0.2, note=[f"seen {i}" for i in range(60)], identity=1)
    p = read(table, csv)
    assert list(p.attributes) == ["race", "age", "person"]  # identity is the more usual name
    assert "no groups: p_Female, note" in p.provenance["notes"]
    assert p.person is not None


def test_splits(csv):
    table = truth().assign(split=["val", "TEST", "train"] * 20)
    p = read(table, csv)
    assert p.split[:3].tolist() == ["validation", "test", "train"]
    assert "split" not in p.attributes
    refused(table.assign(part=["a"] * 60), csv, "'a' in row 1", split="part")
    odd = read(table.assign(split=["a", "b"] * 30), csv)  # sounds like a split and is none
    assert set(odd.split) == {"test"} and odd.attributes["split"].values == ("a", "b")
    table.loc[4, "split"] = np.nan
    refused(table, csv, "empty in 1 rows", "row 5", split="split")


@pytest.mark.slow
def test_a_million_rows(tmp_path):
    rng = np.random.default_rng(0)
    n = 1_000_000
    table = pa.table(
        {
            "image": np.char.add(np.arange(n).astype(str), ".jpg"),
            "gender": rng.choice(["Male", "Female"], n),
            "p_Male": rng.random(n),
            "race": rng.choice(["a", "b", "c"], n),
            "person": rng.integers(0, 100_000, n),
        }
    )
    path = tmp_path / "p.csv"
    pacsv.write_csv(table, path)
    began = time.process_time()
    p = Predictions.from_table(path, label="gender", prediction="p_Male", person="person")
    assert time.process_time() - began < 60
    np.testing.assert_allclose(p.probability[:, 1], table["p_Male"], atol=1e-12)


# --- our own file, with impossible values --------------------------------------------------------


def own(n=6, **change):
    p = np.linspace(0.1, 0.9, n)
    values = {
        "target": "Male",
        "classes": ("Female", "Male"),
        "ids": np.array([f"{i}.jpg" for i in range(n)]),
        "split": np.array(["test"] * n),
        "label": (p > 0.5).astype(np.int16),
        "probability": np.stack([1 - p, p], axis=1),
        "attributes": {"Hat": Attribute("Hat", "binary", ("no", "yes"), np.zeros(n, np.int16))},
    }
    return Predictions(**(values | change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probability": np.array([[0.5, 0.5]] * 5 + [[np.nan, 0.5]])}, ["1 of 6", "5.jpg"]),
        ({"probability": np.array([[0.5, 0.5]] * 5 + [[0.7, 0.5]])}, ["sum to 1", "5.jpg"]),
        ({"probability": np.array([[0.5, 0.5]] * 5 + [[1.5, -0.5]])}, ["0 to 1", "5.jpg"]),
        ({"ids": np.array(["a", "b", "c", "b", "e", "a"])}, ["2 ids", "'a'"]),
        ({"split": np.array(["test"] * 5 + ["holdout"])}, ["'holdout'", "validation"]),
        ({"temperature": 0.0}, ["temperature"]),
        ({"temperature": float("nan")}, ["temperature"]),
        ({"classes": ("Male", "Male")}, ["'Male'"]),
    ],
)
def test_impossible_values_in_our_own_file(tmp_path, change, words):
    path = tmp_path / "p.parquet"
    write_predictions(path, own(**change))
    with pytest.raises(PredictionsError) as caught:
        read_predictions(path)
    error = caught.value
    assert error.expected and error.todo
    for word in words:
        assert word in error.what + error.expected, str(error)


def test_possible_values_in_our_own_file(tmp_path):
    write_predictions(tmp_path / "p.parquet", own())
    assert len(read_predictions(tmp_path / "p.parquet")) == 6
    write_predictions(tmp_path / "none.parquet", own()[np.zeros(6, bool)])
    assert len(read_predictions(tmp_path / "none.parquet")) == 0


@pytest.mark.parametrize("form", ["p", "answer"])
def test_a_label_that_is_the_models_own_answer_is_refused(csv, form):
    """In each of 100 rows; in 99 it may be chance, and one mistake is enough."""
    p = np.random.default_rng(0).uniform(size=100)
    said = np.where(p > 0.5, "Male", "Female")
    table = pd.DataFrame({"label": said, "p_Male": p, "answer": said})
    how = {"label": "label", "prediction": "p_Male" if form == "p" else "answer"}
    refused(table, csv, "in each of 100 rows", "model's own answer", "--label", **how)
    assert len(read(table[:99], csv, **how)) == 99
    table.loc[0, "label"] = "Female" if said[0] == "Male" else "Male"
    assert len(read(table, csv, **how)) == 100


def test_json_lines_say_what_the_csv_says(tmp_path):
    table = truth()
    plain = read(table, tmp_path / "t.csv", groups=["race", "age"])
    lines = tmp_path / "t.jsonl"
    table.to_json(lines, orient="records", lines=True)
    found = Predictions.from_table(
        lines, label="gender", prediction="p_Male", groups=["race", "age"]
    )
    np.testing.assert_array_equal(found.probability, plain.probability)
    assert found.ids.tolist() == plain.ids.tolist() and found.classes == plain.classes
    assert found.attributes["race"].words() == plain.attributes["race"].words()


def test_words_as_views_are_words(tmp_path):
    table = truth()
    views = pa.Table.from_pandas(table, preserve_index=False)
    for name in ("image", "gender", "race"):
        column = views[name].cast(pa.string()).cast(pa.string_view())
        views = views.set_column(views.column_names.index(name), name, column)
    pq.write_table(views, tmp_path / "views.parquet")
    found = Predictions.from_table(
        tmp_path / "views.parquet", label="gender", prediction="p_Male", groups=["race"]
    )
    plain = read(table, tmp_path / "t.csv", groups=["race"])
    np.testing.assert_array_equal(found.label, plain.label)
    assert found.ids.tolist() == plain.ids.tolist()
    assert found.attributes["race"].words() == plain.attributes["race"].words()


@pytest.mark.parametrize("role", ["label", "prediction", "person", "ids", "split"])
def test_a_column_of_lists_is_refused_by_its_name(role):
    table = truth(6).to_dict("list") | {"both": [[0.1, 0.9]] * 6}
    how = {"label": "gender", "prediction": "p_Male"} | {role: "both"}
    with pytest.raises(PredictionsError, match=r"(?s)'both' holds list<.*word or a number"):
        Predictions.from_table(pa.table(table), **how)


def test_what_was_learned_from_is_not_audited_for_another_word(tmp_path):
    """A split of train and "holdout" is none that counts as test."""
    table = truth()
    table["split"] = np.where(np.arange(60) % 2, "train", "holdout")
    refused(table, tmp_path / "t.csv", "'holdout'", "train, validation or test")
    table["split"] = np.where(np.arange(60) % 2, "celeba", "utkface")
    assert "split" in read(table, tmp_path / "t.csv").attributes


def test_classes_that_differ_in_case_alone_are_refused(tmp_path):
    table = truth()
    table["gender"] = np.where(np.arange(60) % 5, table["gender"], table["gender"].str.lower())
    refused(table, tmp_path / "t.csv", "'Female' and 'female'", "case")
    table["p_Male"] = np.where(table["p_Male"] > 0.5, "Male", "Female")
    refused(table, tmp_path / "t.csv", "'Female' and 'female'")
    letters = truth().assign(gender=np.where(truth()["gender"] == "Male", "a", "A"))
    assert read(letters, tmp_path / "t.csv", positive="a").classes == ("A", "a")


def test_another_encoding_is_read_where_it_is_said(tmp_path):
    table = truth().rename(columns={"race": "Größe"})
    write(table, tmp_path / "t.csv", encoding="cp1252")
    named = candid.Columns("gender", "p_Male", "Größe")
    with pytest.raises(CandidError, match="not UTF-8 text"):
        candid.audit(tmp_path / "t.csv", columns=named)
    quick = ["audit.draws=60", "audit.more=false", "data.encoding=cp1252"]
    config = candid.load_config(overrides=quick)
    found = candid.audit(tmp_path / "t.csv", config, columns=named)
    assert found.splits[0].groups[0].conditions[0].attribute == "Größe"
    quick.pop()
    said = candid.Columns("gender", "p_Male", "Größe", encoding="cp1252")
    found = candid.audit(tmp_path / "t.csv", candid.load_config(overrides=quick), columns=said)
    assert found.splits[0].n == 60
    assert not candid.Columns(encoding="cp1252").named()


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        ([0, 1], ("0", "1")),
        ([-1, 1], ("-1", "1")),
        (["No", "Yes"], ("No", "Yes")),
        ([False, True], ("False", "True")),
        (["f", "t"], ("f", "t")),
    ],
)
def test_a_label_called_label_keeps_the_words_that_it_holds(cells, classes, tmp_path):
    """As arrays do; "labelled not label" would tell nobody anything."""
    table = truth()
    table["y_true"] = [cells[g == "Male"] for g in table["gender"]]
    found = read(table, tmp_path / "t.parquet", label="y_true", positive=str(cells[1]))
    assert found.classes == classes
    assert (found.label == (table["gender"] == "Male")).all()
    np.testing.assert_array_equal(found.probability[:, 1], table["p_Male"])
    alone = table.assign(said=[cells[p > 0.5] for p in table["p_Male"]])
    hard = read(alone, tmp_path / "t.parquet", label="y_true", prediction="said")
    assert hard.classes == classes
    assert hard.prediction.tolist() == (table["p_Male"] > 0.5).astype(int).tolist()
    named = read(table.rename(columns={"y_true": "Bald"}), tmp_path / "t.parquet", label="Bald",
                 positive="1")  # fmt: skip
    assert named.classes == ("not Bald", "Bald")


def test_a_label_with_one_of_two_words_knows_the_other(tmp_path):
    table = truth().assign(label=1)
    assert read(table, tmp_path / "t.csv", label="label", positive="1").classes == ("0", "1")


def test_classes_that_are_counted_from_another_number_are_remarked_upon(tmp_path):
    rng = np.random.default_rng(0)
    label = rng.integers(1, 5, 200)
    said = np.where(rng.random(200) < 0.8, label, rng.integers(1, 5, 200))
    table = pd.DataFrame({"label": label, "said": said, "less": said - 1, "more": said + 1})
    how = {"label": "label", "groups": ["said"]}
    right, less, more = (
        read(table, tmp_path / "t.csv", prediction=name, **how).provenance["notes"]
        for name in ("said", "less", "more")
    )
    agree = f"{(said == label).mean():.0%} where"
    assert "another number" not in right
    assert f"{agree} one is added" in less and f"{agree} one is taken away" in more


def test_classes_are_told_in_their_natural_order(tmp_path):
    table = truth().assign(gender=np.arange(60) % 12)
    refused(table, tmp_path / "t.csv", "12 classes: '0', '1', '2', '3', …")
