"""What batch transforms share: their form, their draws, and each sample its own operation.

B batch, C channels, H height, W width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

from ._checks import require

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


class Transform(Protocol):
    """Anything that turns a batch ``[B,C,H,W]`` into a new one, drawing only from ``generator``."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor: ...


class Compose:
    """Transforms applied in order, all drawing from one generator.

    Point-wise and geometric ones take uint8; what follows ``Normalize`` takes floats.
    """

    def __init__(self, transforms: Iterable[Transform]) -> None:
        self.transforms = tuple(transforms)
        for transform in self.transforms:
            require(callable(transform), "transforms", "callables", transform)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        for transform in self.transforms:
            images = transform(images, generator)
        return images

    def __repr__(self) -> str:
        return f"Compose({list(self.transforms)!r})"


def per_operation(
    operation: Tensor, functions: Sequence[Callable[..., Tensor]], *tensors: Tensor
) -> Tensor:
    """Row b of the result is row b of ``functions[operation[b]](*tensors)``; operation is ``[B]``.

    Every function must treat rows independently. A CPU sorts the rows by operation and runs each
    function on its own rows alone. Elsewhere sizes that depend on values would make the host wait,
    so every function sees the whole batch and the rows are selected. Both give the same result.
    """
    if _sorts_rows(operation.device):
        order = operation.argsort(stable=True)
        counts = torch.bincount(operation, minlength=len(functions)).tolist()
        groups = zip(*(t.index_select(0, order).split(counts) for t in tensors), strict=True)
        done = [
            function(*rows)
            for function, rows, count in zip(functions, groups, counts, strict=True)
            if count
        ]
        return torch.cat(done).index_select(0, order.argsort())
    result = functions[0](*tensors)
    chosen = operation.view(-1, *(1,) * (result.dim() - 1))
    for number, function in enumerate(functions[1:], start=1):
        result = torch.where(chosen == number, function(*tensors), result)
    return result


def _sorts_rows(device: torch.device) -> bool:
    return device.type == "cpu"


def precise(device: torch.device) -> torch.dtype:
    """Float64 where the device has it: parameters are computed there, pictures never are."""
    return torch.float32 if device.type == "mps" else torch.float64


def constant(make: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """Keep the tensors that ``make`` returns: a copy to a GPU at every call would be a sync.

    Not those made while something traces or compiles, which are no numbers elsewhere; those asked
    for in inference mode are made outside of it, or autograd would refuse them later.
    """

    @functools.lru_cache(maxsize=64)
    def kept(*args: Any, **kwargs: Any) -> _Made:
        with torch.inference_mode(False):
            return make(*args, **kwargs)

    @functools.wraps(make)
    def made(*args: _Given.args, **kwargs: _Given.kwargs) -> _Made:
        if not _numbers():
            return make(*args, **kwargs)
        return kept(*args, **kwargs)  # type: ignore[arg-type]

    made.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
    return made


def _numbers() -> bool:
    """Whether tensors that are made here have numbers: not while something traces or compiles."""
    return not torch.compiler.is_compiling() and type(torch.empty(0, device="cpu")) is Tensor


@constant
def per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers as ``[C,1,1]`` float32."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    """Uniform float32 numbers in [0, 1) on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float32)


def draw_below(generator: torch.Generator, bound: int, *shape: int) -> Tensor:
    """Uniform int64 numbers in 0..bound-1 on the generator's device."""
    return torch.randint(bound, shape, generator=generator, device=generator.device)


def draw_up_to(generator: torch.Generator, last: Tensor) -> Tensor:
    """For each element of ``last``, whole numbers as floats, a uniform one of 0..last."""
    # rounding can carry rand * n to n itself, once in 2^24 draws
    return torch.minimum((draw(generator, *last.shape) * (last + 1)).floor(), last)


def to_uint8(values: Tensor) -> Tensor:
    """Floats cut to 0..255 and truncated."""
    # by way of int32: a CPU has vector instructions for both casts, but none for the direct one
    return values.clamp(0, 255).to(torch.int32).to(torch.uint8)
