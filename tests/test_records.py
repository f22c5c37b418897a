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


@pytest.mark.parametrize("text", ["", "{", "[]", '{"code": "X"}'])
def test_damaged_file(tmp_path, text):
    path = tmp_path / "finding.json"
    path.write_text(text)
    with pytest.raises(RunError, match="damaged or comes from another version"):
        read_record(path, Finding)
