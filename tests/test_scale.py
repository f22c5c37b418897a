"""Training that torchrun started, from the outside: the docs' commands, and processes that die."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from candid.data.synthetic import FaceWorld, write_faces
from candid.runs import RunFolder, read_history
from commands import call

DOCS = (Path(__file__).parents[1] / "docs/scale.md").read_text(encoding="utf-8")
SETTINGS = [
    "--set", "data.side=24", "--set", "train.steps=40", "--set", "train.batch_size=31",
    "--set", "train.evaluations=3", "--set", "train.checkpoints=4", "--set", "train.threads=1",
    "--set", "train.precision=float32", "--set", "train.device=cpu", "--set", "data.workers=1",
    "--set", "train.learning_rate=1e-4", "--recipe", "plain", "--target", "Face", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Faces, and a run that one process trained on them."""
    folder = tmp_path_factory.mktemp("scale")
    world = FaceWorld(n=160, people=40, side=24, validation_share=0.2, test_share=0.2)
    write_faces(folder / "faces", world, workers=1, quiet=True)
    cache = ("--cache", folder / "cache")
    assert call("train", folder / "faces", "--out", folder / "alone", *cache, *SETTINGS) == 0
    return folder


def documented(start: str, folder: Path, out: str, **changed: str) -> list[str]:
    """The command in the docs that starts so, for the faces of the test and its processor."""
    (found,) = [
        block
        for block in re.findall(r"^```sh\n(torchrun .*?)```", DOCS, re.MULTILINE | re.DOTALL)
        if block.startswith(start)
    ]
    words = shlex.split(found.replace("\\\n", " "))  # as a shell joins lines
    assert words[words.index("-m") :] == [
        *("-m", "candid", "train", "/data/celeba", "--out", "runs/big")
    ]
    replaced = {"/data/celeba": str(folder / "faces"), "runs/big": str(folder / out)} | changed
    assert all(words.count(word) == 1 for word in replaced)
    words = [replaced.get(word, word) for word in words]
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    return [*torchrun, *words[1:], "--cache", str(folder / "cache"), *SETTINGS]


def started(command: list[str], log: Path) -> subprocess.Popen:
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


def workers(parent: int) -> dict[int, dict[str, str]]:
    """Processes that torchrun started, by id, with their environments."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ppid = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if ppid == parent:
                pairs = (path / "environ").read_bytes().decode().split("\0")
                found[int(path.name)] = dict(p.split("=", 1) for p in pairs if "=" in p)
        except OSError:  # it has ended
            continue
    return {pid: env for pid, env in found.items() if "RANK" in env}


def same(one: RunFolder, two: RunFolder) -> None:
    a, b = read_history(one), read_history(two)
    assert [r.step for r in a] == [r.step for r in b]
    for name in ("train_loss", "train_f1", "validation_loss", "validation_f1"):
        x, y = ([getattr(row, name) for row in rows] for rows in (a, b))
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
def test_a_worker_is_killed_and_the_result_is_the_same(folder):
    run = RunFolder(folder / "killed")
    command = documented("torchrun --standalone", folder, "killed")
    process = started(command, folder / "killed.log")
    try:
        while not run.checkpoint.is_file():
            time.sleep(0.02)
            assert process.poll() is None, (folder / "killed.log").read_text()[-3000:]
        (victim,) = [pid for pid, env in workers(process.pid).items() if env["RANK"] == "1"]
        os.kill(victim, signal.SIGKILL)
        assert not run.model.is_file()
        assert process.wait(timeout=240) == 0, (folder / "killed.log").read_text()[-3000:]
    finally:
        process.terminate()
        process.wait()
    log = (folder / "killed.log").read_text()
    assert "Signal 9" in log or "SIGKILL" in log or "exitcode: -9" in log
    same(run, RunFolder(folder / "alone"))


def test_two_hosts_as_the_docs_say(folder):
    """Two torchrun that meet by address and port, as on two machines: the same command for each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    command = documented(
        "torchrun --nnodes 2", folder, "hosts", **{"host-a:29500": endpoint, "8": "1"}
    )
    hosts = [started(command, folder / f"host-{i}.log") for i in range(2)]
    try:
        for i, host in enumerate(hosts):
            assert host.wait(timeout=240) == 0, (folder / f"host-{i}.log").read_text()[-3000:]
    finally:
        for host in hosts:
            host.terminate()
            host.wait()
    same(RunFolder(folder / "hosts"), RunFolder(folder / "alone"))


def test_one_process_tells_what_is_wrong(folder):
    command = documented("torchrun --standalone", folder, "alone")
    command[command.index("--max-restarts") + 1] = "0"
    changed = [*command, "--set", "train.learning_rate=1"]
    done = subprocess.run(changed, capture_output=True, text=True, timeout=240)
    assert done.returncode
    assert done.stderr.count("alone holds a run with other settings: train.learning_rate") == 1
    assert done.stderr.count("exitcode: 2") >= 1


def test_without_a_folder_a_restart_would_begin_anew(folder, monkeypatch, capsys):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "a"}.items():
        monkeypatch.setenv(name, value)
    assert call("train", folder / "faces", *SETTINGS) == 2
    assert "With torchrun, name the run's folder" in capsys.readouterr().err
