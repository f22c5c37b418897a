"""All of CelebA's annotations in one training, beside one of them alone.

For every seed: `candid train --target '*'` and `candid train --target ALONE` through the command
line, on the same images and passes; then the predictions of both. Processor time is that of the
whole process that trains. Printed are the mean accuracy over all labels (an image's share of right
answers, averaged; interval by person, linearised), the same of each label's commonest
answer, the accuracy of each label, and of the label that was also trained alone the difference on
the same pictures. Runs that lie in --out already are not repeated.

    python bench/attributes.py ../shared/data/celeba64 --out runs/attributes [--recipe many]

Published for all 162,770 training images, mostly with pretrained networks: LNets+ANet 0.873, MOON
0.909, MCNN-AUX 0.913; here 24,152 of them teach a network that begins anew.

Result for 24,152 training images at 64×64, seeds 0, 1 and 2 (one core of an AMD EPYC with bfloat16,
torch 2.13.0); n = 2,945 on validation and 2,903 on test:

    mean accuracy      validation 0.9008, 0.9013, 0.9014; test 0.8964, 0.8964, 0.8963 (0.8939 to
                       0.8988 at the widest); each label's commonest answer 0.8083 and 0.8009
    Male together      test 0.9662, 0.9676, 0.9687; less alone -0.0038 (-0.0091 to 0.0015), -0.0014
                       (-0.0068 to 0.0040), -0.0059 (-0.0110 to -0.0007)
    processor time     all to one 1.04, 1.05, 1.01 (288 s to 277 s)
    worst, best label  Big_Lips 0.6965, 0.7013, 0.7024; Bald 0.987

With --recipe many, seed 0: validation 0.9029 (0.9006 to 0.9051), test 0.8984 (0.8961 to 0.9007);
Male together 0.9779 and 0.9724; 305 s.

Looked for on validation, with trainings of 350 batches in 36 to 37 s (`--recipe fast`: width 16, 48
pixels, pictures mirrored at most), seed 0: 0.8935 as above; 0.8943 with each label's loss weighing
the same (train.target_weights=none: mouths, waves and brows gain up to 1.9 points, goatees, rosy
cheeks, sideburns and glasses lose 0.3 to 0.5), 0.8941 with the default's changes of colour beside
that; 0.8938 with label smoothing of 0.05 in place of 0.2; 0.8930 with a linear layer on all places
in place of their mean. None was seen at full length.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candid.pipeline.opening import reload
from candid.pipeline.several import predict_targets
from candid.pipeline.steps import predict_splits
from candid.predictions import Predictions, read_predictions
from candid.records import Estimate
from candid.runs import Run, open_run
from candid.stats.intervals import mean


def trained(data: Path, run: Run, targets: Sequence[str], seed: int, options: list[str]) -> float:
    """Seconds of the processor that training took; noted beside the run for the next time."""
    note = run.path.with_suffix(".json")
    if not note.is_file():
        words = [sys.executable, "-m", "candid", "train", data]
        words += [w for target in targets for w in ("--target", target)]
        words += ["--seed", seed, "--out", run.path, "--set", "framing.steps=0", *options]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([str(w) for w in words], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        note.write_text(json.dumps({"processor_seconds": seconds}))
    return float(json.loads(note.read_text())["processor_seconds"])


def judged(run: Run) -> list[Run]:
    """The run of each label, with its predictions on validation and test images."""
    run = open_run(run.path)
    several = run.targets.is_file()
    if not several and not run.predictions_file.is_file():
        run.step("predict", predict_splits, reload(run))
    if several and not all(one.predictions_file.is_file() for one in run.target_runs()):
        predict_targets(run, reload(run))
    return run.target_runs() if several else [run]


def predicted(run: Run) -> list[Predictions]:
    """Of each label, on validation and test images."""
    return [read_predictions(one.predictions_file) for one in judged(run)]


def right(predictions: Predictions, split: str) -> NDArray[np.float64]:
    """(n,) 1 where the answer is the label, NaN where there is no label."""
    rows = predictions.rows(split)
    label = predictions.label[rows]
    return np.where(label < 0, np.nan, (predictions.prediction[rows] == label).astype(float))


def commonest(predictions: Predictions, split: str) -> NDArray[np.float64]:
    """(n,) the same of the answer that is right most often there."""
    label = predictions.label[predictions.rows(split)]
    answer = np.bincount(label[label >= 0]).argmax()
    return np.where(label < 0, np.nan, (label == answer).astype(float))


def told(found: Estimate) -> str:
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f}, n = {found.n})"


def show(together: list[Predictions], alone: Predictions, split: str) -> dict[str, float]:
    """One seed's figures on one split: printed; the accuracy of each label."""
    rows = together[0].rows(split)
    person = None if together[0].person is None else together[0].person[rows]
    hits = np.stack([right(one, split) for one in together], axis=1)
    always = np.stack([commonest(one, split) for one in together], axis=1)
    print(f"  {split}: mean accuracy {told(mean(np.nanmean(hits, axis=1), person))}")
    print(f"  {split}: the commonest answer {told(mean(np.nanmean(always, axis=1), person))}")
    names = [one.target for one in together]
    same = hits[:, names.index(alone.target)]
    paired = same - right(alone, split)
    print(f"  {split}: {alone.target} together {told(mean(same, person))}")
    print(f"  {split}: {alone.target} together less alone {told(mean(paired, person))}")
    return dict(zip(names, np.nanmean(hits, axis=0).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--alone", default="Male")
    parser.add_argument("--recipe", default="deep", help="of all of them; alone the default one")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    overrides = [w for o in options.overrides for w in ("--set", o)]
    each: list[dict[str, float]] = []
    costs: list[float] = []
    for seed in options.seeds:
        all_of_them = Run(options.out / f"all-{seed}")
        one = Run(options.out / f"{options.alone}-{seed}")
        spent = [
            trained(options.data, run, [target], seed, ["--recipe", recipe, *overrides])
            for run, target, recipe in (
                (all_of_them, "*", options.recipe),
                (one, options.alone, "deep"),
            )
        ]
        costs.append(spent[0] / spent[1])
        print(f"seed {seed}: {spent[0]:.0f} s of the processor, {spent[1]:.0f} s alone")
        together, (alone,) = predicted(all_of_them), predicted(one)
        show(together, alone, "validation")
        each.append(show(together, alone, "test"))
    print(f"processor time, all to one: {', '.join(f'{c:.2f}' for c in costs)}")
    for name in sorted(each[0], key=lambda name: each[0][name]):
        print(f"{name}: " + ", ".join(f"{seed[name]:.4f}" for seed in each))


if __name__ == "__main__":
    main()
