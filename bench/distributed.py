"""Whether two processes train as one does, and whether a killed one is made good.

Trains on a CelebA folder through the command line, in float32 and with one thread for each process:
(a) by one process; (b) by two that torchrun started; (c) by two of which one is killed with SIGKILL
after the first checkpoint, so that torchrun starts both again. Prints the largest difference of
losses and of validation F1 from (a) over all batches, and the seconds per batch. A difference in
the fifth digit is rounding (sums in another order), which later batches amplify: as a measure
of that, (d) is (a) with another number of threads, which also sums in another order.

    python bench/distributed.py ../shared/data/celeba64 --steps 24
    python bench/distributed.py ../shared/data/celeba64 --steps 635 --recipe deep

Result of the first command on 24,152 training and 2,945 validation images (one shared core of an
AMD EPYC, on which the seconds say nothing; torch 2.13.0), largest differences from (a):

                        train_loss   validation_loss   validation_f1
    two processes         5.0e-06         1.8e-07          0
    two, one killed       5.0e-06         1.8e-07          0
    one, two threads      5.0e-06         7.5e-06          3.2e-04
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from candid.records import HistoryRow
from candid.runs import RunFolder, read_history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--recipe", default="plain")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--cache", type=Path)
    asked = parser.parse_args()
    settings = {
        "train.steps": asked.steps, "train.batch_size": asked.batch, "train.evaluations": 2,
        "train.checkpoints": 4, "train.precision": "float32", "train.device": "cpu",
        "data.workers": 1,
    }  # fmt: skip
    common = [
        *("train", str(asked.data), "--target", "Male", "--recipe", asked.recipe, "--quiet"),
        *(word for k, v in settings.items() for word in ("--set", f"{k}={v}")),
        *(("--cache", str(asked.cache)) if asked.cache else ()),
    ]
    with tempfile.TemporaryDirectory() as folder:
        alone = trained(common, Path(folder) / "alone", [])
        pair = trained(common, Path(folder) / "pair", TOGETHER)
        killed = trained(common, Path(folder) / "killed", [*TOGETHER, "--max-restarts", "3"], True)
        other = trained([*common, "--set", "train.threads=2"], Path(folder) / "threads", [])
    print(f"{asked.recipe}, {asked.steps} batches of {asked.batch}, float32")
    tell("one process", alone, alone)
    tell("two processes", pair, alone)
    tell("two, one killed", killed, alone)
    tell("one, two threads", other, alone)


TOGETHER = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def trained(
    common: list[str], out: Path, launcher: list[str], kill: bool = False
) -> list[HistoryRow]:
    """The history of a training, one of whose workers is killed where asked."""
    words = [*launcher, "-m", "candid"] if launcher else ["candid"]
    run = RunFolder(out)
    process = subprocess.Popen(
        [sys.executable, "-m", *words, *common, "--out", str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL if kill else None,
    )
    while kill and not run.checkpoint.is_file() and process.poll() is None:
        time.sleep(0.02)
    if kill:
        os.kill(worker(process.pid, rank=1), signal.SIGKILL)
    if process.wait():
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return read_history(run)


def worker(parent: int, rank: int) -> int:
    """The process that torchrun started for a rank."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    marks = {int(c): Path(f"/proc/{c}/environ").read_bytes().split(b"\0") for c in children}
    return next(child for child, words in marks.items() if f"RANK={rank}".encode() in words)


def tell(name: str, rows: list[HistoryRow], against: list[HistoryRow]) -> None:
    """One line: differences from the first, and seconds per batch."""
    gaps = {}
    for what in ("train_loss", "validation_loss", "validation_f1"):
        one, two = (np.array([getattr(r, what) for r in part]) for part in (rows, against))
        gaps[what] = np.nanmax(np.abs(one - two))
    seconds = (rows[-1].seconds - rows[0].seconds) / (len(rows) - 1)
    told = "  ".join(f"{what} {gap:.2e}" for what, gap in gaps.items())
    print(f"  {name:18} {told}  {seconds:.2f} s per batch")


if __name__ == "__main__":
    main()
