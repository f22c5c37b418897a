"""Whether two processes train as one does, and whether a killed one is made good.

Trains on a CelebA folder through the command line, in float32 and with one thread for each process:
(a) by one process; (b) by two that torchrun started; (c) by two of which one is killed with SIGKILL
after the first checkpoint, so that torchrun starts both again. Prints the largest difference of
losses and of validation F1 from (a) over all batches, of the last weights (and beside it the
largest weight), and the seconds per batch. A difference in the fifth digit is rounding (sums in
another order), which later batches amplify: as a measure of that, (d) is (a) with another number
of threads, which also sums in another order.

    python bench/distributed.py ../shared/data/celeba64 --steps 64 --batch 128
    python bench/distributed.py ../shared/data/celeba64 --steps 635 --recipe deep

Result of the first command on 24,152 training and 2,945 validation images (one core of an AMD
EPYC, shared with other work, so that the seconds say nothing; torch 2.13.0), largest differences
from (a):

                        train_loss   validation_loss   validation_f1   weights (largest: 0.20)
    two processes         2.1e-03         1.7e-05         1.7e-03        1.0e-02
    two, one killed       2.1e-03         1.7e-05         1.7e-03        1.0e-02
    one, two threads      2.3e-03         6.8e-05         2.0e-03        1.0e-02

So two processes are as near to one as one is to itself with two threads. Adam at a learning rate of
0.001 can take ten steps the other way where a gradient is nothing but rounding, hence the 0.01.
After 24 batches of 256 (an earlier run) they were 5.0e-06, 1.8e-07 and 0: rounding grows from
batch to batch.
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
from safetensors.numpy import load_file

from candid.records import HistoryRow
from candid.runs import Run, read_history

Trained = tuple[list[HistoryRow], dict[str, np.ndarray]]  # history, weights after the last batch


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


def trained(common: list[str], out: Path, launcher: list[str], kill: bool = False) -> Trained:
    """What comes of a training, one of whose workers is killed where asked."""
    words = [*launcher, "-m", "candid"] if launcher else ["candid"]
    run = Run(out)
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
    weights = {k: v for k, v in load_file(run.checkpoint).items() if k.startswith("network.")}
    return read_history(run), weights


def worker(parent: int, rank: int) -> int:
    """The process that torchrun started for a rank."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    marks = {int(c): Path(f"/proc/{c}/environ").read_bytes().split(b"\0") for c in children}
    return next(child for child, words in marks.items() if f"RANK={rank}".encode() in words)


def tell(name: str, found: Trained, against: Trained) -> None:
    """One line: differences from the first, and seconds per batch."""
    (rows, weights), (others, same) = found, against
    gaps = {}
    for what in ("train_loss", "validation_loss", "validation_f1"):
        one, two = (np.array([getattr(r, what) for r in part]) for part in (rows, others))
        gaps[what] = np.nanmax(np.abs(one - two))
    gaps["weights"] = max(np.abs(weights[k] - same[k]).max() for k in same)
    seconds = (rows[-1].seconds - rows[0].seconds) / (len(rows) - 1)
    told = "  ".join(f"{what} {gap:.2e}" for what, gap in gaps.items())
    largest = max(np.abs(v).max() for v in weights.values())
    print(f"  {name:18} {told} of {largest:.2f}  {seconds:.2f} s per batch")


if __name__ == "__main__":
    main()
