"""Whole baselines: what they compute, how they start, and what a training needs of them."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from compact_vit import UsageError, create_model
from compact_vit.baselines import Baseline, MLPConfig
from compact_vit.baselines.pretrained import Resize

#: One small member of each kind.
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"widths": (24, 12), "batch_norm": True},
    "mlp_alternating": {},
    "conv_encoder": {"filters": (6, 8, 10)},
    "conv_classifier": {"filters": (6, 8), "hidden": (12,), "batch_norm": True},
    "residual_classifier": {"filters": (8, 12), "layers_per_block": 3, "bottleneck": 2},
    "rn_2": {"filters": (6, 8)},
    "rr_2": {"filters": (6, 8), "width": 5, "inner_width": 7},
    "resnet_8_cifar": {"shortcut": "projection"},
    "resnet_14_cifar": {"pre_activation": True},
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=SMALL)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def build(name: str, **options: Any) -> Baseline:
    return create_model(name, **{**SMALL.get(name, {}), **options})


def trained_a_little(model: nn.Module, x: Tensor) -> nn.Module:
    """``model`` with norms that have seen something, in evaluation mode."""
    for _ in range(3):
        model.train()(x)
    return model.eval()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 33, 47), (2, 17, 8)])
def test_pictures_of_any_shape(name: str, shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    model = build(name, num_classes=7, in_chans=channels, img_size=(height, width))
    x = torch.randn(2, *shape)
    features = model.forward_features(x)
    assert features.shape == (2, model.num_features)
    assert model(x).shape == (2, 7)
    assert model.config.in_chans == model.in_chans == channels
    assert model.config.height_width == (height, width)


def test_every_parameter_learns(name: str) -> None:
    model = build(name).train()
    F.cross_entropy(model(torch.randn(16, 3, 32, 32)), torch.arange(16) % 10).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


def test_a_batch_is_its_pictures(name: str) -> None:
    x = torch.randn(4, 3, 32, 32)
    model = trained_a_little(build(name), x)
    together = model(x)
    for i in range(4):
        torch.testing.assert_close(model(x[i : i + 1]), together[i : i + 1], rtol=1e-4, atol=1e-5)


def test_a_state_is_saved_and_loaded(name: str) -> None:
    x = torch.randn(4, 3, 32, 32)
    model = trained_a_little(build(name), x)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    other = build(name).eval()
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))


def test_the_same_seed_gives_the_same_model(name: str) -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(build(name))
    for a, b in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(a, b)


def test_classifiers(name: str) -> None:
    model = build(name).eval()
    x = torch.randn(2, 3, 32, 32)
    features = model.forward_features(x)
    assert model.get_classifier() is model.head
    torch.testing.assert_close(
        model(x), features @ model.head.weight.T + model.head.bias, rtol=1e-4, atol=1e-5
    )
    assert torch.equal(model.forward_head(features), model(x))
    assert model.forward_head(features, pre_logits=True) is features
    model.reset_classifier(3)
    assert model.num_classes == 3
    assert model(x).shape == (2, 3)
    model.double().reset_classifier(4)
    assert model(x.double()).dtype == torch.float64
    model.reset_classifier(0)
    assert torch.equal(model(x.double()), model.forward_features(x.double()))
    torch.manual_seed(0)
    headless = build(name, num_classes=0, **({"widths": (9,)} if "mlp" in name else {}))
    assert headless(x).shape == (2, headless.num_features)


def test_classifiers_that_there_are_none_of() -> None:
    model = build("mlp")
    head = model.head
    for wrong in (-1, 2.0, "5", True):
        with pytest.raises(UsageError, match="num_classes must be a whole number, 0 for no cl"):
            model.reset_classifier(wrong)
    with pytest.raises(UsageError, match="the pooling is the model's own, global_pool='' is not"):
        model.reset_classifier(3, "")
    assert model.head is head
    assert model.num_classes == 10


@pytest.mark.parametrize("name", ["mlp", "residual_classifier", "rr_2", "resnet_14_cifar"])
def test_models_are_exported(name: str) -> None:
    x = torch.randn(2, 3, 32, 32)
    model = build(name).eval()
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize("name", [n for n in SMALL if not n.startswith("resnet")])
def test_pictures_of_another_size_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="built for pictures of 32x32 pixels, got 28x30: build"):
        build(name)(torch.zeros(2, 3, 28, 30))


def test_residual_networks_take_every_size() -> None:
    model = build("resnet_8_cifar").eval()
    assert model(torch.zeros(2, 3, 20, 51)).shape == (2, 10)


def test_an_mlp_written_out() -> None:
    model = build("mlp_naive", widths=(20, 10), dropout=0.5, in_chans=1, img_size=6).eval()
    x = torch.randn(3, 1, 6, 6)
    one, two = (layer for layer in model.body if isinstance(layer, nn.Linear))
    y = F.leaky_relu(x.reshape(3, 36) @ one.weight.T + one.bias, 0.01)
    y = F.leaky_relu(y @ two.weight.T + two.bias, 0.01)
    torch.testing.assert_close(model(x), y @ model.head.weight.T + model.head.bias)


def kinds(model: Baseline) -> list[str]:
    return [type(layer).__name__ for layer in model.body]


def test_the_order_of_layers() -> None:
    assert kinds(build("mlp", widths=(4, 3), dropout=0.1)) == [
        "Flatten",
        *["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2,
    ]
    # K = (4, 6), L = 2, P = 3: convolutions 4 4 6, a pool, the one that is left over
    options = {"filters": (4, 6), "layers_per_block": 2, "pool_every": 3, "hidden": (5, 3)}
    model = create_model("conv_classifier", **options, dropout=0.2, activation="tanh")
    ends = ["Flatten", "Dropout", "Linear", "Tanh", "Dropout", "Linear", "Tanh", "Dropout"]
    assert kinds(model) == [*["Conv2d", "Tanh"] * 3, "MaxPool2d", "Conv2d", "Tanh", *ends]
    widths = [layer.out_channels for layer in model.body if isinstance(layer, nn.Conv2d)]
    assert widths == [4, 4, 6, 6]
    assert {layer.p for layer in model.body if isinstance(layer, nn.Dropout)} == {0.2}
    model = create_model("conv_classifier", batch_norm=True, dropout_2d=0.3, hidden=())
    group = ["Conv2d", "BatchNorm2d", "ReLU", "Dropout2d"]
    assert kinds(model) == [*group * 2, "MaxPool2d", *group * 2, "MaxPool2d", "Flatten"]
    model = create_model("residual_classifier", **options)
    assert kinds(model)[:4] == ["ResidualBlock", "MaxPool2d", "ResidualBlock", "Flatten"]


def test_convolutions_and_pools_written_out() -> None:
    model = create_model(
        "conv_classifier", filters=(4, 6), pool_every=3, hidden=(5,), img_size=(9, 6)
    )
    x = torch.randn(2, 3, 9, 6)
    convs = [layer for layer in model.body if isinstance(layer, nn.Conv2d)]
    y = x
    for i, layer in enumerate(convs):
        y = F.conv2d(y, layer.weight, layer.bias, padding=1).relu()
        if i == 2:
            y = F.max_pool2d(y, 2)
    hidden = model.body[-2]
    y = (y.flatten(1) @ hidden.weight.T + hidden.bias).relu()
    torch.testing.assert_close(model(x), model.head(y))


@pytest.mark.parametrize("seen", [False, True])
def test_blocks_before_the_encoder_written_out(seen: bool) -> None:
    x = torch.randn(2, 3, 8, 8)
    model = create_model(
        "rr_2" if seen else "rn_2", batch_norm=False, filters=(6,), img_size=8
    ).eval()
    stem = model.body[0]
    y = F.conv2d(x, stem.widen.weight, stem.widen.bias)
    for block in stem.blocks:
        one, _, two = block.branch
        assert (one.out_channels, two.out_channels) == (32, 16)
        inner = F.conv2d(torch.cat((y, x), 1) if seen else y, one.weight, one.bias, padding=1)
        y = (y + F.conv2d(inner.relu(), two.weight, two.bias, padding=1)).relu()
    conv = model.body[1]
    y = F.max_pool2d(F.conv2d(y, conv.weight, conv.bias, padding=1).relu(), 2)
    torch.testing.assert_close(model(x), model.head(y.flatten(1)))


@pytest.mark.parametrize("swapped", [False, True])
def test_a_residual_network_written_out(swapped: bool) -> None:
    """From the weights alone, in their order: fourteen layers, identity shortcuts."""
    x = torch.randn(4, 3, 13, 10)
    model = trained_a_little(create_model("resnet_14_cifar", pre_activation=swapped), x)
    weights = iter([p for n, p in model.named_parameters() if p.ndim == 4])
    norms = iter([layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)])

    def normed(y: Tensor) -> Tensor:
        n = next(norms)
        return F.batch_norm(y, n.running_mean, n.running_var, n.weight, n.bias)

    y = normed(F.conv2d(x, next(weights), padding=1)).relu()
    for stage, width in enumerate((16, 32, 64)):
        for i in range(2):
            stride = 2 if stage and not i else 1
            kept = F.pad(y[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, width - y.shape[1]))
            if swapped:
                y = y if stage == i == 0 else normed(y).relu()
                y = normed(F.conv2d(y, next(weights), stride=stride, padding=1)).relu()
                y = kept + F.conv2d(y, next(weights), padding=1)
            else:
                y = normed(F.conv2d(y, next(weights), stride=stride, padding=1)).relu()
                y = (kept + normed(F.conv2d(y, next(weights), padding=1))).relu()
    y = normed(y).relu() if swapped else y
    assert next(weights, None) is next(norms, None) is None
    torch.testing.assert_close(model(x), model.head(y.mean(dim=(2, 3))))


def test_weights_start_as_he_says() -> None:
    """Normal, variance 2 / inputs before a rectifier; 1 / inputs before nothing; biases zero."""
    for model in (create_model("resnet_20_cifar"), create_model("mlp", widths=(512, 512))):
        for layer in model.body.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                inputs = layer.weight[0].numel()
                n = layer.weight.numel()
                ratio = layer.weight.var().item() * inputs / 2
                assert abs(ratio - 1) < 6 * (2 / n) ** 0.5
                assert layer.bias is None or not layer.bias.any()
    head = create_model("mlp", widths=(512,), num_classes=500).head
    assert head.weight.var().item() * 512 == pytest.approx(1, abs=0.02)
    assert not head.bias.any()


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_signals_keep_their_size_through_depth(activation: str) -> None:
    model = Baseline(MLPConfig(widths=(400,) * 30, activation=activation, img_size=10))
    features = model.forward_features(torch.randn(64, 3, 10, 10))
    assert 0.3 < features.square().mean().item() < 3


def test_dropout_acts_in_training_and_not_on_pictures() -> None:
    model = create_model("mlp", widths=(), dropout=0.5).train()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(x), model(x))
    for name in ("mlp", "conv_encoder", "resnet_8_cifar"):
        model = create_model(name, dropout=0.5).train()
        features = model.forward_features(torch.randn(8, 3, 32, 32))
        assert (features == 0).float().mean() > 0.4
        assert torch.equal(model.eval()(x), model(x))


def test_no_parameter_of_more_dimensions_is_spared_decay(name: str) -> None:
    assert build(name).no_weight_decay() == set()


@pytest.mark.filterwarnings("ignore:The nodes obtained by tracing")
def test_taken_apart_and_mapped(name: str) -> None:
    """By torchvision's and torch's own tools, as compact transformers are."""
    model = build(name).eval()
    x = torch.randn(2, model.in_chans, *model.config.height_width)
    graph = create_feature_extractor(model, ["head"])
    assert torch.equal(graph(x)["head"], model(x))
    if not model.config.any_size:
        with pytest.raises(UsageError, match="the model was built for pictures of"):
            graph(x[..., 1:])
    mapped = torch.func.vmap(lambda picture: model(picture[None])[0])(x)
    torch.testing.assert_close(mapped, model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_pictures_in_half_are_scaled_for_timms_models(dtype: torch.dtype) -> None:
    resize = Resize((16, 12), "bicubic")
    x = torch.rand(2, 3, 9, 20)
    found = resize(x.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), resize(x), rtol=0, atol=0.02)
