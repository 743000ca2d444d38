"""Sizes and costs as published, by formula, in plain runs, and of other people's models."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compact_vit import create_model
from compact_vit.errors import UsageError
from compact_vit.models import CompactTransformer, config_from_name
from compact_vit.report import (
    costs_by_kind,
    costs_by_module,
    layer_table,
    summarize,
    summary_of,
)
from compact_vit.report.layers import layers_of


def shapes(name, **options):
    """The model without data, which is all that sizes and costs need."""
    with torch.device("meta"):
        return create_model(name, **options)


@pytest.mark.parametrize(
    ("name", "size", "classes", "parameters", "without_positions", "macs", "attention"),
    [
        ("vit_lite_6_4", 32, 10, 3_190_538, 3_173_898, 218.24, 12.98),
        ("cct_7_3x1", 32, 10, 3_760_139, 3_694_603, 1181.62, 234.9),
        ("cct_14_7x2", 384, 1000, 22_513_193, 22_292_009, 18580, 3567),
    ],
)
def test_published_figures(name, size, classes, parameters, without_positions, macs, attention):
    model = shapes(name, img_size=size, num_classes=classes)
    summary = summarize(model, (3, size, size))
    assert summary.parameters == summary.trainable_parameters == parameters
    assert summary.parameters_without_positions == without_positions
    assert summary.weight_megabytes == pytest.approx(parameters * 4 / 1e6)
    assert summary.macs / 1e6 == pytest.approx(macs, abs=0.5 if size > 32 else 0.005)
    products = (summary.macs - summary.macs_without_attention) / 1e6
    assert products == pytest.approx(attention, abs=0.5 if size > 32 else 0.05)


@pytest.mark.parametrize("positions", ["learnable", "sine", "none"])
@pytest.mark.parametrize("name", ["vit_lite_2_8", "cvt_4_8", "cct_6_3x1", "cct_2_7x2"])
def test_what_is_measured_is_what_the_formulas_say(name, positions, by_kind):
    config = config_from_name(name, img_size=64, positional_embedding=positions, dropout=0.1)
    with torch.device("meta"):
        model = CompactTransformer(config)
    assert summarize(model, (3, 64, 64)) == summary_of(config)
    assert by_kind(model, (3, 64, 64)) == costs_by_kind(config)


@pytest.mark.parametrize("name", ["vit_lite_2_8", "cct_4_3x1"])
def test_modules_by_formula(name):
    config = config_from_name(name)
    modules, model = costs_by_module(config), shapes(name)
    blocks = [f"blocks.{i}" for i in range(config.depth)]
    pooling = ["pool"] if name == "cct_4_3x1" else []
    tokenizer = ["tokenizer"] if pooling else ["tokenizer", "class_token"]
    assert list(modules) == [*tokenizer, "positions", *blocks, "norm", *pooling, "head"]
    for module, cost in modules.items():
        held = sum(p.numel() for p in model.get_submodule(module).parameters())
        assert cost.parameters == held
    summary = summary_of(config)
    assert sum(cost.macs for cost in modules.values()) == summary.macs
    kept = sum(cost.activation_megabytes for cost in modules.values())
    assert kept == pytest.approx(summary.activation_megabytes)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", ["vit_lite_2_4", "cvt_4_8", "cct_2_3x1"])
def test_macs_equal_a_plain_run(name, training):
    # the products are written out, for torch 2.11 counts none within its fused kernel;
    # branches dropped by chance would not be computed
    model = create_model(name, num_classes=100, drop_path=0.0).train(training)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 32, 32))
    assert 2 * summarize(model, (3, 32, 32)).macs == counter.get_total_flops()


def test_any_module():
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2, bias=False)
    )
    model[1].requires_grad_(False)
    summary = summarize(model, (3, 2, 2))
    assert summary.parameters == summary.parameters_without_positions == 65 + 10 + 10
    assert summary.trainable_parameters == 20
    assert summary.macs == summary.macs_without_attention == 60 + 10
    # the picture, the norm's input and its statistics (2 x 5 for both pictures), ReLU's output
    assert summary.activation_megabytes == pytest.approx((12 + 5 + 5 + 5) * 4 / 1e6)


class Encoder(nn.Module):
    """torch's own transformer layer on the pixels of a picture as tokens."""

    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 10, 64))
        self.layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)

    def forward(self, x):
        return self.layer(x.flatten(2).transpose(1, 2) + self.pos_embed)


def test_other_peoples_attention_and_positions():
    summary = summarize(Encoder(), (64, 2, 5))
    products, maps = 2 * 10 * 10 * 64, 4 * 10 * 64 * 64 + 2 * 10 * 64 * 128
    assert summary.macs == maps + products
    assert summary.macs_without_attention == maps
    assert summary.parameters - summary.parameters_without_positions == 640


def test_a_model_of_torchvision():
    from torchvision.models import ResNet18_Weights, ViT_B_16_Weights, resnet18, vit_b_16

    for build, weights in ((resnet18, ResNet18_Weights), (vit_b_16, ViT_B_16_Weights)):
        published = weights.IMAGENET1K_V1.meta
        with torch.device("meta"):
            summary = summarize(build(), (3, 224, 224))
        assert summary.parameters == summary.trainable_parameters == published["num_params"]
        assert summary.macs / 1e9 == pytest.approx(published["_ops"], abs=0.001)
    # the products of 12 layers, 197 tokens, 768 channels; positions under torchvision's own name
    assert summary.macs - summary.macs_without_attention == 12 * 2 * 197**2 * 768
    assert summary.parameters - summary.parameters_without_positions == 197 * 768


def test_a_model_of_timm():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        summary = summarize(timm.create_model("deit_tiny_patch16_224"), (3, 224, 224))
    tokens, width = 197, 192
    assert summary.parameters == 5_717_416  # arXiv 2012.12877, table 1: 5M
    assert summary.parameters - summary.parameters_without_positions == tokens * width
    products = 12 * 2 * tokens**2 * width
    maps = 196 * 3 * 16 * 16 * width + 12 * tokens * 12 * width**2 + width * 1000
    assert summary.macs_without_attention == maps
    assert summary.macs == maps + products


class Looking(nn.Module):
    """A model that looks at its input's values, which the meta device has none of."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) if x.sum().item() == 0 else x


def test_a_model_that_needs_data_is_run_for_real():
    model = create_model("cct_2_3x2")
    assert summarize(Looking(model), (3, 32, 32)) == summarize(model, (3, 32, 32))


def test_the_copy_holds_no_data_and_is_in_float32():
    devices = set()

    class Telling(nn.Linear):
        def forward(self, x):
            devices.add(x.device.type)
            return x * self.bias.exp()

    model = nn.Sequential(create_model("cct_2_3x2"), Telling(1, 10))
    summary = summarize(model, (3, 32, 32))
    assert summarize(model.half(), (3, 32, 32)) == summary
    layer_table(model, (3, 32, 32))
    assert devices == {"meta"}


@pytest.mark.parametrize("wrap", [lambda model: model, Looking], ids=["meta", "real"])
def test_the_model_is_left_as_it_was(wrap):
    norm = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), create_model("cct_2_3x2"))
    model = wrap(norm).half()
    norm[2].eval()
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    summarize(model, (3, 32, 32))
    layer_table(model, (3, 32, 32))
    assert torch.equal(random_state, torch.get_rng_state())
    assert modes == [module.training for module in model.modules()]
    for key, value in model.state_dict().items():
        assert value.device.type == "cpu"
        assert torch.equal(value, before[key])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_callers_grad_mode_does_not_matter():
    model = create_model("cct_2_3x2")
    summary = summarize(model, (3, 32, 32))
    with torch.no_grad():
        assert summarize(model, (3, 32, 32)) == summary
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert summarize(model, (3, 32, 32)) == summary


def test_a_picture_the_model_does_not_take():
    model = create_model("cct_2_3x2")
    for size, said in [
        ((1, 32, 32), "does not take pictures of 32x32 pixels and 1 channels"),
        ((3, 32), "channels, height, width"),
        ((3, 0, 32), "all positive"),
    ]:
        with pytest.raises(UsageError, match=said) as caught:
            summarize(model, size)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="Encoder does not take pictures"):
        summarize(Encoder(), (64, 3, 5))


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_of_torchscript_the_model_is_wanted():
    scripted = torch.jit.script(create_model("cvt_2_8"))
    with pytest.raises(UsageError, match="TorchScript's operations cannot be counted: give the m"):
        summarize(scripted, (3, 32, 32))


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_a_quantised_model_is_no_fraction_of_itself():
    model = create_model("cct_2_3x2")
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(UsageError, match=r"score --accuracy PERCENT --effective FILE$"):
        summarize(quantised, (3, 32, 32))
    whole = summarize(model, (3, 32, 32)).parameters
    assert whole == sum(p.numel() for p in model.parameters())
    with pytest.raises(UsageError, match="quantised"):
        summarize(torch.compile(nn.Sequential(quantised)), (3, 32, 32))


def test_kinds_by_hand():
    kinds = costs_by_kind(config_from_name("cct_6_3x1", num_classes=100))
    tokens, width = 256, 256
    assert kinds["tokenizer"].parameters == 27 * width
    assert kinds["tokenizer"].macs == 27 * width * 32 * 32
    assert kinds["positions"].parameters == tokens * width
    assert kinds["attention, linear maps"].parameters == 6 * (4 * width * width + width)
    assert kinds["attention, linear maps"].macs == 6 * tokens * 4 * width * width
    assert kinds["attention, products"].macs == 6 * 2 * tokens * tokens * width
    assert kinds["MLP"].parameters == 6 * (4 * width * width + 3 * width)
    assert kinds["MLP"].macs == 6 * tokens * 4 * width * width
    assert kinds["norms"].parameters == 13 * 2 * width
    assert kinds["pooling"].parameters == width + 1
    assert kinds["head"].parameters == 101 * 100 + 156 * 100
    assert kinds["class token"].parameters == 0


def test_one_convolution_against_two():
    one, two = (summarize(shapes(name), (3, 32, 32)) for name in ("cct_6_3x1", "cct_6_3x2"))
    assert one.parameters < two.parameters
    assert one.activation_megabytes > 3 * two.activation_megabytes


def test_layer_table():
    model = create_model("cct_2_3x2", num_classes=100)
    table = layer_table(model, (3, 32, 32))
    assert "SequencePooling (pool)" in table
    assert "12,900" in table
    assert "Param #" in table
    assert "mult-adds" not in table.lower()
    assert table.count("Linear (qkv)") == 2


@pytest.mark.parametrize("limit", [0, 10**12], ids=["without data", "run"])
def test_layers_of_a_configuration(limit, monkeypatch):
    config = config_from_name("vit_lite_2_8", num_classes=100)
    expected = layer_table(shapes("vit_lite_2_8", num_classes=100), (3, 32, 32))
    monkeypatch.setattr("compact_vit.report.layers._MACS", limit)
    random_state = torch.get_rng_state()
    assert layers_of(config) == expected
    assert torch.equal(random_state, torch.get_rng_state())
