"""Shards labelled on a cluster of Ray beside the local engine, at the same cores, workers killed.

Pictures are packed into tar shards in a temporary folder. Each way is its own process that starts,
labels all shards into one Parquet file each, and ends; its time is that of the whole process, so
what Ray takes to start counts. Processor seconds of all processes of a job, as they were last seen,
stand beside it: a busy machine disturbs these less. On the way of Ray, processes that label are
killed (SIGKILL), each once some parts more are there. Afterwards the rows of both are compared.

    python bench/cluster.py RUN FOLDER [--images N] [--shards N] [--workers N] [--kills N]

RUN is a finished run, FOLDER holds JPEG pictures. What counts is the ratio. Asked: at most 1.5 for
30,000 pictures in 30 shards, with two workers and two kills.

Result for the default recipe's model and CelebA at 64×64, 2 cores of an AMD EPYC, Ray 2.60:

    local   92.7 s, 324 pictures/s; processor  91.2 s; first part after  3.9 s
    ray    107.8 s, 278 pictures/s; processor 103.8 s; first part after 13.7 s; 2 workers killed
    ray / local 1.16, on the processor 1.14; 30,000 rows of 30,000, equal in every value
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--shards", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=2)
    given = parser.parse_args()
    files = sorted(given.folder.rglob("*.jpg"))[: given.images]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_shards(folder / "shards", files, given.shards)
        label(
            given.run, folder, "onnx", "warm", 1, 0, given.shards
        )  # exports the model, if need be
        took = {}
        for way, engine, kills in (("local", "onnx", 0), ("ray", "ray:onnx", given.kills)):
            t = took[way] = label(
                given.run, folder, engine, way, given.workers, kills, given.shards
            )
            print(
                f"{way:6} {len(files):,} pictures, {given.shards} shards, {given.workers} workers: "
                f"{t.seconds:.1f} s, {len(files) / t.seconds:,.0f} pictures/s; processor "
                f"{t.processor:.1f} s; first part after {t.first:.1f} s; {t.killed} killed",
                flush=True,
            )
        local, ray = took["local"], took["ray"]
        print(
            f"ray / local: {ray.seconds / local.seconds:.2f}, on the processor "
            f"{ray.processor / local.processor:.2f}"
        )
        compare(folder / "local", folder / "ray", len(files))


def write_shards(folder: Path, files: list[Path], count: int) -> None:
    folder.mkdir()
    for number in range(count):
        with tarfile.open(folder / f"faces-{number:03}.tar", "w") as archive:
            for file in files[number * len(files) // count : (number + 1) * len(files) // count]:
                archive.add(file, file.name)


def label(
    run: Path, folder: Path, engine: str, way: str, workers: int, kills: int, shards: int
) -> Took:
    """Do a job, and kill some of its workers."""
    source = folder / "shards" / ("faces-000.tar" if way == "warm" else "")
    command = [
        sys.executable,
        "-m",
        "candid",
        "predict",
        str(run),
        str(source),
        "--json",
        "--quiet",
    ]
    command += ["--out", str(folder / way), "--engine", engine, "--workers", str(workers)]
    if way != "ray":
        command[command.index("--out") + 1] += "/"
    killed, first, looked = 0, float("nan"), 0.0
    spent: dict[int, float] = {}
    # Ray's workers yield to all else by default, and so would not compete as the threads do.
    niceness = {"RAY_worker_niceness": "0"}
    began = time.perf_counter()
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | niceness)
    while job.poll() is None:
        time.sleep(0.05)
        done = len(list((folder / way).glob("part-*.parquet")))
        if done and first != first:
            first = time.perf_counter() - began
        if time.perf_counter() - looked > 0.5:
            looked = time.perf_counter()
            spent |= {pid: cpu for pid, _, cpu in below(job.pid)}
        if killed < kills and done >= (killed + 1) * shards // (kills + 1):
            busy = [pid for pid, title, _ in below(job.pid) if title.startswith("ray::_label")]
            if busy:
                os.kill(busy[0], signal.SIGKILL)
                killed += 1
    seconds = time.perf_counter() - began
    said = job.stdout.read() if job.stdout is not None else ""
    if job.returncode:
        sys.exit(f"{way} ended with {job.returncode}: {said}")
    told = json.loads(said)
    if told["failed"] or told["damaged"]:
        sys.exit(f"{way} failed: {told}")
    return Took(seconds, sum(spent.values()), killed, first)


class Took(NamedTuple):
    """Seconds of a job, of all its processes on a processor, to its first part; and kills."""

    seconds: float
    processor: float
    killed: int
    first: float


def below(pid: int) -> list[tuple[int, str, float]]:
    """A process and those that it started, and so on: title, and seconds on a processor."""
    children: dict[int, list[int]] = {}
    about: dict[int, tuple[int, str, float]] = {}
    tick = os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        number = int(folder.name)
        about[number] = number, title, (int(words[11]) + int(words[12])) / tick
        children.setdefault(int(words[1]), []).append(number)
    found, waiting = [], [pid]
    while waiting:
        number = waiting.pop()
        if number in about:
            found.append(about[number])
        waiting += children.get(number, [])
    return found


def compare(local: Path, ray: Path, images: int) -> None:
    """Say whether both made the same rows, each picture once."""
    one, two = (
        {p.name: pq.read_table(p) for p in sorted(folder.glob("*.parquet"))}
        for folder in (local, ray)
    )
    same = one.keys() == two.keys() and all(one[name].equals(two[name]) for name in one)
    ids = [name for table in two.values() for name in table["id"].to_pylist()]
    print(
        f"rows: {len(ids):,} of {images:,}, {len(set(ids)):,} different ids; "
        f"{'equal in every value' if same else 'DIFFERENT'}"
    )
    if not same or len(ids) != images or len(set(ids)) != images:
        sys.exit("the rows are not the same")


if __name__ == "__main__":
    main()
