"""Sizes and costs against the published table, against formulas by hand, against plain runs."""

import functools
import itertools
import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compact_vit import create_model, list_models
from compact_vit.errors import UsageError
from compact_vit.report import by_kind, layer_table, summarize

# model, pixels, classes, parameters, without positions, with 100 classes, MACs, attention's of them
PUBLISHED = [
    ("vit_lite_2_4", 32, 10, 214_666, 206_346, 226_276, "15.34M", "2.16M"),
    ("vit_lite_4_4", 32, 10, 413_066, 404_746, 424_676, "30.28M", "4.33M"),
    ("vit_lite_6_4", 32, 10, 3_190_538, 3_173_898, 3_213_668, "218.24M", "12.98M"),
    ("vit_lite_7_4", 32, 10, 3_716_874, 3_700_234, 3_740_004, "254.48M", "15.14M"),
    ("cvt_2_4", 32, 10, 214_539, 206_347, 226_149, "15.09M", "2.11M"),
    ("cvt_4_4", 32, 10, 412_939, 404_747, 424_549, "29.77M", "4.20M"),
    ("cvt_6_4", 32, 10, 3_190_283, 3_173_899, 3_213_413, "214.73M", "12.60M"),
    ("cvt_7_4", 32, 10, 3_716_619, 3_700_235, 3_739_749, "250.38M", "14.70M"),
    ("cct_2_3x2", 32, 10, 283_723, 275_531, 295_333, "35.34M", "2.11M"),
    ("cct_4_3x2", 32, 10, 482_123, 473_931, 493_733, "50.02M", "4.20M"),
    ("cct_6_3x1", 32, 10, 3_233_803, 3_168_267, 3_256_933, "1013.84M", "201.4M"),
    ("cct_6_3x2", 32, 10, 3_326_923, 3_310_539, 3_350_053, "253.46M", "12.60M"),
    ("cct_7_3x1", 32, 10, 3_760_139, 3_694_603, 3_783_269, "1181.62M", "234.9M"),
    ("cct_7_3x2", 32, 10, 3_853_259, 3_836_875, 3_876_389, "289.11M", "14.70M"),
    ("cct_7_7x2", 224, 102, 4_573_735, 4_523_559, None, "1.605G", "137.7M"),
    ("cct_14_7x2", 224, 1000, 22_367_273, 22_292_009, None, "5.522G", "0.413G"),
    ("cct_14_7x2", 384, 1000, 22_513_193, 22_292_009, None, "18.580G", "3.567G"),
]

# layers -> heads, MLP ratio, width
SIZES = {2: (2, 1, 128), 4: (2, 1, 128), 6: (4, 2, 256), 7: (4, 2, 256), 8: (4, 2, 256)}
SIZES[14] = (6, 3, 384)


def shapes(name, **options):
    """The model without data, which is all that sizes and costs need."""
    with torch.device("meta"):
        return create_model(name, **options)


@functools.cache
def costs(name, size, classes):
    return summarize(shapes(name, img_size=size, num_classes=classes), (3, size, size))


def written_as(number, text):
    """Whether ``number`` rounds to ``text``, such as 1.605G, at the digits shown."""
    decimals = len(text[:-1].partition(".")[2])
    return f"{number / {'M': 1e6, 'G': 1e9}[text[-1]]:.{decimals}f}" == text[:-1]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]}-{row[1]}")
def test_published_table(row):
    name, size, classes, parameters, without_positions, with_100, macs, attention = row
    summary = costs(name, size, classes)
    assert summary.parameters == summary.trainable_parameters == parameters
    assert summary.parameters_without_positions == without_positions
    assert summary.weight_megabytes == pytest.approx(parameters * 4 / 1e6)
    assert written_as(summary.macs, macs)
    assert written_as(summary.macs - summary.macs_without_attention, attention)
    if with_100:
        model = shapes(name, img_size=size, num_classes=100)
        assert sum(parameter.numel() for parameter in model.parameters()) == with_100


def parts_by_hand(name, classes, size):
    """(layers, heads, width, hidden, tokens, [(conv MACs, conv outputs, pool outputs)])."""
    family, depth, kind = name.rsplit("_", 2)
    heads, ratio, width = SIZES[int(depth)]
    convs = []
    if family == "cct":
        kernel, count = map(int, kind.split("x"))
        stride, padding = max(1, kernel // 2 - 1), max(1, kernel // 2)
        channels = [3] + [64] * (count - 1) + [width]
        for inputs, outputs in itertools.pairwise(channels):
            size = (size + 2 * padding - kernel) // stride + 1
            macs = size**2 * kernel**2 * inputs * outputs
            pooled = (size + 2 - 3) // 2 + 1
            convs.append((macs, size**2 * outputs, pooled**2 * outputs))
            size = pooled
        tokens = size**2
    else:
        tokens = (size // int(kind)) ** 2
        convs.append((tokens * int(kind) ** 2 * 3 * width, 0, 0))
        tokens += family == "vit_lite"
    return int(depth), heads, width, ratio * width, tokens, convs


@pytest.mark.parametrize("name", list_models())
def test_macs_by_hand_for_every_builder(name):
    size = 224 if "7x" in name.split("_")[2] else 32
    depth, _, width, hidden, tokens, convs = parts_by_hand(name, 10, size)
    attention = depth * 2 * tokens**2 * width
    layer = tokens * width * 3 * width + tokens * width**2 + 2 * tokens * width * hidden
    pooling = 0 if name.startswith("vit") else tokens * width  # for the weights, and by them
    linear = sum(conv[0] for conv in convs) + depth * layer + pooling + width * 10
    summary = costs(name, size, 10)
    assert summary.macs == linear + attention + pooling
    assert summary.macs_without_attention == linear


def kept_by_hand(name, size):
    """Bytes autograd keeps of one picture, and those of attention's products among them."""
    depth, heads, width, hidden, tokens, convs = parts_by_hand(name, 10, size)
    kept = 3 * size**2
    for _, convolved, pooled in convs:
        kept += convolved + 2 * pooled + pooled  # the pool's input, its int64 indices, the ReLU
    norm = tokens * width + 2 * tokens  # input, mean and deviation
    # scaled queries and keys, values; weights, what the dropout multiplies them by, the product
    products = 3 * tokens * width + 3 * heads * tokens**2
    maps = 2 * tokens * width  # the inputs of both linear maps
    mlp = tokens * width + 2 * tokens * hidden  # the inputs of both linear maps and of the GELU
    kept += depth * (2 * norm + products + maps + mlp)
    kept += 2 * (depth - 1)  # one factor a branch and sample where paths are dropped
    kept += norm + tokens * width  # the last norm, and its output for what comes next
    kept += 0 if name.startswith("vit") else tokens + width  # pooling weights, the head's input
    return 4 * kept, 4 * depth * products


@pytest.mark.parametrize("name", ["cct_2_3x2", "cct_4_3x1", "cct_6_3x1", "vit_lite_6_4", "cvt_7_8"])
def test_activations_by_hand(name):
    kept, products = kept_by_hand(name, 32)
    assert costs(name, 32, 10).activation_megabytes == pytest.approx(kept / 1e6, abs=1e-9)
    of_products = by_kind(shapes(name), (3, 32, 32))["attention, products"]
    assert of_products.activation_megabytes == pytest.approx(products / 1e6, abs=1e-9)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", ["vit_lite_2_4", "cvt_4_8", "cct_2_3x1"])
def test_macs_equal_a_plain_run(name, training):
    # with attention dropout the products are written out; without, a fused kernel runs
    model = create_model(name, num_classes=100).train(training)
    with FlopCounterMode(display=False) as counter:
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


@pytest.mark.parametrize("positions", ["learnable", "sine", "none"])
@pytest.mark.parametrize("name", ["vit_lite_2_8", "cvt_2_4", "cct_2_7x2"])
def test_kinds_add_up(name, positions):
    model = shapes(name, img_size=64, positional_embedding=positions, dropout=0.1)
    summary = summarize(model, (3, 64, 64))
    kinds = by_kind(model, (3, 64, 64))
    assert sum(cost.parameters for cost in kinds.values()) == summary.parameters
    assert sum(cost.macs for cost in kinds.values()) == summary.macs
    kept = sum(cost.activation_megabytes for cost in kinds.values())
    assert kept == pytest.approx(summary.activation_megabytes)
    without_positions = summary.parameters - kinds["positions"].parameters
    assert without_positions == summary.parameters_without_positions
    tokens = math.prod(model.tokenizer.grid_size(64, 64))
    pooling = 0 if name.startswith("vit") else tokens * model.embed_dim
    without_attention = summary.macs - kinds["attention, products"].macs - pooling
    assert without_attention == summary.macs_without_attention


def test_kinds_by_hand():
    kinds = by_kind(shapes("cct_6_3x1", num_classes=100), (3, 32, 32))
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
