"""Every block of the guide runs, in order, in one empty folder.

A block of `candid` commands alone, or of Python, runs in this process, each with names of its own:
a process for each would spend most of its time on importing torch. Other blocks run in a shell,
`candid` being the installed command.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from commands import candid

GUIDE = Path(__file__).parents[1] / "docs" / "guide.md"


def in_a_shell(block: str) -> str:
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", block],
        env=os.environ | {"PATH": place},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run(kind: str, block: str, capsys) -> str:
    """What the block prints."""
    if kind == "python":
        exec(compile(block, f"{GUIDE.name}: {block[:60]!r}", "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out
    if all(line.startswith("candid ") for line in block.splitlines()):
        return "".join(candid(capsys, *shlex.split(line)[1:]).out for line in block.splitlines())
    return in_a_shell(block)


@pytest.mark.slow
def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANDID_CACHE", str(tmp_path / "cache"))
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", GUIDE.read_text("utf-8"), re.M | re.S)
    assert {kind for kind, _ in blocks} == {"sh", "python"}
    for kind, block in blocks:
        assert run(kind, block, capsys), block
    assert (tmp_path / "runs/first/report.html").is_file()
    assert (tmp_path / "grid.png").is_file()
