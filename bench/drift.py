"""How often a watch over streams of pictures cries wolf at home, and how soon it finds a change.

The scores of a run's test pictures are made once, read and answered as `candid serve` does, at home
and changed: cropped closer, blurred a little and more, and in another mix of the label's groups. A
stream is drawn from them with replacement. Shown are the streams from home that raised an alarm, of
all, with Wilson's interval, and for every change the median and the 90% quantile of the pictures
until the alarm, when the stream is changed from the start and when a home of 50,000 came first.

    python bench/drift.py RUN [--data DATA] [--limit N] [--streams 100] [--length 100000]

`--limit`: so many test pictures at most are changed.

Result with the default recipe on CelebA's Male label, framed, seed 0, 600 pictures changed (each
change 100 streams; an alarm comes after whole rounds of 25):

    home (2,903 test pictures against 2,945 of validation): 0 of 100 streams of 100,000 raised an
    alarm (0.0% to 3.7%)
                                 at once              after 50,000 of home
                                 median      90%      median      90%
    crop: the middle 85%             25       50          75       75
    blur of 1% of the side           25       25          25       25
    blur of 2% of the side           25       25          25       25
    Male 58% instead of 39%       3,525    5,825       7,250    9,500
    Male 77% instead of 39%         125      175         225      300

Of the 874 validation people 43% of the answers are Male, of the 877 test people 39%: by chance of
who is in which, which is why the bets allow for people and not for pictures. Betting takes 1 to 2
millionths of a second a picture in blocks, its p-values as much again.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import candid
from candid.inference.classify import label
from candid.inference.drift import DriftWatch
from candid.inference.sources import Item
from candid.pipeline.labelled import dataset_items
from candid.pipeline.labelling import open_labeller
from candid.pipeline.opening import reload
from candid.stats.intervals import wilson

LATE = 50_000  # pictures of home before a late change
CHANGED = 20_000  # pictures after it, at most
BLOCK = 5_000

Change = Callable[[Image.Image], Image.Image]


def closer(image: Image.Image) -> Image.Image:
    """The middle 85% of either side."""
    w, h = image.size
    x, y = round(0.075 * w), round(0.075 * h)
    return image.crop((x, y, w - x, h - y)).resize((w, h), Image.Resampling.BICUBIC)


def blurred(share: float) -> Change:
    """Blurred by a Gaussian of a share of the shorter side."""
    return lambda image: image.filter(ImageFilter.GaussianBlur(share * min(image.size)))


CHANGES: dict[str, Change] = {
    "crop: the middle 85%": closer,
    "blur of 1% of the side": blurred(0.01),
    "blur of 2% of the side": blurred(0.02),
}


def changed(items: Iterator[Item], change: Change) -> Iterator[Item]:
    for item in items:

        def read(item: Item = item) -> bytes:
            out = io.BytesIO()
            change(Image.open(io.BytesIO(item.read())).convert("RGB")).save(out, "PNG")
            return out.getvalue()

        yield Item(item.id, read, item.ordered)


def scored(ready: Any, items: Iterator[Item]) -> NDArray[np.float64]:
    """(n, scores) of those that could be read; NaN for the others."""
    watched = [scores for block in label(ready, items) for scores in block.scores]
    width = max(map(len, watched))
    return np.array([scores or [math.nan] * width for scores in watched])


def alarm(reference: Any, parts: list[tuple[NDArray[np.float64], Any, int]], seed: int) -> int:
    """After how many pictures a stream raises an alarm; 0: not at all.

    Each part is scores, their chances (None: even), and how many of them are drawn.
    """
    rng, watch = np.random.default_rng(seed), DriftWatch(reference, seed=seed)
    for scores, chance, length in parts:
        for start in range(0, length, BLOCK):
            drawn = rng.choice(len(scores), min(BLOCK, length - start), p=chance)
            watch.add(scores[drawn])
            if watch.state.after is not None:
                return watch.state.after
    return 0


def delays(found: list[int], before: int = 0) -> str:
    """Median and 90% quantile of those after the change, in words."""
    after = np.array(
        [f - before if f > before else math.inf for f in found if f == 0 or f > before]
    )
    middle, most = (np.quantile(after, q, method="higher") for q in (0.5, 0.9))
    words = [f"{v:,.0f}" if math.isfinite(v) else f"over {CHANGED:,}" for v in (middle, most)]
    return f"median {words[0]:>11}, 90% {words[1]:>11}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--length", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    run = candid.open_run(args.run)
    data = reload(replace(run, quiet=True), args.data)
    ready = open_labeller(run, watch=True)
    if ready.reference is None:
        raise SystemExit(f"{args.run} has no drift.npz; candid export makes it")
    dataset = data.dataset
    rows = dataset.rows("test", data.store.usable)
    home, truth = scored(ready, dataset_items(dataset, rows)), dataset.label[rows]
    kept = np.isfinite(home[:, 0])
    home, truth = home[kept], truth[kept]
    some = np.sort(np.random.default_rng(args.seed).permutation(rows)[: args.limit])
    worlds: dict[str, tuple[NDArray[np.float64], Any]] = {}
    for name, change in CHANGES.items():
        scores = scored(ready, changed(dataset_items(dataset, some), change))
        worlds[name] = scores[np.isfinite(scores[:, 0])], None
    last = truth == len(dataset.classes) - 1
    for more in (1.5, 2.0):
        share = min(0.95, more * last.mean())
        chance = np.where(last, share / last.sum(), (1 - share) / (~last).sum())
        name = f"{dataset.classes[-1]} {share:.0%} instead of {last.mean():.0%}"
        worlds[name] = home, chance
    seeds = range(args.seed, args.seed + args.streams)
    false = sum(alarm(ready.reference, [(home, None, args.length)], s) > 0 for s in seeds)
    low, high = wilson(false, len(seeds))
    print(
        f"home ({len(home):,} test pictures against {ready.reference.pictures:,} of validation): "
        f"{false} of {len(seeds)} streams of {args.length:,} raised an alarm "
        f"({low:.1%} to {high:.1%})"
    )
    for name, (scores, chance) in worlds.items():
        part = (scores, chance, CHANGED)
        early = [alarm(ready.reference, [part], s) for s in seeds]
        late = [alarm(ready.reference, [(home, None, LATE), part], s) for s in seeds]
        print(f"{name:34} at once: {delays(early)}; after {LATE:,}: {delays(late, LATE)}")


if __name__ == "__main__":
    main()
