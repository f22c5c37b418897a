"""What a stream of shards costs: pictures per second and memory, beside a pack and beside decoding.

Writes the pictures of a data folder into tar shards, and then, each in a process of its own and
with one thread that decodes: (a) decodes the pictures one after the other, nothing else; (b) takes
one epoch of training batches from a finished pack; (c) takes one epoch from a stream of the shards.
No network is trained. Prints pictures per second of a processor, and by how much the most memory
that the process held exceeds what it held before (of a pack, what is mapped of the file counts).

    python bench/stream.py ../shared/data/celeba64 --images 30000

Result on CelebA (30,000 JPEGs of 64 × 64 in 30 shards, of which 24,152 are for training; a buffer
of 8,192; one core of an AMD EPYC, shared with other work):

    decode   24,064 pictures: 6,145 per second of a processor, 0 MiB more memory
    pack     24,064 pictures: 50,882 per second of a processor, 355 MiB more memory
    stream   24,064 pictures: 4,213 per second of a processor, 103 MiB more memory

Decoding and normalising alone take 0.18 ms a picture, a stream 0.24. Beside the 4.2 ms that `plain`
takes to learn from a picture, it adds 5% to an epoch of a pack, and 8% for `deep`.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

SHARD = 1000  # pictures in each
BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--buffer", type=int, default=8192)
    parser.add_argument("--mode", choices=MODES, help="what a process of this script does alone")
    parser.add_argument("--cache", type=Path)
    asked = parser.parse_args()
    if asked.mode:
        print(json.dumps(measured(asked.mode, asked.data, asked.buffer, asked.cache)))
        return
    with tempfile.TemporaryDirectory() as folder:
        shards, cache = Path(folder) / "shards", Path(folder) / "cache"
        write_shards(asked.data, shards, asked.images)
        for mode in MODES:
            words = [__file__, str(shards), "--buffer", str(asked.buffer), "--mode", mode]
            done = subprocess.run(
                [sys.executable, *words, "--cache", str(cache)], stdout=subprocess.PIPE, check=True
            )
            found = json.loads(done.stdout)
            print(
                f"{mode:8} {found['images']:,} pictures: {found['rate']:,.0f} per second of a "
                f"processor, {found['memory'] / 2**20:,.0f} MiB more memory"
            )


def write_shards(data: Path, shards: Path, images: int) -> None:
    """The pictures and labels of a data folder as tar shards."""
    from candid.data import layouts

    dataset = layouts.load_dataset(data)
    shards.mkdir()
    for first in range(0, min(images, len(dataset)), SHARD):
        with tarfile.open(shards / f"{first // SHARD:03}.tar", "w") as archive:
            for row in range(first, min(first + SHARD, len(dataset))):
                said = {
                    dataset.target: dataset.classes[dataset.label[row]],
                    "split": str(dataset.split[row]),
                }
                for ending, content in (
                    ("jpg", dataset.source.read(row)),
                    ("json", json.dumps(said).encode()),
                ):
                    member = tarfile.TarInfo(f"{row:08}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def measured(mode: str, shards: Path, buffer: int, cache: Path) -> dict[str, float]:
    """Pictures, their rate and the memory of one mode."""
    import numpy as np
    import torch

    from candid.data import decode, layouts, store
    from candid.data.dataset import Dataset
    from candid.data.streaming import Streamed
    from candid.models.forward import Images
    from candid.settings import DataConfig, TrainConfig
    from candid.training.batches import FromShards, Packed
    from candid.training.distributed import Team

    torch.set_num_threads(1)
    config = DataConfig(workers=1, stream_buffer=buffer, target="Male")
    dataset: Dataset = layouts.load_dataset(shards, target="Male", config=config)
    rows = dataset.rows("train")
    how = (TrainConfig(batch_size=BATCH), torch.device("cpu"), Team())
    colours = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    pixels = store.pack(dataset, config, cache=cache, quiet=True).pixels if mode == "pack" else None
    before, began = memory(), time.process_time()
    count = len(rows) // BATCH
    if mode == "decode":
        for row in rows[: count * BATCH]:
            decode.decode(dataset.source.read(int(row)), side=64, max_pixels=10**8)
    else:
        if pixels is not None:
            feed: Packed | FromShards = Packed(Images(pixels, *colours), rows, *how)
        else:
            nothing = Images(np.zeros((0, 64, 64, 3), np.uint8), *colours)
            stream = Streamed(dataset, np.zeros(0, np.intp), config)
            feed = FromShards(nothing, stream, rows, *how)
        with closing(feed.batches(0)) as batches:
            for _ in islice(batches, count):
                pass
    seconds = time.process_time() - began
    images = count * BATCH
    return {"images": images, "rate": images / seconds, "memory": memory() - before}


def memory() -> int:
    """The most bytes that this process has held."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


MODES = ("decode", "pack", "stream")

if __name__ == "__main__":
    main()
