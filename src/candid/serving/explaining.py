"""Maps of a served model for single images; needs torch."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from candid.errors import ConfigError
from candid.explanation.attribution import saliency_maps
from candid.models.model import load_network
from candid.records import ModelCard
from candid.settings import ExplainConfig


class Explainer:
    """Makes maps of one model, one at a time, as a map changes the network's state."""

    def __init__(self, weights: Path, card: ModelCard, config: ExplainConfig) -> None:
        self._network = load_network(weights, card, torch.device("cpu")).eval()
        self._card, self._config = card, config
        self._lock = threading.Lock()

    def map(self, pixels: NDArray[np.uint8], method: str, explained: int) -> NDArray[np.float32]:
        """(side, side): evidence for (above 0) and against a class in pixels (side, side, 3).

        Maps of methods without signs are 0 or above. Raises LookupError where the method does not
        suit this network.
        """
        mean, std = (torch.tensor(v)[:, None, None] for v in (self._card.mean, self._card.std))
        planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float()
        image = ((planes / 255 - mean) / std)[None]
        with self._lock:
            try:
                maps = saliency_maps(
                    self._network,
                    image,
                    np.array([explained]),
                    method=method,
                    config=self._config,
                    flip_tta=self._card.flip_tta,
                )
            except ConfigError:
                raise LookupError("this network has no layer that Grad-CAM could look at") from None
        image_map: NDArray[np.float32] = maps[0]
        return image_map
