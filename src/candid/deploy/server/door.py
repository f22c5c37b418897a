"""What every request passes on its way in and every answer on its way out."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from candid.deploy.server.logs import log
from candid.deploy.server.metrics import Metrics
from candid.deploy.server.refusals import Refusal, too_busy

_ALWAYS = ("/healthz", "/readyz", "/metrics")  # asked when the server is at its busiest
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Door:
    """Counts, times and logs requests; refuses too many and those by a strange name.

    Parameters
    ----------
    app
        What comes behind it.
    metrics
        Where requests are counted.
    most
        Requests at a time.
    hosts
        Names that the server may be called by; empty: any. A page elsewhere whose name suddenly
        leads here (DNS rebinding) still calls the server by that name.
    retry_after
        How many seconds a refused request should wait.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        most: int,
        hosts: tuple[str, ...],
        retry_after: Callable[[], int],
    ) -> None:
        self._app, self._metrics, self._most = app, metrics, most
        self._hosts, self._retry_after = hosts, retry_after
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or not, and its answer out."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500  # unless an answer begins

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _harden(MutableHeaders(scope=message))
            await send(message)

        self._inside += 1
        try:
            refusal = self._refusal(scope)
            if refusal is None:
                await self._app(scope, receive, noting)
            else:
                await refusal.response()(scope, receive, noting)
        finally:
            self._inside -= 1
            self._note(scope, status, time.perf_counter() - start)

    def _refusal(self, scope: Scope) -> Refusal | None:
        host = _name(Headers(scope=scope).get("host", ""))
        if self._hosts and host not in self._hosts:
            return Refusal(
                400,
                "strange-host",
                "The server does not go by the name that it was called by.",
                expected="one of: " + ", ".join(self._hosts),
                todo="use that name, or add yours to serve.hosts",
            )
        if self._inside > self._most and scope["path"] not in _ALWAYS:
            return too_busy(f"{self._most} requests are being worked on", self._retry_after())
        return None

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", "other")  # what was asked for may be anything
        self._metrics.requests.labels(path, scope["method"], status).inc()
        self._metrics.seconds.labels(path).observe(seconds)
        log(
            "request",
            method=scope["method"],
            path=path,
            status=status,
            milliseconds=round(1000 * seconds, 1),
            **scope.get("candid.note", {}),
        )


def allowed_hosts(host: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a server which listens on `host` may be called by; empty: any."""
    if named:
        return (*named, *_LOOPBACK)
    return tuple(dict.fromkeys((host, *_LOOPBACK))) if host in _LOOPBACK else ()


def _name(host: str) -> str:
    """A Host header without its port, and without the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _harden(headers: MutableHeaders) -> None:
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Cache-Control", "no-store")
    # Whatever an answer holds, it is not a page that may run or load anything.
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
