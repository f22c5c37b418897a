import inspect
import pickle

import pytest

from candid import errors
from candid.errors import CandidError, CheckFailed, DataError, did_you_mean

KINDS = [k for _, k in inspect.getmembers(errors, inspect.isclass) if issubclass(k, CandidError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_a_process(kind):
    error = pickle.loads(pickle.dumps(kind("what", expected="expected", todo="todo", code="code")))
    assert type(error) is kind
    parts = (error.what, error.expected, error.todo, error.code)
    assert parts == ("what", "expected", "todo", "code")


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_is_drawn_in_full(kind):
    assert kind.__name__ in errors.__doc__


def test_exit_codes():
    assert {k.exit_code for k in KINDS if k is not CheckFailed} == {2}
    assert CheckFailed.exit_code == 1


def test_three_parts_are_told():
    text = str(DataError("It came.", expected="another", todo="mend it"))
    assert text.splitlines() == ["It came.", "  expected: another", "  to do:    mend it"]


def test_did_you_mean():
    assert "'Male'" in did_you_mean("male", ["Male", "Young", "Smiling"])
    assert "Smiling" in did_you_mean("Smilling", ["Male", "Young", "Smiling"])
    many = [f"w{i:02}" for i in range(40)]
    assert did_you_mean("?", many).endswith("(40 in all)")
