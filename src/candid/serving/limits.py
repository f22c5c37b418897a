"""While as many requests are being worked on as may be, more are refused."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from candid.serving.authorisation import is_authorised
from candid.serving.refusals import too_busy

_ALWAYS = ("/healthz", "/readyz", "/metrics")  # asked when the server is at its busiest


class Limits:
    """Middleware that refuses requests past a number of them; those who may not ask count apart.

    A request counts while the server works on it: not while its client still sends it or reads the
    answer, so that nobody holds a place by sending slowly or not reading.

    Parameters
    ----------
    app
        What comes behind it.
    most
        Requests at a time.
    retry_after
        How many seconds a refused request should wait.
    """

    def __init__(self, app: ASGIApp, most: int, retry_after: Callable[[], int]) -> None:
        self._app, self._most, self._retry_after = app, most, retry_after
        self._working = {True: 0, False: 0}  # authorised or not

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        authorised = is_authorised(scope)
        if self._working[authorised] >= self._most and scope["path"] not in _ALWAYS:
            refusal = too_busy(f"{self._most} requests are being worked on", self._retry_after())
            await refusal.response()(scope, receive, send)
            return
        counted = whole = begun = False

        def count(now: bool) -> None:
            nonlocal counted
            self._working[authorised] += now - counted
            counted = now

        async def receiving() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            count(False)
            try:
                message = await receive()
            finally:
                count(not begun)
            whole = not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            count(False)
            await send(message)

        count(True)
        try:
            await self._app(scope, receiving, sending)
        finally:
            count(False)
