import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from candid.errors import PredictionsError, RunError
from candid.predictions import (
    Attribute,
    Predictions,
    read_predictions,
    write_predictions,
)
from candid.predictions.choosing import Columns
from candid.predictions.opening import open_folder
from candid.storage.files import FORMAT
from candid.tables.attributes import bin_attribute


def some(n=5):
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], n)
    return Predictions(
        target="Mood",
        classes=("a", "b", "<c>"),
        ids=np.array([f"x/{i}.jpg" for i in range(n)]),
        split=np.array(["validation"] * 2 + ["test"] * (n - 2)),
        label=np.array([0, 1, 2, -1, 1][:n], dtype=np.int16),
        probability=p,
        temperature=1.3,
        person=np.array([4, 4, -1, 7, 0][:n]),
        attributes={
            "Hat": Attribute("Hat", "binary", ("no", "yes"), np.array([0, 1, -1, 1, 0], np.int16)),
            "Race": Attribute(
                "Race", "categorical", ("r", "s"), np.array([1, 1, 0, -1, 0], np.int16)
            ),
            "Age": Attribute("Age", "numeric", (), np.array([1.5, np.nan, 3, 4, 5])),
        },
        provenance={"data": "d"},
    )


def assert_equal(one, two):
    for f in dataclasses.fields(Predictions):
        a, b = getattr(one, f.name), getattr(two, f.name)
        if f.name == "attributes":
            assert a.keys() == b.keys()
            for name in a:
                assert (a[name].kind, a[name].values) == (b[name].kind, b[name].values)
                np.testing.assert_array_equal(a[name].data, b[name].data)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b


def test_to_parquet_and_back(tmp_path):
    path = tmp_path / "p.parquet"
    write_predictions(path, some())
    assert_equal(read_predictions(path), some())


def test_others_can_read_it(tmp_path):
    path = tmp_path / "p.parquet"
    write_predictions(path, some())
    columns = pq.read_table(path).to_pydict()
    assert list(columns) == [
        "id", "split", "label", "p_a", "p_b", "p_<c>", "person", "Hat", "Race", "Age"
    ]  # fmt: skip
    assert columns["label"] == ["a", "b", "<c>", None, "b"]
    assert columns["Hat"] == ["no", "yes", None, "yes", "no"]
    assert columns["person"] == [4, 4, None, 7, 0]
    assert columns["Age"][1] is None


def test_rows_can_be_picked():
    all_rows, some_rows = some(), some()[np.array([3, 0])]
    assert some_rows.ids.tolist() == ["x/3.jpg", "x/0.jpg"]
    assert some_rows.attributes["Age"].data.tolist() == [4, 1.5]
    np.testing.assert_array_equal(some_rows.prediction, all_rows.prediction[[3, 0]])


def test_an_attribute_may_not_hide_a_column(tmp_path):
    predictions = some()
    clash = {"id": dataclasses.replace(predictions.attributes["Age"], name="id")}
    with pytest.raises(PredictionsError, match="like a column of every file"):
        write_predictions(tmp_path / "p", dataclasses.replace(predictions, attributes=clash))


@pytest.mark.parametrize("content", [None, b"", b"text"])
def test_what_is_not_predictions_is_refused(tmp_path, content):
    path = tmp_path / "p.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PredictionsError, match="Cannot read"):
        read_predictions(path)


@pytest.mark.parametrize("number", [None, 1, 99])
def test_another_format_is_refused(tmp_path, number):
    path = tmp_path / "p.parquet"
    write_predictions(path, some())
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"candid"])
    assert about.pop("format") == FORMAT
    about |= {} if number is None else {"format": number}
    pq.write_table(table.replace_schema_metadata({"candid": json.dumps(about)}), path)
    for read in (read_predictions, lambda _: open_folder(tmp_path, Columns())):
        with pytest.raises(RunError, match=f"has the format {number or 1}, which another release"):
            read(path)


@pytest.mark.parametrize(
    "change", [{"attributes": []}, {"classes": ["z"]}, {"temperature": None}, {"target": ...}]
)
def test_metadata_of_another_shape_is_refused(tmp_path, change):
    path = tmp_path / "p.parquet"
    write_predictions(path, some())
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"candid"]) | change
    about = {key: value for key, value in about.items() if value is not ...}
    pq.write_table(table.replace_schema_metadata({"candid": json.dumps(about)}), path)
    with pytest.raises(PredictionsError, match="Cannot read"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("edges", "names"),
    [
        ([45.3263, 57.1119, 63.0], ["below 45.3", "45.3 to 57.1", "57.1 to 63", "63 and above"]),
        ([0.50012, 0.50049, 0.7], ["below 0.5001", "0.5001 to 0.5005", "0.5005 to 0.7",
                                   "0.7 and above"]),
        ([1234.5, 1236.2, 98765.4], ["below 1234.5", "1234.5 to 1236.2", "1236.2 to 98765",
                                     "98765 and above"]),
        ([-0.25, 0.0, 1e-9], ["below -0.25", "-0.25 to 0", "0 to 1e-09", "1e-09 and above"]),
    ],
)  # fmt: skip
def test_bins_are_named_in_as_few_digits_as_tell_them_apart(edges, names):
    values = np.array([edges[0] - 1, *edges, edges[-1] + 0.5])  # of five, three are quartiles
    found = bin_attribute(Attribute("a", "numeric", (), values), np.arange(5))
    assert list(found.values) == names
    assert found.data.tolist() == [0, 1, 2, 3, 3]  # cut at the edges themselves
