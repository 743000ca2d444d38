"""Names, options and configurations of the baselines."""

from __future__ import annotations

import ast
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import compact_vit
from compact_vit import ModelConfig, UsageError, create_model, list_models
from compact_vit.baselines import (
    Baseline,
    CifarResNetConfig,
    ConvConfig,
    MLPConfig,
    ResidualEncoderConfig,
    config_from_name,
    named_baselines,
)
from compact_vit.models import config_of, model_of

PACKAGE = Path(compact_vit.__file__).parent


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp_naive", {"widths": (256,) * 9, "activation": "leaky_relu", "dropout": 0.3}),
        ("mlp_halving", {"widths": (1536, 768, 384, 192, 96, 48, 24, 12)}),
        ("mlp_quartering", {"widths": (768, 192, 48, 12)}),
        ("mlp_alternating", {"widths": (768, 384, 96, 48, 12)}),
        ("conv_encoder", {"channels": (32, 64, 128), "pool_every": 1, "hidden": ()}),
        ("conv_classifier", {"channels": (32, 32, 64, 64), "pool_every": 2, "hidden": (100,)}),
        ("residual_classifier", {"channels": (32, 32, 64, 64), "batch_norm": True}),
        ("rn_7", {"blocks": 7, "width": 16, "inner_width": 32, "sees_picture": False}),
        ("rr_12", {"blocks": 12, "sees_picture": True, "channels": (32, 64, 128)}),
        ("resnet_38_cifar", {"depth": 38, "shortcut": "identity", "pre_activation": False}),
        ("resnet_1202_cifar", {"depth": 1202}),
        ("timm/resnet50.a1_in1k", {"timm_name": "resnet50.a1_in1k", "pretrained": False}),
    ],
)
def test_well_formed_names(name: str, expected: dict[str, Any]) -> None:
    config = config_of(name)
    assert {field: getattr(config, field) for field in expected} == expected
    assert config == config_from_name(name)


def test_widths_follow_the_picture_and_the_classes() -> None:
    assert config_of("mlp_quartering", img_size=(28, 20), in_chans=1).widths == (140, 35)
    assert config_of("mlp_quartering", num_classes=100).widths == (768, 192)
    assert config_of("mlp_quartering", num_classes=12).widths == (768, 192, 48, 12)
    assert config_of("mlp_quartering", num_classes=13).widths == (768, 192, 48)
    assert config_of("mlp_quartering", num_classes=0) == dataclasses.replace(
        config_of("mlp_quartering"), num_classes=0
    )
    assert config_of("mlp_halving", widths=[7, 6]).widths == (7, 6)
    assert config_of("mlp", widths=7).widths == (7,)
    assert config_of("conv_encoder", filters=8, hidden=[]).hidden == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet_20_cifr", "unknown model 'resnet_20_cifr': did you mean 'resnet_20_cifar'?"),
        ("resnet_20", "unknown model 'resnet_20': did you mean 'resnet_20_cifar'?"),
        ("mlp_naif", "unknown model 'mlp_naif': did you mean 'mlp_naive'?"),
        ("MLP", "unknown model 'MLP': did you mean 'mlp'?"),
        ("con_encoder", "unknown model 'con_encoder': did you mean 'conv_encoder'?"),
        ("rn_0", "unknown model 'rn_0': did you mean 'rn_"),
        ("rn_03", "unknown model 'rn_03': did you mean 'rn_"),
        ("rn_99999", "unknown model 'rn_99999': "),
        ("rn_3_cifar", "unknown model 'rn_3_cifar': "),
        ("resnet_20_cifar\n", "unknown model 'resnet_20_cifar\\n': did you mean 'resnet_20_cifar"),
        ("cctt_6_3x1", "unknown model 'cctt_6_3x1': did you mean 'cct_6_3x1'?"),
        ("lenet", "unknown model 'lenet': names are of the form vit_lite_L_P, cvt_L_P, cct_L_PxC,"),
        ("timm/", "unknown model 'timm/': names are of the form "),
        ("resnet_21_cifar", "depth must be 6n + 2 with n of at least 1, such as 20, 32, 44, 56,"),
        ("resnet_2_cifar", "depth must be 6n + 2 "),
        ("resnet_18_cifar", "depth must be 6n + 2 "),
        (3, "model must be a name, got 3"),
    ],
)
def test_ill_formed_names(name: Any, message: str) -> None:
    for ask in (create_model, config_of):
        with pytest.raises(UsageError) as caught:
            ask(name)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)


def test_a_room_alone_knows_its_own_names() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'cct_6_3x1': names are of the form rn_N"):
        config_from_name("cct_6_3x1")


@pytest.mark.parametrize(
    ("name", "option", "nearest"),
    [
        ("mlp", "width", "did you mean 'widths'?"),
        ("conv_classifier", "filter", "did you mean 'filters'?"),
        ("conv_classifier", "bottleneck", "choose from num_classes, img_size, "),
        ("resnet_20_cifar", "preactivation", "did you mean 'pre_activation'?"),
        ("resnet_20_cifar", "positional_embedding", "choose from num_classes, "),
        ("timm/resnet18", "pretraind", "did you mean 'pretrained'?"),
    ],
)
def test_unknown_options(name: str, option: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"unknown model option '{option}': ") as caught:
        create_model(name, **{option: 1})
    assert nearest in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mlp", {"num_classes": -1}, "num_classes must be a whole number, 0 for features, got -1"),
        ("mlp", {"num_classes": True}, "num_classes must be a whole number, 0 for features"),
        ("mlp", {"in_chans": 0}, "in_chans must be a whole number of at least 1, got 0"),
        ("mlp", {"img_size": 0}, "img_size must be a side or (height, width) of at least 1 pixel"),
        ("mlp", {"img_size": (3, 4, 5)}, "img_size must be a side or (height, width)"),
        ("mlp", {"img_size": "32"}, "img_size must be a side or (height, width)"),
        ("mlp", {"activation": "rleu"}, "unknown activation 'rleu': did you mean 'relu'?"),
        ("mlp", {"activation": 3}, "unknown activation '3': choose from relu, leaky_relu, elu"),
        ("mlp", {"dropout": 1.0}, "dropout must be a probability in [0, 1), got 1.0"),
        ("mlp", {"dropout": float("nan")}, "dropout must be a probability in [0, 1), got nan"),
        ("mlp", {"batch_norm": 1}, "batch_norm must be true or false, got 1"),
        ("mlp", {"widths": 0}, "widths must be a tuple of whole numbers of at least 1, got 0"),
        ("mlp", {"widths": "3"}, "widths must be a tuple of whole numbers of at least 1, got '3'"),
        ("mlp", {"widths": (3, 0)}, "widths must be a tuple of whole numbers of at least 1, got"),
        ("mlp_halving", {"img_size": 0}, "img_size must be a side or (height, width)"),
        ("conv_encoder", {"filters": ()}, "filters must be a tuple of one or more whole numbers"),
        ("conv_encoder", {"kernel_size": 4}, "kernel_size must be an odd whole number, got 4"),
        ("conv_encoder", {"pool_every": 0}, "pool_every must be a whole number of at least 1"),
        ("conv_encoder", {"layers_per_block": 0}, "layers_per_block must be a whole number of"),
        ("conv_encoder", {"hidden": (1.5,)}, "hidden must be a tuple of whole numbers"),
        ("conv_encoder", {"dropout_2d": -1}, "dropout_2d must be a probability in [0, 1), got -1"),
        ("conv_encoder", {"img_size": (32, 7)}, "img_size must be 8 pixels or more for 3 pools, g"),
        ("residual_classifier", {"bottleneck": 5}, "bottleneck must be a whole number that divi"),
        ("rn_1", {"blocks": 0}, "blocks must be a whole number of at least 1, got 0"),
        ("rn_1", {"width": 0}, "width must be a whole number of at least 1, got 0"),
        ("rn_1", {"sees_picture": 1}, "sees_picture must be true or false, got 1"),
        ("resnet_20_cifar", {"shortcut": "A"}, "unknown shortcut 'A': choose from identity, proj"),
        ("resnet_20_cifar", {"pre_activation": 2}, "pre_activation must be true or false, got 2"),
        ("timm/x", {"pretrained": 2}, "pretrained must be True, False or the path of a file"),
        ("timm/x", {"head": (0,)}, "head must be a tuple of whole numbers of at least 1"),
        ("timm/x", {"input_size": 0}, "input_size must be a side or (height, width) in pixels"),
        ("timm/x", {"timm_name": ""}, "timm_name must be a name, such as resnet50, got ''"),
    ],
)
def test_impossible_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        config_of(name, **options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_none_stands_for_the_names_own_value() -> None:
    assert config_of("mlp_naive", dropout=None, widths=None, num_classes=None) == config_of(
        "mlp_naive"
    )
    assert config_of("mlp_naive", dropout=0.0).dropout == 0.0


@pytest.mark.parametrize("name", [*named_baselines(), "timm/resnet18"])
def test_a_configuration_is_made_again_from_its_json(name: str) -> None:
    config = config_of(name, img_size=(24, 40), num_classes=5)
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    assert type(config)(**values) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_classes = 3  # type: ignore[misc]


def test_models_are_listed() -> None:
    assert list_models("resnet*") == [f"resnet_{n}_cifar" for n in (20, 32, 44, 56, 110)]
    assert list_models(["mlp*", "r[nr]_3"]) == [
        "mlp",
        "mlp_naive",
        "mlp_halving",
        "mlp_quartering",
        "mlp_alternating",
        "rn_3",
        "rr_3",
    ]
    assert len(set(list_models())) == len(list_models()) == 48 + 8 + 19
    for name in named_baselines():
        config_of(name)


def test_what_create_model_builds() -> None:
    kinds = {"mlp": MLPConfig, "conv_encoder": ConvConfig, "rr_1": ResidualEncoderConfig}
    for name, kind in (kinds | {"resnet_20_cifar": CifarResNetConfig}).items():
        model = create_model(name, num_classes=100)
        assert type(model) is Baseline
        assert type(model.config) is kind
        assert model.config.num_classes == model.num_classes == model.head.out_features == 100
        assert model_of(model.config).config is model.config
    assert type(create_model("cct_2_3x2").config) is ModelConfig


def test_two_modules_alone_bring_baselines_into_the_zoo() -> None:
    """The arrow from models to baselines is for names; architectures do not know each other."""
    knowing = set()
    for path in (PACKAGE / "models").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("baselines"):
                knowing.add(path.name)
    assert knowing == {"names.py", "zoo.py"}


def test_transformers_do_not_pay_for_baselines() -> None:
    code = (
        "import sys; from compact_vit import create_model; create_model('cct_2_3x2');"
        "assert not [m for m in sys.modules if m.startswith(('compact_vit.baselines', 'timm'))];"
        "create_model('resnet_20_cifar');"
        "assert not [m for m in sys.modules if m.startswith('timm')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)
