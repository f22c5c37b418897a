"""Classical features: HOG and eigenfaces, with a linear classifier.

Extraction is fixed (histograms of oriented gradients) or learned without labels (principal
components of the pixels); scikit-learn fits the classifier (`candid.training.fitting`). The result
is a module like any network: the same commands, the same weights file, and gradients back to the
pixels. HOG is written in torch for that reason; the tests compare it with scikit-image's `hog`.

N. Dalal and B. Triggs, "Histograms of oriented gradients for human detection", CVPR 2005.
M. Turk and A. Pentland, "Eigenfaces for recognition", 1991.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candid.config import section_settings
from candid.errors import ConfigError
from candid.settings.network import FeaturesConfig

# --- extraction ----------------------------------------------------------------------------------


class Hog(nn.Module):
    """Histograms of oriented gradients: the strength of edges by direction and place.

    At every pixel the colour channel with the strongest gradient counts. Its length goes into one
    of `orientations` equal parts of 180 degrees, averaged over cells of `cell` × `cell` pixels;
    every block of `block` × `block` cells is normalised by L2-Hys. The order of the features and
    every detail are those of `skimage.feature.hog`. It holds no parameters. Raises ConfigError
    where the image is smaller than one block.
    """

    def __init__(self, side: int, *, cell: int = 8, block: int = 2, orientations: int = 9) -> None:
        super().__init__()
        blocks = side // cell - block + 1
        if blocks < 1:
            raise ConfigError(
                f"Histograms of gradients need images larger than {side} pixels per side.",
                expected=f"at least {cell * block}: {block} cells of {cell} pixels",
                todo="set data.side, or network.features=eigenfaces",
            )
        self.cell, self.block, self.orientations = cell, block, orientations
        self.length = (blocks * block) ** 2 * orientations

    def extra_repr(self) -> str:
        """The settings, for the report."""
        return f"cell={self.cell}, block={self.block}, orientations={self.orientations}"

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, side, side) → (batch, blocks² · block² · orientations)."""
        down, right = self._max_gradient(images)  # each (batch, side, side)
        square = down.square() + right.square()
        # The root has no derivative at 0, which flat regions have.
        length = torch.where(square > 0, square.clamp_min(1e-30).sqrt(), torch.zeros_like(square))
        cells = self._cells(length, self._bins(down, right))
        return self._blocks(cells).flatten(1)

    @staticmethod
    def _max_gradient(images: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of the channel with the longest one; 0 at the outer pixels."""
        down = F.pad(images[:, :, 2:] - images[:, :, :-2], (0, 0, 1, 1))
        right = F.pad(images[:, :, :, 2:] - images[:, :, :, :-2], (1, 1, 0, 0))
        square = down.square() + right.square()
        best_down, best_right, best = down[:, 0], right[:, 0], square[:, 0]
        for channel in range(1, images.shape[1]):
            longer = square[:, channel] > best
            best_down = torch.where(longer, down[:, channel], best_down)
            best_right = torch.where(longer, right[:, channel], best_right)
            best = torch.where(longer, square[:, channel], best)
        return best_down, best_right

    def _bins(self, down: Tensor, right: Tensor) -> Tensor:
        """The part of the half circle that each direction lies in, without an arc tangent.

        Opposite directions are the same. The bin is the number of borders between parts with which
        a direction has a positive cross product.
        """
        upper = (down > 0) | ((down == 0) & (right >= 0))
        down, right = torch.where(upper, down, -down), torch.where(upper, right, -right)
        bins = torch.zeros_like(down)
        for k in range(1, self.orientations):
            angle = math.pi * k / self.orientations
            bins = bins + (down * math.cos(angle) >= right * math.sin(angle)).to(down.dtype)
        return bins

    def _cells(self, length: Tensor, bins: Tensor) -> Tensor:
        """(batch, orientations, cells, cells): mean length per direction in every cell."""
        parts = [
            torch.where(bins == k, length, torch.zeros_like(length))
            for k in range(self.orientations)
        ]
        return F.avg_pool2d(torch.stack(parts, dim=1), self.cell)

    def _blocks(self, cells: Tensor) -> Tensor:
        """(batch, blocks, blocks, block, block, orientations), normalised by L2-Hys."""
        tiles = cells.unfold(2, self.block, 1).unfold(3, self.block, 1)
        tiles = tiles.permute(0, 2, 3, 4, 5, 1)
        tiles = _unit(tiles).clamp_max(0.2)
        return _unit(tiles)


def _unit(blocks: Tensor) -> Tensor:
    """Every block divided by its length; scikit-image's constant keeps empty ones at 0."""
    return blocks / (blocks.square().sum((3, 4, 5), keepdim=True) + 1e-10).sqrt()


# --- the module ----------------------------------------------------------------------------------


class Features(nn.Module):
    """Fixed features and a linear classifier, as a network.

    Before `fit`, its weights are zeros and all classes equally probable. Features are "hog",
    "eigenfaces" (the pixels' principal `components`), or "both", concatenated; the classifier is
    "logistic" regression or "svm", a linear support vector machine whose margins become
    probabilities by Platt's sigmoid. Raises a ConfigError for another word, or for images too small
    for the features.
    """

    def __init__(
        self,
        side: int,
        n_classes: int,
        *,
        features: str = "both",
        classifier: str = "logistic",
        components: int = 400,
        cell: int = 8,
    ) -> None:
        super().__init__()
        for name, word in (("features", features), ("classifier", classifier)):
            section_settings(FeaturesConfig)[name].checked(f"network.{name}", word)
        pixels = 3 * side * side
        if features != "hog" and components > pixels:
            raise ConfigError(
                f"{components} eigenfaces are more than {side} × {side} pixels have.",
                expected=f"at most {pixels}",
                todo="set network.components",
            )
        self.classifier = classifier
        self.hog = Hog(side, cell=cell) if features != "eigenfaces" else None
        self.eigenfaces = None if features == "hog" else _zeros(pixels, components)
        length = 0 if self.hog is None else self.hog.length
        length += 0 if self.eigenfaces is None else components
        self.head = _zeros(length, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of normalised images (batch, 3, side, side)."""
        # Always in float32, as scikit-learn fitted it, and little time is to be saved.
        with torch.autocast(images.device.type, enabled=False):
            margins: Tensor = self.head(self.extract(images.float()))
        if self.classifier == "svm":
            # Each class against the rest: the softmax of these divides the sigmoids by their sum.
            return F.logsigmoid(margins)
        return margins

    def extract(self, images: Tensor) -> Tensor:
        """(batch, features) of normalised images (batch, 3, side, side)."""
        parts = [] if self.hog is None else [self.hog(images)]
        if self.eigenfaces is not None:
            parts.append(self.eigenfaces(images.flatten(1)))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
