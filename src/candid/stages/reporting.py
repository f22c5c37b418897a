"""The stage that writes the report, and all stages one after the other."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candid import runs
from candid.errors import ConfigError
from candid.records import Evaluation, Exploration, ModelCard, Provenance, read_record
from candid.records.audit import Audit
from candid.records.explanation import Explanation, read_explanation_arrays
from candid.records.inside import Inside, read_inside_arrays
from candid.runs import RunFolder
from candid.settings import Config
from candid.stages.auditing import audit, show_findings
from candid.stages.explaining import explain
from candid.stages.exploring import explore
from candid.stages.inside import look_inside
from candid.stages.judging import evaluate, predict, show_examples
from candid.stages.starting import Data
from candid.stages.training import train
from candid.stages.using import know_pictures

if TYPE_CHECKING:
    from torch import nn


def report(run: RunFolder, config: Config) -> Path:
    """Write report.html and the model card from the files of the run; returns the report's path."""
    from candid.files import write_text
    from candid.report.card import card
    from candid.report.inputs import ReportInput
    from candid.report.page import render

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


def everything(
    run: RunFolder,
    data: Data,
    config: Config,
    *,
    network: nn.Module | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Explore, train, predict, evaluate, audit, explain and report: what `candid run` does.

    Stages whose files are whole are not done again, so a run that was killed goes on.
    """
    if not run.data.is_file():
        explore(run, data, config, quiet=quiet)
    train(run, data, config, network=network, quiet=quiet)
    predict(run, data, config, network=network, quiet=quiet)
    evaluation = evaluate(run, config)
    show_examples(run, data, config, evaluation)
    show_findings(run, data, config, audit(run, config, data, quiet=quiet))
    explain(run, data, config, network=network, quiet=quiet)
    with suppress(ConfigError):  # a network of a single layer has no inside
        look_inside(run, data, config, network=network, quiet=quiet)
    know_pictures(run, data, config)
    report(run, config)
    return evaluation
