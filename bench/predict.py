"""Pictures per second from JPEG files on disk to rows, beside two peers, each in its own process.

(a) loop: a straightforward torch script: Pillow decodes one picture after the other, the network
    answers a batch of 64 in float32, and nothing overlaps.
(b) decode: reading and decoding alone, with Candid's decoder and as many threads: the floor.

    python bench/predict.py RUN FOLDER [--images N] [--repeats R] [--only NAME,NAME]

RUN is a finished run (candid export --int8 RUN makes what int8 needs), FOLDER holds pictures. Every
line is the best of the repeats, taken in turns; what counts are the ratios. Rates are per second,
and per second of one processor core, which a busy machine disturbs less.

The default network with mirrored pictures (deep, width 32, F1 0.9759 on validation), 24,000
pictures of CelebA at 64 pixels (the loop: 1,920), per second of one core of an AMD EPYC (AVX-512
with VNNI) that other work shared and slowed, Python 3.11, ONNX Runtime 1.32, torch 2.13:

    decode alone       4,959     1
    int8               1,300     0.26 × decode    5.5 × loop
    onnx, float32        306     0.06 × decode    1.5 × loop    (960 pictures)
    loop                 236     0.05 × decode    1

2026-11-29, one core, per second of it: a run without a framing network int8 1,691, onnx 672, decode
9,928, loop 415; with one, as the default recipe trains it, 6,000 pictures: int8 682, onnx 392,
torch 394, decode 9,252, the loop, which frames nothing, 397. Of photographs of 2,000 pixels decode
makes 233 and the loop 29.

Half of decoding is out of reach of this network on these cores, whatever computes it. A picture
is read and decoded in 0.144 ms (0.011 of it reading), so the network would have to answer in
another 0.144 ms. One look is 74.3 million multiply-adds. Measured with nothing but the instruction
in a loop, a core makes 231 thousand million of them per second in int8 (VNNI), 115 in bfloat16, 58
in float32: at that peak one look takes 0.32, 0.64 or 1.29 ms, and 0.144 / (0.144 + 0.32) is 0.31.
Convolutions by Winograd's F(2×2, 3×3) in int8, with nothing lost on the way, would make it 0.45.
ONNX Runtime reaches 0.45 ms for a look in int8 (72% of the peak; the rest is mostly normalising and
laying out the picture) and 1.38 ms in float32 (93%). Half would take a network of 23 million
multiply-adds at that pace. What could be saved was the second look: int8 looks at the mirror image
only of pictures of which it is not sure (11%), which took 0.99 ms to 0.55 ms per picture and the
weighted F1 from 0.97488 to 0.97488 (one look for all: 0.97148).

Nor does a cascade reach it, in which a small network answers where it is sure and the whole one
looks at the rest (Viola & Jones 2001). Students of the int8 model's probabilities (distillation,
Hinton et al. 2015; 24,152 training pictures, flips and moves; one seed each), how much they cost
(decoding 0.17 ms, the whole network 0.51 ms in the same minutes), and the share of the 2,945
validation pictures that they may answer so that at most 5 labels (0.17%) differ from the model's:

    4.7 million multiply-adds, 8 epochs (102 s)    0.09 ms    65%    the same label: 94.5%
    9.3 million multiply-adds, 4 epochs (79 s)     0.12 ms    51%                    93.0%
    two layers on the gradients that the check of strange
    pictures computes anyway, 30 epochs (20 s)     0.00 ms    55%                    92.7%

The pictures left over are those that need the second look, too: 0.6 ms each. By these figures the
best of them would make 0.37 × decode of 0.26, reckoned, not measured. To double the rate, a student
of that price would have to answer 86%, nearly as many as the whole network itself is sure of at its
first look (89%). So it was not built.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WAYS = ("loop", "decode", "torch", "onnx", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=24_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", default=",".join(WAYS))
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    files = sorted(given.folder.glob("*.jpg"))[: given.images]
    if given.one:
        print(way(given.one, given.run, files))
        return
    best: dict[str, list[float]] = {}
    for _ in range(given.repeats):
        for name in given.only.split(","):
            words = [sys.executable, __file__, str(given.run), str(given.folder), "--one", name]
            words += ["--images", str(given.images)]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                print(f"{name:>8}: {(done.stderr.strip() or 'was ended').splitlines()[-1]}")
                continue
            rates = [len(files) / float(seconds) for seconds in done.stdout.split()[-2:]]
            best[name] = [max(pair) for pair in zip(rates, best.get(name, rates), strict=True)]
    for name, (rate, per_core) in best.items():
        peers = [peer for peer in ("loop", "decode") if peer in best]
        ratios = (
            f"{rate / best[p][0]:.2f} (core: {per_core / best[p][1]:.2f}) × {p}" for p in peers
        )
        print(f"{name:>8}: {rate:7,.0f}/s {per_core:7,.0f}/core s   {'   '.join(ratios)}")


def way(name: str, run: Path, files: list[Path]) -> str:
    """Seconds, and processor seconds, for all files after a warm-up that loads what is needed."""
    ways = {"loop": _loop, "decode": _decode}
    prepared = ways[name](run) if name in ways else _candid(name, run)
    prepared(files[:64])
    began, worked = time.perf_counter(), time.process_time()
    prepared(files)
    return f"{time.perf_counter() - began} {time.process_time() - worked}"


def _loop(run: Path) -> Callable[[list[Path]], None]:
    import csv

    import numpy as np
    import torch
    from PIL import Image

    from candid.models.model import load_network
    from candid.records import ModelCard, read_record

    card = read_record(run / "model.json", ModelCard)
    network = load_network(run / "model.safetensors", card, torch.device("cpu"))
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    mean, std = (torch.tensor(v)[:, None, None] for v in (card.mean, card.std))

    def label(files: list[Path]) -> None:
        with tempfile.TemporaryFile("w+") as out, torch.no_grad():
            rows = csv.writer(out)
            for start in range(0, len(files), 64):
                some = files[start : start + 64]
                batch = []
                for file in some:
                    image = Image.open(file).convert("RGB").resize((card.side, card.side))
                    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
                    batch.append((tensor - mean) / std)
                images = torch.stack(batch)
                logits = network(images)
                if card.flip_tta:
                    logits = (logits + network(images.flip(3))) / 2
                probability = (logits / card.temperature).softmax(1)
                for file, p in zip(some, probability, strict=True):
                    rows.writerow([file, card.classes[int(p.argmax())], *p.tolist()])

    return label


def _decode(run: Path) -> Callable[[list[Path]], None]:
    from concurrent.futures import ThreadPoolExecutor

    from candid.cores import cores
    from candid.data.decode import decode
    from candid.data.sources import read_file
    from candid.records import ModelCard, read_record

    side = read_record(run / "model.json", ModelCard).side

    def some(files: list[Path]) -> None:
        for file in files:
            decode(read_file(str(file)), side=side, max_pixels=100_000_000)

    def label(files: list[Path]) -> None:
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(some, [files[i : i + 32] for i in range(0, len(files), 32)]))

    return label


def _candid(engine: str, run: Path) -> Callable[[list[Path]], None]:
    from candid.inference.sources import resolve
    from candid.pipeline.labelling import label_pictures, open_labeller, single_threaded
    from candid.runs import Run

    ready = open_labeller(Run(run), engine=engine)  # type: ignore[arg-type]

    def label(files: list[Path]) -> None:
        with tempfile.TemporaryDirectory() as folder, single_threaded():
            named = resolve([str(file) for file in files])
            label_pictures(ready, named, Path(folder, "labels.csv"), "csv")

    return label


if __name__ == "__main__":
    main()
