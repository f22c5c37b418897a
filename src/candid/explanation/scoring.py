"""The score that is explained, and context managers that restore a module's state.

The score is the log-odds of a class, log p / (1 - p): for two classes the difference of their
logits. A single logit would not do, because adding a constant to all logits changes its maps and no
answer. For a network that predicts a number the score is the number, as a single logit's log-odds
is that logit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from candid.errors import CandidError

_CALIBRATION_IMAGES = 2000  # that `SecondLook` passes in both orientations before it trusts one


@dataclass(frozen=True, eq=False)
class Scorer:
    """A network in evaluation mode, with batches of at most `batch_size` images.

    It maps normalised images (batch, 3, side, side) to logits (batch, classes), or to one logit per
    image for two classes.
    """

    network: nn.Module
    device: torch.device
    dtype: torch.dtype  # of the weights
    batch_size: int
    bfloat16: bool = False  # whether products are in bfloat16
    flip_tta: bool = False  # whether logits are the mean of an image's and its mirror image's
    number: bool = False  # whether the single logit is a number, in its own unit

    def logits(self, images: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """(batch, classes) float32 logits in one pass; differentiable.

        Where the network averages an image and its mirror image, `mirrored` (batch,) selects one of
        the two for each, at half the cost; None: both.

        Raises CandidError where the network's output is no logits, or not finite.
        """
        if not self.flip_tta:
            return self._forward(self._prepare(images))
        flipped = images.flip(3)  # before the copy, whose memory format is slow to flip
        if mirrored is not None:
            is_mirrored = mirrored.to(images.device)[:, None, None, None]
            return self._forward(self._prepare(torch.where(is_mirrored, flipped, images)))
        return (self._forward(self._prepare(images)) + self._forward(self._prepare(flipped))) / 2

    def _prepare(self, images: Tensor) -> Tensor:
        """A copy in the weights' dtype and on their device: a network may modify its input."""
        return images.to(self.device, self.dtype, memory_format=torch.channels_last, copy=True)

    def _forward(self, images: Tensor) -> Tensor:
        """The network's logits."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.network(images)
        if isinstance(output, Tensor) and output.shape in ((len(images),), (len(images), 1)):
            second = output.reshape(-1, 1)
            output = torch.cat([torch.zeros_like(second), second], dim=1)
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(images):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise CandidError(
                f"{type(self.network).__name__} gives {got} for {len(images)} images.",
                expected="logits (images, classes), or one logit per image",
                todo="wrap the network in a module that gives logits",
            )
        if not bool(output.detach().isfinite().all()):
            raise CandidError(
                f"{type(self.network).__name__} gives logits that are not finite.",
                expected="finite logits for every image",
                todo="check the weights and the pixels",
            )
        return output.float()

    def scores(self, images: Tensor, explained: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """(batch,) log-odds of each image's explained class, in one pass; differentiable."""
        return log_odds(self.logits(images, mirrored), explained.to(self.device))

    @torch.no_grad()
    def all_logits(self, images: Tensor) -> Tensor:
        """(n, classes) logits of any number of images, in passes."""
        return torch.cat([self.logits(part) for part in torch.split(images, self.batch_size)])

    @torch.no_grad()
    def all_scores(self, images: Tensor, explained: Tensor) -> Tensor:
        """(n,) log-odds of any number of images, in passes."""
        return log_odds(self.all_logits(images), explained.to(self.device))

    def all_heights(self, images: Tensor, explained: Tensor) -> Tensor:
        """(n,) probabilities of any number of images' explained classes; of a number, itself."""
        if self.number:
            return self.all_scores(images, explained)
        is_mirrored = explained.to(self.device)[:, None]
        return self.all_logits(images).softmax(1).gather(1, is_mirrored)[:, 0]

    def gradients(
        self, images: Tensor, explained: Tensor, mirrored: Tensor | None = None
    ) -> Tensor:
        """The gradient of each image's score with respect to its pixels, in one pass."""
        with torch.enable_grad():
            leaf = images.detach().to(self.device).requires_grad_()
            score = self.scores(leaf, explained, mirrored).sum()
            (gradient,) = torch.autograd.grad(score, leaf)
        return gradient.float()


class SecondLook:
    """Predicts a scorer's classes, with a second pass only where the first is in doubt.

    A scorer may average the logits of an image and its mirror image. Let `spread` be the largest
    less the smallest difference of the two, over the classes. The first pass's best class is that
    of the mean wherever it leads by more than half the spread. That is estimated by the largest
    spread of the first `_CALIBRATION_IMAGES`, all passed in both orientations, and of later images
    in doubt. (Of as many further images, fewer than 3 in `_CALIBRATION_IMAGES` exceed it at 95%,
    and even these mostly keep their class.)
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._spread, self._n_images = 0.0, 0

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """(n,) classes of any number of images."""
        if not self.scorer.flip_tta:
            return self.scorer.all_logits(images).argmax(1).cpu()
        parts = torch.split(images, self.scorer.batch_size)
        return torch.cat([self._predict_batch(part) for part in parts])

    def _predict_batch(self, images: Tensor) -> Tensor:
        first = self.scorer.logits(images, torch.zeros(len(images), dtype=torch.bool))
        best = first.topk(2, dim=1).values
        in_doubt = (best[:, 0] - best[:, 1]).cpu() <= self._spread / 2
        if self._n_images < _CALIBRATION_IMAGES:
            in_doubt[:] = True
        answers = first.argmax(1).cpu()
        if in_doubt.any():
            doubtful = images[in_doubt]
            second = self.scorer.logits(doubtful, torch.ones(len(doubtful), dtype=torch.bool))
            first_doubtful = first[in_doubt.to(first.device)]
            gap = first_doubtful - second
            self._spread = max(self._spread, float((gap.amax(1) - gap.amin(1)).max()))
            answers[in_doubt] = (first_doubtful + second).argmax(1).cpu()
        self._n_images += len(images)
        return answers


class ScoredNumbers:
    """Predicts a scorer's numbers."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def predict(self, images: Tensor) -> Tensor:
        """(n,) float64 of any number of images."""
        ones = torch.ones(len(images), dtype=torch.int64)
        return self.scorer.all_scores(images, ones).double().cpu()


def log_odds(logits: Tensor, explained: Tensor) -> Tensor:
    """(batch,) log p / (1 - p) of one class per image, from (batch, classes) logits."""
    score = logits.gather(1, explained[:, None])
    rest = logits.scatter(1, explained[:, None], -torch.inf)
    return score[:, 0] - rest.logsumexp(dim=1)


# --- context managers ----------------------------------------------------------------------------

HookCallback = Callable[[str, Any, Any], Any]


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every module has its former mode."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def watching(
    modules: Mapping[str, nn.Module], callback: HookCallback, *, before: bool = False
) -> Iterator[None]:
    """Call callback(name, args, output) whenever one of the modules is used.

    What it returns, unless None, replaces the output. `before`: it is called before the module,
    with None for the output, and replaces the args. The hooks are removed afterwards, also after an
    exception.
    """

    def hook(name: str, module: nn.Module) -> RemovableHandle:
        if before:
            return module.register_forward_pre_hook(lambda _, args: callback(name, args, None))
        return module.register_forward_hook(lambda _, args, output: callback(name, args, output))

    with contextlib.ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(hook(name, module).remove)
        yield


@contextlib.contextmanager
def scoring(
    network: nn.Module,
    *,
    batch_size: int = 0,
    bfloat16: bool = False,
    flip_tta: bool = False,
    number: bool = False,
) -> Iterator[Scorer]:
    """The network as a scorer; its state is restored afterwards, also after an exception.

    Inside the block it is in evaluation mode and its weights have no gradient, which is also
    quicker. It stays on its device. `batch_size` 0 is 128 on a CPU, else 512.
    """
    tensors = [*network.parameters(), *network.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
    requires_grad = [(weight, weight.requires_grad) for weight in network.parameters()]
    size = batch_size or (128 if device.type == "cpu" else 512)
    with evaluating(network):
        try:
            for weight, _ in requires_grad:
                weight.requires_grad_(False)
            yield Scorer(network, device, dtype, size, bfloat16, flip_tta, number)
        finally:
            for weight, flag in requires_grad:
                weight.requires_grad_(flag)
