"""candid explain from the outside: a run, a picture, and every way to get it wrong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from candid.data.synthetic import REGIONS, FaceWorld, write_faces
from candid.records import Provenance, read_record
from candid.records.explanation import Explanation, read_explanation_arrays
from candid.runs import Run
from candid.storage.files import FORMAT
from commands import call

QUICK = [
    "--set", "explain.images=30", "--set", "explain.check_images=12", "--set",
    "explain.rise_masks=10", "--set", "explain.smoothgrad_samples=2", "--set",
    "explain.integration_steps=4", "--set", "explain.draws=60", "--set", "explain.min_group=5",
    "--set", "explain.occlusion_stride=0.25", "--set", "explain.curve_steps=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Run, Path, Path]:
    """A run that was trained, its data and its cache."""
    folder = tmp_path_factory.mktemp("explain")
    world = FaceWorld(n=240, people=60, side=24, validation_share=0.2, test_share=0.2)
    faces = write_faces(folder / "faces", world, workers=1, quiet=True)
    code = call(
        "train", faces, "--target", "Face", "--out", folder / "run", "--cache", folder / "cache",
        "--quiet", "--set", "data.side=24", "--set", "train.steps=12", "--set",
        "train.batch_size=32", "--set", "train.evaluations=2", "--set", "train.threads=1",
        "--set", "data.workers=1", "--set", "train.precision=float32", "--recipe", "plain",
    )  # fmt: skip
    assert code == 0
    return Run(folder / "run"), faces, folder / "cache"


@pytest.fixture(scope="module")
def explained(trained):
    run, _, cache = trained
    assert call("explain", run.path, "--cache", cache, "--quiet", *QUICK) == 0
    return run


def test_a_run_gets_a_record_and_maps(explained, trained):
    record = read_record(explained.explanation, Explanation)
    arrays = read_explanation_arrays(explained.explanation_arrays)
    assert (record.n, record.split, record.target, record.side) == (30, "validation", "Face", 24)
    assert record.template == "masks"
    assert tuple(r.name for r in record.regions) == REGIONS
    assert len(record.methods) == 6
    assert arrays.means.shape == (6, len(record.subsets), 24, 24)
    assert np.isfinite(arrays.means[:, 0].astype(float)).all()
    assert "explain" in read_record(explained.provenance, Provenance).seconds


def test_the_masks_are_those_of_the_very_images(explained, trained):
    """A mask on the wrong face would still look like a face: so every example is looked up."""
    run, faces, _ = trained
    record = read_record(run.explanation, Explanation)
    arrays = read_explanation_arrays(run.explanation_arrays)
    with np.load(faces / "regions.npz") as found:
        masks = found["regions"]
    for i, example in enumerate(record.examples):
        number = int(Path(example.id).stem)
        assert np.array_equal(arrays.example_regions[i], masks[number])
        picture = np.asarray(Image.open(faces / "images" / f"{number:06d}.jpg").convert("RGB"))
        assert np.abs(arrays.example_images[i].astype(int) - picture).max() <= 1


def test_explaining_twice_gives_the_same_bytes(explained, trained, tmp_path):
    run, _, cache = trained
    again = tmp_path / "again"
    shutil.copytree(run.path, again)
    assert call("explain", again, "--cache", cache, "--quiet", *QUICK) == 0
    other = Run(again)
    for name in ("means", "examples", "half_widths"):
        one = getattr(read_explanation_arrays(run.explanation_arrays), name)
        assert np.array_equal(
            one, getattr(read_explanation_arrays(other.explanation_arrays), name), equal_nan=True
        )
    before, after = (read_record(r.explanation, Explanation) for r in (run, other))
    assert before.maskings == after.maskings or str(before.maskings) == str(after.maskings)


def test_json_is_the_record(trained, capsys, tmp_path):
    run, _, cache = trained
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    code = call("explain", copy, "--cache", cache, "--json", "--quiet", "--method", "gradient",
                *QUICK, "--set", "explain.regions=none")  # fmt: skip
    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    assert {"format": FORMAT} | printed == json.loads((copy / "explanation.json").read_text())
    assert [m["name"] for m in printed["methods"]] == ["gradient"]
    assert printed["regions"] == []


def test_the_summary_names_badges_and_regions(trained, capsys, tmp_path):
    run, _, cache = trained
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    points = "0.4 0.5 0.6 0.5 0.5 0.6 0.42 0.7 0.58 0.7"
    code = call("explain", copy, "--cache", cache, "--method", "gradient", *QUICK,
                "--set", f"explain.regions={points}")  # fmt: skip
    assert code == 0
    said = capsys.readouterr().out
    assert "30 validation images" in said
    assert "Gradient: " in said
    assert "without the mouth: F1 falls by" in said
    assert "average face" in said


def test_a_picture_gets_its_maps(explained, trained, capsys, tmp_path):
    run, faces, _ = trained
    pictures = sorted((faces / "images").iterdir())[:2]
    out = tmp_path / "maps.png"
    code = call("explain", run.path, *pictures, "--method", "gradient", "--method", "occlusion",
                "--out", out, "--json", *QUICK)  # fmt: skip
    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    assert [p["image"] for p in printed["images"]] == [str(p) for p in pictures]
    assert set(printed["images"][0]["methods"]) == {"gradient", "occlusion"}
    badges = {m.name: m.state for m in read_record(run.explanation, Explanation).methods}
    assert printed["images"][0]["methods"]["gradient"] == badges["gradient"]
    with Image.open(out) as drawn:
        assert drawn.size == (3 * 256, 2 * (256 + 18))


def test_a_picture_s_answer_is_the_model_s(explained, trained, capsys, tmp_path):
    from candid.models.model import load_network
    from candid.records import ModelCard

    run, faces, _ = trained
    picture = sorted((faces / "images").iterdir())[5]
    call(
        "explain", run.path, picture, "--method", "gradient", "--out", tmp_path / "a.png", "--json"
    )
    printed = json.loads(capsys.readouterr().out)["images"][0]
    import torch

    card = read_record(run.model_file, ModelCard)
    network = load_network(run.weights, card, torch.device("cpu"))
    pixels = np.asarray(Image.open(picture).convert("RGB")) / 255
    x = torch.from_numpy(((pixels - card.mean) / card.std).transpose(2, 0, 1)).float()[None]
    with torch.no_grad():
        p = (network(x) / card.temperature).softmax(1)[0]
    assert printed["prediction"] == card.classes[int(p.argmax())]
    assert printed["probability"] == pytest.approx(float(p.max()), abs=1e-4)


# --- how it fails --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "gradcam"], "did you mean 'grad_cam'"),
        (["--set", "explain.imges=3"], "explain.images"),
        (["--set", "explain.regions=1 2 3"], "ten numbers"),
        (["--set", "explain.regions=nowhere.npz"], "Cannot read masks"),
        (["--out", "x.png"], "--out is for pictures"),
    ],
)
def test_bad_input_is_explained(trained, capsys, arguments, says):
    run, _, cache = trained
    assert call("explain", run.path, "--cache", cache, "--quiet", *QUICK, *arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_masks_of_other_images_are_refused(trained, capsys, tmp_path):
    run, _, cache = trained
    np.savez(tmp_path / "m.npz", regions=np.zeros((3, 4, 4), np.uint8), names=np.array(["a"]))
    setting = f"explain.regions={tmp_path / 'm.npz'}"
    assert call("explain", run.path, "--cache", cache, "--quiet", *QUICK, "--set", setting) == 2
    assert "does not hold masks of these images" in capsys.readouterr().err


def test_masks_are_found_by_id(trained, tmp_path):
    from candid.config import with_values
    from candid.explanation.region_sources import load_regions
    from candid.pipeline.opening import reload
    from candid.runs import open_run

    run, faces, cache = trained
    opened = open_run(run.path)
    data = reload(opened, cache=cache)
    with np.load(faces / "regions.npz") as found:
        masks, names = found["regions"], found["names"]
    order = np.random.default_rng(0).permutation(len(masks))
    ids = np.array([f"images/{i:06d}.jpg" for i in order])
    np.savez(tmp_path / "m.npz", regions=masks[order], names=names, ids=ids)
    rows = np.arange(len(data.dataset))
    by_id, by_row = (
        load_regions(
            data.dataset,
            data.store,
            rows,
            with_values(opened.settings, {"explain": {"regions": str(file)}}),
        )[0]
        for file in (tmp_path / "m.npz", faces / "regions.npz")
    )
    assert np.array_equal(by_id.masks, by_row.masks)


def test_no_run_no_network_no_picture(trained, capsys, tmp_path):
    run, faces, _ = trained
    picture = sorted((faces / "images").iterdir())[0]
    assert call("explain", tmp_path / "nothing") == 2
    assert "not a run" in capsys.readouterr().err
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(run.config, bare)
    assert call("explain", bare, picture) == 2
    assert "no trained network" in capsys.readouterr().err
    assert call("explain", run.path, tmp_path / "missing.jpg") == 2
    assert "Cannot read" in capsys.readouterr().err
    (tmp_path / "text.jpg").write_text("not a picture")
    assert call("explain", run.path, tmp_path / "text.jpg") == 2
    assert "is not a picture" in capsys.readouterr().err
    assert call("explain", run.path, picture, "--out", picture) == 2
    assert "none of the pictures" in capsys.readouterr().err


# --- without an explanation ----------------------------------------------------------------------


def test_no_explain_is_a_setting_and_its_steps_write_nothing(tmp_path, monkeypatch):
    import candid
    from candid.pipeline.explaining import explain_images, show_inside

    asked = []
    monkeypatch.setattr(candid, "demo", lambda *_, config, **__: asked.append(config))
    monkeypatch.setattr(candid, "run", lambda *_, config, **__: asked.append(config))
    monkeypatch.setattr("candid.cli.making.show_evaluation", lambda run: None)
    for words in (["demo", "--out", str(tmp_path / "d")], ["run", str(tmp_path)]):
        for more in ([], ["--no-explain"]):
            assert call(*words, *more) == 0
    assert [config.explain.make for config in asked] == [True, False, True, False]
    run = candid.Run(tmp_path, asked[-1])
    explain_images(run, None)
    assert show_inside(run, None) is None
    assert not list(tmp_path.iterdir())
