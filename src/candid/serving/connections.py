"""Closes connections whose clients are too slow.

uvicorn has no timeout for a request's headers, nor for reading a response, so a few slow clients
could hold all connections. Bodies have their own timeout. Where all connections are in use, a new
one replaces one that waits for its client.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from candid.serving.authorisation import is_authorised
from candid.settings import ServeConfig

_PIPELINED = 100  # requests that a client may send before the first is answered


def max_connections(config: ServeConfig) -> int:
    """The limit of open connections: as many that wait as have active requests."""
    return 2 * config.connections


class TimeoutProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Uvicorn's protocol with a timeout for its client.

    Each server has its own subclass, made by `timeout_protocol`.
    """

    seconds: float
    most: int
    waiting: dict[TimeoutProtocol, None]  # of this server, the longest first

    def connection_made(self, transport: Any) -> None:
        """Start the timer; above `most` connections, close one that waits."""
        self._timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        if len(self.connections) > self.most:
            _pick_victim(self.waiting, self).abort()
        self._update_timer()

    def data_received(self, data: bytes) -> None:
        """Stop the timer if the request is complete."""
        super().data_received(data)
        self._update_timer()

    def pause_writing(self) -> None:
        """Start the timer, as the client does not read."""
        super().pause_writing()
        self._update_timer()

    def resume_writing(self) -> None:
        """Stop the timer if all is read."""
        super().resume_writing()
        self._update_timer()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._update_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse an invalid request; a response in progress is cut off."""
        if self.cycle is None or self.cycle.response_complete:
            super().send_400_response(msg)
            return
        self.cycle.disconnected = True  # or the application would answer after the refusal
        self.cycle.message_event.set()
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close at once, without sending the rest."""
        self._stop_waiting()
        self.transport.abort()

    @property
    def is_unauthorised(self) -> bool:
        """Whether its last request was unauthorised."""
        return self.cycle is not None and not is_authorised(self.cycle.scope)

    def _update_timer(self) -> None:
        """Start the timer while the server waits for the client, and stop it otherwise."""
        is_waiting = self.flow.write_paused or self.cycle is None or self.cycle.response_complete
        if len(getattr(self, "pipeline", ())) > _PIPELINED:  # of httptools; h11 keeps none
            self.abort()
        elif not is_waiting:
            self._stop_waiting()
        elif self._timer is None:
            self.waiting[self] = None
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.seconds, self._close_idle)

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_idle(self) -> None:
        is_closing = self.transport.is_closing()
        self._stop_waiting()
        if self.flow.write_paused or is_closing:
            self.transport.abort()
        else:
            self.transport.close()  # waits for its reader, too
            self._update_timer()


def timeout_protocol(config: ServeConfig) -> type[asyncio.Protocol]:
    """The protocol of a server, with a timeout of `config.timeout` seconds."""
    limits = {"seconds": config.timeout, "most": max_connections(config), "waiting": {}}
    return type("TimeoutProtocol", (TimeoutProtocol,), limits)


def _pick_victim(waiting: dict[Any, None], new: Any) -> Any:
    """The connection to close: unauthorised first, then from the address with the most."""

    def address(connection: Any) -> str:
        return connection.client[0] if connection.client else ""

    counts = Counter(map(address, waiting))
    rank = lambda c: (not c.is_unauthorised, -counts[address(c)])  # noqa: E731
    return min(waiting, key=rank, default=new)  # of equals the one that waits longest
