"""Candid: labelled face images in; a classifier and the whole truth about it out.

>>> import candid
>>> dataset = candid.load("faces", target="Face")
>>> run = candid.run(dataset, out="runs/first")
>>> run.predictions.to_frame()

Names are loaded when they are first used, so importing the package loads nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers read it; importing typing would take longer than the rest

__version__ = "0.1.0"

_NAMES = {
    "candid.config": ("load_config",),
    "candid.data.dataset": ("Dataset",),
    "candid.data.in_memory": ("load_images",),
    "candid.explanation.assembly": ("explain_network",),
    "candid.explanation.attribution": ("saliency_maps",),
    "candid.pipeline": ("check", "demo", "explore", "load", "run", "train", "tune"),
    "candid.predictions.choosing": ("Columns",),
    "candid.predictions.numbers": ("NumberAnswers",),
    "candid.pipeline.caching": ("list_packs",),
    "candid.pipeline.calibrating": ("calibrate",),
    "candid.pipeline.comparing": ("compare",),
    "candid.pipeline.correcting": ("apply_corrections", "merge_corrections"),
    "candid.pipeline.estimator": ("CandidClassifier", "CandidRegressor"),
    "candid.pipeline.external": ("transfer",),
    "candid.pipeline.growing": ("learning_curves",),
    "candid.pipeline.improving": ("improve",),
    "candid.pipeline.judging": ("audit", "evaluate", "explain_run", "report"),
    "candid.pipeline.publishing": ("push",),
    "candid.pipeline.reviewing": ("review",),
    "candid.pipeline.using": (
        *("application", "export", "load_model", "predict", "predict_shards", "serve"),
    ),
    "candid.pipeline.listing": ("list_runs",),
    "candid.pipeline.removing": ("remove_runs",),
    "candid.pipeline.tracking": ("log_run",),
    "candid.predictions": ("Predictions", "read_predictions"),
    "candid.models.model": ("Whole",),
    "candid.records.answers": ("AnsweredImages",),
    "candid.runs": ("Run", "open_run"),
    "candid.settings": ("Config",),
    "candid.table": ("Table",),
}
_WHERE = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "AnsweredImages",
    "CandidClassifier",
    "CandidRegressor",
    "Columns",
    "Config",
    "Dataset",
    "NumberAnswers",
    "Predictions",
    "Run",
    "Table",
    "Whole",
    "application",
    "apply_corrections",
    "audit",
    "calibrate",
    "check",
    "compare",
    "demo",
    "evaluate",
    "explain_network",
    "explain_run",
    "explore",
    "export",
    "improve",
    "learning_curves",
    "list_packs",
    "list_runs",
    "load",
    "load_config",
    "load_images",
    "load_model",
    "log_run",
    "merge_corrections",
    "open_run",
    "predict",
    "predict_shards",
    "push",
    "read_predictions",
    "remove_runs",
    "report",
    "review",
    "run",
    "saliency_maps",
    "serve",
    "train",
    "transfer",
    "tune",
]

if TYPE_CHECKING:
    from typing import Any

    from candid.config import load_config
    from candid.data.dataset import Dataset
    from candid.data.in_memory import load_images
    from candid.explanation.assembly import explain_network
    from candid.explanation.attribution import saliency_maps
    from candid.models.model import Whole
    from candid.pipeline import check, demo, explore, load, run, train, tune
    from candid.pipeline.caching import list_packs
    from candid.pipeline.calibrating import calibrate
    from candid.pipeline.comparing import compare
    from candid.pipeline.correcting import apply_corrections, merge_corrections
    from candid.pipeline.estimator import CandidClassifier, CandidRegressor
    from candid.pipeline.external import transfer
    from candid.pipeline.growing import learning_curves
    from candid.pipeline.improving import improve
    from candid.pipeline.judging import audit, evaluate, explain_run, report
    from candid.pipeline.listing import list_runs
    from candid.pipeline.publishing import push
    from candid.pipeline.removing import remove_runs
    from candid.pipeline.reviewing import review
    from candid.pipeline.tracking import log_run
    from candid.pipeline.using import (
        application,
        export,
        load_model,
        predict,
        predict_shards,
        serve,
    )
    from candid.predictions import Predictions, read_predictions
    from candid.predictions.choosing import Columns
    from candid.predictions.numbers import NumberAnswers
    from candid.records.answers import AnsweredImages
    from candid.runs import Run, open_run
    from candid.settings import Config
    from candid.table import Table


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        import importlib

        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'candid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
