"""The stage that looks at the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from candid import runs
from candid.records import Exploration, write_record
from candid.runs import RunFolder
from candid.settings import Config
from candid.stages.starting import Data
from candid.stages.steps import step

if TYPE_CHECKING:
    from candid.data.explore import ExplorationImages


_THUMBNAIL = 96  # pixels per side


def look(
    data: Data, config: Config, *, findings: Path | None = None, quiet: bool = False
) -> tuple[Exploration, ExplorationImages]:
    """What is in the data; writes nothing but `findings`, all images behind them, if named."""
    from candid.data.explore import explore
    from candid.data.synthetic import is_synthetic

    exploration, images = explore(
        data.dataset,
        data.store,
        whole=None if data.streamed is None else data.streamed.dataset,
        findings=findings,
        confidence=config.evaluate.confidence,
        draws=config.evaluate.draws,
        seed=config.evaluate.seed,
        quiet=quiet,
    )
    samples = {c: tuple(data.dataset.ids[list(r)].tolist()) for c, r in images.samples.items()}
    drawn = is_synthetic(data.dataset.origin)
    return replace(exploration, samples=samples, synthetic=drawn), images


def explore(run: RunFolder, data: Data, config: Config, *, quiet: bool = False) -> Exploration:
    """Write data.json, findings.parquet, and the pictures that go with them."""
    from candid.data.pictures import png

    with step(run, "explore", config):
        exploration, images = look(data, config, findings=run.findings, quiet=quiet)
        shown = [i for ids in exploration.samples.values() for i in ids]
        pictures = {("picture", name): png(pixels) for name, pixels in images.pictures().items()}
        pictures |= thumbnails(data, config, shown)
        runs.write_pictures(run, runs.read_pictures(run) | pictures)
        write_record(run.data, exploration)  # the last: it says that exploring is done
    return exploration


def thumbnails(data: Data, config: Config, ids: list[str]) -> dict[tuple[str, str], bytes]:
    """Small pictures of some images by ("thumbnail", id)."""
    from candid.data.pictures import thumbnail

    row = {str(data.dataset.ids[i]): i for i in range(len(data.dataset))} if ids else {}
    return {
        ("thumbnail", i): thumbnail(
            data.dataset, row[i], side=_THUMBNAIL, max_pixels=config.data.max_pixels
        )
        for i in ids
    }
