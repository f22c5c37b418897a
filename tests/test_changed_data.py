"""Who names other data than a run's own is told what differs, as far as the run knows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from candid.config import load_config
from candid.errors import RunError
from candid.pipeline.opening import begin, load_packed, reload
from candid.pipeline.steps import build_predictions, explore_data
from candid.predictions import write_predictions
from inference.tiny import SIDE, encoded, pixels

N = 60  # images, of which i % 5 = 3 validates and i % 5 = 4 tests
SPLITS = ("train", "train", "train", "validation", "test")


def rows():
    return {
        f"{i:02d}.png": [("cap", "hood")[i // 5 % 2], SPLITS[i % 5], ("a", "b")[i % 2]]
        for i in range(N)
    }


def write(folder, table, *, columns=("Hat", "split", "Room")):
    folder.mkdir(exist_ok=True)
    lines = [",".join(("path", *columns))]
    lines += [",".join((name, *cells[: len(columns)])) for name, cells in table.items()]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    for name, picture in zip(sorted(table), pixels(len(table)), strict=True):
        if not (folder / name).is_file():
            (folder / name).write_bytes(encoded(picture))
    return folder


@pytest.fixture
def run(tmp_path):
    """Explored, with what a model says of validation and test."""
    folder = write(tmp_path / "faces", rows())
    config = load_config(recipe="plain")
    config = replace(config, data=replace(config.data, side=SIDE, target="Hat", workers=1))
    data = load_packed(folder, config, cache=tmp_path / "cache", quiet=True)
    made = replace(begin(tmp_path / "run", config, data), quiet=True)
    explore_data(made, data)
    known = np.flatnonzero(data.dataset.split != "train")
    half = np.full((len(known), 2), 0.5)
    write_predictions(made.predictions_file, build_predictions(data, known, half))
    return made


def refused(run, tmp_path):
    with pytest.raises(RunError) as caught:
        reload(run, tmp_path / "faces", cache=tmp_path / "cache")
    assert f"{N} images, labelled Hat (cap, hood)" in caught.value.expected
    return caught.value.what.partition("began with: ")[2]


def test_the_same_data_are_not_refused(run, tmp_path):
    assert len(reload(run, tmp_path / "faces", cache=tmp_path / "cache").dataset) == N


def test_images_that_came_and_went(run, tmp_path):
    table = rows()
    del table["03.png"], table["04.png"]  # one of validation, one of test
    table["new.png"] = ["hood", "train", "a"]
    write(tmp_path / "faces", table)
    assert refused(run, tmp_path) == (
        "59 images, not 60; labelled cap 28 (then 30), hood 31 (then 30); "
        "of 24 images in validation and test 2 are gone (03.png, 04.png)."
    )


def test_labels_and_splits_that_changed(run, tmp_path):
    table = rows()
    table["03.png"][0], table["08.png"][0] = "hood", "cap"  # were cap and hood
    table["04.png"][1] = "validation"
    write(tmp_path / "faces", table)
    assert refused(run, tmp_path) == (
        "of 24 images in validation and test 2 have other labels (03.png: hood, not cap); "
        "of 24 images in validation and test 1 is in another split (04.png)."
    )


def test_labels_of_training_are_counted(run, tmp_path):
    table = rows()
    table["00.png"][0] = "hood"
    write(tmp_path / "faces", table)
    assert refused(run, tmp_path) == "labelled cap 29 (then 30), hood 31 (then 30)."


def test_a_class_that_is_new(run, tmp_path):
    table = rows()
    for i in (0, 1, 2):
        table[f"{i:02d}.png"][0] = "veil"
    write(tmp_path / "faces", table)
    assert refused(run, tmp_path) == "labelled cap 27 (then 30), veil 3 (then 0)."


def test_a_column_that_is_gone(run, tmp_path):
    write(tmp_path / "faces", rows(), columns=("Hat", "split"))
    assert refused(run, tmp_path) == "without Room."


def test_other_bytes_under_the_same_names(run, tmp_path):
    (tmp_path / "faces" / "00.png").write_bytes(encoded(255 - pixels(1)[0]))
    said = refused(run, tmp_path)
    assert said.startswith("now there are 60 images, labelled Hat (cap, hood); ")
    assert "other bytes under the same names" in said


def test_a_run_that_wrote_nothing_down(run, tmp_path):
    run.data.unlink()
    run.predictions_file.unlink()
    Path(tmp_path / "faces" / "00.png").write_bytes(encoded(255 - pixels(1)[0]))
    with pytest.raises(RunError, match="does not say what there was") as caught:
        reload(run, tmp_path / "faces", cache=tmp_path / "cache")
    assert caught.value.expected == "the images and labels that it began with"
