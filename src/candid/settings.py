"""Every setting, its default, and the sentence that explains it: one frozen dataclass per stage."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from candid.errors import ConfigError

_LARGEST_SEED = 2**32 - 1  # what every generator of random numbers takes


def setting(
    default: Any,
    explanation: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its explanation and the values that it may take."""
    about = {"explanation": explanation, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which images, and how they become an array."""

    target: str = setting("", "the label to learn; empty: the layout's own")
    layout: str = setting("", "how the data lies on disk; empty: recognised")
    side: int = setting(64, "pixels per side of the square that the network sees", low=8, high=1024)
    fit: str = setting(
        "stretch",
        "how a picture becomes a square: stretch it, crop its centre, or pad it with its mean",
        choices=("stretch", "crop", "pad"),
    )
    attributes: tuple[str, ...] = setting((), "the attributes to audit; empty: every other column")
    path_column: str = setting("", "table: the column with the paths; empty: recognised")
    split_column: str = setting("", "table: the column with the splits; empty: recognised")
    identity_column: str = setting("", "table: the column that says who it is; empty: recognised")
    validation_share: float = setting(
        0.1,
        "share of people (or images) for validation, where the data has no split",
        low=0,
        high=0.9,
    )
    test_share: float = setting(
        0.1, "share of people (or images) for test, where the data has no split", low=0, high=0.9
    )
    max_bad_share: float = setting(
        0.05, "more unreadable images than this share of all is an error", low=0, high=1
    )
    max_pixels: int = setting(
        100_000_000, "an image that claims more pixels than this is listed as bad", low=1
    )
    workers: int = setting(0, "processes that decode images; 0: one per core", low=0)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The network."""

    name: str = setting("plain", "which network", choices=("plain",))


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """What happens to every image of every training batch anew."""

    flip: float = setting(0.5, "probability of a horizontal flip", low=0, high=1)
    rotation_degrees: float = setting(5.0, "largest rotation either way", low=0, high=180)
    rotation: float = setting(1.0, "probability of a rotation", low=0, high=1)
    perspective_shift: float = setting(
        0.05, "largest move of a corner, as a share of half the side", low=0, high=0.9
    )
    perspective: float = setting(0.5, "probability of a perspective change", low=0, high=1)
    erase: float = setting(0.5, "probability that each patch is erased", low=0, high=1)
    erase_patches: int = setting(1, "patches per image", low=0, high=64)
    erase_smallest: float = setting(0.02, "smallest patch, as a share of the image", low=0, high=1)
    erase_largest: float = setting(0.05, "largest patch, as a share of the image", low=0, high=1)

    def __post_init__(self) -> None:
        if self.erase_smallest > self.erase_largest:
            raise ConfigError(
                f"augment.erase_smallest = {self.erase_smallest} is above "
                f"augment.erase_largest = {self.erase_largest}.",
                expected="the smallest patch no larger than the largest",
                todo="set both",
            )


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The training loop."""

    steps: int = setting(635, "batches to train on", low=1)
    batch_size: int = setting(256, "images per batch", low=1)
    optimizer: str = setting("adam", "the optimiser", choices=("adam",))
    learning_rate: float = setting(1e-3, "learning rate", low=0)
    class_weights: str = setting(
        "inverse",
        "weights of the loss: inverse class frequency in train, or none",
        choices=("inverse", "none"),
    )
    evaluations: int = setting(
        20, "how often, evenly spread, the whole validation set is measured", low=1
    )
    checkpoints: int = setting(20, "how often, evenly spread, the state is saved", low=0)
    keep: str = setting(
        "best",
        "which weights the model has: of the best validation F1, or the last",
        choices=("best", "last"),
    )
    precision: str = setting(
        "auto",
        "arithmetic: float32, bfloat16 with float32 weights, or auto: bfloat16 where the "
        "processor has instructions for it",
        choices=("auto", "float32", "bfloat16"),
    )
    device: str = setting("auto", "auto, cpu, cuda, or one of several: cuda:1")
    threads: int = setting(0, "processor threads; 0: one per core", low=0)
    seed: int = setting(0, "the same seed gives the same result", low=0, high=_LARGEST_SEED)


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Figures and their intervals."""

    draws: int = setting(1000, "bootstrap draws", low=50)
    confidence: float = setting(0.95, "confidence of every interval", low=0.5, high=0.999)
    reliability_bins: int = setting(15, "bins of the reliability diagram", low=2, high=100)
    examples: int = setting(24, "surest mistakes and least sure images to keep", low=0, high=500)
    seed: int = setting(0, "seed of the draws", low=0, high=_LARGEST_SEED)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
