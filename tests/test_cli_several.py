"""Several labels in one training, from the outside."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import candid as package
from candid.data.synthetic import FaceWorld, write_faces
from candid.models.model import load_network
from candid.predictions import read_predictions
from candid.records import Evaluation, ModelCard, Provenance, read_record
from candid.records.targets import Overview, Targets
from candid.runs import Run, open_run
from candid.runs.steps import MOST_IN_FULL, SHARED_STEPS, target_steps
from commands import call, candid
from made_once import made_once
from test_cli import BRIEF

NAMES = ("Face", "Smiling", "Hair_Style", "Eyeglasses", "Wearing_Hat")
ASKED = [word for name in NAMES for word in ("--target", name)]
SOLE = ("Hair_Style", ("Bald", "Bob", "Bun", "Curly", "Long", "Short"))


def make(folder: Path) -> None:
    world = FaceWorld(n=240, people=60, side=24, validation_share=0.2, test_share=0.2)
    faces = write_faces(folder / "faces", world)
    # A quarter of one label, and another quarter of another, are missing.
    header, *lines = (faces / "labels.csv").read_text().splitlines()
    place = [header.split(",").index(name) for name in ("Smiling", "Hair_Style")]
    cells = [line.split(",") for line in lines]
    for i, row in enumerate(cells):
        if i % 4 < 2:
            row[place[i % 4]] = ""
    (faces / "labels.csv").write_text("\n".join([header, *map(",".join, cells)]))
    where = ["--out", folder / "run", "--cache", folder / "cache", "--quiet"]
    assert call("run", faces, *ASKED, *where, *BRIEF) == 0


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return made_once(tmp_path_factory, "several", make)


@pytest.fixture
def run(made, tmp_path):
    """A copy to write into."""
    return Run(shutil.copytree(made / "run", tmp_path / "run"))


def one(run, name):
    return Run(run.path / "targets" / name)


def torch_weights(path, card):
    import torch

    return load_network(path, card, torch.device("cpu"))


def test_one_network_and_a_folder_for_each_label(made):
    run = open_run(made / "run")
    about = read_record(run.targets, Targets)
    assert tuple(label.name for label in about.labels) == NAMES
    assert [label.first for label in about.labels] == [0, 2, 4, 10, 12]
    assert about.labels[2].classes == SOLE[1]
    assert sum(label.weight for label in about.labels) == pytest.approx(1)
    assert not run.model_file.exists() and not run.predictions_file.exists()
    assert len(list(run.path.rglob("*.safetensors"))) == 3  # weights, framing, checkpoint
    for label in about.labels:
        mine = one(run, label.folder)
        for file in (
            mine.model_file,
            mine.predictions_file,
            mine.evaluation,
            mine.audit,
            mine.report,
        ):
            assert file.is_file(), file
        assert mine.weights == run.weights and mine.config == run.config
        assert read_record(mine.evaluation, Evaluation).target == label.name
        assert not mine.explanation.exists()  # there are many


def test_missing_labels_of_one_leave_the_images_to_the_others(made):
    run = open_run(made / "run")
    found = {name: read_predictions(one(run, name).predictions_file) for name in NAMES}
    n = {name: len(p) for name, p in found.items()}
    assert n["Face"] == n["Eyeglasses"] > n["Smiling"]
    assert (found["Smiling"].label >= 0).all()
    ids = set(found["Face"].ids.tolist())
    assert set(found["Smiling"].ids.tolist()) < ids
    assert "Face" in found["Smiling"].attributes and "Smiling" in found["Face"].attributes


def test_a_label_that_is_missing_is_guessed_for_the_audit_of_the_others(made, capsys):
    run = open_run(made / "run")
    faces = read_predictions(one(run, "Face").predictions_file)
    written, guessed = faces.attributes["Smiling"], faces.attributes["Smiling (predicted)"]
    missing = written.data < 0
    assert missing.any() and np.array_equal(guessed.data >= 0, missing)
    assert (
        "Smiling (predicted)"
        not in read_predictions(one(run, "Smiling").predictions_file).attributes
    )
    assert "Face (predicted)" not in faces.attributes  # nobody lacks it
    place = int(np.flatnonzero(missing)[0])
    picture = made / "faces" / str(faces.ids[place])
    row = next(iter(package.predict(run.path, [picture], engine="torch", abstain_below=0)))
    assert row["Smiling"] == guessed.values[guessed.data[place]]


def test_a_label_s_network_is_the_one_network_with_its_outputs(made):
    import torch

    run = open_run(made / "run")
    about = read_record(run.targets, Targets)
    images = torch.randn(3, 3, 24, 24)
    with torch.no_grad():
        every = torch_weights(run.weights, about.model)(images)
        for label in about.labels:
            card = read_record(one(run, label.folder).model_file, ModelCard)
            assert (card.target, card.classes) == (label.name, label.classes)
            own = torch_weights(run.weights, card)(images)
            block = every[:, label.first : label.first + len(label.classes)]
            torch.testing.assert_close(own, block)


def test_the_overview_leads_to_each_report_and_is_small(made, capsys):
    run = open_run(made / "run")
    overview = read_record(run.overview, Overview)
    assert {t.name for t in overview.targets} == {*NAMES}
    for t in overview.targets:
        split = read_record(one(run, t.folder).evaluation, Evaluation).splits[-1]
        assert (t.split, t.n) == ("test", split.n)
        assert t.metrics["weighted_f1"] == split.metrics["weighted_f1"]
    assert overview.together is not None and overview.together.audited == len(NAMES)
    page = run.report.read_text()
    assert len(page) < 150_000 and "Benjamini and Bogomolov" in page
    links = re.findall(r'href="(targets/[^"]+)"', page)
    assert len(links) == 5 and all((run.path / link).is_file() for link in links)
    gains = {t.name: t.metrics for t in overview.targets}
    order = [link.split("/")[1] for link in links]
    gained = [gains[n]["weighted_f1"].value - gains[n]["majority_f1"].value for n in order]
    assert gained == sorted(gained, reverse=True)
    before = run.report.read_bytes()
    assert call("report", run.path, "--quiet") == 0
    assert run.report.read_bytes() == before


def test_nothing_is_done_again_but_what_is_missing(run, made, capsys):
    said = candid(capsys, "run", "--resume", run.path).out
    assert "nothing was done again" in said
    before = read_record(one(run, "Face").provenance, Provenance)
    weights = run.weights.read_bytes()
    one(run, "Smiling").evaluation.unlink()
    one(run, "Smiling").predictions_file.unlink()
    shutil.rmtree(run.path / "checkpoint")
    data = made / "faces"
    assert not open_run(run.path).is_finished()
    with_places = ["run", data, "--resume", run.path, "--cache", made / "cache", "--quiet"]
    candid(capsys, *with_places)
    assert open_run(run.path).is_finished()
    assert run.weights.read_bytes() == weights
    assert (
        one(run, "Smiling").predictions_file.is_file() and one(run, "Smiling").evaluation.is_file()
    )
    after = read_record(one(run, "Face").provenance, Provenance)
    assert after.seconds["audit"] == before.seconds["audit"]  # it was left alone


def test_predict_gives_columns_of_every_label_as_each_alone_does(run, made, capsys, tmp_path):
    pictures = sorted((made / "faces" / "images").iterdir())[:3]
    told = candid(capsys, "predict", run.path, *pictures, "--engine", "torch", "--quiet").out
    rows = list(csv.DictReader(io.StringIO(told)))
    alone = candid(capsys, "predict", one(run, SOLE[0]).path, *pictures, "--engine", "torch",
                   "--quiet").out  # fmt: skip
    for mine, theirs in zip(rows, csv.DictReader(io.StringIO(alone)), strict=True):
        assert mine["Hair_Style"] == theirs["prediction"]
        for name in SOLE[1]:
            assert abs(float(mine[f"p_Hair_Style_{name}"]) - float(theirs[f"p_{name}"])) < 2e-7
        assert (mine["abstained"], mine["width"]) == ("false", theirs["width"])
    assert {"Face", "p_Face_Round", "Smiling", "p_Smiling_not Smiling"} < set(rows[0])
    file = tmp_path / "labels.csv"
    tally = json.loads(
        candid(capsys, "predict", run.path, *pictures, "--out", file, "--json", "--quiet").out
    )
    assert (tally["images"], tally["answered"], tally["abstained"]) == (3, 3, 0)
    assert sum(v for k, v in tally["predictions"].items() if k.startswith("Face = ")) == 3
    tally = json.loads(candid(capsys, "predict", run.path, *pictures, "--out", file, "--force",
                              "--abstain-below", "1", "--json", "--quiet").out)  # fmt: skip
    assert (tally["answered"], tally["reasons"]) == (0, {"not sure": 3})
    row = next(csv.DictReader(io.StringIO(file.read_text())))
    assert row["Face"] == "" and row["abstained"] == "true"
    assert "Face, the highest" in row["reason"] and "Wearing_Hat, the highest" in row["reason"]
    mine = next(iter(package.predict(run.path, pictures[:1], abstain_below=0)))
    assert mine["Face"] in ("Round", "Square") and mine["reason"] is None


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "{run}"),
        ("export", "{run}", "--int8"),
        ("export", "{run}", "--to", "transformers"),
        ("explain", "{run}"),
        ("review", "{run}"),
        ("predict", "{run}", "{picture}", "--engine", "int8"),
        ("predict", "{run}", "{picture}", "--out", "{run}/labels/"),
    ],
)
def test_what_is_for_one_label_names_the_folder_of_one(made, capsys, words):
    names = {"run": made / "run", "picture": made / "faces" / "images" / "000000.jpg"}
    said = candid(capsys, *(w.format(**names) for w in words), "--quiet", code=2).err
    assert f"{made / 'run'}/targets/Face" in said or "learned 5 labels" in said
    with pytest.raises(package.errors.RunError, match="learned 5 labels"):
        package.load_model(made / "run")


def test_an_exported_network_has_an_output_for_each_label(run, made, capsys):
    pytest.importorskip("fastapi")
    import httpx
    import onnxruntime

    from candid.pipeline.serving import load_served
    from candid.settings import ServeConfig
    from serving.served import running

    told = candid(capsys, "export", run.path, "--data", made / "faces", "--cache", made / "cache",
                  "--json", "--quiet").out  # fmt: skip
    assert json.loads(told)["checked"] > 20
    session = onnxruntime.InferenceSession(run.path / "model.onnx")
    assert tuple(output.name for output in session.get_outputs()) == NAMES
    about = json.loads(session.get_modelmeta().custom_metadata_map["candid.model"])
    assert tuple(about["labels"]["Hair_Style"]["classes"]) == SOLE[1]
    picture = sorted((made / "faces" / "images").iterdir())[0]
    rows = {
        engine: next(iter(package.predict(run.path, [picture], engine=engine, abstain_below=0)))
        for engine in ("torch", "onnx")
    }
    for name, value in rows["torch"].items():
        if name.startswith("p_"):
            assert rows["onnx"][name] == pytest.approx(value, abs=1e-4)
    served = load_served([run.path], ServeConfig(), abstain_below=0)
    with running(*served) as address:
        answer = httpx.post(f"{address}/v1/predict", content=picture.read_bytes(),
                            headers={"Content-Type": "image/png"}).json()  # fmt: skip
        known = httpx.get(f"{address}/v1/models").json()["models"][0]
        refused = httpx.post(f"{address}/v1/explain", content=picture.read_bytes(),
                             headers={"Content-Type": "image/png"})  # fmt: skip
    labels = answer["results"][0]["labels"]
    assert tuple(labels) == NAMES == tuple(known["labels"])
    for name in NAMES:
        found = labels[name]
        assert found["prediction"] == rows["onnx"][name]
        for kind, p in found["probabilities"].items():
            assert p == pytest.approx(rows["onnx"][f"p_{name}_{kind}"], abs=1e-6)
    assert known["methods"] == [] and [m["n"] for m in known["about"]["measures"]]
    assert refused.status_code == 501 and "one label" in refused.json()["error"]["what"]


def test_opening_an_exported_network_reads_its_weights_once(run, made, capsys, monkeypatch):
    from candid.inference.several import open_several
    from candid.models import onnx_several

    candid(capsys, "export", run.path, "--data", made / "faces", "--cache", made / "cache")
    read = []

    def counted(*about):
        read.append(about)
        return made_from(*about)

    made_from = onnx_several.source_digest
    monkeypatch.setattr(onnx_several, "source_digest", counted)
    labeller = open_several(run, None, engine="onnx")
    assert labeller.classifier.engine == "onnx"
    assert len(read) == 1


def test_the_folder_of_a_label_is_a_run_to_every_verb(run, made, capsys):
    mine = one(run, "Smiling")
    (run.path / "model.onnx").unlink(missing_ok=True)
    cache = ["--cache", made / "cache", "--quiet"]
    candid(capsys, "explain", mine.path, "--data", made / "faces", *cache)
    candid(capsys, "export", mine.path, "--data", made / "faces", *cache)
    assert mine.explanation.is_file() and (mine.path / "model.onnx").is_file()
    assert mine.drift.is_file() and not (run.path / "model.onnx").exists()
    candid(capsys, "evaluate", mine.path, "--quiet")
    candid(capsys, "audit", mine.path, "--quiet")
    candid(capsys, "report", mine.path, "--quiet")
    assert "What it looks at" in mine.report.read_text()
    whole = package.load_model(mine.path)
    assert whole.classes == ("not Smiling", "Smiling")
    pixels = np.zeros((2, whole.input_side, whole.input_side, 3), np.uint8)
    import torch

    assert whole(torch.from_numpy(pixels)).shape == (2, 2)
    said = candid(capsys, "evaluate", run.path / "targets" / "Hat", code=2).err
    assert "There is no " in said


def test_all_labels_that_can_be(made, capsys, tmp_path):
    out = tmp_path / "all"
    where = ["--out", out, "--cache", made / "cache", "--quiet"]
    candid(capsys, "train", made / "faces", "--target", "*", *where, *BRIEF)
    about = read_record(Run(out).targets, Targets)
    names = [label.name for label in about.labels]
    assert names[0] == "Face" or "Face" in names
    assert {"Smiling", "Hair_Style", "Skin_Tone"} < set(names)
    assert {"Head_Tilt", "ITA"} <= set(about.left_out) and "Head_Tilt" not in names
    assert open_run(out).settings.data.targets == ("*",)
    # The same command goes on with it.
    candid(capsys, "train", made / "faces", "--target", "*", "--resume", out, "--quiet", code=2)
    candid(capsys, "train", "--resume", out, "--cache", made / "cache", "--quiet")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["network.name=features", "network.components=10"], "is for one label"),
        (["train.balance=group", 'train.balance_attributes=["Earrings"]'], "is for one label"),
        (['data.class_names=["no=No"]'], "is about one"),
    ],
)
def test_what_is_not_done_for_several_is_refused(made, capsys, tmp_path, settings, says):
    words = [word for setting in settings for word in ("--set", setting)]
    where = ["--out", tmp_path / "run", "--cache", made / "cache", "--quiet"]
    said = candid(capsys, "train", made / "faces", *ASKED, *where, *BRIEF[2:], *words, code=2).err
    assert says in said


def test_few_labels_are_explored_and_explained_too():
    assert {"explore", "explain", "inside"} < {*target_steps(MOST_IN_FULL)}
    assert "drift" not in target_steps(1) and "explain" not in target_steps(MOST_IN_FULL + 1)
    assert {"explain", "inside"} < {*target_steps(MOST_IN_FULL, number=True)}
    assert not {"explain", "inside"} & {*target_steps(MOST_IN_FULL + 1, number=True)}
    assert {"train", "frame", "predict", "overview"} < {*SHARED_STEPS}
