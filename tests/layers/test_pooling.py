"""Sequence pooling and the class token, by hand."""

from __future__ import annotations

import math

import torch

from compact_vit.layers import ClassToken, SequencePooling


def test_sequence_pooling_by_hand() -> None:
    pool = SequencePooling(2)
    with torch.no_grad():
        pool.attention.weight.copy_(torch.tensor([[1.0, -1.0]]))
        pool.attention.bias.fill_(5.0)  # the same for all tokens, so of no effect
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]])
    scores = [math.exp(1.0), math.exp(-2.0), math.exp(0.0)]
    weights = [score / sum(scores) for score in scores]
    expected = [weights[0] + 3 * weights[2], 2 * weights[1] + 3 * weights[2]]
    torch.testing.assert_close(pool(tokens), torch.tensor([expected]))
    torch.testing.assert_close(pool.weights(tokens), torch.tensor([weights]))


def test_sequence_pooling_does_not_mind_the_order_of_tokens() -> None:
    torch.manual_seed(0)
    pool, x = SequencePooling(4).double(), torch.randn(3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(pool(x), pool(x.flip(1)))


def test_equal_tokens_are_pooled_to_themselves() -> None:
    pool, token = SequencePooling(4), torch.randn(2, 1, 4)
    torch.testing.assert_close(pool(token.expand(-1, 9, -1)), token.squeeze(1))


def test_class_token_comes_first_and_is_every_samples() -> None:
    layer = ClassToken(3)
    with torch.no_grad():
        layer.token.copy_(torch.tensor([1.0, 2.0, 3.0]))
    x = torch.randn(2, 5, 3)
    out = layer(x)
    assert out.shape == (2, 6, 3)
    assert torch.equal(out[:, 1:], x)
    assert torch.equal(out[:, 0], torch.tensor([[1.0, 2.0, 3.0]] * 2))
    out.sum().backward()
    assert torch.equal(layer.token.grad, torch.full((1, 1, 3), 2.0))


def test_class_token_follows_the_tokens_precision() -> None:
    assert ClassToken(3)(torch.ones(1, 2, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16
