"""A loss and an augmentation of the user's own, by name: `package.module:function`.

As with a network of one's own (`candid.settings.named_parts`), to use one is to run its code: what
the user names is imported, what stands in a run's folder only where it is trusted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from candid.errors import ConfigError
from candid.settings import Config
from candid.settings.named_parts import named_in, trusted_part

# (batch, classes) logits and (batch,) classes in, (batch,) losses out.
EachLoss = Callable[[Tensor, Tensor], Tensor]


def check_parts(config: Config) -> None:
    """Raise a ConfigError where a part that the settings name is not trusted, or not there.

    Asked before a run has a folder: what is named wrongly leaves none behind.
    """
    what = {"network": "The network", "train": "The loss", "augment": "The augmentation"}
    for section, name in named_in(config).items():
        trusted_part(name, what[section])


def own_loss(name: str) -> EachLoss:
    """The loss of each image that a name means; of what it gives the shape is checked.

    Raises
    ------
    ConfigError
        Where nobody trusted the name, or there is no such function; later, where it gives something
        else than a loss for each image.
    """
    function = trusted_part(name, "The loss")

    def each(output: Tensor, labels: Tensor) -> Tensor:
        found = function(output, labels)
        if not isinstance(found, Tensor) or found.shape != labels.shape:
            raise _wrong(name, "the loss of each image, (batch,), not their mean", found)
        return found

    return each


def own_augmentation(name: str, images: Tensor, generator: torch.Generator) -> Tensor:
    """(batch, 3, side, side) images of a training batch as the function that a name means has them.

    Raises
    ------
    ConfigError
        As `own_loss`.
    """
    found = trusted_part(name, "The augmentation")(images, generator)
    if not isinstance(found, Tensor) or (found.shape, found.device) != (
        images.shape,
        images.device,
    ):
        raise _wrong(name, "images of the same shape, on the same device", found)
    return found.to(images.dtype)


def _wrong(name: str, expected: str, found: object) -> ConfigError:
    shape = f" of the shape {tuple(found.shape)}" if isinstance(found, Tensor) else ""
    return ConfigError(
        f"{name} gives a {type(found).__name__}{shape}.", expected=expected, todo="return that"
    )
