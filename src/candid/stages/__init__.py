"""The stages of a run, one function each: reads files of the run folder, writes its own.

This is where the wings meet: only here do data, learn, judge and report know of each other. Each
stage can be run again alone.
"""

from candid.stages.exploring import explore, look
from candid.stages.judging import evaluate, predict, show_examples
from candid.stages.reporting import everything, report
from candid.stages.starting import (
    Data,
    begin,
    begin_training,
    load,
    needs_torch,
    open_or_begin,
    pack,
    reload,
)
from candid.stages.training import draw_augmented, train

__all__ = [
    "Data",
    "begin",
    "begin_training",
    "draw_augmented",
    "evaluate",
    "everything",
    "explore",
    "load",
    "look",
    "needs_torch",
    "open_or_begin",
    "pack",
    "predict",
    "reload",
    "report",
    "show_examples",
    "train",
]
