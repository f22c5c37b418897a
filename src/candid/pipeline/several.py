"""Several labels in one training: what is done once, what for each, and the overview of all.

Each label has a folder in the run, which is a run of its own (`candid.runs.Run`) with steps of its
own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from candid.pipeline.auditing import ToneCache
from candid.pipeline.explaining import explain_images, show_inside
from candid.pipeline.numbers import evaluate_number_run, write_number_report
from candid.pipeline.opening import Data
from candid.pipeline.overview import summarise_targets, write_overview_report
from candid.pipeline.steps import (
    add_report_images,
    audit_run,
    evaluate_run,
    explore_data,
    learn_unfamiliar,
    predict_splits,
    write_report,
)
from candid.pipeline.training import train_framer, train_network
from candid.progress import Stages, stages
from candid.records import read_record
from candid.records.targets import TargetLabel, Targets
from candid.runs import SHARED_STEPS, Run, target_steps


def run_several_targets(run: Run, data: Data) -> None:
    """The main job for several labels."""
    titles = [f"label {name}" for name in data.dataset.targets]
    shared = [*SHARED_STEPS]
    split_at = shared.index("predict") + 1
    with stages((*shared[:split_at], *titles, *shared[split_at:]), quiet=run.quiet) as display:
        step = partial(run.step, shown=display)
        step("explore", explore_data, data)
        step("train", train_network, data)
        step("frame", train_framer, data)
        step("unfamiliar", learn_unfamiliar, data)
        predict_targets(run, data, display)
        labels = read_record(run.targets, Targets).labels
        tones = ToneCache(data, quiet=run.quiet)
        for label, label_run in zip(labels, run.target_runs(), strict=True):
            _evaluate_target(label_run, data, label, len(labels), tones, display)
        step("overview", summarise_targets)
        step("report", write_overview_report)


def predict_targets(run: Run, data: Data, display: Stages | None = None) -> None:
    """Predict all labels, also where one of them lost its predictions."""
    if not all(r.predictions_file.is_file() and r.model_file.is_file() for r in run.target_runs()):
        run.mark_begun("predict")
    run.step("predict", predict_splits, data, shown=display)


def _evaluate_target(
    run: Run, data: Data, label: TargetLabel, n_labels: int, tones: ToneCache, display: Stages
) -> None:
    """Do the steps after training for one of so many labels, which share `tones`, in its folder."""
    title, is_number = f"label {label.name}", label.number is not None
    names = target_steps(n_labels, number=is_number)
    if all(map(run.is_current, names)):
        display.skip(title)
        return
    label_data = data.of_target(label.name, run.settings.data)
    steps: dict[str, tuple[Any, ...]] = {
        "explore": (explore_data, label_data),
        "evaluate": (evaluate_number_run,) if is_number else (evaluate_run,),
        "audit": (audit_run,) if is_number else (audit_run, tones),
        "pictures": (add_report_images, label_data),
        "explain": (explain_images, label_data),
        "inside": (show_inside, label_data),
        "report": (write_number_report,) if is_number else (write_report,),
    }
    with display.begin(title):
        for step, (function, *inputs) in steps.items():
            if step in names:
                run.step(step, function, *inputs)
