"""The main job, step by step, each done again only where what it reads has changed."""

from __future__ import annotations

from functools import partial

from candid.pipeline.ahead import run_in_background
from candid.pipeline.aligning import align_sources
from candid.pipeline.auditing import ToneCache
from candid.pipeline.checking import check_run, refuse_check
from candid.pipeline.drifting import fit_drift
from candid.pipeline.explaining import explain_images, show_inside
from candid.pipeline.opening import Data, use_frames
from candid.pipeline.seeds import train_seeds
from candid.pipeline.several import run_several_targets
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
from candid.progress import stages
from candid.runs import Run


def run_main_job(run: Run, data: Data, *, jobs: int = 1) -> None:
    """Do the steps of `candid run`; with two `jobs`, the network that frames trains beside."""
    if run.settings.data.is_several:
        run_several_targets(run, data)
        return
    refuse_check(run, data)
    from candid.models.device import threads

    with (
        threads(run.settings.train.threads),
        stages(tuple(run.steps), quiet=run.quiet) as display,
    ):
        step = partial(run.step, shown=display)
        step("explore", explore_data, data)
        if "align" in run.steps:
            step("align", align_sources, data)
        data = use_frames(run, data)
        with run_in_background(run, data, train_framer, learn_unfamiliar, jobs=jobs) as remaining:
            step("train", train_network, data)
            step("predict", predict_splits, data)
            step("evaluate", evaluate_run)
            step("audit", audit_run, ToneCache(data, quiet=run.quiet))
            step("pictures", add_report_images, data)
            step("explain", explain_images, data)
            step("inside", show_inside, data)
            step("frame", remaining(train_framer), data)
            step("unfamiliar", remaining(learn_unfamiliar), data)
        if "check" in run.steps:
            step("check", check_run, data)
        step("drift", fit_drift, data)
        if "seeds" in run.steps:
            step("seeds", train_seeds, data)
        step("report", write_report)
