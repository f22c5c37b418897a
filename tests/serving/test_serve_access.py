"""Every request is counted and logged as what happened to it."""

from __future__ import annotations

import logging
import socket
import struct

import httpx
import pytest

pytest.importorskip("fastapi")
from serving.served import lines_to, running
from serving.test_serve import until
from serving.test_serve_hostile import HEAD


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_in_mid_body_is_not_the_server_s_fault(caplog, reset):
    with caplog.at_level(logging.INFO), running() as address:
        with lines_to(address) as (line,):
            line.sendall(HEAD + b"half")
            until(lambda: "candid_held_bytes 1000" in httpx.get(f"{address}/metrics").text)
            if reset:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        counted = 'candid_requests_total{method="POST",path="/v1/predict",status="499"} 1.0'
        until(lambda: counted in httpx.get(f"{address}/metrics").text)
        assert 'status="500"' not in httpx.get(f"{address}/metrics").text
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR or r.exc_info]
    logged = [r.fields for r in caplog.records if r.getMessage() == "request"]  # type: ignore[attr-defined]
    assert [f["status"] for f in logged if f["path"] == "/v1/predict"] == [499]
