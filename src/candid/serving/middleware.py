"""What stands in front of the addresses, each with one idea; see also `authorisation`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from candid.serving.authorisation import is_authorised
from candid.serving.refusals import Refusal
from candid.serving.telemetry import Metrics, log

# --- headers that keep browsers from doing more with an answer than it is for --------------------

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
    # Whatever an answer holds, it is not a page that may run or load anything.
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}


class SecurityHeaders:
    """Adds the headers that an answer does not set for itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and its answer with more headers back."""

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                added = [header for header in _HEADERS.items() if header[0] not in names]
                message["headers"] = given + added
            await send(message)

        await self._app(scope, receive, adding)


# --- counted, timed and logged, whatever becomes of it -------------------------------------------


class Access:
    """Counts and logs requests: their route, status and seconds."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

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
        path = getattr(scope.get("route"), "path", "other")  # what was asked for may be anything
        method = scope["method"]
        self._metrics.requests.labels(path, method, status).inc()
        self._metrics.seconds.labels(path).observe(seconds)
        log("request", method=method, path=path, status=status,
            milliseconds=round(1000 * seconds, 1), **scope.get("candid.note", {}))  # fmt: skip


# --- heads that can be read in two ways, or call the server by a strange name --------------------

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")


class Heads:
    """Refuses requests with such heads; `hosts`: names the server may be called by, empty: any.

    A page elsewhere whose name suddenly leads here (DNS rebinding) still calls the server by that
    name. And where a proxy and the server disagree on where a body ends, one client's request is
    hidden in another's.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (self._app if refusal is None else refusal.response())(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self._hosts and host_name(host) not in self._hosts:
            return Refusal("strange-host", hosts=", ".join(self._hosts))
        if b"content-length" in headers and b"transfer-encoding" in headers:
            return Refusal("two-lengths")
        return None


def allowed_hosts(host: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a server which listens on `host` may be called by; empty: any."""
    if named:
        return (*(name.lower() for name in named), *LOOPBACK)
    return tuple(dict.fromkeys((host, *LOOPBACK))) if host in LOOPBACK else ()


def host_name(header: str) -> str:
    """A Host header without its port or an IPv6 address's brackets; "" where it is not one."""
    found = _HOST.fullmatch(header.lower())
    return "" if found is None else found["address"] or found["name"]


# --- no more at a time than there may be ---------------------------------------------------------

_ALWAYS = ("/healthz", "/readyz", "/metrics")  # asked when the server is at its busiest


class Limits:
    """Refuses requests past `most` at a time; those who may not ask count apart.

    A request counts while the server works on it: not while its client still sends it or reads the
    answer, so that nobody holds a place by sending slowly or not reading. `retry_after` says how
    many seconds a refused request should wait.
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
            why = f"{self._most} requests are being worked on"
            refusal = Refusal("too-busy", why=why, retry_after=self._retry_after())
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
