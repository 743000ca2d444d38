"""Attention and the encoder layer, against the equations written out in float64."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from compact_vit.layers import MLP, EncoderLayer, SelfAttention
from compact_vit.layers.attention import FEW_TOKENS


def plain_attention(attention: SelfAttention, x: Tensor, heads: int) -> Tensor:
    """softmax(Q K^T / sqrt(C)) V, head by head and picture by picture."""
    weight = attention.qkv.weight
    width = x.shape[-1]
    chans = width // heads
    pictures = []
    for tokens in x:
        outputs = []
        for h in range(heads):
            rows = slice(h * chans, (h + 1) * chans)
            q = tokens @ weight[:width][rows].T
            k = tokens @ weight[width : 2 * width][rows].T
            v = tokens @ weight[2 * width :][rows].T
            scores = q @ k.T / math.sqrt(chans)
            weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
            outputs.append(weights @ v)
        joined = torch.cat(outputs, dim=1)
        pictures.append(joined @ attention.proj.weight.T + attention.proj.bias)
    return torch.stack(pictures)


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return centred / scale * layer.weight + layer.bias


def mlp(layer: MLP, x: Tensor) -> Tensor:
    hidden = x @ layer.fc1.weight.T + layer.fc1.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return hidden @ layer.fc2.weight.T + layer.fc2.bias


@pytest.mark.parametrize(("width", "heads"), [(12, 1), (12, 3), (8, 8)])
def test_attention_is_softmax_of_scaled_products(width: int, heads: int) -> None:
    torch.manual_seed(0)
    attention = SelfAttention(width, heads, attention_dropout=0.5).double().eval()
    x = torch.randn(3, 7, width, dtype=torch.float64)
    torch.testing.assert_close(attention(x), plain_attention(attention, x, heads))


def test_attention_does_not_mind_the_order_of_tokens() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(8, 2).double()
    x, order = torch.randn(2, 6, 8, dtype=torch.float64), torch.randperm(6)
    torch.testing.assert_close(attention(x)[:, order], attention(x[:, order]))


def test_attention_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(8, 2, attention_dropout=0.5)
    x = torch.randn(2, 6, 8)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="multiple of num_heads, got 10 and 4"):
        SelfAttention(10, 4)


def encoder_layer(residual: str) -> EncoderLayer:
    torch.manual_seed(1)
    layer = EncoderLayer(12, 3, 2.0, residual=residual).double().eval()
    for parameter in layer.parameters():  # norms and biases too, or their misuse would not show
        nn.init.normal_(parameter, std=0.5)
    return layer


def test_published_layer_adds_the_mlp_to_the_normalised_tokens() -> None:
    layer = encoder_layer("published")
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    y = x + plain_attention(layer.attn, norm(layer.norm1, x), 3)
    y = norm(layer.norm2, y)
    torch.testing.assert_close(layer(x), y + mlp(layer.mlp, y))


def test_pre_norm_layer_adds_the_mlp_to_the_tokens_themselves() -> None:
    layer = encoder_layer("pre_norm")
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    y = x + plain_attention(layer.attn, norm(layer.norm1, x), 3)
    torch.testing.assert_close(layer(x), y + mlp(layer.mlp, norm(layer.norm2, y)))


def test_the_two_forms_hold_the_same_parameters() -> None:
    published, standard = encoder_layer("published"), encoder_layer("pre_norm")
    standard.load_state_dict(published.state_dict())
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    assert not torch.allclose(published(x), standard(x))


def test_a_layer_whose_branches_are_dropped_is_what_remains() -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(12, 3, 2.0, drop_path=0.999999, residual="pre_norm").train()
    x = torch.randn(4, 5, 12)
    assert torch.equal(layer(x), x)


def test_dropout_acts_after_attention_and_after_both_maps_of_the_mlp() -> None:
    torch.manual_seed(0)
    layer, x, hidden = EncoderLayer(12, 3, 2.0, dropout=0.5), torch.randn(2, 50, 12), []
    layer.mlp.fc2.register_forward_pre_hook(lambda module, args: hidden.append(args[0]))
    for training in (True, False):
        layer.train(training)
        for values in (layer.attn(x), layer.mlp(x), hidden.pop()):
            dropped = (values == 0).double().mean().item()
            assert dropped == pytest.approx(0.5 if training else 0.0, abs=0.1)


def test_unknown_residual_form() -> None:
    with pytest.raises(ValueError, match="'published' or 'pre_norm', got 'post'"):
        EncoderLayer(12, 3, 2.0, residual="post")


def test_weights_are_what_the_fused_kernel_gathers_by() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(12, 3, attention_dropout=0.5).double().train()
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    weights = attention.weights(x)
    assert weights.shape == (2, 3, 7, 7)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 7, dtype=torch.float64))
    q, k, _ = (part.reshape(2, 7, 3, 4).transpose(1, 2) for part in attention.qkv(x).chunk(3, -1))
    # gathering the tokens' own numbers shows the weights themselves
    numbers = torch.eye(7, dtype=torch.float64).expand(2, 3, 7, 7)
    gathered = nn.functional.scaled_dot_product_attention(q, k, numbers)
    torch.testing.assert_close(weights, gathered)


@pytest.mark.parametrize("tokens", [5, FEW_TOKENS, FEW_TOKENS + 1])
def test_in_bf16_gradients_are_those_of_float64(tokens: int) -> None:
    torch.manual_seed(0)
    attention = SelfAttention(64, 2)
    nn.init.normal_(attention.qkv.weight, std=0.2)  # or all tokens would be attended to alike
    x, wanted = torch.randn(2, 3, tokens, 64).unbind()
    gradients = []
    for dtype in (torch.float64, torch.bfloat16):
        cast = copy.deepcopy(attention).to(dtype)
        given = x.to(dtype).requires_grad_()
        cast(given).backward(wanted.to(dtype))
        gradients.append([given.grad, cast.qkv.weight.grad])
    for exact, half in zip(*gradients, strict=True):
        assert (half.double() - exact).norm() < 0.02 * exact.norm()


def test_training_in_bf16_on_a_cpu_drops_attention_weights_too() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(8, 2, attention_dropout=0.5).bfloat16()
    x = torch.randn(2, 6, 8).bfloat16()
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


@pytest.mark.filterwarnings("ignore:.*is deprecated", "ignore::torch.jit.TracerWarning")
def test_in_evaluation_traces_hold_the_kernel() -> None:
    """Also those made where gradients are kept."""
    torch.manual_seed(0)
    attention, x = SelfAttention(64, 2).bfloat16().eval(), torch.randn(2, 9, 64).bfloat16()
    for traced in (torch.jit.trace(attention, x), torch.export.export(attention, (x,)).module()):
        assert "scaled_dot_product_attention" in str(traced.graph)
        assert torch.equal(traced(x), attention(x))


@pytest.mark.filterwarnings("ignore:.*is deprecated")  # torch says of TorchScript that it will go
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "through",
    [
        torch.jit.script,
        torch.fx.symbolic_trace,
        lambda module: torch.compile(module, backend="eager", fullgraph=True),
    ],
)
def test_tools_attend_alike(through, dtype) -> None:
    torch.manual_seed(0)
    attention, x = SelfAttention(64, 2).to(dtype), torch.randn(2, 9, 64).to(dtype)
    seen = through(attention)
    gradients = []
    for module in (attention, seen):
        attention.zero_grad()
        module(x).square().sum().backward()
        gradients.append(attention.qkv.weight.grad)
    assert torch.equal(*gradients)
