"""Where a model looks: weights that sum to one, laid over the picture they belong to."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from compact_vit.models import create_model
from compact_vit.plots import (
    attention_maps,
    attention_rollout,
    attention_weights,
    plot_attention,
)

MODELS = ("cct_2_3x2", "cvt_2_8", "vit_lite_2_8")


def model_and_pictures(name: str, size: int | tuple[int, int] = 32, residual: str = "published"):
    torch.manual_seed(0)
    model = create_model(name, num_classes=5, img_size=size, residual=residual)
    for parameter in model.parameters():  # far from uniform attention
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval(), torch.randn(3, 3, *model.config.height_width)


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_those_of_the_forward_pass(name) -> None:
    model, x = model_and_pictures(name, residual="pre_norm")
    seen = []
    for block in model.blocks:
        block.attn.register_forward_pre_hook(lambda module, args: seen.append((module, args[0])))
    features = model.forward_features(x)
    heard = list(seen)
    weights, tokens = attention_weights(model, x)
    torch.testing.assert_close(tokens, features)
    assert len(weights) == len(model.blocks) == len(heard)
    for layer, (module, normed) in zip(weights, heard, strict=True):
        torch.testing.assert_close(layer, module.weights(normed))


def test_the_mode_comes_back_and_dropout_does_not_act() -> None:
    model, x = model_and_pictures("cct_2_3x2")
    wanted, _ = attention_weights(model, x)
    model.dropout.p = 0.9
    got, tokens = attention_weights(model.train(), x)
    assert model.training
    assert not tokens.requires_grad
    torch.testing.assert_close(got, wanted)


def test_rollout_by_hand() -> None:
    # two layers, one head, two tokens
    first = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])
    second = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    # (first + I) / 2 = [[1, 0], [.25, .75]]; (second + I) / 2 = [[.5, .5], [0, 1]]
    wanted = torch.tensor([[[0.625, 0.375], [0.25, 0.75]]])
    assert torch.equal(attention_rollout([first, second]), wanted)
    # heads are averaged
    halves = torch.cat([first, second], dim=1)
    mean = torch.tensor([[[0.75, 0.25], [0.125, 0.875]]])
    assert torch.equal(attention_rollout([halves]), mean)


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_the_rollout_sum_to_one(name) -> None:
    model, x = model_and_pictures(name)
    weights, tokens = attention_weights(model, x)
    rollout = attention_rollout(weights)
    assert rollout.shape == (3, tokens.shape[1], tokens.shape[1])
    torch.testing.assert_close(rollout.sum(dim=2), torch.ones(3, tokens.shape[1]))
    assert (rollout >= 0).all()


@pytest.mark.parametrize("name", ["cct_2_3x2", "cvt_2_8"])
def test_sequence_pool(name) -> None:
    model, x = model_and_pictures(name)
    maps = attention_maps(model, x)
    assert list(maps) == ["sequence pool", "attention roll-out"]
    pooled = model.pool.weights(model.forward_features(x))  # [B, N]
    grid = model.tokenizer.grid_size(32, 32)
    wanted = pooled.reshape(3, 1, *grid) * pooled.shape[1]
    wanted = F.interpolate(wanted, size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(maps["sequence pool"], wanted[:, 0])
    carried = torch.einsum("bn,bnm->bm", pooled, attention_rollout(attention_weights(model, x)[0]))
    wanted = carried.reshape(3, 1, *grid) * pooled.shape[1]
    wanted = F.interpolate(wanted, size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(maps["attention roll-out"], wanted[:, 0])


def test_class_token() -> None:
    model, x = model_and_pictures("vit_lite_2_8", (16, 24))  # 2 x 3 patches
    maps = attention_maps(model, x)
    assert list(maps) == ["class token", "attention roll-out"]
    weights, _ = attention_weights(model, x)
    row = weights[-1].mean(dim=1)[:, 0, 1:]  # from the class token to the patches
    wanted = (row / row.sum(dim=1, keepdim=True) * 6).reshape(3, 2, 3)
    got = maps["class token"]
    assert got.shape == (3, 16, 24)
    # bilinear: the mean over an 8 x 8 patch is not its weight, but the corners are
    for i, j, y, x_ in ((0, 0, 0, 0), (0, 2, 0, 23), (1, 0, 15, 0), (1, 2, 15, 23)):
        torch.testing.assert_close(got[:, y, x_], wanted[:, i, j])
    rolled = attention_rollout(weights)[:, 0, 1:]
    wanted = rolled[:, 0] * 6 / rolled.sum(dim=1)
    torch.testing.assert_close(maps["attention roll-out"][:, 0, 0], wanted)


def test_no_preference_is_one_everywhere() -> None:
    model, x = model_and_pictures("cct_2_3x2")
    torch.nn.init.zeros_(model.pool.attention.weight)
    for block in model.blocks:
        torch.nn.init.zeros_(block.attn.qkv.weight)
    for laid in attention_maps(model, x).values():
        torch.testing.assert_close(laid, torch.ones(3, 32, 32))


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_are_laid_over_the_picture(channels) -> None:
    images = torch.randint(256, (2, channels, 6, 8), dtype=torch.uint8)
    maps = {"pool": torch.rand(2, 6, 8), "roll-out": torch.rand(2, 6, 8)}
    figure = plot_attention(images, maps, ["a.png: cat 90.0%", "b.png: dog 50.0%"], "cct")
    assert figure.get_suptitle() == "cct"
    panels = [axes for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert (len(panels), len(bars)) == (6, 4)
    titles = [axes.get_title() for axes in panels]
    assert titles[:3] == ["a.png: cat 90.0%", "pool", "roll-out"]
    assert titles[3] == "b.png: dog 50.0%"
    assert {bar.get_ylabel() for bar in bars} == {"weight / mean weight"}
    for row in range(2):
        alone, *laid = panels[3 * row : 3 * row + 3]
        assert len(alone.images) == 1
        for axes, values in zip(laid, maps.values(), strict=True):
            below, above = axes.images
            assert below.get_array().shape == above.get_array().shape == (6, 8)
            assert torch.equal(torch.as_tensor(above.get_array().data), values[row])
            assert below.get_extent() == above.get_extent()
            assert 0 < above.get_alpha() < 1
            assert above.get_clim()[0] == 0
