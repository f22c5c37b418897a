"""Several data sets as one, from the outside: what a user types, and what lies in the folder."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import candid as package
from candid.data.synthetic import FaceWorld, write_faces
from candid.predictions import read_predictions
from candid.records import Exploration, Provenance, read_record
from candid.records.audit import Audit, Group
from candid.runs import Run, open_run
from candid.text.words import figure_of
from commands import call, candid

BRIEF = [
    "--recipe", "plain", "--set", "data.side=16", "--set", "train.steps=6", "--set",
    "train.batch_size=32", "--set", "train.evaluations=2", "--set", "train.threads=1", "--set",
    "data.workers=1", "--set", "evaluate.draws=60", "--set", "train.precision=float32", "--set",
    "audit.draws=60", "--set", "explain.images=6", "--set", "explain.check_images=0", "--set",
    'explain.methods=["gradient"]', "--set", "explain.examples=2", "--set",
    "explain.curve_steps=3", "--set", "explain.draws=60",
]  # fmt: skip


def as_folders(faces: Path, root: Path) -> Path:
    """The same pictures and labels as folders of classes in lower case; no split, nobody known."""
    data = package.load(faces, target="Face")
    for i in range(len(data)):
        file = root / data.classes[data.label[i]].lower() / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.source.read(i))
    return root


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> list[Path]:
    """Drawn faces as a table with people, attributes and a split, and others as folders."""
    root = tmp_path_factory.mktemp("data")
    worlds = [
        FaceWorld(n=n, people=50, side=16, seed=seed, validation_share=0.25, test_share=0.25)
        for seed, n in enumerate((160, 120))
    ]
    table, other = (
        write_faces(root / name, world, workers=1, quiet=True)
        for name, world in zip(("table", "drawn"), worlds, strict=True)
    )
    folders = as_folders(other, root / "folders")
    return [table, folders]


@pytest.fixture(scope="module")
def words(both, tmp_path_factory) -> list[object]:
    cache = tmp_path_factory.mktemp("cache")
    balanced = ["--set", "train.balance=group", "--set", 'train.balance_attributes=["source"]']
    return [*both, "--target", "Face", "--cache", cache, "--quiet", *BRIEF, *balanced]


@pytest.fixture(scope="module")
def finished(words, tmp_path_factory) -> Run:
    run = Run(tmp_path_factory.mktemp("runs") / "run")
    assert call("run", *words, "--out", run.path) == 0
    return run


def singles(groups: tuple[Group, ...]) -> dict[str, list[Group]]:
    """The groups of one value among all images, by their attribute."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        if len(group.conditions) == 1 and group.label is None:
            found.setdefault(group.conditions[0].attribute, []).append(group)
    return found


def test_what_the_run_is_from(finished, both):
    about = read_record(finished.provenance, Provenance)
    assert about.sources == {p.name: str(p.resolve()) for p in both}
    assert about.data == "table + folders"
    config = open_run(finished.path).settings.data
    assert config.source_settings == (
        'table.target="Face"', 'table.layout="table"',
        'folders.target="class"', 'folders.layout="folder"',
    )  # fmt: skip
    found = read_record(finished.data, Exploration)
    people = package.load(both[0], target="Face").person
    assert people is not None
    assert (found.n, found.layout, found.people) == (280, "table, folder", len(np.unique(people)))
    assert found.synthetic is False


def test_every_prediction_says_its_source(finished, both):
    predictions = read_predictions(finished.predictions_file)
    source = predictions.attributes["source"].words()
    assert [i.split("/")[0] for i in predictions.ids] == source
    assert set(source) == {"table", "folders"}
    known = np.asarray(predictions.person) >= 0
    assert np.array_equal(known, np.array(source) == "table")
    rows = pq.read_table(finished.predictions_file).to_pylist()
    assert all(row["Eyeglasses"] is None for row in rows if row["source"] == "folders")


def test_sources_are_audited_as_groups_and_missing_values_are_no_group(finished):
    predictions = read_predictions(finished.predictions_file)
    (split,) = read_record(finished.audit, Audit).splits
    mine = predictions[predictions.split == split.split]
    values = singles(split.groups)
    assert {g.conditions[0].value for g in values["source"]} == {"table", "folders"}
    for name in mine.attributes:  # skin tone, which is measured, aside
        attribute, groups = mine.attributes[name], values[name]
        missing = np.isnan(attribute.data) if attribute.kind == "numeric" else attribute.data < 0
        known = int(np.count_nonzero(~missing))
        compared = [g.n + g.gaps["accuracy"].rest_n for g in groups if "accuracy" in g.gaps]
        assert set(compared) <= {known}, name
        assert sum(g.n for g in groups) == known
    glasses = next(g for g in values["Eyeglasses"] if "accuracy" in g.gaps)
    source = np.array(mine.attributes["source"].words())
    rest = np.count_nonzero(source == "table") - glasses.n
    assert glasses.gaps["accuracy"].rest_n == rest > 0
    assert all("accuracy" in g.gaps for g in values["source"])


def test_people_of_their_own_where_nobody_is_known(finished):
    """Drawn by person: an image without one is a person of its own."""
    predictions = read_predictions(finished.predictions_file)
    (split,) = read_record(finished.audit, Audit).splits
    mine = predictions[predictions.split == split.split]
    known = mine.person[mine.person >= 0]
    assert split.people == len(np.unique(known)) + np.count_nonzero(mine.person < 0)
    assert split.people < len(mine)


def test_the_report_and_the_card_have_the_results_by_source(finished):
    (split,) = read_record(finished.audit, Audit).splits
    page, card = finished.report.read_text("utf-8"), finished.card.read_text("utf-8")
    assert f"By source, {split.split}" in page and f"By source, {split.split}:" in card
    table = page.split("By source, ")[1].split("</table>")[0]
    groups = singles(split.groups)["source"]
    assert len(groups) == 2
    for group in groups:
        assert f">{group.conditions[0].value}<" in table
        for metric in ("weighted_f1", "accuracy"):
            assert f">{figure_of(group.metrics[metric])}<" in table
        assert f"| {group.conditions[0].value} | {group.n} |" in card
    assert "candid run table folders --config config.toml" in card


def test_one_data_set_is_as_it_was(both, tmp_path, capsys):
    run = Run(tmp_path / "run")
    candid(capsys, "explore", both[0], "--target", "Face", "--out", run.path, "--quiet", *BRIEF,
           "--cache", tmp_path / "cache")  # fmt: skip
    about = read_record(run.provenance, Provenance)
    assert (about.sources, about.data) == ({}, str(both[0].resolve()))
    assert open_run(run.path).settings.data.source_settings == ()
    assert "source" not in {a.attribute for a in read_record(run.data, Exploration).attributes}
    said = candid(capsys, "train", *both, "--resume", run.path, code=2).err
    assert "began with 1 data set, and 2 data sets were named" in said


def test_the_same_command_gives_the_same_and_goes_on(finished, words, tmp_path, capsys):
    again = Run(tmp_path / "again")
    assert call("train", *words, "--out", again.path) == 0
    assert again.weights.read_bytes() == finished.weights.read_bytes()
    (again.path / "model.json").unlink()
    other = ["--set", 'data.source_settings=["folders.encoding=cp1252"]']
    said = candid(capsys, "run", *words, *other, "--out", again.path, code=2).err
    assert "holds a run with other settings: data.source_settings" in said
    named = ["--set", 'data.source_settings=["table.target=Face"]']  # as it was found
    assert call("run", *words, *named, "--out", again.path) == 0
    assert again.weights.read_bytes() == finished.weights.read_bytes()


def test_a_run_that_was_stopped_goes_on(finished, words, tmp_path, capsys):
    cache = words[words.index("--cache") + 1]
    run = Run(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    for file in (run.predictions_file, run.audit, run.model_file):
        file.unlink()
    candid(capsys, "run", "--resume", run.path, "--cache", cache, "--quiet")
    assert run.predictions_file.read_bytes() == finished.predictions_file.read_bytes()
    assert run.audit.read_bytes() == finished.audit.read_bytes()


def test_data_that_were_moved_are_named_one_by_one(finished, both, words, tmp_path, capsys):
    """Under other names, too: the run keeps those that it began with."""
    run = Run(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    moved = [shutil.copytree(p, tmp_path / f"moved-{i}") for i, p in enumerate(both)]
    about = json.loads(run.provenance.read_text())
    about["sources"] = {name: str(tmp_path / "gone" / name) for name in about["sources"]}
    run.provenance.write_text(json.dumps(about))
    run.predictions_file.unlink()
    cache = ["--cache", tmp_path / "cache"]
    said = candid(capsys, "evaluate", run.path, *cache, code=2).err
    assert "are gone" in said and str(tmp_path / "gone" / "table") in said
    said = candid(capsys, "evaluate", run.path, "--data", moved[0], *cache, code=2).err
    assert "began with 2 data sets (table, folders), and 1 data set was named" in said
    swapped = ["--data", moved[1], "--data", moved[0]]
    assert candid(capsys, "evaluate", run.path, *swapped, *cache, code=2).err
    candid(capsys, "evaluate", run.path, "--data", moved[0], "--data", moved[1], *cache)
    assert run.predictions_file.read_bytes() == finished.predictions_file.read_bytes()
    run.audit.unlink()
    candid(capsys, "run", *moved, "--resume", run.path, *cache, "--quiet")
    assert run.audit.read_bytes() == finished.audit.read_bytes()


def test_explore_tells_of_all(both, tmp_path, capsys):
    out = candid(
        capsys, "explore", *both, "--target", "Face", "--json", "--set", "data.side=16",
        "--cache", tmp_path / "cache",
    ).out  # fmt: skip
    found = json.loads(out)
    sources = [a for a in found["attributes"] if a["attribute"] == "source"]
    assert {a["value"] for a in sources} == {"table", "folders"}
    assert found["name"] == "table + folders"


def test_tune_takes_several(both, tmp_path, capsys):
    quick = [*BRIEF, "--set", "tune.finalists=1", "--set", "tune.seeds=1", "--trials", 1]
    words = ["tune", *both, "--target", "Face", "--cache", tmp_path / "cache", *quick, "--quiet"]
    for _ in range(2):  # the second finds all done
        candid(capsys, *words, "--out", tmp_path / "study")
    about = read_record(tmp_path / "study" / "best" / "provenance.json", Provenance)
    assert list(about.sources) == ["table", "folders"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{0} {0}", "was named 2 times"),
        ("{0} {1} --set data.stream=always", "cannot be streamed together"),
        ("{0} {1} --set data.source_settings=['tabel.target=Face']", "did you mean 'table'"),
        ("{0} nowhere", "no folder or table"),
        (
            "{0} {1} --target Face --target Eyeglasses",
            "Several labels of several data sets cannot be learned together",
        ),
    ],
)
def test_what_cannot_be(both, line, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line.format(*both).replace("['", "'[\"").replace("']", "\"]'"))
    target = [] if "--target" in words else ["--target", "Face"]
    assert said in candid(capsys, "train", *words, *target, code=2).err
