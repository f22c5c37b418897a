"""A run with another last layer, as a run of its own; which runs can be improved."""

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
from candid.storage.files import copy_file
from candid.storage.jobs import locked

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

    `network` gets the new last layer, too. Its predictions for validation are out of fold, so that
    their figures and thresholds do not flatter. The remedy's temperature calibrates the logits.
    """
    from candid.models.last_layer import set_last_layer
    from candid.models.weights import save_weights

    name = re.sub(r"[^\w.-]", "-", remedy.name)  # an attribute may be called anything
    improved = Run(run.path / IMPROVED / name, run.settings, quiet=run.quiet)
    if improved.path.exists():
        shutil.rmtree(improved.path)
    improved.path.mkdir(parents=True)
    copy_files(run, improved, _SHARED)
    card = read_record(run.model_file, ModelCard)
    if remedy.layer is not None:
        new = remedy.layer
        set_last_layer(layer, new.weight, new.bias, new.scale / card.temperature)
    save_weights(improved.weights, network.state_dict())
    write_record(improved.model_file, replace(card, temperature=remedy.temperature))
    provenance = read_record(run.provenance, Provenance)
    digests = {name: digest for name, digest in provenance.digests.items() if name in _STEPS}
    seconds = {name: s for name, s in provenance.seconds.items() if name in _STEPS}
    write_record(improved.provenance, replace(provenance, digests=digests, seconds=seconds))
    write_predictions(
        improved.predictions_file, _build_predictions(predictions, arena, remedy, test)
    )
    copy_file(run.config, improved.config)  # the last: it makes the folder a run
    improved.mark_done("predict")
    with improved.recording("evaluate"):
        evaluate_run(improved)
    return improved


def _build_predictions(
    predictions: Predictions, arena: Arena, remedy: Remedy, test: Predictions
) -> Predictions:
    """The run's predictions with the new probabilities, in its order."""
    answers = dict(zip(arena.before.ids.tolist(), remedy.after.probability, strict=True))
    answers |= dict(zip(test.ids.tolist(), test.probability, strict=True))
    p = predictions[np.array([name in answers for name in predictions.ids.tolist()])]
    probability = np.stack([answers[name] for name in p.ids.tolist()])
    provenance = {**predictions.provenance, "last layer": remedy.name}
    temperature = remedy.temperature
    return replace(p, probability=probability, temperature=temperature, provenance=provenance)


def refuse_improving(run: Run, aim: Aim, folds: int, *, train: bool, corrections: bool) -> None:
    """Raise where a run cannot be improved, or not with these options."""
    refuse_untrained(run)
    if corrections and not train:
        raise ConfigError(
            "Corrections help nothing that is not trained anew.",
            expected="--train beside --corrections",
            todo="add --train, or leave --corrections out",
        )
    if run.parent is not None:
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


def lock_improving(run: Run) -> AbstractContextManager[object]:
    """Lock the run against others who improve it."""
    lock = run.path / IMPROVED / ".lock"
    return locked(lock, output=str(run.path), expected="one process", todo="wait for it")
