"""Every network through the whole job: trained, saved, loaded, judged, reported."""

import ast
import functools
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import candid
from candid.config import load_config
from candid.data.synthetic import FaceWorld, write_faces
from candid.errors import ConfigError, DataError
from candid.models.forward import Images, logits
from candid.models.model import load_network
from candid.pipeline.opening import reload
from candid.pipeline.steps import predict_splits
from candid.pipeline.training import start_training
from candid.predictions import read_predictions
from candid.records import ModelCard, read_record
from candid.records.inside import Inside, read_inside_arrays
from candid.training.distributed import Team
from candid.training.window import face_window

QUICK = (
    "data.side=24", "data.workers=1", "train.steps=8", "train.batch_size=32",
    "train.evaluations=2", "train.threads=1", "evaluate.draws=100",
    "audit.draws=100", "audit.more=false", "explain.images=16", "explain.check_images=4",
    "explain.examples=2",
    'explain.methods=["gradient", "grad_cam"]', "explain.curve_steps=3", "explain.draws=60",
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    world = FaceWorld(n=160, people=40, side=24, validation_share=0.2, test_share=0.2)
    faces = write_faces(tmp_path_factory.mktemp("faces") / "small", world, workers=1, quiet=True)
    return candid.load(faces, target="Face")


OPTIONS = {
    "deep": (["network.width=8"], {"width": 8, "depth": 1}),
    "best": (["network.width=8"], {"width": 8, "depth": 1, "ensemble_size": 4}),
    "fast": ([], {"width": 16, "depth": 1}),
    "vit": (["network.width=32", "network.depth=1"], {"width": 32, "depth": 1, "drop_path": 0.1}),
    "features": (
        ["network.components=20", "train.ema_decay=0.99"],  # of which a fit has none
        {"features": "both", "classifier": "logistic", "components": 20, "cell": 8},
    ),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(dataset, cache, tmp_path_factory):
    """The finished run of each recipe that is asked for."""

    @functools.cache
    def of(recipe):
        config = load_config(recipe=recipe, overrides=[*QUICK, *OPTIONS[recipe][0]])
        return candid.run(dataset, config, out=tmp_path_factory.mktemp(recipe) / "run", cache=cache)

    return of


@pytest.mark.parametrize("recipe", OPTIONS)
def test_a_recipe_s_run_is_whole_and_its_files_give_its_predictions(finished, cache, recipe):
    run, options = finished(recipe), OPTIONS[recipe][1]
    card = read_record(run.model_file, ModelCard)
    assert card.network == ("deep" if recipe in ("best", "fast") else recipe)
    assert card.options == options
    network = load_network(run.weights, card, torch.device("cpu"))
    data = reload(candid.open_run(run.path), cache=cache)
    found = read_predictions(run.predictions_file)
    row = {str(name): i for i, name in enumerate(data.dataset.ids)}
    raw = logits(
        network,
        Images(data.store.pixels, card.mean, card.std),
        np.array([row[str(i)] for i in found.ids]),
        device=torch.device("cpu"),
        bfloat16=False,
        flip_tta=card.flip_tta,
    )
    expected = torch.from_numpy(raw / card.temperature).softmax(1).numpy()
    np.testing.assert_allclose(found.probability, expected, atol=0.02)  # bfloat16 where there is
    report = run.report.read_text(encoding="utf-8")
    assert ("Nothing was trained in steps" in report) == (recipe == "features")
    assert ("Weighted F1 over training" in report) == (recipe != "features")


@pytest.mark.parametrize("window", ["face", "0.2 0.3 0.8 0.9"])
def test_a_run_keeps_its_window(dataset, cache, tmp_path, window):
    """Where drawn faces fill the picture, and are alike all over, the face is all of it."""
    config = load_config(overrides=[*QUICK, "network.width=8", f'network.window="{window}"'])
    run = candid.run(dataset, config, out=tmp_path / "run", cache=cache)
    card, data = read_record(run.model_file, ModelCard), reload(run, cache=cache)
    images = Images(data.store.pixels, card.mean, card.std)
    shown = face_window(images, data.dataset.rows("train", data.store.usable))
    words = shown if window == "face" else window
    assert card.options == {"width": 8, "depth": 1} | ({"window": words} if words else {})
    network = load_network(run.weights, card, torch.device("cpu"))
    found = read_predictions(run.predictions_file)
    row = {str(name): i for i, name in enumerate(data.dataset.ids)}
    rows = np.array([row[str(i)] for i in found.ids])
    raw = logits(
        network, images, rows, device=torch.device("cpu"), bfloat16=False, flip_tta=card.flip_tta
    )
    expected = torch.from_numpy(raw / card.temperature).softmax(1).numpy()
    np.testing.assert_allclose(found.probability, expected, atol=0.02)  # bfloat16 where there is
    report = run.report.read_text("utf-8")
    assert "Weighted F1 over training" in report and "candidTry" in report


def test_the_lines_of_the_card_give_the_predictions(
    finished, dataset, tmp_path, monkeypatch, capsys
):
    """Every one of them, as it stands, in a copy of the folder as a stranger has it."""
    run = finished("deep")
    assert read_record(run.model_file, ModelCard).flip_tta  # as the default recipe is
    candid.export(run, out=tmp_path, cache=tmp_path / "cache")
    for file in (run.model_file, run.weights):
        shutil.copy(file, tmp_path)
    found = read_predictions(run.predictions_file)
    lines = re.findall(r"^```python\n(.*?)^```", run.card.read_text("utf-8"), flags=re.M | re.S)
    assert len(lines) == 2
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    for row in (0, len(found) - 1):
        place = dataset.ids.tolist().index(str(found.ids[row]))
        (tmp_path / "face.jpg").write_bytes(dataset.source.read(place))
        for code in lines:
            exec(code, {"__name__": "__main__"})
            said = ast.literal_eval(capsys.readouterr().out)
            expected = dict(zip(found.classes, found.probability[row].tolist(), strict=True))
            assert said == pytest.approx(expected, abs=0.02)  # bfloat16 where there is


def test_a_loaded_model_gives_the_predictions(finished, cache):
    """The mirror image, the normalising and the temperature are inside; floats do as well."""
    run = finished("deep")
    found = read_predictions(run.predictions_file)
    store = reload(candid.open_run(run.path), cache=cache)
    row = {str(name): i for i, name in enumerate(store.dataset.ids)}
    pixels = torch.from_numpy(store.store.pixels[[row[str(i)] for i in found.ids]])
    model = candid.load_model(run.path)
    assert model.classes == found.classes and not model.training
    with torch.inference_mode():
        given = model(pixels)
        np.testing.assert_allclose(given, found.probability, atol=0.02)
        np.testing.assert_allclose(given, model(pixels.flip(2)), atol=1e-5)  # mirrored
        floats = pixels.permute(0, 3, 1, 2) / 255
        np.testing.assert_allclose(given, model(floats), atol=1e-5)
    for wrong in (pixels[0], floats.byte(), floats * 255, (floats - 0.5) / 0.1, pixels[:, 1:]):
        with pytest.raises(DataError, match=r"shape|far outside"):
            model(wrong)


def test_the_weights_behind_fixed_features_are_shown(finished):
    run = finished("features")
    titles = read_record(run.inside, Inside).weights
    pictures = read_inside_arrays(run.inside_arrays)["weights"]
    assert ["Edges" in t for t in titles] == [True, False]
    assert pictures.shape == (2, 24, 24, 3)
    # What autograd says of the part that is linear in the pixels.
    network = load_network(run.weights, read_record(run.model_file, ModelCard), torch.device("cpu"))
    image = torch.zeros(1, 3, 24, 24, requires_grad=True)
    found = network.eigenfaces(image.flatten(1))
    scores = network.head(torch.cat([torch.zeros(1, network.hog.length), found], dim=1))
    (scores[0, 1] - scores[0, 0]).backward()
    slope = image.grad[0].permute(1, 2, 0).numpy()
    expected = 127.5 + 127.5 * slope / np.abs(slope).max()
    assert np.abs(pictures[1] - expected).max() < 0.51
    report = run.report.read_text(encoding="utf-8")
    assert titles[0] in report
    assert titles[1] in report


class Own(torch.nn.Module):
    """One linear layer and a dropout: small, and in nobody's list."""

    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.1)
        self.linear = torch.nn.Linear(3 * 24 * 24, 2)

    def forward(self, images):
        return self.linear(self.drop(images.flatten(1)))


def test_a_module_of_one_s_own_is_trained_and_judged_the_same_way(dataset, cache, tmp_path):
    config = load_config(recipe="plain", overrides=QUICK)
    module = Own()
    run = candid.run(dataset, config, network=module, out=tmp_path / "run", cache=cache)
    card = read_record(run.model_file, ModelCard)
    assert (card.network, card.options) == ("own", {"module": f"{__name__}.Own"})
    assert [layer.kind for layer in card.layers] == ["Dropout", "Linear"]
    assert run.report.is_file()
    before = run.predictions_file.read_bytes()
    again = candid.open_run(run.path)
    data = reload(again, cache=cache)
    predict_splits(replace(again, network=Own()), data)  # filled with the run's weights
    assert run.predictions_file.read_bytes() == before
    pixels = torch.from_numpy(data.store.pixels[:4].copy())
    assert candid.load_model(run, network=Own())(pixels).shape == (4, 2)
    with pytest.raises(ConfigError, match=r"one of your own, .*\.Own,"):
        predict_splits(again, data)


def test_a_network_of_fixed_size_cannot_begin_with_small_images(dataset, tmp_path):
    config = load_config(recipe="plain", overrides=[*QUICK, "train.progressive_side=16"])
    with pytest.raises(ConfigError, match=r"16.*pixels"):
        candid.train(dataset, config, out=tmp_path / "run", cache=tmp_path / "cache")


def test_several_networks_do_not_divide_what_several_processes_share(monkeypatch):
    monkeypatch.setattr("candid.training.distributed.team", lambda: Team(rank=0, size=2))
    config = load_config(recipe="deep", overrides=[*QUICK, "network.ensemble_size=2"])
    with pytest.raises(ConfigError, match="needs one process, and there are 2"):
        start_training(None, config)
