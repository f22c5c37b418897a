import dataclasses
import datetime
import json
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candid.errors import OutputError, RunError
from candid.pipeline.provenance import collect_provenance
from candid.records import HistoryRow, Provenance, read_record
from candid.runs import (
    Run,
    claim,
    create,
    open_run,
    read_history,
    read_pictures,
    refuse_full,
    write_history,
    write_pictures,
)
from candid.settings import Config
from candid.storage.files import FORMAT
from commands import candid


def test_runs_that_begin_at_once_get_a_folder_each(tmp_path):
    root = tmp_path / "deep" / "runs"
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: claim(root, "plain"), range(24)))
    day = datetime.date.today().isoformat()
    assert {p.name for p in paths} == {f"{day}-plain-{i}" for i in range(1, 25)}
    assert all(p.is_dir() for p in paths)


def test_no_folder_can_be_claimed_below_a_file(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(OutputError, match="a file stands where a folder should go"):
        claim(tmp_path / "runs", "plain")


def about():
    return collect_provenance(seed=0, data="/data", data_fingerprint="f")


def test_a_new_run_is_opened_as_it_was_made(tmp_path):
    run = create(claim(tmp_path, "plain"), Config(), about())
    assert open_run(run.path) == run
    with pytest.raises(OutputError, match=r"is not empty") as caught:
        refuse_full(run.path)
    assert f"--resume {run.path}" in caught.value.todo


def test_a_folder_without_provenance_is_no_run_yet(tmp_path, monkeypatch):
    """Killed while it began, it must not look like a run that could go on."""

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("candid.runs.write_record", killed)
    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "run", Config(), about())
    with pytest.raises(RunError, match="is not a run"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize(
    "left", [".provenance.json.x1y2.part", "provenance.json", ".config.toml.z.part"]
)
def test_what_a_killed_start_left_is_an_empty_folder(tmp_path, left):
    """Killed by SIGKILL at any moment before config.toml, the most that can be left is this."""
    run = create(tmp_path / "run", Config(), about())
    run.config.unlink()
    if left != "provenance.json":
        (run.path / left).write_text("half")
    if left.startswith(".provenance"):
        run.provenance.unlink()
    with pytest.raises(RunError, match="is not a run") as caught:
        open_run(run.path)
    assert f"--out {run.path}" in caught.value.todo
    create(run.path, Config(), about())
    assert {p.name for p in run.path.iterdir()} == {"config.toml", "provenance.json"}


@pytest.mark.parametrize("name", ["provenance.json", ".x.part", "notes.txt"])
def test_the_files_of_others_make_a_folder_full(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(OutputError, match="is not empty"):
        create(tmp_path, Config(), about())


def test_an_unknown_setting_names_the_file_and_the_version_that_wrote_it(tmp_path):
    run = create(tmp_path / "run", Config(), dataclasses.replace(about(), candid="9.9"))
    run.config.write_text(run.config.read_text().replace("steps =", "stairs ="))
    with pytest.raises(
        RunError, match=r"config\.toml, which Candid 9\.9 wrote: .*train\.stairs"
    ) as caught:
        open_run(run.path)
    assert "use Candid 9.9" in caught.value.todo


@pytest.mark.parametrize("number", [0, 1, 3, "one", True])
def test_another_format_is_refused(tmp_path, number):
    run = create(tmp_path / "run", Config(), about())
    assert open_run(run.path).settings == Config()
    for file, start in ((run.config, "format = "), (run.provenance, '"format": ')):
        whole = file.read_text()
        assert f"{start}{FORMAT}" in whole
        file.write_text(whole.replace(f"{start}{FORMAT}", f"{start}{json.dumps(number)}"))
        with pytest.raises(RunError, match=f"{file.name} has the format {number!r}, which Candid"):
            open_run(run.path)
            read_record(run.provenance, Provenance)
        file.write_text(whole)


def test_a_file_without_a_number_is_of_the_first_format(tmp_path):
    run = create(tmp_path / "run", Config(), about())
    for file, text in (
        (run.config, f"format = {FORMAT}"),
        (run.provenance, f'"format": {FORMAT},'),
    ):
        whole = file.read_text()
        file.write_text(whole.replace(text, ""))
        with pytest.raises(RunError, match=f"{file.name} has the format 1, which Candid"):
            open_run(run.path)
            read_record(run.provenance, Provenance)
        file.write_text(whole)


def old_run(folder):
    """What a release of the first format left, with its words."""
    folder.mkdir()
    (folder / "config.toml").write_text(
        'format = 1\n\n[data]\ntarget = "Hat"\nidentity_column = "who"\n\n[network]\n'
        'name = "deep"\nmembers = 2\n\n[train]\naverage = 0.9\nmirrored = true\n'
    )
    records = {
        "provenance": {"candid": "0.0.9", "command": "candid run", "data": "/data"},
        "model": {"network": "deep", "options": {"width": 8}, "mirrored": True},
        "evaluation": {"target": "Hat"},
        "audit": {"target": "Hat"},
        "explanation": {"target": "Hat"},
    }
    for name, plain in records.items():
        (folder / f"{name}.json").write_text(json.dumps({"format": 1} | plain))
    table = pa.table({"id": ["a"], "split": ["test"], "label": ["no"], "p_no": [0.9],
                      "p_yes": [0.1], "identity": [4]})  # fmt: skip
    said = {"version": 1, "target": "Hat", "classes": ["no", "yes"], "attributes": {}}
    table = table.replace_schema_metadata({"candid": json.dumps(said)})
    pq.write_table(table, folder / "predictions.parquet")
    for name in ("model.safetensors", "typical.npz", "report.html"):
        (folder / name).write_bytes(b"old")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "state.safetensors").write_bytes(b"old")
    return folder


def test_a_run_of_the_first_format_is_refused_by_every_verb_in_one_sentence(tmp_path, capsys):
    old, image = old_run(tmp_path / "old"), tmp_path / "a.png"
    image.write_bytes(b"")
    before = {p: p.stat().st_mtime_ns for p in old.rglob("*")}
    for words in (
        *(["evaluate", old], ["audit", old], ["report", old], ["predict", old, image]),
        *(["serve", old], ["export", old], ["explain", old], ["explain", old, image]),
        *(["run", "--resume", old], ["train", "--resume", old], ["audit", old, old]),
    ):
        said = candid(capsys, *words, code=2).err
        assert f"{old / 'config.toml'} has the format 1, which Candid 0.0.9 wrote, and this" in said
        assert f"reads format {FORMAT}" in said and "train again, or use the release" in said
    said = candid(capsys, "audit", old / "predictions.parquet", code=2).err
    assert "predictions.parquet has the format 1, which Candid 0.0.9 wrote" in said
    assert before == {p: p.stat().st_mtime_ns for p in old.rglob("*")}


def test_history_and_pictures_are_read_as_written(tmp_path):
    run = Run(tmp_path)
    assert read_history(run) == []
    assert read_pictures(run) == {}
    row = HistoryRow(1, 32, 0.5, 1e-3, 0.7, 0.4, 0.6, 0.5, 0.5)
    write_history(run, [row])
    write_pictures(run, {("mean", "é"): b"png"})
    assert read_history(run) == [row]
    assert read_pictures(run) == {("mean", "é"): b"png"}


@pytest.mark.parametrize("swapped", [True, False])
def test_damaged_history_and_pictures_say_so(tmp_path, swapped):
    run = Run(tmp_path)
    write_history(run, [HistoryRow(1, 32, 0.5, 1e-3, 0.7, 0.4)])
    write_pictures(run, {("mean", "a"): b"png"})
    history, pictures = run.history.read_bytes(), run.pictures.read_bytes()
    run.history.write_bytes(pictures if swapped else history[:40])
    run.pictures.write_bytes(history if swapped else b"")
    with pytest.raises(RunError, match=r"history\.parquet is damaged"):
        read_history(run)
    with pytest.raises(RunError, match=r"pictures\.parquet is damaged"):
        read_pictures(run)


def test_who_goes_on_with_a_run_that_never_began_is_told_to_begin_it(tmp_path):
    """A run that was killed while it packed has no folder yet."""
    with pytest.raises(RunError, match="is not a run") as refused:
        open_run(tmp_path / "killed")
    assert "begin it again" in refused.value.todo
