"""Lines away from a terminal, one bar on it, nothing where it is quiet."""

import os
import pty
import re
import subprocess
import sys
import types
import warnings

import pytest
import tqdm

from candid import progress as told
from candid.progress import progress, stages, track, write_line


@pytest.fixture
def lines(monkeypatch, capsys):
    """What standard error gets, and a clock that somebody else moves on."""
    now = [0.0]
    monkeypatch.setattr(told, "clock", lambda: now[0])

    def pass_time(seconds):
        now[0] += seconds

    return (lambda: capsys.readouterr().err), pass_time


def test_a_line_per_tenth_with_the_time_that_is_left(lines):
    said, pass_time = lines
    for _ in track(range(200), "train", unit="batches"):
        pass_time(3)
    shown = said().splitlines()
    assert shown[0] == "train: 200 batches"
    assert shown[1] == "train: 10% (20 of 200 batches), 0:09:00 left"
    assert shown[5] == "train: 50% (100 of 200 batches), 0:05:00 left"
    assert [line.split(":")[1].split("%")[0].strip() for line in shown[1:-1]] == [
        str(tenth) for tenth in range(10, 100, 10)
    ]
    assert shown[-1] == "train: done in 0:10:00"


def test_what_was_done_before_takes_no_time(lines):
    said, pass_time = lines
    with progress("train", 100, unit="batches", done=50) as work:
        pass_time(10)
        work.note("loss 0.5")
        work.update(10)
    assert said().splitlines()[1] == ("train: 60% (60 of 100 batches), 0:00:40 left; loss 0.5")


def test_quick_work_is_two_lines(lines):
    said, _ = lines
    list(track(range(1000), "predict", unit="pictures"))
    assert said().splitlines() == ["predict: 1,000 pictures", "predict: done in 0:00:00"]


def test_one_is_not_told_as_several(lines):
    said, _ = lines
    list(track(range(1), "near duplicates", unit="blocks"))
    list(track(range(1), "train", unit="batches"))
    assert [line for line in said().splitlines() if "done" not in line] == [
        "near duplicates: 1 block",
        "train: 1 batch",
    ]


def test_nobody_knows_how_much_there_is(lines):
    said, pass_time = lines
    with progress("predict", unit="pictures") as work:
        for _ in range(70):
            pass_time(1)
            work.update(100)
    assert said().splitlines() == [
        "predict: pictures",
        "predict: 3,000 pictures in 0:00:30",
        "predict: 6,000 pictures in 0:01:00",
        "predict: done in 0:01:10",
    ]


def test_stages_are_told_with_their_seconds_and_their_work(lines):
    said, pass_time = lines
    with stages(["explore", "train", "report"]) as job:
        job.skip("explore")
        with job.begin("train"):
            for _ in track(range(2), "train", unit="batches"):
                pass_time(30)
        with job.begin("report"), progress("drawing", 4) as work:
            pass_time(5)
            work.update(2)
    assert said().splitlines() == [
        "explore: done before",
        "train (2 of 3)",
        "train: 50% (1 of 2 batches), 0:00:30 left",
        "train: done in 0:01:00",
        "report (3 of 3)",
        "report, drawing: 50% (2 of 4), 0:00:05 left",
        "report: done in 0:00:05",
    ]


def test_quiet_is_quiet(lines):
    said, pass_time = lines
    with stages(["train"], quiet=True) as job, job.begin("train"):
        for _ in track(range(100), "train", quiet=True):
            pass_time(60)
    write_line("a line", quiet=True)
    assert said() == ""


class Closed:
    """A pipe whose other end is gone, as in `candid run ... 2>&1 | head -1`."""

    def isatty(self):
        return False

    def write(self, _):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [Closed(), None])
def test_the_work_goes_on_where_nobody_listens(monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", stream)
    assert list(track(range(3), "train")) == [0, 1, 2]


BAR = """
import time
from candid.progress import stages, track, write_line
with stages(["explore", "train", "report"]) as job:
    with job.begin("explore"):
        pass
    with job.begin("train"):
        for _ in track(range(8), "train", unit="batches"):
            time.sleep(0.15)
        for _ in track(range(2), "checks"):
            time.sleep(0.15)
        write_line("a word")
    with job.begin("report"):
        time.sleep(2.3)
"""


def test_on_a_terminal_there_is_one_bar_with_the_stages_beside_it():
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", BAR], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            shown += block
        os.close(ours)
    assert process.returncode == 0
    text = shown.decode()
    assert "\x1b[A" not in text  # never a second line of bars
    assert re.search(r"explore: done in 0:00:0\d", text)
    assert re.search(r"train +\d+%\|[^|]+\| \d/8 \[00:0\d<00:0\d, then report\]", text)
    assert re.search(r"train, checks +\d+%\|", text)
    assert text.index("explore: done") < text.index("train: done") < text.index("report: done")
    assert "report (3 of 3)" not in text
    # A stage in which nothing is counted says how long it takes, and no share of what nobody knows.
    assert re.search(r"report \[00:02\]", text) and "/?" not in text
    assert not re.search(r"report +\d+%", text)


def test_in_a_notebook_without_widgets_the_bar_is_one_of_text_and_nothing_warns(monkeypatch):
    """tqdm has a warning for notebooks without ipywidgets, and takes one that is an error."""
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    for name in ("ipykernel", "ipykernel.zmqshell"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    notebook = types.ModuleType("IPython")
    notebook.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    for name in ("auto", "autonotebook", "notebook"):  # as if nobody had asked for them before
        monkeypatch.delitem(sys.modules, f"tqdm.{name}", raising=False)
        monkeypatch.delattr(tqdm, name, raising=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with progress("train", 10, unit="batches") as work:
            work.update(5)
            assert work.bar.n == 5
    assert not said
