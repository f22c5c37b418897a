import dataclasses
import json
import math

import pytest

from candid.errors import RunError
from candid.records import (
    Convergence,
    Estimate,
    Evaluation,
    Finding,
    read_record,
    to_plain,
    write_record,
)
from candid.records.metrics import METRICS, worse_when
from candid.storage.files import FORMAT

ESTIMATE = Estimate(0.5, 0.4, math.nan, 10, "Wilson", people=None)


def test_to_json_and_back(tmp_path):
    record = Evaluation(
        "Male", ("a", "b"), 1.5, (), Convergence("settled", "s", "r", {"x": math.nan}), ("note",)
    )
    path = tmp_path / "evaluation.json"
    write_record(path, record)
    back = read_record(path, Evaluation)
    assert math.isnan(back.convergence.figures["x"])
    assert dataclasses.replace(back, convergence=None) == dataclasses.replace(
        record, convergence=None
    )


def test_undefined_is_null_in_json():
    plain = to_plain(ESTIMATE)
    assert plain["high"] is None
    assert plain["value"] == 0.5
    json.dumps(plain, allow_nan=False)
    assert to_plain(dataclasses.replace(ESTIMATE, high=math.inf))["high"] is None


def test_missing_file_says_which_stage(tmp_path):
    with pytest.raises(RunError, match=r"no evaluation\.json"):
        read_record(tmp_path / "evaluation.json", Evaluation)


@pytest.mark.parametrize("text", ["", "{", "[]", f'{{"format": {FORMAT}, "code": "X"}}'])
def test_damaged_file(tmp_path, text):
    path = tmp_path / "finding.json"
    path.write_text(text)
    with pytest.raises(RunError, match="damaged or comes from another version"):
        read_record(path, Finding)


def test_every_metric_knows_which_way_is_worse():
    assert [worse_when(n) for n in ("accuracy", "error:Male", "error:a:b", "confidence")] == [
        -1,
        1,
        1,
        0,
    ]
    for name, metric in METRICS.items():
        assert worse_when(name) == (1 if "error" in name or metric.better < 0 else -metric.better)
    with pytest.raises(KeyError):
        worse_when("acuracy")
