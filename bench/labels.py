"""Wrong labels that were planted: whether they are found, and what a model gains by mending them.

`python bench/labels.py DATA [--target Male] [--parts 1 2 3] [--recipe fast] [--seeds 0 1 …]
[--images N] [--steps N] [--batch N] [--set KEY=VALUE …] [--out FOLDER]`

1. Of the training and of the test labels in DATA (celeba64, say) 3% are flipped, seeded. All labels
   are checked out of fold, as `candid check` does. Printed are the average precision of the list of
   suspects beside that of cleanlab on the same probabilities (its list, and its order of all
   labels), and the share of the planted flips among the first 1.5 times as many suspects. Wanted:
   at least cleanlab's, and at least 0.9.
2. A reviewer who is right in 97% of cases looks at these suspects. Networks learn from the clean
   labels, from the noisy ones, and from those that the reviewer left; printed is their weighted F1
   on clean test labels and how much of the way from noisy to clean was made good, by a bootstrap
   over people and seeds. Wanted: at least 0.8.
3. On synthetic faces with eight pictures a person, 1% bear another person's name. Printed is the
   precision of the list of likely wrong identities, among people with five pictures or more.
   Wanted: at least 0.9. A swap between people of one label cannot be seen; it is told how many.

What is there in --out is not done again.

2026-11-29, one core of a machine shared by many, so processor time is told. The recipe fast (350
batches of 256), celeba64, 812 of 30,000 labels flipped (725 of training, 87 of test), five folds,
cleanlab 2.9.0, intervals by a bootstrap over 8,996 people and by Wilson:

    --parts 1, 203 s of the processor   listed  average precision        in the first 1,218
    Candid, both witnesses, then one     1,073  0.898 (0.878 to 0.915)   0.930 (0.910 to 0.945)
    cleanlab, its list                     990  0.768 (0.733 to 0.802)   0.867 (0.842 to 0.889)
    cleanlab, its order of all labels   30,000  0.832 (0.801 to 0.863)   0.910 (0.888 to 0.928)

Of the 657 labels that both witnesses doubt 605 were flipped, of the 416 that the model alone doubts
150, of the 80 that the person's pictures alone doubt 22. Confident learning's rate is 3.7% (3.5 to
4.0) where 2.7% were flipped and CelebA has wrong labels of its own.

    --parts 2 --seeds 0, test: 2,903 images of 877 people, each network 45 s of the processor
    clean 0.9618 (0.9522 to 0.9703), noisy 0.9584 (0.9491 to 0.9669), reviewed 0.9590 (0.9496 to
    0.9678); clean - noisy 0.0034 (-0.0015 to 0.0084), of the way back 0.19 (-5.4 to 7.9)

    --parts 2 --seeds 0 1 … 11: clean 0.9601 (0.9517 to 0.9681), noisy 0.9580 (0.9496 to 0.9655),
    reviewed 0.9596 (0.9509 to 0.9675); clean - noisy 0.0022 (-0.0004 to 0.0047), clean - reviewed
    0.0005 (-0.0015 to 0.0026), of the way back 0.75 (-1.7 to 4.1)

So short a training, with label smoothing, loses a fifth of a point by 3% of flips: twelve seeds do
not tell it from nothing, and so not what share of it the review gives back; what the reviewed
labels still lose is at most 0.26 points. Three times as long and without smoothing (which on clean
labels is better, too) a network learns wrong labels by heart, and the review is worth half a point:

    --parts 2 --seeds 0 1 … 9 --set train.steps=1050 --set train.label_smoothing=0: clean 0.9639
    (0.9555 to 0.9718), noisy 0.9583 (0.9503 to 0.9659), reviewed 0.9631 (0.9551 to 0.9707);
    clean - noisy 0.0056 (0.0023 to 0.0091), clean - reviewed 0.0008 (-0.0027 to 0.0038),
    reviewed - noisy 0.0048 (0.0009 to 0.0087), of the way back 0.86 (0.26 to 1.70)

    --parts 3 --images 16000 --steps 250 --batch 128: 160 swaps, 80 of them between people whose
    labels differ; 78 listed, all of them swapped: precision 1.000 (0.953 to 1.000), two missed
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray

import candid
from candid.data.correcting import correct
from candid.data.dataset import Dataset
from candid.data.synthetic import FaceWorld, write_faces
from candid.predictions import Predictions, read_predictions
from candid.records import Estimate
from candid.runs import Run, open_run
from candid.settings import Config
from candid.stats.bootstrap import draw_counts
from candid.stats.intervals import wilson_share
from candid.stats.metrics import weighted_f1_of_answers
from candid.tables.corrections import Correction

NOISE, SWAPPED, REVIEWER = 0.03, 0.01, 0.97
MORE = 1.5  # suspects that are looked at, for each planted flip


Floats = NDArray[np.float64]


def average_precision(rows: NDArray[np.intp], bad: NDArray[np.bool_], weight: Floats) -> Floats:
    """(draws,) of a list of rows, each of which counts `weight` (draws, n) times.

    A list may end before all are found: who is missing counts as never found.
    """
    listed = weight[:, rows]
    hits = listed * bad[rows]
    with np.errstate(invalid="ignore"):
        precision = np.cumsum(hits, axis=1) / np.cumsum(listed, axis=1)
    found: Floats = np.nansum(precision * hits, axis=1) / (weight @ bad)
    return found


def interval(values: Floats) -> str:
    """The middle 95% of bootstrap draws."""
    return "({:.3f} to {:.3f})".format(*np.nanpercentile(values, [2.5, 97.5]))


def of_people(units: NDArray[np.integer], draws: int) -> Floats:
    """(draws, n) how often each image is there when people are drawn anew."""
    _, unit = np.unique(units, return_inverse=True)
    counts = draw_counts(int(unit.max()) + 1, draws, np.random.default_rng(0))
    return counts.astype(np.float64)[:, unit]


def some_people(dataset: Dataset, images: int) -> Dataset:
    """So many images, of whole people; 0: all."""
    if not 0 < images < len(dataset):
        return dataset
    rng = np.random.default_rng(0)
    person = np.arange(len(dataset)) if dataset.person is None else dataset.person
    _, unit = np.unique(person, return_inverse=True)
    luck = rng.permutation(int(unit.max()) + 1)[unit]
    return dataset[np.sort(np.argsort(luck, kind="stable")[:images])]


def flipped(dataset: Dataset) -> tuple[Dataset, set[str]]:
    """The data with wrong labels in training and test, and whose."""
    rng, label = np.random.default_rng(1), dataset.label.copy()
    chosen = []
    for split in ("train", "test"):
        rows = np.flatnonzero((dataset.split == split) & (label >= 0))
        chosen.append(rng.choice(rows, round(NOISE * len(rows)), replace=False))
    rows = np.concatenate(chosen)
    shift = rng.integers(1, len(dataset.classes), size=len(rows))
    label[rows] = (label[rows] + shift) % len(dataset.classes)
    return replace(dataset, label=label), {*dataset.ids[rows].tolist()}


# --- 1: the list of suspects ---------------------------------------------------------------------


def suspects(noisy: Dataset, bad: set[str], config: Config, out: Path) -> list[str]:
    """Check all labels, print how good the list is, and return it."""
    found = candid.check(noisy, config, out=out / "check", quiet=False)
    p = read_predictions(open_run(out / "check").predictions_file)
    ranked = [one.id for one in (*found.by_both, *found.by_model)]
    label = p.label.astype(int)
    theirs = find_label_issues(
        label,
        p.probability,
        filter_by="confident_learning",
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    )
    score = get_label_quality_scores(label, p.probability, method="normalized_margin")
    order = np.argsort(score, kind="stable")
    first, wrong = round(MORE * len(bad)), np.isin(p.ids, [*bad])
    row = {name: k for k, name in enumerate(p.ids.tolist())}
    persons = p.persons()
    drawn = of_people(np.arange(len(p)) if persons is None else persons, 500)
    print(f"\n{len(bad)} labels of {len(p)} were flipped; networks agree with "
          f"{100 * found.accuracy.value:.1f}% of the labels")  # fmt: skip
    print(f"{'':34} listed   average precision          in the first {first}")
    for name, some in (
        ("Candid, both witnesses, then one", np.array([row[image] for image in ranked])),
        ("cleanlab, its list", theirs),
        ("cleanlab, its order of all labels", order),
    ):
        value = average_precision(some, wrong, np.ones((1, len(p))))[0]
        share = wilson_share(int(wrong[some[:first]].sum()), len(bad))
        print(
            f"{name:34} {len(some):6,}   {value:.3f} "
            f"{interval(average_precision(some, wrong, drawn))}   {_share(share)}"
        )
    return ranked[:first]


# --- 2: a reviewer, and a better model -----------------------------------------------------------


def reviewed(clean: Dataset, noisy: Dataset, shown: list[str]) -> Dataset:
    """What is left of the noise once somebody has looked, who is right in 97% of cases."""
    rng = np.random.default_rng(2)
    row = {str(name): i for i, name in enumerate(noisy.ids.tolist())}
    decisions = []
    for image in shown:
        true = int(clean.label[row[image]])
        others = [c for c in range(len(clean.classes)) if c != true]
        said = true if rng.random() < REVIEWER else int(rng.choice(others))
        was = clean.classes[int(noisy.label[row[image]])]
        decisions.append(Correction(image, was, clean.classes[said], "label", who="simulated"))
    return correct(noisy, decisions)


def answers(dataset: Dataset, config: Config, out: Path) -> Predictions:
    """What a network that learned from these labels says of test; of one that is there, at once."""
    if not Run(out).predictions_file.is_file():
        candid.train(dataset, config, out=out, quiet=False)
    p = read_predictions(Run(out).predictions_file)
    return p[p.split == "test"]


def mended(
    clean: Dataset, noisy: Dataset, shown: list[str], config: Config, out: Path, seeds: list[int]
) -> None:
    """Print what the corrections are worth, after each seed for all seeds so far."""
    worlds = {"clean": clean, "noisy": noisy, "reviewed": reviewed(clean, noisy, shown)}
    said: list[list[Predictions]] = []
    for seed in seeds:
        seeded = replace(config, train=replace(config.train, seed=seed))
        said.append([answers(d, seeded, out / f"{name}-{seed}") for name, d in worlds.items()])
        _tell_worth(list(worlds), said)


def _tell_worth(names: list[str], said: list[list[Predictions]]) -> None:
    """Mean F1 over seeds in each world, and differences of worlds, each with an interval.

    People and seeds are drawn anew, the same in all worlds.
    """
    label, person = said[0][0].label, said[0][0].persons()  # of the clean world
    units = np.arange(len(label)) if person is None else person
    _, unit = np.unique(units, return_inverse=True)
    answer = np.array([[p.prediction for p in worlds] for worlds in said])  # (seed, world, n)

    def figures(rows: NDArray[np.intp], seeds: NDArray[np.intp]) -> list[float]:
        f1 = np.array(
            [[weighted_f1_of_answers(label[rows], a[rows]) for a in answer[s]] for s in seeds]
        ).mean(axis=0)
        whole, lost = f1[0] - f1[1], f1[0] - f1[2]
        return [*f1, whole, lost, whole - lost, 1 - lost / whole if whole else np.nan]

    every = np.arange(len(said))
    value = figures(np.arange(len(label)), every)
    rng = np.random.default_rng(0)
    counts = draw_counts(int(unit.max()) + 1, 1000, rng).astype(np.intp)
    drawn = np.array(
        [
            figures(np.repeat(np.arange(len(label)), c[unit]), rng.choice(every, len(every)))
            for c in counts
        ]
    )
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    print(f"\nweighted F1 on {len(label)} clean test labels of {unit.max() + 1} people, "
          f"{len(said)} seeds")  # fmt: skip
    rows = [*names, "clean - noisy", "clean - reviewed", "reviewed - noisy", "of the way back"]
    for name, x, a, b in zip(rows, value, low, high, strict=True):
        print(f"  {name:16} {x:.4f} ({a:.4f} to {b:.4f})", flush=True)


# --- 3: identities -------------------------------------------------------------------------------


def identities(images: int, config: Config, out: Path) -> None:
    """Print how good the list of likely wrong identities is on faces that a program drew."""
    world = FaceWorld(n=images, people=images // 8, seed=5, label_noise=0.0)
    folder = (
        write_faces(out / "faces", world, quiet=False)
        if not (out / "faces").is_dir()
        else out / "faces"
    )
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng(3)
    names, times = np.unique([r["person"] for r in rows], return_counts=True)
    many = [k for k, r in enumerate(rows) if times[names == r["person"]][0] >= 5]
    swapped, unseen = set(), 0
    for k in rng.choice(many, round(SWAPPED * len(rows)), replace=False).tolist():
        other = rows[int(rng.choice([j for j in many if rows[j]["person"] != rows[k]["person"]]))]
        unseen += other["Face"] == rows[k]["Face"]
        rows[k]["person"] = other["person"]
        swapped.add(rows[k]["path"])
    table = folder / "swapped.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    asked = replace(config, data=replace(config.data, target="Face"))
    found = candid.check(table, asked, out=out / "identities", quiet=False)
    listed = [one for one in found.by_person if one.others >= 4]
    right = sum(one.id in swapped for one in listed)
    print(f"\n{len(swapped)} of {len(rows)} pictures bear another person's name, {unseen} of them "
          "that of somebody with the same label, which no label shows")  # fmt: skip
    precision = _share(wilson_share(right, len(listed)))
    recall = _share(wilson_share(right, len(swapped) - unseen))
    print(f"  listed as likely another person's: {len(listed)}, of which {right} are: precision "
          f"{precision}; of those that can be seen {recall} are listed")  # fmt: skip
    both = sum(o.id in swapped for o in found.by_both)
    print(f"  among the labels that both witnesses doubt: {both}")


def _share(e: Estimate) -> str:
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", default="Male")
    parser.add_argument("--images", type=int, default=0, help="0: all")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--steps", type=int, default=0, help="0: the recipe's")
    parser.add_argument("--batch", type=int, default=0, help="0: the recipe's")
    parser.add_argument("--set", action="append", default=[], help="for the networks in 2 alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the networks in 2")
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 3], choices=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/labels"))
    asked = parser.parse_args()
    settings = {
        "data.target": asked.target,
        "train.steps": asked.steps,
        "train.batch_size": asked.batch,
        "train.threads": 1,
        "check.steps": asked.steps,
        "check.folds": 5,
        "check.listed": 1_000_000,
        "framing.steps": 0,
    }
    given = [f"{k}={v}" for k, v in settings.items() if v or k in ("check.steps", "framing.steps")]
    config = candid.load_config(recipe=asked.recipe, overrides=given)
    clean = some_people(candid.load(asked.data, config=config), asked.images)
    noisy, bad = flipped(clean)
    if {1, 2} & {*asked.parts}:
        shown = suspects(noisy, bad, config, asked.out)
    if 2 in asked.parts:
        networks = candid.load_config(recipe=asked.recipe, overrides=[*given, *asked.set])
        mended(clean, noisy, shown, networks, asked.out, asked.seeds)
    if 3 in asked.parts:
        identities(asked.images or 8000, config, asked.out)


if __name__ == "__main__":
    main()
