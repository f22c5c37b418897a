"""A trained network: its weights in safetensors, the rest in JSON, and the way to an answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from candid.config import with_values
from candid.errors import ConfigError, DataError, RunError
from candid.models.device import placed
from candid.models.framing import Framing
from candid.models.networks import build
from candid.models.outputs import Outputs, with_outputs
from candid.models.pixels import PixelNetwork
from candid.records import ModelCard
from candid.settings import Config, ensemble_size
from candid.storage.files import regular


def load_network(
    weights: Path, card: ModelCard, device: torch.device, network: nn.Module | None = None
) -> nn.Module:
    """The network that `card` describes, with the weights of a file, in evaluation mode.

    Of one that learned several labels, with the outputs of the card's label alone.

    `network` is filled where it is given: a network that was handed in cannot be built by name.
    Raises RunError where the file is missing, damaged, belongs to another network, or holds NaN.
    """
    own = card.network == "own"
    if network is None and own:
        network = build("own", side=card.side, n_classes=card.n_outputs, **card.options)
    try:
        if network is None:
            shapes = _shapes(regular(weights))
            # First without memory, so that a stranger's record can ask for no more than is there.
            with torch.device("meta"):
                described = _built(card, len(shapes)).state_dict()
            _compare({name: tuple(value.shape) for name, value in described.items()}, shapes)
            network = _built(card, len(shapes))
        tensors = load_file(regular(weights))
        network.load_state_dict(tensors)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise RunError(
            f"Cannot load the weights in {weights}: {type(error).__name__}: {str(error)[:500]}",
            expected=f"weights of the network {card.network!r} for {card.side}×{card.side} pixels",
            todo="train again, or name a run whose training was finished",
        ) from error
    if wrong := [n for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]:
        raise RunError(
            f"{len(wrong):,} of {len(tensors):,} tensors in {weights} hold NaN or infinity, such "
            f"as {wrong[0]}.",
            expected="finite numbers",
            todo="take the file from where the run was made, or train again",
        )
    if card.head is not None:
        first, outputs = card.head
        ending = Outputs if own else with_outputs  # a network of the caller's own stays whole
        network = ending(network, first, len(card.classes), outputs)
    return placed(network, device).eval()


def _built(card: ModelCard, tensors: int) -> nn.Module:
    """The network that a record describes, whose weights are so many tensors, with fresh ones."""
    try:
        chosen = with_values(Config(), {"network": card.options | {"name": card.network}}).network
        # Each block has several tensors, so a file with few is not of a network with many.
        depth, members = getattr(chosen, "depth", 0), ensemble_size(chosen)
        if depth * members > tensors:
            raise ValueError(f"{members} × {depth} blocks in {tensors} tensors")
        return build(card.network, side=card.side, n_classes=card.n_outputs, **card.options)
    except ConfigError as error:  # its advice is about a setting
        raise ValueError(error.what) from error


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Of each tensor, from the file's head."""
    with safe_open(weights, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _compare(described: dict[str, tuple[int, ...]], there: dict[str, tuple[int, ...]]) -> None:
    names = sorted(described.keys() | there.keys())
    wrong = [n for n in names if described.get(n) != there.get(n)]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{len(wrong):,} of {len(names):,} tensors differ, such as {first}: "
            f"{there.get(first, 'none')}, not {described.get(first, 'none')}"
        )


# --- from pixels to probabilities ---------------------------------------------------------------


class Whole(PixelNetwork):
    """A network with all that stands around it, as `candid.load_model` gives it and as exported.

    Framing where the run has it, normalisation, the average with the mirrored picture where the
    model was made so, the temperature and the softmax are inside. RGB pixels go in, as uint8 (n,
    side, side, 3) or as floating point from 0 to 1 (n, 3, side, side); calibrated probabilities
    (n, classes) come out.

    Attributes
    ----------
    classes
        The label's values, in the order of the probabilities.
    side
        Pixels per side of the square that it sees.
    input_side
        Pixels per side that a picture best comes with; twice `side` where it is framed first. Then
        `side` is possible, too.
    """

    def __init__(self, network: nn.Module, card: ModelCard, framing: Framing | None = None) -> None:
        super().__init__(
            network,
            mean=card.mean,
            std=card.std,
            temperature=card.temperature,
            flip_tta=card.flip_tta,
            framing=framing,
        )
        self.input_side = card.side if framing is None else framing.input_side
        self.classes, self.side = card.classes, card.side

    def forward(self, pixels: Tensor) -> Tensor:
        """Probabilities (n, classes) of uint8 pixels (n, side, side, 3), or of floats.

        Raises DataError for pixels of another shape or type.
        """
        if pixels.dtype == torch.uint8:
            self._check(pixels, {(side, side, 3) for side in (self.side, self.input_side)})
            planes = pixels.permute(0, 3, 1, 2)
        else:
            self._check(pixels, {(3, side, side) for side in (self.side, self.input_side)})
            planes = 255 * pixels
        return self.normalised(self.logits(planes))

    def normalised(self, logits: Tensor) -> Tensor:
        """Probabilities (n, classes) of what `logits` gives."""
        return torch.softmax(logits, dim=1)

    def _check(self, pixels: Tensor, shapes: set[tuple[int, int, int]]) -> None:
        what, side = "", self.input_side
        shape = tuple(int(n) for n in pixels.shape[1:])  # numbers, too, where torch records it
        if pixels.dim() != 4 or shape not in shapes:
            what = f"have the shape {tuple(pixels.shape)} and the type {pixels.dtype}"
        elif pixels.dtype != torch.uint8 and not (abs(pixels - 0.5) <= 1).all():
            # A resampled picture overshoots a little; a normalised one, or one to 255, far.
            what = "are floating point and lie far outside 0 to 1"
        if what:
            raise DataError(
                f"The pixels {what}.",
                expected=f"uint8 (n, {side}, {side}, 3), or floating point from 0 to 1 "
                f"(n, 3, {side}, {side}), in the order RGB",
                todo="resize the picture, and do not normalise it: the model does",
            )


def load_whole_model(
    weights: Path,
    card: ModelCard,
    network: nn.Module | None = None,
    framing: Framing | None = None,
) -> Whole:
    """The network that `card` describes with the weights of a file, on the processor.

    `network` is filled where it is given: a network that was handed in cannot be built by name.
    `framing` brings pictures to the frame of the training pictures first. Raises RunError where the
    file is missing, damaged, or belongs to another network.
    """
    filled = load_network(weights, card, torch.device("cpu"), network)
    return Whole(filled, card, framing).eval()


class TorchEngine:
    """Runs the module as it is; several threads may ask at once."""

    name = "torch"

    def __init__(self, whole: Whole) -> None:
        self._whole = whole

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, classes) of pixels (n, side, side, 3)."""
        with torch.inference_mode():
            batch = torch.from_numpy(np.array(pixels, np.uint8))  # a copy: torch wants to own it
            out: NDArray[np.float32] = self._whole(batch).numpy()
        return out
