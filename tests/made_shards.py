"""The same small pictures and annotations as tar and as Parquet shards, with splits or without."""

import io
import json
import tarfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from candid.data.tars import TarSource

KINDS = ("tar", "parquet")
SPLITS = ("validation", "test", *["train"] * 6)


def said(i):
    """What is annotated of a picture: the label can be seen, as pictures with a hat are darker."""
    return {
        "Hat": "straw" if i % 3 else "none",
        "age": i % 40,
        "person": f"p{i // 2}",
        "split": SPLITS[i // 2 % len(SPLITS)],
    }


def picture(i, side=16):
    """Unlike any other; with a hat it is darker."""
    pixels = np.random.default_rng(i).integers(0, 128 if i % 3 else 256, (side, side, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def write_tar(path, rows, cut=()):
    with tarfile.open(path, "w") as archive:
        for i in rows:
            data = picture(i)[: 60 if i in cut else None]
            members = ((f"{i:04}.png", data), (f"{i:04}.json", json.dumps(said(i)).encode()))
            for name, content in members:
                about = tarfile.TarInfo(name)
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))


def write_parquet(path, rows, cut=()):
    images = [
        {"bytes": picture(i)[: 60 if i in cut else None], "path": f"{i:04}.png"} for i in rows
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {name: [said(i)[name] for i in rows] for name in said(0)}
    table = pa.table({"image": pa.array(images, kind), **columns})
    pq.write_table(table, path, row_group_size=7)


def write_shards(folder, kind, sizes, cut=()):
    """One shard for each of the sizes; pictures are numbered through."""
    folder.mkdir(parents=True, exist_ok=True)
    write = {"tar": write_tar, "parquet": write_parquet}[kind]
    first = 0
    for k, size in enumerate(sizes):
        write(folder / f"faces-{k:03}.{kind}", range(first, first + size), cut)
        first += size
    return folder


class SlowTars(TarSource):
    """Takes its time for each picture, so that one can stop it in the middle."""

    def read(self, row):
        time.sleep(0.02)
        return super().read(row)
