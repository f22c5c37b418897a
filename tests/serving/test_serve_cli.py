"""`candid serve` as a user starts and stops it, and what it says where it cannot."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("fastapi")
import httpx

from candid.cli import main
from candid.records import write_record
from candid.serving.served import MAPS, names_for
from serving.served import picture
from serving.test_serve import RAW

# The verb with a model of the tests instead of a run's: what is loaded is tested further below.
SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import candid.pipeline.serving as serving
from serving.served import Brightness, model

class Telling(Brightness):
    def __call__(self, pixels):
        print("at work", flush=True)
        return super().__call__(pixels)

serving.load_served = lambda *about: [model(Telling(seconds=1.0))]
from candid.cli import main
main(sys.argv[1:])
"""


def started(tmp_path, *words, **environment):  # type: ignore[no-untyped-def]
    tests = os.path.dirname(os.path.dirname(__file__))
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(tests=tests), "serve", "run", *words],
        cwd=tmp_path, env=os.environ | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    return process, process.stdout.readline()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_answers_and_stops_after_the_last_answer(tmp_path, how):
    process, line = started(tmp_path, "--port", "0", "--json", CANDID_API_KEY="k1")
    url = json.loads(line)["url"]
    assert url.startswith("http://127.0.0.1:")
    assert process.stdout.readline() == "at work\n"  # to warm up
    answer = httpx.post(f"{url}/v1/predict", content=picture(), headers=RAW, timeout=60)
    assert answer.status_code == 401
    answers = []
    headers = RAW | {"X-API-Key": "k1"}
    thread = threading.Thread(
        target=lambda: answers.append(
            httpx.post(f"{url}/v1/predict", content=picture(), headers=headers, timeout=60)
        )
    )
    thread.start()
    assert process.stdout.readline() == "at work\n"
    process.send_signal(how)
    thread.join()
    out, err = process.communicate(timeout=120)
    assert answers[0].status_code == 200
    assert process.returncode == 0
    assert "Traceback" not in err
    assert out == ""
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_logs_are_lines_of_json(tmp_path):
    process, line = started(tmp_path, "--port", "0")
    assert line.startswith("serving a model at http://127.0.0.1:")
    url = line.split()[4]
    httpx.get(f"{url}/healthz")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    events = [json.loads(x) for x in err.splitlines()]
    assert [e["event"] for e in events] == ["started", "request", "stopped"]
    assert (events[1]["path"], events[1]["status"]) == ("/healthz", 200)
    assert set(events[1]) == {"time", "level", "event", "method", "path", "status", "milliseconds"}


def failed(capsys, *words) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit) as stop:
        main(["serve", *map(str, words)])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "expected:" in said and "to do:" in said
    return said


def test_what_cannot_be_served_is_said(tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert "is not a run" in failed(capsys, tmp_path / "empty")
    assert "is not a run" in failed(capsys, tmp_path / "none")
    empty = tmp_path / "key"
    empty.write_text("two words")
    for key in (empty, tmp_path / "none"):
        said = failed(capsys, tmp_path / "empty", "--set", f"serve.key_file={key}")
        assert "key" in said
    assert "serve.batch" in failed(capsys, tmp_path / "empty", "--set", "serve.batch=0")
    assert "serve.port" in failed(capsys, tmp_path / "empty", "--port", 70_000)
    assert "room" in failed(capsys, tmp_path / "empty", "--set", "serve.queue=3")
    said = failed(capsys, tmp_path / "empty", "--set", "serve.prot=1")
    assert "serve.port" in said


def test_a_taken_port_and_a_strange_address_are_said(tmp_path, capsys, monkeypatch):
    import candid.pipeline.serving as serving
    from serving.served import model

    monkeypatch.setattr(serving, "load_served", lambda *_: [model()])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "--port" in failed(capsys, tmp_path, "--port", port)
    assert "Cannot listen" in failed(capsys, tmp_path, "--host", "192.0.2.1")
    assert "Cannot listen" in failed(capsys, tmp_path, "--host", "no such host")


def test_names_are_unlike_each_other_and_fit_an_address(tmp_path):
    paths = [tmp_path / p for p in ("a/run", "b/run", "ünd <so>", "...", "x" * 100)]
    names = names_for(paths)
    assert names[:2] == ["run", "run-2"]
    assert len(set(names)) == 5
    assert all(n.isascii() and n.replace("-", "").replace("_", "").isalnum() for n in names)
    assert max(map(len, names)) <= 60


# --- real runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):  # type: ignore[no-untyped-def]
    pytest.importorskip("torch")
    from inference.tiny import tiny_run

    return tiny_run(tmp_path_factory.mktemp("served") / "tiny", flip_tta=True)


@pytest.fixture(scope="module")
def served(run):  # type: ignore[no-untyped-def]
    from candid.pipeline.serving import load_served
    from candid.settings import ServeConfig

    return load_served([run.path, run.path], ServeConfig(engine="torch"))


def test_runs_are_served_with_their_own_answers(run, served):
    import torch

    from candid.data.decode import decode
    from candid.models.model import load_whole_model
    from candid.records import ModelCard, read_record
    from serving.served import running

    assert [s.name for s in served] == ["tiny", "tiny-2"]
    whole = load_whole_model(run.weights, read_record(run.model_file, ModelCard))
    data = picture(90, size=(16, 16))
    pixels = decode(data, side=16, fit="stretch", max_pixels=10**6).pixels
    with torch.no_grad():
        expected = whole(torch.from_numpy(pixels.copy())[None])[0].numpy()
    with running(*served) as url:
        plain = httpx.post(f"{url}/v1/predict", content=data, headers=RAW).json()
        (row,) = plain["results"]
        assert plain["target"] == "Hat"
        assert list(row["probabilities"].values()) == pytest.approx(expected, abs=1e-6)
        assert httpx.get(f"{url}/v1/models").json()["models"][0]["about"]["measures"] == []


def test_it_is_an_application_from_python(run, monkeypatch):
    import candid
    from candid.config import with_values

    monkeypatch.setenv("CANDID_API_KEY", "k2")
    config = with_values(candid.Config(), {"serve": {"engine": "torch"}})
    app = candid.application(run.path, config=config)
    assert list(app.state.service.models) == ["tiny"]
    assert app.openapi()["paths"]["/v1/predict"]["post"]["security"]


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "occlusion"])
def test_maps_are_those_of_the_network(run, served, method):
    """The gradient of the mirrored network by autograd; the others by their own properties."""
    import torch

    from candid.models.model import load_network
    from candid.records import ModelCard, read_record
    from candid.serving.explaining import Explainer
    from candid.settings import ExplainConfig

    card = read_record(run.model_file, ModelCard)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    explainer = Explainer(run.weights, card, ExplainConfig())
    found = explainer.map(pixels, method, 1)
    assert found.shape == (16, 16) and np.isfinite(found).all() and np.abs(found).max() > 0
    np.testing.assert_array_equal(found, explainer.map(pixels, method, 1))
    if method == "gradient":
        network = load_network(run.weights, card, torch.device("cpu"))
        mean, std = (torch.tensor(v)[:, None, None] for v in (card.mean, card.std))
        image = ((torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std)[None]
        image = image.float().requires_grad_()
        logits = (network(image) + network(image.flip(3))) / 2
        (slope,) = torch.autograd.grad(logits[0, 1] - logits[0, 0], image)
        np.testing.assert_allclose(found, slope[0].abs().sum(0), rtol=1e-3, atol=1e-6)
    else:  # of two classes, what speaks for one speaks against the other
        np.testing.assert_allclose(found, -explainer.map(pixels, method, 0), atol=1e-4)


def test_explain_over_http(served):
    from io import BytesIO

    from PIL import Image

    from candid.serving import schema
    from serving.served import running

    with running(*served, timeout=60.0) as url:
        post = lambda q: httpx.post(  # noqa: E731
            f"{url}/v1/explain?{q}", content=picture(90, kind="JPEG"), headers=RAW, timeout=60
        )
        plain = post("method=occlusion&class=yes").json()
        answer = schema.MapAnswer.model_validate(plain, strict=True)
        assert np.abs(answer.map).max() == 1
        assert np.shape(answer.map) == (16, 16)
        assert answer.explained == "yes"
        flat = post("method=occlusion&class=yes&output=png&strength=0")
        laid = post("method=occlusion&class=yes&output=png&strength=1")
    plain_picture, over = (np.asarray(Image.open(BytesIO(a.content)), float) for a in (flat, laid))
    assert flat.headers["content-type"] == "image/png"
    assert plain_picture.std((0, 1)).max() < 2  # the even grey that was sent
    # Where the map is strongest it covers the picture: blue for, orange against.
    large = np.asarray(
        Image.fromarray(np.array(answer.map, np.float32)).resize(
            (256, 256), Image.Resampling.BILINEAR
        )
    )
    y, x = np.unravel_index(np.abs(large).argmax(), large.shape)
    colour = (11, 102, 168) if large[y, x] > 0 else (194, 78, 0)
    np.testing.assert_allclose(over[y, x], colour, atol=3)


def test_without_torch_there_are_no_maps_and_it_is_said(served, monkeypatch):
    from candid.errors import DependencyError
    from candid.serving.served import Served
    from serving.served import running

    def missing(self):  # type: ignore[no-untyped-def]
        raise DependencyError("torch is not installed.", expected="torch", todo="install it")

    monkeypatch.setattr(Served, "explainer", missing)
    with running(*served) as url:
        answer = httpx.post(f"{url}/v1/explain", content=picture(), headers=RAW, timeout=60)
    assert answer.status_code == 501
    assert answer.json()["error"]["todo"] == "install it"


def test_the_words_of_maps_are_those_of_explain():
    pytest.importorskip("torch")
    from candid.explanation.attribution import METHODS

    assert list(MAPS) == list(METHODS)
    for k, v in MAPS.items():
        assert (v.title, v.about, v.signed) == (
            METHODS[k].title,
            METHODS[k].about,
            METHODS[k].signed,
        )


def test_pictures_unlike_the_training_data_get_no_answer(served):
    from dataclasses import replace

    from serving.served import running

    class Strange:
        """Bright pictures and wide ones are strange to it."""

        def unlike(self, pixels, widths, heights, *, cut, distances=None):  # type: ignore[no-untyped-def]
            odd = (pixels.mean((1, 2, 3)) > 100) | (widths > heights)
            return ["unlike the training data: strange" if o else "" for o in odd]

        def distances(self, pixels):  # type: ignore[no-untyped-def]
            return pixels.mean((1, 2, 3))

        def describe(self):  # type: ignore[no-untyped-def]
            return "flags bright and wide pictures"

    unfamiliar = Strange()
    with running(replace(served[0], unfamiliar=unfamiliar)) as url:
        bright, dark, wide = httpx.post(
            f"{url}/v1/predict",
            files=[("a", picture(150)), ("a", picture(50)), ("a", picture(50, size=(90, 30)))],
        ).json()["results"]
        assert "flags" in httpx.get(f"{url}/v1/models").json()["models"][0]["unlike"]
    assert dark["prediction"] in ("no", "yes") and not dark["abstained"] and dark["reason"] is None
    for row in (bright, wide):
        assert row["prediction"] is None and row["abstained"]
        assert row["reason"].startswith("unlike the training data")
        assert row["probabilities"]


def test_what_an_audit_found_is_said(run):
    from auditing.audited import undefined
    from candid.pipeline.serving import _list_weaknesses
    from candid.records import Finding
    from candid.records.audit import Audit, AuditFinding, Gap, SplitAudit

    audited, found, note = _list_weaknesses(run)
    assert (audited, found) == (False, [])
    assert "Nobody has looked" in note
    gap = Gap("accuracy", -0.1, -0.2, -0.05, 0.001, 0.01, 0.05, "found", 50, 500, 20, 200, "m")
    finding = Finding("GROUP-GAP", "Worse on hats", "found", "serious", "85% instead of 95%.")
    split = SplitAudit(
        "test", 550, 220, {"accuracy": undefined()}, (), (), 0, (), (), (),
        (AuditFinding("group", finding, (), None, gap),), 80, 3, 0.05, 0.01, 7, 20,
    )  # fmt: skip
    path = run.path / "audit.json"
    write_record(path, Audit("Hat", ("no", "yes"), "run", (split,)))
    try:
        audited, found, note = _list_weaknesses(run)
    finally:
        path.unlink()
    assert audited and found[0].title == "Worse on hats." and found[0].severity == "serious"
    assert "80 figures" in note and "3 gaps" in note and "7 groups" in note
