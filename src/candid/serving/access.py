"""Every request is counted, timed and logged, whatever becomes of it."""

from __future__ import annotations

import functools
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from candid.serving.logs import log
from candid.serving.metrics import Metrics


class Access:
    """Middleware that counts and logs requests: their route, status and seconds.

    Parameters
    ----------
    app
        What comes behind it.
    metrics
        Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        # Looked up once for each route and status that there is.
        self._counter = functools.cache(metrics.requests.labels)
        self._seconds = functools.cache(metrics.seconds.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and note its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500  # unless an answer begins

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._note(scope, status, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", "other")  # what was asked for may be anything
        self._counter(path, scope["method"], status).inc()
        self._seconds(path).observe(seconds)
        log(
            "request",
            method=scope["method"],
            path=path,
            status=status,
            milliseconds=round(1000 * seconds, 1),
            **scope.get("candid.note", {}),
        )
