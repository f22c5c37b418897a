"""Networks as plain modules, smallest first, and a dict of their builders.

Every network maps normalised images (batch, 3, side, side) to logits (batch, classes).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candid.errors import ConfigError, DependencyError
from candid.models.counting import Products
from candid.models.features import Features
from candid.models.vit import vit
from candid.models.warping import is_tracing
from candid.records import Layer
from candid.settings import NetworkConfig
from candid.settings.named_parts import format_error, import_trusted_part, is_named_part
from candid.settings.network import AUTO, FACE, window_edges


class Plain(nn.Module):
    """The description's network: two convolutions, one pooling, two fully connected layers.

    Convolutions are 3×3 without padding, as in the MNIST example of PyTorch's own collection.
    """

    def __init__(self, side: int, n_classes: int) -> None:
        super().__init__()
        pooled = (side - 4) // 2
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.pool = nn.MaxPool2d(2)
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Linear(64 * pooled * pooled, 128)
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of normalised images (batch, 3, side, side)."""
        x = F.relu(self.conv1(images))  # (batch, 32, side - 2, side - 2)
        x = F.relu(self.conv2(x))  # (batch, 64, side - 4, side - 4)
        x = self.dropout1(self.pool(x)).flatten(1)  # (batch, 64 · pooled²)
        x = self.dropout2(F.relu(self.fc1(x)))  # (batch, 128)
        logits: Tensor = self.fc2(x)
        return logits


class Residual(nn.Module):
    """Two 3×3 convolutions with a skip connection, as in He et al., 2016.

    The last scale begins at 0, so that an initial block is the identity (Goyal et al., 2017).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


def to_depth(images: Tensor, padding: int) -> Tensor:
    """(batch, 3, side, side) → (batch, 12, side / 2, side / 2): squares of 2×2 pixels as channels.

    `padding` is 1 for an odd side: the last row and column are then repeated.
    """
    if padding:
        images = F.pad(images, (0, 1, 0, 1), mode="replicate")
    device_type = images.device.type
    if (
        device_type != "cpu"
        or images.requires_grad
        or is_tracing()
        or not torch.is_autocast_enabled(device_type)
    ):
        return F.pixel_unshuffle(images, 2)
    # The same, twice as quickly: the convolution that follows rounds to this type in any case.
    batch, channels, height, width = images.shape
    size = (batch, 4 * channels, height // 2, width // 2)
    dtype = torch.get_autocast_dtype(device_type)
    squares = torch.empty(size, dtype=dtype, memory_format=torch.channels_last)
    images = images.to(dtype)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        squares[:, 2 * i + j :: 4] = images[:, :, i::2, j::2]
    return squares


def crop_to_window(images: Tensor, window: tuple[float, ...]) -> Tensor:
    """Crop every image to a window and resize it bilinearly to the original size.

    (batch, channels, height, width) → the same shape. `window` is the left, top, right and bottom,
    from 0 to 1; empty: the whole image.
    """
    if not window:
        return images
    left, top, right, bottom = window
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        # ONNX Runtime takes an eighth of the time for two products.
        rows = _resampling(int(images.shape[2]), top, bottom)
        columns = _resampling(int(images.shape[3]), left, right)
        return rows @ (images @ columns.t())
    images = images.contiguous()  # rows of pixels, which are quicker to select from
    return _resample_axis(_resample_axis(images, 2, top, bottom), 3, left, right)


def _resampling(size: int, low: float, high: float) -> Tensor:
    """(size, size) the linear map that is `_resample_axis`."""
    return _resample_axis(torch.eye(size)[None, None], 2, low, high)[0, 0]


def _resample_axis(images: Tensor, axis: int, low: float, high: float) -> Tensor:
    """Resample an axis bilinearly from `low` to `high`, to as many pixels as before."""
    size = int(images.shape[axis])  # a number in an exported graph, too
    steps = torch.arange(size, device=images.device, dtype=torch.float32) + 0.5
    positions = (low * size + (high - low) * steps - 0.5).clamp(0, size - 1)
    first = positions.long()
    share = (positions - first).to(images.dtype)[(...,) + (None,) * (3 - axis)]
    second = (first + 1).clamp(max=size - 1)
    return _select(images, axis, first).lerp(_select(images, axis, second), share)


def _select(images: Tensor, axis: int, positions: Tensor) -> Tensor:
    """`images.index_select(axis, positions)`, which takes ten times as long on the last axis."""
    if axis < images.dim() - 1 or is_tracing():  # a compiler makes its own of it
        return images.index_select(axis, positions)
    return images.gather(axis, positions.expand(*images.shape[:-1], -1))


class Deep(nn.Module):
    """A residual network for small images that is quick on CPUs.

    Squares of 2×2 pixels become 12 channels at once (space to depth), so no convolution runs at the
    full resolution, and the many channels of the later stages keep matrix units busy. Four stages
    of `width` · (1, 2, 4, 8) channels follow, each but the first halving the image with a stride,
    down to one pixel; the last three have `depth` residual blocks each: 1 makes 10 convolutions, 2
    make 16. `window` is the part of the image that it sees, as left, top, right and bottom from 0
    to 1; empty: all of it.
    """

    def __init__(
        self, side: int, n_classes: int, *, width: int = 32, depth: int = 1, window: str = ""
    ) -> None:
        super().__init__()
        self.padding = side % 2
        self.window = window_edges(window)
        layers: list[nn.Module] = []
        previous, size = 12, (side + self.padding) // 2
        for stage, channels in enumerate((width, 2 * width, 4 * width, 8 * width)):
            # A stride does nothing for one pixel, and oneDNN 3.12 leaves parts of such a
            # convolution's gradient unwritten in bfloat16.
            stride = 1 if stage == 0 or size == 1 else 2
            size = math.ceil(size / stride)
            layers += [
                nn.Conv2d(previous, channels, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
            if stage > 0:
                layers += [Residual(channels) for _ in range(depth)]
            previous = channels
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(previous, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of normalised images (batch, 3, side, side)."""
        x = to_depth(crop_to_window(images, self.window), self.padding)
        x = self.body(x)  # (batch, 8 · width, side / 16, side / 16)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class Joined(nn.Module):
    """Concatenates the feature maps of an ensemble's networks along the channels."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Each (batch, channels, rows, columns) → (batch, all channels, rows, columns)."""
        return torch.cat(maps, dim=1)


class DeepEnsemble(nn.Module):
    """An ensemble of several networks `Deep` (Lakshminarayanan et al., 2017).

    They differ in their initial weights and in their images: in training, a batch is divided among
    them. Otherwise their logits are averaged. As each ends in a linear layer, the mean of their
    logits is one linear layer on all their maps, so that explanations and exports work as for one
    network.
    """

    def __init__(
        self,
        side: int,
        n_classes: int,
        *,
        width: int = 32,
        depth: int = 1,
        window: str = "",
        ensemble_size: int = 2,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "depth": depth}
        networks = [Deep(side, n_classes, **sizes, window=window) for _ in range(ensemble_size)]
        self.padding, self.window = networks[0].padding, networks[0].window
        self.bodies = nn.ModuleList(network.body for network in networks)
        self.joined = Joined()
        self.head = nn.Linear(sum(network.head.in_features for network in networks), n_classes)
        if self.head.weight.is_meta:  # nothing to copy, and torch would take seconds for it
            return
        with torch.no_grad():
            self.head.weight.copy_(torch.cat([network.head.weight for network in networks], dim=1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of normalised images (batch, 3, side, side)."""
        x = to_depth(crop_to_window(images, self.window), self.padding)
        if self.training:
            return self._forward_shares(x)
        maps: Tensor = self.joined([body(x) for body in self.bodies])
        logits: Tensor = self.head(maps.mean(dim=(2, 3)) / len(self.bodies))
        return logits

    def _forward_shares(self, x: Tensor) -> Tensor:
        """Each network's logits for its share of the batch, in the order of the batch."""
        weights = self.head.weight.chunk(len(self.bodies), dim=1)
        shares = x.tensor_split(len(self.bodies))
        logits = [
            F.linear(body(share).mean(dim=(2, 3)), weight, self.head.bias)
            for body, weight, share in zip(self.bodies, weights, shares, strict=True)
            if len(share)
        ]
        return torch.cat(logits)


def deep(
    side: int,
    n_classes: int,
    *,
    ensemble_size: int = 1,
    width: int = 32,
    depth: int = 1,
    window: str = "",
) -> nn.Module:
    """`Deep`, or an ensemble of several."""
    if ensemble_size == 1:
        return Deep(side, n_classes, width=width, depth=depth, window=window)
    return DeepEnsemble(
        side, n_classes, width=width, depth=depth, window=window, ensemble_size=ensemble_size
    )


def timm_network(
    side: int, n_classes: int, *, model: str = "", pretrained: bool = False
) -> nn.Module:
    """A network of the library timm, with random or with timm's pretrained weights.

    Raises DependencyError where timm is not installed; ConfigError where it has no model of that
    name, or its weights cannot be fetched.
    """
    try:
        import timm
    except ImportError as error:
        raise DependencyError(
            "A network of timm needs timm.",
            expected="the library timm",
            todo="pip install timm",
        ) from error
    if model not in timm.list_models():
        raise ConfigError(
            f"timm has no model {model!r}.",
            expected="one of timm.list_models()",
            todo="set network.model",
        )
    try:
        network: nn.Module = timm.create_model(model, pretrained=pretrained, num_classes=n_classes)
    except (OSError, RuntimeError) as error:  # no connection, no such file, no weights
        if not pretrained:
            raise
        raise ConfigError(
            f"The weights of timm's {model} cannot be had: {_first_line(error)}",
            expected="a connection to where timm keeps them, or weights that it fetched before",
            todo="leave network.pretrained out, or begin with a file: --from weights.safetensors",
        ) from error
    return network


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def custom_network(side: int, n_classes: int, *, module: str = "") -> nn.Module:
    """A custom network, built by `module(side, n_classes)`: `package.module:function`.

    Raises ConfigError where the module was passed in from Python, so that no name builds it; where
    the name is not trusted (see `candid.settings.named_parts`); or where it builds no network.
    """
    if not is_named_part(module):
        raise ConfigError(
            f"The network is one of your own{module and f', {module}'}, and cannot be built by "
            "name.",
            expected="the module itself, from Python",
            todo="candid.train(dataset, network=module), or set network.name",
        )
    builder = import_trusted_part(module, "The network")
    try:
        network = builder(side, n_classes)
    except Exception as error:  # whatever the user's code raises
        raise ConfigError(
            f"{module}({side}, {n_classes}) failed: {format_error(error)}.",
            expected="a torch.nn.Module",
            todo="mend it",
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"{module}({side}, {n_classes}) gives a {type(network).__name__}.",
            expected="a torch.nn.Module that takes normalised images (batch, 3, side, side) and "
            "gives logits (batch, classes)",
            todo="return one",
        )
    return network


BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "plain": Plain,
    "deep": deep,
    "vit": vit,
    "features": Features,
    "timm": timm_network,
    "own": custom_network,
}


def build(name: str, *, side: int, n_classes: int, **options: Any) -> nn.Module:
    """A network with random weights for images of `side` × `side` pixels.

    `name` is a key of `BUILDERS`, `options` are its builder's: width, depth, … Raises ConfigError
    for a name that is not in `BUILDERS`, or options that the network cannot have.
    """
    if name not in BUILDERS:
        raise ConfigError(
            f"There is no network {name!r}.",
            expected="one of: " + ", ".join(BUILDERS),
            todo="set network.name",
        )
    return BUILDERS[name](side, n_classes, **options)


def options(config: NetworkConfig) -> dict[str, int | float | str]:
    """The builder's options from the settings; a width or depth of 0 is the network's default.

    Without those of initial weights: a trained network is built without them.
    """
    names = {f.name for f in fields(config)} - {"name", "pretrained"}
    values = {f.name: getattr(config, f.name) for f in fields(config) if f.name in names}
    # Without defaults, and windows that are still to be found in the images.
    for name, unused in (("ensemble_size", (1,)), ("window", ("", FACE, AUTO))):
        if values.get(name) in unused:
            del values[name]
    parameters = inspect.signature(BUILDERS[config.name]).parameters
    defaults = {k: p.default for k, p in parameters.items()}
    return {k: defaults[k] if v == 0 and k != "drop_path" else v for k, v in values.items()}


def describe(network: nn.Module, side: int) -> tuple[tuple[Layer, ...], int]:
    """The layers in the order in which an image passes them, and the multiply-adds for one image.

    Multiply-adds are those of convolutions and matrix products; the rest is negligible. The network
    keeps its mode.
    """
    # With gradients, as on a CPU the counter does not know attention without.
    with torch.enable_grad(), Products() as products:
        layers = trace_layers(network, side)
    return layers, products.flops // 2


def trace_layers(network: nn.Module, side: int) -> tuple[Layer, ...]:
    """The layers in the order in which an image passes them; the network keeps its mode."""
    layers: list[Layer] = []

    def record(name: str, module: nn.Module, output: Tensor) -> None:
        parameters = sum(p.numel() for p in module.parameters(recurse=False))
        shape, kind = tuple(output.shape[1:]), type(module).__name__
        layers.append(Layer(name, kind, shape, parameters, module.extra_repr()))

    leaves = [(n, m) for n, m in network.named_modules() if not list(m.children())]
    hooks = [
        module.register_forward_hook(lambda m, _, out, name=name: record(name, m, out))
        for name, module in leaves
    ]
    was_training = network.training
    device = next(network.parameters()).device
    try:
        network.eval()(torch.zeros(1, 3, side, side, device=device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return tuple(layers)
