"""Processes that Ctrl+C does not reach: it reaches the one that started them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Start processes here that never see SIGINT, from their first instruction on.

    A handler of their own would come too late: they import for a second before they could set it.
    A blocked signal stays blocked in what is started meanwhile; here it comes when the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
