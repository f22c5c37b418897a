"""A request's head says one thing: by which name the server is called, where the body ends."""

from __future__ import annotations

import httpx
import pytest

pytest.importorskip("fastapi")
from candid.serving.middleware import allowed_hosts, host_name
from serving.served import lines_to, running


def test_a_name_that_is_not_the_server_s_is_refused():
    with running() as address:
        port = address.rsplit(":", 1)[1]
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "",
                     "[::1].evil.com", "127.0.0.1:80:evil.com", "[::1]:80:evil.com", "::1",
                     "localhost:80@evil.com", "[localhost]", "localhost:port"):  # fmt: skip
            assert httpx.get(f"{address}/healthz", headers={"Host": host}).status_code == 400, host
        for host in (f"localhost:{port}", "LOCALHOST", f"[::1]:{port}", "127.0.0.1"):
            assert httpx.get(f"{address}/healthz", headers={"Host": host}).status_code == 200, host
    with running(hosts=("Faces.example",)) as address:
        for host, status in (("faces.example", 200), ("localhost", 200), ("evil.example", 400)):
            assert httpx.get(f"{address}/healthz", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("header", "name"),
    [("a.b:1", "a.b"), ("[::1]", "::1"), ("[::ffff:1.2.3.4]:80", "::ffff:1.2.3.4"), ("a b", ""),
     ("a/b", ""), ("é", ""), ("a:123456", "")],
)  # fmt: skip
def test_a_host_is_taken_apart_whole_or_not_at_all(header, name):
    assert host_name(header) == name


def test_who_listens_to_all_may_have_any_name():
    assert allowed_hosts("0.0.0.0", ()) == ()
    assert "localhost" in allowed_hosts("127.0.0.1", ())


@pytest.mark.parametrize("first", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_a_body_with_two_lengths_is_refused_and_the_connection_closed(first):
    """What one side takes for a body the other would take for a second request."""
    both = {b"Content-Length: 5", b"Transfer-Encoding: chunked"}
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    hidden = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with running() as address, lines_to(address) as (line,):
        second = (both - {first}).pop()
        line.sendall(head + first + b"\r\n" + second + b"\r\n\r\n0\r\n\r\n" + hidden)
        answer = b""
        while data := line.recv(65536):  # until the server closes
            answer += data
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1") == 1
