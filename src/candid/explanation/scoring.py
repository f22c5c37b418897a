"""A module as a score to be explained, and the module left as it was found.

What is explained is the log-odds of a class, log p / (1 - p): for two classes the difference of
their logits. A single logit would not do, because adding anything at all to every logit changes
maps of it and no answer. Of a network that gives a number it is the number, as a single logit's
log-odds is that logit.
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

_BOTH_WAYS = 2000  # images that `SecondLook` looks at both ways before it trusts the first


@dataclass(frozen=True, eq=False)
class Scorer:
    """A network in evaluation mode that takes no more than `batch_size` images at a time.

    It takes normalised images (batch, 3, side, side) and gives logits (batch, classes), or one
    logit per image where there are two classes.
    """

    network: nn.Module
    device: torch.device
    dtype: torch.dtype  # of the weights
    batch_size: int
    bfloat16: bool = False  # whether products are computed so
    flip_tta: bool = False  # whether logits are the mean of an image's and its mirror image's
    number: bool = False  # whether the one logit of an image is a number, in its own unit

    def logits(self, images: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """(batch, classes) float32 logits in one pass; differentiable.

        Where the network answers by the mean of an image and its mirror image, `mirrored` (batch,)
        says of each which of the two is looked at alone, at half the cost; None: both.

        Raises
        ------
        CandidError
            Where the network gives something else, or numbers that are not finite.
        """
        if not self.flip_tta:
            return self._pass(self._copied(images))
        mirror = images.flip(3)  # before the copy, whose memory takes ten times as long to turn
        if mirrored is not None:
            chosen = mirrored.to(images.device)[:, None, None, None]
            return self._pass(self._copied(torch.where(chosen, mirror, images)))
        return (self._pass(self._copied(images)) + self._pass(self._copied(mirror))) / 2

    def _copied(self, images: Tensor) -> Tensor:
        """As the weights are, and a copy: a network may write over what it is given."""
        return images.to(self.device, self.dtype, memory_format=torch.channels_last, copy=True)

    def _pass(self, images: Tensor) -> Tensor:
        """The network's own logits."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            out = self.network(images)
        if isinstance(out, Tensor) and out.shape in ((len(images),), (len(images), 1)):
            one = out.reshape(-1, 1)
            out = torch.cat([torch.zeros_like(one), one], dim=1)
        if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(images):
            came = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise CandidError(
                f"{type(self.network).__name__} gives {came} for {len(images)} images.",
                expected="logits (images, classes), or one logit per image",
                todo="wrap the network in a module that gives logits",
            )
        if not bool(out.detach().isfinite().all()):
            raise CandidError(
                f"{type(self.network).__name__} gives logits that are not finite.",
                expected="finite logits for every image",
                todo="check the weights and the pixels",
            )
        return out.float()

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
        chosen = explained.to(self.device)[:, None]
        return self.all_logits(images).softmax(1).gather(1, chosen)[:, 0]

    def gradients(
        self, images: Tensor, explained: Tensor, mirrored: Tensor | None = None
    ) -> Tensor:
        """The gradient of each image's score with respect to its pixels, in one pass."""
        with torch.enable_grad():
            leaf = images.detach().to(self.device).requires_grad_()
            score = self.scores(leaf, explained, mirrored).sum()
            (slope,) = torch.autograd.grad(score, leaf)
        return slope.float()


class SecondLook:
    """The classes that a scorer answers, with a second look only where the first leaves a doubt.

    A scorer may answer by the mean of an image's logits and its mirror image's. Let `spread` be the
    largest less the smallest difference of the two, over the classes. The first look's best class
    is the mean's wherever it leads by more than half the spread. That is not known before the
    second look; the largest spread of the first `_BOTH_WAYS` images, all looked at both ways, and
    of those that were in doubt later, stands for it. (Of as many images again, it is surpassed by
    fewer than 3 in `_BOTH_WAYS` at 95%, and even these keep their class but by bad luck.)
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self._spread, self._seen = 0.0, 0

    @torch.no_grad()
    def of(self, images: Tensor) -> Tensor:
        """(n,) the class of each of any number of images."""
        if not self.scorer.flip_tta:
            return self.scorer.all_logits(images).argmax(1).cpu()
        parts = torch.split(images, self.scorer.batch_size)
        return torch.cat([self._of_pass(part) for part in parts])

    def _of_pass(self, images: Tensor) -> Tensor:
        first = self.scorer.logits(images, torch.zeros(len(images), dtype=torch.bool))
        best = first.topk(2, dim=1).values
        doubt = (best[:, 0] - best[:, 1]).cpu() <= self._spread / 2
        if self._seen < _BOTH_WAYS:
            doubt[:] = True
        answers = first.argmax(1).cpu()
        if doubt.any():
            again = images[doubt]
            second = self.scorer.logits(again, torch.ones(len(again), dtype=torch.bool))
            one = first[doubt.to(first.device)]
            gap = one - second
            self._spread = max(self._spread, float((gap.amax(1) - gap.amin(1)).max()))
            answers[doubt] = (one + second).argmax(1).cpu()
        self._seen += len(images)
        return answers


class ScoredNumbers:
    """The numbers that a scorer gives."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def of(self, images: Tensor) -> Tensor:
        """(n,) float64 of any number of images."""
        ones = torch.ones(len(images), dtype=torch.int64)
        return self.scorer.all_scores(images, ones).double().cpu()


def log_odds(logits: Tensor, explained: Tensor) -> Tensor:
    """(batch,) log p / (1 - p) of one class per image, from (batch, classes) logits."""
    own = logits.gather(1, explained[:, None])
    others = logits.scatter(1, explained[:, None], -torch.inf)
    return own[:, 0] - others.logsumexp(dim=1)


# --- the module left as it was found -------------------------------------------------------------

Note = Callable[[str, Any, Any], Any]


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then each part is in its own again: some may be frozen."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def watching(
    modules: Mapping[str, nn.Module], note: Note, *, before: bool = False
) -> Iterator[None]:
    """Call note(name, what it was given, what it gave) whenever one of the modules is used.

    What `note` returns, unless it is None, takes the place of what the module gave. `before`: of
    what it was given, and without what it gave. The hooks are gone afterwards, also after an
    exception.
    """

    def hook(name: str, module: nn.Module) -> RemovableHandle:
        if before:
            return module.register_forward_pre_hook(lambda _, given: note(name, given, None))
        return module.register_forward_hook(lambda _, given, gave: note(name, given, gave))

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
    """The network as a scorer; afterwards, also after an exception, it is as it was found.

    Meanwhile it is in evaluation mode and its weights take no gradient, which is also quicker. It
    stays on its device. `batch_size` 0 is 128 on a CPU, else 512.
    """
    tensors = [*network.parameters(), *network.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
    learns = [(weight, weight.requires_grad) for weight in network.parameters()]
    size = batch_size or (128 if device.type == "cpu" else 512)
    with evaluating(network):
        try:
            for weight, _ in learns:
                weight.requires_grad_(False)
            yield Scorer(network, device, dtype, size, bfloat16, flip_tta, number)
        finally:
            for weight, wanted in learns:
                weight.requires_grad_(wanted)
