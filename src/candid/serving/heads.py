"""Requests whose head can be read in two ways, or calls the server by a strange name, are refused.

A page elsewhere whose name suddenly leads here (DNS rebinding) still calls the server by that name.
And where a proxy and the server disagree on where a body ends, one client's request is hidden in
another's.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from candid.serving.refusals import Refusal

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")


class Heads:
    """Middleware that refuses such requests.

    Parameters
    ----------
    app
        What comes behind it.
    hosts
        Names that the server may be called by; empty: any.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (self._app if refusal is None else refusal.response())(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if (
            self._hosts
            and host_name(headers.get(b"host", b"").decode("latin-1")) not in self._hosts
        ):
            return Refusal(
                400,
                "strange-host",
                "The server does not go by the name that it was called by.",
                expected="one of: " + ", ".join(self._hosts),
                todo="use that name, or add yours to serve.hosts",
            )
        if b"content-length" in headers and b"transfer-encoding" in headers:
            return Refusal(
                400,
                "two-lengths",
                "The request has both a Content-Length and a Transfer-Encoding.",
                expected="one of the two",
                todo="leave out Content-Length",
            )
        return None


def allowed_hosts(host: str, named: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a server which listens on `host` may be called by; empty: any."""
    if named:
        return (*(name.lower() for name in named), *_LOOPBACK)
    return tuple(dict.fromkeys((host, *_LOOPBACK))) if host in _LOOPBACK else ()


def host_name(header: str) -> str:
    """A Host header without its port or an IPv6 address's brackets; "" where it is not one."""
    found = _HOST.fullmatch(header.lower())
    return "" if found is None else found["address"] or found["name"]
