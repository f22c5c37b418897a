r"""What forty labels cost those who use a model, beside one: predict and serve, in turns.

Trains two networks for a few batches, of one label and of all that the data has (which weights
they have is nothing to speed), on the same images and without framing. Then, as often as --rounds
says and in turns: `candid predict` of a folder's pictures into a CSV, each in a process of its own
(`bench/predict.py --one`), by each of --engines; and `candid serve`, with so many clients
that send a picture each (`bench/serve.py`). Printed are pictures and requests per second of the
processor, and all labels' share of one label's, by rounds: medians and extremes.

    python bench/many_labels.py ../shared/data/celeba64 --out runs/many-labels \
        --pictures ../shared/data/celeba64/img_align_celeba

Result, `deep` at 64 pixels with mirrored pictures by ONNX Runtime in float32, one label to forty of
CelebA, --images 400 --engines onnx --clients 16 --seconds 4 (one core of an AMD EPYC that much
other work shared; medians of five rounds):

    predict     578 to 536 pictures per second of the processor    0.920 [0.874, 0.945]
    serve       444 to 400 requests                                0.917 [0.831, 0.966]

Before a row's columns were named once and its probabilities rounded together: 0.846 [0.834, 0.858]
and 0.879 [0.805, 1.091]. Of what forty labels cost, 0.2 ms a picture, the row is the most (0.08),
then the CSV (0.06) and the journal that a killed job goes on from (0.04).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from serve import candid, press, requests, server

from candid.pipeline.opening import reload
from candid.pipeline.several import predict_targets
from candid.pipeline.steps import learn_unfamiliar, predict_splits
from candid.runs import Run, open_run

HERE = Path(__file__).parent
BATCHES = 20


def made(data: Path, run: Run, target: str) -> None:
    """A run that can predict and be exported."""
    words: list[list[object]] = [
        ["train", data, "--target", target, "--out", run.path, "--set", f"train.steps={BATCHES}",
         "--set", "framing.steps=0", "--set", "train.evaluations=1"],
        ["export", run.path],
    ]  # fmt: skip
    for line in words:
        if line[0] == "export":
            run = open_run(run.path)
            loaded = reload(run)
            run.step("unfamiliar", learn_unfamiliar, loaded)
            if run.targets.is_file():
                predict_targets(run, loaded)
            else:
                run.step("predict", predict_splits, loaded)
        subprocess.run([sys.executable, "-m", "candid", *map(str, line)], check=True)


def predicted(run: Run, engine: str, pictures: Path, images: int) -> float:
    """Pictures per second of the processor."""
    words = [HERE / "predict.py", run.path, pictures, "--one", engine, "--images", images]
    said = subprocess.run(
        [sys.executable, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True
    )
    return images / float(said.stdout.split()[-1])


def served(run: Run, bodies: list[bytes], clients: int, seconds: float) -> float:
    """Requests per second of the server's processor."""
    with server(*candid(run.path, "onnx")) as up:
        asyncio.run(press(up, bodies, clients, min(1.0, seconds)))  # warm
        load = asyncio.run(press(up, bodies, clients, seconds))
    if load.statuses[200] < sum(load.statuses.values()):
        sys.exit(f"requests failed: {dict(load.statuses)}")
    return load.statuses[200] / load.processor


def compare(name: str, rate: Callable[[Run], float], one: Run, all_: Run, rounds: int) -> None:
    """Both in turns; printed."""
    pairs = [(rate(one), rate(all_)) for _ in range(rounds)]
    ratios = [b / a for a, b in pairs]
    alone, together = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    print(
        f"{name:14} one {alone:7.1f}/s, all {together:7.1f}/s of the processor; all to one "
        f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="a folder of JPEGs")
    parser.add_argument("--images", type=int, default=1000, help="that predict labels")
    parser.add_argument("--engines", nargs="+", default=["onnx", "torch"])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5, help="of serving, each time")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    runs = Run(given.out / "one"), Run(given.out / "all")
    for run, target in zip(runs, ("Male", "*"), strict=True):
        if not (run.path / "model.onnx").is_file():
            made(given.data, run, target)
    for engine in given.engines:
        compare(
            f"predict, {engine}",
            lambda run, by=engine: predicted(run, by, given.pictures, given.images),  # type: ignore[misc]
            *runs,
            given.rounds,
        )
    bodies = requests(200, given.pictures)
    compare(
        "serve", lambda run: served(run, bodies, given.clients, given.seconds), *runs, given.rounds
    )


if __name__ == "__main__":
    main()
