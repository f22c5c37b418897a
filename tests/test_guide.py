"""Every block of the guide, and of the first hour, runs: in order, in one empty folder.

A block of `candid` commands alone, or of Python, runs in this process, each with names of its own:
a process for each would spend most of its time on importing torch. Other blocks run in a shell,
`candid` being the installed command.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from commands import candid

DOCS = Path(__file__).parents[1] / "docs"


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
        exec(compile(block, f"block {block[:60]!r}", "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out
    if all(line.startswith("candid ") for line in block.splitlines()):
        return "".join(candid(capsys, *shlex.split(line)[1:]).out for line in block.splitlines())
    return in_a_shell(block)


def lacking(block: str) -> str:
    """The library that a block imports, where it is one that need not be there."""
    if "from transformers" in block and importlib.util.find_spec("transformers") is None:
        return "transformers"
    return ""


def run_page(name, tmp_path, monkeypatch, capsys) -> list[str]:
    """Run a page's blocks; the libraries that some could not be run without."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANDID_CACHE", str(tmp_path / "cache"))
    page = (DOCS / name).read_text("utf-8")
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", page, re.M | re.S)
    assert {kind for kind, _ in blocks} == {"sh", "python"}
    without = []
    for kind, block in blocks:
        if missing := lacking(block):
            without.append(missing)
        else:
            said = run(kind, block, capsys)
            assert said or block.startswith("cat > "), block
    return without


@pytest.mark.slow
def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    assert run_page("guide.md", tmp_path, monkeypatch, capsys) == []
    assert (tmp_path / "runs/first/report.html").is_file()
    assert (tmp_path / "grid.png").is_file()


@pytest.mark.slow
def test_the_first_hour_runs(tmp_path, monkeypatch, capsys):
    without = run_page("first_hour.md", tmp_path, monkeypatch, capsys)
    assert (tmp_path / "runs/second/comparison.html").is_file()
    assert (tmp_path / "my-model/config.json").is_file()
    if without:
        pytest.skip(f"all but the blocks that need {' and '.join(without)} have run")
