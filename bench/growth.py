"""What the work costs as it grows: exponents of processor time and memory, each step by itself.

    python bench/growth.py                   images to 10,000, attributes to 160, classes to 100
    python bench/growth.py --quick           a few minutes
    python bench/growth.py --most 300000     images as far as that
    python bench/growth.py --only report     one step

Every measurement is a process of its own, with one thread: `processor` is its processor time in the
step alone, `memory` what its peak lies above that before the step. Evaluation, audit and report
work on tables drawn at random (1 + Poisson(3) pictures a person); packing, training (a fixed number
of batches) and prediction on synthetic faces. An exponent is the slope of log cost over log size,
by least squares, with Student's interval; with two sizes there is no interval.

Measured on 2026-11-29, one measurement each, on one core that others shared: processor seconds,
MiB, and the exponent of the former (with three sizes its interval is wide: told where it is not).

    pack      1,000, 3,000, 10,000 images     0.33, 0.59, 1.76; 55, 68, 74; 0.73
    train     (8 batches)                     3.0, 2.9, 4.3; 387, 442, 532; 0.16
    predict                                   0.68, 1.73, 4.82; 74, 68, 85; 0.85 (0.82 to 0.87)
    evaluate                                  0.05, 0.12, 0.36; 20, 36, 44; 0.87 (0.64 to 1.10)
    audit                                     0.27, 0.46, 0.85; 23, 26, 40; 0.50 (0.42 to 0.58)
    report                                    2.43, 2.35, 2.37; 221, 220, 217; -0.01 (-0.15 to 0.12)
    evaluate  10, 40, 160 attributes          0.13, 0.12, 0.11; 37, 36, 43; -0.06 (-0.22 to 0.11)
    audit                                     0.46, 1.39, 14.2; 27, 83, 362; 1.24
    report                                    2.4, 2.5, 2.8; 0.70, 0.91, 1.45 MB of file; 0.06
    evaluate  2, 10, 100 classes              0.11, 0.21, 1.55; 37, 31, 138; 0.69
    audit                                     0.48, 0.87, 6.17; 26, 37, 176; 0.67
    report                                    2.5, 2.5, 3.8; 0.70, 1.03, 4.25 MB of file; 0.11

Only the audit of many attributes grows faster than they do: every two of them are looked at
together. More than 10,000 images were not measured here.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

STEPS = ("pack", "train", "predict", "evaluate", "audit", "report")
AXES = ("images", "attributes", "classes")
USUAL = {"images": 3000, "attributes": 10, "classes": 2}
SIZES = {
    "images": (1000, 3000, 10_000, 30_000, 100_000, 300_000),
    "attributes": (10, 40, 160),
    "classes": (2, 10, 100),
}
_OF_TABLES = ("evaluate", "audit", "report")
_BATCHES = 8


# --- one measurement, in a process of its own ----------------------------------------------------


def predictions(images: int, attributes: int, classes: int) -> Any:
    """What a model says that is right in 90 of 100, by chance alone."""
    from candid.predictions import Attribute, Predictions

    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(images), 1 + rng.poisson(3, images))[:images]
    label = rng.integers(0, classes, images)
    logits = rng.normal(0, 1, (images, classes))
    logits[np.arange(images), label] += 3 + math.log(classes)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    marks = rng.random((attributes, images)) < rng.uniform(0.05, 0.6, (attributes, 1))
    return Predictions(
        target="label",
        classes=tuple(f"class {k}" for k in range(classes)),
        ids=np.array([f"{i:06d}.jpg" for i in range(images)]),
        split=np.where(person % 2, "validation", "test"),
        label=label.astype(np.int16),
        probability=p / p.sum(axis=1, keepdims=True),
        person=person,
        attributes={
            f"attribute {k}": Attribute(
                f"attribute {k}", "binary", ("no", "yes"), m.astype(np.int16)
            )
            for k, m in enumerate(marks)
        },
    )


def of_table(step: str, size: dict[str, int], folder: Path) -> Callable[[], object]:
    """Evaluation, audit or report of such a table."""
    from candid.auditing.audit import audit_groups
    from candid.evaluation.performance import evaluate_predictions
    from candid.settings import AuditConfig, Config, EvaluateConfig

    p = predictions(**size)
    if step == "evaluate":
        return lambda: evaluate_predictions(p, EvaluateConfig())
    if step == "audit":
        return lambda: audit_groups(p, AuditConfig())
    from candid.records import Provenance
    from candid.reporting.card import card
    from candid.reporting.page import render
    from candid.text.inputs import ReportInput

    inputs = ReportInput(
        config=Config(),
        provenance=Provenance(
            candid="", command="", started="2026-01-01T00:00:00+00:00", seconds={}, seed=0,
            commit="", versions={}, machine={}, data="drawn", data_fingerprint="",
        ),
        evaluation=evaluate_predictions(p, EvaluateConfig(draws=50)),
        audit=audit_groups(p, AuditConfig(draws=50)),
    )  # fmt: skip

    def write() -> None:
        (folder / "report.html").write_text(render(inputs))
        card(inputs)

    return write


def of_faces(step: str, size: dict[str, int], folder: Path) -> Callable[[], object]:
    """Packing, training or prediction of drawn faces."""
    import candid
    from candid.data.synthetic import demo_world, write_faces
    from candid.pipeline.opening import load_packed

    faces = write_faces(
        folder / "faces", demo_world(size["images"], side=32, seed=0), workers=1, quiet=True
    )
    config = candid.load_config(
        overrides=[
            "data.target=Face", "data.side=32", "data.workers=1", "train.threads=1",
            f"train.steps={_BATCHES}", "train.batch_size=64", "train.evaluations=1",
            "framing.steps=0", "network.name=plain",
        ]
    )  # fmt: skip
    if step == "pack":
        return lambda: load_packed(faces, config, cache=folder / "cache", quiet=True)
    data = load_packed(faces, config, cache=folder / "cache", quiet=True)
    if step == "train":
        return lambda: candid.train(
            data.dataset, config, out=folder / "run", cache=folder / "cache", predictions=False
        )
    few = candid.train(data.dataset, config, out=folder / "run", cache=folder / "cache")
    files = sorted((faces).rglob("*.jpg"))
    return lambda: sum(1 for _ in candid.predict(few, files, check=False))


def measure(step: str, size: dict[str, int]) -> dict[str, float]:
    """Processor seconds and MiB of one step."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make = of_table if step in _OF_TABLES else of_faces
        work = make(step, size, folder)
        before, began = _memory("VmRSS", forget=True), time.process_time()
        work()
        took = time.process_time() - began
        found = {"processor": took, "memory": _memory("VmHWM") - before}
        report = folder / "report.html"
        if report.is_file():
            found["megabytes"] = report.stat().st_size / 1e6
    return found


def _memory(what: str, *, forget: bool = False) -> float:
    """MiB that the kernel counts; `forget`: the peak begins anew."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


# --- all of them ---------------------------------------------------------------------------------


def exponent(sizes: list[int], costs: list[float]) -> tuple[float, float, float]:
    """The slope of log cost over log size, and its 95% interval."""
    x, y = np.log(sizes), np.log(np.maximum(costs, 1e-9))
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    if len(sizes) < 3:
        return slope, math.nan, math.nan
    rest = y - y.mean() - slope * x
    error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(x @ x))
    reach = float(stdtrit(len(x) - 2, 0.975)) * error
    return slope, slope - reach, slope + reach


def sizes_of(step: str, axis: str, most: int, quick: bool) -> Iterator[dict[str, int]]:
    """What to measure of a step along an axis."""
    if step not in _OF_TABLES and axis != "images":
        return  # the faces that are drawn have the attributes and classes that they have
    usual = USUAL | ({"images": 1000} if quick and axis != "images" else {})
    for n in SIZES[axis]:
        if axis != "images" or n <= most:
            yield usual | {axis: n}


def ask(step: str, size: dict[str, int]) -> dict[str, float]:
    """One measurement in a process of its own."""
    words = [sys.executable, __file__, "--measure", json.dumps({"step": step, "size": size})]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", default=STEPS)
    parser.add_argument("--axes", nargs="*", default=AXES)
    parser.add_argument("--measure")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(**json.loads(asked.measure))))
        return
    for step in asked.only:
        for axis in asked.axes:
            sizes = [*sizes_of(step, axis, asked.most, asked.quick)]
            if not sizes:
                continue
            found = []
            for size in sizes:
                found.append(ask(step, size))
                told = ", ".join(f"{k} {v:.2f}" for k, v in found[-1].items())
                print(f"{step:9} {axis:10} {size[axis]:7,}: {told}", flush=True)
            for what in ("processor", "memory"):
                slope, low, high = exponent([s[axis] for s in sizes], [f[what] for f in found])
                print(f"{step:9} {axis:10} {what}: exponent {slope:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
