"""Settings of the network: a small dataclass for each, told apart by their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from candid.errors import ConfigError
from candid.settings.bounds import setting, without_unused


def _name(name: str) -> Any:
    explanation = "which network; own: a module that Python handed in; or package.module:function"
    return setting(name, explanation)


def _width() -> Any:
    explanation = "deep, vit: channels of the first stage, or of a token; 0: the network's own"
    return setting(0, explanation, 0, 1024)


def _depth() -> Any:
    explanation = "deep, vit: residual blocks per stage, or of attention; 0: the network's own"
    return setting(0, explanation, 0, 32)


FACE = "face"  # a window: where the face lies, as the training pictures show
AUTO = "auto"  # the smallest window that is found to tell the labels as well as the whole does


def window_edges(window: str) -> tuple[float, ...]:
    """Left, top, right and bottom of a window; () for the whole image."""
    return tuple(float(edge) for edge in window.split())


def _is_window(words: str) -> bool:
    try:
        left, top, right, bottom = window_edges(words)
    except ValueError:
        return False
    return 0 <= left <= right - 0.1 <= 0.9 and 0 <= top <= bottom - 0.1 <= 0.9


@dataclass(frozen=True)
class PlainConfig:
    """The network."""

    name: Literal["plain"] = _name("plain")


@dataclass(frozen=True)
class DeepConfig:
    """The network."""

    name: Literal["deep"] = _name("deep")
    width: int = _width()
    depth: int = _depth()
    ensemble_size: int = setting(
        1, "deep: networks that share each batch and answer together", 1, 16
    )
    window: str = setting(
        AUTO,
        "deep: the part of the pictures that it sees: left, top, right and bottom, from 0 to 1, "
        'such as "0.2 0.35 0.8 0.85"; face: where aligned training pictures are alike; auto: the '
        "face, with its forehead or without, where a short training tells all labels from it as "
        "well as from the whole; empty: the whole",
        off="",
    )

    def __post_init__(self) -> None:
        """Raises ConfigError for a window that is none."""
        if self.window and not self.finds_window and not _is_window(self.window):
            raise ConfigError(
                f"network.window = {self.window!r} is not possible.",
                expected="left, top, right and bottom, from 0 to 1, of a part at least 0.1 wide "
                'and high, such as "0.2 0.35 0.8 0.85"; face; auto; or nothing for all of it',
                todo="set network.window, or leave it out",
            )

    @property
    def finds_window(self) -> bool:
        """Whether the training images decide what it sees."""
        return self.window in (FACE, AUTO)

    __repr__ = without_unused


@dataclass(frozen=True)
class ViTConfig:
    """The network."""

    name: Literal["vit"] = _name("vit")
    width: int = _width()
    depth: int = _depth()
    drop_path: float = setting(0.1, "vit: how often the last block is passed by", 0, 0.9)


@dataclass(frozen=True)
class FeaturesConfig:
    """The network."""

    name: Literal["features"] = _name("features")
    features: Literal["hog", "eigenfaces", "both"] = setting(
        "both", "features: histograms of oriented gradients, eigenfaces, or both side by side"
    )
    classifier: Literal["logistic", "svm"] = setting(
        "logistic", "features: logistic regression, or a linear support vector machine"
    )
    components: int = setting(400, "features: how many eigenfaces", 1, 6000)
    cell: int = setting(8, "features: pixels per side of the cells of gradients", 2, 512)


@dataclass(frozen=True)
class TimmConfig:
    """The network."""

    name: Literal["timm"] = _name("timm")
    model: str = setting("", "timm: the name of the model in that library")
    pretrained: bool = setting(
        False,
        "timm: begin with the weights that timm has for the model, which it fetches where they are "
        "not there; the last layer begins anew",
        off=False,
    )

    __repr__ = without_unused


@dataclass(frozen=True)
class OwnConfig:
    """The network."""

    name: Literal["own"] = _name("own")
    module: str = setting("", "own: package.module:function that builds it; empty: handed in")


NetworkConfig = PlainConfig | DeepConfig | ViTConfig | FeaturesConfig | TimmConfig | OwnConfig
NETWORKS: dict[str, type[NetworkConfig]] = {
    kind().name: kind
    for kind in (PlainConfig, DeepConfig, ViTConfig, FeaturesConfig, TimmConfig, OwnConfig)
}


def ensemble_size(network: NetworkConfig) -> int:
    """How many networks share each batch and answer together."""
    return network.ensemble_size if isinstance(network, DeepConfig) else 1
