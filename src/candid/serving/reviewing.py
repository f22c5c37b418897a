"""The page on which a person reviews labels: its addresses, all of them behind a secret word.

What it shows of a picture before the choice is the picture and those of the same person: no name,
no label, no answer of a model. Of a file that cannot be read there is but the name.
"""

from __future__ import annotations

import functools
import hmac
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from candid.errors import CandidError, ImageError
from candid.serving.middleware import LOOPBACK, Heads, SecurityHeaders
from candid.serving.page import give_files

_FILES = {
    "/": ("review.html", "text/html; charset=utf-8"),
    "/review.js": ("review.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_KEPT = 64  # encoded pictures
_LARGEST = 4096  # bytes of a decision
# What a body raises that is no JSON, or JSON of another form.
_NOT_SO = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
_MOST_NEAR = 64  # pictures whose nearest are asked for at once


class Reviewing(Protocol):
    """What decides what is shown, such as `candid.reviewing.session.Session`."""

    def state(self) -> dict[str, Any]:
        """What is shown now."""

    def decide(
        self, number: int, kind: str, now: str, seconds: float, chosen: Sequence[int] = ()
    ) -> dict[str, Any] | None:
        """Write a decision down, and say what is told after it."""

    def undo(self) -> bool:
        """Take the last one back."""

    def near(self, numbers: Sequence[int]) -> list[dict[str, Any]] | None:
        """The pictures nearest to some that are decided, None while they are being sought."""

    def lines(self) -> list[str]:
        """The figures so far, in words."""

    def image_at(self, place: int) -> str | None:
        """The id of a picture that may be shown."""


def create_review_app(
    session: Reviewing,
    picture: Callable[[str], bytes],
    *,
    target: str,
    classes: tuple[str, ...],
    token: str,
) -> Starlette:
    """An ASGI application with the page at `/TOKEN/`, and nothing at any other address.

    `picture` gives an image as JPEG by its id; it may raise an ImageError.
    """
    asked = _Addresses(session, functools.lru_cache(_KEPT)(picture), target, classes)
    styles = ("page.css", "review.css")
    files = [Route(address, give) for address, give in give_files(_FILES, *styles).items()]
    inside = [
        *files,
        Route("/state", asked.state),
        Route("/summary", asked.summary),
        Route("/near", asked.near),
        Route("/decide", asked.decide, methods=["POST"]),
        Route("/undo", asked.undo, methods=["POST"]),
        Route("/picture/{place:int}", asked.picture),
    ]
    return Starlette(
        routes=[Mount("/{token}", routes=inside)],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(Heads, hosts=LOOPBACK),
            Middleware(_Secret, token=token),
        ],
        exception_handlers={CandidError: _failed},
    )


class _Addresses:
    def __init__(
        self,
        session: Reviewing,
        drawn: Callable[[str], bytes],
        target: str,
        classes: tuple[str, ...],
    ) -> None:
        self._session, self._drawn = session, drawn
        self._about = {"target": target, "classes": list(classes)}

    def _now(self, **more: Any) -> Response:
        return JSONResponse(self._about | self._session.state() | more)

    async def state(self, _: Request) -> Response:
        return self._now()

    async def decide(self, request: Request) -> Response:
        try:
            decision = _decision(await _body(request))
        except _NOT_SO:
            return _refusal(422, "This is no decision.")
        return self._now(told=self._session.decide(*decision))

    async def undo(self, request: Request) -> Response:
        try:
            await _body(request)
        except _NOT_SO:
            return _refusal(422, "This is no request of the page.")
        self._session.undo()
        return self._now()

    async def near(self, request: Request) -> Response:
        try:
            words = request.query_params.get("numbers", "").split(",")
            numbers = [int(word) for word in words[:_MOST_NEAR]]
        except ValueError:
            return _refusal(422, "These are no numbers of pictures.")
        return JSONResponse({"near": self._session.near(numbers)})

    async def summary(self, _: Request) -> Response:
        return JSONResponse({"summary": self._session.lines()})

    async def picture(self, request: Request) -> Response:
        image = self._session.image_at(request.path_params["place"])
        if image is None:
            return _refusal(404, "There is no such picture.")
        try:
            data = await run_in_threadpool(self._drawn, image)
        except ImageError:  # its words may hold the file's name, which may tell the label
            return _refusal(404, "The picture cannot be read.")
        return Response(data, media_type="image/jpeg")


class _Secret:
    """Middleware that knows of no address but those whose first part is the secret word."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            first = scope["path"].lstrip("/").partition("/")[0].encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(first, self._token):
                await _refusal(404, "There is nothing at this address.")(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _body(request: Request) -> Any:
    """The JSON that a request carries; a form of another page cannot send it unasked."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise ValueError("not JSON")
    if int(request.headers.get("content-length", _LARGEST + 1)) > _LARGEST:
        raise ValueError("too long")
    return await request.json()


def _decision(plain: Any) -> tuple[int, str, str, float, list[int]]:
    number, seconds = int(plain["number"]), float(plain["seconds"])
    if not math.isfinite(seconds):
        raise ValueError("no time")
    chosen = [int(one) for one in plain.get("chosen", ())]
    return number, str(plain["kind"]), str(plain["now"]), seconds, chosen


async def _failed(_: Request, error: Exception) -> Response:
    """What the user can mend: a full disk, a page that is out of date."""
    known = isinstance(error, CandidError)
    out_of_date = known and getattr(error, "code", "") == "not-shown"
    return _refusal(409 if out_of_date else 422, getattr(error, "what", "It went wrong."))


def _refusal(status: int, what: str) -> JSONResponse:
    return JSONResponse({"error": {"what": what}}, status)
