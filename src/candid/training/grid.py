"""A picture for a person to look at: what augmentation makes of some images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from candid.models.forward import Images
from candid.settings import AugmentConfig
from candid.training.augment import augment


def augmented_grid(
    images: Images,
    rows: NDArray[np.intp],
    config: AugmentConfig,
    *,
    columns: int = 8,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """One line per image: as it is, then as `columns` - 1 training batches would show it.

    Returns
    -------
    NDArray
        (rows · side, columns · side, 3) uint8.
    """
    cpu = torch.device("cpu")
    batch = images.batch(rows, cpu)
    generator = torch.Generator().manual_seed(seed)
    shown = [batch, *(augment(batch, config, generator) for _ in range(columns - 1))]
    grid = torch.stack(shown, dim=1)  # (rows, columns, 3, side, side)
    mean, std = (torch.tensor(v)[:, None, None] for v in (images.mean, images.std))
    pixels = ((grid * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    lines = pixels.permute(0, 3, 1, 4, 2)  # (rows, side, columns, side, 3)
    return lines.reshape(len(rows) * images.side, columns * images.side, 3).numpy()
