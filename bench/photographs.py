"""Faces in photographs: how many are found, and how many of what is found are none.

    python bench/photographs.py RUN DATA [DATA…] [--scenes 100]

For each data set, faces of its test pictures (all where nothing is split) are pasted, one to three,
with soft edges and a fifth to six tenths of its height tall, onto cuts of the two photographs that
scikit-learn brings, mirrored, scaled and with their colours exchanged. Each is looked through by
the run's own framing network over windows of many sizes (`candid.inference.windows`) and by
OpenCV's cascade. A face counts as found where the centre of what was found lies less than three
tenths of its sides from its own, at half to 2.6 times its size; whatever else is found, or found
twice, is wrong. The same of cuts without a face. Printed are shares with their n and interval, the
processor time of both, and the largest memory of the process.

Result with the default run of celeba64 (Male, seed 0), which learned nothing of the other two (100
scenes each; one busy core):

    celeba64   framing network: found 0.993 (0.960 to 0.999, n = 137), wrong 0.007 (0.001 to 0.040)
               cascade: found 0.832 (0.761 to 0.885), wrong 0.255 (0.192 to 0.329)
    utkface    framing network: found 0.964 (0.918 to 0.984, n = 138), wrong 0.007 (0.001 to 0.041)
               cascade: found 0.797 (0.722 to 0.856), wrong 0.120 (0.074 to 0.189)
    fairface   framing network: found 0.884 (0.820 to 0.927, n = 138), wrong 0.008 (0.001 to 0.045)
               cascade: found 0.623 (0.540 to 0.700), wrong 0.246 (0.176 to 0.332)
    no faces   framing network: 4 found in 100 photographs; cascade: 31

    processor time 12.3 times the cascade's

The scenes are made, not taken: faces in real photographs are turned, half hidden and lit otherwise.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

import candid
from candid.data.dataset import Dataset
from candid.data.decode import decode_whole
from candid.inference.detectors import DetectedFace, open_detector
from candid.inference.windows import FramingFinder
from candid.models.framing import framing_of
from candid.records import Estimate
from candid.runs import open_run
from candid.stats.intervals import wilson_share

Pixels = NDArray[np.uint8]
Place = tuple[int, int, int, int]  # left, top, width, height

NEAR, SMALLEST, LARGEST = 0.3, 0.5, 2.6
SOFT = 0.12  # of a face's height fades into what is around


def background(rng: np.random.Generator, photographs: list[Pixels]) -> Pixels:
    """A cut of a photograph without faces."""
    photograph = Image.fromarray(photographs[rng.integers(len(photographs))])
    scale = rng.uniform(0.8, 2)
    photograph = photograph.resize([round(scale * v) for v in photograph.size])
    height = int(rng.integers(240, 340))
    width = int(height * rng.uniform(1, 1.45))
    left, top = (
        int(rng.integers(0, whole - part + 1))
        for whole, part in zip(photograph.size, (width, height), strict=True)
    )
    cut = np.asarray(photograph.crop((left, top, left + width, top + height)))
    return cut[:, :: rng.choice([-1, 1]), rng.permutation(3)].copy()


def paste(scene: Pixels, face: Pixels, place: Place) -> None:
    """Put a face into a scene, with soft edges."""
    left, top, width, height = place
    small = np.asarray(Image.fromarray(face).resize((width, height), Image.Resampling.BICUBIC))
    y, x = np.mgrid[:height, :width]
    edge = np.minimum.reduce([y, height - 1 - y, x, width - 1 - x]) / (SOFT * height)
    share = np.clip(edge, 0, 1)[..., None]
    there = scene[top : top + height, left : left + width]
    there[:] = np.rint(share * small + (1 - share) * there)


def scenes(dataset: Dataset | None, count: int, seed: int) -> Iterator[tuple[Pixels, list[Place]]]:
    """Photographs, and where faces lie in them; without a data set, none do."""
    rng = np.random.default_rng(seed)
    photographs = list(load_sample_images().images)
    for _ in range(count):
        places: list[Place] = []
        scene = background(rng, photographs)
        free = np.ones(scene.shape[:2], np.bool_)
        if dataset is None:
            yield scene, places
            continue
        for _ in range(int(rng.integers(1, 4))):
            height = int(rng.uniform(0.2, 0.6) * len(scene))
            width = int(height / rng.uniform(1, 1.25))  # some sets were squeezed to squares
            left = int(rng.integers(0, scene.shape[1] - width))
            top = int(rng.integers(0, len(scene) - height))
            where = np.s_[top : top + height, left : left + width]
            if not free[where].all():
                continue
            free[where] = False
            encoded = dataset.source.read(int(rng.integers(len(dataset))))
            paste(
                scene,
                decode_whole(encoded, longest=512, max_pixels=10**8).pixels,
                (left, top, width, height),
            )
            places.append((left, top, width, height))
        yield scene, places


def hits(faces: list[DetectedFace], places: list[Place]) -> tuple[int, int]:
    """How many of the places were found, and how many of the faces are none."""
    left_over, wrong = list(places), 0
    for face in faces:
        box = face.box
        for place in left_over:
            x, y, width, height = place
            near = (
                abs(box.left + box.width / 2 - x - width / 2) < NEAR * width
                and abs(box.top + box.height / 2 - y - height / 2) < NEAR * height
            )
            size = (box.width * box.height / (width * height)) ** 0.5
            if near and SMALLEST < size < LARGEST:
                left_over.remove(place)
                break
        else:
            wrong += 1
    return len(places) - len(left_over), wrong


def said(share: Estimate) -> str:
    return f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f}, n = {share.n})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--scenes", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    framing = framing_of(open_run(options.run))
    if framing is None:
        parser.error("the run has no framing network")
    finders: dict[str, Callable[[Pixels], list[DetectedFace]]] = {
        "framing network": FramingFinder(framing).find,
        "cascade": open_detector(),
    }
    seconds = dict.fromkeys(finders, 0.0)
    for seed, path in enumerate([*options.data, None]):
        dataset = None
        if path is not None:
            dataset = candid.load(path, target="Male" if "celeba" in path.name else None)
            test = dataset.split == "test"
            dataset = dataset[test] if test.any() else dataset
        tally = {name: np.zeros(2, np.int64) for name in finders}
        faces = 0
        for scene, places in scenes(dataset, options.scenes, seed):
            faces += len(places)
            for name, find in finders.items():
                began = time.process_time()
                found = find(scene)
                seconds[name] += time.process_time() - began
                tally[name] += hits(found, places)
        for name, (right, wrong) in tally.items():
            told = f"{wrong} found in {options.scenes} photographs"
            if dataset is not None:
                told = f"found {said(wilson_share(int(right), faces))}, of what was found "
                told += f"wrong {said(wilson_share(int(wrong), int(right + wrong)))}"
            print(f"{'no faces' if path is None else path.name}, {name}: {told}", flush=True)
    ratio = seconds["framing network"] / seconds["cascade"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"processor time {ratio:.1f} times the cascade's; at most {memory:.0f} MB in memory")


if __name__ == "__main__":
    main()
