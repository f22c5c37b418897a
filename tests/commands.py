"""Command lines, run in the process of the tests."""

import pytest

from candid.cli import main


def call(*arguments: object) -> int:
    """Run a command line in this process; its exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return stop.value.code


def candid(capsys, *words: object, code: int = 0):
    """Run a command line that ends with this exit code and no traceback; what it said."""
    ended = call(*words)
    said = capsys.readouterr()
    assert ended == code, said.err
    assert "Traceback" not in said.err
    return said
