"""Fixed jobs whose figures a change of structure must not change.

Each job drives the command line alone, so it runs on any state of the source, and gives its figures
by name: every number and short word of the records that it wrote, and digests of what must be the
same bytes. `python tests/golden/jobs.py FOLDER [JOB …]` writes FOLDER/JOB.parquet;
`python tests/golden/jobs.py FOLDER --compare FOLDER` says what differs. No picture is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
DATA = Path(os.environ.get("CANDID_TEST_DATA", HERE.parents[2] / "shared" / "data"))
Figures = dict[str, float | str]

# What tells the elements of a list apart, so that an order or a form may change.
IDENTITY = (
    *("split", "kind", "attribute", "value", "within", "label", "name", "key", "id", "code"),
    *("metric", "measure", "method", "target_error", "target_miss", "low_edge", "attributes"),
)
# Sentences are no figures, and how long something took differs every time.
LEFT_OUT = {"seconds", "sentence", "rule", "guarantee", "caveat", "about", "title", "why", "notes"}

SMALL = (
    *("--set", "network.width=8", "--set", "train.steps=24", "--set", "train.batch_size=64"),
    *("--set", "explain.images=16", "--set", "explain.check_images=6"),
    *("--set", "train.threads=1", "--set", "audit.draws=200"),
)


def candid(*words: object) -> str:
    """Run a command line in a process of its own; what it said on standard output."""
    command = [sys.executable, "-m", "candid", *map(str, words)]
    # OpenBLAS sums in the order that its kernels for a processor like, and sums in another order
    # change p values in the fifth digit.
    env = os.environ | {"OPENBLAS_CORETYPE": "Haswell"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def numbers(record: Any, at: str = "") -> Iterator[tuple[str, float | str]]:
    """Every number and short word of a record, by where it stands."""
    if isinstance(record, dict):
        for key, value in record.items():
            if key not in LEFT_OUT:
                yield from numbers(value, f"{at}/{key}")
    elif isinstance(record, list):
        for i, value in enumerate(record):
            yield from numbers(value, f"{at}/{_identity(value) or i}")
    elif record is None:
        yield at, math.nan
    elif isinstance(record, str):
        if record.count(" ") < 4:
            yield at, record
    else:
        yield at, float(record)


def _identity(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    return ",".join(f"{k}={value[k]}" for k in IDENTITY if isinstance(value.get(k), str | float))


def records(run: Path, *names: str) -> Figures:
    """The figures of some of a run's JSON files."""
    found: Figures = {}
    for name in names:
        found |= dict(numbers(json.loads((run / f"{name}.json").read_text()), name))
    return found


def table(file: Path) -> Figures:
    """The cells of a Parquet table."""
    return {
        f"{file.stem}/{name}/{i}": Path(cell).name if isinstance(cell, str) else float(cell)
        for name, column in pq.read_table(file).to_pydict().items()
        for i, cell in enumerate(column)
        if isinstance(cell, str | float | int | bool)
    }


def digest(*files: Path) -> Figures:
    """The bytes of some files."""
    return {f"sha256/{f.name}": hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def arrays(file: Path) -> Figures:
    """Size, mean and spread of the arrays of a .npz file."""
    found: Figures = {}
    with np.load(file, allow_pickle=False) as kept:
        for name in kept.files:
            values = kept[name]
            if values.dtype.kind in "fiu" and values.size:
                found[f"{file.stem}/{name}/mean"] = float(values.astype(np.float64).mean())
                found[f"{file.stem}/{name}/sd"] = float(values.astype(np.float64).std())
    return found


# --- jobs ----------------------------------------------------------------------------------------


def foreign(folder: Path) -> Figures:
    """Anybody's predictions in a table: audited, and against another model's."""
    rng = np.random.default_rng(7)
    n, people = 3000, 900
    person = rng.integers(0, people, n)
    race = rng.choice(["A", "B", "C", "D"], people, p=[0.5, 0.3, 0.15, 0.05])[person]
    age, hat = rng.normal(40, 15, people)[person].round(1), rng.random(n) < 0.2
    label = rng.random(people)[person] < 0.45
    for name, slope in (("before", 2.0), ("after", 2.4)):
        score = (label - 0.5) * 2 * slope - 1.5 * (race == "C") * label + rng.normal(0, 1.2, n)
        columns = {
            "id": [f"{i:05d}.jpg" for i in range(n)],
            "person": person,
            "gender": np.where(label, "Male", "Female"),
            "p_Male": 1 / (1 + np.exp(-score)),
            "race": race,
            "age": age,
            "hat": np.where(hat, "yes", "no"),
        }
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    options = ("--label", "gender", "--prediction", "p_Male", "--person", "person", "--json")
    audit = json.loads(candid("audit", folder / "after.parquet", *options))
    pair = candid("audit", folder / "before.parquet", folder / "after.parquet", *options)
    return dict(numbers(audit, "audit")) | dict(numbers(json.loads(pair), "pair"))


def faces(folder: Path) -> Figures:
    """The main job on drawn faces, then predictions by torch and by ONNX."""
    candid("demo", "--quiet", "--out", folder / "demo", "--images", 400, *SMALL)
    found = _run(folder / "demo" / "run")
    run, pictures = folder / "demo" / "run", folder / "demo" / "synthetic-faces"
    candid("export", run, "--quiet")
    for engine in ("torch", "onnx"):
        out = folder / f"{engine}.parquet"
        candid("predict", run, pictures, "--engine", engine, "--out", out, "--quiet")
        found |= table(out)
    return found


def celeba(folder: Path) -> Figures:
    """The main job on 2,000 images of CelebA."""
    data = folder / "celeba2000"
    (data / "img_align_celeba").mkdir(parents=True)
    source = DATA / "celeba64"
    chosen = {p.name for p in sorted((source / "img_align_celeba").iterdir())[::15]}
    for name in chosen:
        shutil.copy(source / "img_align_celeba" / name, data / "img_align_celeba" / name)
    for file in sorted(source.glob("*.txt")):
        lines = file.read_text().splitlines()
        rows = [line for line in lines if line.split()[0] in chosen]
        head = [str(len(rows)), lines[1]] if file.name == "list_attr_celeba.txt" else []
        (data / file.name).write_text("\n".join([*head, *rows]) + "\n")
    settings = ("--target", "Male", "--out", folder / "run", "--cache", folder / "cache")
    candid("run", data, "--quiet", *settings, *SMALL)
    return _run(folder / "run")


def _run(run: Path) -> Figures:
    found = records(run, "evaluation", "audit", "explanation", "inside", "model")
    found |= table(run / "predictions.parquet") | digest(run / "model.safetensors")
    return found | arrays(run / "explanation.npz") | arrays(run / "inside.npz")


def tune(folder: Path) -> Figures:
    """A search of four trials, its two finalists with two seeds each."""
    candid("demo", "--quiet", "--out", folder / "demo", "--images", 200, *SMALL)
    out = folder / "tune"
    options = ("--trials", 4, "--out", out, "--cache", folder / "demo" / "cache", "--quiet")
    budget = (
        *("--set", "train.steps=8", "--set", "train.evaluations=2", "--set", "network.width=8"),
        *("--set", "train.threads=1", "--set", "data.side=48"),
        *("--set", "tune.finalists=2", "--set", "tune.seeds=2"),
    )
    faces = folder / "demo" / "synthetic-faces"
    said = candid("tune", faces, "--target", "Face", *options, *budget, "--json")
    return dict(numbers(json.loads(said), "tune"))


def processes(folder: Path) -> Figures:
    """One training by two processes."""
    from torch.distributed import is_available

    if not is_available():
        return {}
    candid("demo", "--quiet", "--out", folder / "demo", "--images", 200, *SMALL)
    launch = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "candid")
    words = ("train", folder / "demo" / "synthetic-faces", "--target", "Face", "--quiet")
    command = [sys.executable, "-m", *launch, *words, "--out", folder / "run", *SMALL]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return digest(folder / "run" / "model.safetensors") | table(folder / "run" / "history.parquet")


JOBS: dict[str, Callable[[Path], Figures]] = {
    job.__name__: job for job in (foreign, faces, celeba, tune, processes)
}
TRAINED = {"faces", "celeba", "tune", "processes"}  # the same to the bit on like machines alone


# --- keeping and comparing -----------------------------------------------------------------------


def machine() -> str:
    """What bits of a training depend on beside the source: processor, torch, numpy."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = next((x.split(":")[1].strip() for x in lines if "model name" in x), "unknown")
    return f"{platform.machine()}, {processor}, torch {torch.__version__}, numpy {np.__version__}"


def write(file: Path, figures: Figures) -> None:
    """Keep figures: a column of names, one of numbers, one of words."""
    names = sorted(figures)
    values = [figures[name] for name in names]
    columns = {
        "name": names,
        "number": pa.array([None if isinstance(v, str) else v for v in values], pa.float64()),
        "word": pa.array([v if isinstance(v, str) else None for v in values], pa.string()),
    }
    kept = pa.table(columns).replace_schema_metadata({"machine": machine()})
    pq.write_table(kept, file, compression="zstd")


def read(file: Path) -> tuple[Figures, str]:
    """Figures that were kept, and on what machine."""
    kept = pq.read_table(file)
    rows = zip(*(kept[c].to_pylist() for c in ("name", "number", "word")), strict=True)
    return {n: x if w is None else w for n, x, w in rows}, kept.schema.metadata[b"machine"].decode()


def differences(was: Figures, now: Figures, tolerance: float = 1e-9) -> list[str]:
    """What is gone, new, or other by more than the tolerance (relative, or absolute below 1)."""
    found = [f"gone: {name}" for name in was.keys() - now.keys()]
    found += [f"new: {name}" for name in now.keys() - was.keys()]
    for name in was.keys() & now.keys():
        if not _same(was[name], now[name], tolerance):
            found.append(f"{name}: {was[name]} became {now[name]}")
    return sorted(found)


def _same(a: float | str, b: float | str, tolerance: float) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= tolerance * max(1.0, abs(a))


def main() -> None:
    """Make figures, or compare two folders of them."""
    parser = argparse.ArgumentParser(description="Figures of fixed jobs.")
    parser.add_argument("folder", type=Path, help="where FOLDER/JOB.parquet is written")
    parser.add_argument("jobs", nargs="*", metavar="job", help=f"of {', '.join(JOBS)}; all")
    parser.add_argument("--compare", type=Path, metavar="NOW", help="say how NOW's differ instead")
    args = parser.parse_args()
    if args.compare is not None:
        for file in sorted(args.folder.glob("*.parquet")):
            if (args.compare / file.name).is_file():
                found = differences(read(file)[0], read(args.compare / file.name)[0])
                print(f"{file.stem}: {len(found)} differences", *found[:20], sep="\n  ")
        return
    if unknown := set(args.jobs) - set(JOBS):
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.jobs or JOBS:
        with tempfile.TemporaryDirectory() as folder:
            write(args.folder / f"{name}.parquet", JOBS[name](Path(folder)))
        print(name, flush=True)


if __name__ == "__main__":
    main()
