"""The server's logs, as JSON lines on standard error, and metrics for Prometheus.

Without images, file names and client addresses.
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


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def log(event: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Log an event."""
    LOGGER.log(level, event, extra={"fields": fields})


def start_logging(quiet: bool) -> None:
    """Log this server's and uvicorn's messages to standard error; `quiet`: only warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
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
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """The metrics of an application; `waiting` images and `held` bytes are callbacks."""

    def __init__(self, waiting: Callable[[], float], held: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        new: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "candid_requests", "Requests that were answered", ("path", "method", "status"), **new
        )
        self.seconds = Histogram(
            "candid_request_seconds", "Seconds from a request's first line to its answer's end",
            ("path",), buckets=(*_BUCKETS, 10, 30), **new,
        )  # fmt: skip
        self.pictures = Counter(
            "candid_pictures", "Pictures: answered, abstained from, or unreadable",
            ("model", "outcome"), **new,
        )  # fmt: skip
        self.labels = Counter(
            "candid_labels", "Of models of several labels: each label answered, or abstained from",
            ("model", "label", "outcome"), **new,
        )  # fmt: skip
        self._label_counters: dict[tuple[str, str, str], Counter] = {}
        self.batch_pictures = Histogram(
            "candid_batch_pictures", "Pictures that went through a model together",
            ("model",), buckets=(1, 2, 4, 8, 16, 32, 64, 128), **new,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "candid_batch_seconds", "Seconds to decode and answer one batch",
            ("model",), buckets=_BUCKETS, **new,
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
        """Count an answer of one of several labels, of which an image may have many."""
        key = model, label, outcome
        if key not in self._label_counters:
            self._label_counters[key] = self.labels.labels(*key)
        self._label_counters[key].inc()

    def drift(self, model: str, log_capital: float, alarm: bool) -> None:
        """Record the state of a model's drift watch."""
        self.log_capital.labels(model).set(log_capital)
        self.drift_alarm.labels(model).set(alarm)

    def batch(self, model: str, pictures: int, seconds: float) -> None:
        """Record a call of a model."""
        self.batch_pictures.labels(model).observe(pictures)
        self.batch_seconds.labels(model).observe(seconds)

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self.registry)
