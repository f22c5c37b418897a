"""The page on which a person reviews labels: its endpoints, all of them behind a secret token.

Before the choice it shows only the image and those of the same person: no name, no label, no answer
of a model. For a file that cannot be read it shows only the name.
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
from candid.serving.middleware import LOOPBACK, HostCheck, SecurityHeaders
from candid.serving.page import file_handlers

_FILES = {
    "/": ("review.html", "text/html; charset=utf-8"),
    "/review.js": ("review.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_CACHE_SIZE = 64  # encoded images
_MAX_BYTES = 4096  # bytes of a decision
# The errors of parsing a body that is not JSON, or not the expected JSON.
_INVALID = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
_MAX_NEAR = 64  # images whose nearest are asked for at once


class Reviewing(Protocol):
    """A reviewing session, such as `candid.reviewing.session.Session`."""

    def state(self) -> dict[str, Any]:
        """The current state of the page."""

    def decide(
        self, number: int, kind: str, now: str, seconds: float, chosen: Sequence[int] = ()
    ) -> dict[str, Any] | None:
        """Record a decision, and return the feedback after it."""

    def undo(self) -> bool:
        """Take the last one back."""

    def near(self, numbers: Sequence[int]) -> list[dict[str, Any]] | None:
        """The images nearest to some decided ones, None while they are being computed."""

    def lines(self) -> list[str]:
        """The figures so far, in words."""

    def image_at(self, place: int) -> str | None:
        """The id of an image that may be shown."""


def create_review_app(
    session: Reviewing,
    picture: Callable[[str], bytes],
    *,
    target: str,
    classes: tuple[str, ...],
    token: str,
) -> Starlette:
    """An ASGI application with the page at `/TOKEN/`, and nothing at any other address.

    `picture` returns an image as JPEG by its id; it may raise an ImageError.
    """
    endpoints = _Endpoints(session, functools.lru_cache(_CACHE_SIZE)(picture), target, classes)
    styles = ("page.css", "review.css")
    files = [Route(address, give) for address, give in file_handlers(_FILES, *styles).items()]
    routes = [
        *files,
        Route("/state", endpoints.state),
        Route("/summary", endpoints.summary),
        Route("/near", endpoints.near),
        Route("/decide", endpoints.decide, methods=["POST"]),
        Route("/undo", endpoints.undo, methods=["POST"]),
        Route("/picture/{place:int}", endpoints.picture),
    ]
    return Starlette(
        routes=[Mount("/{token}", routes=routes)],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(HostCheck, hosts=LOOPBACK),
            Middleware(_RequireToken, token=token),
        ],
        exception_handlers={CandidError: _handle_error},
    )


class _Endpoints:
    def __init__(
        self,
        session: Reviewing,
        load_image: Callable[[str], bytes],
        target: str,
        classes: tuple[str, ...],
    ) -> None:
        self._session, self._load_image = session, load_image
        self._info = {"target": target, "classes": list(classes)}

    def _state(self, **more: Any) -> Response:
        return JSONResponse(self._info | self._session.state() | more)

    async def state(self, _: Request) -> Response:
        return self._state()

    async def decide(self, request: Request) -> Response:
        try:
            decision = _parse_decision(await _read_json(request))
        except _INVALID:
            return _refusal(422, "This is no decision.")
        return self._state(told=self._session.decide(*decision))

    async def undo(self, request: Request) -> Response:
        try:
            await _read_json(request)
        except _INVALID:
            return _refusal(422, "This is no request of the page.")
        self._session.undo()
        return self._state()

    async def near(self, request: Request) -> Response:
        try:
            words = request.query_params.get("numbers", "").split(",")
            numbers = [int(word) for word in words[:_MAX_NEAR]]
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
            data = await run_in_threadpool(self._load_image, image)
        except ImageError:  # its message may contain the file's name, which may reveal the label
            return _refusal(404, "The picture cannot be read.")
        return Response(data, media_type="image/jpeg")


class _RequireToken:
    """Middleware that answers 404 unless the path begins with the secret token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            first = scope["path"].lstrip("/").partition("/")[0].encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(first, self._token):
                await _refusal(404, "There is nothing at this address.")(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _read_json(request: Request) -> Any:
    """The JSON of a request; forms of other pages cannot send this content type."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise ValueError("not JSON")
    if int(request.headers.get("content-length", _MAX_BYTES + 1)) > _MAX_BYTES:
        raise ValueError("too long")
    return await request.json()


def _parse_decision(decision: Any) -> tuple[int, str, str, float, list[int]]:
    number, seconds = int(decision["number"]), float(decision["seconds"])
    if not math.isfinite(seconds):
        raise ValueError("no time")
    chosen = [int(item) for item in decision.get("chosen", ())]
    return number, str(decision["kind"]), str(decision["now"]), seconds, chosen


async def _handle_error(_: Request, error: Exception) -> Response:
    """Answer with an error that the user can fix: a full disk, a page that is out of date."""
    is_known = isinstance(error, CandidError)
    out_of_date = is_known and getattr(error, "code", "") == "not-shown"
    return _refusal(409 if out_of_date else 422, getattr(error, "what", "It went wrong."))


def _refusal(status: int, what: str) -> JSONResponse:
    return JSONResponse({"error": {"what": what}}, status)
