"""Operations across a batch (batch normalisation, dropout) for several processes' shares of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d)


class WholeBatch(TorchFunctionMode):
    """Overrides the functions that need the whole batch of `n`, of which this process has `share`.

    So any network works unchanged. Each process draws the random numbers for all, from the same
    seed: they cost little.
    """

    def __init__(self, share: slice, n: int) -> None:
        super().__init__()
        self.share, self.n, self.size = share, n, share.stop - share.start

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DROPOUTS:
            return self._dropout(func, *args, **kwargs)
        if func is F.batch_norm:
            return _batch_norm(*args, **kwargs)
        if func in (torch.rand, torch.randn):
            sizes = tuple(args[0]) if args and not isinstance(args[0], int) else args
            if sizes and sizes[0] == self.size:
                return func(self.n, *sizes[1:], **kwargs)[self.share]
        if func is Tensor.bernoulli_ and args[0].dim() and len(args[0]) == self.size:
            full = args[0].new_empty((self.n, *args[0].shape[1:]))
            return args[0].copy_(func(full, *args[1:], **kwargs)[self.share])
        return func(*args, **kwargs)

    def _dropout(
        self, func: Any, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        # Some networks fold other dimensions into the batch: then each image has several rows.
        per_image, remainder = divmod(len(x), self.size)
        if not training or remainder:
            output: Tensor = func(x, p, training, inplace)
            return output
        # In the memory order of the share, in which one process alone would draw.
        is_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_last else torch.contiguous_format
        ones = torch.ones((self.n * per_image, *x.shape[1:]), dtype=x.dtype, device=x.device)
        ones = ones.contiguous(memory_format=layout)
        rows = slice(self.share.start * per_image, self.share.stop * per_image)
        mask = func(ones, p, True, False)[rows]
        return x.mul_(mask) if inplace else x * mask


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` of the batch whose share `x` is.

    `torch.nn.SyncBatchNorm` does this on GPUs only.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    mean, var, n = _statistics(x.detach())
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * n / (n - 1)).to(running_var.dtype), momentum)
    out: Tensor = _Normalise.apply(x, mean, var, n, weight, bias, eps)  # type: ignore[no-untyped-call]
    return out


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """(channels,) mean and variance of all shares, and how many values each channel has.

    From each share's own mean and variance (Chan, Golub and LeVeque, 1983), so that nothing cancels
    where the mean is large.
    """
    var, mean = torch.var_mean(_promote(x), dim=_reduced_dims(x), correction=0)
    dtype, count = mean.dtype, torch.full_like(mean, x.numel() / x.shape[1])
    parts = torch.zeros(dist.get_world_size(), 3, len(mean), dtype=torch.float64, device=x.device)
    parts[dist.get_rank()] = torch.stack([count, mean, var])
    dist.all_reduce(parts)
    counts, means, variances = parts.unbind(1)  # each (processes, channels)
    total = counts.sum(0)
    mean = (counts * means).sum(0) / total
    var = (counts * (variances + (means - mean).square())).sum(0) / total
    return mean.to(dtype), var.to(dtype), float(total[0])


def _promote(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _reduced_dims(x: Tensor) -> list[int]:
    return [d for d in range(x.dim()) if d != 1]


class _Normalise(torch.autograd.Function):
    """Batch normalisation with given statistics, through which gradients flow as well."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, var: Tensor, n: float, weight: Any, bias: Any, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, mean, (var + eps).rsqrt(), weight)
        ctx.n = n
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale, weight = ctx.saved_tensors
        shape = [1, -1, *[1] * (x.dim() - 2)]
        mean, scale = mean.view(shape), scale.view(shape)
        grad, x = _promote(grad), (_promote(x) - mean) * scale
        grad_bias, grad_weight = grad.sum(_reduced_dims(x)), (grad * x).sum(_reduced_dims(x))
        # This share's part of both goes to the parameters, to be summed with all gradients.
        sums = torch.stack([grad_bias, grad_weight])
        dist.all_reduce(sums)
        shift, tilt = (s.view(shape) / ctx.n for s in sums)
        factor = scale if weight is None else scale * weight.view(shape)
        grad_x = (grad - shift - x * tilt) * factor
        grad_affine = (None, None) if weight is None else (grad_weight, grad_bias)
        return grad_x, None, None, None, *grad_affine, None
