"""Several processes that train one network.

torchrun starts them and sets their ranks in the environment; without that a process is alone.

They compute the numbers of a single process: each takes its share of a batch through the network;
the outputs are gathered, so that each computes the loss of the whole batch, whatever that loss is;
and the gradients of the shares add up to that of the whole. What a network does across a batch
(batch normalisation, dropout's random numbers) is done across all shares.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from candid.errors import CandidError, ConfigError, TrainingError
from candid.training.whole_batch import WholeBatch

T = TypeVar("T")

# How long to wait for a process that neither answers nor ends.
_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Team:
    """The processes that train together, of which this is number `rank`; one alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """The slice of `n` items for this process; those of all processes partition them."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def gather(self, local: Tensor, n: int) -> Tensor:
        """The `n` rows of all processes, from the share that each has; with its gradient.

        Each process must compute the same from them. A share's gradient then comes from its own
        process alone: the sum over all processes would count it `size` times.
        """
        if self.size == 1:
            return local
        gathered: Tensor = _Gather.apply(local, self.share(n), n)  # type: ignore[no-untyped-call]
        return gathered

    def parallelise(self, network: nn.Module) -> nn.Module:
        """The network; of several processes wrapped so that their gradients are summed.

        Not averaged, DistributedDataParallel's default: each process has the gradient of the whole
        batch's loss through its own share.
        """
        if self.size == 1:
            return network
        # Buffers need not be sent: they are equal, as statistics are those of the whole batch.
        parameters = inspect.signature(DistributedDataParallel).parameters
        sync = (
            "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
        )
        options: dict[str, Any] = {sync: False}
        parallel = DistributedDataParallel(network, **options)
        parallel.register_comm_hook(None, _sum_gradients)
        return parallel

    @contextlib.contextmanager
    def whole_batch(self, n: int) -> Iterator[slice]:
        """In this block, a share of a batch of `n` images is treated as a part of the whole.

        Random numbers are drawn for all images, and each process uses those of its share; batch
        normalisation has the statistics of all. Yields the share.

        Dropout inside `torch.nn.functional.multi_head_attention_forward` is not reached: there each
        process draws for its own share what the others draw for theirs.
        """
        if self.size == 1:
            yield slice(0, n)
            return
        with WholeBatch(self.share(n), n):
            yield self.share(n)

    def broadcast(self, make: Callable[[], T]) -> T:
        """The return value of `make`, called in the leading process, in all processes.

        If it raises an error, the others exit silently.
        """
        if self.size == 1:
            return make()
        outcome: list[Any] = [None, None]  # the value, or with what code to end
        try:
            if self.leads:
                outcome[0] = make()
        except BaseException as error:
            outcome[1] = error.exit_code if isinstance(error, CandidError) else 1
            raise
        finally:
            dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
        if outcome[1] is not None:
            sys.exit(outcome[1])
        value: T = outcome[0]
        return value

    def wait(self) -> None:
        """Wait for all processes, without a timeout while they live."""
        if self.size > 1:
            dist.barrier(group=dist.new_group(backend="gloo", timeout=timedelta(days=30)))

    @contextlib.contextmanager
    def copied(self, path: Path) -> Iterator[Path | None]:
        """A file of the leading process, readable in each; None where there is none.

        The others may be on machines without that folder: they have a copy inside the block.
        """
        if self.size == 1:
            yield path if path.is_file() else None
            return
        content = self.broadcast(lambda: path.read_bytes() if path.is_file() else None)
        if content is None or self.leads:
            yield None if content is None else path
            return
        with tempfile.TemporaryDirectory(prefix="candid-") as folder:
            copy = Path(folder) / path.name
            copy.write_bytes(content)
            yield copy

    def check_enough(self, **counts: int) -> None:
        """Raise a ConfigError where there are fewer of something than processes."""
        for name, count in counts.items():
            if count < self.size > 1:
                raise ConfigError(
                    f"{count} {name.replace('_', ' ')} cannot be shared by {self.size} processes.",
                    expected="at least one for each",
                    todo="start fewer processes",
                )

    def check_agreed(self, name: str, value: str) -> None:
        """Raise a ConfigError where the processes have different values."""
        if self.size == 1:
            return
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise ConfigError(
                f"The processes have different {name}: {', '.join(sorted(set(values)))}.",
                expected="the same on every machine",
                todo=f"give every process the same command and the same {name}",
            )


def team() -> Team:
    """The processes of the `join_group` block, or this one alone."""
    if not (dist.is_available() and dist.is_initialized()):
        return Team()
    return Team(dist.get_rank(), dist.get_world_size())


@contextlib.contextmanager
def join_group() -> Iterator[Team]:
    """Join the process group that torchrun started, for the time of the block.

    Tensors on a CPU are exchanged through gloo, those on GPUs through NCCL. The others notice a
    killed process within seconds, and one that hangs within half an hour.

    Raises ConfigError where there are more processes on a machine than GPUs; TrainingError where
    another process was lost.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" or dist.is_initialized():
        yield team()
        return
    backend = "gloo"
    if torch.cuda.is_available() and dist.is_nccl_available():
        backend = "cpu:gloo,cuda:nccl"
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= gpus:
            raise ConfigError(
                f"This is process {local + 1} of a machine with {gpus} GPUs.",
                expected="at most one process per GPU",
                todo=f"start torchrun with --nproc-per-node {gpus}, or hide the GPUs with "
                "CUDA_VISIBLE_DEVICES=''",
            )
        torch.cuda.set_device(local)
    with _translate_errors():
        store, rank, size = next(rendezvous("env://", timeout=_TIMEOUT))
        store = fresh_store(store, rank, size)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT)
        try:
            yield team()
        finally:
            dist.destroy_process_group()


def fresh_store(store: Store, rank: int, size: int) -> Store:
    """An unused part of the store, the same for all processes.

    torchrun keeps its store when it restarts processes, and with it the addresses of those that
    died: a quick process would call another's old address. Nor is there a number of the attempt on
    which the machines agree. So the first process makes a random name, and each other one receives
    it in answer to a random word of its own.
    """
    name = secrets.token_hex(8)
    if rank:
        store.set(f"candid/word/{rank}", name)
        name = store.get(f"candid/answer/{name}").decode()
        store.set(f"candid/heard/{name}/{rank}", "")
        return PrefixStore(f"candid/{name}", store)
    deadline = time.monotonic() + _TIMEOUT.total_seconds()
    waiting = set(range(1, size))
    while waiting:
        for member in waiting:
            word = f"candid/word/{member}"
            if store.check([word]):  # perhaps of a process that died: then another follows
                store.set(f"candid/answer/{store.get(word).decode()}", name)
        waiting = {r for r in waiting if not store.check([f"candid/heard/{name}/{r}"])}
        if time.monotonic() > deadline:
            raise TrainingError(
                f"{len(waiting)} of {size} processes did not come.",
                expected=f"all of them within {_TIMEOUT.total_seconds() / 60:.0f} minutes",
                todo="look why they did not start, then give the same command again",
            )
        time.sleep(0.02)
    return PrefixStore(f"candid/{name}", store)


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise gloo's and NCCL's errors for a lost process as a TrainingError."""
    try:
        yield
    except RuntimeError as error:
        is_lost_process = isinstance(error, dist.DistError) or "gloo" in str(error)
        if not is_lost_process:
            raise
        raise TrainingError(
            f"Another process of this training was lost: {str(error).splitlines()[0]}",
            expected="processes that live until the training is done",
            todo="look at the first process that ended, above; with torchrun --max-restarts N "
            "training goes on by itself from the last checkpoint",
        ) from error


# Annotations as text, which this module has, are refused by torch here.
def _sum_gradients(_, bucket):  # type: ignore[no-untyped-def]
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, share: slice, n: int) -> Tensor:
        ctx.share = share
        # A sum with zeros: exact, and shares may differ in length.
        full = local.new_zeros((n, *local.shape[1:]))
        full[share] = local
        dist.all_reduce(full)
        return full

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.share], None, None
