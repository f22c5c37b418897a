"""What the server tells of itself: lines of JSON on standard error, and figures for Prometheus.

No picture, no file name, no one's address.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

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


# --- figures -------------------------------------------------------------------------------------

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """The figures of one application: `waiting` pictures and `held` bytes are asked for."""

    def __init__(self, waiting: Callable[[], float], held: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        new: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "candid_requests", "Requests that were answered", ("path", "method", "status"), **new
        )
        self.seconds = Histogram(
            "candid_request_seconds", "Seconds from a request's first line to its answer's end",
            ("path",), buckets=(*_SECONDS, 10, 30), **new,
        )  # fmt: skip
        self.pictures = Counter(
            "candid_pictures", "Pictures: answered, abstained from, or unreadable",
            ("model", "outcome"), **new,
        )  # fmt: skip
        self.labels = Counter(
            "candid_labels", "Of models of several labels: each label answered, or abstained from",
            ("model", "label", "outcome"), **new,
        )  # fmt: skip
        self._of_label: dict[tuple[str, str, str], Counter] = {}
        self.batch_pictures = Histogram(
            "candid_batch_pictures", "Pictures that went through a model together",
            ("model",), buckets=(1, 2, 4, 8, 16, 32, 64, 128), **new,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "candid_batch_seconds", "Seconds to decode and answer one batch",
            ("model",), buckets=_SECONDS, **new,
        )  # fmt: skip
        self.log_capital = Gauge(
            "candid_drift_log_capital",
            "Logarithm of what bets that pictures are unlike the validation pictures made of 1",
            ("model",), **new,
        )  # fmt: skip
        self.drift_alarm = Gauge(
            "candid_drift_alarm", "Whether pictures were found unlike the validation pictures",
            ("model",), **new,
        )  # fmt: skip
        Gauge("candid_waiting_pictures", "Pictures that wait", **new).set_function(waiting)
        Gauge("candid_held_bytes", "Bytes of requests at work", **new).set_function(held)

    def label(self, model: str, label: str, outcome: str) -> None:
        """Count an answer of one of several labels, of which a picture may have many."""
        key = model, label, outcome
        if key not in self._of_label:
            self._of_label[key] = self.labels.labels(*key)
        self._of_label[key].inc()

    def drift(self, model: str, log_capital: float, alarm: bool) -> None:
        """Note how a watch over a model's pictures stands."""
        self.log_capital.labels(model).set(log_capital)
        self.drift_alarm.labels(model).set(alarm)

    def batch(self, model: str, pictures: int, seconds: float) -> None:
        """Note one call of a model."""
        self.batch_pictures.labels(model).observe(pictures)
        self.batch_seconds.labels(model).observe(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
