"""Clients that ask and do not read are hung up on, and meanwhile cost nobody else an answer."""

from __future__ import annotations

import os
import socket
import time

import httpx
import pytest

pytest.importorskip("fastapi")
from candid.serving.connections import max_connections, timeout_protocol
from candid.serving.serve import raise_file_limit
from candid.settings import ServeConfig
from serving.served import lines_to, model, picture, running
from serving.test_serve import RAW, until

REPORT = b"GET /reports/first HTTP/1.1\r\nHost: localhost\r\n\r\n"
PAGE = b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
SIZE = 8_000_000  # more than the system keeps of what nobody reads


@pytest.fixture
def served(tmp_path):  # type: ignore[no-untyped-def]
    report = tmp_path / "report.html"
    report.write_bytes(b"x" * SIZE)
    return model(report=report)


def open_files() -> int:
    """Files and connections, of the server and of the test that runs it."""
    return len(os.listdir("/proc/self/fd"))


def read(line: socket.socket) -> int:
    """How many bytes still come until the server's end."""
    size = 0
    try:
        while data := line.recv(1 << 20):
            size += len(data)
    except ConnectionResetError:
        pass
    return size


@pytest.mark.parametrize(
    ("asked", "key"), [(REPORT * 2, ""), (PAGE * 200, ""), (PAGE * 200, "secret")]
)
def test_clients_that_do_not_read_lock_nobody_out_and_are_hung_up_on(served, asked, key):
    allowed = {"X-API-Key": key} if key else {}
    with (
        running(served, key=key, connections=4, timeout=1.0) as address,
        lines_to(address, 6, buffer=4096) as lines,
    ):
        httpx.get(f"{address}/healthz")
        before = open_files() - len(lines)
        for line in lines:
            line.sendall(asked)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            answer = httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW | allowed)
            assert answer.status_code == 200
        until(lambda: open_files() <= before, 60)  # nothing is held for them
        sizes = [read(line) for line in lines]
    assert max(sizes) < min(SIZE, 200 * 23_000)


def test_a_client_that_reads_slowly_but_reads_gets_all_of_it(served):
    with running(served, timeout=1.0) as address, lines_to(address, buffer=1 << 16) as (line,):
        line.sendall(REPORT)
        size = 0
        for part in range(1, 9):
            while size < SIZE * part // 8:
                data = line.recv(1 << 20)
                assert data, f"hung up on after {size} bytes"
                size += len(data)
            time.sleep(0.3)


def test_requests_sent_ahead_are_all_answered(served):
    with running(served) as address, lines_to(address) as (line,):
        line.sendall(
            PAGE * 20 + PAGE.replace(b"localhost\r\n", b"localhost\r\nConnection: close\r\n")
        )
        answer = b""
        while data := line.recv(1 << 20):
            answer += data
    assert answer.count(b"HTTP/1.1 200") == 21


def test_a_new_connection_gets_the_place_of_one_that_waits():
    most = max_connections(ServeConfig(connections=4))
    with running(connections=4) as address, lines_to(address, most) as lines:
        time.sleep(0.2)  # so that all are in
        for _ in range(3):
            assert httpx.get(f"{address}/healthz").status_code == 200
        lines[0].settimeout(0.2)
        assert lines[0].recv(1) == b""  # the one that waited longest
        lines[-1].sendall(PAGE)
        assert lines[-1].recv(15) == b"HTTP/1.1 200 OK"


def test_strangers_go_first():
    most = max_connections(ServeConfig(connections=4))
    known = PAGE.replace(b"localhost\r\n", b"localhost\r\nX-API-Key: k\r\n")
    with running(connections=4, key="k") as address, lines_to(address, most) as lines:
        for line in lines:
            line.sendall(PAGE if line is lines[-1] else known)
        for line in lines:
            until(lambda line=line: b"200 OK" in line.recv(100))
        assert httpx.get(f"{address}/healthz").status_code == 200
        lines[0].sendall(known)
        end = time.monotonic() + 5
        while b"200 OK" not in lines[0].recv(1 << 20):
            assert time.monotonic() < end
        read(lines[-1])  # ends


def test_there_are_files_for_all_connections():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        raise_file_limit(300)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, before[1])
        raise_file_limit(100)  # it never takes any away
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_each_server_counts_its_own():
    config = ServeConfig()
    assert timeout_protocol(config) is not timeout_protocol(config)
