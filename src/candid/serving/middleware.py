"""Middleware; see also `authorisation`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from candid.serving.authorisation import is_authorised
from candid.serving.refusals import Refusal
from candid.serving.telemetry import Metrics, log

# --- security headers ----------------------------------------------------------------------------

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
    # No response is a page that may run or load anything, unless it sets its own policy.
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}


class SecurityHeaders:
    """Adds security headers that a response does not set."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, and add headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                added = [header for header in _HEADERS.items() if header[0] not in names]
                message["headers"] = headers + added
            await send(message)

        await self._app(scope, receive, send_with_headers)


# --- access log and metrics ----------------------------------------------------------------------


class Access:
    """Counts and logs requests: their route, status and seconds."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, and record its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500  # unless a response begins

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        finally:
            self._record(scope, status, time.perf_counter() - start)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", "other")  # the requested path may be anything
        method = scope["method"]
        self._metrics.requests.labels(path, method, status).inc()
        self._metrics.seconds.labels(path).observe(seconds)
        log("request", method=method, path=path, status=status,
            milliseconds=round(1000 * seconds, 1), **scope.get("candid.note", {}))  # fmt: skip


# --- host and length headers ---------------------------------------------------------------------

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")


class HostCheck:
    """Refuses requests for other `hosts` (empty: any), and with ambiguous lengths.

    Against DNS rebinding, where a foreign page's name resolves to this server, and against request
    smuggling, where a proxy and the server disagree on where a body ends.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or refuse it."""
        refusal = self._check(scope) if scope["type"] == "http" else None
        await (self._app if refusal is None else refusal.response())(scope, receive, send)

    def _check(self, scope: Scope) -> Refusal | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self._hosts and host_name(host) not in self._hosts:
            return Refusal("strange-host", hosts=", ".join(self._hosts))
        if b"content-length" in headers and b"transfer-encoding" in headers:
            return Refusal("two-lengths")
        return None


def allowed_hosts(host: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The allowed Host names of a server that listens on `host`; empty: any."""
    if named:
        return (*(name.lower() for name in named), *LOOPBACK)
    return tuple(dict.fromkeys((host, *LOOPBACK))) if host in LOOPBACK else ()


def host_name(header: str) -> str:
    """A Host header without its port or an IPv6 address's brackets; "" where it is invalid."""
    match = _HOST.fullmatch(header.lower())
    return "" if match is None else match["address"] or match["name"]


# --- concurrency limit ---------------------------------------------------------------------------

_UNLIMITED = ("/healthz", "/readyz", "/metrics")  # needed when the server is at its busiest


class Limits:
    """Refuses more than `limit` concurrent requests; unauthorised ones are counted separately.

    A request counts while the server works on it: not while its client sends it or reads the
    response, so that slow clients do not block others. `retry_after` returns the seconds after
    which a refused request may be retried.
    """

    def __init__(self, app: ASGIApp, limit: int, retry_after: Callable[[], int]) -> None:
        self._app, self._limit, self._retry_after = app, limit, retry_after
        self._n_active = {True: 0, False: 0}  # authorised or not

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        authorised = is_authorised(scope)
        if self._n_active[authorised] >= self._limit and scope["path"] not in _UNLIMITED:
            reason = f"{self._limit} requests are being worked on"
            refusal = Refusal("too-busy", why=reason, retry_after=self._retry_after())
            await refusal.response()(scope, receive, send)
            return
        is_counted = is_received = has_response = False

        def set_active(active: bool) -> None:
            nonlocal is_counted
            self._n_active[authorised] += active - is_counted
            is_counted = active

        async def receive_counted() -> Message:
            nonlocal is_received
            if is_received:
                return await receive()
            set_active(False)
            try:
                message = await receive()
            finally:
                set_active(not has_response)
            is_received = not message.get("more_body", False)
            return message

        async def send_counted(message: Message) -> None:
            nonlocal has_response
            has_response = True
            set_active(False)
            await send(message)

        set_active(True)
        try:
            await self._app(scope, receive_counted, send_counted)
        finally:
            set_active(False)
