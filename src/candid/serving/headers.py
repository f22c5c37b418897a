"""Headers that keep browsers from doing more with an answer than it is for."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    # Whatever an answer holds, it is not a page that may run or load anything.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_RAW = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]


class SecurityHeaders:
    """Middleware that adds the headers that an answer does not set for itself.

    Parameters
    ----------
    app
        What comes behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and its answer with more headers back."""

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                own = {name for name, _ in headers}
                message["headers"] = headers + [pair for pair in _RAW if pair[0] not in own]
            await send(message)

        await self._app(scope, receive, adding)
