"""Many runs as one table: candid runs."""

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

import candid
from candid.cli.listing import runs_command
from candid.pipeline.provenance import provenance_now
from candid.predictions import write_predictions
from candid.records import Evaluation, Provenance, read_record, write_record
from candid.records.listing import RunOrder
from candid.runs import create
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
    about = provenance_now(seed=0, data="/data/faces", data_fingerprint="f")
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
    create(root / "begun", QUICK, provenance_now(seed=0, data="x", data_fingerprint="f"))
    torn = judged(root / "torn", wrong=0.1, behind=0, seconds=1, started="2026-04-01")
    torn.evaluation.write_text("{")
    (root / "empty").mkdir()
    (root / "linked").symlink_to(root / "good")
    return root


def test_every_run_has_a_line_and_what_is_not_whole_says_so(folder, capsys):
    lines = command(capsys, "runs", folder, "--sort", "run").out.splitlines()
    assert lines[0].split()[:4] == ["run", "data", "target", "network"]
    names = [str(folder / n) for n in ("a study/bad", "begun", "good", "torn")]
    assert [next(n for n in names if line.startswith(n)) for line in lines[1:5]] == names
    assert "Glasses: yes: −" in lines[1] and "12 min" in lines[1]
    f1 = read_record(folder / "good" / "evaluation.json", Evaluation).splits[0].metrics
    figure = f1["weighted_f1"]
    assert f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})" in lines[3]
    assert "Glasses" not in lines[3] and "50 s" in lines[3]
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
