"""Settings of what is done with a model, and of the search for its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from candid.errors import ConfigError
from candid.settings.bounds import LARGEST_SEED, MOST_PIXELS, setting, without_unused


@dataclass(frozen=True, slots=True)
class PredictConfig:
    """When the model does not answer."""

    target_error: float = setting(
        0.01,
        "answer only where the audit promises at most this share of wrong answers; 0: always",
        0,
        0.5,
    )
    coverage: float = setting(
        0.9,
        "of a number: the share of true values that its intervals are made to hold",
        0.5,
        0.99,
    )
    coverage_by: Literal["all", "range"] = setting(
        "all",
        "of a number: whether its intervals are made to hold that share of all true values "
        "together, or of those in every range of the true value, for which they may be wider",
        off="all",
    )
    false_alarms: float = setting(
        0.01,
        "share of pictures like the validation pictures that may be flagged as unlike the "
        "training data",
        0.0001,
        0.5,
    )

    __repr__ = without_unused


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """The server: where it listens, how it batches, what it takes in at most."""

    host: str = setting("127.0.0.1", "the address to listen on; 0.0.0.0: everyone who reaches it")
    port: int = setting(8000, "the port; 0: any that is free", 0, 65535)
    hosts: tuple[str, ...] = setting(
        (), "names that it may be called by; empty: localhost where it listens there, else any"
    )
    origins: tuple[str, ...] = setting(
        (), "web pages from elsewhere that may ask it (CORS): https://example.org"
    )
    key_file: str = setting(
        "", "a file with the key that requests must carry; empty: $CANDID_API_KEY, or no key"
    )
    engine: Literal["auto", "onnx", "int8", "torch"] = setting(
        "auto", "what computes: onnx, int8 (which candid export --int8 made), torch, or auto"
    )
    batch: int = setting(32, "most pictures that go through a model together", 1, 4096)
    wait_milliseconds: float = setting(
        2.0, "how long a picture waits for company while nothing else is computed", 0, 1e4
    )
    queue: int = setting(512, "most pictures that are decoded or wait; more are refused", 1, 10**6)
    workers: int = setting(1, "batches that are computed at the same time", 1, 64)
    threads: int = setting(0, "processor threads of one batch; 0: one per core", 0, 1024)
    decoders: int = setting(0, "threads to decode large pictures; 0: one per core", 0, 256)
    timeout: float = setting(30.0, "seconds for a request, and for a stop", 0.05, 3600)
    connections: int = setting(256, "most requests that are worked on; more are refused", 1, 65_536)
    max_images: int = setting(64, "most pictures in a request", 1, 10**6)
    max_bytes: int = setting(20_000_000, "most bytes in a request", 1, 10**12)
    max_memory: int = setting(
        200_000_000,
        "most bytes of all requests that are worked on (more are refused), and most that decoding "
        "their pictures takes at a time (others wait; one that needs more is refused)",
        1,
        10**12,
    )
    max_pixels: int = setting(
        50_000_000, "a picture that claims more pixels is refused", 1, MOST_PIXELS
    )
    explain_queue: int = setting(8, "most pictures that wait for a map; 0: no maps", 0, 10**6)
    drift: bool = setting(
        True, "say so, and promise nothing more, once pictures are unlike the validation pictures"
    )

    def __post_init__(self) -> None:
        for larger, smaller in (("queue", "max_images"), ("max_memory", "max_bytes")):
            if getattr(self, larger) < getattr(self, smaller):
                raise ConfigError(
                    f"serve.{larger} = {getattr(self, larger)} is below "
                    f"serve.{smaller} = {getattr(self, smaller)}.",
                    expected="room for at least one request",
                    todo=f"set serve.{larger} or serve.{smaller}",
                )


@dataclass(frozen=True, slots=True)
class ReportConfig:
    """What the report holds."""

    model: Literal["on", "off"] = setting(
        "on", "the model itself, so that a reader can try it on a picture; off: left out"
    )


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """The search over settings."""

    trials: int = setting(20, "settings to try, by all processes together", 1, 10**6)
    minutes: float = setting(
        0.0,
        "begin no trial after so many minutes; the last one and the finals come on top; 0: any",
        0,
        10**6,
    )
    images: int = setting(
        0,
        "begin no trial once so many images went through training, in all trials; 0: any",
        0,
        10**15,
    )
    search: tuple[str, ...] = setting(
        (), "what is searched: train.learning_rate=1e-4..1e-2, …; empty: the usual settings"
    )
    sampler: Literal["tpe", "random"] = setting(
        "tpe", "how settings are suggested: by a tree-structured Parzen estimator, or at random"
    )
    startup: int = setting(
        6, "trials at random before the estimator suggests, and before any is pruned", 1, 10**6
    )
    pruner: Literal["median", "halving", "none"] = setting(
        "median",
        "which trials are stopped early: those below the median at the same evaluation, those that "
        "successive halving drops, or none",
    )
    finalists: int = setting(
        2,
        "the best trials that are repeated with fresh seeds, beside the start's settings",
        1,
        1000,
    )
    seeds: int = setting(3, "fresh seeds for each finalist; 0: the best single trial wins", 0, 100)
    seed: int = setting(0, "seed of the suggestions", 0, LARGEST_SEED)
