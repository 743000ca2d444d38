"""One run on several processes of ``torchrun``: who they are, and what they do together.

Letters: R processes, N pictures, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..cli import several
from ..errors import OutOfReachError, UsageError

#: How long the others wait for one that decodes, downloads or writes; one that dies is noticed at
#: once by its connections.
PATIENCE = timedelta(days=1)

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Processes:
    """The processes of a run: each holds the whole state and takes its share of every batch.

    All of them call the same methods in the same order. With one process nothing is sent.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    """The number of this one on its own machine."""

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def agree(self, make: Callable[[], _Result]) -> _Result:
        """What ``make`` gives here; a ``UsageError`` of any process is raised in all."""
        if self.count == 1:
            return make()
        result, error = _attempt(make)
        errors: list[str | None] = [None] * self.count
        dist.all_gather_object(errors, error)
        _raise_first(errors)
        assert result is not None
        return result[0]

    def share(self, make: Callable[[], _Result]) -> _Result:
        """What ``make`` gives the first process, in all; so is its ``UsageError``."""
        if self.count == 1:
            return make()
        sent: list[Any] = [_attempt(make)] if self.first else [None]
        dist.broadcast_object_list(sent, src=0)
        result, error = sent[0]
        _raise_first([error])
        return result[0]

    def in_turns(self, make: Callable[[], _Result]) -> _Result:
        """``make`` in the first process of every machine, then in the others.

        So what it caches on a machine is made once.
        """
        early = self.agree(lambda: make() if self.local == 0 else None)
        return self.agree(lambda: make() if early is None else early)

    def most(self, value: int) -> int:
        """The largest ``value`` of all."""
        if self.count == 1:
            return value
        largest = torch.tensor(value)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return int(largest)

    def total(self, value: Tensor) -> Tensor:
        """The sum of the ``value`` of all."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def each(self, value: str) -> list[str]:
        """The ``value`` of all, in their order."""
        values = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(values, value)
        return values

    def gather(self, rows: Tensor) -> Tensor:
        """The ``rows [N_r, ...]`` of all, in their order, on the CPU: ``[N, ...]``."""
        if self.count == 1:
            return rows.cpu()
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, rows.cpu())
        return torch.cat(parts)

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Give all of them the ``tensors`` of the first, in place."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def share_of(self, length: int) -> slice:
        """Which of ``length`` rows are this process's: as many as any other's, or one fewer."""
        return slice(*(length * part // self.count for part in (self.rank, self.rank + 1)))

    def own(self, device: torch.device) -> torch.device:
        """``device``; ``UsageError`` where it is a GPU, and this process would have none alone."""
        if self.count == 1 or device.type != "cuda":
            return device
        if device.index is not None:
            raise UsageError(
                "device must be 'cuda' with several processes, which each take the GPU of their "
                f"local number, got '{device}'"
            )
        there = torch.cuda.device_count()
        if self.local >= there:
            raise UsageError(
                f"each process takes a GPU of its own, and a machine of this run has {there}: "
                f"start at most {there} there (--nproc-per-node), or give --device cpu"
            )
        return device

    def wrap(self, model: nn.Module) -> nn.Module:
        """``model`` with its gradients averaged over the processes."""
        if self.count == 1:
            return model
        together = DistributedDataParallel(model)
        # an attribute more, to be let go after all others: the end of the group waits for a thread
        # of its own, which may wait for the interpreter's lock, and only this one lets go of that
        together.let_go_last = together.process_group  # type: ignore[assignment]
        return together


def _attempt(make: Callable[[], _Result]) -> tuple[tuple[_Result] | None, str | None]:
    """The result of ``make`` in a tuple, or what a ``UsageError`` says."""
    try:
        return (make(),), None
    except UsageError as error:
        return None, str(error)


def _raise_first(errors: list[str | None]) -> None:
    for error in errors:
        if error is not None:
            raise UsageError(error)


ALONE = Processes()


@contextmanager
def processes() -> Iterator[Processes]:
    """The processes that ``torchrun`` started, this one among them; ``ALONE`` without it.

    They talk through torch's own engine: gloo between CPUs, NCCL between GPUs, of which each
    process takes the one of its local number. Raises ``UsageError`` where another is gone.
    """
    if not several():
        yield ALONE
        return
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
    told = {name: os.environ.get(name, "") for name in names}
    wrong = [name for name, value in told.items() if not value.isdecimal()]
    if wrong or not os.environ.get("MASTER_ADDR"):
        raise UsageError(
            f"WORLD_SIZE is {told['WORLD_SIZE']!r}, but {(*wrong, 'MASTER_ADDR')[0]} is not as "
            "torchrun sets it: start several processes with torchrun, or unset WORLD_SIZE"
        )
    one = Processes(int(told["RANK"]), int(told["WORLD_SIZE"]), int(told["LOCAL_RANK"]))
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(one.local % torch.cuda.device_count())
    ours = not dist.is_initialized()
    try:
        if ours:
            # as default arguments it keeps the group that is there when it is first imported:
            # gloo's threads would outlive destroy_process_group, and may abort a process that ends
            import_module("torch.distributed.nn")
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
        yield one
    except RuntimeError as error:
        if not _lost(error):
            raise
        raise OutOfReachError(
            "a process of the run has ended or is out of reach: start all of them again, with "
            "--resume RUN if it had begun"
        ) from error
    finally:
        if ours and dist.is_initialized():
            dist.destroy_process_group()


def _lost(error: RuntimeError) -> bool:
    """Whether ``error`` is that another process could not be reached."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(
        word in text for word in ("gloo", "nccl", "connection", "process group")
    )
