"""Names, builders and options: what is understood, and what is said to what is not."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from typing import Any

import pytest
import torch

import compact_vit
from compact_vit import (
    CompactTransformer,
    ModelConfig,
    UsageError,
    cct_6_3x1,
    create_model,
    list_models,
)
from compact_vit.models import config_from_name
from compact_vit.models.config import name_of, named_models


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cct_6_3x1", {"family": "cct", "depth": 6, "kernel_size": 3, "num_convs": 1}),
        ("cct_6_5x3", {"family": "cct", "depth": 6, "kernel_size": 5, "num_convs": 3}),
        ("cct_14_7x2", {"depth": 14, "embed_dim": 384, "img_size": 224, "num_classes": 10}),
        ("vit_lite_7_16", {"family": "vit_lite", "depth": 7, "kernel_size": 16, "num_convs": 0}),
        ("cvt_14_3", {"family": "cvt", "depth": 14, "kernel_size": 3, "img_size": 32}),
        # the published implementation's own names
        (
            "cct_7_3x1_32_sine_c100",
            {"img_size": 32, "positional_embedding": "sine", "num_classes": 100},
        ),
        ("cct_7_3x1_32", {"img_size": 32, "num_classes": 10, "positional_embedding": "learnable"}),
        ("cct_7_3x1_32_c10", {"num_classes": 10}),
        ("cct_7_7x2_224_sine", {"img_size": 224, "positional_embedding": "sine"}),
        ("cct_14_7x2_384_fl", {"img_size": 384, "num_classes": 102}),
        ("vit_7_4_32_sine", {"family": "vit_lite", "positional_embedding": "sine"}),
        ("cvt_6_4_32", {"family": "cvt", "img_size": 32}),
        # a CCT with norms in its tokenizer and convolutions in its MLPs
        (
            "cct2_6_3x1",
            {
                "family": "cct2",
                "embed_dim": 256,
                "residual": "published",
                "mlp_kernel": 3,
                "tokenizer_norm": True,
            },
        ),
        ("cct_6_3x1", {"residual": "published", "mlp_kernel": 0, "tokenizer_norm": False}),
    ],
)
def test_well_formed_names(name: str, expected: dict[str, Any]) -> None:
    config = dataclasses.asdict(config_from_name(name))
    assert {field: config[field] for field in expected} == expected


#: The classes that the published implementation's builders have by default.
PUBLISHED_CLASSES = {
    **{f"vit_{depth}_4_32": 10 for depth in (2, 4, 6, 7)},
    **{f"vit_{depth}_4_32_sine": 10 for depth in (2, 4, 6, 7)},
    **{f"cvt_{depth}_4_32": 10 for depth in (2, 4, 6, 7)},
    **{f"cvt_{depth}_4_32_sine": 10 for depth in (2, 4, 6, 7)},
    "cct_2_3x2_32": 10,
    "cct_2_3x2_32_sine": 10,
    "cct_4_3x2_32": 10,
    "cct_4_3x2_32_sine": 10,
    "cct_6_3x1_32": 10,
    "cct_6_3x1_32_sine": 10,
    "cct_6_3x2_32": 10,
    "cct_6_3x2_32_sine": 10,
    "cct_7_3x1_32": 10,
    "cct_7_3x1_32_sine": 10,
    "cct_7_3x1_32_c100": 100,
    "cct_7_3x1_32_sine_c100": 100,
    "cct_7_3x2_32": 10,
    "cct_7_3x2_32_sine": 10,
    "cct_7_7x2_224": 102,
    "cct_7_7x2_224_sine": 102,
    "cct_14_7x2_224": 1000,
    "cct_14_7x2_384": 1000,
    "cct_14_7x2_384_fl": 102,
}


@pytest.mark.parametrize("name", PUBLISHED_CLASSES)
def test_published_names_have_the_published_classes(name: str) -> None:
    assert config_from_name(name).num_classes == PUBLISHED_CLASSES[name]
    assert config_from_name(name, num_classes=7).num_classes == 7


@pytest.mark.parametrize("name", ["cct_7_7x2", "cct_14_7x2", "cct_7_7x2_384", "cct2_14_7x2_224"])
def test_names_that_were_not_published_have_ten_classes(name: str) -> None:
    assert config_from_name(name).num_classes == 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cct_6_3x", "unknown model 'cct_6_3x': did you mean 'cct_6_3x"),
        ("cct_6_3", "unknown model 'cct_6_3': did you mean 'cct_6_3x"),
        ("cct6_3x1", "unknown model 'cct6_3x1': did you mean 'cct_6_3x1'?"),
        ("CCT_6_3X1", "unknown model 'CCT_6_3X1': did you mean 'cct_6_3x1'?"),
        ("cvt_7_4x1", "unknown model 'cvt_7_4x1': did you mean 'cvt_7_4'?"),
        ("vit_lite_7_4x1", "unknown model 'vit_lite_7_4x1': did you mean 'vit_lite_7_4'?"),
        ("cct_6_3x1_cosine", "unknown model 'cct_6_3x1_cosine': did you mean 'cct_6_3x1'?"),
        ("cct_6_3x1\n", "unknown model 'cct_6_3x1\\n': did you mean 'cct_6_3x1'?"),
        ("resnet18", "unknown model 'resnet18': did you mean 'timm/resnet18'?"),
        ("alexnet", "unknown model 'alexnet': names are of the form vit_lite_L_P, "),
        ("", "unknown model '': names are of the form vit_lite_L_P, "),
        ("cct_5_3x1", "unknown model 'cct_5_3x1': its depth must be one of 2, 4, 6, 7, 8, 14"),
        ("cct_6_3x0", "num_convs must be a whole number of at least 1, got 0"),
        ("cct_6_0x1", "kernel_size must be a whole number of at least 1, got 0"),
        ("cvt_6_64", "img_size must be a side or (height, width) of at least 64 pixels, got 32"),
    ],
)
def test_ill_formed_names(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        create_model(name)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("drop_pth", "drop_path"),
        ("num_class", "num_classes"),
        ("image_size", "img_size"),
        ("positional_embeding", "positional_embedding"),
        ("attn_dropout", "attention_dropout"),
        ("drop_rate", "dropout"),  # as timm calls it, not as it is spelt
        ("drop_path_rate", "drop_path"),
    ],
)
def test_unknown_options_are_told_the_nearest(option: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"unknown model option '{option}': did you mean") as e:
        create_model("cct_2_3x2", **{option: 1})
    assert str(e.value).endswith(f"{nearest!r}?")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positional_embedding": "sin"}, "unknown positional_embedding 'sin': did you mean 'sine"),
        ({"positional_embedding": True}, "unknown positional_embedding 'True': "),
        ({"residual": "prenorm"}, "unknown residual 'prenorm': did you mean 'pre_norm'?"),
        ({"family": "ccd"}, "unknown family 'ccd': did you mean 'cct'?"),
        ({"num_classes": -1}, "num_classes must be a whole number, 0 for no classifier, got -1"),
        ({"num_classes": 2.0}, "num_classes must be a whole number, 0 for no classifier, got 2.0"),
        ({"in_chans": 0}, "in_chans must be a whole number of at least 1, got 0"),
        ({"in_chans": True}, "in_chans must be a whole number of at least 1, got True"),
        ({"depth": 0}, "depth must be a whole number of at least 1, got 0"),
        ({"depth": 1001}, "depth must be at most 1,000, got 1001"),
        ({"num_convs": 1001}, "num_convs must be at most 1,000, got 1001"),
        ({"num_heads": 3}, "embed_dim must be a multiple of num_heads, got 128"),
        ({"mlp_ratio": 0}, "mlp_ratio must be a positive number, got 0"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio must be a positive number, got nan"),
        ({"mlp_ratio": float("inf")}, "mlp_ratio must be a positive number, got inf"),
        ({"mlp_ratio": 0.0078}, "mlp_ratio must be at least 1 / embed_dim = 1/128, got 0.0078"),
        ({"embed_dim": 10**400}, "embed_dim must be at most 1,000,000,000, got 1000"),
        ({"mlp_kernel": 2}, "mlp_kernel must be 0 or an odd number up to 99, got 2"),
        ({"mlp_kernel": -1}, "mlp_kernel must be 0 or an odd number up to 99, got -1"),
        ({"mlp_kernel": 101}, "mlp_kernel must be 0 or an odd number up to 99, got 101"),
        ({"mlp_kernel": 1000000001}, "mlp_kernel must be 0 or an odd number up to 99"),
        ({"dropout": 1.0}, "dropout must be a probability in [0, 1), got 1.0"),
        ({"attention_dropout": -0.1}, "attention_dropout must be a probability in [0, 1)"),
        ({"drop_path": "0.1"}, "drop_path must be a probability in [0, 1), got '0.1'"),
        ({"drop_path": float("nan")}, "drop_path must be a probability in [0, 1), got nan"),
        ({"img_size": 0}, "img_size must be a side or (height, width) of at least 3 pixels, got 0"),
        ({"img_size": (32,)}, "img_size must be a side or (height, width) of at least 3 pixels"),
        ({"img_size": (32, 32, 3)}, "img_size must be a side or (height, width)"),
        ({"img_size": 32.5}, "img_size must be a side or (height, width)"),
        ({"img_size": "32"}, "img_size must be a side or (height, width)"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        create_model("cct_2_3x2", **options)
    assert str(caught.value).startswith(message)


def test_the_largest_kernel_of_an_mlp() -> None:
    config = config_from_name("cct_2_3x2", mlp_kernel=99)
    with torch.device("meta"):
        assert CompactTransformer(config).blocks[0].mlp.conv.conv.weight.shape[2:] == (99, 99)


@pytest.mark.parametrize("name", [*named_models(), "cct_2_3x3", "cct2_14_5x2", "cct_2_224x1"])
def test_a_configuration_has_its_name(name: str) -> None:
    assert name_of(config_from_name(name, img_size=224, positional_embedding="sine")) == name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cct_2_3x2", {"num_heads": 4, "embed_dim": 64}),
        ("cct_4_3x2", {"depth": 5}),
        ("cct_14_3x2", {"depth": 40}),
        ("cct_2_224x2", {"kernel_size": 300, "img_size": 300}),
        ("vit_lite_2_32", {"kernel_size": 40, "img_size": 80}),
    ],
)
def test_what_no_name_describes_has_a_near_one(name: str, options: dict[str, Any]) -> None:
    assert name_of(config_from_name(name, **options)) == name


def test_the_narrowest_mlp() -> None:
    config = config_from_name("cct_2_3x2", mlp_ratio=1 / 128)
    with torch.device("meta"):
        assert CompactTransformer(config).blocks[0].mlp.fc1.weight.shape == (1, 128)


def test_patches_have_no_convolutions() -> None:
    with pytest.raises(UsageError, match="num_convs must be 0: patches have no convolutions"):
        create_model("cvt_2_4", num_convs=1)


def test_none_stands_for_the_names_own_value() -> None:
    assert config_from_name("cct_7_7x2", img_size=None).img_size == 224
    assert config_from_name("cct_7_3x1_32_c100", num_classes=None).num_classes == 100
    assert config_from_name("cct_7_3x1_32_c100", num_classes=7).num_classes == 7


def test_a_size_from_json_is_a_size() -> None:
    assert config_from_name("cct_2_3x2", img_size=[24, 40]).height_width == (24, 40)


def test_a_configuration_is_made_again_from_its_fields() -> None:
    config = config_from_name("cct_6_3x1", img_size=(24, 40), drop_path=0.2)
    assert ModelConfig(**dataclasses.asdict(config)) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.depth = 3  # type: ignore[misc]


def test_list_models() -> None:
    names = list_models()
    assert len(names) == len(set(names))
    assert names[: 15 + 15 + 18 + 8] == named_models()
    assert list_models("cct_*") == [n for n in names if n.startswith("cct_")]
    assert list_models(["cvt_6_*", "*_7x2"]) == [
        "cvt_6_4",
        "cvt_6_8",
        "cvt_6_16",
        *(f"cct_{depth}_7x2" for depth in (2, 4, 6, 7, 8, 14)),
    ]
    assert list_models("resnet18*") == []


@pytest.mark.parametrize("name", named_models())
def test_every_named_member_has_its_builder(name: str) -> None:
    builder = getattr(compact_vit, name)
    assert builder.__name__ == name
    assert pickle.loads(pickle.dumps(builder)) is builder
    assert ("arXiv 2104.05704" in builder.__doc__) != name.startswith("cct2_")
    with torch.device("meta"):
        assert builder().config == create_model(name).config


def test_builders_take_explicit_keywords_only() -> None:
    parameters = dict(inspect.signature(cct_6_3x1).parameters)
    assert parameters.pop("pretrained").default is False
    assert set(parameters) <= {field.name for field in dataclasses.fields(ModelConfig)}
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert {p.default for p in parameters.values()} == {None}
    given = {
        "num_classes": 7,
        "img_size": (24, 40),
        "in_chans": 1,
        "positional_embedding": "sine",
        "dropout": 0.2,
        "attention_dropout": 0.3,
        "drop_path": 0.4,
        "residual": "pre_norm",
        "mlp_kernel": 5,
        "tokenizer_norm": True,
    }
    assert set(given) == set(parameters)
    with torch.device("meta"):
        config = dataclasses.asdict(cct_6_3x1(**given).config)
    assert {field: config[field] for field in given} == given
    with pytest.raises(TypeError, match="drop_pth"):
        cct_6_3x1(drop_pth=0.1)


@pytest.mark.parametrize("name", ["cct_2_3x2", "cvt_2_4", "vit_lite_2_4"])
def test_a_builders_defaults_are_the_configurations(name: str) -> None:
    assert getattr(compact_vit, name)().config == config_from_name(name)
