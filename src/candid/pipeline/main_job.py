"""The main job, step by step, each done again only where what it reads has changed."""

from __future__ import annotations

from functools import partial

from candid.pipeline.ahead import ahead
from candid.pipeline.aligning import align_sources
from candid.pipeline.auditing import MeasuredTone
from candid.pipeline.checking import check_run, refuse_check
from candid.pipeline.drifting import learn_drift
from candid.pipeline.explaining import explain_images, show_inside
from candid.pipeline.opening import Data, aligned_data
from candid.pipeline.seeds import try_seeds
from candid.pipeline.several import learn_several
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
from candid.progress import stages
from candid.runs import Run


def everything(run: Run, data: Data, *, jobs: int = 1) -> None:
    """What `candid run` does once a run and its data are there.

    With two `jobs`, the network that frames is trained beside the classifier; figures stay.
    """
    if run.settings.data.is_several:
        learn_several(run, data)
        return
    refuse_check(run, data)
    from candid.models.device import threads

    with (
        threads(run.settings.train.threads),
        stages(tuple(run.steps), quiet=run.quiet) as shown,
    ):
        step = partial(run.step, shown=shown)
        step("explore", explore_data, data)
        if "align" in run.steps:
            step("align", align_sources, data)
        data = aligned_data(run, data)
        with ahead(run, data, train_framer, learn_unfamiliar, jobs=jobs) as left:
            step("train", train_network, data)
            step("predict", predict_splits, data)
            step("evaluate", evaluate_run)
            step("audit", audit_run, MeasuredTone(data, quiet=run.quiet))
            step("pictures", show_pictures, data)
            step("explain", explain_images, data)
            step("inside", show_inside, data)
            step("frame", left(train_framer), data)
            step("unfamiliar", left(learn_unfamiliar), data)
        if "check" in run.steps:
            step("check", check_run, data)
        step("drift", learn_drift, data)
        if "seeds" in run.steps:
            step("seeds", try_seeds, data)
        step("report", write_report)
