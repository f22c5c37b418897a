"""Training of the framing network: it learns to undo random warps of the images."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from candid.models.device import has_matrix_tiles, uses_bfloat16
from candid.models.forward import Images
from candid.models.framing import PARAMETERS, Framing
from candid.models.warping import frame_matrices, halve, inside_mask, level_warp, to_pixels
from candid.progress import progress
from candid.records import Estimate
from candid.records.framing import CORNERS, FramingCard
from candid.settings import AugmentConfig, FramingConfig, TrainConfig
from candid.stats.intervals import wilson_share
from candid.table import sample_rows
from candid.training import checkpoint
from candid.training.augment import draw_colours, recolour
from candid.training.convolution import wide_gradients
from candid.training.loop import descend, seed_generators, update_ema
from candid.training.optimizers import learning_rate, optimizer_of
from candid.training.state import TrainingState

MAX_STEPS = 1800  # of the default, which is as many images as the classifier is trained on
_SECOND_LOOK_SHARE = 0.4  # share of the images that are warped as before a second look
_RESIDUAL_RANGE = 0.25  # of the full range: the frames of a second look
_COLOURS = AugmentConfig(brightness=0.5, contrast=0.35, saturation=0.5)
_BLURRED_SHARE = 0.2  # share of the images that have half the detail
_LEVELS = 3  # an image that shows e times as much is a third of the size
_HUBER_BETA = 0.1  # where the loss turns from square to absolute, in units of the outputs
_BLOCK = 250  # images at a time
_TRIM_ROUNDS = 3  # how often outliers are set aside
_TRIM_QUANTILE = 0.95  # of the distances: those above are outliers
_REST_QUANTILE = 0.95  # of warped images have so little left that they count as settled
_FAR_QUANTILE = 0.98  # of the validation images are within the far limit
_MAX_VALIDATION = 2000  # validation images that limits are set on, at most
# The error of frames must fall to this share, or the network is not used.
_MAX_ERROR_RATIO = 0.5


def train_framing(
    images: Images,
    train: NDArray[np.intp],
    validation: NDArray[np.intp],
    config: FramingConfig,
    recipe: TrainConfig,
    *,
    device: torch.device,
    save_to: Path | None = None,
    quiet: bool = True,
) -> tuple[Framing, FramingCard]:
    """Train on `train`, set the limits on `validation`, and measure how far warps are undone.

    Everything random comes from the seed and the step, so that a training which resumes from
    `save_to` ends as one that was never stopped. `recipe` is that of the classifier, of which
    seed, optimiser and precision are used.
    """
    config = replace(config, batch_size=config.batch_size or recipe.batch_size)
    steps = config.steps if config.steps >= 0 else _default_steps(config, recipe)
    schedule = replace(
        recipe,
        steps=steps,
        learning_rate=config.learning_rate,
        ema_decay=min(0.99, 1 - 2 / max(3, steps)),
        depth_decay=1.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = Framing(images.side, width=config.width, looks=config.looks)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(network).requires_grad_(False).eval()
    state = TrainingState(network, optimizer_of(network, schedule), averaged)
    save = checkpoint.Saver(save_to, recipe.checkpoint_seconds)
    if save_to is not None and save_to.is_file():
        checkpoint.restore(save_to, state)
    batches = _Batches(images, train, config, recipe, device)
    bfloat16 = uses_bfloat16(recipe.precision, device)
    with progress("framing", steps, unit="batches", done=state.step, quiet=quiet) as bar:
        while state.step < steps:
            inputs, frames = batches(state.step, network.look_side)
            network.train()
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)
            with autocast, wide_gradients(bfloat16 and has_matrix_tiles(device)):
                estimate = network.estimate(inputs.contiguous(memory_format=torch.channels_last))
            error = (estimate.float() - frames) / network.units
            loss = F.smooth_l1_loss(error, torch.zeros_like(error), beta=_HUBER_BETA)
            descend(state, loss, learning_rate(state.step, schedule))
            update_ema(state, schedule.ema_decay)
            state.step += 1
            bar.update()
            if save.should_save(due=False):
                save(state)
    framing = averaged.to("cpu")
    return framing, _calibrate(framing, images, validation, config, recipe.seed, steps)


def _default_steps(config: FramingConfig, recipe: TrainConfig) -> int:
    return min(MAX_STEPS, max(1, recipe.steps * recipe.batch_size // config.batch_size))


class _Batches:
    """Warped images and the frames that undo their warps, step by step."""

    def __init__(
        self,
        images: Images,
        rows: NDArray[np.intp],
        config: FramingConfig,
        recipe: TrainConfig,
        device: torch.device,
    ) -> None:
        self.seed = recipe.seed
        self.images, self.rows, self.config = images, images.packed(rows), config
        self.device = device

    def __call__(self, step: int, side: int) -> tuple[Tensor, Tensor]:
        """(n, 3, side, side) inputs of `Framing.estimate`, and (n, 5) frames."""
        rng = np.random.default_rng([self.seed, 2, step])
        with torch.random.fork_rng(devices=[]):  # dropout's generator is not used
            generator = seed_generators(self.seed, step, torch.device("cpu"))
        size = min(self.config.batch_size, len(self.rows))
        batch = self.images.batch(rng.choice(self.rows, size, replace=False), self.device)
        flips = torch.rand(size, generator=generator) < 0.5
        mirrored = flips.nonzero()[:, 0].to(batch.device)
        batch[mirrored] = batch[mirrored].flip(3)
        frames = draw_frames(size, self.config, generator)
        # The first images are as before a second look: nearly in their frame, and reflected at
        # the edge of the cropped image rather than of the original.
        again = round(_SECOND_LOOK_SHARE * size)
        residual = _RESIDUAL_RANGE * draw_frames(again, self.config, generator)
        first = warp_back(batch[:again], frames[:again], batch.shape[2], generator)
        matrices = frame_matrices(frames[:again]) @ torch.linalg.inv(frame_matrices(residual))
        second = level_warp(first, matrices.to(first.device), side, "reflection")
        inputs = torch.cat([second, warp_back(batch[again:], frames[again:], side, generator)])
        frames = torch.cat([residual, frames[again:]])
        inputs = recolour(inputs, *draw_colours(size, _COLOURS, generator))
        blurred = torch.rand(size, generator=generator) < _BLURRED_SHARE
        rows = blurred.nonzero()[:, 0].to(inputs.device)
        inputs[rows] = _half_detail(inputs[rows])
        return _normalise(inputs, self.images), frames.to(self.device)


def draw_frames(count: int, config: FramingConfig, generator: torch.Generator) -> Tensor:
    """(count, 5) frames, uniform in the ranges of the settings."""
    uniform = 2 * torch.rand(count, len(PARAMETERS), generator=generator) - 1
    scale = uniform[:, :1] * config.scale
    angle = uniform[:, 4:] * math.radians(config.rotation_degrees)
    # A move is a share of the smaller of image and frame; coordinates are from -1 to 1.
    moves = uniform[:, 2:4] * 2 * config.shift * scale.clamp(max=0).exp()
    return torch.cat([scale, uniform[:, 1:2] * config.aspect, moves, angle], dim=1)


def warp_back(images: Tensor, frames: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Warp images (n, 3, h, h) so that the frames undo it: (n, 3, side, side).

    Outside an image is its reflection for half of them, its edge for a quarter, and another, warped
    image for the rest, as unfamiliar images have anything there.
    """
    inverse = torch.linalg.inv(frame_matrices(frames)).to(images.device)
    n = len(images)
    half, rest = n // 2, n // 2 + n // 4
    reflected = level_warp(images[:half], inverse[:half], side, "reflection", levels=_LEVELS)
    clamped = level_warp(images[half:], inverse[half:], side, "border", levels=_LEVELS)
    backgrounds = images[torch.randperm(n, generator=generator)[: n - rest].to(images.device)]
    far = frame_matrices(2 * frames[torch.randperm(n, generator=generator)[: n - rest]])
    outside = level_warp(backgrounds, far.to(images.device), side, "reflection")
    pasted = torch.where(inside_mask(inverse[rest:], side), clamped[rest - half :], outside)
    return torch.cat([reflected, clamped[: rest - half], pasted])


def _half_detail(images: Tensor) -> Tensor:
    return F.interpolate(halve(images), size=images.shape[2:], mode="bilinear", align_corners=False)


def _normalise(normalised: Tensor, images: Images) -> Tensor:
    """From the classifier's normalisation to that of `Framing.make_input`."""
    mean, std = (torch.tensor(v)[:, None, None].to(normalised) for v in (images.mean, images.std))
    return (normalised * std).add_(mean).mul_(4).sub_(2)


def _to_uint8(normalised: Tensor, images: Images) -> Tensor:
    """(n, side, side, 3) uint8, as `Framing` takes them."""
    return to_pixels((_normalise(normalised, images) + 2) * (255 / 4))


# --- calibration ---------------------------------------------------------------------------------


@torch.inference_mode()
def _calibrate(
    framing: Framing,
    images: Images,
    validation: NDArray[np.intp],
    config: FramingConfig,
    seed: int,
    steps: int,
) -> FramingCard:
    """Set the limits on validation images, unwarped and warped, and measure the errors left."""
    rows = images.packed(validation)
    rng = np.random.default_rng([seed, 3])
    rows = sample_rows(rows, _MAX_VALIDATION, rng)
    generator = torch.Generator().manual_seed(seed)

    cpu, starts = torch.device("cpu"), range(0, len(rows), _BLOCK)
    estimates = torch.cat(
        [_estimate_frames(framing, images, images.batch(rows[i : i + _BLOCK], cpu)) for i in starts]
    )
    _set_limit(framing, estimates, config)
    frames = draw_frames(len(rows), config, generator)
    warped_blocks = (
        warp_back(
            images.batch(rows[i : i + _BLOCK], cpu), frames[i : i + _BLOCK], framing.side, generator
        )
        for i in starts
    )
    matrices, rest = map(
        torch.cat, zip(*(framing(_to_uint8(m, images))[1:3] for m in warped_blocks), strict=True)
    )
    framing.rest_limit.copy_(rest.quantile(_REST_QUANTILE))
    truth = frame_matrices(frames)
    identity = torch.eye(3).expand_as(truth)
    before, after = _corner_errors(identity, truth), _corner_errors(matrices, truth)
    return FramingCard(
        steps=steps,
        side=framing.side,
        width=framing.width,
        looks=framing.looks,
        parameters=sum(p.numel() for p in framing.parameters()),
        validation=len(rows),
        before=float(before.median()),
        after=float(after.median()),
        nearer=_share_estimate(after < before / 2),
        untouched=_share_estimate(framing.distance(estimates) <= framing.limit),
        used=bool(after.median() < _MAX_ERROR_RATIO * before.median()),
    )


def _estimate_frames(framing: Framing, images: Images, batch: Tensor) -> Tensor:
    """(n, 5) estimated frames of unwarped images."""
    planes = _to_uint8(batch, images).permute(0, 3, 1, 2).float()
    return framing.estimate(framing.make_first_input(planes, torch.eye(3)))


def _set_limit(framing: Framing, frames: Tensor, config: FramingConfig) -> None:
    """Set centre, precision and limits from the estimated frames (n, 5) of validation images."""
    inliers = frames
    for _ in range(_TRIM_ROUNDS):  # outliers would widen the limits
        framing.centre.copy_(inliers.mean(0))
        cov = torch.cov((inliers - framing.centre).T.double()) + 1e-6 * torch.eye(len(PARAMETERS))
        framing.precision.copy_(torch.linalg.inv(cov))
        distances = framing.distance(frames)
        inliers = frames[distances <= distances.quantile(_TRIM_QUANTILE)]
    framing.limit.copy_(distances.quantile(config.untouched))
    framing.far_limit.copy_(distances.quantile(_FAR_QUANTILE))


def _share_estimate(marks: Tensor) -> Estimate:
    return wilson_share(int(marks.sum()), len(marks))


def _corner_errors(matrices: Tensor, truth: Tensor) -> Tensor:
    """(n,) mean distance of a frame's corners from their true places, in shares of the side."""
    corners = torch.tensor(CORNERS)
    error = (matrices @ corners - truth @ corners)[:, :2]
    errors: Tensor = error.norm(dim=1).mean(1) / 2
    return errors
