"""The page's cookie stands for the key: for its own requests, and out of reach of any script."""

from __future__ import annotations

import httpx
import pytest

pytest.importorskip("fastapi")
from serving.served import model, picture, running
from serving.test_serve import RAW

KEY = "a+b/c=="


def kept(address: str, key: str = KEY) -> httpx.Response:
    """The answer to a browser that gives the key once."""
    answer = httpx.post(f"{address}/key", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 204
    return answer


def test_a_key_of_signs_opens_the_report(tmp_path):
    report = tmp_path / "report.html"
    report.write_text("all of it")
    with running(model(report=report), key=KEY) as address:
        link = f"{address}/reports/first"
        assert httpx.get(link).status_code == 401
        assert httpx.get(link, cookies=kept(address).cookies).text == "all of it"


def test_the_cookie_is_for_the_browser_alone_and_is_not_the_key():
    with running(key=KEY) as address:
        cookie = kept(address).headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
        assert KEY not in cookie
        (value,) = kept(address).cookies.values()
        bearer = {"Authorization": f"Bearer {value}"}
        assert httpx.get(f"{address}/v1/models", headers=bearer).status_code == 401


def test_who_gives_no_key_gets_no_cookie():
    with running(key=KEY) as address:
        for headers in ({}, {"X-API-Key": "wrong"}, {"Cookie": "candid-key=" + KEY}):
            answer = httpx.post(f"{address}/key", headers=headers)
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Origin": "http://evil.example"}, 401),
        ({"Origin": "http://localhost:1"}, 401),  # another port gets the same cookies
        ({"Origin": "null"}, 401),  # as a sandboxed report has
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:1"}, 401),
        ({"Sec-Fetch-Site": "cross-site"}, 401),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "here"}, 200),
    ],
)
def test_with_the_cookie_only_the_page_itself_sends_pictures(headers, status):
    with running(key=KEY) as address:
        cookies = kept(address).cookies
        given = {k: v.replace("here", address) for k, v in headers.items()}
        answer = httpx.post(
            f"{address}/v1/predict", content=picture(), headers=RAW | given, cookies=cookies
        )
        assert answer.status_code == status
        assert httpx.get(f"{address}/v1/models", cookies=cookies).status_code == 200


def test_servers_with_other_keys_do_not_take_each_other_s_cookies():
    with running(key=KEY) as one, running(key="other") as other:
        cookies = {**kept(one).cookies, **kept(other, "other").cookies}
        assert len(cookies) == 2
        for address in (one, other):
            assert httpx.get(f"{address}/v1/models", cookies=cookies).status_code == 200
        mine = dict(kept(one).cookies)
        assert httpx.get(f"{other}/v1/models", cookies=mine).status_code == 401
