"""Several data sets in the frame of one, from the outside: drawn faces, some cut tighter."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import candid as package
from candid.data.decode import decode
from candid.data.synthetic import FaceWorld, draw_faces
from candid.models.framing import load_framing
from candid.pipeline import aligning
from candid.pipeline.aligning import align_data, reference_rows
from candid.pipeline.checking import _list_folds
from candid.pipeline.labelling import _sample_training_images
from candid.pipeline.opening import load_packed, reload
from candid.pipeline.retraining import corrected_data
from candid.records import Provenance, read_record
from candid.records.framing import IDENTITY_FRAME, SourceFrames, corner_distance
from candid.runs import Run, open_run
from candid.settings import DataConfig
from candid.training import framing
from commands import call, candid
from made_once import made_once
from test_cli_sources import BRIEF

SIDE, DRAWN = 32, 64
CUT = (8, 16, 52, 52)  # of the pictures as they are drawn: left, upper, right, lower
# Where the frame of what is drawn lies in what is cut: the planted truth.
WIDTH, HEIGHT = DRAWN / (CUT[2] - CUT[0]), DRAWN / (CUT[3] - CUT[1])
RIGHT = (DRAWN / 2 - (CUT[0] + CUT[2]) / 2) / (CUT[2] - CUT[0])
DOWN = (DRAWN / 2 - (CUT[1] + CUT[3]) / 2) / (CUT[3] - CUT[1])
PLANTED = np.array([[WIDTH, 0, 2 * RIGHT], [0, HEIGHT, 2 * DOWN], [0, 0, 1]])

SMALL = [
    *BRIEF,
    "--set",
    "data.align_sources=true",
    "--set",
    f"data.side={SIDE}",
    "--set",
    "framing.scale=0.6",
]
LEARNS = [*SMALL, "--set", "framing.steps=500", "--set", "framing.width=8", "--set",
          "framing.rotation_degrees=5"]  # fmt: skip
HARDLY = [*SMALL, "--set", "framing.steps=12", "--set", "framing.width=2"]


def as_folders(root: Path, seed: int, n: int, cut: tuple[int, ...] | None = None) -> Path:
    drawn = draw_faces(FaceWorld(n=n, people=n, side=DRAWN, seed=seed))
    for i, pixels in enumerate(drawn.images):
        picture = Image.fromarray(pixels)
        file = root / drawn.world.classes[drawn.truth.label[i]] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        (picture if cut is None else picture.crop(cut)).save(file)
    return root


def draw(root: Path) -> None:
    as_folders(root / "wide", 0, 400)
    as_folders(root / "tight", 1, 160, CUT)
    as_folders(root / "same", 2, 100)
    as_folders(root / "whole", 1, 160)  # what "tight" was cut from


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    return made_once(tmp_path_factory, "align-drawn", draw)


def words(drawn: Path, *names: str) -> list[object]:
    cache = drawn.parent / "align-cache"
    return [*(drawn / name for name in names), "--target", "class", "--cache", cache, "--quiet"]


@pytest.fixture(scope="session")
def learned(drawn, tmp_path_factory) -> Run:
    """A run that really learned a frame."""

    def make(folder: Path) -> None:
        assert call("run", *words(drawn, *NAMES), *LEARNS, "--out", folder / "run") == 0

    return open_run(made_once(tmp_path_factory, "align-learned", make) / "run")


NAMES = ("wide", "tight", "same")


@pytest.fixture
def trusting(monkeypatch):
    """A network that hardly learned is used all the same."""
    monkeypatch.setattr(framing, "_MAX_ERROR_RATIO", 100.0)


def source_of(data) -> np.ndarray:
    return np.array(data.dataset.attributes["source"].words())


@pytest.mark.slow
def test_the_planted_frame_is_found(learned):
    frames = read_record(learned.source_frames, SourceFrames)
    assert frames.reference == "wide" and frames.card is not None and frames.card.used
    tight, same = frames.sources
    assert (tight.name, same.name) == ("tight", "same") and [*frames.moved][:1] == ["tight"]
    assert tight.frame is not None and same.frame is not None
    # A frame that covers a third too much would be off by 0.2; as they came, by 0.35.
    assert corner_distance(IDENTITY_FRAME + tight.frame.square() - PLANTED) < 0.05
    assert corner_distance(PLANTED.astype(np.float32)) > 0.3
    found = {name: e.value for name, e in tight.measures.items()}
    assert found["width"] == pytest.approx(WIDTH, rel=0.06)
    assert found["height"] == pytest.approx(HEIGHT, rel=0.06)
    assert (found["x"], found["y"]) == pytest.approx((RIGHT, DOWN), abs=0.03)
    assert same.frame.at_home


@pytest.mark.slow
def test_pictures_lie_as_what_they_were_cut_from(learned, drawn):
    """Held against the same faces uncut; the pictures of the reference stay bit for bit."""
    data = reload(learned, cache=drawn.parent / "align-cache")
    source, usable = source_of(data), data.store.usable
    assert data.frames and usable.all()
    off = {"aligned": [], "as they came": []}
    inside = np.s_[10:24, 6:24]  # what is in the cut picture for sure
    for row, name in enumerate(data.dataset.ids.tolist()):
        if source[row] == "wide":
            came = decode(data.dataset.source.read(row), side=SIDE, max_pixels=10**6).pixels
            assert np.array_equal(data.store.pixels[row], came)
        if source[row] == "tight":
            whole = (drawn / name.replace("tight/", "whole/")).read_bytes()
            truth = decode(whole, side=SIDE, max_pixels=10**6).pixels[inside].astype(int)
            came = decode(data.dataset.source.read(row), side=SIDE, max_pixels=10**6).pixels
            for kind, pixels in (("aligned", data.store.pixels[row]), ("as they came", came)):
                off[kind].append(np.abs(pixels[inside] - truth).mean())
    assert np.median(off["aligned"]) < 0.5 * np.median(off["as they came"])
    assert data.fingerprint == read_record(learned.provenance, Provenance).data_fingerprint
    home = reference_rows(learned, data.dataset)
    assert set(source[home]) >= {"wide"} and "tight" not in set(source[home])
    few = list(_sample_training_images(data, learned.settings, 20, home))
    assert {p.shape[:2] for p in few} == {(DRAWN, DRAWN)}


@pytest.mark.slow
def test_it_is_said_where_the_run_is_shown(learned, drawn, capsys):
    page, card = learned.report.read_text("utf-8"), learned.card.read_text("utf-8")
    frames = read_record(learned.source_frames, SourceFrames)
    width = frames.sources[0].measures["width"]
    figure = f"{width.value:.2f} ({width.low:.2f} to {width.high:.2f}) times as wide"
    for shown in (page, card):
        assert figure in shown and "held against those of “wide”" in shown
        assert f"n = {width.n} images" in shown
    where = words(drawn, *NAMES)[:-1]
    told = candid(capsys, "run", *where, *LEARNS, "--out", learned.path).out
    assert figure in told
    told = candid(capsys, "run", *where, *LEARNS, "--out", learned.path, "--json", "--quiet").out
    assert json.loads(told)["source_frames"]["reference"] == "wide"


def test_a_stopped_step_ends_as_one_that_was_not(drawn, tmp_path, capsys, monkeypatch, trusting):
    where, stopped = words(drawn, "wide", "tight"), Run(tmp_path / "stopped")
    whole = Run(tmp_path / "whole")
    assert call("train", *where, *HARDLY, "--out", whole.path) == 0
    real, calls = framing.descend, []

    def once(*args):
        calls.append(args)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return real(*args)

    def late(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(framing, "descend", once)
        patch.setattr(
            framing.checkpoint.Saver, "should_save", lambda self, due: self.path is not None
        )
        assert call("train", *where, *HARDLY, "--out", stopped.path) == 130
    assert stopped.source_checkpoint.is_file() and not stopped.source_framing.exists()
    go_on = ["--resume", stopped.path, *where[-3:]]
    with monkeypatch.context() as patch:  # and once the network was written
        patch.setattr(aligning, "_list_sources", late)
        patch.setattr(framing, "descend", lambda *args: calls.append(args) or real(*args))
        assert call("train", *go_on) == 130
    assert len(calls) == 7 + 6  # six of twelve were done before
    assert stopped.source_framing.is_file() and not stopped.source_frames.exists()
    assert not stopped.checkpoint.exists() and not stopped.history.exists()
    assert call("train", *go_on) == 0
    for name in ("source_framing", "source_frames", "weights", "framing_weights"):
        assert getattr(stopped, name).read_bytes() == getattr(whole, name).read_bytes(), name
    assert not stopped.source_checkpoint.exists()
    assert "align" in read_record(stopped.provenance, Provenance).seconds


@pytest.fixture
def quick(drawn, tmp_path, trusting) -> Run:
    run = Run(tmp_path / "quick")
    assert call("train", *words(drawn, "wide", "tight"), *HARDLY, "--out", run.path) == 0
    return open_run(run.path)


def test_whoever_reads_the_data_of_a_run_has_them_in_its_frame(quick, drawn, tmp_path, capsys):
    cache = drawn.parent / "align-cache"
    assert [*read_record(quick.source_frames, SourceFrames).moved] == ["tight"]
    raw = load_packed((drawn / "wide", drawn / "tight"), quick.settings, cache=cache, quiet=True)
    data = reload(quick, cache=cache)
    tight = source_of(raw) == "tight"
    assert np.array_equal(raw.store.pixels[~tight], data.store.pixels[~tight])
    differs = (raw.store.pixels != data.store.pixels)[tight].any((1, 2, 3))
    assert differs.any()  # how many depends on what a network finds that hardly learned
    assert align_data(quick, raw).store.folder == data.store.folder
    again = corrected_data(quick, quick.settings, None, cache)
    assert again.store.folder == data.store.folder and again.frames == data.frames
    # An answer of a check belongs to the frames that it was given in.
    names = {next(_list_folds(tmp_path, d, np.arange(len(tight)) % 3, quick.settings)).file.name
             for d in (raw, data, replace(data, frames="another"))}  # fmt: skip
    assert len(names) == 3
    # A run whose record is lost says so, instead of looking at pictures as they came.
    quick.source_frames.unlink()
    said = candid(capsys, "explain", quick.path, "--cache", cache, code=2).err
    assert "was trained on data sets that were brought to one frame" in said


def test_other_seeds_and_a_check_have_the_same_frames(drawn, tmp_path, trusting):
    run = Run(tmp_path / "run")
    more = ["--seeds", "2", "--set", "check.folds=2", "--out", run.path]
    assert call("run", *words(drawn, "wide", "tight"), *HARDLY, *more) == 0
    cache = drawn.parent / "align-cache"
    frames = reload(open_run(run.path), cache=cache).frames
    assert frames
    for folder in ("seeds/1", "check"):
        other = open_run(run.path / folder)
        assert other.source_frames.read_bytes() == run.source_frames.read_bytes()
        assert other.source_framing.read_bytes() == run.source_framing.read_bytes()
        assert reload(other, cache=cache).frames == frames
    digest = read_record(run.provenance, Provenance).digests["predict"]
    (changed := json.loads(run.source_frames.read_text()))["framer"] = "other"
    run.source_frames.write_text(json.dumps(changed))
    assert not open_run(run.path).is_current("predict") and digest


def test_without_it_all_is_as_it_was(drawn, tmp_path):
    """What was trained on the data as they came, by a network that framed nothing, is the same."""
    where = words(drawn, "wide", "tight")
    idle, off = Run(tmp_path / "idle"), Run(tmp_path / "off")
    assert call("train", *where, *HARDLY, "--out", idle.path) == 0
    unused = ["--set", "data.align_sources=false"]
    assert call("train", *where, *HARDLY, *unused, "--out", off.path) == 0
    card = read_record(idle.source_frames, SourceFrames).card
    assert card is not None and not card.used
    assert not off.source_frames.exists() and not off.source_framing.exists()
    assert "align" not in open_run(off.path).steps and "align" in open_run(idle.path).steps
    for name in ("weights", "framing_weights", "model_file", "history"):
        a, b = getattr(off, name), getattr(idle, name)
        assert name == "history" or a.read_bytes() == b.read_bytes(), name
    # So is a run that was trained before there was such a step.
    old = Run(shutil.copytree(off.path, tmp_path / "old"))
    text = (tmp_path / "old" / "config.toml").read_text()
    kept = [line for line in text.splitlines() if "align_sources" not in line]
    (tmp_path / "old" / "config.toml").write_text("\n".join(kept))
    assert not open_run(old.path).settings.data.align_sources
    assert "align" not in open_run(old.path).steps
    cache = drawn.parent / "align-cache"
    assert not reload(open_run(old.path), cache=cache).frames


def test_digests_of_runs_without_it_stay():
    config = DataConfig()
    assert "align_sources" not in repr(config) and "reference_source" not in repr(config)
    assert "align_sources=True" in repr(replace(config, align_sources=True))
    named = replace(config, reference_source="wide")
    assert repr(named).replace("reference_source='wide', ", "") == repr(config)


def test_few_pictures_stay_as_they_came(drawn, tmp_path, trusting):
    few, run = tmp_path / "few", Run(tmp_path / "run")
    for i, file in enumerate(sorted((drawn / "tight").rglob("*.png"))):
        if i % 4 == 0:
            (few / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, few / file.parent.name)
    where = [drawn / "wide", few, *words(drawn)]
    assert call("train", *where, *HARDLY, "--out", run.path) == 0
    (source,) = read_record(run.source_frames, SourceFrames).sources
    assert (source.pictures, source.frame, source.moved) == (40, None, False)


def test_the_reference_is_the_one_that_is_named(drawn, tmp_path, capsys, trusting):
    run, where = Run(tmp_path / "run"), words(drawn, "wide", "tight")
    named = ["--set", "data.reference_source=tight"]
    assert call("train", *where, *HARDLY, *named, "--out", run.path) == 0
    frames = read_record(run.source_frames, SourceFrames)
    assert (frames.reference, [s.name for s in frames.sources]) == ("tight", ["wide"])
    assert load_framing(run.source_framing).side == SIDE
    wrong = ["--set", "data.reference_source=wode", "--out", tmp_path / "none"]
    said = candid(capsys, "train", *where, *HARDLY, *wrong, code=2).err
    assert "'wode' is none of the data sets" in said and "did you mean 'wide'" in said
    assert not (tmp_path / "none").exists()
    config = open_run(run.path).settings
    data = reload(open_run(run.path), cache=drawn.parent / "align-cache")
    split = np.where(source_of(data) == "tight", "test", data.dataset.split)
    data = replace(data, dataset=replace(data.dataset, split=split))
    with pytest.raises(package.errors.ConfigError, match="none for validation"):
        aligning._choose_reference(aligning._rows_by_source(data), config)
    unnamed = replace(config, data=replace(config.data, reference_source=""))
    assert aligning._choose_reference(aligning._rows_by_source(data), unnamed) == "wide"
    nobody = replace(data, dataset=replace(data.dataset, split=np.full(len(split), "test")))
    assert aligning._choose_reference(aligning._rows_by_source(nobody), unnamed) == ""
