"""Command lines, run in the process of the tests."""

import pytest

from candid.cli import main


def call(*arguments: object) -> int:
    """Run a command line in this process; its exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return stop.value.code
