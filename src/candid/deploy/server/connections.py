"""Connections that send a request's first lines too slowly are closed.

uvicorn waits for them as long as the client likes, so a few clients that send a byte a minute would
hold every connection there is. Bodies have a limit of their own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


def punctual(seconds: float) -> type[asyncio.Protocol]:
    """Uvicorn's protocol, with so many seconds from a request's first byte to its body."""

    class Punctual(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: Any) -> None:
            self._patience: asyncio.TimerHandle | None = None
            super().connection_made(transport)
            self._expect()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._expect()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._patience is not None:
                self._patience.cancel()
            super().connection_lost(exc)

        def _expect(self) -> None:
            """Start the clock where a request is still to come, stop it where it has begun."""
            begun = self.cycle is not None and not self.cycle.response_complete
            if begun and self._patience is not None:
                self._patience.cancel()
                self._patience = None
            elif not begun and self._patience is None:
                loop = asyncio.get_running_loop()
                self._patience = loop.call_later(seconds, self.transport.close)

    return Punctual
