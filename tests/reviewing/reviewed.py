"""A run with labels that are known to be wrong: drawn faces, and answers made by hand."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

import candid
from candid.config import load_config, with_values
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


SETTINGS = {"target": "Face", "side": 16, "workers": 1, "max_bad_share": 0.05}
COPIED = ("images/000003.jpg", "images/000004.jpg")
BROKEN = ("images/000010.jpg", "images/000011.jpg")
WIDE = ("images/000020.jpg", "images/000021.jpg", "images/000022.jpg")


def make_data(folder: Path, *, images: int = 120) -> Path:
    """Drawn faces: two stand there twice, of two the files are broken, three are of another shape.

    The copy of COPIED[0] is called images/copy-0.jpg, and so on.
    """
    faces = write_faces(folder, demo_world(images, side=16, seed=3), quiet=True)
    with (faces / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_path = {row["path"]: row for row in rows}
    for number, name in enumerate(COPIED):
        copy = f"images/copy-{number}.jpg"
        shutil.copy(faces / name, faces / copy)
        rows.append(by_path[name] | {"path": copy})
    for name in BROKEN:
        (faces / name).write_bytes(b"no picture")
    for name in WIDE:
        by_path[name]["split"] = "test"  # training pictures are what others are compared with
        with Image.open(faces / name) as picture:
            picture.resize((64, 16)).save(faces / name)
    with (faces / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return faces


def make_network(folder: Path) -> Run:
    """A run that trained a small network, for a moment, and predicted."""
    faces = write_faces(folder / "faces", demo_world(160, side=16, seed=3), quiet=True)
    data = {"target": "Face", "side": 16, "workers": 1}
    train = {"steps": 4, "batch_size": 32, "threads": 1, "precision": "float32"}
    more = {"explain": {"make": False}, "evaluate": {"draws": 50}}
    config = with_values(load_config(recipe="plain"), {"data": data, "train": train, **more})
    candid.train(faces, config, out=folder / "run", cache=folder / "cache")
    return open_run(folder / "run")
