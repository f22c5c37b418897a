"""Bad input, and clients that mean ill: a right status, a clear error, and a server that lives."""

from __future__ import annotations

import base64
import io
import json
import random
import socket
import struct
import time

import httpx
import pytest

from bomb import GREY, bomb

pytest.importorskip("fastapi")
from candid.serving import schema
from peak import peak
from serving.served import Brightness, model, picture, running
from serving.test_serve import RAW, until, waiting


@pytest.fixture(scope="module")
def url():  # type: ignore[no-untyped-def]
    with running(
        timeout=1.5, max_bytes=200_000, max_images=5, max_pixels=1_000_000, max_memory=1_000_000
    ) as address:
        yield address
        assert httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW).is_success


def refused(answer, status, code):  # type: ignore[no-untyped-def]
    assert answer.status_code == status, answer.text
    error = schema.Error.model_validate(answer.json(), strict=True).error
    assert error.code == code
    assert error.what and error.expected and error.todo
    return error


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "no-images"),
        (picture()[:60], 422, "unreadable"),
        (picture(kind="JPEG")[:-200], 422, "unreadable"),
        (b"<html><script>alert(1)</script>", 422, "unreadable"),
        (b"\x89PNG\r\n\x1a\n", 422, "unreadable"),
        (bytes(1000), 422, "unreadable"),
        (bomb(60_000, colour=GREY, held=1_000_000), 413, "too-many-pixels"),
        (picture(size=(1001, 1000)), 413, "too-many-pixels"),
        (bytes(200_001), 413, "too-many-bytes"),
    ],
    ids=["nothing", "cut", "cut jpeg", "html", "head", "zeros", "bomb", "pixels", "bytes"],
)
def test_a_bad_picture(url, data, status, code):
    start = time.monotonic()
    refused(httpx.post(f"{url}/v1/predict", content=data, headers=RAW), status, code)
    assert time.monotonic() - start < 5
    if data:
        good = {"files": [("a", data), ("b", picture(250))]}
        answer = httpx.post(f"{url}/v1/predict", **good)
        if status == 413 and code == "too-many-bytes":
            refused(answer, 413, code)
        else:  # beside a good one it is a row
            first, second = answer.json()["results"]
            assert first["error"] and first["prediction"] is None
            assert second["prediction"] == "bright"


def test_noise_never_breaks_it(url):
    """Every byte of a good picture may be another one; the answer is a row or a clear refusal."""
    rng = random.Random(0)
    whole = picture(kind="JPEG")
    with httpx.Client() as client:
        for _ in range(40):
            data = bytearray(whole)
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            answer = client.post(f"{url}/v1/predict", content=bytes(data), headers=RAW)
            assert answer.status_code in (200, 413, 422), answer.text


@pytest.mark.parametrize(
    ("headers", "content", "status", "code"),
    [
        ({}, b"x", 415, "unknown-type"),
        ({"Content-Type": "text/plain"}, b"x", 415, "unknown-type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"x", 415, "unknown-type"),
        ({"Content-Type": "<script>"}, b"x", 415, "unknown-type"),
        ({"Content-Type": "application/json"}, b"{", 422, "malformed"),
        ({"Content-Type": "application/json"}, b"[" * 100_000, 422, "malformed"),
        (
            {"Content-Type": "application/json"},
            b'{"images": ' + b"9" * 9_000 + b"}",
            422,
            "malformed",
        ),
        ({"Content-Type": "application/json"}, b"[1]", 422, "malformed"),
        ({"Content-Type": "application/json"}, b'{"images": [7]}', 422, "malformed"),
        ({"Content-Type": "application/json"}, b'{"images": ["%%%"]}', 422, "malformed"),
        ({"Content-Type": "application/json"}, b'{"images": []}', 422, "no-images"),
        ({"Content-Type": "application/json"}, b"\xff\xfe", 422, "malformed"),
        ({"Content-Type": "multipart/form-data"}, b"x", 422, "malformed"),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"x", 422, "malformed"),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"", 422, "no-images"),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"--b\r\n\r\nhalf", 422, "malformed"),
        ({"Content-Type": "multipart/form-data; boundary=" + "b" * 500}, b"x", 422, "malformed"),
    ],
)
def test_a_bad_body(url, headers, content, status, code):
    request = httpx.Request("POST", f"{url}/v1/predict", headers=headers, content=content)
    with httpx.Client() as client:
        refused(client.send(request), status, code)


@pytest.mark.parametrize("way", ["form", "json"])
def test_too_many_pictures(url, way):
    if way == "form":
        sent = {"files": [("a", picture())] * 6}
    else:
        sent = {"json": {"images": [base64.b64encode(picture()).decode()] * 6}}
    refused(httpx.post(f"{url}/v1/predict", **sent), 413, "too-many-images")


def test_a_huge_number_of_tiny_parts_is_given_up_early(url):
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
    body = part * (190_000 // len(part)) + b"--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    refused(httpx.post(f"{url}/v1/predict", content=body, headers=headers), 413, "too-many-images")


def test_a_body_without_a_length_is_counted_as_it_comes(url):
    def endless():  # type: ignore[no-untyped-def]
        for _ in range(1000):
            yield bytes(10_000)

    try:
        answer = httpx.post(f"{url}/v1/predict", content=endless(), headers=RAW)
    except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
        return  # the server closed while we were still sending
    refused(answer, 413, "too-many-bytes")


def test_a_length_that_is_a_lie_is_refused_before_the_body(url):
    answer = spoken(url, HEAD.replace(b"1000", b"99999999999"))
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "C:\\evil.png", "<img src=x onerror=alert(1)>.png",
     "a\x00b.png", "\r\nSet-Cookie: x=1", "é" * 3000, ""],
    ids=["up", "root", "windows", "html", "nul", "line", "long", "empty"],
)  # fmt: skip
def test_names_of_files_do_not_matter(url, name):
    answer = httpx.post(f"{url}/v1/predict", files={"images": (name, picture(230))})
    if answer.status_code == 200:
        assert answer.json()["results"][0]["prediction"] == "bright"
    else:
        refused(answer, 422, "malformed")
    assert "set-cookie" not in answer.headers
    for piece in ("passwd", "onerror", "evil"):
        assert piece not in answer.text


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("method=nope", "unknown-method"),
        ("class=nope", "unknown-class"),
        ("output=gif", "invalid-parameter"),
        ("strength=2", "invalid-parameter"),
        ("strength=nan", "invalid-parameter"),
    ],
)
def test_a_map_that_there_is_not(url, query, code):
    answer = httpx.post(f"{url}/v1/explain?{query}", content=picture(), headers=RAW)
    refused(answer, 422, code)


def test_a_map_of_two_pictures_is_refused(url):
    files = {"a": picture(), "b": picture()}
    refused(httpx.post(f"{url}/v1/explain", files=files), 413, "too-many-images")


def test_methods_and_addresses_that_there_are_not(url):
    refused(httpx.get(f"{url}/v1/predict"), 405, "wrong-method")
    assert httpx.get(f"{url}/v1/predict").headers["allow"] == "POST"
    for path in ("/nothing", "/v1", "/page.py", "/..%2fpage.js", "/v1/models/", "/reports/"):
        refused(httpx.get(url + path), 404, "not-found")
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        refused(httpx.request(method, f"{url}/v1/models"), 405, "wrong-method")


# --- clients that take their time, or go ---------------------------------------------------------


def spoken(url, *words: bytes, pause: float = 0.0) -> bytes:  # type: ignore[no-untyped-def]
    """What comes back for bytes that are sent as they are."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        for word in words:
            line.sendall(word)
            time.sleep(pause)
        parts = []
        while data := line.recv(65536):
            parts.append(data)
            if b"\r\n\r\n" in data:
                break
        return b"".join(parts)


HEAD = (
    b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    b"Content-Length: 1000\r\n\r\n"
)


def test_a_body_that_never_comes_whole_is_408(url):
    start = time.monotonic()
    answer = spoken(url, HEAD, b"half")
    assert answer.startswith(b"HTTP/1.1 408")
    assert 1.4 < time.monotonic() - start < 6
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    "words", [(), (b"POST /v1/pre",), (HEAD[:60],)], ids=["silent", "slow", "head"]
)
def test_a_client_that_never_says_what_it_wants_is_hung_up_on(url, words):
    start = time.monotonic()
    assert spoken(url, *words) == b""
    assert 1.4 < time.monotonic() - start < 6


def test_a_slow_second_request_on_a_good_connection_is_hung_up_on(url):
    answer = spoken(
        url, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /hea", pause=0.3
    )
    assert answer.startswith(b"HTTP/1.1 200")


def test_what_is_not_http_is_400(url):
    assert spoken(url, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_client_that_goes_away_costs_nothing():
    engine = Brightness()
    with running(model(engine), batch=1, wait_milliseconds=0) as address:
        engine.batches.clear()
        engine.gate.clear()
        host, port = address.removeprefix("http://").split(":")
        body = picture()
        head = HEAD.replace(b"1000", str(len(body)).encode())
        lines = [socket.create_connection((host, int(port))) for _ in range(8)]
        for line in lines:
            line.sendall(head + body)
        until(lambda: waiting(address) >= 7)
        for line in lines:
            # Gone at once, as when a phone loses its network.
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.close()
        until(lambda: waiting(address) == 0)
        engine.gate.set()
        assert httpx.post(f"{address}/v1/predict", content=body, headers=RAW).is_success
        text = httpx.get(f"{address}/metrics").text
    assert len(engine.batches) == 2  # the one that was being computed, and the last
    assert 'status="499"} 8.0' in text
    assert "candid_held_bytes 0.0" in text


def test_memory_of_all_requests_together_is_bounded():
    engine = Brightness()
    large = picture(60, size=(300, 200), kind="BMP")  # 180 kB
    with running(model(engine), max_bytes=200_000, max_memory=400_000) as address:
        engine.gate.clear()
        host, port = address.removeprefix("http://").split(":")
        head = HEAD.replace(b"1000", str(len(large)).encode())
        lines = [socket.create_connection((host, int(port))) for _ in range(2)]
        for line in lines:
            line.sendall(head + large)
        until(lambda: b"candid_held_bytes 360" in metrics(address))
        answer = httpx.post(f"{address}/v1/predict", content=large, headers=RAW)
        error = refused(answer, 429, "too-busy")
        assert "memory" in error.what
        engine.gate.set()
        for line in lines:
            assert line.recv(1000).startswith(b"HTTP/1.1 200")
            line.close()
        assert httpx.post(f"{address}/v1/predict", content=large, headers=RAW).is_success


def test_decoding_is_bounded_by_memory_too():
    """Small files of 9 megapixels: two fit at a time, and one that never fits is refused."""
    fits = picture(250, size=(3000, 3000))
    with running(model(Brightness()), max_memory=100_000_000, decoders=8) as address:
        before = peak(forget=True)
        answer = httpx.post(f"{address}/v1/predict", files=[("a", fits)] * 12, timeout=60)
        assert {row["prediction"] for row in answer.json()["results"]} == {"bright"}
        assert peak() - before < 130_000_000
    with running(model(Brightness()), max_memory=40_000_000) as address:
        answer = httpx.post(f"{address}/v1/predict", content=fits, headers=RAW)
        assert "40,000,000" in refused(answer, 413, "too-much-memory").what
        answer = httpx.post(f"{address}/v1/predict", files=[("a", fits), ("b", picture(250))])
        first, second = answer.json()["results"]
        assert "bytes" in first["error"] and second["prediction"] == "bright"


def metrics(address) -> bytes:  # type: ignore[no-untyped-def]
    text = httpx.get(f"{address}/metrics").text
    # 360108 bytes are written as 360108.0, and large numbers as 1.0e+06.
    return text.encode()


def test_an_answer_is_json_whatever_is_in_it(url):
    """HTML in a bad picture comes back as text in JSON, never as a page."""
    answer = httpx.post(
        f"{url}/v1/predict",
        files=[("a", b"<script>alert(1)</script>"), ("b", picture())],
    )
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    json.loads(answer.text)
    buffer = io.BytesIO(answer.content)
    assert buffer.read(1) == b"{"
