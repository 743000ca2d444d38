"""timm's models by ``timm/NAME``, on the smallest that it has; no test reaches the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from compact_vit import UsageError, create_model, list_models
from compact_vit.baselines.pretrained import timm_statistics
from compact_vit.train.optim import parameter_groups


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_it_is_timms_model_at_its_own_size(name: str) -> None:
    ours = create_model(f"timm/{name}", num_classes=7).eval()
    theirs = timm.create_model(name, num_classes=7).eval()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    _, inner = ours.body
    inner.load_state_dict(theirs.state_dict(), strict=False)
    classifier = theirs.get_classifier()
    ours.head.load_state_dict(classifier.state_dict())
    x = torch.randn(2, 3, 160, 160)
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.num_features == classifier.in_features


@pytest.mark.parametrize(("name", "mode"), [("test_resnet", "bilinear"), ("test_vit", "bicubic")])
def test_pictures_are_resized_to_the_models_own_size(name: str, mode: str) -> None:
    model = create_model(f"timm/{name}", in_chans=1).eval()
    x = torch.randn(2, 1, 28, 28)
    large = F.interpolate(x, (160, 160), mode=mode, antialias=True)
    torch.testing.assert_close(model(x), model(large))
    assert model.body[0](large) is large


@pytest.mark.parametrize(
    ("name", "last"),
    [("conv_classifier", True), ("timm/test_resnet", True), ("timm/repvgg_a0", False)],
)
def test_channels_are_laid_out_last_where_that_is_safe(name: str, last: bool) -> None:
    """Laid out so, torch's gradient of the last one's first layer kills Python on a CPU."""
    model, layouts = create_model(name), []
    model.body.register_forward_pre_hook(
        lambda _, given: layouts.append(given[0].is_contiguous(memory_format=torch.channels_last))
    )
    model(torch.randn(2, 3, 32, 32))
    assert layouts == [last]


def test_the_size_can_be_chosen() -> None:
    model = create_model("timm/test_vit", input_size=32, img_size=32)
    assert model.body[1].patch_embed.num_patches == (32 // 16) ** 2
    x = torch.randn(2, 3, 32, 32)
    assert model.body[0](x) is x
    assert model(x).shape == (2, 10)
    wide = create_model("timm/test_resnet", input_size=(48, 96))
    assert wide.body[0](x).shape == (2, 3, 48, 96)


def test_an_mlp_for_a_classifier() -> None:
    options = {"head": (1024, 256, 64, 16), "activation": "silu", "dropout": 0.25}
    model = create_model("timm/test_resnet", num_classes=100, **options)
    _, inner, *hidden = model.body
    assert [type(layer).__name__ for layer in hidden] == [
        "Dropout",
        *["Linear", "SiLU", "Dropout"] * 4,
    ]
    widths = [layer.out_features for layer in hidden if isinstance(layer, nn.Linear)]
    assert widths == [1024, 256, 64, 16]
    assert hidden[1].in_features == inner.num_features
    assert (model.head.in_features, model.head.out_features) == (16, 100)
    F.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_what_timm_spares_decay_is_spared() -> None:
    model = create_model("timm/test_vit")
    assert model.no_weight_decay() == {"body.1.pos_embed", "body.1.cls_token"}
    decayed = {id(p) for p in parameter_groups(model, 0.1)[0]["params"]}
    assert id(model.body[1].pos_embed) not in decayed
    assert id(model.head.weight) in decayed


@pytest.mark.parametrize("name", ["resnet18", "vit_base_patch16_224", "test_vit.r160_in1k"])
def test_what_its_pictures_are_normalised_with(name: str) -> None:
    own = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    assert timm_statistics(name, 3) == (own["mean"], own["std"])
    grey = timm_statistics(name, 1)
    assert grey == ((pytest.approx(sum(own["mean"]) / 3),), (pytest.approx(sum(own["std"]) / 3),))
    assert timm_statistics(name, 4) == (grey[0] * 4, grey[1] * 4)


def test_the_weights_decide_what_they_are_normalised_with() -> None:
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert timm_statistics("vit_base_patch16_224.augreg_in21k", 3) == ((0.5,) * 3, (0.5,) * 3)
    assert timm_statistics("vit_base_patch16_224.dino", 3) == imagenet
    with pytest.raises(UsageError, match="unknown model 'timm/resnet181'"):
        timm_statistics("resnet181", 3)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The file of a pretrained model as timm publishes them: a thousand classes."""
    model = timm.create_model("test_resnet", num_classes=1000)
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    return path


def test_weights_from_a_file(weights: Path) -> None:
    state = torch.load(weights, weights_only=True)
    torch.manual_seed(1)
    model = create_model("timm/test_resnet", pretrained=str(weights))
    for name, tensor in model.body[1].state_dict().items():
        assert torch.equal(tensor, state[name])
    assert model.head.out_features == 10
    gray = create_model("timm/test_resnet", pretrained=str(weights), in_chans=1)
    colour = state["conv1.0.weight"] if "conv1.0.weight" in state else state["conv1.weight"]
    first = next(p for p in gray.body[1].parameters() if p.ndim == 4)
    torch.testing.assert_close(first, colour.sum(dim=1, keepdim=True))


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **options: object) -> None:
        raise OSError("We couldn't connect to\nthe Hub")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    with pytest.raises(UsageError) as caught:
        create_model("timm/test_resnet", pretrained=True)
    assert str(caught.value) == (
        "the weights of timm's 'test_resnet' could not be fetched (We couldn't connect to the "
        "Hub): download model.safetensors from https://huggingface.co/timm/test_resnet.r160_in1k "
        "where there is a network, put it anywhere here, and give its path as pretrained"
    )


def test_weights_that_are_fetched(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    state = torch.load(weights, weights_only=True)
    asked = []

    def fetched(place: str, *args: object, **options: object) -> dict[str, torch.Tensor]:
        asked.append(place)
        return dict(state)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fetched)
    model = create_model("timm/test_resnet.r160_in1k", pretrained=True)
    assert asked == ["timm/test_resnet.r160_in1k"]
    assert all(torch.equal(t, state[n]) for n, t in model.body[1].state_dict().items())


def test_files_that_hold_no_such_weights(tmp_path: Path, weights: Path) -> None:
    def refuse(path: Path, message: str) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            create_model("timm/test_vit", pretrained=str(path))
        assert "\n" not in str(caught.value)

    part = tmp_path / "part.pth"
    state = timm.create_model("test_vit", num_classes=1000).state_dict()
    torch.save({name: tensor for name, tensor in state.items() if "blocks" in name}, part)
    refuse(part, "part.pth' holds no weights of 'test_vit': ")
    refuse(tmp_path / "none.pth", "pretrained must be a file of weights of 'test_vit', got")
    refuse(weights, "weights.pth' holds no weights of 'test_vit': ")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no weights")
    refuse(damaged, "damaged.safetensors' holds no weights of 'test_vit': ")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm/resnet5o", {}, "unknown model 'timm/resnet5o': did you mean 'timm/resnet50"),
        ("timm/zzzzzz", {}, "unknown model 'timm/zzzzzz': names are of the form timm/NAME"),
        ("timm/resnet18.a1_in2k", {}, "did you mean 'timm/resnet18.a1_in1k'?"),
        ("timm/resnet20t", {}, "unknown model 'timm/resnet20t': did you mean"),
    ],
)
def test_what_timm_does_not_have(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        create_model(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_timm_cannot_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **options: object) -> None:
        assert (name, options) == (
            "test_vit",
            {"num_classes": 0, "in_chans": 3, "img_size": (8, 8)},
        )
        raise AssertionError("patches\nare larger")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UsageError, match="timm cannot build 'test_vit' so: patches are larger"):
        create_model("timm/test_vit", input_size=8)


def test_a_model_without_published_weights() -> None:
    name = next(n for n in timm.list_models("*resnet*") if not timm.list_pretrained(f"{n}.*"))
    with pytest.raises(UsageError, match=f"timm has no weights for '{name}': leave pretrained out"):
        create_model(f"timm/{name}", pretrained=True)


def test_timms_models_are_listed_where_they_are_asked_for() -> None:
    assert "timm/test_vit" in list_models("timm/test_*")
    assert set(list_models("timm/*")) == {f"timm/{name}" for name in timm.list_models()}
    assert not [name for name in list_models("*") if "/" in name]
    assert not [name for name in list_models(["*", "timm/test_vit"]) if "resnet50" in name]
