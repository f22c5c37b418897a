"""Shards on a cluster of Ray: the local engine's rows, whoever dies."""

import importlib.util
import json
import os
from dataclasses import replace
from functools import partial

import pytest
import shards
from shards import by_hand, job_of, rows_of, tar_shards

from candid.errors import RunError
from candid.inference import cluster
from candid.inference.parts import label_here, label_missing, read_manifest
from candid.inference.shards import JobSpec, find_shards
from candid.pipeline.shards import label_shards
from candid.storage.jobs import job_digest
from commands import candid
from inference.tiny import tiny_run

ray = pytest.importorskip("ray", reason="needs the extra 'ray'")

SIZES = [40, 1, 70, 33, 5]

# Ray 2.50 leaves its handles of a cluster's processes, and their output, to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file .*/dev/null:ResourceWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def modest():
    """Ray's workers yield to everything else by default, and on a busy machine hardly run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # before 2.56, or it warns
        yield


@pytest.fixture(scope="module")
def here(modest):
    """A cluster of two cores, for the tests that need one."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        logging_level=40,
        log_to_driver=False,
        object_store_memory=100 << 20,
    )
    ray.cloudpickle.register_pickle_by_value(shards)  # the workers do not know where tests lie
    yield
    ray.cloudpickle.unregister_pickle_by_value(shards)
    ray.shutdown()


@pytest.fixture
def tars(tmp_path):
    return tar_shards(tmp_path / "in", SIZES)


def orders(out, **how):
    """What the stage hands to the cluster, with a model by hand."""
    # Workers that are still there keep the model of a job that they know.
    of = partial(job_of, test=str(out))
    order = JobSpec(str(out), of(by_hand()), {"target": "Hat"})
    return order, cluster.PackedModel({}, partial(by_hand, **how), order.job, of)


def on_cluster(tmp_path, **how):
    order, model = orders(tmp_path / "out", **how)
    found = find_shards([str(tmp_path / "in")], order.out)
    return label_missing(found, order, cluster.label_on_cluster(model, order), engine="ray")


@pytest.fixture
def local(tmp_path, tars):
    """The rows of the local engine."""
    order, _ = orders(tmp_path / "local")
    work = label_here(by_hand(), order, workers=1)
    label_missing(find_shards([str(tmp_path / "in")], order.out), order, work)
    return rows_of(tmp_path / "local")


# --- rows ----------------------------------------------------------------------------------------


def test_a_run_on_a_cluster_of_its_own_gives_the_rows_of_the_local_engine(capsys, tmp_path, tars):
    run = tiny_run(tmp_path / "run")
    words = ["--engine", "ray:torch", "--workers", "2", "--abstain-below", "0.6"]
    said = candid(capsys, "predict", run.path, tmp_path / "in", "--out", tmp_path / "out", *words,
                  "--json", "--quiet")  # fmt: skip
    label_shards(run, [str(tmp_path / "in")], str(tmp_path / "local"), workers=1,
                 engine="torch", abstain_below=0.6)  # fmt: skip
    local = rows_of(tmp_path / "local")
    assert rows_of(tmp_path / "out") == local
    told = json.loads(said.out)
    assert (told["parts"], told["failed"], told["damaged"]) == (len(SIZES), [], [])
    assert told["images"] == sum(len(rows) for rows in local.values()) == sum(SIZES) + 1
    assert "are not flagged" in said.err and said.err.count("\n") == 1  # nothing else
    assert read_manifest(str(tmp_path / "out")).engine == "ray"
    assert not ray.is_initialized()


def test_started_again_it_does_only_what_is_missing(here, tmp_path, tars, local):
    on_cluster(tmp_path)
    assert rows_of(tmp_path / "out") == local
    before = {p.name: p.stat().st_ino for p in (tmp_path / "out").glob("*.parquet")}
    (tmp_path / "out" / "part-faces-002.parquet").unlink()
    manifest = on_cluster(tmp_path)
    assert manifest.tally.resumed == sum(SIZES) + 1 - SIZES[2]
    assert rows_of(tmp_path / "out") == local
    after = {p.name: p.stat().st_ino for p in (tmp_path / "out").glob("*.parquet")}
    del before["part-faces-002.parquet"], after["part-faces-002.parquet"]
    assert after == before  # not written again


def test_a_corrupt_shard_is_told_of_and_the_others_done(here, tmp_path, tars, local):
    tars[3].write_bytes(b"no tar")
    manifest = on_cluster(tmp_path)
    assert [(p.shard, p.damaged) for p in manifest.damaged] == [
        (str(tars[3]), "not a tar file that can be read")
    ]
    found = rows_of(tmp_path / "out")
    del local["part-faces-003.parquet"], found["part-faces-003.parquet"]
    assert found == local


# --- workers that die ----------------------------------------------------------------------------


def with_deaths(tmp_path, kills):
    """Label while workers are killed in the middle of a shard; the manifest, and how many were."""
    folder = tmp_path / "orders"
    folder.mkdir()
    for number in range(kills):
        (folder / f"die-{number}").touch()
    manifest = on_cluster(tmp_path, folder=str(folder), shard="faces-002")
    killed = (folder / "killed").read_text().split()
    assert len(set(killed)) == len(killed) == kills - len(list(folder.glob("die-*")))
    return manifest, len(killed)


def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(
    capsys, here, tmp_path, tars, local
):
    manifest, killed = with_deaths(tmp_path, 2)
    assert killed == 2
    assert (
        capsys.readouterr().out == ""
    )  # it is the caller's, and Ray likes to tell of deaths there
    assert rows_of(tmp_path / "out") == local
    assert manifest.finished and not manifest.failed
    assert manifest.tally.images == sum(SIZES) + 1
    left = {p.name for p in (tmp_path / "out").iterdir()} - local.keys()
    assert left == {"manifest.json", ".lock"}  # nothing of what the dead had begun


def test_a_shard_that_kills_every_worker_is_given_up(here, tmp_path, tars, local, monkeypatch):
    monkeypatch.setattr(cluster, "_RETRIES", 1)
    manifest, killed = with_deaths(tmp_path, 5)
    assert killed == 2
    assert [f.shard for f in manifest.failed] == [str(tars[2])]
    assert "died 2 times" in manifest.failed[0].reason
    del local["part-faces-002.parquet"]
    assert rows_of(tmp_path / "out") == local


# --- what goes wrong -----------------------------------------------------------------------------


def test_an_error_that_all_would_have_stops_the_job(here, tmp_path, tars):
    order, model = orders(tmp_path / "out")
    found = find_shards([str(tmp_path / "in")], order.out)
    for files, said in [({"broken": b""}, "damaged"), (None, "could not begin")]:
        other = replace(model, files=files)
        with pytest.raises(RunError, match=said) as error:
            label_missing(found, order, cluster.label_on_cluster(other, order), engine="ray")
        assert error.value.expected and error.value.todo


def test_workers_hold_their_model_to_that_of_the_beginning(tmp_path):
    order, model = orders(tmp_path)
    key = job_digest(order.job)
    assert model.job_of(cluster._open_labeller(model, key)) == order.job
    with pytest.raises(RunError, match=r"has Candid .* and the one that began has 9"):
        cluster._open_labeller(replace(model, version="9"), key)
    other = replace(model, opened=partial(model.opened, threshold=0.7))
    with pytest.raises(RunError, match="came out otherwise: abstains below"):
        cluster._open_labeller(other, key)


def test_without_ray_it_says_what_to_install(capsys, tmp_path, tars, monkeypatch):
    run = tiny_run(tmp_path / "run")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "ray" else find(n))
    err = candid(capsys, "predict", run.path, tmp_path / "in", "--out", f"{tmp_path}/out/",
                 "--engine", "ray:torch", code=2).err  # fmt: skip
    assert "candid-faces[ray]" in err and "expected:" in err


def test_a_cluster_that_is_not_there_is_told_of(monkeypatch):
    def refuse(**_):
        raise ConnectionError("no cluster")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    expected = pytest.raises(RunError, match="cannot be reached or started: no cluster")
    with expected, cluster._connect(1, True):
        pass
