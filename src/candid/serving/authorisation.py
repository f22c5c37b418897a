"""Who may ask: clients that carry the key, and the page by a cookie that stands for it.

No script sees the cookie, and it is not the key: cookies go to every port of a machine.
"""

from __future__ import annotations

import hmac

from fastapi.responses import Response
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from candid.serving.refusals import Refusal

_PROBLEM = "candid.unauthorised"  # of a scope: why, or ""


class Authorisation:
    """Middleware that finds out who may ask; `require` refuses, at the addresses that need it.

    Clients carry `key` as `Authorization: Bearer KEY` or `X-API-Key: KEY`; "": all may ask.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, key.encode()
        self._cookie = dict([_cookie(key)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on with a note of whether it may ask."""
        if scope["type"] == "http":
            scope[_PROBLEM] = self._problem(scope) if self._key else ""
        await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> str:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
        given = bearer if scheme.lower() == b"bearer" else b""
        given = given or headers.get(b"x-api-key", b"")
        if given:
            return "" if hmac.compare_digest(given, self._key) else "wrong-key"
        cookies = cookie_parser(headers.get(b"cookie", b"").decode("latin-1"))
        ((name, token),) = self._cookie.items()
        known = hmac.compare_digest(cookies.get(name, "").encode(), token.encode())
        return "" if known and (scope["method"] == "GET" or _by_own_page(headers)) else "no-key"


def is_authorised(scope: Scope) -> bool:
    """Whether the request may ask."""
    return not scope.get(_PROBLEM)


def require(scope: Scope) -> None:
    """Refuse a request that may not ask.

    Raises Refusal 401.
    """
    problem = scope.get(_PROBLEM)
    if problem:
        raise Refusal(problem)


def keep(response: Response, scope: Scope, key: str) -> None:
    """Give the browser the cookie that stands for the key, until it is closed."""
    name, token = _cookie(key)
    path = scope.get("root_path") or "/"
    response.set_cookie(name, token, path=path, httponly=True, samesite="strict")


def _cookie(key: str) -> tuple[str, str]:
    """Name and value; servers with other keys on other ports have other names."""
    digest = hmac.new(key.encode(), b"candid page", "sha256").hexdigest()
    return f"candid-{digest[:8]}", digest[8:]


def _by_own_page(headers: dict[bytes, bytes]) -> bool:
    """Browsers say which page asks; cookies come with what a page of another port sends, too."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    return headers.get(b"origin", b"").partition(b"://")[2] == headers.get(b"host") != b""
