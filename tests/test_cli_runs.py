"""Many runs as one table, and their removal: candid runs."""

import io
import json
import shutil
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

import candid
import candid.errors
from auditing.test_number_gaps import made as number_predictions
from candid.auditing.number_gaps import audit_number
from candid.cli.listing import runs_command
from candid.config import to_toml
from candid.pipeline.provenance import collect_provenance
from candid.pipeline.tracking import final_figures
from candid.predictions import write_predictions
from candid.records import Estimate, Evaluation, ModelCard, Provenance, read_record, write_record
from candid.records.audit_file import write_audit
from candid.records.listing import RunOrder
from candid.records.model import NumberCard
from candid.records.number import NumberEvaluation, NumberSplit
from candid.records.targets import TargetLabel, Targets
from candid.runs import create
from candid.settings import AuditConfig
from candid.storage.files import write_text
from commands import candid as command

CLASSES = ("no", "yes")
QUICK = candid.load_config(overrides=["evaluate.draws=100", "audit.draws=200"])


def judged(path, *, wrong, behind, seconds, started):
    """A run that was evaluated and audited, without a network; those with glasses fare worse."""
    rng = np.random.default_rng(0)
    label, glasses = rng.integers(0, 2, 600), rng.integers(0, 2, 600)
    right = rng.random(600) > wrong + behind * glasses
    predictions = candid.Predictions.from_arrays(
        np.array(CLASSES)[label],
        np.where(right == label.astype(bool), 0.9, 0.1),
        groups={"Glasses": np.array(CLASSES)[glasses]},
        target="Hat",
    )
    about = collect_provenance(seed=0, data="/data/faces", data_fingerprint="f")
    about = replace(about, seconds={"train": seconds}, started=started)
    config = replace(QUICK, data=replace(QUICK.data, target="Hat"))
    run = create(path, config, about)
    write_predictions(run.predictions_file, predictions)
    candid.evaluate(run)
    candid.audit(run)
    about = read_record(run.provenance, Provenance)
    write_record(run.provenance, replace(about, seconds={"train": seconds}))
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    good = judged(root / "good", wrong=0.05, behind=0.0, seconds=50, started="2026-02-01T00:00:00")
    good.report.write_text("")
    judged(root / "a study" / "bad", wrong=0.2, behind=0.3, seconds=700, started="2026-03-01")
    create(root / "begun", QUICK, collect_provenance(seed=0, data="x", data_fingerprint="f"))
    torn = judged(root / "torn", wrong=0.1, behind=0, seconds=1, started="2026-04-01")
    torn.evaluation.write_text("{")
    (root / "empty").mkdir()
    (root / "linked").symlink_to(root / "good")
    return root


def test_every_run_has_a_line_and_what_is_not_whole_says_so(folder, capsys):
    lines = command(capsys, "runs", folder, "--sort", "run").out.splitlines()
    assert lines[0].split()[:4] == ["run", "data", "target", "recipe"]
    names = [str(folder / n) for n in ("a study/bad", "begun", "good", "torn")]
    assert [next(n for n in names if line.startswith(n)) for line in lines[1:5]] == names
    assert "Glasses: yes: −" in lines[1] and "12 min" in lines[1]
    f1 = read_record(folder / "good" / "evaluation.json", Evaluation).splits[0].metrics
    figure = f1["weighted_f1"]
    assert f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})" in lines[3]
    assert "Glasses" not in lines[3] and "50 s" in lines[3]
    assert "  600 test  " in lines[3] and "images" in lines[0]
    assert lines[5:7] == [f"{names[0]}: no report", f"{names[1]}: unfinished"]
    assert lines[7].startswith(f"{names[3]}: damaged: ") and "evaluation.json" in lines[7]
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("order", "first"),
    [("started", "begun"), ("f1", "good"), ("accuracy", "good"), ("worst", "bad"),
     ("seconds", "bad"), ("run", "bad")],
)  # fmt: skip
def test_they_are_sorted_as_asked(folder, order, first):
    found = candid.list_runs(folder, order=order).runs
    assert found[0].run.endswith(first)
    assert {r.run for r in found} == {r.run for r in candid.list_runs(folder).runs}
    if order != "run":
        assert found[-1].state in ("damaged", "unfinished")


def test_size_and_worst_group_are_those_of_the_files(folder, capsys):
    by_size = candid.list_runs(folder, order="size").runs
    sizes = [sum(f.stat().st_size for f in (folder / r.run).rglob("*") if f.is_file())
             for r in by_size]  # fmt: skip
    assert [r.size for r in by_size] == sizes == sorted(sizes, reverse=True)
    rows = {r["run"]: r for r in json.loads(command(capsys, "runs", folder, "--json").out)["runs"]}
    bad = rows[str(folder / "a study/bad")]
    gap = candid.audit(candid.open_run(bad["run"])).to_frame()
    gap = gap[(gap.metric == "accuracy") & (gap.state == "found") & gap.label.isna()]
    assert bad["worst"]["value"] == pytest.approx(gap.value.min(), abs=1e-5)
    assert bad["worst"]["value"] < -0.2
    assert bad["worst"]["low"] < bad["worst"]["value"] < bad["worst"]["high"] < 0
    assert rows[str(folder / "good")]["worst"] is None


def test_they_are_a_frame_and_a_table_in_a_notebook(folder):
    found = candid.list_runs(str(folder))
    accuracy = found.to_frame().set_index("run")["accuracy"]
    assert accuracy[str(folder / "good")] > accuracy[str(folder / "a study/bad")]
    assert "Glasses: yes" in found._repr_html_()


def test_one_run_no_run_and_no_folder(folder, tmp_path, capsys):
    assert len(candid.list_runs(folder / "good").runs) == 1
    assert command(capsys, "runs", tmp_path).out == f"no runs in {tmp_path}\n"
    assert "There is no folder" in command(capsys, "runs", tmp_path / "none", code=2).err


def test_the_command_knows_every_order():
    order = next(p for p in runs_command.params if p.name == "order")
    assert tuple(order.type.choices) == get_args(RunOrder)


# --- several labels, and what is wanted -----------------------------------------------------------


def of_labels(path, judged_run):
    """A run of two labels: one that was judged as another run was, and a number."""
    about = read_record(judged_run.provenance, Provenance)
    about = replace(about, seconds={"train": 100.0}, sources={"utkface": "/x", "more": "/y"})
    about = replace(about, command="candid run x --recipe plain --target Hat --target age")
    data = replace(QUICK.data, target="", targets=("Hat", "age"))
    run = create(path, replace(QUICK, data=data), about)
    card = ModelCard(
        network="plain", options={}, target="Hat, age", side=8, mean=(0.5,) * 3, std=(0.2,) * 3,
        classes=("Hat: no", "Hat: yes", "age: 0", "age: 1"), temperature=1.0, parameters=1,
        multiply_adds=0, layers=(), step=1, kept="last",
    )  # fmt: skip
    number = NumberCard((0.0, 1.0), (0.1, 0.5, 0.9))
    labels = (
        TargetLabel("Hat", "Hat", CLASSES, 0, 0.5),
        TargetLabel("age", "age", ("0", "1"), 2, 0.5, number),
    )
    targets = Targets(labels, card)
    write_record(run.targets, targets)
    for label, one in zip(labels, run.target_runs(), strict=True):
        one.path.mkdir(parents=True)
        write_record(one.model_file, targets.card(label))
        write_record(one.provenance, replace(about, seconds={"audit": 7.0}))
        one.report.write_text("")
    hat, age = run.target_runs()
    shutil.copy(judged_run.evaluation, hat.evaluation)
    shutil.copy(judged_run.audit, hat.audit)
    mae = Estimate(5.25, 5.0, 5.5, 300, "bootstrap by image")
    split = NumberSplit("test", 300, None, {"mae": mae}, (), (), (), ())
    write_record(age.evaluation, NumberEvaluation("age", "median", 30.0, 0.9, 5.0, (split,)))
    return run


@pytest.fixture(scope="module")
def several(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("labels")
    of_labels(root / "both", candid.open_run(folder / "a study" / "bad"))
    shutil.copytree(folder / "good", root / "good")
    return root


def test_a_run_of_several_labels_has_a_row_for_each(several, folder, capsys):
    rows = {row.run: row for row in candid.list_runs(several).runs}
    hat, age = (rows[str(several / "both" / "targets" / name)] for name in ("Hat", "age"))
    bad = candid.list_runs(folder / "a study").runs[0]
    assert (hat.target, hat.weighted_f1, hat.worst) == ("Hat", bad.weighted_f1, bad.worst)
    assert (age.mae.value, age.accuracy, age.split) == (5.25, None, "test")
    assert {r.seconds for r in (hat, age)} == {107.0}
    size = sum(f.stat().st_size for f in (several / "both").rglob("*") if f.is_file())
    assert hat.size == age.size == size
    out = command(capsys, "runs", several, "--sort", "mae").out.splitlines()
    assert "MAE 5.25 (5.00 to 5.50)" in out[1] and len(out) == 4


def test_the_widest_gap_of_a_number_is_listed_and_a_final_figure(several, tmp_path):
    run = candid.open_run(shutil.copytree(several / "both", tmp_path / "both"))
    age, p = run.target_runs()[1], number_predictions(factor=2)
    assert "final/age/widest_gap" not in final_figures(run)
    write_audit(age.audit, audit_number(p, AuditConfig(draws=200)))
    off, inside = np.abs(p.predicted - p.value), p.attributes["kind"].data == 1
    gap = pytest.approx(off[inside].mean() - off[~inside].mean(), rel=1e-4)
    figures = final_figures(run)
    assert figures["final/age/widest_gap"] == gap
    assert figures["final/age/widest_gap.n"] == inside.sum()
    listed = {row.target: row.worst for row in candid.list_runs(run.path).runs}
    assert (listed["age"].group, listed["age"].value) == ("kind: b", gap)


def test_labels_that_were_not_evaluated_are_named_and_told_of_once(tmp_path, several, capsys):
    run = shutil.copytree(several / "both", tmp_path / "both")
    shutil.rmtree(run / "targets")
    named = candid.load_config(overrides=['data.targets=["*"]'])
    write_text(run / "config.toml", to_toml(named))
    rows = candid.list_runs(tmp_path, order="run").runs
    assert [(r.target, r.state, r.whole) for r in rows] == [
        ("Hat", "not evaluated", str(run)), ("age", "not evaluated", str(run)),
    ]  # fmt: skip
    assert [r.target for r in candid.list_runs(tmp_path, target="ha*").runs] == ["Hat"]
    lines = command(capsys, "runs", tmp_path).out.splitlines()
    assert lines[3:] == [f"{run}, 2 labels: not evaluated"]
    assert candid.list_runs(several / "good").runs[0].whole == ""


@pytest.mark.parametrize(
    ("wanted", "names"),
    [({"target": "AGE"}, ["age"]), ({"target": "h*"}, ["Hat", "good"]),
     ({"recipe": "plain"}, ["Hat", "age"]), ({"recipe": "deep"}, ["Hat", "age", "good"]),
     ({"data": "utkface"}, ["Hat", "age"]), ({"data": "faces", "target": "Hat"}, ["good"]),
     ({"data": "gone"}, [])],
)  # fmt: skip
def test_what_is_wanted_is_listed_alone(several, wanted, names):
    found = candid.list_runs(several, order="run", **wanted).runs
    assert [r.run.rsplit("/", 1)[-1] for r in found] == names


# --- removal --------------------------------------------------------------------------------------


@pytest.fixture
def some(folder, tmp_path):
    for name in ("good", "torn"):
        shutil.copytree(folder / name, tmp_path / name)
    return tmp_path


def test_runs_are_removed_and_nothing_else(some, capsys):
    outside = some / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("x")
    (some / "good" / "linked").symlink_to(outside)
    for own in ("seeds/1", "check", "improve/x"):  # runs that its own steps and verbs made
        shutil.copytree(some / "torn", some / "good" / own)
    out = command(capsys, "runs", "rm", some / "good", some / "torn", "--yes").out
    assert out.splitlines() == [f"removed {some / 'good'}", f"removed {some / 'torn'}"]
    assert [p.name for p in some.iterdir()] == ["outside"] and (outside / "kept.txt").is_file()


def test_it_asks_first(some, monkeypatch, capsys):
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: "n")
    said = command(capsys, "runs", "rm", some / "good")
    assert said.err.endswith("nothing was removed\n") and not said.out
    assert (some / "good" / "config.toml").is_file()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.setattr("click.termui.visible_prompt_func", input)
    said = command(capsys, "runs", "rm", some / "good", code=130)  # nobody answers
    assert "\ncandid: nothing was removed; --yes asks nothing\n" in said.err
    assert (some / "good" / "config.toml").is_file()
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: "y")
    said = json.loads(command(capsys, "runs", "rm", some / "good", "--yes", "--json").out)
    assert said == {"removed": [str(some / "good")]} and not (some / "good").exists()
    command(capsys, "runs", "rm", some / "torn", "--json", code=2)
    command(capsys, "runs", "rm", some / "torn")
    assert not (some / "torn").exists()


def test_what_is_no_run_s_folder_is_refused(some, several, monkeypatch):
    (some / "link").symlink_to(some / "good")
    (some / "notes").mkdir()
    (some / "notes" / "config.toml").write_text("[train]\n")
    shutil.copytree(some / "torn", some / "good" / "mine" / "torn")
    inside = shutil.copytree(several, some / "several") / "both" / "targets" / "age"
    before = sorted(p for p in some.rglob("*"))
    for path, why in (
        (some / "link", "is a link"),
        (some, "is not a run"),
        (some / "notes", "is not a run"),
        (some / "gone", "is not a run"),
        (some / "good" / "report.html", "is not a run"),
        (some / "good", "no part of the run"),
        (inside, "a part of the run"),
    ):
        with pytest.raises(candid.errors.RunError, match=why):
            candid.remove_runs([some / "torn", path])
    monkeypatch.chdir(some / "torn")
    with pytest.raises(candid.errors.RunError, match="in which you are"):
        candid.remove_runs([some / "torn"])
    assert sorted(p for p in some.rglob("*")) == before


def test_a_folder_that_is_called_as_a_verb(some, monkeypatch, capsys):
    shutil.move(some / "good", some / "rm")
    monkeypatch.chdir(some)
    assert "rm" in command(capsys, "runs", "./rm").out.splitlines()[1]
    assert "rm" in command(capsys, "runs", "list", "rm").out.splitlines()[1]
    assert "Remove the folders" in command(capsys, "runs", "--help").out
