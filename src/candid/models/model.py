"""A trained network: its weights in safetensors, its card in JSON, and its probabilities."""

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
from candid.models.device import to_device
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

    `network`, if given, receives the weights: a custom one may not be built by name. Raises
    RunError where the file is missing, damaged, belongs to another network, or holds NaN.
    """
    is_custom = card.network == "own"
    if network is None and is_custom:
        network = build("own", side=card.side, n_classes=card.n_outputs, **card.options)
    try:
        if network is None:
            shapes = _read_shapes(regular(weights))
            # First on the meta device, so that an untrusted card cannot ask for much memory.
            with torch.device("meta"):
                described = _build_network(card, len(shapes)).state_dict()
            _check_shapes({name: tuple(value.shape) for name, value in described.items()}, shapes)
            network = _build_network(card, len(shapes))
        tensors = load_file(regular(weights))
        network.load_state_dict(tensors)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise RunError(
            f"Cannot load the weights in {weights}: {type(error).__name__}: {str(error)[:500]}",
            expected=f"weights of the network {card.network!r} for {card.side}×{card.side} pixels",
            todo="train again, or name a run whose training was finished",
        ) from error
    floats = {n: t for n, t in tensors.items() if t.is_floating_point()}
    if invalid := [n for n, t in floats.items() if not t.isfinite().all()]:
        raise RunError(
            f"{len(invalid):,} of {len(tensors):,} tensors in {weights} hold NaN or infinity, such "
            f"as {invalid[0]}.",
            expected="finite numbers",
            todo="take the file from where the run was made, or train again",
        )
    if card.head is not None:
        first, outputs = card.head
        wrap = Outputs if is_custom else with_outputs  # a custom network is not changed in place
        network = wrap(network, first, len(card.classes), outputs)
    return to_device(network, device).eval()


def _build_network(card: ModelCard, tensors: int) -> nn.Module:
    """The network that a card describes, with random weights; `tensors` is their number."""
    try:
        settings = with_values(Config(), {"network": card.options | {"name": card.network}}).network
        # Each block has several tensors, so a file of few tensors has no network of many blocks.
        depth, members = getattr(settings, "depth", 0), ensemble_size(settings)
        if depth * members > tensors:
            raise ValueError(f"{members} × {depth} blocks in {tensors} tensors")
        return build(card.network, side=card.side, n_classes=card.n_outputs, **card.options)
    except ConfigError as error:  # its advice is about a setting
        raise ValueError(error.what) from error


def _read_shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, from the file's header."""
    with safe_open(weights, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _check_shapes(expected: dict[str, tuple[int, ...]], actual: dict[str, tuple[int, ...]]) -> None:
    names = sorted(expected.keys() | actual.keys())
    different = [n for n in names if expected.get(n) != actual.get(n)]
    if different:
        first = different[0]
        raise ValueError(
            f"{len(different):,} of {len(names):,} tensors differ, such as {first}: "
            f"{actual.get(first, 'none')}, not {expected.get(first, 'none')}"
        )


# --- from pixels to probabilities ---------------------------------------------------------------


class Whole(PixelNetwork):
    """A network with its preprocessing and calibration, as `candid.load_model` returns it.

    It contains the run's framing, normalisation, flip averaging, temperature and softmax. It maps
    RGB pixels, as uint8 (n, side, side, 3) or as floating point from 0 to 1 (n, 3, side, side), to
    calibrated probabilities (n, classes).

    Attributes
    ----------
    classes
        The label's values, in the order of the probabilities.
    side
        Pixels per side of the network's input.
    input_side
        The best number of pixels per side of an image; twice `side` where it is framed first. Then
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
        """Probabilities (n, classes) of logits."""
        return torch.softmax(logits, dim=1)

    def _check(self, pixels: Tensor, shapes: set[tuple[int, int, int]]) -> None:
        problem, side = "", self.input_side
        shape = tuple(int(n) for n in pixels.shape[1:])  # integers in a traced graph, too
        if pixels.dim() != 4 or shape not in shapes:
            problem = f"have the shape {tuple(pixels.shape)} and the type {pixels.dtype}"
        elif pixels.dtype != torch.uint8 and not (abs(pixels - 0.5) <= 1).all():
            # A resampled image overshoots a little; a normalised one, or one to 255, a lot.
            problem = "are floating point and lie far outside 0 to 1"
        if problem:
            raise DataError(
                f"The pixels {problem}.",
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
    """The network that `card` describes with the weights of a file, on the CPU.

    `network` is as for `load_network`; `framing` warps images to the frame of the training images
    first. Raises RunError where the file is missing, damaged, or belongs to another network.
    """
    loaded = load_network(weights, card, torch.device("cpu"), network)
    return Whole(loaded, card, framing).eval()


class TorchEngine:
    """Runs the module in torch; thread-safe."""

    name = "torch"

    def __init__(self, model: Whole) -> None:
        self._model = model

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, classes) of pixels (n, side, side, 3)."""
        with torch.inference_mode():
            batch = torch.from_numpy(np.array(pixels, np.uint8))  # a writable copy
            probabilities: NDArray[np.float32] = self._model(batch).numpy()
        return probabilities
