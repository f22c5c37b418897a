"""Ctrl+C at a bad moment: while processes are only just starting; and work beside other work."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from drawn import put

from candid.data.processes import in_own_process

STARTED = "multiprocessing.spawn"


def workers_of(pid: int) -> list[int]:
    """The processes below this one that have begun to start as workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = []
    for child in children:
        try:
            if STARTED in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="Linux")
@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_interrupted_while_workers_start_it_says_one_line(tmp_path, delay):
    for i in range(300):
        put(tmp_path / "faces" / "train" / "ab"[i % 2] / f"{i}.jpg", i)
    words = ["explore", "faces", "--cache", "cache", "--quiet", "--set", "data.workers=2"]
    running = subprocess.Popen(
        [sys.executable, "-m", "candid", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        process_group=0,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not workers_of(running.pid):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(delay)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert said.strip() == "candid: interrupted; images that were packed are kept"


def test_work_beside_the_block_is_waited_for(tmp_path):
    with in_own_process(partial(Path.touch, tmp_path / "done")) as ended:
        assert ended()
        assert (tmp_path / "done").is_file()


def test_work_that_fails_beside_says_so_and_nothing_else(tmp_path, capfd):
    with in_own_process(partial(os.remove, tmp_path / "missing")) as ended:
        assert not ended()
    assert capfd.readouterr() == ("", "")


def test_the_end_of_the_block_ends_the_work_beside_it():
    began = time.monotonic()
    with pytest.raises(KeyError), in_own_process(partial(time.sleep, 600)):
        raise KeyError
    assert time.monotonic() - began < 60
    assert not multiprocessing.active_children()
