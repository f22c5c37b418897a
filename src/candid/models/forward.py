"""From packed pixels to logits, in batches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.errors import TrainingError
from candid.progress import track
from candid.settings.named_parts import FROM_PARTS


@dataclass(frozen=True, eq=False)
class Images:
    """Packed pixels, and their normalisation."""

    # (n, side, side, 3) in memory or mapped, or as a tensor on a GPU
    pixels: NDArray[np.uint8] | Tensor
    mean: tuple[float, float, float]  # per channel, of pixels scaled to 0…1
    std: tuple[float, float, float]
    # (rows,) index of each row's pixels, -1 where there are none; None: the row's number
    at: NDArray[np.intp] | None = None

    @property
    def side(self) -> int:
        """Pixels per side."""
        return int(self.pixels.shape[1])

    def batch(self, rows: NDArray[np.intp], device: torch.device) -> Tensor:
        """(rows, 3, side, side) float32, normalised, in plain (channels first) memory."""
        if self.at is not None:
            rows = self.at[rows]
            if (rows < 0).any():
                raise IndexError("the pixels of these rows are not packed")
        if isinstance(self.pixels, Tensor):
            raw = self.pixels[torch.from_numpy(rows).to(self.pixels.device)]
        else:
            raw = torch.from_numpy(self.pixels[rows])
        return self.normalised(raw.to(device))

    def packed(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of the rows that have pixels."""
        return rows if self.at is None else rows[self.at[rows] >= 0]

    def normalised(self, raw: Tensor) -> Tensor:
        """(n, 3, side, side) float32 from (n, side, side, 3) uint8, on the same device."""
        device = raw.device
        # Planes before the arithmetic: one factor for a whole plane is ten times as fast as three
        # factors that alternate from byte to byte.
        planes = raw.permute(0, 3, 1, 2).contiguous().float()
        mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (self.mean, self.std))
        return planes.mul_(1 / (255 * std)).sub_(mean / std)

    def resident(self, device: torch.device, *, share: float = 0.5) -> Images:
        """The images in a GPU's memory, if they take no more than this share of what is free.

        Batches then need no copy from the CPU. Otherwise the images stay as they are.
        """
        if device.type != "cuda" or isinstance(self.pixels, Tensor):
            return self
        free, _ = torch.cuda.mem_get_info(device)
        if self.pixels.nbytes > share * free:
            return self
        return replace(self, pixels=_to_device(self.pixels, device))


def _to_device(pixels: NDArray[np.uint8], device: torch.device, *, block: int = 8192) -> Tensor:
    """The array on a device, copied in blocks: a mapped file never lies in memory as a whole."""
    out = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), block):
        out[start : start + block] = torch.from_numpy(pixels[start : start + block].copy())
    return out


def channel_statistics(
    pixels: NDArray[np.uint8], rows: NDArray[np.intp], *, block: int = 2048
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation per channel of pixels scaled to 0…1, over some of the rows.

    Exact: from a count of every value, so neither memory nor rounding grows with the number.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    for start in range(0, len(rows), block):
        chunk = pixels[rows[start : start + block]]
        counts += [np.bincount(chunk[..., c].ravel(), minlength=256) for c in range(3)]
    values = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    variance = share @ values**2 - mean**2
    # A constant channel is divided by 1.
    std = np.where(variance > 1e-12, np.sqrt(np.maximum(variance, 0)), 1.0)
    (red, green, blue), (red_std, green_std, blue_std) = mean.tolist(), std.tolist()
    return (red, green, blue), (red_std, green_std, blue_std)


@torch.no_grad()
def logits(
    network: nn.Module,
    images: Images,
    rows: NDArray[np.intp],
    *,
    device: torch.device,
    bfloat16: bool,
    flip_tta: bool = False,
    batch_size: int = 256,
    title: str = "",
    quiet: bool = True,
) -> NDArray[np.float32]:
    """(rows, classes) logits of a network in evaluation mode; the mode is restored afterwards.

    `flip_tta` averages those of each image and its mirror image: two forward passes.
    """
    was_training = network.training
    network.eval()
    try:
        outputs = []
        chunks = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        for chunk in track(chunks, title, unit="batches", quiet=quiet):
            batch = images.batch(chunk, device)
            out = forward(network, batch, bfloat16)
            if flip_tta:
                out = (out + forward(network, batch.flip(3), bfloat16)) / 2
            outputs.append(out.cpu().numpy())
    finally:
        network.train(was_training)
    return np.concatenate(outputs) if outputs else np.zeros((0, 0), dtype=np.float32)


def forward(network: nn.Module, batch: Tensor, bfloat16: bool) -> Tensor:
    """The network's logits in float32; with `bfloat16`, its products are in bfloat16.

    Raises TrainingError where its output is anything else.
    """
    batch = batch.contiguous(memory_format=torch.channels_last)  # as the weights are
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=bfloat16):
        out = network(batch)
    is_valid = isinstance(out, Tensor) and out.dim() == 2 and len(out) == len(batch)
    if not is_valid or not out.is_floating_point():
        raise logits_error(out, len(batch))
    logits: Tensor = out.float()
    return logits


def logits_error(out: object, images: int, outputs: int | None = None) -> TrainingError:
    """The error for a network's output that are no logits; `outputs` is their expected number."""
    description = f"a {type(out).__name__}"
    if isinstance(out, Tensor):
        description = f"{str(out.dtype).removeprefix('torch.')} of the shape {tuple(out.shape)}"
    return TrainingError(
        f"The network gives {description} for {images} images.",
        expected=f"floating point of the shape ({images}, {outputs or 'classes'})",
        todo="let it return the logits alone",
        code=FROM_PARTS,
    )
