"""Batches of pictures in memory, in an order that a checkpoint can hold.

Letters: N pictures, B pictures of a batch, C channels, H and W the height and width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from .pictures import Pictures


class BatchLoader:
    """Iterate over ``pictures`` an epoch at a time: ``uint8 [B,C,H,W]`` and ``int64 [B]``.

    Both come on ``device``: pictures that fit into an accelerator's memory move there once, others
    are gathered in pinned memory, batch by batch. With ``shuffle`` the epoch's order is drawn from
    ``generator`` (a CPU one) when the iteration starts. ``drop_last`` leaves out a last batch that
    is smaller than ``batch_size``. ``UsageError`` for a batch size that yields no batch.
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
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size: wanted 1 or more, got {batch_size}")
        if drop_last and batch_size > len(pictures):
            raise UsageError(
                f"batch_size: wanted at most {len(pictures)}, the number of training pictures,"
                f" got {batch_size}"
            )
        if shuffle and generator is None:
            raise ValueError("generator: wanted a torch.Generator to shuffle with, got None")
        self.batch_size = batch_size
        self.device = torch.device(device)
        self._generator = generator if shuffle else None
        self._resident = _fits(pictures.images, self.device)
        home = self.device if self._resident else torch.device("cpu")
        self._images = pictures.images.to(home)
        self._labels = pictures.labels.to(home)
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
        return self._batches(self._order)

    def _draw(self) -> Tensor:
        if self._generator is None:
            return torch.arange(len(self._labels))
        return torch.randperm(len(self._labels), generator=self._generator)

    def _batches(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        local = order.to(self._images.device)
        while self._position < self._length:
            start = self._position
            # counted before it is handed over: a checkpoint taken meanwhile goes on after it
            self._position = min(start + self.batch_size, self._length)
            yield self._gather(local[start : self._position])
        self._order, self._position = None, 0

    def _gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures and labels at ``index`` [B], on the device."""
        if self._resident or self.device.type != "cuda":
            images = self._images.index_select(0, index).to(self.device)
            return images, self._labels.index_select(0, index).to(self.device)
        shape = (len(index), *self._images.shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        torch.index_select(self._images, 0, index, out=images)
        labels = self._labels[index].pin_memory()
        # pinned memory is given to another batch only after its copy has ended
        return (
            images.to(self.device, non_blocking=True),
            labels.to(self.device, non_blocking=True),
        )

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
        self._order = None if order is None else order.to("cpu", torch.int64)
        self._position = position
        self._resumed = True


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether ``images`` may live on ``device``: half of its free memory is left to the model."""
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= free // 2
