"""Hand formulas against the models themselves, built without data, and against the paper."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from compact_vit.models import CompactTransformer, ModelConfig, config_from_name
from compact_vit.models.arithmetic import (
    KINDS,
    activations,
    macs,
    parameters,
    parts,
    token_grid,
    tokens,
)
from compact_vit.models.config import (
    FAMILIES,
    POSITIONAL_EMBEDDINGS,
    RESIDUAL_FORMS,
    named_models,
)
from compact_vit.report import Cost, summarize

ByKind = Callable[..., dict[str, Cost]]

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


def built(config: ModelConfig) -> CompactTransformer:
    """The model without data, which is all that sizes and costs need."""
    with torch.device("meta"):
        return CompactTransformer(config)


def written_as(number: int, text: str) -> bool:
    """Whether ``number`` rounds to ``text``, such as 1.605G, at the digits shown."""
    decimals = len(text[:-1].partition(".")[2])
    return f"{number / {'M': 1e6, 'G': 1e9}[text[-1]]:.{decimals}f}" == text[:-1]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]}-{row[1]}")
def test_published_table(row) -> None:
    name, size, classes, total, without_positions, with_100, cost, attention = row
    config = config_from_name(name, img_size=size, num_classes=classes)
    assert parameters(config) == total
    assert parameters(config, positions=False) == without_positions
    assert written_as(macs(config), cost)
    assert written_as(macs(config) - macs(config, products=False), attention)
    if with_100:
        assert parameters(config_from_name(name, num_classes=100)) == with_100


@pytest.mark.parametrize("name", named_models())
def test_every_builder_against_torch(name: str) -> None:
    config = config_from_name(name)
    assert config.img_size == (224 if "_7x2" in name else 32)
    model = built(config).eval()
    picture = torch.zeros(1, 3, *config.height_width, device="meta")
    with FlopCounterMode(display=False) as counter:
        features = model.forward_features(picture)
        model.forward_head(features)
    assert 2 * macs(config) == counter.get_total_flops()
    assert features.shape[1] == tokens(config)
    assert model.tokenizer.grid_size(*config.height_width) == token_grid(config)
    sizes = {key: value.numel() for key, value in model.named_parameters()}
    assert parameters(config) == sum(sizes.values())
    assert parameters(config) - parameters(config, positions=False) == sizes["positions.table"]


def any_config(draw: random.Random) -> ModelConfig:
    """A small model of any make: all families, forms and rates, odd sizes and pictures."""
    family, heads, kernel = draw.choice(FAMILIES), draw.choice([1, 2, 3]), draw.randint(1, 7)
    return ModelConfig(
        family=family,
        depth=draw.choice([1, 2, 3]),
        num_heads=heads,
        mlp_ratio=draw.choice([0.5, 1.0, 1.3, 2.0]),
        embed_dim=heads * draw.choice([4, 6, 9]),
        kernel_size=kernel,
        num_convs=draw.choice([1, 2, 3]) if family.startswith("cct") else 0,
        num_classes=draw.choice([0, 1, 10]),
        img_size=(draw.randint(kernel, 30), draw.randint(kernel, 30)),
        in_chans=draw.choice([1, 2, 3]),
        positional_embedding=draw.choice(POSITIONAL_EMBEDDINGS),
        dropout=draw.choice([0.0, 0.1]),
        attention_dropout=draw.choice([0.0, 0.1]),
        drop_path=draw.choice([0.0, 0.1]),
        residual=draw.choice(RESIDUAL_FORMS),
        mlp_kernel=draw.choice([0, 1, 3]),
        tokenizer_norm=family.startswith("cct") and draw.choice([False, True]),
    )


def assert_as_measured(config: ModelConfig, by_kind: ByKind) -> None:
    """All figures are those that the report counts on the model itself, whole and by kind."""
    model, size = built(config), (config.in_chans, *config.height_width)
    summary, kinds = summarize(model, size), by_kind(model, size)
    assert parameters(config) == summary.parameters
    assert parameters(config, positions=False) == summary.parameters_without_positions
    assert macs(config) == summary.macs
    assert macs(config, products=False) == summary.macs_without_attention
    assert activations(config) == round(1e6 * summary.activation_megabytes)
    sums = {kind: Counter() for kind in KINDS}
    for part in parts(config):
        sums[part.kind].update(
            parameters=part.parameters, macs=part.macs, kept=part.activation_bytes
        )
    assert list(kinds) == list(KINDS)
    for kind, cost in kinds.items():
        assert sums[kind]["parameters"] == cost.parameters, kind
        assert sums[kind]["macs"] == cost.macs, kind
        assert sums[kind]["kept"] == round(1e6 * cost.activation_megabytes), kind


@pytest.mark.parametrize("seed", range(30))
def test_any_configuration_as_measured(seed: int, by_kind: ByKind) -> None:
    assert_as_measured(any_config(random.Random(seed)), by_kind)


@pytest.mark.parametrize(
    "name", ["cct_6_3x1", "cct_6_3x2", "vit_lite_2_16", "cvt_4_8_sine", "cct2_2_3x2"]
)
@pytest.mark.parametrize("positions", ["none", None])
def test_members_as_measured(name: str, positions: str | None, by_kind: ByKind) -> None:
    assert_as_measured(config_from_name(name, positional_embedding=positions), by_kind)


def test_parts_are_modules_of_the_model() -> None:
    for name in ("vit_lite_2_8", "cct_4_3x1"):
        config = config_from_name(name, dropout=0.1)
        model = built(config)
        names = dict(model.named_modules())
        for part in parts(config):
            assert part.module in names
        for module in {part.module for part in parts(config)}:
            held = sum(part.parameters for part in parts(config) if part.module == module)
            assert held == sum(p.numel() for p in names[module].parameters()), module


def test_activations_are_mostly_attention_and_grow_with_the_square_of_the_tokens() -> None:
    # four times the tokens: 6 layers x 4 heads x N^2 floats, three times over
    one, two = config_from_name("cct_6_3x1"), config_from_name("cct_6_3x2")
    assert (tokens(one), tokens(two)) == (256, 64)

    def products(config: ModelConfig) -> int:
        kept = (p.activation_bytes for p in parts(config) if p.kind == "attention, products")
        return sum(kept)

    assert products(one) == 4 * 6 * (3 * 256 * 256 + 3 * 4 * 256**2)
    assert products(two) == 4 * 6 * (3 * 64 * 256 + 3 * 4 * 64**2)
