"""Candid: labelled face images in; a classifier and the whole truth about it out.

>>> import candid
>>> dataset = candid.load("faces", target="Face")
>>> run = candid.run(dataset, out="runs/first")
>>> candid.read_predictions(run.predictions)

Names are loaded when they are first used, so importing the package loads nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Config": "candid.settings",
    "Dataset": "candid.data.dataset",
    "Predictions": "candid.predictions",
    "Table": "candid.table",
    "application": "candid.api",
    "audit": "candid.api",
    "evaluate": "candid.api",
    "explain_network": "candid.explanation.assembly",
    "explain_run": "candid.api",
    "explore": "candid.api",
    "export": "candid.api",
    "load": "candid.api",
    "load_config": "candid.config",
    "load_model": "candid.api",
    "predict": "candid.api",
    "predict_shards": "candid.api",
    "read_predictions": "candid.predictions",
    "run": "candid.api",
    "saliency_maps": "candid.explanation.attribution",
    "serve": "candid.api",
    "train": "candid.api",
    "tune": "candid.api",
}

__all__ = [
    "Config",
    "Dataset",
    "Predictions",
    "Table",
    "application",
    "audit",
    "evaluate",
    "explain_network",
    "explain_run",
    "explore",
    "export",
    "load",
    "load_config",
    "load_model",
    "predict",
    "predict_shards",
    "read_predictions",
    "run",
    "saliency_maps",
    "serve",
    "train",
    "tune",
]

if TYPE_CHECKING:
    from candid.api import (
        application,
        audit,
        evaluate,
        explain_run,
        explore,
        export,
        load,
        load_model,
        predict,
        predict_shards,
        run,
        serve,
        train,
        tune,
    )
    from candid.config import load_config
    from candid.data.dataset import Dataset
    from candid.explanation.assembly import explain_network
    from candid.explanation.attribution import saliency_maps
    from candid.predictions import Predictions, read_predictions
    from candid.settings import Config
    from candid.table import Table


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'candid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
