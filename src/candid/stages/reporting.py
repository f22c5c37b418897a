"""The stage that writes the report, and all stages one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candid import runs
from candid.errors import ConfigError
from candid.progress import stages
from candid.records import Evaluation, Exploration, ModelCard, Provenance, read_record
from candid.records.audit import Audit
from candid.records.explanation import Explanation, read_explanation_arrays
from candid.records.inside import Inside, read_inside_arrays
from candid.runs import RunFolder
from candid.settings import Config
from candid.stages.auditing import audit
from candid.stages.explaining import explain
from candid.stages.exploring import explore, thumbnails
from candid.stages.inside import look_inside
from candid.stages.judging import evaluate, predict
from candid.stages.starting import Data
from candid.stages.steps import is_whole, note, step
from candid.stages.training import augmented, train
from candid.stages.using import know_pictures

if TYPE_CHECKING:
    from torch import nn

_LIKELY_WRONG = 40  # labels that the report shows with their pictures


def report(run: RunFolder, config: Config) -> Path:
    """Write report.html and the model card from the files of the run; returns the report's path."""
    from candid.reporting.card import card
    from candid.reporting.inputs import ReportInput
    from candid.reporting.page import render
    from candid.storage.files import write_text

    pictures = runs.read_pictures(run)
    exploration = read_record(run.data, Exploration) if run.data.is_file() else None
    inputs = ReportInput(
        config=config,
        provenance=read_record(run.provenance, Provenance),
        evaluation=read_record(run.evaluation, Evaluation),
        exploration=exploration,
        history=runs.read_history(run),
        model=read_record(run.model, ModelCard) if run.model.is_file() else None,
        thumbnails={name: png for (kind, name), png in pictures.items() if kind == "thumbnail"},
        pictures={name: png for (kind, name), png in pictures.items() if kind == "picture"},
        samples=exploration.samples if exploration else {},
        audit=read_record(run.audit, Audit) if run.audit.is_file() else None,
        **_explained(run),
    )
    with step(run, "report", config):
        write_text(run.report, render(inputs))
        write_text(run.card, card(inputs))
    return run.report


def _explained(run: RunFolder) -> dict[str, Any]:
    """What there is of the explanation, and of the look inside."""
    found: dict[str, Any] = {}
    if run.explanation.is_file():
        found["explanation"] = read_record(run.explanation, Explanation)
        if run.explanation_arrays.is_file():
            found["maps"] = read_explanation_arrays(run.explanation_arrays)
    if run.inside.is_file():
        found["inside"] = read_record(run.inside, Inside)
        if run.inside_arrays.is_file():
            found["inside_pictures"] = read_inside_arrays(run.inside_arrays)
    return found


def show_pictures(run: RunFolder, data: Data, config: Config) -> None:
    """Add to the run's pictures what the report shows: mistakes, doubtful labels, augmentation."""
    with step(run, "pictures", config):
        evaluation = read_record(run.evaluation, Evaluation)
        found = read_record(run.audit, Audit)
        shown = [e.id for s in evaluation.splits for e in (*s.surest_mistakes, *s.least_sure)]
        shown += [e.id for s in found.splits for f in s.findings for e in f.mistakes]
        if found.noise is not None:
            shown += [w.id for w in found.noise.likely_wrong[:_LIKELY_WRONG]]
        pictures = runs.read_pictures(run)
        fresh = [i for i in dict.fromkeys(shown) if ("thumbnail", i) not in pictures]
        pictures |= thumbnails(data, config, fresh)
        if config.network.name != "features" and ("picture", "augmented") not in pictures:
            pictures["picture", "augmented"] = augmented(data, config)
        runs.write_pictures(run, pictures)


def everything(
    run: RunFolder,
    data: Data,
    config: Config,
    *,
    network: nn.Module | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Explore, train, predict, evaluate, audit, explain and report: what `candid run` does.

    Steps that are whole are not done again, so a run that was killed goes on.
    """
    own: dict[str, Any] = {"network": network, "quiet": quiet}
    work: dict[str, Callable[[], object]] = {
        "explore": lambda: explore(run, data, config, quiet=quiet),
        "train": lambda: train(run, data, config, **own),
        "predict": lambda: predict(run, data, config, **own),
        "evaluate": lambda: evaluate(run, config),
        "audit": lambda: audit(run, config, data, quiet=quiet),
        "pictures": lambda: show_pictures(run, data, config),
        "explain": lambda: explain(run, data, config, **own),
        "inside": lambda: _look_inside(run, data, config, **own),
        "typical": lambda: know_pictures(run, data, config),
        "report": lambda: report(run, config),
    }
    with stages(tuple(work), quiet=quiet) as told:
        for name, do in work.items():
            if is_whole(run, name, config):
                told.skip(name)
                continue
            with told.begin(name):
                do()
    return read_record(run.evaluation, Evaluation)


def _look_inside(run: RunFolder, data: Data, config: Config, **how: Any) -> None:
    try:
        look_inside(run, data, config, **how)
    except ConfigError:  # a network of a single layer has no inside
        note(run, "inside", config)
