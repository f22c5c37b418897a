"""Training that torchrun started, from the outside: the docs' commands, and processes that die."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from candid.data import streaming
from candid.data.synthetic import FaceWorld, write_faces
from candid.predictions import read_predictions
from candid.runs import Run, read_history
from commands import call
from made_once import made_once
from made_shards import write_shards

DOCS = (Path(__file__).parents[1] / "docs/scale.md").read_text(encoding="utf-8")
SETTINGS = [
    "--set", "data.side=24", "--set", "train.steps=40", "--set", "train.batch_size=31",
    "--set", "train.evaluations=3", "--set", "train.checkpoints=4", "--set", "train.threads=1",
    "--set", "train.precision=float32", "--set", "train.device=cpu", "--set", "data.workers=1",
    "--set", "train.learning_rate=1e-4", "--recipe", "plain", "--set", "data.target=Face",
    "--set", "framing.steps=2",
    "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Faces, and a run that one process trained on them."""

    def make(folder: Path) -> None:
        world = FaceWorld(n=160, people=40, side=24, validation_share=0.2, test_share=0.2)
        write_faces(folder / "faces", world, workers=1, quiet=True)
        cache = ("--cache", folder / "cache")
        assert call("train", folder / "faces", "--out", folder / "alone", *cache, *SETTINGS) == 0

    return made_once(tmp_path_factory, "scale", make)


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


def killed_with_a_checkpoint(run: Run, process: subprocess.Popen, log: Path, pid=None):
    """SIGKILL for a process, or a worker of it, as soon as there is a checkpoint."""
    while not run.checkpoint.is_file():
        time.sleep(0.01)
        assert process.poll() is None, log.read_text()[-3000:]
    os.kill(process.pid if pid is None else pid(), signal.SIGKILL)
    assert not run.model_file.is_file()


def second_of(process: subprocess.Popen) -> int:
    (second,) = [pid for pid, env in workers(process.pid).items() if env["RANK"] == "1"]
    return second


def same(one: Run, two: Run) -> None:
    a, b = read_history(one), read_history(two)
    assert [r.step for r in a] == [r.step for r in b]
    for name in ("train_loss", "train_f1", "validation_loss", "validation_f1"):
        x, y = ([getattr(row, name) for row in rows] for rows in (a, b))
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
def test_a_worker_is_killed_and_the_result_is_the_same(folder):
    run = Run(folder / "killed")
    command = documented("torchrun --standalone", folder, "killed")
    process = started(command, folder / "killed.log")
    try:
        log = folder / "killed.log"
        killed_with_a_checkpoint(run, process, log, lambda: second_of(process))
        assert process.wait(timeout=240) == 0, (folder / "killed.log").read_text()[-3000:]
    finally:
        process.terminate()
        process.wait()
    log = (folder / "killed.log").read_text()
    assert "Signal 9" in log or "SIGKILL" in log or "exitcode: -9" in log
    same(run, Run(folder / "alone"))


@pytest.mark.long
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
    same(Run(folder / "hosts"), Run(folder / "alone"))


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


# --- from a stream of shards ---------------------------------------------------------------------

STREAMED = [
    *("--set", "data.stream=always", "--set", "data.stream_sample=64"),
    *("--set", "data.stream_buffer=40", "--set", "data.target=Hat"),
]


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory) -> Path:
    """Shards of 320 pictures, and a run that one process trained on a stream of them."""

    def make(_: Path) -> None:
        write_shards(folder / "shards", "tar", [90, 41, 77, 112])
        words = ("--out", folder / "streamed", *settings(folder))
        assert call("train", folder / "shards", *words) == 0

    made_once(tmp_path_factory, "streamed", make)
    return folder / "shards"


def settings(folder: Path) -> list[object]:
    return ["--cache", folder / "cache", *SETTINGS, *STREAMED]


def test_a_stream_that_was_killed_goes_on_to_the_same_bytes(folder, shards):
    """40 batches of 31 are five epochs of 240 pictures; checkpoints lie in the middle of them."""
    run, log = Run(folder / "stopped"), folder / "stopped.log"
    command = ["train", shards, "--out", run.path, *settings(folder)]
    process = started([sys.executable, "-m", "candid", *map(str, command)], log)
    killed_with_a_checkpoint(run, process, log)
    process.wait()
    assert call("train", "--resume", run.path, "--cache", folder / "cache", "--quiet") == 0
    whole = Run(folder / "streamed")
    assert run.weights.read_bytes() == whole.weights.read_bytes()
    losses = ([row.train_loss for row in read_history(r)] for r in (run, whole))
    assert next(losses) == next(losses)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
def test_two_processes_share_a_stream_and_one_is_killed(folder, shards):
    run, log = Run(folder / "shared"), folder / "shared.log"
    command = documented("torchrun --standalone", folder, "shared")
    command[command.index(str(folder / "faces"))] = str(shards)
    process = started([*command, *STREAMED], log)
    try:
        killed_with_a_checkpoint(run, process, log, lambda: second_of(process))
        assert process.wait(timeout=240) == 0, log.read_text()[-3000:]
    finally:
        process.terminate()
        process.wait()
    same(run, Run(folder / "streamed"))


def test_from_a_store_a_stream_is_that_of_the_disk_and_every_stage_works(folder, shards):
    fs = pytest.importorskip("fsspec").filesystem("memory")
    for shard in shards.iterdir():
        fs.pipe(f"/scale/{shard.name}", shard.read_bytes())
    out = folder / "far"
    quick = ["--set", "explain.images=4", "--set", "audit.draws=50", "--set", "evaluate.draws=50"]
    try:
        assert call("run", "memory://scale", "--out", out, *settings(folder), *quick) == 0
        assert call("report", out, "--quiet") == 0
    finally:
        fs.rm("/scale", recursive=True)
    run, whole = Run(out), Run(folder / "streamed")
    assert run.weights.read_bytes() == whole.weights.read_bytes()
    exploration = json.loads(run.data.read_text())
    sizes = {s["split"]: s["n"] for s in exploration["splits"]}
    assert (sizes["train"], exploration["n"]) == (240, 320)
    assert "| train | 240 |" in (run.path / "README.md").read_text()
    (told,) = [f for f in exploration["findings"] if f["code"] == "TRAINING-SAMPLED"]
    assert (told["count"], told["of"]) == (64, 240)
    predictions = read_predictions(run.predictions_file)
    assert {*predictions.split.tolist()} == {"validation", "test"}
    assert len(predictions) == 320 - 240
    assert run.report.is_file()


def test_auto_streams_what_would_not_fit_and_keeps_to_it(folder, shards, monkeypatch, capsys):
    command = ["--cache", folder / "other", *SETTINGS]
    command += ["--set", "data.target=Hat", "--set", "train.steps=2"]
    command.remove("--quiet")
    sample = ["--set", "data.stream_sample=64"]
    monkeypatch.setattr(streaming.shutil, "disk_usage", lambda _: usage(320 * 24 * 24 * 3))
    assert call("train", shards, "--out", folder / "full", *command, *sample) == 0
    said = capsys.readouterr().err
    assert "A pack of 320 pictures would take 553 kB of the 553 kB that are free" in said
    assert 'stream = "always"' in (folder / "full/config.toml").read_text()
    monkeypatch.setattr(streaming.shutil, "disk_usage", lambda _: usage(10 * 320 * 24 * 24 * 3))
    assert call("train", shards, "--out", folder / "roomy", *command, *sample) == 0
    assert "would take" not in capsys.readouterr().err
    assert 'stream = "never"' in (folder / "roomy/config.toml").read_text()
    # What is packed stays packed, however full the disk is then; and what was streamed, streamed.
    monkeypatch.setattr(streaming.shutil, "disk_usage", lambda _: usage(0))
    assert call("train", shards, "--out", folder / "again", *command, *sample) == 0
    assert 'stream = "never"' in (folder / "again/config.toml").read_text()


def usage(free: int) -> SimpleNamespace:
    return SimpleNamespace(free=free)


def test_what_cannot_be_streamed_is_told_of(folder, shards, capsys):
    always = ["--set", "data.stream=always"]
    assert call("train", folder / "faces", "--out", folder / "x", *SETTINGS, *always) == 2
    assert "do not lie in shards" in capsys.readouterr().err
    command = ["--out", folder / "y", *settings(folder), "--recipe", "features"]
    assert call("train", shards, *command) == 2
    assert "cannot be streamed" in capsys.readouterr().err
