"""A run with another last layer, as a run folder of its own; and which runs can be improved."""

from __future__ import annotations

import re
import shutil
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from candid.errors import ConfigError, RunError
from candid.improvement.arena import Arena
from candid.improvement.remedies import Remedy
from candid.pipeline.steps import evaluate_run
from candid.predictions import Predictions, write_predictions
from candid.records import ModelCard, Provenance, read_record, write_record
from candid.records.improvement import Aim
from candid.runs import Run
from candid.runs.copies import FRAME_FILES, copy_files
from candid.runs.folders import IMPROVED
from candid.runs.refusals import refuse_untrained
from candid.storage.files import copied
from candid.storage.jobs import alone

if TYPE_CHECKING:
    from torch import nn

AIMS: tuple[Aim, ...] = ("worst group", "overall")

# What does not depend on the last layer, and the steps that wrote it.
_SHARED = (
    *("history", "data", "findings", "pictures", "framing", "framing_weights"),
    *("unfamiliar", "applied", *FRAME_FILES),
)
_STEPS = ("explore", "align", "train", "frame", "unfamiliar")


def write_improved(
    run: Run,
    remedy: Remedy,
    predictions: Predictions,
    arena: Arena,
    test: Predictions,
    network: nn.Module,
    layer: nn.Linear,
) -> Run:
    """Write `improve/<name>/`: everything that `run` has, but for the last layer and what follows.

    `network` gets the new last layer, too. Its predictions for validation are out of fold: what
    each image's people had no part in; so figures and thresholds from them promise nothing too
    much. The new layer's logits are calibrated by the remedy's temperature.
    """
    from candid.models.last_layer import set_last_layer
    from candid.models.weights import save_weights

    name = re.sub(r"[^\w.-]", "-", remedy.name)  # an attribute may be called anything
    made = Run(run.path / IMPROVED / name, run.settings, quiet=run.quiet)
    if made.path.exists():
        shutil.rmtree(made.path)
    made.path.mkdir(parents=True)
    copy_files(run, made, _SHARED)
    card = read_record(run.model_file, ModelCard)
    if remedy.layer is not None:
        new = remedy.layer
        set_last_layer(layer, new.weight, new.bias, new.scale / card.temperature)
    save_weights(made.weights, network.state_dict())
    write_record(made.model_file, replace(card, temperature=remedy.temperature))
    about = read_record(run.provenance, Provenance)
    kept = {name: digest for name, digest in about.digests.items() if name in _STEPS}
    seconds = {name: s for name, s in about.seconds.items() if name in _STEPS}
    write_record(made.provenance, replace(about, digests=kept, seconds=seconds))
    write_predictions(made.predictions_file, _answers(predictions, arena, remedy, test))
    copied(run.config, made.config)  # the last: it makes the folder a run
    made.note("predict")
    with made.doing("evaluate"):
        evaluate_run(made)
    return made


def _answers(
    predictions: Predictions, arena: Arena, remedy: Remedy, test: Predictions
) -> Predictions:
    """The run's predictions with the new probabilities, in its order."""
    after = dict(zip(arena.before.ids.tolist(), remedy.after.probability, strict=True))
    after |= dict(zip(test.ids.tolist(), test.probability, strict=True))
    known = np.array([name in after for name in predictions.ids.tolist()])
    some = predictions[known]
    probability = np.stack([after[name] for name in some.ids.tolist()])
    about = {**predictions.provenance, "last layer": remedy.name}
    return replace(some, probability=probability, temperature=remedy.temperature, provenance=about)


def refuse_improving(run: Run, aim: Aim, folds: int, *, train: bool, corrections: bool) -> None:
    """Raise where a run cannot be improved, or not so."""
    refuse_untrained(run)
    if corrections and not train:
        raise ConfigError(
            "Corrections help nothing that is not trained anew.",
            expected="--train beside --corrections",
            todo="add --train, or leave --corrections out",
        )
    if run.whole is not None:
        raise RunError(
            f"{run.path} is one of several labels that share a network.",
            expected="a run of one label, whose last layer is its own",
            todo=f"train one with --target {run.path.name}",
        )
    if folds < 3 or aim not in AIMS:
        raise ConfigError(
            f"{folds} folds, aimed at {aim!r}, are not possible.",
            expected=f"at least 3 folds, and one of: {', '.join(AIMS)}",
            todo="change the folds or the aim",
        )


def alone_improving(run: Run) -> AbstractContextManager[object]:
    """Nobody else improves the run meanwhile."""
    lock = run.path / IMPROVED / ".lock"
    return alone(lock, output=str(run.path), expected="one process", todo="wait for it")
