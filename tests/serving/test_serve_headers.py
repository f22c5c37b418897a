"""Every answer says what browsers must not do with it."""

from __future__ import annotations

import httpx
import pytest

pytest.importorskip("fastapi")
from serving.served import running


def test_answers_are_hardened():
    with running() as url:
        for path, host in (("/", "localhost"), ("/v1/models", "localhost"), ("/no", "localhost"),
                           ("/", "evil.example")):  # fmt: skip
            headers = httpx.get(url + path, headers={"Host": host}).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert httpx.get(f"{url}/v1/models").headers["cache-control"] == "no-store"
        assert httpx.get(f"{url}/").headers["cache-control"] == "no-cache"  # its own comes first
