"""A run as it is used from Python: its model, its predictions, answers for images in memory."""

import hashlib
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import candid
from candid.errors import DataError
from candid.pipeline.provenance import collect_provenance
from candid.predictions import write_predictions
from candid.records import Provenance, read_record
from candid.records.compare import Comparison
from candid.runs import STEPS, create
from inference.tiny import CLASSES, SIDE, always_framed, pixels, tiny_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("tiny") / "run", flip_tta=True).path


@pytest.fixture
def files(tmp_path):
    names = [tmp_path / f"{i}.png" for i in range(5)]
    for name, image in zip(names, pixels(5, side=24), strict=True):
        Image.fromarray(image).save(name)
    return names


def test_paths_arrays_and_opened_pictures_are_answered_alike(folder, files):
    run = candid.open_run(str(folder))
    by_path = run.predict(files)
    forms = {
        "array": pixels(5, side=24),
        "list": list(pixels(5, side=24)),
        "opened": [Image.open(name) for name in files],
        "mixed": [files[0], *pixels(5, side=24)[1:]],
        "column": pd.Series([str(name) for name in files]),
    }
    for form, images in forms.items():
        found = run.predict(images)
        assert found.prediction == by_path.prediction, form
        np.testing.assert_array_equal(found.probability, by_path.probability, form)
        assert [row["width"] for row in found] == [24] * 5
    assert [row["id"] for row in run.predict(forms["array"])][:2] == ["image 1", "image 2"]
    assert len(run.predict(files[0])) == len(run.predict(str(files[0]))) == 1
    assert np.ptp(by_path.probability[:, 0]) > 0.05  # not one answer for all


def test_the_model_holds_everything(folder):
    run, images = candid.open_run(folder), pixels(7)
    assert isinstance(run.model, torch.nn.Module)
    with torch.inference_mode():
        expected = run.model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(run.predict(images).probability, expected, atol=1e-5)
    np.testing.assert_allclose(expected.sum(1), 1, atol=1e-6)


def test_a_framed_run_frames_in_its_model_and_in_its_answers(tmp_path):
    run = tiny_run(tmp_path / "run")
    images = pixels(4)
    large = torch.from_numpy(images.repeat(2, 1).repeat(2, 2))  # as such pictures are framed
    assert large.shape[1] == 2 * SIDE
    with torch.inference_mode():
        plain = run.model(torch.from_numpy(images)).numpy()
    always_framed(run, (0.3, 0.1, 0.2, -0.1, 0.1))
    rows = [*candid.predict(run, images, engine="torch")]
    framed = np.array([[row[f"p_{name}"] for name in CLASSES] for row in rows])
    with torch.inference_mode():
        expected = run.model(large).numpy()
    np.testing.assert_allclose(framed, expected, atol=1e-5)
    assert abs(framed - plain).max() > 1e-3


def test_a_model_of_one_s_own_answers_too(folder, tmp_path):
    run = tiny_run(tmp_path / "run", flip_tta=True)
    plain = json.loads(run.model_file.read_text())
    run.model_file.write_text(json.dumps(plain | {"network": "own", "options": {"module": "m.N"}}))
    mine = candid.Run(run.path, network=candid.open_run(folder).model.network)
    images = pixels(3)
    expected = candid.open_run(folder).predict(images).probability
    with torch.inference_mode():
        found = mine.model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, 0, 1e-5)
    rows = [*candid.predict(mine, images, engine="torch")]
    assert [row["p_yes"] for row in rows] == pytest.approx(expected[:, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (pixels(2).astype(np.float32), "float32"),
        (pixels(1)[0], r"\(16, 16, 3\)"),
        ([np.zeros((4, 4, 4), np.uint8)], r"\(4, 4, 4\)"),
        ([3], "int"),
        (7, "int"),
        ([], "No pictures"),
    ],
)
def test_what_is_no_image_is_said(folder, images, said):
    with pytest.raises(DataError, match=said):
        candid.open_run(folder).predict(images)


def test_a_picture_that_cannot_be_read_has_its_row(folder, tmp_path, files):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    found = candid.open_run(folder).predict([*files, tmp_path / "bad.png"])
    assert found.prediction[-1] is None
    assert found[5]["error"]
    assert np.isnan(found.probability[-1]).all()
    assert np.isfinite(found.probability[:-1]).all()
    frame = found.to_frame()
    assert list(frame["id"]) == [*map(str, files), str(tmp_path / "bad.png")]
    assert {"p_no", "p_yes", "abstained", "error"} <= {*frame.columns}


@pytest.fixture
def judged(tmp_path):
    """A run with predictions of 60 images, and an evaluation of them."""
    rng = np.random.default_rng(0)
    run = tiny_run(tmp_path / "run <b>")
    p = rng.random(60)
    predictions = candid.Predictions.from_arrays(
        np.array(CLASSES)[(rng.random(60) < p).astype(int)],
        p,
        groups={"Glasses <i>": rng.choice(["no", "yes"], 60)},
        person=rng.integers(0, 20, 60),
        target="Hat",
    )
    write_predictions(run.predictions_file, predictions)
    return candid.open_run(run.path)


def test_predictions_are_a_frame(judged):
    frame, file = judged.predictions.to_frame(), pq.read_table(judged.predictions_file)
    assert list(frame.columns) == [*file.column_names[:3], "prediction", *file.column_names[3:]]
    assert frame["p_yes"].tolist() == file["p_yes"].to_pylist()
    answer = np.where(frame["p_yes"] > 0.5, "yes", "no")
    assert frame["prediction"].astype(str).tolist() == answer.tolist()


def test_notebooks_show_runs_data_and_records(judged, folder):
    assert "none yet" in judged._repr_html_()
    candid.evaluate(judged)
    shown = judged._repr_html_()
    assert "weighted_f1" in shown
    assert "run &lt;b&gt;" in shown
    wrong = int(judged.predictions.wrong.sum())
    assert f"<td>test</td><td>60</td><td>{wrong}</td>" in judged.predictions._repr_html_()
    compared = candid.audit(judged.predictions, before=judged.predictions).comparison
    assert isinstance(compared, Comparison)
    assert len(compared.to_frame()) == len(compared.every())
    assert "all images" in compared._repr_html_()
    assert "5 answers" in candid.open_run(folder).predict(pixels(5))._repr_html_()


def test_data_sets_and_what_is_in_them_are_shown(tmp_path):
    for i, image in enumerate(pixels(40, side=24)):
        (tmp_path / "faces" / CLASSES[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "faces" / CLASSES[i % 2] / f"{i}.png")
    dataset = candid.load(tmp_path / "faces")
    shown = dataset._repr_html_()
    train = dataset.label[dataset.split == "train"]
    counts = "".join(f"<td>{n}</td>" for n in (len(train), *np.bincount(train)))
    assert f"<td>train</td>{counts}" in shown
    config = candid.load_config(overrides=["data.workers=1", "data.side=16"])
    found = candid.explore(dataset, config, cache=tmp_path / "cache")
    assert "40 images" in found._repr_html_()
    assert len(found.to_frame()) == len(found.findings)


def test_digests_of_older_runs_still_hold(tmp_path):
    """A step's digest names files as they were called before `model_file` had its name."""
    run = create(
        tmp_path / "run",
        candid.Config(),
        collect_provenance(seed=0, data="x", data_fingerprint="f"),
    )
    run.predictions_file.write_bytes(b"p")
    run.history.write_bytes(b"h")
    run.evaluation.write_bytes(b"e")
    run.mark_done("evaluate")
    digest = read_record(run.provenance, Provenance).digests["evaluate"]
    hashed = {n: hashlib.blake2b(n[:1].encode()).hexdigest() for n in ("predictions", "history")}
    plain = ["f", {"evaluate": repr(run.settings.evaluate)}, hashed, None, ["evaluation"]]
    expected = hashlib.blake2b(json.dumps(plain).encode(), digest_size=16).hexdigest()
    assert STEPS["evaluate"].inputs == ("predictions_file", "history")
    assert digest == expected
