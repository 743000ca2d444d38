"""What transforms keep from call to call holds numbers, whatever the first call was made in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from compact_vit.data.augment import Normalize
from compact_vit.data.augment._batch import constant

IMAGES = torch.randint(0, 256, (4, 3, 5, 8), dtype=torch.uint8)


def normalize(mean: float) -> Normalize:
    """Of a ``mean`` that no other test has, so that nothing of it is kept yet."""
    return Normalize((mean, mean / 2, mean / 3), (0.25, 0.5, 0.75))


def check(transform: Normalize) -> None:
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (transform.mean, transform.std))
    torch.testing.assert_close(transform(IMAGES), (IMAGES / 255 - mean) / std)
    x = transform(IMAGES).requires_grad_()
    assert torch.equal(transform.undone(x), IMAGES)


@pytest.mark.parametrize("strict", [False, True])
def test_exported_transforms_normalise_afterwards(strict):
    transform = normalize(0.101 + strict / 50)

    class Normalized(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return transform(images)

    program = torch.export.export(Normalized(), (IMAGES,), strict=strict)
    check(transform)
    assert torch.equal(program.module()(IMAGES), transform(IMAGES))


def test_compiled_transforms_normalise_afterwards():
    transform = normalize(0.201)
    compiled = torch.compile(transform.__call__, backend="eager", fullgraph=True)
    assert torch.equal(compiled(IMAGES), normalize(0.201)(IMAGES))
    check(transform)


@contextlib.contextmanager
def default_type() -> Iterator[None]:
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("within", "mean"),
    [(torch.inference_mode, 0.301), (torch.no_grad, 0.302), (default_type, 0.303)],
)
def test_the_first_call_leaves_what_any_other_can_use(within, mean):
    transform = normalize(mean)
    with within():
        first = transform(IMAGES)
        assert torch.equal(transform.undone(first), IMAGES)
    assert torch.equal(transform(IMAGES), first)
    check(transform)


def test_what_is_no_number_is_not_kept():
    table = constant(lambda *values: torch.tensor(values))
    with FakeTensorMode():
        odd = table(1, 2)
        assert table(1, 2) is not odd
    plain = table(1, 2)
    assert type(plain) is Tensor
    assert plain.tolist() == [1, 2]
    assert table(1, 2) is plain
    with FakeTensorMode():
        assert table(1, 2) is not plain
    assert table(1, 2) is plain
    assert table(1, 3) is not plain


def test_what_evaluation_makes_is_kept_too():
    """On a GPU it would be copied there, and waited for, with every batch."""
    table = constant(lambda *values: torch.tensor(values))
    with torch.inference_mode():
        made = table(1, 2)
        assert table(1, 2) is made
    assert table(1, 2) is made
    assert not made.is_inference()
