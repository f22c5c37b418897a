"""The images that are explained, and what was written about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candid.errors import CandidError
from candid.predictions import Attribute
from candid.stats.bootstrap import known_persons


@dataclass(frozen=True, eq=False)
class Sample:
    """n images and their annotations.

    Attributes
    ----------
    images
        (n, side, side, 3) uint8, or (n, 3, side, side) floats that are normalised already.
    mean, std
        Per channel, of pixels scaled to 0…1: how uint8 images are normalised.
    ids
        (n,) str.
    label
        (n,) index of the class; -1 where nobody annotated the image.
    identity
        (n,) the same number for the same person, -1 unknown; None where nobody knows.
    attributes
        By name.
    """

    images: NDArray[Any]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    ids: NDArray[np.str_]
    label: NDArray[np.int16]
    identity: NDArray[np.int64] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: NDArray[Any]) -> Sample:
        """The same for some of the images."""
        return Sample(
            self.images[rows],
            self.mean,
            self.std,
            self.ids[rows],
            self.label[rows],
            None if self.identity is None else self.identity[rows],
            {name: a[rows] for name, a in self.attributes.items()},
        )

    @property
    def side(self) -> int:
        """Pixels per side."""
        return int(self.images.shape[2])

    @property
    def cluster(self) -> NDArray[np.int64] | None:
        """(n,) the number of the person; None where nobody is known, so images stand alone."""
        return known_persons(self.identity)

    def tensor(self) -> Tensor:
        """(n, 3, side, side) float32, normalised."""
        if self.images.dtype != np.uint8:
            return torch.from_numpy(np.ascontiguousarray(self.images, dtype=np.float32))
        planes = torch.from_numpy(np.ascontiguousarray(self.images.transpose(0, 3, 1, 2))).float()
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.mean, self.std))
        return planes.mul_(1 / (255 * std)).sub_(mean / std)

    def pictures(self) -> NDArray[np.uint8]:
        """(n, side, side, 3) uint8, to be looked at."""
        if self.images.dtype == np.uint8:
            return self.images
        mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        pixels = ((self.images * std + mean) * 255).round().clip(0, 255)
        return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).astype(np.uint8)


def sample_of(
    images: NDArray[Any] | Tensor,
    *,
    label: NDArray[Any] | None,
    identity: NDArray[Any] | None,
    ids: NDArray[Any] | None,
    attributes: Mapping[str, Attribute],
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
) -> Sample:
    """Whatever somebody has, in the one form.

    Raises
    ------
    CandidError
        Where shapes do not fit each other, pixels are not finite, or uint8 images come without what
        normalises them.
    """
    array = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    raw = array.dtype == np.uint8
    channels = array.shape[-1] if raw and array.ndim == 4 else (array.shape[1:2] or (0,))[0]
    square = array.ndim == 4 and array.shape[2] == array.shape[1 if raw else 3]
    if not square or channels != 3 or not len(array) or array.dtype.kind not in "uf":
        raise CandidError(
            f"The images have the shape {array.shape} and the type {array.dtype}.",
            expected="at least one image: uint8 (n, side, side, 3), or normalised floats "
            "(n, 3, side, side)",
            todo="convert them",
        )
    if raw and (mean is None or std is None):
        raise CandidError(
            "The images are uint8, and nothing says how they are normalised.",
            expected="mean and std per channel, of pixels scaled to 0…1",
            todo="pass mean= and std=, or normalised floats",
        )
    if not raw and not np.isfinite(array).all():
        raise CandidError(
            "Some pixels are not finite.", expected="finite numbers", todo="check the images"
        )
    n = len(array)
    given = {"label": label, "identity": identity, "ids": ids}
    given |= {name: a.data for name, a in attributes.items()}
    for name, values in given.items():
        if values is not None and np.shape(values) != (n,):
            raise CandidError(
                f"{name} has the shape {np.shape(values)}, and there are {n} images.",
                expected="one value per image",
                todo=f"pass {name} in the order of the images",
            )
    return Sample(
        array,
        mean or (0.5, 0.5, 0.5),
        std or (0.25, 0.25, 0.25),
        np.arange(n).astype(np.str_) if ids is None else np.asarray(ids, np.str_),
        np.full(n, -1, np.int16) if label is None else np.asarray(label, np.int16),
        None if identity is None else np.asarray(identity, np.int64),
        attributes,
    )
