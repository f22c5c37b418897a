"""A run with labels that are known to be wrong: drawn faces, and answers made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import candid
from candid.config import with_values
from candid.data.synthetic import demo_world, write_faces
from candid.predictions import Predictions, write_predictions
from candid.runs import Run, open_run
from candid.settings import Config


def make_run(folder: Path, *, images: int = 120, wrong: int = 12) -> Run:
    """A run whose model is sure, and against the label in the first so many held-out images."""
    faces = write_faces(folder / "faces", demo_world(images, side=16, seed=3), quiet=True)
    data = {"target": "Face", "side": 16, "workers": 1}
    config = with_values(Config(), {"data": data, "evaluate": {"draws": 50}})
    candid.explore(faces, config, out=folder / "run", cache=folder / "cache")
    run = open_run(folder / "run")
    dataset = candid.load(faces, config=config)
    rows = np.flatnonzero((dataset.split != "train") & (dataset.label >= 0))
    answer = dataset.label[rows].copy()
    answer[:wrong] = 1 - answer[:wrong]
    p = np.where(np.arange(2) == answer[:, None], 0.97, 0.03)
    predictions = Predictions(
        target=dataset.target,
        classes=dataset.classes,
        ids=dataset.ids[rows],
        split=dataset.split[rows],
        label=dataset.label[rows],
        probability=p,
        person=None if dataset.person is None else dataset.person[rows],
        attributes={name: a[rows] for name, a in dataset.attributes.items()},
    )
    write_predictions(run.predictions_file, predictions)
    return run
