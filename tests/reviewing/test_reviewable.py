"""What is known of a run's labels or a data set's: queues without a model, and with a check."""

from __future__ import annotations

import csv
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import candid as package
from candid.config import load_config, with_values
from candid.errors import ConfigError
from candid.pipeline import reviewable as source
from candid.pipeline.reviewable import (
    examine_pixels,
    find_nearest,
    is_run,
    open_reviewable,
    start_nearest,
)
from candid.pipeline.reviewing import QUEUES, open_review
from candid.predictions import read_predictions
from candid.records.audit import Condition
from candid.reviewing.suspects import list_likely_wrong
from candid.runs import open_run
from candid.settings import Config
from commands import candid
from made_shards import write_shards
from reviewing.reviewed import BROKEN, COPIED, SETTINGS, WIDE, make_data, make_network, make_run
from reviewing.test_suspects import gap_split

CONFIG = with_values(Config(), {"data": SETTINGS})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "my faces")


def test_of_a_data_set_alone_there_are_the_queues_that_need_no_model(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_run(data) and not is_run((data, data))
    with open_review(data, who="ann", config=CONFIG, cache=cache) as ready:
        session, shown = ready.session, ready.session.review.showings
        why = Counter(s.why for s in shown if s.time == 1)
        assert {*why} == {"person", "strange", "copy", "unreadable", "decoy"}
        pairs = {frozenset((s.image, s.other)) for s in shown if s.why == "copy"}
        copied = {frozenset((one, f"images/copy-{k}.jpg")) for k, one in enumerate(COPIED)}
        assert copied <= pairs
        assert {s.image for s in shown if s.why == "strange"} == set(WIDE)
        assert session.known.strange[WIDE[0]].endswith("another shape (64 × 16)")
        files = [s.image for s in shown if s.why == "unreadable"]
        assert files == list(BROKEN) == [*session.known.unreadable]
        # Nobody is asked about a picture that cannot be seen.
        assert not {s.image for s in shown if s.why != "unreadable"} & set(BROKEN)
        assert session.known.answer == {}
        assert session.review.labelled == 120 + 2 - 2
        assert session.log.path == Path("corrections-my-faces.csv")
        # People who contradict themselves, counted by hand.
        with (data / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        said: dict[str, Counter[str]] = {}
        for row in rows:
            said.setdefault(row["person"], Counter())[row["Face"]] += 1
        against = {
            row["path"]
            for row in rows
            if sum(said[row["person"]].values()) >= 3
            and 2 * said[row["person"]][row["Face"]] < sum(said[row["person"]].values())
        }
        assert {s.image for s in shown if s.why == "person"} == against - set(BROKEN)


def test_only_what_is_wanted_is_looked_for(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("looked for what nobody asked about")

    for name in ("_find_copies", "_find_strange"):
        monkeypatch.setattr(source, name, never)
    of = open_reviewable(data, CONFIG, cache=cache)
    assert [*examine_pixels(of, ["person", "unreadable"]).unreadable] == list(BROKEN)
    with pytest.raises(AssertionError):
        examine_pixels(of, [*QUEUES.values()])


@pytest.mark.slow
def test_what_a_check_of_the_same_labels_found_is_found_below_runs(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    faces = make_data(tmp_path / "faces")
    quick = {"steps": 8, "batch_size": 32, "threads": 1, "precision": "float32"}
    config = with_values(
        load_config(recipe="plain"),
        {"data": SETTINGS | {"side": 24}, "train": quick, "check": {"folds": 2, "steps": 8},
         "evaluate": {"draws": 50}},
    )  # fmt: skip
    assert config.data.side != CONFIG.data.side  # its networks may see other sizes
    package.check(faces, config, out="runs/mine", cache=cache)
    said = read_predictions(open_run("runs/mine").predictions_file)
    with open_review(faces, who="ann", config=CONFIG, cache=cache) as ready:
        session = ready.session
        assert set(session.known.answer) == set(said.ids.tolist())
        suspects = {s.image for s in session.review.showings if s.why == "likely wrong"}
        assert suspects == set(list_likely_wrong(said))
        assert session.log.path == Path("corrections-faces.csv")
    # One label is another: the check was of other data.
    text = (faces / "labels.csv").read_text()
    line = next(one for one in text.splitlines() if one.startswith(WIDE[0]))
    word = "Round" if ",Square," in line else "Square"
    other = line.replace(",Square,", ",*,").replace(",Round,", ",*,").replace("*", word)
    (faces / "labels.csv").write_text(text.replace(line, other))
    with open_review(faces, who="ann", config=CONFIG, cache=cache) as ready:
        assert ready.session.known.answer == {}


def test_mistakes_of_the_worst_group_stand_on_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    said = read_predictions(run.predictions_file)
    hats = said.attributes["Wearing_Hat"]
    found = gap_split(Condition("Wearing_Hat", "no"))
    monkeypatch.setattr(source, "audited_split", lambda _: found)
    inside = (said.split == "test") & (hats.data == hats.values.index("no")) & said.wrong
    expected = set(said.ids[inside].tolist())
    assert expected
    with open_review(run, who="x", queues=["slice"], cache=tmp_path / "cache") as ready:
        shown = ready.session.review.showings
        assert {s.image for s in shown if s.why == "slice"} == expected
        assert all(s.page for s in shown) and ready.session.known.group == "Wearing_Hat: no"
        assert "numbers" in ready.session.state()["showing"]


@pytest.mark.slow
def test_the_nearest_are_those_of_the_last_hidden_layer(tmp_path: Path) -> None:
    import torch

    from candid.explanation.hidden import find_layers
    from candid.models.forward import Images
    from candid.models.model import load_network
    from candid.records import ModelCard, read_record

    run = make_network(tmp_path)
    of = open_reviewable(run, None, cache=tmp_path / "cache")
    dataset, store = of.dataset, of.data.store
    train = np.flatnonzero(dataset.split == "train")
    asked = [*dataset.ids[train[:3]].tolist(), *dataset.ids[dataset.split == "test"][:4].tolist()]
    found = find_nearest(of, asked)
    assert set(found) == set(asked)
    with start_nearest(of, asked) as neighbours:
        for _ in range(3000):
            if (same := neighbours()) is not None:
                break
            time.sleep(0.01)
        assert same == found
    assert find_nearest(of, asked, wanted=lambda: False) == {}
    # By brute force: what goes into the classifier, in double precision.
    card = read_record(run.model_file, ModelCard)
    network = load_network(run.weights, card, torch.device("cpu"))
    batch = Images(store.pixels, card.mean, card.std).batch(np.arange(len(dataset)), "cpu")
    kept: list[Any] = []
    layer = dict(network.named_modules())[find_layers(network, batch[:4]).classifier]
    hook = layer.register_forward_pre_hook(lambda _, given: kept.append(given[0].detach()))
    with torch.no_grad():
        network(batch)
    hook.remove()
    hidden = kept[0].flatten(2).mean(2) if kept[0].ndim == 4 else kept[0]
    unit = hidden.double().numpy()
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    row = {name: k for k, name in enumerate(dataset.ids.tolist())}
    gallery = np.array([k for k in train if dataset.ids[k] not in asked])
    for name in asked:
        cosine = unit[gallery] @ unit[row[name]]
        chosen = [row[near] for near, _ in found[name]]
        assert len(chosen) == 5 and set(chosen) <= set(gallery.tolist())
        got = unit[chosen] @ unit[row[name]]
        assert np.allclose(got, np.sort(cosine)[::-1][:5], atol=1e-5)
        assert [label for _, label in found[name]] == [
            dataset.classes[dataset.label[k]] for k in chosen
        ]


def test_a_review_that_is_left_does_not_wait_for_them(
    data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(*_: object, wanted: Callable[[], bool]) -> dict[str, list[tuple[str, str]]]:
        begun.set()
        while wanted():
            time.sleep(0.01)
        ended.set()
        return {}

    monkeypatch.setattr(source, "find_nearest", endless)
    of = open_reviewable(data, CONFIG, cache=cache)
    with start_nearest(of, [COPIED[0]]) as neighbours:
        assert begun.wait(10) and neighbours() is None and not ended.is_set()
    assert ended.is_set() and neighbours() == {}


def test_there_are_none_without_a_network(tmp_path: Path, data: Path, cache: Path) -> None:
    of = open_reviewable(data, CONFIG, cache=cache)
    assert find_nearest(of, [COPIED[0]]) == {}
    run = make_run(tmp_path)
    of = open_reviewable(run, None, cache=tmp_path / "cache")
    assert find_nearest(of, of.dataset.ids[:3].tolist()) == {}


def test_of_pictures_that_training_streams_all_labels_are_reviewed(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", "tar", (100, 100), cut=(5,))
    streaming = {"target": "Hat", "side": 16, "workers": 1, "max_bad_share": 0.2,
                 "stream": "always", "stream_sample": 1}  # fmt: skip
    config = with_values(Config(), {"data": streaming})
    of = open_reviewable(tmp_path / "shards", config, cache=tmp_path / "cache")
    assert len(of.dataset) == 200 > len(of.data.dataset)
    how = {"config": config, "out": tmp_path / "c.csv", "cache": tmp_path / "cache"}
    with open_review(tmp_path / "shards", who="x", **how) as ready:  # type: ignore[arg-type]
        review, packed = ready.session.review, set(of.data.dataset.ids.tolist())
        assert review.labelled == 200 - len(examine_pixels(of, []).unreadable)
        others = [s.image for s in review.showings if s.image not in packed]
        assert others and ready.picture(others[0])[:2] == b"\xff\xd8"  # a JPEG


# --- the command ---------------------------------------------------------------------------------


def test_options_of_the_other_place_are_refused(  # type: ignore[no-untyped-def]
    data: Path, tmp_path: Path, capsys
) -> None:
    run = make_run(tmp_path)
    said = candid(capsys, "review", run.path, "--target", "Face", code=2).err
    assert "--target is for DATA" in said
    said = candid(capsys, "review", data, "--data", data, code=2).err
    assert "PLACE is no run" in said
    said = candid(capsys, "review", tmp_path / "nowhere", code=2).err
    assert "nowhere" in said and "Traceback" not in said


def test_what_is_in_the_way_is_said_before_all_pictures_are_looked_at(  # type: ignore[no-untyped-def]
    data: Path, cache: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi")
    looked: list[object] = []
    monkeypatch.setattr("candid.pipeline.reviewing.examine_pixels", looked.append)
    here = ("review", data, "--target", "Face", "--cache", cache, "--out")
    words = tmp_path / "words.txt"
    words.write_text("a line without an end")
    assert "other columns" in candid(capsys, *here, words, code=2).err
    assert words.read_text() == "a line without an end"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = candid(capsys, *here, tmp_path / "c.csv", "--port", port, code=2).err
    assert "Cannot listen" in said and "another port with --port (0" in said
    assert not looked and not (tmp_path / "c.csv").exists()


def test_a_number_and_several_labels_are_refused(data: Path, cache: Path) -> None:
    for some in ({"target": "ITA", "numbers": ("ITA",)}, {"targets": ("Face", "Smiling")}):
        config = with_values(CONFIG, {"data": {"target": "", **some}})
        with pytest.raises(ConfigError, match="is a number, or stands for several"):
            open_reviewable(data, config, cache=cache)
