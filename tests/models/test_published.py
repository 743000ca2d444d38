"""The published facts: logits and checkpoints of ten members, and the sizes of all of them."""

from __future__ import annotations

import itertools
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from compact_vit import create_model, load_reference_state_dict
from compact_vit.layers import sine_positions
from compact_vit.models import CompactTransformer
from compact_vit.models.config import named_models

CASES = json.loads((Path(__file__).parents[1] / "golden" / "golden.json").read_text())["cases"]

# name, side, classes -> parameters, and without positions (arXiv 2104.05704 and its code)
TABLE = [
    ("vit_lite_2_4", 32, 10, 214_666, 206_346),
    ("vit_lite_4_4", 32, 10, 413_066, 404_746),
    ("vit_lite_6_4", 32, 10, 3_190_538, 3_173_898),
    ("vit_lite_7_4", 32, 10, 3_716_874, 3_700_234),
    ("cvt_2_4", 32, 10, 214_539, 206_347),
    ("cvt_4_4", 32, 10, 412_939, 404_747),
    ("cvt_6_4", 32, 10, 3_190_283, 3_173_899),
    ("cvt_7_4", 32, 10, 3_716_619, 3_700_235),
    ("cct_2_3x2", 32, 10, 283_723, 275_531),
    ("cct_4_3x2", 32, 10, 482_123, 473_931),
    ("cct_6_3x1", 32, 10, 3_233_803, 3_168_267),
    ("cct_6_3x2", 32, 10, 3_326_923, 3_310_539),
    ("cct_7_3x1", 32, 10, 3_760_139, 3_694_603),
    ("cct_7_3x2", 32, 10, 3_853_259, 3_836_875),
    ("vit_lite_2_4", 32, 100, 226_276, None),
    ("vit_lite_4_4", 32, 100, 424_676, None),
    ("vit_lite_6_4", 32, 100, 3_213_668, None),
    ("vit_lite_7_4", 32, 100, 3_740_004, None),
    ("cvt_2_4", 32, 100, 226_149, None),
    ("cvt_4_4", 32, 100, 424_549, None),
    ("cvt_6_4", 32, 100, 3_213_413, None),
    ("cvt_7_4", 32, 100, 3_739_749, None),
    ("cct_2_3x2", 32, 100, 295_333, None),
    ("cct_4_3x2", 32, 100, 493_733, None),
    ("cct_6_3x1", 32, 100, 3_256_933, 3_191_397),
    ("cct_6_3x2", 32, 100, 3_350_053, 3_333_669),
    ("cct_7_3x1", 32, 100, 3_783_269, None),
    ("cct_7_3x2", 32, 100, 3_876_389, None),
    ("cct_7_7x2", 224, 102, 4_573_735, 4_523_559),
    ("cct_14_7x2", 224, 1000, 22_367_273, 22_292_009),
    ("cct_14_7x2", 384, 1000, 22_513_193, 22_292_009),
]

# depth -> heads, MLP ratio, width
PUBLISHED_SIZES = {
    2: (2, 1, 128),
    4: (2, 1, 128),
    6: (4, 2, 256),
    7: (4, 2, 256),
    8: (4, 2, 256),
    14: (6, 3, 384),
}


def golden_model(case: dict[str, Any]) -> CompactTransformer:
    family = {"vit": "vit_lite"}.get(case["family"], case["family"])
    convs = f"x{case['n']}" if "n" in case else ""
    return create_model(
        f"{family}_{case['L']}_{case['k']}{convs}",
        num_classes=case.get("nc", 10),
        img_size=case.get("img", 32),
        in_chans=case.get("ch", 3),
        positional_embedding=case.get("pe", "learnable"),
    ).eval()


def golden_state(case: dict[str, Any]) -> dict[str, Tensor]:
    """The checkpoint, by the rule that ``golden.json`` states."""
    state = {}
    for key, shape in case["state"].items():
        a = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        if key.endswith("_emb"):
            a = 0.5 * a
        elif len(shape) >= 2:
            a = a / np.sqrt(np.prod(shape[1:]))
        elif key.endswith("weight"):
            a = 1 + 0.2 * a
        else:
            a = 0.2 * a
        state[key] = torch.from_numpy(np.asarray(a, dtype=np.float32))
    if case.get("pe") == "sine":
        tokens, width = state["classifier.positional_emb"].shape[1:]
        state["classifier.positional_emb"] = sine_positions(tokens, width)
    return state


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_published_logits_counts_and_keys(case: dict[str, Any]) -> None:
    model, state = golden_model(case), golden_state(case)
    assert sum(p.numel() for p in model.parameters()) == case["parameters"]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == case["trainable"]
    # every published tensor has its place here, of its shape, and nothing else is wanted
    ours = Counter(tuple(v.shape) for v in model.state_dict().values())
    assert ours == Counter(tuple(shape) for shape in case["state"].values())
    report = load_reference_state_dict(model, state)
    assert (report.positions_resized, report.head_changed) == (None, None)
    side, chans = case.get("img", 32), case.get("ch", 3)
    pictures = np.random.RandomState(0).standard_normal((2, chans, side, side))
    with torch.no_grad():
        logits = model(torch.from_numpy(pictures.astype(np.float32)))
    torch.testing.assert_close(logits, torch.tensor(case["logits"]), atol=1e-5, rtol=0)


def meta_model(name: str, **options: Any) -> CompactTransformer:
    """A model without storage: its shapes cost nothing."""
    with torch.device("meta"):
        return create_model(name, **options)


def counts(model: CompactTransformer) -> tuple[int, int]:
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    total = sum(sizes.values())
    return total, total - sizes.get("positions.table", 0)


@pytest.mark.parametrize(("name", "side", "classes", "parameters", "without"), TABLE)
def test_published_parameter_counts(
    name: str, side: int, classes: int, parameters: int, without: int | None
) -> None:
    total, rest = counts(meta_model(name, img_size=side, num_classes=classes))
    assert total == parameters
    if without is not None:
        assert rest == without


def by_the_formula(name: str, side: int, classes: int) -> tuple[int, int]:
    """All parameters and those without positions, from the published facts alone."""
    family, depth, tokenizer = name.rsplit("_", 2)
    _, ratio, width = PUBLISHED_SIZES[int(depth)]
    kernel, _, convs = tokenizer.partition("x")
    k = int(kernel)
    if family in ("cct", "cct2"):
        widths = [3] + [64] * (int(convs) - 1) + [width]
        stem = sum(a * b * k * k for a, b in itertools.pairwise(widths))
        for _ in range(int(convs)):
            stride, padding = max(1, k // 2 - 1), max(1, k // 2)
            side = (side + 2 * padding - k) // stride + 1
            side = (side + 1) // 2
        tokens = side * side
    else:
        stem = 3 * k * k * width + width
        tokens = (side // k) ** 2
    attention = 3 * width * width + width * width + width
    mlp = 2 * width * ratio * width + ratio * width + width
    if family == "cct2":  # 3 x 3 taps and a bias a hidden channel; a norm after each convolution
        mlp += (9 + 1) * ratio * width
        stem += 2 * sum(widths[1:])
    layer = attention + mlp + 2 * 2 * width
    pooling = width if family == "vit_lite" else width + 1
    head = (width + 1) * classes if classes else 0
    without = stem + int(depth) * layer + 2 * width + pooling + head
    return without + (tokens + (family == "vit_lite")) * width, without


@pytest.mark.parametrize("name", [*named_models(), "cct_6_5x3", "cct_7_3x4", "cvt_14_4"])
def test_counts_of_every_member_by_the_formula(name: str) -> None:
    for side, classes in ((32, 100), (64, 0)):
        got = counts(meta_model(name, img_size=side, num_classes=classes))
        assert got == by_the_formula(name, side, classes)


@pytest.mark.parametrize("depth", PUBLISHED_SIZES)
def test_published_sizes(depth: int) -> None:
    config = meta_model(f"cct_{depth}_3x1").config
    assert (config.num_heads, config.mlp_ratio, config.embed_dim) == PUBLISHED_SIZES[depth]


def test_published_defaults() -> None:
    model = create_model("cct_6_3x1")
    assert [block.drop_path.rate for block in model.blocks] == pytest.approx(
        [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]
    )
    assert {block.attn.attention_dropout for block in model.blocks} == {0.1}
    assert {block.mlp.dropout.p for block in model.blocks} == {0.0}
    assert all(block.normed_residual for block in model.blocks)


def test_published_initial_values() -> None:
    torch.manual_seed(0)
    model = create_model("vit_lite_7_4")
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and "tokenizer" not in name:
            assert not parameter.any(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        elif parameter.dim() == 2:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
    assert not model.class_token.token.any()
    kaiming = (2 / (3 * 4 * 4)) ** 0.5
    assert model.tokenizer.proj.weight.std().item() == pytest.approx(kaiming, rel=0.05)
    assert {norm.eps for norm in model.modules() if hasattr(norm, "eps")} == {1e-5}
    for conv in create_model("cct_7_3x2").tokenizer.convs:
        kaiming = (2 / (conv.in_channels * 3 * 3)) ** 0.5
        assert conv.weight.std().item() == pytest.approx(kaiming, rel=0.05)
