"""Several processes that train one network: who they are, and what they tell each other.

torchrun starts them and says in the environment which is which; without that nothing here happens.

How they come to the numbers that one process alone would have: each takes its share of a batch
through the network; the outputs are gathered, so that each computes the loss of the whole batch,
whatever that loss is; and the gradients of the shares add up to that of the whole. What a network
does across a batch (batch normalisation, what dropout draws) is done across all shares.
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

# How long a process waits for another that neither answers nor ends.
_PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True)
class Team:
    """The processes that train together, of which this is number `rank`; one alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and speaks."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """The part of `n` things that falls to this process: each thing falls to one of them."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def gather(self, own: Tensor, n: int) -> Tensor:
        """The `n` rows of all processes, from the share that each has; with its gradient.

        Each process is to compute the same from them. A gradient then goes back to each share from
        its own process alone: to sum what all of them computed would count it `size` times.
        """
        if self.size == 1:
            return own
        gathered: Tensor = _Gather.apply(own, self.share(n), n)  # type: ignore[no-untyped-call]
        return gathered

    def shared(self, network: nn.Module) -> nn.Module:
        """The network, and where there are several processes: the sum of their gradients in it.

        The sum, not the mean that DistributedDataParallel has by default: each process has the
        gradient of the whole batch's loss through its own share.
        """
        if self.size == 1:
            return network
        # Buffers need not be sent: they are equal, as statistics are those of the whole batch.
        is_new = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
        unsent: dict[str, Any] = {"forward_sync_buffers" if is_new else "broadcast_buffers": False}
        parallel = DistributedDataParallel(network, **unsent)
        parallel.register_comm_hook(None, _summed)
        return parallel

    @contextlib.contextmanager
    def whole(self, n: int) -> Iterator[slice]:
        """In this block, a share of a batch of `n` images is treated as a part of the whole.

        Random numbers are drawn for all images, of which each process takes its own; the statistics
        of batch normalisation are those of all. Yields the share.

        Dropout inside `torch.nn.functional.multi_head_attention_forward` is not reached: there each
        process draws for its own share what the others draw for theirs.
        """
        if self.size == 1:
            yield slice(0, n)
            return
        with WholeBatch(self.share(n), n):
            yield self.share(n)

    def broadcast(self, make: Callable[[], T]) -> T:
        """What `make` returns in the process that leads, in all of them.

        Where it raises an error, the others end silently: one process tells of it.
        """
        if self.size == 1:
            return make()
        said: list[Any] = [None, None]  # the value, or with what code to end
        try:
            if self.leads:
                said[0] = make()
        except BaseException as error:
            said[1] = error.exit_code if isinstance(error, CandidError) else 1
            raise
        finally:
            dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
        if said[1] is not None:
            sys.exit(said[1])
        value: T = said[0]
        return value

    def wait(self) -> None:
        """Wait until all are here, for as long as it takes while they live."""
        if self.size > 1:
            dist.barrier(group=dist.new_group(backend="gloo", timeout=timedelta(days=30)))

    @contextlib.contextmanager
    def copied(self, path: Path) -> Iterator[Path | None]:
        """A file of the process that leads, as one that each can read; None where there is none.

        The others may be on machines without that folder: they get a copy for as long as the block
        runs.
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
        for what, count in counts.items():
            if count < self.size > 1:
                raise ConfigError(
                    f"{count} {what.replace('_', ' ')} cannot be shared by {self.size} processes.",
                    expected="at least one for each",
                    todo="start fewer processes",
                )

    def check_agreed(self, what: str, mine: str) -> None:
        """Raise a ConfigError where the processes do not have the same, said in a few words."""
        if self.size == 1:
            return
        theirs: list[Any] = [None] * self.size
        dist.all_gather_object(theirs, mine)
        if len(set(theirs)) > 1:
            raise ConfigError(
                f"The processes have different {what}: {', '.join(sorted(set(theirs)))}.",
                expected="the same on every machine",
                todo=f"give every process the same command and the same {what}",
            )


def team() -> Team:
    """The processes that `joined` brought together, or this one alone."""
    if not (dist.is_available() and dist.is_initialized()):
        return Team()
    return Team(dist.get_rank(), dist.get_world_size())


@contextlib.contextmanager
def joined() -> Iterator[Team]:
    """Meet the other processes that torchrun started, for the time of the block.

    Products on a CPU are exchanged through gloo, those on GPUs through NCCL. A process that is
    killed is missed by the others within seconds, and one that hangs within half an hour.

    Raises
    ------
    ConfigError
        Where there are more processes on a machine than GPUs.
    TrainingError
        Where another process was lost.
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
    with _explained():
        store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
        dist.init_process_group(
            backend, store=fresh(store, rank, size), rank=rank, world_size=size, timeout=_PATIENCE
        )
        try:
            yield team()
        finally:
            dist.destroy_process_group()


def fresh(store: Store, rank: int, size: int) -> Store:
    """A part of the store that nobody used before, the same for all processes.

    torchrun keeps its store when it starts processes again, and with it the addresses of those that
    died: whoever is quicker than another would call the other's old address. Nor is there a
    number of the attempt on which the machines agree. So the first process thinks of a name, and
    each other one learns it in answer to a word that it just thought of itself.
    """
    name = secrets.token_hex(8)
    if rank:
        store.set(f"candid/word/{rank}", name)
        name = store.get(f"candid/answer/{name}").decode()
        store.set(f"candid/heard/{name}/{rank}", "")
        return PrefixStore(f"candid/{name}", store)
    until = time.monotonic() + _PATIENCE.total_seconds()
    others = set(range(1, size))
    while others:
        for other in others:
            word = f"candid/word/{other}"
            if store.check([word]):  # perhaps of a process that died: then there comes another
                store.set(f"candid/answer/{store.get(word).decode()}", name)
        others = {r for r in others if not store.check([f"candid/heard/{name}/{r}"])}
        if time.monotonic() > until:
            raise TrainingError(
                f"{len(others)} of {size} processes did not come.",
                expected=f"all of them within {_PATIENCE.total_seconds() / 60:.0f} minutes",
                todo="look why they did not start, then give the same command again",
            )
        time.sleep(0.02)
    return PrefixStore(f"candid/{name}", store)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """The words of gloo and NCCL for a lost process, as an error that says what to do."""
    try:
        yield
    except RuntimeError as error:
        is_known = isinstance(error, dist.DistError) or "gloo" in str(error)
        if not is_known:
            raise
        raise TrainingError(
            f"Another process of this training was lost: {str(error).splitlines()[0]}",
            expected="processes that live until the training is done",
            todo="look at the first process that ended, above; with torchrun --max-restarts N "
            "training goes on by itself from the last checkpoint",
        ) from error


# Annotations as text, which this module has, are refused by torch here.
def _summed(_, bucket):  # type: ignore[no-untyped-def]
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, share: slice, n: int) -> Tensor:
        ctx.share = share
        # A sum with zeros: exact, and shares may differ in length.
        everyone = own.new_zeros((n, *own.shape[1:]))
        everyone[share] = own
        dist.all_reduce(everyone)
        return everyone

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.share], None, None
