"""The server's answers, over real connections, held against what the pictures are."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
from candid.inference.abstaining import Rule
from candid.serving import schema
from candid.serving.service import QUICK_BYTES, QUICK_PIXELS
from serving.served import Brightness, model, picture, running

RAW = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def url():  # type: ignore[no-untyped-def]
    with running(model(), model(name="unsure", rule=Rule(0.7, "chosen"))) as address:
        yield address


def bright(row):  # type: ignore[no-untyped-def]
    return row["probabilities"]["bright"]


def encoded(*pictures: bytes) -> dict[str, list[str]]:
    return {"images": [base64.b64encode(p).decode() for p in pictures]}


def test_one_picture_in_each_way_gets_the_same_answer(url):
    data = picture(153)
    answers = [
        httpx.post(f"{url}/v1/predict", content=data, headers={"Content-Type": "image/png"}),
        httpx.post(f"{url}/v1/predict", content=data, headers=RAW),
        httpx.post(f"{url}/v1/predict", files={"images": data}),
        httpx.post(f"{url}/v1/predict", json=encoded(data)),
        httpx.post(
            f"{url}/v1/predict",
            json={"images": ["data:image/png;base64," + base64.b64encode(data).decode()]},
        ),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.json() == answers[0].json()
        schema.Answer.model_validate(answer.json(), strict=True)
    plain = answers[0].json()
    assert (plain["model"], plain["target"], plain["classes"]) == (
        "first", "Light", ["dark", "bright"],
    )  # fmt: skip
    (row,) = plain["results"]
    assert row["prediction"] == "bright"
    assert bright(row) == pytest.approx(153 / 255, abs=1e-6)
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-12)
    assert (row["width"], row["height"], row["error"]) == (20, 30, None)


@pytest.mark.parametrize("way", ["form", "json"])
def test_many_pictures_keep_their_order_and_bad_ones_become_rows(url, way):
    shades = [10, 240, 77, 130]
    pictures = [
        picture(s, kind=k) for s, k in zip(shades, ["PNG", "JPEG", "BMP", "WEBP"], strict=True)
    ]
    pictures.insert(2, b"no picture at all")
    if way == "form":
        sent = {"files": [("images", (f"{i}.png", p)) for i, p in enumerate(pictures)]}
    else:
        sent = {"json": encoded(*pictures)}
    answer = httpx.post(f"{url}/v1/predict", **sent)
    assert answer.status_code == 200
    rows = answer.json()["results"]
    assert len(rows) == 5
    broken = rows.pop(2)
    assert broken["prediction"] is None and broken["probabilities"] is None
    assert "not a picture" in broken["error"]
    assert [bright(r) for r in rows] == pytest.approx([s / 255 for s in shades], abs=0.01)
    assert [r["prediction"] for r in rows] == ["dark", "bright", "dark", "bright"]


def test_large_pictures_beside_small_ones_keep_their_order(url):
    """Those of many pixels or bytes are decoded elsewhere; the answers do not tell."""
    rng = np.random.default_rng(0)
    noise = io.BytesIO()
    speckled = rng.integers(60, 121, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(speckled).save(noise, "PNG")
    sent = [
        picture(10),
        picture(200, size=(1200, 1200)),
        noise.getvalue(),
        b"nothing",
        picture(30),
        picture(250, size=(3000, 2000)),
    ]
    assert len(sent[1]) < QUICK_BYTES < len(sent[2])
    assert QUICK_PIXELS < 1200 * 1200
    rows = httpx.post(f"{url}/v1/predict", json=encoded(*sent)).json()["results"]
    shades = [None if row["error"] else bright(row) for row in rows]
    assert shades[3] is None
    wanted = [10 / 255, 200 / 255, speckled.mean() / 255, 30 / 255, 250 / 255]
    assert shades[:3] + shades[4:] == pytest.approx(wanted, abs=2e-3)
    assert [(row["width"], row["height"]) for row in rows] == [
        (20, 30), (1200, 1200), (300, 300), (None, None), (20, 30), (3000, 2000),
    ]  # fmt: skip
    for data in sent[1:3]:
        answer = httpx.post(
            f"{url}/v1/predict", content=data, headers={"Content-Type": "image/png"}
        )
        assert answer.status_code == 200


def test_a_model_that_is_not_sure_gives_no_label(url):
    for shade, label in ((153, None), (200, "bright"), (30, "dark")):
        answer = httpx.post(
            f"{url}/v1/predict", params={"model": "unsure"}, content=picture(shade), headers=RAW
        )
        (row,) = answer.json()["results"]
        assert row["prediction"] == label
        assert row["abstained"] is (label is None)
        assert bright(row) == pytest.approx(shade / 255, abs=1e-6)
        assert (row["reason"] is None) is (label is not None)
    assert "below 0.7" in httpx.post(
        f"{url}/v1/predict", params={"model": "unsure"}, content=picture(153), headers=RAW
    ).json()["results"][0]["reason"]  # fmt: skip


def test_models_are_described(url):
    plain = httpx.get(f"{url}/v1/models").json()
    schema.Models.model_validate(plain, strict=True)
    first, second = plain["models"]
    assert (first["name"], first["rule"], first["report"]) == ("first", None, None)
    assert second["rule"] == {"threshold": 0.7, "sentence": "chosen"}
    assert plain["limits"]["images"] == 64


@pytest.mark.parametrize("where", ["predict", "explain"])
def test_a_model_that_there_is_not_is_404(url, where):
    answer = httpx.post(
        f"{url}/v1/{where}", params={"model": "frist"}, content=picture(), headers=RAW
    )
    assert answer.status_code == 404
    error = schema.Error.model_validate(answer.json(), strict=True).error
    assert error.code == "unknown-model"
    assert "first" in error.todo


def test_state_and_metrics_add_up():
    with running() as address:
        assert httpx.get(f"{address}/healthz").json() == {"status": "alive"}
        assert httpx.get(f"{address}/readyz").json() == {"status": "ready"}
        for _ in range(3):
            httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW)
        httpx.post(f"{address}/v1/predict", content=b"", headers=RAW)
        httpx.get(f"{address}/no/such/place")
        text = httpx.get(f"{address}/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    requests = 'candid_requests_total{method="POST",path="/v1/predict",status="%s"}'
    assert float(lines[requests % 200]) == 3
    assert float(lines[requests % 422]) == 1
    assert float(lines['candid_requests_total{method="GET",path="other",status="404"}']) == 1
    assert float(lines['candid_pictures_total{model="first",outcome="answered"}']) == 3
    assert float(lines['candid_batch_pictures_sum{model="first"}']) == 4  # and one to warm up
    assert float(lines["candid_waiting_pictures"]) == 0
    assert float(lines["candid_held_bytes"]) == 0


def test_requests_at_the_same_time_go_through_the_model_together():
    engine = Brightness()
    with running(model(engine), wait_milliseconds=0) as address:
        engine.gate.clear()
        engine.batches.clear()
        with ThreadPoolExecutor(17) as pool, httpx.Client() as client:

            def one(shade):  # type: ignore[no-untyped-def]
                answer = client.post(f"{address}/v1/predict", content=picture(shade), headers=RAW)
                return bright(answer.json()["results"][0])

            first = pool.submit(one, 10)
            until(lambda: engine.calls == 2)  # after the one to warm up
            answers = [pool.submit(one, shade) for shade in range(16, 32)]
            until(lambda: waiting(address) == 16)
            engine.gate.set()
            found = [a.result() for a in (first, *answers)]
    assert found == pytest.approx([s / 255 for s in (10, *range(16, 32))], abs=1e-6)
    assert engine.batches == [1, 16]


def until(condition, seconds=10):  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def waiting(address):  # type: ignore[no-untyped-def]
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return float(next(x for x in lines if x.startswith("candid_waiting_pictures")).split()[1])


def test_past_the_limit_only_429_with_retry_after_and_all_others_are_answered():
    engine = Brightness()
    with running(model(engine), queue=6, max_images=4, batch=2) as address:
        engine.gate.clear()
        with ThreadPoolExecutor(30) as pool:
            post = lambda: httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW)  # noqa: E731
            answers = [pool.submit(post) for _ in range(30)]
            until(lambda: sum(a.done() for a in answers) >= 20)
            ready = httpx.get(f"{address}/readyz").status_code
            engine.gate.set()
            codes = [a.result().status_code for a in answers]
        refused = [a.result() for a in answers if a.result().status_code != 200]
    assert ready == 200
    assert set(codes) == {200, 429}
    assert 6 <= codes.count(200) <= 8  # the queue, and a batch that is being computed
    assert all(int(r.headers["retry-after"]) >= 1 for r in refused)
    assert {r.json()["error"]["code"] for r in refused} == {"too-busy"}


def test_requests_past_the_limit_of_connections_are_refused_but_not_questions_of_health():
    engine = Brightness()
    with running(model(engine), connections=3) as address:
        engine.gate.clear()
        with ThreadPoolExecutor(3) as pool:
            post = lambda: httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW)  # noqa: E731
            answers = [pool.submit(post) for _ in range(3)]
            until(lambda: httpx.get(f"{address}/v1/models").status_code == 429)
            assert httpx.get(f"{address}/healthz").status_code == 200
            assert httpx.get(f"{address}/metrics").status_code == 200
            engine.gate.set()
            assert [a.result().status_code for a in answers] == [200] * 3


def test_an_answer_that_does_not_come_in_time_is_503():
    engine = Brightness()
    with running(model(engine), timeout=0.3) as address:
        engine.gate.clear()
        answer = httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW)
        engine.gate.set()
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "timed-out"
        assert int(answer.headers["retry-after"]) >= 1
        until(
            lambda: httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW).is_success
        )


def test_a_stop_answers_what_was_taken_in():
    engine = Brightness()
    answers = []
    with running(model(engine), batch=1) as address:
        engine.gate.clear()
        post = lambda: answers.append(  # noqa: E731
            httpx.post(f"{address}/v1/predict", content=picture(204), headers=RAW)
        )
        threads = [threading.Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: waiting(address) >= 3)
        threading.Timer(0.4, engine.gate.set).start()
    for thread in threads:
        thread.join()
    assert [a.status_code for a in answers] == [200] * 4
    assert bright(answers[0].json()["results"][0]) == pytest.approx(0.8, abs=1e-6)


def test_an_engine_that_breaks_is_a_500_that_tells_nothing(caplog):
    engine = Brightness()
    with running(model(engine)) as address:
        engine.broken = True
        answer = httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW)
        engine.broken = False
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "broken"
        assert "engine" not in answer.text
        assert httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW).is_success
    assert "the engine broke" in caplog.text


# --- who may ask ---------------------------------------------------------------------------------


def test_a_key_is_asked_for_where_there_is_one():
    with running(key="secret") as address:
        for path, method in (("/v1/models", "GET"), ("/metrics", "GET"), ("/v1/predict", "POST")):
            for headers in ({}, {"X-API-Key": "Secret"}, {"Authorization": "Bearer no"}):
                answer = httpx.request(method, address + path, headers=headers)
                assert answer.status_code == 401, (path, headers)
                assert answer.headers["www-authenticate"] == "Bearer"
        for headers in ({"X-API-Key": "secret"}, {"Authorization": "Bearer secret"}):
            assert httpx.get(f"{address}/v1/models", headers=headers).status_code == 200
            answer = httpx.post(f"{address}/v1/predict", content=picture(), headers=headers | RAW)
            assert answer.status_code == 200
        for path in ("/", "/page.js", "/healthz", "/readyz", "/openapi.json"):
            assert httpx.get(address + path).status_code == 200, path


def test_pages_from_elsewhere_may_read_only_where_they_are_named():
    origin = {"Origin": "https://ours.example"}
    with running() as address:
        answer = httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW | origin)
        assert "access-control-allow-origin" not in answer.headers
    with running(origins=("https://ours.example",), key="k") as address:
        answer = httpx.get(f"{address}/v1/models", headers=origin)
        assert answer.status_code == 401  # and the page may read why
        assert answer.headers["access-control-allow-origin"] == "https://ours.example"
        other = httpx.get(f"{address}/v1/models", headers={"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key",
        }
        answer = httpx.options(f"{address}/v1/predict", headers=origin | asked)
        assert answer.status_code == 200


# --- what it leaves behind -----------------------------------------------------------------------


def test_logs_hold_no_name_and_no_picture(caplog):
    data = picture(123)
    with caplog.at_level(logging.DEBUG), running() as address:
        httpx.post(f"{address}/v1/predict", files={"secret-field": ("secret-name.png", data)})
        httpx.post(f"{address}/v1/predict", files={"secret-field": ("secret-name.png", b"secret!")})
        httpx.get(f"{address}/secret-path?secret=1")
    ours = [r for r in caplog.records if r.name.startswith(("candid", "uvicorn"))]
    written = json.dumps([[r.getMessage(), getattr(r, "fields", {})] for r in ours])
    assert written.count('"request"') >= 3
    assert "secret" not in written
    assert base64.b64encode(data).decode()[:20] not in written


def test_nothing_is_written_to_disk(tmp_path, monkeypatch):
    """A large form, which web frameworks usually spool to a file, leaves none, not even unnamed."""
    import tempfile

    def refuse(*args, **kwargs):  # type: ignore[no-untyped-def]
        raise AssertionError("a file was made")

    for name in ("TemporaryFile", "SpooledTemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    monkeypatch.chdir(tmp_path)
    large = picture(60, size=(1500, 900), kind="BMP")  # 4 MB
    with running() as address:
        answer = httpx.post(
            f"{address}/v1/predict", files={"a": ("a.bmp", large), "b": picture(61)}
        )
    assert [r["prediction"] for r in answer.json()["results"]] == ["dark", "dark"]
    assert list(tmp_path.iterdir()) == []


# --- reports -------------------------------------------------------------------------------------


def test_the_report_is_served(tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<!doctype html><title>all of it</title>")
    with running(model(report=report), model(name="bare")) as address:
        answer = httpx.get(f"{address}/reports/first")
        assert answer.text == report.read_text()
        assert answer.headers["content-type"].startswith("text/html")
        assert httpx.get(f"{address}/v1/models").json()["models"][0]["report"] == "/reports/first"
        for name in ("bare", "none", "..%2f..%2fetc%2fpasswd", "%00"):
            assert httpx.get(f"{address}/reports/{name}").status_code == 404, name
