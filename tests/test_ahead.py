"""Steps that are done beside the training: the same figures, and nothing done twice."""

import importlib.util
from contextlib import contextmanager

import pytest

import candid
from candid.data.synthetic import demo_world, write_faces
from candid.errors import DependencyError
from candid.pipeline import ahead
from candid.records import Provenance, read_record
from candid.training.framing import train_framing

SETTINGS = (
    *("data.target=Face", "data.side=32", "network.width=4", "train.threads=1", "train.steps=4"),
    *(
        "train.batch_size=16",
        "train.evaluations=1",
        "audit.draws=100",
        "report.model=off",
        "explain.make=false",
    ),
)
FIGURES = (
    *("model.safetensors", "framing.safetensors", "framing.json", "unfamiliar.npz", "drift.npz"),
    *("predictions.parquet", "evaluation.json", "audit.json"),
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    place = tmp_path_factory.mktemp("ahead") / "faces"
    return write_faces(place, demo_world(120, side=32), workers=1, quiet=True)


def run_of(faces, folder, jobs):
    config = candid.load_config(overrides=SETTINGS)
    return candid.run(faces, config, out=folder / "run", cache=faces.parent / "cache", jobs=jobs)


@pytest.fixture(scope="module")
def alone(faces):
    return run_of(faces, faces.parent, 1)


def bytes_of(run):
    return {name: (run.path / name).read_bytes() for name in FIGURES}


def test_figures_are_the_same_beside_and_after_the_training(alone, faces, tmp_path):
    both = run_of(faces, tmp_path, 2)
    assert bytes_of(alone) == bytes_of(both)
    assert both.is_finished()
    seconds = [read_record(run.provenance, Provenance).seconds for run in (alone, both)]
    assert seconds[0].keys() == seconds[1].keys() >= {"frame", "unfamiliar"}


@contextmanager
def _failed(work):
    yield lambda: False


@contextmanager
def _here(work):
    work()
    (work.args[1].framing.parent / "beside").touch()
    yield lambda: True


def test_what_failed_beside_is_done_after_the_training(alone, faces, tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "in_own_process", _failed)
    assert bytes_of(run_of(faces, tmp_path, 2)) == bytes_of(alone)


def test_what_was_done_beside_is_not_done_again(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "in_own_process", _here)
    calls = []

    def counted(*inputs, **how):
        calls.append(1)
        return train_framing(*inputs, **how)

    monkeypatch.setattr("candid.training.framing.train_framing", counted)
    run = run_of(faces, tmp_path, 2)
    assert calls == [1] and (run.path / "beside").is_file() and run.is_finished()


def test_without_torch_nothing_is_drawn(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "torch" else found(n))
    with pytest.raises(DependencyError, match="torch"):
        candid.demo(tmp_path / "demo", images=60)
    assert not (tmp_path / "demo").exists()
