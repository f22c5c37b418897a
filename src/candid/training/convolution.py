"""Weight gradients of convolutions on small maps, quickly on processors with matrix tiles.

oneDNN 3.12 sums the weight gradient of a convolution row by row of the output. Intel's matrix
tiles (AMX) take 32 positions at a time, so a row of 4 fills an eighth of one, and the gradient
takes five times as long as the forward pass. Here images lie side by side while it is computed, as
wide images with gaps of zeros, which is the same sum (`bench/step.py`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_TILE = 32  # positions of a row that a tile takes in bfloat16
_NARROW = 8  # at most so many positions of a row waste more than laying images side by side costs


def wide_gradients(enabled: bool) -> AbstractContextManager[object]:
    """Within the block, `F.conv2d` of narrow maps under autocast is `conv2d`, if `enabled`.

    That pays in bfloat16 on a CPU with matrix tiles (`candid.models.device.has_matrix_tiles`).
    """
    return _WideGradients() if enabled else nullcontext()


class _WideGradients(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.conv2d and _is_narrow(*args, **kwargs):
            return _conv2d_in_autocast(*args, **kwargs)
        return func(*args, **kwargs)


def conv2d(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """`F.conv2d(images, weight, stride=stride, padding=1)` of a 3×3 kernel."""
    output: Tensor = _Convolution.apply(images, weight, stride)  # type: ignore[no-untyped-call]
    return output


def _conv2d_in_autocast(
    images: Tensor, weight: Tensor, bias: None = None, stride: Any = 1, *_: Any, **__: Any
) -> Tensor:
    dtype = torch.get_autocast_dtype("cpu")
    return conv2d(images.to(dtype), weight.to(dtype), stride[0])


def _is_narrow(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    return (
        torch.is_autocast_enabled("cpu")
        and weight.requires_grad
        and torch.is_grad_enabled()
        and bias is None
        and images.dim() == 4
        and tuple(weight.shape[2:]) == (3, 3)
        and stride in ((1, 1), (2, 2))
        and padding == (1, 1)
        and dilation == (1, 1)
        and groups == 1
        and images.shape[3] <= _NARROW * stride[0]
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride = stride
        return F.conv2d(images, weight, stride=stride, padding=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        stride, (needs_images, needs_weight, _) = ctx.stride, ctx.needs_input_grad
        of_images = of_weight = None
        if needs_images:
            of_images, _ = _gradients(gradient, images, weight, stride, (True, False))
        if needs_weight:
            wide = _side_by_side(gradient, images, stride)
            _, of_weight = _gradients(*wide, weight, stride, (False, True))
        return of_images, of_weight, None


def _gradients(
    gradient: Tensor, images: Tensor, weight: Tensor, stride: int, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    of_images, of_weight, _ = torch.ops.aten.convolution_backward(
        *(gradient, images, weight, None, [stride, stride], [1, 1], [1, 1], False, [0, 0], 1),
        [*wanted, False],
    )
    return of_images, of_weight


def _side_by_side(gradient: Tensor, images: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Both as fewer, wider images, which have the same gradient of the weight.

    After each image comes a column of zeros at least, its padding on the right and that of the next
    on the left, and as many as let the next begin `stride` times where its output does.
    """
    columns = -(-(images.shape[3] + 1) // stride)  # of output, for an image and its gap
    # The fewest that fill two tiles and that the batch divides into.
    n = len(images)
    count = next(k for k in range(1, n + 1) if n % k == 0 and (k * columns >= 2 * _TILE or k == n))
    return _join(gradient, count, columns), _join(images, count, columns * stride)


def _join(images: Tensor, count: int, columns: int) -> Tensor:
    """(n, c, h, w) → (n / count, c, h, count · columns), channels last: each padded with zeros."""
    n, channels, height, width = images.shape
    joined = images.new_zeros(n // count, height, count, columns, channels)
    rows = images.permute(0, 2, 3, 1).reshape(n // count, count, height, width, channels)
    joined[:, :, :, :width] = rows.transpose(1, 2)
    return joined.flatten(2, 3).permute(0, 3, 1, 2)
