"""Whether a search of twenty short trials improves the plain recipe, killed half-way and shared.

Runs `candid tune` on a CelebA folder with the plain recipe, shortened, as a user would. In the
middle of a trial the process is killed with SIGKILL; then two processes finish the study together.
Prints how many settings were tried and whether one was tried twice, what the killed process was
at, and validation F1 of the start and of the winner over fresh seeds.

    python bench/tune.py ../shared/data/celeba64 --out runs/bench-tune
    python bench/tune.py ../shared/data/celeba64 --out runs/bench-tune --steps 6 --trials 6
"""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from candid.records import read_record
from candid.records.tuning import Tuning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    asked = parser.parse_args()
    settings = [f"train.steps={asked.steps}", "train.evaluations=5", *asked.overrides]
    command = [
        *(sys.executable, "-m", "candid", "tune", str(asked.data), "--target", "Male"),
        *("--recipe", "plain", "--out", str(asked.out), "--trials", str(asked.trials), "--quiet"),
        *(word for setting in settings for word in ("--set", setting)),
        *(("--cache", str(asked.cache)) if asked.cache else ()),
    ]
    began = time.monotonic()
    at = kill_half_way(command, asked.out / "study.db", asked.trials)
    pair = [subprocess.Popen(command) for _ in range(2)]
    for process in pair:
        if process.wait():
            raise SystemExit(f"candid tune ended with {process.returncode}")
    tell(asked.out, at, time.monotonic() - began)


def kill_half_way(command: list[str], study: Path, trials: int) -> int | None:
    """Kill the process in the middle of a trial; that trial's number, None if between two."""
    process = subprocess.Popen(command)
    while process.poll() is None and len(numbers(study, "COMPLETE", "PRUNED")) < trials // 2:
        time.sleep(0.2)
    while process.poll() is None and not numbers(study, "RUNNING"):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    running = numbers(study, "RUNNING")
    return running[0] if running else None


def numbers(study: Path, *states: str) -> list[int]:
    """Numbers of the search's trials in these states, read from Optuna's own tables."""
    if not study.is_file():
        return []
    with sqlite3.connect(f"file:{study}?mode=ro", uri=True, timeout=60) as database:
        marks = ", ".join("?" * len(states))
        try:
            rows = database.execute(
                "SELECT t.number FROM trials t JOIN studies s USING (study_id) "
                f"WHERE s.study_name = 'candid' AND t.state IN ({marks})",
                states,
            ).fetchall()
        except sqlite3.OperationalError:  # its tables are being made
            return []
    return [number for (number,) in rows]


def tell(out: Path, at: int | None, seconds: float) -> None:
    tuning = read_record(out / "tuning.json", Tuning)
    tried = [json.dumps(t.settings, sort_keys=True) for t in tuning.trials]
    finished = sum(t.state == "finished" for t in tuning.trials)
    print(
        f"{tuning.data}, {tuning.images_per_trial:,} images per trial, {seconds / 60:.0f} minutes"
    )
    print(
        f"{len(tried)} trials, {len(set(tried))} different; {finished} to the end; killed in {at}"
    )
    for finalist in tuning.finalists:
        name = "start" if finalist.is_start else f"trial {finalist.number}"
        f1 = ", ".join(f"{value:.4f}" for value in finalist.f1)
        mean = finalist.mean
        print(f"{name}: {f1}; mean {mean.value:.4f} ({mean.low:.4f} to {mean.high:.4f})")
    if tuning.difference is not None:
        d = tuning.difference
        print(f"winner less start: {d.value:+.4f} ({d.low:+.4f} to {d.high:+.4f}, {d.method})")
    print(f"settings of the winner: {tuning.best.settings}")
    for split, e in (("validation", tuning.validation), ("test", tuning.test)):
        if e is not None:
            print(f"{split}: {e.value:.4f} ({e.low:.4f} to {e.high:.4f}, n = {e.n})")


if __name__ == "__main__":
    main()
