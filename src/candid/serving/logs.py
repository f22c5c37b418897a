"""One line of JSON per event on standard error: no picture, no file name, no one's address."""

from __future__ import annotations

import datetime
import json
import logging
import sys

LOGGER = logging.getLogger("candid.serve")


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def log(event: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Write one line."""
    LOGGER.log(level, event, extra={"fields": fields})


def start_logging(quiet: bool) -> None:
    """Send what this server and uvicorn say to standard error; `quiet`: only what is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson())
    for name, level in (
        ("candid.serve", logging.WARNING if quiet else logging.INFO),
        ("uvicorn.error", logging.WARNING),
    ):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
