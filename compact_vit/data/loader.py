"""Batches of pictures in memory, in an order that a checkpoint can hold.

Letters: N pictures, B pictures of a batch, C channels, H and W the height and width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from .pictures import Pictures
from .prefetch import announce, exceeds_memory, is_mapped, prefetch as in_advance

#: batches made ready ahead of the step where pictures stream, unless another number is asked for
_AHEAD = 3
#: copies to an accelerator that may be under way before the host waits: bounds pinned memory
_COPIES = 2


class BatchLoader:
    """Iterate over ``pictures`` an epoch at a time: ``uint8 [B,C,H,W]`` and ``int64 [B]``.

    Both come on ``device``. With ``shuffle`` the epoch's order is drawn from ``generator`` (a CPU
    one) when the iteration starts. ``drop_last`` leaves out a last batch that is smaller than
    ``batch_size``. ``UsageError`` for a batch size that yields no batch.

    Pictures that fit into an accelerator's memory move there once; on a CPU they stay where they
    are. Others stream: a mapped file over half of the machine's memory, and what would take over
    half of an accelerator's free memory. Threads then gather the next ``prefetch`` batches (None:
    3), in pinned memory for CUDA. A number above 0 makes any set stream; 0 gathers every batch
    when it is asked for. The batches are the same, whatever the number.

    ``share`` (2, 8) is the third of eight processes: of every batch it yields the third eighth,
    and all yield the whole if they draw the same order.

    ``memory()`` states what that takes. A mapped file is read through the system's page cache: a
    shuffled order costs what it costs in memory while the file is cached. Where there is no room
    to cache it, every picture of a batch is a read of its own, from anywhere on the disk, in whole
    pages (mostly 4,096 bytes: pictures of 32x32 read 2.3 times their size). For a file of over half
    of the machine's memory a batch's reads are asked for together, for smaller ones the system
    reads ahead around each until it has the file. An epoch lasts as long as the disk takes for it.
    """

    def __init__(
        self,
        pictures: Pictures,
        batch_size: int,
        *,
        shuffle: bool,
        generator: torch.Generator | None,
        drop_last: bool = False,
        device: torch.device | str = "cpu",
        prefetch: int | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size: wanted 1 or more, got {batch_size}")
        if prefetch is not None and prefetch < 0:
            raise UsageError(f"prefetch: wanted 0 or more batches, got {prefetch}")
        if drop_last and batch_size > len(pictures):
            raise UsageError(
                f"batch_size: wanted at most {len(pictures)}, the number of training pictures,"
                f" got {batch_size}"
            )
        if shuffle and generator is None:
            raise ValueError("generator: wanted a torch.Generator to shuffle with, got None")
        self.batch_size = batch_size
        self.rank, self.processes = share
        self.device = torch.device(device)
        self._generator = generator if shuffle else None
        self._streams = bool(prefetch) or not _fits(pictures.images, self.device)
        self._ahead = _AHEAD if prefetch is None else prefetch
        home = torch.device("cpu") if self._streams else self.device
        self._images = pictures.images.to(home)
        self._labels = pictures.labels.to(home)
        self._rows = None if pictures.rows is None else pictures.rows.to(home)
        if self._streams:  # else numpy would copy the whole for every batch
            self._images, self._labels = self._images.contiguous(), self._labels.contiguous()
        self._uncached = self._streams and exceeds_memory(self._images)
        #: pictures of an epoch
        self._length = len(pictures) - (len(pictures) % batch_size if drop_last else 0)
        #: the epoch's order, None between two epochs, and how much of it has been yielded
        self._order: Tensor | None = None
        self._position = 0
        self._resumed = False

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return -(-self._length // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of a new epoch; after ``load_state_dict``, those the epoch still has."""
        if not self._resumed or self._order is None:
            self._order, self._position = self._draw(), 0
        self._resumed = False
        return self._batches(self._order, self._position)

    def _draw(self) -> Tensor:
        if self._generator is None:
            return torch.arange(len(self._labels))
        return torch.randperm(len(self._labels), generator=self._generator)

    def _batches(self, order: Tensor, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        local = order.to(self._images.device)
        starts = range(first, self._length, self.batch_size)
        spans = (
            self._share(local[start : min(start + self.batch_size, self._length)])
            for start in starts
        )
        for start, batch in zip(starts, self._ready(spans), strict=True):
            # counted before it is handed over: a checkpoint taken meanwhile goes on after it, with
            # batches that may be ready already but count only when their turn comes
            self._position = min(start + self.batch_size, self._length)
            yield batch
        self._order, self._position = None, 0

    def _share(self, span: Tensor) -> Tensor:
        """What of a batch ``span`` [B] is this process's."""
        first, after = (len(span) * part // self.processes for part in (self.rank, self.rank + 1))
        return span[first:after]

    def _ready(self, spans: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """The batch of every one of ``spans``, indices [B], on the device."""
        if not self._streams:
            return map(self._gather, spans)
        # room is made here: each thread would keep a heap, several times what is in flight
        jobs = ((span, self._room(len(span))) for span in spans)
        if not self._ahead:
            return self._copied(map(self._fill, jobs))
        return self._copied(in_advance(self._fill, jobs, self._ahead))

    def _gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures and labels at ``index`` [B], where they lie."""
        rows = self._rows_at(index)
        return self._images.index_select(0, rows), self._labels.index_select(0, index)

    def _rows_at(self, index: Tensor) -> Tensor:
        """Where in memory the pictures at ``index`` [B] lie."""
        return index if self._rows is None else self._rows[index]

    def _room(self, size: int) -> tuple[Tensor, Tensor]:
        """Room on the host for a batch of ``size``, pinned for CUDA."""
        pinned = self.device.type == "cuda"
        shape = (size, *self._images.shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        return images, torch.empty(size, dtype=torch.int64, pin_memory=pinned)

    def _fill(self, job: tuple[Tensor, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Pictures and labels at an index [B] in the room that was made for them."""
        index, batch = job
        rows = self._rows_at(index)
        if self._uncached:
            announce(self._images, rows)
        for source, at, target in zip(
            (self._images, self._labels), (rows, index), batch, strict=True
        ):
            # numpy's, on one core and without the interpreter: torch's threads would contend with
            # the step's; and in a mode that does not gather first and copy then
            np.take(source.numpy(), at.numpy(), axis=0, out=target.numpy(), mode="clip")
        return batch

    def _copied(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """``batches`` on the device; torch gives pinned memory away again once it is copied."""
        cuda = self.device.type == "cuda"
        copies: deque[torch.cuda.Event] = deque()
        for images, labels in batches:
            if len(copies) == _COPIES:
                copies.popleft().synchronize()
            batch = (
                images.to(self.device, non_blocking=cuda),
                labels.to(self.device, non_blocking=cuda),
            )
            if cuda:
                copies.append(torch.cuda.Event(blocking=True))  # waits asleep
                copies[-1].record(torch.cuda.current_stream(self.device))
            yield batch

    def memory(self) -> dict[str, int]:
        """Bytes that the loader takes at most, in three places.

        ``resident``: pictures, labels and the order, as far as they are held in memory: on the
        device, where they stream on the host. ``mapped``: pictures in a file, of which the system
        holds as much as it has room for. ``in_flight``: the batch in use, the next one, those
        ahead, and on CUDA the pinned memory of copies under way.
        """
        images, labels = self._images.nbytes, self._labels.nbytes
        rows = 0 if self._rows is None else self._rows.nbytes
        mapped = images if is_mapped(self._images) else 0
        orders = 1 if self._images.device.type == "cpu" else 2  # as drawn, and on the device
        count = 2 + (self._ahead if self._streams else 0)
        size = -(-min(self.batch_size, self._length) // self.processes)
        parts = [size * self._images[:1].nbytes, size * self._labels[:1].nbytes]
        if self._streams and self.device.type == "cuda":
            count += 1 + _COPIES
            parts = [1 << (part - 1).bit_length() for part in parts]  # as torch pins memory
        return {
            "resident": images - mapped + rows + labels + orders * 8 * len(self._labels),
            "mapped": mapped,
            "in_flight": count * sum(parts),
        }

    def state_dict(self) -> dict[str, Any]:
        """The order of the epoch under way (None between epochs) and how many pictures it gave."""
        return {"order": self._order, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken: the next iteration yields what its epoch still has."""
        order, position = state["order"], int(state["position"])
        if order is not None and len(order) != len(self._labels):
            raise UsageError(
                f"cannot go on in the middle of an epoch of {len(order)} pictures:"
                f" the data set now has {len(self._labels)}"
            )
        if order is not None and not order.sort().values.equal(torch.arange(len(order))):
            raise UsageError("cannot go on in an order that leaves pictures out")
        self._order = None if order is None else order.to("cpu", torch.int64)
        self._position = position
        self._resumed = True


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether ``images`` may live on ``device`` for good: half of what is there is left to others.

    What is in a CPU's memory already fits; of a mapped file, the system's cache is the judge.
    """
    if device.type == "cpu":
        return not exceeds_memory(images)
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= free // 2
