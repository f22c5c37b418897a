"""Only what the server itself works on takes a place; strangers take none of those who may ask."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi")
from candid.serving.middleware import Limits
from serving.served import Brightness, lines_to, model, picture, running
from serving.test_serve import RAW
from serving.test_serve_hostile import HEAD


class Held:
    """An application whose requests wait, each at the place that its path names."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/reads":
            while (await receive()).get("more_body"):
                pass
        if scope["path"] == "/works":
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/sends":
            await self.go.wait()
        await send({"type": "http.response.body", "body": b""})


async def status(app: Any, path: str, *, stranger: bool = False, silent: bool = False) -> int:
    """What one request is answered; `silent`: its body never comes."""
    statuses = []

    async def receive() -> Any:
        if silent:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    scope = {"type": "http", "path": path, "candid.unauthorised": "no-key" if stranger else ""}
    await app(scope, receive, send)
    return statuses[0]


async def held_up(path: str, **how: Any) -> tuple[int, int, int]:
    """The answers to one like those that are held up, to a stranger, and after they ended."""
    held = Held()
    app = Limits(held, 2, lambda: 1)
    before = [asyncio.ensure_future(status(app, path, **how)) for _ in range(2)]
    await asyncio.sleep(0.01)
    other = not how.get("stranger", False)
    found = await status(app, "/", **{**how, "stranger": not other, "silent": False})
    apart = await status(app, "/", stranger=other)
    assert await status(app, "/healthz") == 200
    held.go.set()
    for task in before:
        task.cancel()
    await asyncio.gather(*before, return_exceptions=True)
    return found, apart, await status(app, "/")


def test_a_request_counts_while_it_is_worked_on():
    assert asyncio.run(held_up("/works")) == (429, 200, 200)


def test_strangers_count_apart():
    assert asyncio.run(held_up("/works", stranger=True)) == (429, 200, 200)


def test_a_client_that_sends_slowly_or_does_not_read_takes_no_place():
    assert asyncio.run(held_up("/reads", silent=True)) == (200, 200, 200)
    assert asyncio.run(held_up("/sends")) == (200, 200, 200)


def test_bodies_that_never_come_do_not_shut_the_others_out():
    head = HEAD.replace(b"1000", b"10")
    with running(model(Brightness()), connections=4) as address, lines_to(address, 7) as lines:
        for line in lines:
            line.sendall(head)
        answer = httpx.post(f"{address}/v1/predict", content=picture(), headers=RAW)
        assert answer.status_code == 200
