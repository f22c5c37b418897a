"""Several labels in one training: what is done once, what for each, and the overview of all.

A run that learns several labels has one network. Each label has a folder in it, which is a run of
its own (`candid.runs.Run`): the steps that follow training work there as they do for one label.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from candid.pipeline.auditing import MeasuredTone
from candid.pipeline.explaining import explain_images, show_inside
from candid.pipeline.numbers import evaluate_number_run, write_number_report
from candid.pipeline.opening import Data
from candid.pipeline.overview import summarise_targets, write_overview_report
from candid.pipeline.steps import (
    audit_run,
    evaluate_run,
    explore_data,
    learn_unfamiliar,
    predict_splits,
    show_pictures,
    write_report,
)
from candid.pipeline.training import train_framer, train_network
from candid.progress import Stages, stages
from candid.records import read_record
from candid.records.targets import TargetLabel, Targets
from candid.runs import SHARED_STEPS, Run, target_steps


def learn_several(run: Run, data: Data) -> None:
    """The main job of a run with several labels."""
    names = [f"label {name}" for name in data.dataset.targets]
    shared = [*SHARED_STEPS]
    place = shared.index("predict") + 1
    with stages((*shared[:place], *names, *shared[place:]), quiet=run.quiet) as shown:
        step = partial(run.step, shown=shown)
        step("explore", explore_data, data)
        step("train", train_network, data)
        step("frame", train_framer, data)
        step("unfamiliar", learn_unfamiliar, data)
        predict_targets(run, data, shown)
        several = read_record(run.targets, Targets).labels
        measured = MeasuredTone(data, quiet=run.quiet)
        for label, one in zip(several, run.of_targets(), strict=True):
            _judge_target(one, data, label, len(several), measured, shown)
        step("overview", summarise_targets)
        step("report", write_overview_report)


def predict_targets(run: Run, data: Data, shown: Stages | None = None) -> None:
    """The step that predicts for all labels, also where one of them lost its predictions."""
    if not all(
        one.predictions_file.is_file() and one.model_file.is_file() for one in run.of_targets()
    ):
        run.forget("predict")
    run.step("predict", predict_splits, data, shown=shown)


def _judge_target(
    run: Run, data: Data, label: TargetLabel, labels: int, measured: MeasuredTone, shown: Stages
) -> None:
    """What follows training, for one of so many labels, in its own folder.

    `measured` is the skin tone of the pictures, which all labels share.
    """
    title, is_number = f"label {label.name}", label.number is not None
    planned = target_steps(labels, number=is_number)
    if all(map(run.is_whole, planned)):
        shown.skip(title)
        return
    own = data.of_target(label.name, run.settings.data)
    steps: dict[str, tuple[Any, ...]] = {
        "explore": (explore_data, own),
        "evaluate": (evaluate_number_run,) if is_number else (evaluate_run,),
        "audit": (audit_run,) if is_number else (audit_run, measured),
        "pictures": (show_pictures, own),
        "explain": (explain_images, own),
        "inside": (show_inside, own),
        "report": (write_number_report,) if is_number else (write_report,),
    }
    with shown.begin(title):
        for step, (function, *inputs) in steps.items():
            if step in planned:
                run.step(step, function, *inputs)
