"""A straightforward PyTorch script of the description, as its user would write it: the peer.

Everything by the book and nothing of Candid: a `Dataset` that opens each JPEG with Pillow whenever
it is asked for it, transforms on every picture for itself, a `DataLoader` with workers, the plain
network in float32, Adam at 1e-3, cross-entropy weighted by class, batches of 256, 635 of them,
weighted F1 on the whole validation set five times. It prints seconds of the processor (of this
process and its workers), seconds of the clock, images per second, F1 and peak memory.

    python bench/straightforward.py ../shared/data/celeba64
    python bench/straightforward.py ../shared/data/celeba64 --steps 20 --json

`run` is the same from Python. DATA is a folder with CelebA's own files; the label is Male.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import resource
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

SIDE, BATCH = 64, 256
TRAIN, VALIDATION = 0, 1  # CelebA's numbers of the splits

# --- the data ------------------------------------------------------------------------------------


def read_labels(data: Path, split: int) -> list[tuple[Path, int]]:
    """Path and label (1: Male) of each picture of a split."""
    lines = (data / "list_attr_celeba.txt").read_text().splitlines()
    column = lines[1].split().index("Male") + 1
    male = {words[0]: int(words[column]) for words in map(str.split, lines[2:])}
    lines = (data / "list_eval_partition.txt").read_text().splitlines()
    names = [name for name, part in map(str.split, lines) if int(part) == split]
    return [(data / "img_align_celeba" / name, int(male[name] > 0)) for name in names]


class Faces(Dataset[tuple[Tensor, int]]):
    """Pictures that are opened, changed and turned into tensors one by one."""

    def __init__(self, rows: list[tuple[Path, int]], transform: Callable[[Image.Image], Tensor]):
        self.rows, self.transform = rows, transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.rows[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB").resize((SIDE, SIDE))), label


def to_tensor(image: Image.Image) -> Tensor:
    """(3, side, side) between -1 and 1."""
    array = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy((array - 0.5) / 0.5).permute(2, 0, 1)


def augmented(image: Image.Image) -> Tensor:
    """Flipped, turned by up to 5 degrees, seen from another place, and with a patch erased."""
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(random.uniform(-5, 5), Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        image = another_perspective(image)
    tensor = to_tensor(image)
    if random.random() < 0.5:
        erase(tensor)
    return tensor


def another_perspective(image: Image.Image, shift: float = 0.05) -> Image.Image:
    """Every corner moved at random by up to `shift` of half the side."""
    far = SIDE
    most = shift * SIDE / 2
    corners = [(0, 0), (far, 0), (far, far), (0, far)]
    rows, places = [], []
    for x, y in corners:
        u, v = x + random.uniform(-most, most), y + random.uniform(-most, most)
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        places += [u, v]
    coefficients = np.linalg.solve(np.array(rows), np.array(places))
    return image.transform(
        image.size,
        Image.Transform.PERSPECTIVE,
        tuple(coefficients),
        Image.Resampling.BILINEAR,
    )


def erase(tensor: Tensor) -> None:
    """A grey patch of 2% to 5% of the picture, in place."""
    area = random.uniform(0.02, 0.05) * SIDE * SIDE
    aspect = math.exp(random.uniform(math.log(0.3), math.log(1 / 0.3)))
    height = min(SIDE, round(math.sqrt(area * aspect)))
    width = min(SIDE, round(math.sqrt(area / aspect)))
    top, left = random.randint(0, SIDE - height), random.randint(0, SIDE - width)
    tensor[:, top : top + height, left : left + width] = 0


# --- network and training ------------------------------------------------------------------------


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(64 * 30 * 30, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 2),
    )


@torch.no_grad()
def validation_f1(model: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> float:
    model.eval()
    predicted, true = [], []
    for images, labels in loader:
        predicted.append(model(images).argmax(1))
        true.append(labels)
    model.train()
    return float(f1_score(torch.cat(true), torch.cat(predicted), average="weighted"))


def endless(
    loader: DataLoader[tuple[Tensor, int]],
) -> Generator[tuple[Tensor, Tensor], None, None]:
    while True:
        yield from loader


def run(
    data: Path, *, steps: int = 635, evaluations: int = 5, seed: int = 0, workers: int = 2
) -> dict[str, Any]:
    """Train and measure; what is printed, as plain data."""
    random.seed(seed)
    torch.manual_seed(seed)
    cpu_began, began = cpu_seconds(), time.monotonic()
    rows = read_labels(data, TRAIN)
    train = DataLoader(
        Faces(rows, augmented), BATCH, shuffle=True, drop_last=True, num_workers=workers
    )
    validation = DataLoader(
        Faces(read_labels(data, VALIDATION), to_tensor), BATCH, num_workers=workers
    )
    counts = torch.bincount(torch.tensor([label for _, label in rows]), minlength=2)
    weights = len(rows) / (2 * counts)

    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    evaluating = 0.0
    batches = endless(train)
    for step in range(1, steps + 1):
        images, labels = next(batches)
        loss = F.cross_entropy(model(images), labels, weight=weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step * evaluations // steps > (step - 1) * evaluations // steps:
            paused = time.monotonic()
            f1 = validation_f1(model, validation)
            evaluating += time.monotonic() - paused
            curve.append(
                {
                    "step": step,
                    "images": step * BATCH,
                    "wall_seconds": round(time.monotonic() - began, 2),
                    "cpu_seconds": round(cpu_seconds() - cpu_began, 2),
                    "loss": loss.item(),
                    "validation_f1": f1,
                }
            )
    batches.close()
    wall = time.monotonic() - began
    return {
        "data": data.name,
        "train_images": len(rows),
        "steps": steps,
        "batch_size": BATCH,
        "seed": seed,
        "workers": workers,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu_seconds": round(cpu_seconds() - cpu_began, 2),
        "wall_seconds": round(wall, 2),
        "evaluation_seconds": round(evaluating, 2),
        "images_per_second": round(steps * BATCH / wall, 1),
        "training_images_per_second": round(steps * BATCH / (wall - evaluating), 1),
        "peak_memory_mib": peak_memory(),
        "evaluations": curve,
    }


# --- what it costs -------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Of this process, of the workers that have ended, and of those that still work."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    ticks = os.sysconf("SC_CLK_TCK")
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def peak_memory() -> dict[str, int]:
    """MiB of the process, and of its largest worker, which shares a part of them with it."""
    own, worker = (
        resource.getrusage(who).ru_maxrss // 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {"process": own, "largest_worker": worker}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=635)
    parser.add_argument("--evaluations", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true", dest="as_json")
    asked = parser.parse_args()
    found = run(
        asked.data,
        steps=asked.steps,
        evaluations=asked.evaluations,
        seed=asked.seed,
        workers=asked.workers,
    )
    if asked.as_json:
        print(json.dumps(found))
        return
    for row in found["evaluations"]:
        print(
            f"batch {row['step']:4}: validation F1 {row['validation_f1']:.4f}, "
            f"{row['cpu_seconds']:.1f} s of the processor, {row['wall_seconds']:.1f} s"
        )
    memory = found["peak_memory_mib"]
    print(
        f"{found['cpu_seconds']:.1f} s of the processor, {found['wall_seconds']:.1f} s "
        f"({found['evaluation_seconds']:.1f} s of them for evaluation), "
        f"{found['images_per_second']:.0f} images/s end to end; "
        f"peak memory {memory['process']} MiB and {memory['largest_worker']} MiB per worker"
    )


if __name__ == "__main__":
    main()
