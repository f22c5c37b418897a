"""What is kept of a stream of numbers too long to keep: its extremes, its mean, its spread."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Ranking:
    """The k largest (or least) values in each column of a stream; ties go to whoever came first.

    Memory is k rows, whatever the length of the stream.
    """

    def __init__(self, k: int, *, least: bool = False) -> None:
        self.k, self.least = k, least
        self.values: Tensor | None = None
        self.along: tuple[Tensor, ...] = ()

    def add(self, values: Tensor, *along: Tensor) -> None:
        """Add (batch, columns) values, and tensors (batch, columns, …) that go along with them."""
        if self.values is not None:
            values = torch.cat([self.values, values])
            along = tuple(torch.cat(pair) for pair in zip(self.along, along, strict=True))
        # Stable, and those that are kept stand first: so they win a tie.
        order = values.sort(dim=0, descending=not self.least, stable=True).indices[: self.k]
        columns = torch.arange(values.shape[1], device=values.device)
        self.values = values[order, columns]
        self.along = tuple(a[order, columns] for a in along)


class Moments:
    """Mean and standard deviation of each column of a stream (Chan, Golub & LeVeque 1983)."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = torch.zeros(0)
        self.squares = torch.zeros(0)

    def add(self, values: Tensor) -> None:
        """Add (batch, columns) values."""
        values = values.double()
        n, mean = len(values), values.mean(0)
        squares = (values - mean).square().sum(0)
        if not self.n:
            self.n, self.mean, self.squares = n, mean, squares
            return
        total, apart = self.n + n, mean - self.mean
        self.squares = self.squares + squares + apart.square() * self.n * n / total
        self.mean = self.mean + apart * n / total
        self.n = total

    @property
    def sd(self) -> Tensor:
        """(columns,) standard deviation, of all that came: divided by n."""
        return (self.squares / max(self.n, 1)).sqrt()


def rows_along(start: int, shape: Sequence[int], device: torch.device) -> Tensor:
    """(batch, columns): the number of each row in the stream, in every column."""
    return torch.arange(start, start + shape[0], device=device)[:, None].expand(*shape)
