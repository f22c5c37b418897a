"""How much is luck: the run's training again with other seeds, each in a folder of its own.

One after the other: side by side, as one batched network (`torch.func.vmap` over four `plain`), was
1.8 times slower on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from candid import runs
from candid.errors import ConfigError
from candid.evaluation.seeds import compare_seeds
from candid.pipeline.opening import Data, begin_or_resume, is_distributed
from candid.pipeline.steps import predict_splits, thumbnails
from candid.pipeline.training import train_network
from candid.predictions import Predictions, read_predictions
from candid.progress import stages
from candid.records import read_record, write_record
from candid.records.audit import Audit
from candid.runs import Run
from candid.runs.copies import FRAME_FILES, copy_files
from candid.runs.folders import SEEDS
from candid.settings import Config, SeedsConfig
from candid.settings.bounds import LARGEST_SEED
from candid.storage.files import atomic
from candid.storage.jobs import locked

if TYPE_CHECKING:
    from torch import nn

# What does not depend on the classifier: a seed's folder has the run's own, so that it is as
# complete for new pictures as the run is. They were fitted to the same pictures, whatever the seed.
_SHARED = ("framing_weights", "framing", "unfamiliar")


def refuse_seeds(config: Config, network: nn.Module | None) -> None:
    """Raise a ConfigError where several seeds cannot be trained."""
    if config.seeds.count < 2:
        return
    reason = ""
    if config.data.is_several:
        reason = "is for one label with classes"
    elif network is not None:
        reason = "needs a network that can be built by name: a module holds its weights already"
    elif is_distributed():
        reason = "needs one process"
    if reason:
        raise ConfigError(
            f"seeds.count = {config.seeds.count} {reason}.",
            expected="one label, a network named in the settings, and one process",
            todo="leave --seeds out",
        )


def seeds_of(config: Config) -> list[int]:
    """The run's seed, and those after it."""
    return [(config.train.seed + k) % (LARGEST_SEED + 1) for k in range(config.seeds.count)]


def train_seeds(run: Run, data: Data) -> None:
    """Write seeds.json and seeds.parquet, and each other seed's training below seeds/; go on there.

    Raises OutputError where another process trains these seeds; RunError where a seed's folder
    holds another training.
    """
    seeds = seeds_of(run.settings)
    folder = run.path / SEEDS
    todo = "wait for it, or name another place with --out"
    with locked(folder / ".lock", output=str(folder), expected="one process", todo=todo):
        answers = [read_predictions(run.predictions_file)]
        with stages([f"seed {seed}" for seed in seeds[1:]], quiet=run.quiet) as display:
            for seed in seeds[1:]:
                with display.begin(f"seed {seed}"):
                    answers.append(_train_seed(run, data, seed, folder / str(seed)))
    abstention = read_record(run.audit, Audit).abstention
    targets = () if abstention is None else abstention.targets
    rules = [t.rule for t in targets if t.rule is not None]
    config = run.settings
    comparison = compare_seeds(answers, seeds, rules, config.evaluate, config.audit)
    _write_seed_answers(run.seed_answers, answers, seeds)
    pictures = runs.read_pictures(run)
    image_ids = [i.example.id for s in comparison.splits for i in s.images]
    thumbnails_by_id = thumbnails(data.dataset, run.settings, image_ids, pictures)
    runs.write_pictures(run, pictures | thumbnails_by_id)  # of the report
    write_record(run.seeds, comparison)


def _train_seed(run: Run, data: Data, seed: int, path: Path) -> Predictions:
    """The predictions of the run's training with another seed."""
    config = run.settings
    seed_config = replace(config, train=replace(config.train, seed=seed), seeds=SeedsConfig())
    seed_run, _ = begin_or_resume(data, seed_config, path, quiet=run.quiet)
    copy_files(run, seed_run, FRAME_FILES)  # before it trains: it learns from such pictures
    seed_run.step("train", train_network, data)
    seed_run.step("predict", predict_splits, data)
    copy_files(run, seed_run, _SHARED)
    return read_predictions(seed_run.predictions_file)


def _write_seed_answers(path: Path, answers: Sequence[Predictions], seeds: Sequence[int]) -> None:
    """One row per image: each seed's prediction, and how many of them agree."""
    first = answers[0]
    codes = np.stack([p.prediction for p in answers])  # (seeds, n)
    agreement = np.max([(codes == k).sum(axis=0) for k in range(len(first.classes))], axis=0)
    words = np.array([*first.classes, None], dtype=object)  # the last is of an image without label
    columns: dict[str, Any] = {
        "id": first.ids.tolist(),
        "split": first.split.tolist(),
        "label": words[first.label].tolist(),
        "agreeing": agreement.astype(np.int32),
    }
    if first.person is not None:
        columns["person"] = first.person
    columns |= {f"seed {s}": words[codes[k]].tolist() for k, s in enumerate(seeds)}
    with atomic(path) as part:
        pq.write_table(pa.table(columns), part, compression="zstd")
