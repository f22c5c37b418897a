"""What the server counts, for Prometheus to fetch."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The figures of one application."""

    def __init__(self, waiting: Callable[[], float], held: Callable[[], float]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "candid_requests",
            "Requests that were answered",
            ("path", "method", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "candid_request_seconds",
            "Seconds from a request's first line to its answer's end",
            ("path",),
            registry=registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
        )
        self.pictures = Counter(
            "candid_pictures",
            "Pictures: answered, abstained from, or unreadable",
            ("model", "outcome"),
            registry=registry,
        )
        self.batch_pictures = Histogram(
            "candid_batch_pictures",
            "Pictures that went through a model together",
            ("model",),
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
        )
        self.batch_seconds = Histogram(
            "candid_batch_seconds",
            "Seconds to decode and answer one batch",
            ("model",),
            registry=registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
        )
        Gauge("candid_waiting_pictures", "Pictures that wait", registry=registry).set_function(
            waiting
        )
        Gauge("candid_held_bytes", "Bytes of requests at work", registry=registry).set_function(
            held
        )

    def batch(self, model: str, pictures: int, seconds: float) -> None:
        """Note one call of a model."""
        self.batch_pictures.labels(model).observe(pictures)
        self.batch_seconds.labels(model).observe(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
