"""Exported models give what torch gives, alone in ONNX Runtime, and say what int8 costs."""

import dataclasses
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from candid.data.dataset import Dataset
from candid.errors import CheckFailed, RunError
from candid.inference import exporting
from candid.inference.classifier import open_classifier
from candid.inference.exporting import TOLERANCE, export_float
from candid.models.onnx_file import onnx_path
from candid.pipeline.exporting import export_run
from candid.records import ModelCard, read_record
from candid.runs import open_run
from candid.stats.metrics import confusion_matrix, weighted_f1_score
from data.by_hand import MemorySource, png
from inference.tiny import CLASSES, SIDE, always_framed, pixels, tiny_run

NETWORKS = {
    "plain": {},
    "deep": {"width": 8, "depth": 1},
    "vit": {"width": 32, "depth": 1},
}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_gives_the_same_alone_in_onnx_runtime(tmp_path, network):
    run = tiny_run(tmp_path / "run", network=network, classes=("a", "b", "c"), **NETWORKS[network])
    card = read_record(run.model_file, ModelCard)
    check = export_float(run, card, onnx_path(run), pixels(50))
    assert (check.images, check.other_labels) == (50, 0)
    assert 0 < check.largest < TOLERANCE
    session = onnxruntime.InferenceSession(onnx_path(run))
    expected = open_classifier(run, engine="torch")
    for n in (1, 3, 33):  # any number at a time
        found = session.run(["probabilities"], {"pixels": pixels(n, seed=n)})[0]
        np.testing.assert_allclose(found, expected.probabilities(pixels(n, seed=n)), atol=1e-5)


def test_the_file_is_whole_and_says_no_more_than_it_should(tmp_path):
    run = tiny_run(tmp_path / "run")
    export_float(run, read_record(run.model_file, ModelCard), onnx_path(run), None)
    model = onnx.load(onnx_path(run))
    onnx.checker.check_model(model, full_check=True)
    (given,), (answer,) = model.graph.input, model.graph.output
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    shape = given.type.tensor_type.shape.dim
    assert shape[0].dim_param
    assert [d.dim_value for d in shape[1:]] == [SIDE, SIDE, 3]
    assert answer.name == "probabilities"
    data = onnx_path(run).read_bytes()
    assert str(tmp_path).encode() not in data
    assert b"site-packages" not in data  # where nodes came from in somebody's Python
    assert [f.name for f in run.path.iterdir() if "onnx" in f.name] == ["model.onnx"]


def test_an_export_that_is_wrong_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    run = tiny_run(tmp_path / "run")
    card = read_record(run.model_file, ModelCard)
    sound = exporting.to_onnx

    def wrong(whole, card, made, marks):
        other = dataclasses.replace(card, temperature=card.temperature * 1.02)
        return sound(type(whole)(whole.network, other).eval(), card, made, marks)

    monkeypatch.setattr(exporting, "to_onnx", wrong)
    with pytest.raises(CheckFailed, match="differs from the original by up to"):
        export_float(run, card, onnx_path(run), pixels(20))
    assert not onnx_path(run).exists()


def test_not_a_number_is_not_the_same(tmp_path, monkeypatch):
    run = tiny_run(tmp_path / "run")
    card = read_record(run.model_file, ModelCard)
    monkeypatch.setattr(
        exporting.OnnxEngine, "__call__", lambda self, x: np.full((len(x), 2), np.nan, np.float32)
    )
    with pytest.raises(CheckFailed):
        export_float(run, card, onnx_path(run), pixels(4))


# --- with data -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Packed:
    pixels: np.ndarray

    @property
    def usable(self):
        return np.ones(len(self.pixels), np.bool_)

    @property
    def widths(self):
        return np.full(len(self.pixels), SIDE)

    heights = widths


@dataclasses.dataclass
class Data:
    dataset: Dataset
    store: Packed


def data(n=300):
    pictures = pixels(n)
    label = (pictures[..., 0].mean((1, 2)) > 127).astype(np.int16)
    split = np.array(["train", "validation", "test"])[np.arange(n) % 3]
    ids = np.array([f"{i}.png" for i in range(n)])
    people = np.arange(n, dtype=np.int64) // 6
    source = MemorySource(tuple(png(picture) for picture in pictures))
    dataset = Dataset("Hat", CLASSES, ids, split, label, "d", "folder", source, person=people)
    return Data(dataset, Packed(pictures))


def test_int8_is_smaller_and_its_cost_is_the_paired_difference(tmp_path):
    run = tiny_run(tmp_path / "run")
    given = data()
    done = export_run(open_run(run.path), given, int8=True)
    assert done.checked == 100
    assert done.int8_bytes < 0.5 * done.onnx_bytes
    # The figures by hand, from what each engine says.
    rows = given.dataset.rows("validation")
    label = given.dataset.label[rows]
    f1 = {}
    for engine in ("onnx", "int8"):
        said = open_classifier(run, engine=engine).probabilities(given.store.pixels[rows])
        table = confusion_matrix(label, said.argmax(1), 2)
        f1[engine] = float(np.squeeze(weighted_f1_score(table)))
    assert done.f1 == pytest.approx(f1["onnx"], abs=1e-12)
    assert done.int8_f1 == pytest.approx(f1["int8"], abs=1e-12)
    change = done.f1_change
    assert change.value == pytest.approx(f1["int8"] - f1["onnx"], abs=1e-12)
    assert change.low <= change.value <= change.high
    assert change.n == 100
    assert "validation pictures" in done.unfamiliar
    # Of other weights it is not this run's any more.
    other = tiny_run(tmp_path / "other", seed=1)
    run.weights.write_bytes(other.weights.read_bytes())
    with pytest.raises(RunError, match="int8"):
        open_classifier(run, engine="int8")


def test_int8_is_refused_without_data(tmp_path):
    run = tiny_run(tmp_path / "run")
    with pytest.raises(RunError, match="without the run's data"):
        export_run(run, None, int8=True)


def test_another_folder(tmp_path):
    run = tiny_run(tmp_path / "run")
    done = export_run(run, None, out=tmp_path / "elsewhere")
    assert done.onnx == str(tmp_path / "elsewhere" / "model.onnx")
    assert not onnx_path(run).exists()
    assert done.checked == 0


# --- with a network that frames ------------------------------------------------------------------

FRAME = (-0.4, 0.1, 0.25, -0.15, 0.2)


def learned(run):
    """Give a run a framing network whose frames depend on the picture; some it leaves alone."""
    from candid.models.framing import load_framing, save_framing

    always_framed(run, FRAME)
    framing = load_framing(run.framing_weights)
    with torch.no_grad():
        framing.head.weight.uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(0))
    views = torch.from_numpy(pixels(200))
    looks = framing.distance(
        framing.estimate(
            framing.make_input(views.permute(0, 3, 1, 2).float(), torch.eye(3).repeat(200, 1, 1))
        )
    )
    framing.limit.copy_(looks.median())
    save_framing(run.framing_weights, framing)
    return framing


def test_the_framing_network_stands_beside_the_model_that_names_it(tmp_path):
    run = tiny_run(tmp_path / "run")
    learned(run)
    given = data()
    for out, names in (
        (tmp_path / "out", ("model.onnx", "framing.onnx", "model-int8.onnx")),
        (tmp_path / "out" / "hat.onnx", ("hat.onnx", "hat-framing.onnx", "hat-int8.onnx")),
    ):
        done = export_run(open_run(run.path), given, out=out, int8=True)
        folder = tmp_path / "out"
        found = [done.onnx, done.framing, done.int8]
        assert found == [str(folder / name) for name in names]
        assert done.framing_bytes == (folder / names[1]).stat().st_size
        assert done.framing_checked == 100 and done.framing_other <= 1
        assert 0 < done.framing_largest_difference <= 1e-3
        for name in (names[0], names[2]):
            said = {p.key: p.value for p in onnx.load(folder / name).metadata_props}
            assert said["candid.framing"] == names[1]
    assert len(list(folder.iterdir())) == 6
    assert not onnx_path(run).exists()
    unframed = export_run(open_run(tiny_run(tmp_path / "plain").path), None, out=tmp_path / "b")
    assert unframed.framing is None
    assert [f.name for f in (tmp_path / "b").iterdir()] == ["model.onnx"]


def test_exports_that_are_carried_away_frame_as_at_home(tmp_path):
    """A folder with the settings, the card and both exports answers as the run does."""
    run = tiny_run(tmp_path / "run")
    learned(run)
    away = tmp_path / "away"
    export_run(run, None, out=away)
    for file in (run.config, run.model_file):
        shutil.copy(file, away)
    home, there = open_classifier(run, engine="torch"), open_classifier(open_run(away))
    assert there.framer is not None and there.input_side == home.input_side == 2 * SIDE
    x = pixels(40, side=2 * SIDE, seed=3)
    a, b = (c.framed(x) for c in (home, there))
    moved = (a.frames != np.eye(3)).any((1, 2))
    assert 0 < moved.sum() < len(x)
    np.testing.assert_allclose(a.frames, b.frames, atol=1e-3)
    np.testing.assert_allclose(
        home.probabilities(a.pixels), there.probabilities(b.pixels), atol=5e-3
    )
    # What the model names is missing, or another run's: nothing is answered unframed.
    other = tiny_run(tmp_path / "other")
    always_framed(other, (0.1,) * 5)
    export_run(other, None, out=tmp_path / "elsewhere")
    shutil.copy(tmp_path / "elsewhere" / "framing.onnx", away)
    with pytest.raises(RunError, match="is not the framing network"):
        open_classifier(open_run(away))
    (away / "framing.onnx").unlink()
    with pytest.raises(RunError, match=r"framing.onnx has framed"):
        open_classifier(open_run(away))


def test_a_framing_export_that_is_wrong_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    run, other = tiny_run(tmp_path / "run"), tiny_run(tmp_path / "other")
    learned(run)
    always_framed(other, FRAME)
    sound = exporting.framing_to_onnx
    monkeypatch.setattr(exporting, "framing_to_onnx", lambda _: sound(other))
    with pytest.raises(CheckFailed, match=r"frames .* of 100 pictures otherwise"):
        export_run(open_run(run.path), data(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_names_a_file_elsewhere_is_held_to_its_own_folder(tmp_path):
    from candid.inference.framed_export import open_named_framer

    class Model:
        metadata = {"candid.framing": "../../secret.onnx"}  # noqa: RUF012

    with pytest.raises(RunError, match=r"that secret.onnx has framed"):
        open_named_framer(Model(), tmp_path / "deep" / "folder")
