"""The methods: from images to maps of what speaks for and against a class.

Each takes normalised images (n, 3, height, width) and the class to explain for each, and gives maps
(n, height, width). All copies of images (noisy, occluded, on the way from the baseline) go through
the network together, in passes of `scorer.batch_size`, and nothing larger is kept. What is random
is decided by the seed and the image itself, so an image has the same map whoever its neighbours
are. Where the network answers by the mean of an image and its mirror image, an attributor that
alternates shows it each noisy, masked or occluded copy one way round alone, half of them each way:
a mean over copies that costs half and has the same expectation for two classes, whose score is the
mean of both ways' scores.

The baseline, what "nothing" looks like, is 0: the mean colour of the training images.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from candid.errors import ConfigError, did_you_mean
from candid.explanation.layers import WHOLE, Hook, find_hook, window_of
from candid.explanation.scoring import Scorer, scoring
from candid.settings import ExplainConfig
from candid.text.explanation import MAP_WORDS


@dataclass(frozen=True, eq=False)
class Attributor:
    """A network, how maps of it are made, and where Grad-CAM looks."""

    scorer: Scorer
    config: ExplainConfig
    hook: Hook | None = None
    alternate: bool = False  # whether a copy is looked at one way round alone

    def mirrored(self, odd: Tensor) -> Tensor | None:
        """Which of some copies are looked at mirrored: the odd ones; None: all copies both ways."""
        return odd % 2 == 1 if self.alternate and self.scorer.flip_tta else None

    def maps(self, method: str, images: Tensor, explained: Tensor) -> NDArray[np.float32]:
        """(n, height, width): one method's maps of the class explained for each image."""
        return METHODS[method].make(self, images, explained).cpu().numpy()


@dataclass(frozen=True, slots=True)
class Attribution:
    """A way to make maps, in words and as a function."""

    title: str
    about: str
    of_number: str  # the same of a network that gives a number
    signed: bool  # whether a map says for and against, or only how much
    make: Callable[[Attributor, Tensor, Tensor], Tensor]


def saliency_maps(
    network: nn.Module,
    images: Tensor,
    explained: NDArray[Any] | Tensor | None = None,
    *,
    method: str = "integrated_gradients",
    config: ExplainConfig | None = None,
    layer: str = "",
    bfloat16: bool = False,
    flip_tta: bool = False,
) -> NDArray[np.float32]:
    """One method's maps (n, height, width) of normalised images (n, 3, height, width).

    Parameters
    ----------
    network, layer, bfloat16, flip_tta
        As in `explain_network`.
    images
        On any device.
    explained
        (n,) the class that each map speaks for; None: the network's answer.
    method
        "gradient", "smoothgrad", "integrated_gradients", "grad_cam", "occlusion", "rise".
    config
        How it is computed.

    Raises
    ------
    ConfigError
        For another method, or Grad-CAM of a network that has no map.
    """
    config = config or ExplainConfig()
    if method not in METHODS:
        raise ConfigError(
            f"There is no method {method!r}.",
            expected="one of: " + ", ".join(METHODS),
            todo=did_you_mean(method, METHODS),
        )
    with scoring(
        network, batch_size=config.batch_size, bfloat16=bfloat16, flip_tta=flip_tta
    ) as scorer:
        if explained is None:
            explained = scorer.all_logits(images).argmax(1).cpu()
        hook = find_hook(scorer, images[:1], layer) if method == "grad_cam" else None
        if method == "grad_cam" and hook is None:
            raise ConfigError(
                f"{type(network).__name__} has no layer that gives a map.",
                expected="a convolution, or tokens of places",
                todo="choose another method",
            )
        chosen = torch.as_tensor(explained, dtype=torch.int64)
        return Attributor(scorer, config, hook).maps(method, images, chosen)


# --- the methods ---------------------------------------------------------------------------------


def gradient(by: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """How much the score changes with each pixel: |∂score/∂pixel|, summed over the colours.

    Simonyan, Vedaldi & Zisserman 2014; the sum as in Adebayo et al. 2018.
    """
    parts = _together(images, explained, by.scorer.batch_size)
    return torch.cat([by.scorer.gradients(x, c).abs().sum(1) for x, c in parts])


def smoothgrad(by: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """The mean gradient over noisy copies, |·| summed over the colours (Smilkov et al. 2017)."""
    copies = by.config.smoothgrad_samples
    total = torch.zeros(images.shape, device=by.scorer.device)
    for rows, some in _passes(len(images), copies, by.scorer.batch_size):
        x, c = images[rows], explained[rows]
        if some.start == 0:  # a pass's first copies; the next ones go on where they ended
            noise = Noise(x, by.config.seed)
        spread = by.config.smoothgrad_noise * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))
        noisy = noise.drawn(some.stop - some.start)  # (b, g, 3, H, W)
        noisy.mul_(spread[:, None, None, None, None]).add_(x[:, None])
        way = by.mirrored(torch.arange(copies)[some])
        total[rows] += _slopes(by.scorer, noisy, c, way).sum(1)
    return (total / copies).abs().sum(1)


def integrated_gradients(by: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """The gradient along the straight path from the baseline, times how far each pixel goes.

    Sundararajan, Taly & Yan 2017, with Gauss–Legendre steps as in Captum; summed over the colours.
    A map's sum is the score less that of the baseline, up to the error of the steps.
    """
    nodes, weights = np.polynomial.legendre.leggauss(by.config.integration_steps)
    along = torch.tensor((1 + nodes) / 2, dtype=torch.float32, device=by.scorer.device)
    weight = torch.tensor(weights / 2, dtype=torch.float32, device=by.scorer.device)
    total = torch.zeros(images.shape, device=by.scorer.device)
    for rows, some in _passes(len(images), len(along), by.scorer.batch_size):
        x = images[rows].to(by.scorer.device)
        path = x[:, None] * along[some][:, None, None, None]  # (b, g, 3, H, W)
        slopes = _slopes(by.scorer, path, explained[rows])
        total[rows] += torch.einsum("bgchw,g->bchw", slopes, weight[some])
    return (total * images.to(by.scorer.device)).sum(1)


def grad_cam(by: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """The channels of a late layer, each weighed by its mean gradient (Selvaraju et al. 2017).

    With its sign, which the original cuts off: of two classes, what speaks against one speaks for
    the other. Brought to the image's size by bilinear interpolation.
    """
    if by.hook is None:
        raise ValueError("Grad-CAM needs a layer to hook into")
    window = window_of(by.scorer.network)
    maps = []
    for x, c in _together(images, explained, by.scorer.batch_size):
        with by.hook.captured() as seen, torch.enable_grad():
            score = by.scorer.scores(x.detach().to(by.scorer.device).requires_grad_(), c).sum()
            slopes = torch.autograd.grad(score, seen)
        cams = []
        for output, slope in zip(seen, slopes, strict=True):
            activation, weight = by.hook.as_map(output.detach()), by.hook.as_map(slope).mean((2, 3))
            cam = torch.einsum("bc,bchw->bhw", weight, activation)
            cams.append(cam if window == WHOLE else on_picture(cam, window, x.shape[-2:]))
        # What the mirror image's pass saw on the left stands on the right.
        cam = cams[0] + cams[1].flip(2) if by.scorer.flip_tta and len(cams) == 2 else cams[-1]
        maps.append(F.interpolate(cam[:, None], x.shape[-2:], mode="bilinear")[:, 0])
    return torch.cat(maps)


def on_picture(maps: Tensor, window: Sequence[float], size: Sequence[int]) -> Tensor:
    """Maps (batch, h, w) of a part of a picture where it lies: (batch, height, width), 0 around it.

    `window` is the part's left, top, right and bottom, from 0 to 1.
    """
    left, top, right, bottom = window
    ys, xs = ((torch.arange(n, device=maps.device) + 0.5) / n for n in size)
    x, y = 2 * (xs - left) / (right - left) - 1, 2 * (ys - top) / (bottom - top) - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand(len(maps), -1, -1, -1)
    inside = (grid.abs() <= 1).all(-1)
    read = F.grid_sample(maps[:, None].float(), grid, padding_mode="border", align_corners=False)
    return read[:, 0] * inside


def occlusion(by: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """How far the score falls when a patch is painted over (Zeiler & Fergus 2014).

    Patches overlap; a pixel has the mean over its patches, as in Captum.
    """
    height, width = images.shape[-2:]
    patches, odd = patches_of(height, width, by.config)
    patches, way = patches.to(by.scorer.device), by.mirrored(odd)  # (k, H, W), 1 inside
    falls = torch.empty(len(images), len(patches), device=by.scorer.device)
    whole = _whole_scores(by, images, explained, way)
    for rows, some in _passes(len(images), len(patches), by.scorer.batch_size):
        x = images[rows].to(by.scorer.device)
        covered = x[:, None] * (1 - patches[some])[None, :, None]
        turned = None if way is None else way[some]
        scores = _scores(by.scorer, covered, explained[rows], turned)
        falls[rows, some] = (whole[rows] if way is None else whole[rows, some]) - scores
    return torch.einsum("bk,khw->bhw", falls, patches) / patches.sum(0)


def rise(by: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """How the score goes with what random masks leave to see (Petsiuk, Das & Saenko 2018).

    The covariance of score and mask, over that of the mask with itself: the original's mean of
    masks weighed by scores, less the part that every pixel has, which is noise for few masks.
    """
    masks = by.config.rise_masks
    shape = images.shape[-2:]
    scores = torch.empty(len(images), masks, device=by.scorer.device)
    way = by.mirrored(torch.arange(masks) // 2)  # a pair of masks the same way round
    for rows, some in _passes(len(images), masks, by.scorer.batch_size):
        x = images[rows].to(by.scorer.device)
        kept = torch.stack([random_masks(one, by.config, shape, some) for one in images[rows]])
        seen = x[:, None] * kept.to(by.scorer.device)[:, :, None]
        turned = None if way is None else way[some]
        scores[rows, some] = _scores(by.scorer, seen, explained[rows], turned)
    for same in [slice(None)] if way is None else [way, ~way]:  # each way round has its own mean
        scores[:, same] -= scores[:, same].mean(1, keepdim=True)
    total = torch.zeros(len(images), *shape, device=by.scorer.device)
    # Masks are drawn anew rather than kept: they are cheap, and many large ones fill memory.
    step = max(1, by.scorer.batch_size)
    for row in range(len(images)):
        for start in range(0, masks, step):
            some = slice(start, min(start + step, masks))
            kept = random_masks(images[row], by.config, shape, some).to(by.scorer.device)
            total[row] += torch.einsum("g,ghw->hw", scores[row, some], kept)
    return total / (masks * by.config.rise_kept * (1 - by.config.rise_kept))


METHODS = {
    make.__name__: Attribution(*MAP_WORDS[make.__name__], make)
    for make in (gradient, smoothgrad, integrated_gradients, grad_cam, occlusion, rise)
}


# --- copies of images in passes of limited size --------------------------------------------------


def _together(images: Tensor, explained: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and their classes, so many at a time."""
    return zip(torch.split(images, size), torch.split(explained, size), strict=True)


def _passes(images: int, copies: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Which images and which of their copies go through the network together.

    As far as they fit, all copies of an image at once: what is made for an image is made once.
    """
    few, step = max(1, size // copies), min(size, copies)
    for row in range(0, images, few):
        rows = slice(row, min(row + few, images))
        for start in range(0, copies, step):
            yield rows, slice(start, min(start + step, copies))


def _scores(
    scorer: Scorer, copies: Tensor, explained: Tensor, mirrored: Tensor | None = None
) -> Tensor:
    """(b, g) scores of (b, g, 3, H, W) copies, of which (g,) may be looked at mirrored."""
    b, g = copies.shape[:2]
    each = explained.repeat_interleave(g)
    ways = None if mirrored is None else mirrored.repeat(b)
    with torch.no_grad():
        return scorer.scores(copies.flatten(0, 1), each, ways).reshape(b, g)


def _whole_scores(
    by: Attributor, images: Tensor, explained: Tensor, mirrored: Tensor | None
) -> Tensor:
    """(n, g) scores of images without any change, or (n, 1) where all are looked at both ways."""
    if mirrored is None:
        return by.scorer.all_scores(images, explained)[:, None]
    parts = list(_together(images, explained, by.scorer.batch_size))
    both = [
        torch.cat([_scores(by.scorer, x[:, None], c, way) for x, c in parts])
        for way in (torch.tensor([False]), torch.tensor([True]))
    ]
    return torch.cat(both, dim=1)[:, mirrored.long()]


def _slopes(
    scorer: Scorer, copies: Tensor, explained: Tensor, mirrored: Tensor | None = None
) -> Tensor:
    """(b, g, 3, H, W) gradients at (b, g, 3, H, W) copies, of which (g,) may be mirrored."""
    each = explained.repeat_interleave(copies.shape[1])
    ways = None if mirrored is None else mirrored.repeat(len(copies))
    return scorer.gradients(copies.flatten(0, 1), each, ways).reshape(copies.shape)


# --- what is random ------------------------------------------------------------------------------


def generator_of(image: Tensor, seed: int) -> torch.Generator:
    """Random numbers that depend on the seed and the image's pixels alone."""
    pixels = image.detach().float().cpu().contiguous().numpy().tobytes()
    return torch.Generator().manual_seed(zlib.crc32(pixels, seed & 0xFFFFFFFF))


class Noise:
    """Standard normal numbers for copies of images, drawn one copy after the other."""

    def __init__(self, images: Tensor, seed: int) -> None:
        self.shape, self.device = images.shape[1:], images.device
        self.generators = [generator_of(image, seed) for image in images]

    def drawn(self, copies: int) -> Tensor:
        """(b, copies, 3, H, W): of each image the next copies' numbers."""
        made = torch.empty(len(self.generators), copies, *self.shape)
        for row, generator in zip(made, self.generators, strict=True):
            for one in row:
                one.normal_(generator=generator)
        return made.to(self.device)


def random_masks(image: Tensor, config: ExplainConfig, shape: torch.Size, some: slice) -> Tensor:
    """(g, H, W) smooth random masks of an image, between 0 and 1: some of its `rise_masks`."""
    cells, total = config.rise_cells, config.rise_masks
    generator = generator_of(image, config.seed)
    # One cell more than the image has, because the grid is shifted by up to a cell.
    # Masks come in pairs, what one keeps the other hides: that halves the noise of few masks.
    pairs = -(-total // 2)
    chance = torch.rand(pairs, 1, 1, cells + 1, cells + 1, generator=generator)
    kept = torch.cat([chance, 1 - chance], dim=1).flatten(0, 1)[some] < config.rise_kept
    shift = torch.rand(pairs, 2, generator=generator).repeat_interleave(2, dim=0)[some]
    height, width = shape
    # Positions of the pixels in the grid of cells, from 0 to `cells`; its corners are at 0 and so.
    y = shift[:, :1] + (torch.arange(height) + 0.5) * ((cells - 1) / height)  # (g, H)
    x = shift[:, 1:] + (torch.arange(width) + 0.5) * ((cells - 1) / width)
    grid = torch.stack(
        [x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1
    )
    return F.grid_sample(kept.float(), grid * (2 / cells) - 1, mode="bilinear", align_corners=True)[
        :, 0
    ]


def patches_of(height: int, width: int, config: ExplainConfig) -> tuple[Tensor, Tensor]:
    """(k, H, W) patches that cover the image row by row; the last ones end at its edge.

    And (k,) row and column of each in the grid of patches, added up.
    """
    where = []
    for length in (height, width):
        window = max(1, round(config.occlusion_window * length))
        stride = max(1, min(window, round(config.occlusion_stride * length)))
        starts = torch.arange(-(-(length - window) // stride) + 1) * stride
        place = torch.arange(length)
        where.append(((place >= starts[:, None]) & (place < starts[:, None] + window)).float())
    rows, columns = (torch.arange(len(places)) for places in where)
    patches = torch.einsum("ih,jw->ijhw", *where).flatten(0, 1)
    return patches, (rows[:, None] + columns).flatten()
