"""Authorisation: by the key, and for the page by a cookie.

The cookie is HTTP-only and not the key itself, as cookies are sent to every port of a machine.
"""

from __future__ import annotations

import hmac

from fastapi.responses import Response
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from candid.serving.refusals import Refusal

_PROBLEM = "candid.unauthorised"  # in a scope: the reason, or ""


class Authorisation:
    """Middleware that checks the key; `require` refuses at endpoints that need it.

    Clients send `key` as `Authorization: Bearer KEY` or `X-API-Key: KEY`; "": no key is needed.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, key.encode()
        self._cookie = dict([_cookie(key)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, with the result of the check in its scope."""
        if scope["type"] == "http":
            scope[_PROBLEM] = self._problem(scope) if self._key else ""
        await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> str:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
        key = bearer if scheme.lower() == b"bearer" else b""
        key = key or headers.get(b"x-api-key", b"")
        if key:
            return "" if hmac.compare_digest(key, self._key) else "wrong-key"
        cookies = cookie_parser(headers.get(b"cookie", b"").decode("latin-1"))
        ((name, token),) = self._cookie.items()
        is_valid = hmac.compare_digest(cookies.get(name, "").encode(), token.encode())
        is_safe = scope["method"] == "GET" or _is_same_origin(headers)
        return "" if is_valid and is_safe else "no-key"


def is_authorised(scope: Scope) -> bool:
    """Whether the request is authorised."""
    return not scope.get(_PROBLEM)


def require(scope: Scope) -> None:
    """Raise a Refusal 401 for an unauthorised request."""
    problem = scope.get(_PROBLEM)
    if problem:
        raise Refusal(problem)


def set_cookie(response: Response, scope: Scope, key: str) -> None:
    """Set the session cookie that stands for the key."""
    name, token = _cookie(key)
    path = scope.get("root_path") or "/"
    response.set_cookie(name, token, path=path, httponly=True, samesite="strict")


def _cookie(key: str) -> tuple[str, str]:
    """Name and value; the name depends on the key, for servers on other ports."""
    digest = hmac.new(key.encode(), b"candid page", "sha256").hexdigest()
    return f"candid-{digest[:8]}", digest[8:]


def _is_same_origin(headers: dict[bytes, bytes]) -> bool:
    """Whether the server's own page sent a request; cookies come from other ports' pages, too."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    return headers.get(b"origin", b"").partition(b"://")[2] == headers.get(b"host") != b""
