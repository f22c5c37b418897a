"""Attribution methods: from images to maps of the evidence for and against a class.

Each takes normalised images (n, 3, height, width) and the class to explain for each, and returns
maps (n, height, width). All copies of images (noisy, occluded, interpolated from the baseline) go
through the network in batches of `scorer.batch_size`, and nothing larger is stored. Randomness
depends on the seed and the image alone, so an image's map does not depend on the others. Where the
network averages an image and its mirror image, an attributor that alternates passes each noisy,
masked or occluded copy in one orientation, half of them in each: that costs half and has the same
expectation for two classes, whose score is the mean over orientations.

The baseline is 0: the mean colour of the training images.
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
    """A network, the settings of the methods, and Grad-CAM's layer."""

    scorer: Scorer
    config: ExplainConfig
    hook: Hook | None = None
    alternate: bool = False  # whether each copy is passed in one orientation only

    def mirrored(self, is_odd: Tensor) -> Tensor | None:
        """Which copies are passed mirrored: the odd ones; None: all copies in both orientations."""
        return is_odd % 2 == 1 if self.alternate and self.scorer.flip_tta else None

    def maps(self, method: str, images: Tensor, explained: Tensor) -> NDArray[np.float32]:
        """(n, height, width): one method's maps of the class explained for each image."""
        return METHODS[method].make(self, images, explained).cpu().numpy()


@dataclass(frozen=True, slots=True)
class Attribution:
    """A way to make maps, in words and as a function."""

    title: str
    about: str
    of_number: str  # `about` for a network that predicts a number
    signed: bool  # whether maps have signs
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
        targets = torch.as_tensor(explained, dtype=torch.int64)
        return Attributor(scorer, config, hook).maps(method, images, targets)


# --- the methods ---------------------------------------------------------------------------------


def gradient(attributor: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """The score's sensitivity to each pixel: |∂score/∂pixel|, summed over the colours.

    Simonyan, Vedaldi & Zisserman 2014; the sum as in Adebayo et al. 2018.
    """
    batches = _batches(images, explained, attributor.scorer.batch_size)
    return torch.cat([attributor.scorer.gradients(x, c).abs().sum(1) for x, c in batches])


def smoothgrad(attributor: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """The mean gradient over noisy copies, |·| summed over the colours (Smilkov et al. 2017)."""
    scorer, config = attributor.scorer, attributor.config
    copies = config.smoothgrad_samples
    total = torch.zeros(images.shape, device=scorer.device)
    for rows, part in _copy_batches(len(images), copies, scorer.batch_size):
        x, c = images[rows], explained[rows]
        if part.start == 0:  # an image's first copies; later ones continue the random numbers
            noise = Noise(x, config.seed)
        scale = config.smoothgrad_noise * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))
        noisy = noise.draw(part.stop - part.start)  # (b, g, 3, H, W)
        noisy.mul_(scale[:, None, None, None, None]).add_(x[:, None])
        mirrored = attributor.mirrored(torch.arange(copies)[part])
        total[rows] += _gradients(scorer, noisy, c, mirrored).sum(1)
    return (total / copies).abs().sum(1)


def integrated_gradients(attributor: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """The mean gradient along the straight path from the baseline, times each pixel's difference.

    Sundararajan, Taly & Yan 2017, with Gauss–Legendre steps as in Captum; summed over the colours.
    A map's sum is the score less that of the baseline, up to the error of the steps.
    """
    scorer = attributor.scorer
    nodes, weights = np.polynomial.legendre.leggauss(attributor.config.integration_steps)
    steps = torch.tensor((1 + nodes) / 2, dtype=torch.float32, device=scorer.device)
    weight = torch.tensor(weights / 2, dtype=torch.float32, device=scorer.device)
    total = torch.zeros(images.shape, device=scorer.device)
    for rows, part in _copy_batches(len(images), len(steps), scorer.batch_size):
        x = images[rows].to(scorer.device)
        path = x[:, None] * steps[part][:, None, None, None]  # (b, g, 3, H, W)
        gradients = _gradients(scorer, path, explained[rows])
        total[rows] += torch.einsum("bgchw,g->bchw", gradients, weight[part])
    return (total * images.to(scorer.device)).sum(1)


def grad_cam(attributor: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """The channels of a late layer, weighted by their mean gradients (Selvaraju et al. 2017).

    With signs, which the original clips: of two classes, evidence against one is for the other.
    Resized to the image bilinearly.
    """
    scorer, hook = attributor.scorer, attributor.hook
    if hook is None:
        raise ValueError("Grad-CAM needs a layer to hook into")
    window = window_of(scorer.network)
    maps = []
    for x, c in _batches(images, explained, scorer.batch_size):
        with hook.capture() as outputs, torch.enable_grad():
            score = scorer.scores(x.detach().to(scorer.device).requires_grad_(), c).sum()
            grads = torch.autograd.grad(score, outputs)
        cams = []
        for output, grad in zip(outputs, grads, strict=True):
            activation, weight = hook.as_map(output.detach()), hook.as_map(grad).mean((2, 3))
            cam = torch.einsum("bc,bchw->bhw", weight, activation)
            cams.append(cam if window == WHOLE else place_in_image(cam, window, x.shape[-2:]))
        # The mirror image's map is mirrored back.
        cam = cams[0] + cams[1].flip(2) if scorer.flip_tta and len(cams) == 2 else cams[-1]
        maps.append(F.interpolate(cam[:, None], x.shape[-2:], mode="bilinear")[:, 0])
    return torch.cat(maps)


def place_in_image(maps: Tensor, window: Sequence[float], size: Sequence[int]) -> Tensor:
    """Place maps (batch, h, w) of a window in the whole image: (batch, height, width), 0 outside.

    `window` is left, top, right and bottom, from 0 to 1.
    """
    left, top, right, bottom = window
    ys, xs = ((torch.arange(n, device=maps.device) + 0.5) / n for n in size)
    x, y = 2 * (xs - left) / (right - left) - 1, 2 * (ys - top) / (bottom - top) - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand(len(maps), -1, -1, -1)
    inside = (grid.abs() <= 1).all(-1)
    sampled = F.grid_sample(maps[:, None].float(), grid, padding_mode="border", align_corners=False)
    return sampled[:, 0] * inside


def occlusion(attributor: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """The drop of the score when a patch is occluded (Zeiler & Fergus 2014).

    Patches overlap; a pixel has the mean over its patches, as in Captum.
    """
    scorer, config = attributor.scorer, attributor.config
    height, width = images.shape[-2:]
    patches, is_odd = make_patches(height, width, config)
    patches = patches.to(scorer.device)  # (k, H, W), 1 inside
    mirrored = attributor.mirrored(is_odd)
    drops = torch.empty(len(images), len(patches), device=scorer.device)
    base = _base_scores(attributor, images, explained, mirrored)
    for rows, part in _copy_batches(len(images), len(patches), scorer.batch_size):
        x = images[rows].to(scorer.device)
        occluded = x[:, None] * (1 - patches[part])[None, :, None]
        part_mirrored = None if mirrored is None else mirrored[part]
        scores = _scores(scorer, occluded, explained[rows], part_mirrored)
        drops[rows, part] = (base[rows] if mirrored is None else base[rows, part]) - scores
    return torch.einsum("bk,khw->bhw", drops, patches) / patches.sum(0)


def rise(attributor: Attributor, images: Tensor, explained: Tensor) -> Tensor:
    """The regression of the score on random masks (Petsiuk, Das & Saenko 2018).

    The covariance of score and mask, over the mask's variance: the original's mean of masks
    weighted by scores, less the part common to all pixels, which is noise for few masks.
    """
    scorer, config = attributor.scorer, attributor.config
    n_masks = config.rise_masks
    shape = images.shape[-2:]
    scores = torch.empty(len(images), n_masks, device=scorer.device)
    mirrored = attributor.mirrored(torch.arange(n_masks) // 2)  # a pair of masks the same way round
    for rows, part in _copy_batches(len(images), n_masks, scorer.batch_size):
        x = images[rows].to(scorer.device)
        masks = torch.stack([random_masks(image, config, shape, part) for image in images[rows]])
        masked = x[:, None] * masks.to(scorer.device)[:, :, None]
        part_mirrored = None if mirrored is None else mirrored[part]
        scores[rows, part] = _scores(scorer, masked, explained[rows], part_mirrored)
    # Each orientation has its own mean.
    for group in [slice(None)] if mirrored is None else [mirrored, ~mirrored]:
        scores[:, group] -= scores[:, group].mean(1, keepdim=True)
    total = torch.zeros(len(images), *shape, device=scorer.device)
    # Masks are drawn again rather than stored: they are cheap, and many large ones fill memory.
    step = max(1, scorer.batch_size)
    for row in range(len(images)):
        for start in range(0, n_masks, step):
            part = slice(start, min(start + step, n_masks))
            masks = random_masks(images[row], config, shape, part).to(scorer.device)
            total[row] += torch.einsum("g,ghw->hw", scores[row, part], masks)
    return total / (n_masks * config.rise_kept * (1 - config.rise_kept))


METHODS = {
    make.__name__: Attribution(*MAP_WORDS[make.__name__], make)
    for make in (gradient, smoothgrad, integrated_gradients, grad_cam, occlusion, rise)
}


# --- copies of images in batches of limited size -------------------------------------------------


def _batches(images: Tensor, explained: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images and their classes."""
    return zip(torch.split(images, size), torch.split(explained, size), strict=True)


def _copy_batches(n: int, copies: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of images and of their copies, for batches of at most `size`.

    All copies of an image in one batch where they fit, so that work per image is done once.
    """
    n_images, step = max(1, size // copies), min(size, copies)
    for row in range(0, n, n_images):
        rows = slice(row, min(row + n_images, n))
        for start in range(0, copies, step):
            yield rows, slice(start, min(start + step, copies))


def _scores(
    scorer: Scorer, copies: Tensor, explained: Tensor, mirrored: Tensor | None = None
) -> Tensor:
    """(b, g) scores of (b, g, 3, H, W) copies, of which (g,) may be mirrored."""
    b, g = copies.shape[:2]
    targets = explained.repeat_interleave(g)
    all_mirrored = None if mirrored is None else mirrored.repeat(b)
    with torch.no_grad():
        return scorer.scores(copies.flatten(0, 1), targets, all_mirrored).reshape(b, g)


def _base_scores(
    attributor: Attributor, images: Tensor, explained: Tensor, mirrored: Tensor | None
) -> Tensor:
    """(n, g) scores of unchanged images, or (n, 1) where all are passed in both orientations."""
    if mirrored is None:
        return attributor.scorer.all_scores(images, explained)[:, None]
    batches = list(_batches(images, explained, attributor.scorer.batch_size))
    scores = [
        torch.cat([_scores(attributor.scorer, x[:, None], c, is_mirrored) for x, c in batches])
        for is_mirrored in (torch.tensor([False]), torch.tensor([True]))
    ]
    return torch.cat(scores, dim=1)[:, mirrored.long()]


def _gradients(
    scorer: Scorer, copies: Tensor, explained: Tensor, mirrored: Tensor | None = None
) -> Tensor:
    """(b, g, 3, H, W) gradients at (b, g, 3, H, W) copies, of which (g,) may be mirrored."""
    targets = explained.repeat_interleave(copies.shape[1])
    all_mirrored = None if mirrored is None else mirrored.repeat(len(copies))
    return scorer.gradients(copies.flatten(0, 1), targets, all_mirrored).reshape(copies.shape)


# --- what is random ------------------------------------------------------------------------------


def image_generator(image: Tensor, seed: int) -> torch.Generator:
    """Random numbers that depend on the seed and the image's pixels alone."""
    pixels = image.detach().float().cpu().contiguous().numpy().tobytes()
    return torch.Generator().manual_seed(zlib.crc32(pixels, seed & 0xFFFFFFFF))


class Noise:
    """Standard normal noise for copies of images, drawn copy by copy."""

    def __init__(self, images: Tensor, seed: int) -> None:
        self.shape, self.device = images.shape[1:], images.device
        self.generators = [image_generator(image, seed) for image in images]

    def draw(self, copies: int) -> Tensor:
        """(b, copies, 3, H, W): the noise of each image's next copies."""
        noise = torch.empty(len(self.generators), copies, *self.shape)
        for row, generator in zip(noise, self.generators, strict=True):
            for copy in row:
                copy.normal_(generator=generator)
        return noise.to(self.device)


def random_masks(image: Tensor, config: ExplainConfig, shape: torch.Size, part: slice) -> Tensor:
    """(g, H, W) smooth random masks of an image, between 0 and 1: a part of its `rise_masks`."""
    cells, total = config.rise_cells, config.rise_masks
    generator = image_generator(image, config.seed)
    # One cell more than the image has, because the grid is shifted by up to a cell.
    # Masks come in complementary pairs, which halves the noise of few masks.
    pairs = -(-total // 2)
    uniform = torch.rand(pairs, 1, 1, cells + 1, cells + 1, generator=generator)
    is_visible = torch.cat([uniform, 1 - uniform], dim=1).flatten(0, 1)[part] < config.rise_kept
    shift = torch.rand(pairs, 2, generator=generator).repeat_interleave(2, dim=0)[part]
    height, width = shape
    # Positions of the pixels in the grid of cells, from 0 to `cells`; its corners are at 0 and so.
    y = shift[:, :1] + (torch.arange(height) + 0.5) * ((cells - 1) / height)  # (g, H)
    x = shift[:, 1:] + (torch.arange(width) + 0.5) * ((cells - 1) / width)
    grid = torch.stack(
        [x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1
    )
    return F.grid_sample(
        is_visible.float(), grid * (2 / cells) - 1, mode="bilinear", align_corners=True
    )[:, 0]


def make_patches(height: int, width: int, config: ExplainConfig) -> tuple[Tensor, Tensor]:
    """(k, H, W) patches that cover the image row by row; the last ones end at its edge.

    And (k,) the sum of each one's row and column in the grid of patches.
    """
    coverage = []
    for length in (height, width):
        window = max(1, round(config.occlusion_window * length))
        stride = max(1, min(window, round(config.occlusion_stride * length)))
        starts = torch.arange(-(-(length - window) // stride) + 1) * stride
        pixel = torch.arange(length)
        coverage.append(((pixel >= starts[:, None]) & (pixel < starts[:, None] + window)).float())
    rows, columns = (torch.arange(len(patches)) for patches in coverage)
    patches = torch.einsum("ih,jw->ijhw", *coverage).flatten(0, 1)
    return patches, (rows[:, None] + columns).flatten()
