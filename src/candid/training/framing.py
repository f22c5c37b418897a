"""Training of the network that frames: pictures are warped, and how is what it has to say."""

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

from candid.models.device import uses_bfloat16
from candid.models.forward import Images
from candid.models.framing import PARAMETERS, Framing
from candid.models.warping import frame_matrices, halved, level_warp, reached, to_pixels
from candid.progress import progress
from candid.records import Estimate
from candid.records.framing import CORNERS, FramingCard
from candid.settings import AugmentConfig, FramingConfig, TrainConfig
from candid.stats.intervals import wilson_share
from candid.table import drawn_rows
from candid.training import checkpoint
from candid.training.augment import draw_colours, recolour
from candid.training.loop import descend, seeded, update_ema
from candid.training.optimizers import learning_rate, optimizer_of
from candid.training.state import TrainingState

MOST_STEPS = 1800  # where as many images are asked for as the classifier is trained on
_AGAIN = 0.4  # share of the images that are shown as a second look finds them
_SMALL = 0.25  # of the full range: what a first look leaves
_COLOURS = AugmentConfig(brightness=0.5, contrast=0.35, saturation=0.5)
_BLURRED = 0.2  # share of the images that have half the detail
_LEVELS = 3  # a picture that shows e times as much is a third of the size
_KNOT = 0.1  # where the loss turns from square to absolute, in units of the outputs
_BLOCK = 250  # pictures at a time
_TRIMMED, _USUAL = 3, 0.95  # how often the pictures that lie farthest are set aside, and which
_NEARLY_ALL = 0.95  # of warped pictures have so little left that they count as settled
_FEW_BEYOND = 0.98  # of the validation pictures are not farther off
_MEASURED = 2000  # validation pictures that limits are set on, at most
# Pictures must lie this much nearer to their frame than they came, or nothing is learned.
_MUST_UNDO = 0.5


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
    """Train on some rows, set the limits on others, and say how far warps are undone.

    Everything random comes from the seed and the step, so that a training which goes on from
    `save_to` ends as one that was never stopped. `recipe` is that of the classifier, of which
    seed, optimiser and precision are used.
    """
    config = replace(config, batch_size=config.batch_size or recipe.batch_size)
    steps = config.steps if config.steps >= 0 else _usual_steps(config, recipe)
    plan = replace(
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
    state = TrainingState(network, optimizer_of(network, plan), averaged)
    save = checkpoint.Saver(save_to, recipe.checkpoint_seconds)
    if save_to is not None and save_to.is_file():
        checkpoint.restore(save_to, state)
    batches = _Batches(images, train, config, recipe, device)
    bfloat16 = uses_bfloat16(recipe.precision, device)
    with progress("framing", steps, unit="batches", done=state.step, quiet=quiet) as bar:
        while state.step < steps:
            seen, frames = batches(state.step, network.look_side)
            network.train()
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                found = network.estimate(seen.contiguous(memory_format=torch.channels_last))
            off = (found.float() - frames) / network.units
            loss = F.smooth_l1_loss(off, torch.zeros_like(off), beta=_KNOT)
            descend(state, loss, learning_rate(state.step, plan))
            update_ema(state, plan.ema_decay)
            state.step += 1
            bar.update()
            if save.wants(due=False):
                save(state)
    framing = averaged.to("cpu")
    return framing, _measured(framing, images, validation, config, recipe.seed, steps)


def _usual_steps(config: FramingConfig, recipe: TrainConfig) -> int:
    return min(MOST_STEPS, max(1, recipe.steps * recipe.batch_size // config.batch_size))


class _Batches:
    """Warped pictures and the frames that undo their warps, step by step."""

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
        """(n, 3, side, side) as `Framing.estimate` is shown them, and (n, 5) frames."""
        rng = np.random.default_rng([self.seed, 2, step])
        with torch.random.fork_rng(devices=[]):  # its other half is dropout's, which is not here
            generator = seeded(self.seed, step, torch.device("cpu"))
        size = min(self.config.batch_size, len(self.rows))
        batch = self.images.batch(rng.choice(self.rows, size, replace=False), self.device)
        flips = torch.rand(size, generator=generator) < 0.5
        mirrored = flips.nonzero()[:, 0].to(batch.device)
        batch[mirrored] = batch[mirrored].flip(3)
        frames = draw_frames(size, self.config, generator)
        # The first images are shown as a second look finds them: nearly in their frame, and where
        # the picture ends, with its mirror image, as the picture was cut and not as it once was.
        again = round(_AGAIN * size)
        left = _SMALL * draw_frames(again, self.config, generator)
        first = warped(batch[:again], frames[:again], batch.shape[2], generator)
        nearly = frame_matrices(frames[:again]) @ torch.linalg.inv(frame_matrices(left))
        second = level_warp(first, nearly.to(first.device), side, "reflection")
        seen = torch.cat([second, warped(batch[again:], frames[again:], side, generator)])
        frames = torch.cat([left, frames[again:]])
        seen = recolour(seen, *draw_colours(size, _COLOURS, generator))
        blurred = torch.rand(size, generator=generator) < _BLURRED
        few = blurred.nonzero()[:, 0].to(seen.device)
        seen[few] = _half_detail(seen[few])
        return _as_seen(seen, self.images), frames.to(self.device)


def draw_frames(count: int, config: FramingConfig, generator: torch.Generator) -> Tensor:
    """(count, 5) frames, uniform in the ranges of the settings."""
    u = 2 * torch.rand(count, len(PARAMETERS), generator=generator) - 1
    scale = u[:, :1] * config.scale
    angle = u[:, 4:] * math.radians(config.rotation_degrees)
    # A move is a share of the smaller of picture and frame; coordinates are from -1 to 1.
    moves = u[:, 2:4] * 2 * config.shift * scale.clamp(max=0).exp()
    return torch.cat([scale, u[:, 1:2] * config.aspect, moves, angle], dim=1)


def warped(images: Tensor, frames: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Images (n, 3, h, h) so that the frames would undo it: (n, 3, side, side).

    What lies outside them is their mirror image for half of them, their edge for a quarter, and
    another image, itself warped, for the rest: a picture from elsewhere shows anything there.
    """
    inverse = torch.linalg.inv(frame_matrices(frames)).to(images.device)
    n = len(images)
    half, rest = n // 2, n // 2 + n // 4
    mirrored = level_warp(images[:half], inverse[:half], side, "reflection", levels=_LEVELS)
    edged = level_warp(images[half:], inverse[half:], side, "border", levels=_LEVELS)
    others = images[torch.randperm(n, generator=generator)[: n - rest].to(images.device)]
    far = 2 * frames[torch.randperm(n, generator=generator)[: n - rest]]
    around = level_warp(others, frame_matrices(far).to(images.device), side, "reflection")
    pasted = torch.where(reached(inverse[rest:], side), edged[rest - half :], around)
    return torch.cat([mirrored, edged[: rest - half], pasted])


def _half_detail(images: Tensor) -> Tensor:
    return F.interpolate(
        halved(images), size=images.shape[2:], mode="bilinear", align_corners=False
    )


def _as_seen(normalised: Tensor, images: Images) -> Tensor:
    """From the classifier's normalisation to that of `Framing.see`."""
    mean, std = (torch.tensor(v)[:, None, None].to(normalised) for v in (images.mean, images.std))
    return (normalised * std).add_(mean).mul_(4).sub_(2)


def _as_pixels(normalised: Tensor, images: Images) -> Tensor:
    """(n, side, side, 3) uint8, as `Framing` takes them."""
    return to_pixels((_as_seen(normalised, images) + 2) * (255 / 4))


# --- what it has learned -------------------------------------------------------------------------


@torch.inference_mode()
def _measured(
    framing: Framing,
    images: Images,
    validation: NDArray[np.intp],
    config: FramingConfig,
    seed: int,
    steps: int,
) -> FramingCard:
    """Set the limits on validation pictures, as they are and warped, and say what is undone."""
    rows = images.packed(validation)
    rng = np.random.default_rng([seed, 3])
    rows = drawn_rows(rows, _MEASURED, rng)
    generator = torch.Generator().manual_seed(seed)
    same = torch.eye(3)
    cpu, starts = torch.device("cpu"), range(0, len(rows), _BLOCK)
    own = torch.cat(
        [_first_look(framing, images, images.batch(rows[i : i + _BLOCK], cpu)) for i in starts]
    )
    _set_limit(framing, own, config)
    frames = draw_frames(len(rows), config, generator)
    moved = (
        warped(
            images.batch(rows[i : i + _BLOCK], cpu), frames[i : i + _BLOCK], framing.side, generator
        )
        for i in starts
    )
    found, rest = map(
        torch.cat, zip(*(framing(_as_pixels(m, images))[1:3] for m in moved), strict=True)
    )
    framing.rest_limit.copy_(rest.quantile(_NEARLY_ALL))
    truth = frame_matrices(frames)
    before, after = _corner_errors(same.expand_as(truth), truth), _corner_errors(found, truth)
    return FramingCard(
        steps=steps,
        side=framing.side,
        width=framing.width,
        looks=framing.looks,
        parameters=sum(p.numel() for p in framing.parameters()),
        validation=len(rows),
        before=float(before.median()),
        after=float(after.median()),
        nearer=_share(after < before / 2),
        untouched=_share(framing.distance(own) <= framing.limit),
        used=bool(after.median() < _MUST_UNDO * before.median()),
    )


def _first_look(framing: Framing, images: Images, batch: Tensor) -> Tensor:
    """(n, 5) frames of pictures as they are."""
    planes = _as_pixels(batch, images).permute(0, 3, 1, 2).float()
    return framing.estimate(framing.see_first(planes, torch.eye(3)))


def _set_limit(framing: Framing, own: Tensor, config: FramingConfig) -> None:
    """From the frames (n, 5) that are found in validation pictures as they are."""
    kept = own
    for _ in range(_TRIMMED):  # pictures that lie otherwise than the rest do not say what is usual
        framing.centre.copy_(kept.mean(0))
        spread = torch.cov((kept - framing.centre).T.double()) + 1e-6 * torch.eye(len(PARAMETERS))
        framing.precision.copy_(torch.linalg.inv(spread))
        far = framing.distance(own)
        kept = own[far <= far.quantile(_USUAL)]
    framing.limit.copy_(far.quantile(config.untouched))
    framing.far_limit.copy_(far.quantile(_FEW_BEYOND))


def _share(marks: Tensor) -> Estimate:
    return wilson_share(int(marks.sum()), len(marks))


def _corner_errors(found: Tensor, truth: Tensor) -> Tensor:
    """(n,) mean distance of a frame's corners from where they belong, in shares of the side."""
    corners = torch.tensor(CORNERS)
    off = (found @ corners - truth @ corners)[:, :2]
    found_errors: Tensor = off.norm(dim=1).mean(1) / 2
    return found_errors
