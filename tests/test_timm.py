"""The models in timm's registry, used as timm's users use them."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import timm
import torch
from timm.models import FeatureInfo, get_notrace_modules, group_parameters

import compact_vit.timm
from compact_vit import UsageError, create_model
from compact_vit.models import config_from_name, list_models
from compact_vit.models.config import named_models

NAMES = ["vit_lite_2_8", "cvt_2_8", "cct_6_3x2", "cct2_6_3x2"]  # without weights


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_every_named_member_is_registered() -> None:
    weighty = set(list_models(pretrained=True))
    names = set(named_models()) | weighty
    assert timm.list_models("cct_*") == sorted(
        (name for name in names if name.startswith("cct_")), key=by_number
    )
    assert set(timm.list_models(module="timm")) == names
    with_weights = {name.partition(".")[0] for name in timm.list_models(pretrained=True)}
    assert with_weights & names == weighty
    assert names <= set(compact_vit.timm.__all__)
    assert timm.is_model("vit_lite_7_4")


def by_number(name: str) -> list[int]:
    return [int(word) for word in name.replace("x", "_").split("_")[1:]]


@pytest.mark.parametrize("name", list_models(pretrained=True))
def test_weights_come_with_the_options_they_were_trained_with(name: str) -> None:
    model, ours = timm.create_model(name, pretrained=True), create_model(name, pretrained=True)
    for option in ("dropout", "attention_dropout", "drop_path", "residual", "tokenizer_norm"):
        assert getattr(model.config, option) == getattr(ours.config, option)
    assert timm.create_model(name, pretrained=True, drop_path_rate=0.2).config.drop_path == 0.2
    assert timm.create_model(name).config.drop_path == create_model(name).config.drop_path != 0
    with pytest.raises(UsageError, match="residual must be 'published' with these weights"):
        timm.create_model(name, pretrained=True, residual="pre_norm")


@pytest.mark.parametrize("num_classes", [10, 5])
@pytest.mark.parametrize("pretrained", [True, False])
def test_what_is_said_is_of_the_models_own_weights(pretrained, num_classes, tmp_path) -> None:
    model = timm.create_model("cct_2_3x2", pretrained=pretrained, num_classes=num_classes)
    said = model.save_pretrained(tmp_path)["pretrained_cfg"]
    same = pretrained and num_classes == 10
    assert ("airplane" in said.get("label_names", ())) == same
    assert (said.get("tag"), "trained on" in said.get("description", "")) == (
        ("cifar10", True) if same else (None, False)
    )
    assert said.get("license") == ("mit" if pretrained else None)
    assert ("airplane" in (tmp_path / "README.md").read_text()) == same
    assert timm.get_pretrained_cfg("cct_2_3x2").tag == "cifar10"  # timm's own entry stays whole


def test_what_timm_has_saved_itself(tmp_path) -> None:
    model = timm.create_model("cct_2_3x2", pretrained=True, num_classes=3).eval()
    timm.models.save_for_hf(model, tmp_path)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(x), again(x))
    said = model(x)
    model.to(memory_format=torch.contiguous_format)  # as safetensors wants it
    timm.models.save_for_hf(model, tmp_path / "both", safe_serialization="both")
    again = timm.create_model(f"local-dir:{tmp_path / 'both'}", pretrained=True).eval()
    torch.testing.assert_close(again(x), said)


def test_a_name_that_was_taken_is_not_taken_over_in_silence() -> None:
    entrypoint = timm.model_entrypoint("cct_2_3x2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        timm.models.register_model(entrypoint)
    assert "Overwriting cct_2_3x2" in str(caught[0].message)


def test_timms_keywords_are_ours() -> None:
    model = timm.create_model(
        "cct_6_3x1",
        num_classes=100,
        img_size=(24, 40),
        in_chans=1,
        drop_rate=0.3,
        attn_drop_rate=0.2,
        drop_path_rate=0.4,
        positional_embedding="sine",
        residual="pre_norm",
    )
    assert model.config == config_from_name(
        "cct_6_3x1",
        num_classes=100,
        img_size=(24, 40),
        in_chans=1,
        dropout=0.3,
        attention_dropout=0.2,
        drop_path=0.4,
        positional_embedding="sine",
        residual="pre_norm",
    )
    for name in ("cct_2_3x2", "cct_2_7x2"):
        own = config_from_name(name)
        assert timm.create_model(name).config == replace(own, img_size=own.height_width)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_pool": "avg"}, "unknown model option 'global_pool'"),
        ({"drop_pth": 0.1}, "unknown model option 'drop_pth': did you mean 'drop_path'?"),
        ({"drop_path_rate": 2.0}, r"drop_path must be a probability in \[0, 1\), got 2.0"),
        ({"drop_rate": 0.1, "dropout": 0.2}, "drop_rate and dropout are the same option"),
    ],
)
def test_nothing_is_swallowed(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        timm.create_model("cct_2_3x2", **options)


def test_a_model_without_weights(tmp_path) -> None:
    with pytest.raises(RuntimeError, match="No pretrained weights exist for cct_14_7x2"):
        timm.create_model("cct_14_7x2", pretrained=True)
    source = timm.create_model("cct_2_3x2", num_classes=10)
    torch.save(source.state_dict(), tmp_path / "own.pth")
    model = timm.create_model("cct_2_3x2", checkpoint_path=str(tmp_path / "own.pth"))
    assert torch.equal(model.head.weight, source.head.weight)


@pytest.mark.parametrize("name", ["cct_2_3x2", "vit_lite_2_8"])  # the second has a class token
@pytest.mark.parametrize("size", [48, (48, 24)])
def test_a_file_of_the_models_own_size(name, size, tmp_path) -> None:
    path = tmp_path / "of48.pth"
    source = timm.create_model(name, img_size=size).eval()
    torch.save(source.state_dict(), path)
    overlay = {"file": str(path)}
    model = timm.create_model(name, pretrained=True, img_size=size, pretrained_cfg_overlay=overlay)
    x = torch.randn(2, 3, *source.config.height_width)
    assert torch.equal(model.eval()(x), source(x))
    # pictures of another shape with as many tokens: the table is brought to their grid
    overlay |= {"input_size": (3, *source.config.height_width)}
    turned = source.config.height_width[::-1]
    model = timm.create_model(
        name, pretrained=True, img_size=turned, pretrained_cfg_overlay=overlay
    )
    same = torch.equal(model.positions.table, source.positions.table)
    assert same == (turned == source.config.height_width)


@pytest.mark.parametrize("name", NAMES)
def test_configuration_names_the_models_own_parts(name: str) -> None:
    model = timm.create_model(name)
    cfg = model.default_cfg
    assert cfg["input_size"] == (3, 32, 32)
    assert cfg["num_classes"] == 10
    assert cfg["mean"] == (0.4914, 0.4822, 0.4465)
    assert model.get_submodule(cfg["first_conv"]).weight.shape[1] == 3
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()
    published = "arXiv:2104.05704" in (cfg.get("paper_ids") or "")
    assert published != name.startswith("cct2_")
    assert "license" not in cfg  # which is the weights', of which there are none
    large = timm.get_pretrained_cfg("cct_14_7x2")
    assert large.input_size == (3, 224, 224)
    assert large.mean == timm.data.IMAGENET_DEFAULT_MEAN


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_the_same_model(name: str) -> None:
    model, ours = timm.create_model(name).eval(), create_model(name).eval()
    ours.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(x), ours(x))
    model.reset_classifier(0)
    assert torch.equal(model(x), model.forward_head(model.forward_features(x), pre_logits=True))
    model.reset_classifier(7)
    assert model(x).shape == (2, 7)


@pytest.mark.parametrize("name", NAMES)
def test_features_only(name: str) -> None:
    model = timm.create_model(name, features_only=True, img_size=(48, 24)).eval()
    whole = timm.create_model(name, img_size=(48, 24)).eval()
    missing = whole.load_state_dict(model.model.state_dict(), strict=False).missing_keys
    assert all(key.split(".")[0] in ("norm", "pool", "head") for key in missing)
    x = torch.randn(2, 3, 48, 24)
    depth = len(whole.blocks)
    expected = whole.forward_intermediates(x, min(3, depth), intermediates_only=True)
    features = model(x)
    for feature, same in zip(features, expected, strict=True):
        assert torch.equal(feature, same)
    assert [f.shape[1] for f in features] == model.feature_info.channels()
    assert [48 // f.shape[2] for f in features] == model.feature_info.reduction()
    info = FeatureInfo(whole.feature_info, depth)
    assert len(info.channels()) == depth


def test_chosen_features() -> None:
    model = timm.create_model("cct_4_3x2", features_only=True, out_indices=(0, -2)).eval()
    assert len(model(torch.randn(1, 3, 32, 32))) == 2
    assert len(model.model.blocks) == 3  # what lies above is not built upon, so it is gone


@pytest.mark.parametrize("name", NAMES)
def test_layers_for_layer_wise_learning_rates(name: str) -> None:
    model = timm.create_model(name)
    depth = len(model.blocks)
    groups = group_parameters(model, model.group_matcher(coarse=False))
    assert list(groups) == list(range(depth + 2))  # stem, blocks, head
    assert {n for names in groups.values() for n in names} == dict(model.named_parameters()).keys()
    assert all(n.startswith(("tokenizer", "positions", "class_token")) for n in groups[0])
    assert all(n.startswith("blocks.0.") for n in groups[1])
    last = (f"blocks.{depth - 1}.", "norm.", "pool.")  # what follows the blocks goes with the last
    assert all(n.startswith(last) for n in groups[depth])
    assert all(n.startswith("head.") for n in groups[depth + 1])


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize("name", NAMES)
def test_graph_tracing(name: str) -> None:
    from torchvision.models.feature_extraction import create_feature_extractor

    model, x = timm.create_model(name).eval(), torch.randn(2, 3, 32, 32)
    tracer = {"leaf_modules": get_notrace_modules(), "param_shapes_constant": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training has nodes more: what is dropped at random
        graph = create_feature_extractor(model, ["head"], tracer_kwargs=tracer)
    assert torch.equal(graph(x)["head"], model(x))
    larger = torch.randn(2, 3, 48, 24)  # the graph did not freeze the picture's size
    assert torch.equal(graph(larger)["head"], model(larger))
    assert torch.equal(torch.jit.script(graph)(x)["head"], model(x))
    graph.train()
    graph(x)["head"].square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_weights_of_a_file_are_not_said_to_be_the_packages(tmp_path):
    """Whose classes, data set and licence they have not."""
    own = compact_vit.create_model("cct_2_3x2")
    torch.save(own.state_dict(), tmp_path / "new.pth")
    for more in ({}, {"label_names": tuple("abcdefghij"), "license": "cc0"}):
        overlay = {"file": str(tmp_path / "new.pth"), **more}
        model = timm.create_model("cct_2_3x2", pretrained=True, pretrained_cfg_overlay=overlay)
        assert torch.equal(model.head.weight, own.head.weight)
        said = {"label_names", "description", "tag", "license"} & model.pretrained_cfg.keys()
        assert said == more.keys()
        model.save_pretrained(tmp_path / "again")
        assert "airplane" not in (tmp_path / "again" / "config.json").read_text()
    shipped = timm.create_model("cct_2_3x2", pretrained=True)
    assert shipped.pretrained_cfg["label_names"][0] == "airplane"
