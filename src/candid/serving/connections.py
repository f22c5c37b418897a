"""Connections on which the server waits for its client too long are closed.

uvicorn waits as long as the client likes, for a request's first lines and until an answer is read,
so a few clients that send a byte a minute, or do not read, would hold every connection there is.
Bodies have a limit of their own. And where all connections are taken, a new one gets the place of
one that waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from candid.serving.authorisation import is_authorised
from candid.settings import ServeConfig

_PIPELINED = 100  # requests that a client may send before the first is answered


def most_connections(config: ServeConfig) -> int:
    """Connections that are open at a time: as many that wait as are worked on."""
    return 2 * config.connections


class Punctual(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Uvicorn's protocol that waits for its client so many seconds and no longer.

    One server's connections are of one subclass, as `punctual` makes it.
    """

    seconds: float
    most: int
    waiting: dict[Punctual, None]  # of this server, the longest first

    def connection_made(self, transport: Any) -> None:
        """Begin to wait; past `most` connections one of those that wait has to go."""
        self._patience: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        if len(self.connections) > self.most:
            _first_to_go(self.waiting, self).abort()
        self._look()

    def data_received(self, data: bytes) -> None:
        """See whether a request is whole now."""
        super().data_received(data)
        self._look()

    def pause_writing(self) -> None:
        """Wait for a client that does not read."""
        super().pause_writing()
        self._look()

    def resume_writing(self) -> None:
        """See whether all is read now."""
        super().resume_writing()
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request; an answer that is under way ends where it is."""
        if self.cycle is None or self.cycle.response_complete:
            super().send_400_response(msg)
            return
        self.cycle.disconnected = True  # or the application would answer after the refusal
        self.cycle.message_event.set()
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        self._stop_waiting()
        self.transport.abort()

    @property
    def is_stranger(self) -> bool:
        """Whether its last request might not ask."""
        return self.cycle is not None and not is_authorised(self.cycle.scope)

    def _look(self) -> None:
        """Start the clock where the client has to do something, stop it where it has."""
        waits = self.flow.write_paused or self.cycle is None or self.cycle.response_complete
        if len(getattr(self, "pipeline", ())) > _PIPELINED:  # of httptools; h11 keeps none
            self.abort()
        elif not waits:
            self._stop_waiting()
        elif self._patience is None:
            self.waiting[self] = None
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(self.seconds, self._hang_up)

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _hang_up(self) -> None:
        closes = self.transport.is_closing()
        self._stop_waiting()
        if self.flow.write_paused or closes:
            self.transport.abort()
        else:
            self.transport.close()  # waits for its reader, too: so look again
            self._look()


def punctual(config: ServeConfig) -> type[asyncio.Protocol]:
    """The protocol of one server, which waits for `config.timeout` seconds and no longer."""
    limits = {"seconds": config.timeout, "most": most_connections(config), "waiting": {}}
    return type("Punctual", (Punctual,), limits)


def _first_to_go(waiting: dict[Any, None], new: Any) -> Any:
    """Whose place a new one gets: a stranger's first, then one of the address with the most."""

    def address(connection: Any) -> str:
        return connection.client[0] if connection.client else ""

    crowd = Counter(map(address, waiting))
    rank = lambda c: (not c.is_stranger, -crowd[address(c)])  # noqa: E731
    return min(waiting, key=rank, default=new)  # of equals the one that waits longest
