"""A custom loss and a custom augmentation, by name: `package.module:function`.

As with a custom network (`candid.settings.named_parts`), to use one is to run its code: a name that
the user gives is imported, one in a run's folder only where it is trusted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from candid.errors import ConfigError
from candid.settings import Config
from candid.settings.named_parts import import_trusted_part, list_named_parts

# (batch, classes) logits and (batch,) classes in, (batch,) losses out.
EachLoss = Callable[[Tensor, Tensor], Tensor]


def check_parts(config: Config) -> None:
    """Raise a ConfigError where a part that the settings name is missing or not trusted.

    Called before a run has a folder, so that a wrong name leaves none behind.
    """
    labels = {"network": "The network", "train": "The loss", "augment": "The augmentation"}
    for section, name in list_named_parts(config).items():
        import_trusted_part(name, labels[section])


def own_loss(name: str) -> EachLoss:
    """The named loss per image; the shape of its output is checked.

    Raises ConfigError where the name is not trusted, or there is no such function; when called,
    where it returns anything but a loss for each image.
    """
    function = import_trusted_part(name, "The loss")

    def checked_loss(output: Tensor, labels: Tensor) -> Tensor:
        losses = function(output, labels)
        if not isinstance(losses, Tensor) or losses.shape != labels.shape:
            raise _wrong_output(name, "the loss of each image, (batch,), not their mean", losses)
        return losses

    return checked_loss


def own_augmentation(name: str, images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply the named function to the (batch, 3, side, side) images of a training batch.

    Raises ConfigError as `own_loss` does.
    """
    augmented = import_trusted_part(name, "The augmentation")(images, generator)
    if not isinstance(augmented, Tensor) or (augmented.shape, augmented.device) != (
        images.shape,
        images.device,
    ):
        raise _wrong_output(name, "images of the same shape, on the same device", augmented)
    return augmented.to(images.dtype)


def _wrong_output(name: str, expected: str, result: object) -> ConfigError:
    shape = f" of the shape {tuple(result.shape)}" if isinstance(result, Tensor) else ""
    return ConfigError(
        f"{name} gives a {type(result).__name__}{shape}.", expected=expected, todo="return that"
    )
