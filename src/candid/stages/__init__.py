"""The stages of a run, one function each: reads files of the run folder, writes its own.

This is where the wings meet: only here do data, learn, judge and report know of each other. Each
stage can be run again alone.
"""

from candid.stages.auditing import audit, audit_predictions
from candid.stages.explaining import draw_explained, explain, explain_pictures
from candid.stages.exploring import explore, look
from candid.stages.inside import look_inside
from candid.stages.judging import evaluate, predict
from candid.stages.reporting import everything, report
from candid.stages.serving import application, load_served, serve
from candid.stages.starting import (
    Data,
    begin,
    begin_training,
    load,
    needs_torch,
    open_or_begin,
    pack,
    reload,
    reopen,
)
from candid.stages.steps import all_whole
from candid.stages.together import launched, open_together, together
from candid.stages.training import draw_augmented, train
from candid.stages.tuning import needs_optuna, study_folder, tune
from candid.stages.using import know_pictures

__all__ = [
    "Data",
    "all_whole",
    "application",
    "audit",
    "audit_predictions",
    "begin",
    "begin_training",
    "draw_augmented",
    "draw_explained",
    "evaluate",
    "everything",
    "explain",
    "explain_pictures",
    "explore",
    "know_pictures",
    "launched",
    "load",
    "load_served",
    "look",
    "look_inside",
    "needs_optuna",
    "needs_torch",
    "open_or_begin",
    "open_together",
    "pack",
    "predict",
    "reload",
    "reopen",
    "report",
    "serve",
    "study_folder",
    "together",
    "train",
    "tune",
]
