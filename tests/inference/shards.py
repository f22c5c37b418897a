"""Pictures in shards, for tests of what labels and reads them."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from candid.errors import RunError
from candid.inference.abstaining import Rule
from candid.inference.classifier import Classifier
from candid.inference.classify import Labeller
from candid.pipeline.labelling import model_key
from candid.records import ModelCard
from inference.tiny import encoded, pixels, write_tar


def faces(n: int, *, seed: int = 0) -> list[bytes]:
    """Encoded pictures."""
    return [encoded(picture) for picture in pixels(n, seed=seed)]


def tar_shards(folder: Path, sizes: list[int]) -> list[Path]:
    """Tar shards of so many pictures each, all different; one picture in each cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, size in enumerate(sizes):
        members = {f"{i:04}.png": data for i, data in enumerate(faces(size, seed=number))}
        members["0001.png"] = b"no picture"
        shards.append(write_tar(folder / f"faces-{number:03}.tar", members))
    return shards


def parquet_shard(path: Path, pictures: list[bytes]) -> Path:
    """A Parquet file with embedded pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pa.array(pictures, pa.binary())}), path)
    return path


def rows_of(folder: Path) -> dict[str, list[dict[str, object]]]:
    """The rows of each part."""
    return {p.name: pq.read_table(p).to_pylist() for p in sorted(folder.glob("*.parquet"))}


class Red:
    """A model that can be worked out by hand: "yes" is as probable as the picture is red."""

    name = "by hand"

    def __call__(self, batch: Any) -> Any:
        red = batch[..., 0].mean((1, 2)) / 255
        return np.stack([1 - red, red], 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Fragile(Labeller):
    """Kills its own process in the middle of a shard, once for each file `die-…` in a folder."""

    folder: str = ""
    shard: str = "none"

    def rows(self, pictures: Any) -> list[list[Any]]:
        block = list(pictures)
        name = block[0][0].id
        if self.shard in name and not name.endswith("/0000.png"):  # not its first block
            for order in Path(self.folder).glob("die-*"):
                order.unlink()
                with (Path(self.folder) / "killed").open("a") as file:
                    file.write(f"{os.getpid()}\n")
                os.kill(os.getpid(), signal.SIGKILL)
        return super().rows(block)


def by_hand(
    run: Path | None = None, *, threshold: float = 0.6, folder: str = "", shard: str = "none"
) -> Fragile:
    """What labels with the model by hand; as a worker opens it from a run's files, or here."""
    if run is not None and (run / "broken").exists():
        raise RunError("The weights are damaged.", expected="others", todo="train again")
    card = ModelCard(
        "plain", {}, "Hat", ("no", "yes"), 16, (0, 0, 0), (1, 1, 1), 1.0, 0, 0, (), 1, "last"
    )
    model = Classifier(card, "stretch", 10_000, Rule(threshold, "by hand"), Red())
    return Fragile(model, None, None, folder, shard)


def job_of(labeller: Labeller, test: str) -> dict[str, Any]:
    """All that decides its rows, and the test that asks."""
    return model_key(labeller) | {"test": test}
