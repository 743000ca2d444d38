"""Weights with what is known of them: written, read, damaged, adapted, and those in the package."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

import compact_vit.timm  # noqa: F401  # registers the models
from compact_vit import CompactTransformer, UsageError, cct_2_3x2, create_model, vit_lite_2_8
from compact_vit.layers import resize_positions
from compact_vit.models import list_models, saving, shipped
from compact_vit.models.config import ModelConfig

NAMES = tuple(f"class {number}" for number in range(10))
INPUT = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), "label_names": NAMES}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def trained(**options) -> CompactTransformer:
    """A model of which something is known, as training leaves one."""
    model = cct_2_3x2(**options).eval()
    model.pretrained_cfg = dict(INPUT)
    return model


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of weights."""
    trained().save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def package(tmp_path, monkeypatch) -> CompactTransformer:
    """The model whose weights, in half precision, lie in the package under two tags."""
    model = trained()
    for tag in ("cifar10", "cifar100"):
        model.save_pretrained(tmp_path / "package" / f"cct_2_3x2.{tag}", half=True)
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "package")
    return model.half().float()


def edit(folder: Path, change) -> None:
    card = json.loads((folder / "config.json").read_text())
    change(card)
    (folder / "config.json").write_text(json.dumps(card))


def same(one: CompactTransformer, other: CompactTransformer) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- round trips


@pytest.mark.parametrize("kind", ["learnable", "sine", "none"])
def test_round_trip(build, kind, tmp_path) -> None:
    model = build(positional_embedding=kind, num_classes=3, img_size=(40, 24), drop_path=0.2)
    model.pretrained_cfg = INPUT | {"label_names": ("a", "b", "c")}
    card = model.save_pretrained(tmp_path / "a", facts={"training": {"dataset": "x", **_run()}})
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    other = CompactTransformer.from_pretrained(tmp_path / "a")
    assert same(model, other)
    assert other.config == model.config
    assert not other.training
    assert other.pretrained_cfg["label_names"] == ("a", "b", "c")
    assert other.transforms() == model.transforms()
    again = other.save_pretrained(tmp_path / "b")
    del card["training"]  # what was said of a run is not said of whatever is saved next
    assert again == card


def test_the_home_folder(tmp_path, monkeypatch) -> None:
    from compact_vit.predict import predict_pictures

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model = trained()
    model.pretrained_cfg |= INPUT
    model.save_pretrained("~/weights")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    other = CompactTransformer.from_pretrained("~/weights")
    assert same(other, model)
    Image.new("RGB", (8, 8)).save(tmp_path / "home" / "a.png")
    assert predict_pictures(other, ["~/a.png"]) == predict_pictures(model, ["home/a.png"])


def _run() -> dict[str, object]:
    return {"recipe": "quick", "epochs": 1, "epoch": 1, "seed": 0, "command": "train | it"}


def test_half_precision_is_the_nearest(tmp_path) -> None:
    model = trained(positional_embedding="sine")
    card = model.save_pretrained(tmp_path, half=True)
    assert card["dtype"] == "float16"
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    other = CompactTransformer.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        got = other.state_dict()[name]
        assert got.dtype == torch.float32
        # sines are computed anew
        assert torch.equal(got, tensor if name == "positions.table" else tensor.half().float())


def test_float64_stays_exact(tmp_path) -> None:
    model = trained().double()
    for parameter in model.parameters():
        parameter.data += 1e-12  # nothing that float32 could hold
    model.save_pretrained(tmp_path)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert same(CompactTransformer.from_pretrained(tmp_path), model)
        other = CompactTransformer.from_pretrained(tmp_path, img_size=48)
    finally:
        torch.set_default_dtype(before)
    wanted = resize_positions(model.positions.table, (8, 8), (12, 12))
    assert torch.equal(other.positions.table, wanted)


def test_what_a_batch_norm_has_seen_is_stored_too(tmp_path) -> None:
    model = create_model("cct2_2_3x2").train()
    batches = 70_000  # more than float16 counts to
    model.tokenizer.norms[0].num_batches_tracked.fill_(batches - 1)
    model(torch.randn(8, 3, 32, 32))
    model.eval().save_pretrained(tmp_path, half=True)
    other = CompactTransformer.from_pretrained(tmp_path)
    for own, read in zip(model.tokenizer.norms, other.tokenizer.norms, strict=True):
        assert torch.equal(read.running_var, own.running_var.half().float())
        assert torch.equal(read.running_mean, own.running_mean.half().float())
    assert other.tokenizer.norms[0].num_batches_tracked.item() == batches
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(other(x), model(x), atol=5e-3, rtol=5e-3)


def test_a_model_whose_head_was_changed(tmp_path) -> None:
    model = trained()
    model.reset_classifier(4)
    model.save_pretrained(tmp_path)
    other = CompactTransformer.from_pretrained(tmp_path)
    assert same(model, other)
    assert other.config.num_classes == 4
    assert "label_names" not in other.pretrained_cfg  # they named other classes
    other.pretrained_cfg |= {"label_names": "abcd", "tag": "letters", "description": "of letters"}
    other.reset_classifier(4)  # as many classes, but others
    assert {"label_names", "tag", "description"}.isdisjoint(other.pretrained_cfg)
    assert "mean" in other.pretrained_cfg
    other.reset_classifier(0)
    assert other(torch.randn(2, 3, 32, 32)).shape == (2, 128)


def test_the_name_in_the_card(tmp_path) -> None:
    size = {"family": "cct", "num_heads": 2, "mlp_ratio": 1.0, "kernel_size": 3, "num_convs": 1}
    for width, name in ((128, "cct_2_3x1"), (64, "CompactTransformer")):
        model = CompactTransformer(ModelConfig(depth=2, embed_dim=width, **size))
        assert model.save_pretrained(tmp_path)["architecture"] == name
        assert same(model, CompactTransformer.from_pretrained(tmp_path))
    model = CompactTransformer(ModelConfig(depth=3, embed_dim=64, **size))
    assert model.save_pretrained(tmp_path)["architecture"] == "CompactTransformer"


def test_the_checksum_by_hand(folder) -> None:
    state = load_file(folder / "model.safetensors")
    whole = b"".join(
        f"{name} torch.float32 {list(state[name].shape)}\n".encode() + state[name].numpy().tobytes()
        for name in sorted(state)
    )
    card = json.loads((folder / "config.json").read_text())
    assert card["sha256"] == hashlib.sha256(whole).hexdigest()


def test_the_model_card(tmp_path) -> None:
    facts = {
        "training": {
            "dataset": "digits",
            "copy": "8 grey",
            "credit": "NIST",
            **_run(),
            "seconds": 8880.0,
        },
        "results": {"split": "test", "n": 360, "accuracy": 98.75},
        "size": {"parameters": 1000, "parameters_without_positions": 900},
    }
    trained().save_pretrained(tmp_path / "mine", facts=facts)
    _, header, text = (tmp_path / "mine" / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(header)
    assert told["datasets"] == ["digits"]
    (result,) = told["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": 98.75}]
    for line in (
        "| test accuracy | 98.75% of 360 test pictures, with the weights as they are stored here |",
        "| parameters | 1,000 (900 without positions) |",
        "| trained on | digits, 8 grey |",
        "| pictures by | NIST |",
        "| on | 2 h 28 min |",
        "| command | `train \\| it` |",
    ):
        assert line in text.splitlines()


def test_the_options_in_the_model_card(tmp_path) -> None:
    def rows(name: str, **options) -> dict[str, str]:
        create_model(name, **options).save_pretrained(tmp_path)
        lines = (tmp_path / "README.md").read_text().splitlines()
        table = [line.strip("| ") for line in lines if line.startswith("| ")][2:]
        return dict(line.split(" | ", 1) for line in table)

    own = {"num_classes": 3, "img_size": 24, "in_chans": 1, "dropout": 0.2, "drop_path": 0.0}
    for name in ("cct_2_3x2", "cct2_2_3x2", "cvt_2_8"):
        assert "options" not in rows(name, **own)
    told = rows("cct_2_3x2", mlp_kernel=3, tokenizer_norm=True, residual="pre_norm")
    assert told["model"] == "`cct_2_3x2`"
    said = "`cct_2_3x2` but for residual=pre_norm, mlp_kernel=3, tokenizer_norm=true"
    assert told["options"] == said
    assert rows("cct2_2_3x2", mlp_kernel=0)["options"] == "`cct2_2_3x2` but for mlp_kernel=0"
    told = rows("cct_2_3x2", num_heads=4)
    assert told["model"] == "`CompactTransformer`"
    assert told["options"] == "`cct_2_3x2` but for num_heads=4"


@pytest.mark.parametrize(
    ("name", "source"), [("cct_2_3x2", "arXiv 2104.05704"), ("cct2_2_3x2", "CCT2 of compact_vit")]
)
def test_whose_the_model_in_the_card_is(name, source, tmp_path) -> None:
    create_model(name).save_pretrained(tmp_path)
    assert f"\nA compact vision transformer ({source}).\n" in (tmp_path / "README.md").read_text()


# --- what is refused


def test_every_flipped_byte_of_the_tensors_is_noticed(folder) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    random = torch.randint(start, len(whole), (10,)).tolist()
    for place in [0, 9, start - 1, start, len(whole) - 1, *random]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match=r"model\.safetensors' is damaged \(.*whole copy") as e:
            CompactTransformer.from_pretrained(folder)
        assert "\n" not in str(e.value)
    path.write_bytes(whole[:-1])
    with pytest.raises(UsageError, match="is damaged"):
        CompactTransformer.from_pretrained(folder)
    path.write_bytes(whole)
    CompactTransformer.from_pretrained(folder)


def test_swapped_tensors_are_noticed(folder) -> None:
    state = load_file(folder / "model.safetensors")
    a, b = "blocks.0.norm1.weight", "blocks.1.norm1.bias"
    state[a], state[b] = state[b], state[a]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(UsageError, match=r"do not have the checksum in config\.json"):
        CompactTransformer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("sha256"), "does not describe weights"),
        (lambda c: c.update(sha256="0" * 64), "do not have the checksum"),
        (lambda c: c.update(model_args=7), "is damaged"),
        (lambda c: c["model_args"].update(wdith=3), "wdith"),
        (lambda c: c["model_args"].update(depth="2"), "depth must be a whole number"),
        (lambda c: c["model_args"].pop("family"), "family"),
        (lambda c: c["model_args"].update(num_convs=1), "it is of another model than model.safe"),
        (lambda c: c["model_args"].update(mlp_ratio=10**9), r"\(blocks\.0\.mlp\.fc1\.bias\)"),
        (lambda c: c["pretrained_cfg"].update(mean=[0.5]), "mean and std must be 3 numbers"),
        (lambda c: c["pretrained_cfg"].update(mean=["a", "b", "c"]), "mean must be a number"),
        (lambda c: c["pretrained_cfg"].update(mean=[0, 0, float("nan")]), "mean must be a number"),
        (lambda c: c["pretrained_cfg"].update(std=[1, 0, 1]), "std must be 3 positive"),
        (lambda c: c["pretrained_cfg"].pop("std"), "is damaged: 'std'"),
        (lambda c: c["pretrained_cfg"].update(interpolation="cubic"), "did you mean 'bicubic'?"),
        (lambda c: c["pretrained_cfg"].update(crop_pct=2), "crop_pct must be above 0"),
        (lambda c: c["pretrained_cfg"].update(crop_mode="squash"), "crop_mode must be 'center'"),
        (lambda c: c["pretrained_cfg"].update(label_names=["a"]), "label_names must be 10 names"),
        (lambda c: c["pretrained_cfg"].update(label_names=7), "is damaged"),
        (lambda c: c["pretrained_cfg"].update(label_names=dict.fromkeys("abcdefghij")), "10 names"),
        (lambda c: c["pretrained_cfg"].update(label_names="abcdefghij"), "must be 10 names"),
        (lambda c: c.update(pretrained_cfg=[]), "is damaged"),
    ],
)
def test_a_wrong_card(folder, change, message) -> None:
    edit(folder, change)
    with pytest.raises(UsageError, match=message) as error:
        CompactTransformer.from_pretrained(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "[" * 100_000, '{"a": "\\ud800'])
def test_a_card_that_is_none(folder, text) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"is damaged: it is not JSON|does not describe weights"):
        CompactTransformer.from_pretrained(folder)


def test_folders_that_are_none(folder, tmp_path) -> None:
    for path in (tmp_path / "nowhere", tmp_path, "nowhere", folder / "config.json"):
        with pytest.raises((UsageError, NotADirectoryError)) as error:
            CompactTransformer.from_pretrained(path)
        assert "\n" not in str(error.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"has no model\.safetensors"):
        CompactTransformer.from_pretrained(folder)


def test_without_a_network_the_hub_is_named(monkeypatch) -> None:
    import huggingface_hub

    asked = []

    def unreachable(name, **options):
        asked.append((name, options["revision"]))
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UsageError, match=r"fetched .*\(no route to host\).*somebody/m"):
        CompactTransformer.from_pretrained("somebody/model", revision="v1")
    assert asked == [("somebody/model", "v1")]
    for nowhere in ("a/b/c", "cct_2_3x22"):
        with pytest.raises(
            UsageError, match=f"weights in the package.* got '{nowhere}', which doe"
        ):
            CompactTransformer.from_pretrained(nowhere)


def test_a_model_of_the_hub(folder, monkeypatch) -> None:
    import huggingface_hub

    def fetched(name, *, revision, allow_patterns):
        assert (name, revision) == ("somebody/model", None)
        assert set(allow_patterns) == {"model.safetensors", "config.json"}
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    model = CompactTransformer.from_pretrained("somebody/model")
    assert same(model, CompactTransformer.from_pretrained(folder))


def test_what_cannot_be_saved(folder, tmp_path) -> None:
    model = trained()
    with pytest.raises(UsageError, match="output must be a folder"):
        model.save_pretrained(folder / "config.json" / "x")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text('{"dataset": "digits"}')
    with pytest.raises(UsageError, match=r"with a config\.json, which would be overwritten"):
        model.save_pretrained(run)
    assert [p.name for p in run.iterdir()] == ["config.json"]
    with torch.no_grad():
        model.norm.weight[0] = 1e6
    with pytest.raises(UsageError, match="too large for half precision"):
        model.save_pretrained(tmp_path / "half", half=True)
    model.prune_intermediate_layers(1)
    with pytest.raises(UsageError, match=r"not what its configuration describes \(pool\.attention"):
        model.save_pretrained(tmp_path / "pruned")
    assert not (tmp_path / "half").exists()
    assert not (tmp_path / "pruned").exists()


@pytest.mark.filterwarnings("ignore:.*deprecated")  # torch's quantisation moves to torchao
def test_quantised_weights_are_not_saved(tmp_path) -> None:
    eighths = torch.ao.quantization.quantize_dynamic(trained(), {torch.nn.Linear})
    with pytest.raises(UsageError, match=r"not what its configuration describes .* torch\.save$"):
        eighths.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_licence_may_be_unknown(tmp_path) -> None:
    model = trained()
    model.pretrained_cfg |= {"license": None}
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "license: other" in card
    assert "licence of the weights" not in card


def test_a_revision_is_of_the_hub(folder) -> None:
    for source in (folder, "cct_2_3x2"):
        with pytest.raises(UsageError, match="revision is for a model on the hub, got 'v9' with"):
            CompactTransformer.from_pretrained(source, revision="v9")


@pytest.mark.parametrize(
    "names", [list(range(10)), ("a", "b"), 7, "abcdefghij", dict.fromkeys("abcdefghij"), {0: "a"}]
)
def test_classes_that_are_not_named(names, tmp_path) -> None:
    model = trained()
    model.pretrained_cfg |= {"label_names": names}
    with pytest.raises(UsageError) as caught:
        model.save_pretrained(tmp_path / "out")
    assert str(caught.value) == f"label_names must be 10 names, got {names!r:.60}"
    assert not (tmp_path / "out").exists()


# --- adapting


def test_other_classes(folder) -> None:
    whole = CompactTransformer.from_pretrained(folder)
    x = torch.randn(2, 3, 32, 32)
    for classes in (5, 0):
        model = CompactTransformer.from_pretrained(folder, num_classes=classes)
        assert model(x).shape == (2, classes or 128)
        features = [m.forward_head(m.forward_features(x), pre_logits=True) for m in (model, whole)]
        assert torch.equal(*features)
    assert CompactTransformer.from_pretrained(folder).config.num_classes == 10


def test_other_sizes(folder) -> None:
    whole = CompactTransformer.from_pretrained(folder)
    model = CompactTransformer.from_pretrained(folder, img_size=(48, 24))
    table = resize_positions(whole.positions.table, (8, 8), (12, 6))
    assert torch.equal(model.positions.table, table)
    x = torch.randn(2, 3, 48, 24)
    torch.testing.assert_close(model(x), whole(x))  # which resizes on the way
    assert model.transforms().size == (48, 24)


def test_positions_of_another_shape_than_a_square(tmp_path) -> None:
    model = vit_lite_2_8(img_size=(16, 64)).eval()
    model.save_pretrained(tmp_path)
    other = CompactTransformer.from_pretrained(tmp_path, img_size=(32, 32))
    table = resize_positions(model.positions.table, (2, 8), (4, 4), 1)
    assert torch.equal(other.positions.table, table)


def test_gray_pictures(folder) -> None:
    whole = CompactTransformer.from_pretrained(folder)
    model = CompactTransformer.from_pretrained(folder, in_chans=1)
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(model(x), whole(x.expand(2, 3, 32, 32)))
    prepared = model.transforms()
    assert prepared.mean == pytest.approx((0.4,))
    assert prepared.std == pytest.approx((0.25,))


def test_more_channels(folder) -> None:
    whole = CompactTransformer.from_pretrained(folder)
    model = CompactTransformer.from_pretrained(folder, in_chans=5)
    old, new = (m.tokenizer.convs[0].weight for m in (whole, model))
    torch.testing.assert_close(new, old[:, [0, 1, 2, 0, 1]] * 3 / 5)


def test_from_gray(tmp_path) -> None:
    gray = cct_2_3x2(in_chans=1).eval()
    gray.save_pretrained(tmp_path / "gray")
    colour = CompactTransformer.from_pretrained(tmp_path / "gray", in_chans=3)
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(colour(x.expand(2, 3, 32, 32)), gray(x))
    cct_2_3x2(in_chans=2).save_pretrained(tmp_path / "two")
    with pytest.raises(UsageError, match="weights for 2 channels cannot be adapted to 3"):
        CompactTransformer.from_pretrained(tmp_path / "two", in_chans=3)


def test_options_that_do_not_suit_the_weights(folder) -> None:
    with pytest.raises(UsageError, match=r"has positions\.table, which the model lacks"):
        CompactTransformer.from_pretrained(folder, positional_embedding="none")
    with pytest.raises(UsageError, match=r"did you mean 'num_classes'\?"):
        CompactTransformer.from_pretrained(folder, nmu_classes=3)
    with pytest.raises(UsageError, match="num_classes must be a whole number"):
        CompactTransformer.from_pretrained(folder, num_classes=-3)


# --- by name


def test_by_name(package) -> None:
    for model in (
        cct_2_3x2(pretrained=True),
        cct_2_3x2(pretrained="cifar100"),
        create_model("cct_2_3x2", pretrained="cifar10", num_classes=None),
    ):
        assert same(model, package)
        assert model.config == package.config
    for name in ("cct_2_3x2", "cct_2_3x2.cifar10"):
        assert same(CompactTransformer.from_pretrained(name), package)
        assert model.training  # as every model that create_model builds
        assert model.transforms().mean == INPUT["mean"]
    model = cct_2_3x2(pretrained=True, num_classes=5, img_size=48, in_chans=1, drop_path=0.3)
    assert model(torch.randn(2, 1, 48, 48)).shape == (2, 5)
    assert model.config.drop_path == 0.3
    assert list_models(pretrained=True) == ["cct_2_3x2"]
    assert list_models("cvt_*", pretrained=True) == []


@pytest.mark.parametrize("nothing", [False, None])
def test_new_weights(package, nothing) -> None:
    model = create_model("cct_2_3x2", pretrained=nothing)
    assert not same(model, package)
    known = create_model("cct_2_3x2", pretrained=True).pretrained_cfg
    assert known.keys() - model.pretrained_cfg.keys() == {"mean", "std", "label_names"}
    assert model.pretrained_cfg == {key: known[key] for key in model.pretrained_cfg}
    with pytest.raises(UsageError, match="for these weights is not known: set mean and std"):
        model.transforms()
    assert create_model("mlp_naive", pretrained=nothing)


@pytest.mark.parametrize(
    ("name", "tag", "message"),
    [
        ("cct_6_3x1", True, r"no weights of 'cct_6_3x1', it has cct_2_3x2 \(cifar10, cifar100\)"),
        ("cct_2_3x2", "cifar", "unknown weights of cct_2_3x2 'cifar': did you mean 'cifar10'?"),
        ("cct_2_3x2", "flowers", "choose from cifar10, cifar100"),
        ("cct_2_3x2", "", "choose from cifar10, cifar100"),
        ("cct_2_3x2", 1, "pretrained must be True, False or a tag, got 1"),
        ("cct_2_3x2", ("cifar10",), "pretrained must be True, False or a tag"),
        ("cct_2_3y2", True, "unknown model 'cct_2_3y2'"),
        ("mlp_naive", True, "unknown model option 'pretrained'"),
    ],
)
def test_names_without_weights(package, name, tag, message) -> None:
    with pytest.raises(UsageError, match=message) as error:
        create_model(name, pretrained=tag)
    assert "\n" not in str(error.value)


def test_an_empty_package(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="it has none at all"):
        cct_2_3x2(pretrained=True)


# --- by what a user calls them


def test_where_weights_are(package, folder, tmp_path, monkeypatch) -> None:
    first, second = (tmp_path / "package" / f"cct_2_3x2.{tag}" for tag in ("cifar10", "cifar100"))
    assert shipped.weights_at("cct_2_3x2") == first
    assert shipped.weights_at("cct_2_3x2.cifar100") == second
    assert shipped.weights_at(folder) == shipped.weights_at(str(folder)) == folder
    for name in ("cct_2_3x2.svhn", "cct_2_3x1", "", ".", "nowhere/cct_2_3x2", tmp_path / "nowhere"):
        assert shipped.weights_at(name) is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cct_2_3x2").mkdir()  # of something else
    assert shipped.weights_at("cct_2_3x2") is None
    (tmp_path / "cct_2_3x2").rmdir()
    folder.rename(tmp_path / "cct_2_3x2")
    assert shipped.weights_at("cct_2_3x2") == Path("cct_2_3x2")


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_disk_that_fills_up_leaves_the_weights_there_were(folder, monkeypatch, written) -> None:
    """Of three files, the first, the second or the third cannot be written."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write, done = saving.write_whole, []

    def full(path: Path, *parts: object) -> None:
        if len(done) == written:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        done.append(path)
        write(path, *parts)

    monkeypatch.setattr(saving, "write_whole", full)
    other = trained(num_classes=3)
    other.pretrained_cfg["label_names"] = ("a", "b", "c")
    for place in (folder, folder.parent / "new"):
        done.clear()
        with pytest.raises(OSError, match="No space left") as caught:
            other.save_pretrained(place)
        assert caught.value.filename == str(place)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (folder.parent / "new").exists()


def test_the_card_is_titled_by_its_folder_wherever_it_is_said(tmp_path, monkeypatch) -> None:
    (tmp_path / "letters").mkdir()
    monkeypatch.chdir(tmp_path / "letters")
    trained().save_pretrained(".")
    assert "\n# letters\n" in Path("README.md").read_text()


@pytest.mark.parametrize(
    ("option", "value"),
    [("residual", "pre_norm"), ("num_heads", 1), ("kernel_size", 7), ("num_convs", 1)],
)
def test_options_that_fit_and_mean_something_else(package, folder, option, value) -> None:
    for build_ in (
        lambda: create_model("cct_2_3x2", pretrained=True, **{option: value}),
        lambda: CompactTransformer.from_pretrained(folder, **{option: value}),
    ):
        with pytest.raises(UsageError, match=f"{option} must be .* with these weights, got"):
            build_()


def test_weights_without_a_classifier_are_given_one(tmp_path) -> None:
    model = trained()
    model.reset_classifier(0)
    model.save_pretrained(tmp_path)
    other = CompactTransformer.from_pretrained(tmp_path, num_classes=3)
    x = torch.randn(2, 3, 32, 32)
    assert other(x).shape == (2, 3)
    other.reset_classifier(0)
    assert torch.equal(other(x), model(x))


def test_other_classes_are_not_called_after_the_old_ones(package, tmp_path) -> None:
    model = create_model("cct_2_3x2", pretrained=True, num_classes=5)
    card = model.save_pretrained(tmp_path / "five")
    assert {"label_names", "tag", "description"}.isdisjoint(card["pretrained_cfg"])
    same_classes = create_model("cct_2_3x2", pretrained=True)
    assert same_classes.pretrained_cfg["label_names"] == INPUT["label_names"]


def test_a_file_of_weights_is_not_looked_for_on_the_hub(folder) -> None:
    with pytest.raises(UsageError, match="safetensors' is a file: give the folder it is in"):
        CompactTransformer.from_pretrained(folder / "model.safetensors")


def test_damaged_weights_are_weights_and_a_run_is_not(folder, tmp_path) -> None:
    assert shipped.holds_weights(folder)
    card = (folder / "config.json").read_bytes()
    for damaged in (b"", b"\xff", b"[" * 100_000, card[:-9]):
        (folder / "config.json").write_bytes(damaged)
        assert shipped.holds_weights(folder)
    (folder / "config.json").unlink()
    assert shipped.holds_weights(folder)
    for other in (b'{"dataset": "digits"}', b"[]", b"null"):  # with weights put beside
        (folder / "config.json").write_bytes(other)
        assert not shipped.holds_weights(folder)
    (folder / "config.json").write_bytes(card)
    (folder / "model.safetensors").unlink()
    assert shipped.holds_weights(folder)
    (folder / "config.json").write_bytes(b"{")
    assert not shipped.holds_weights(folder)
    assert not shipped.holds_weights(tmp_path / "nowhere")


# --- under the tools


@pytest.mark.parametrize("options", [{}, {"img_size": (48, 24), "in_chans": 1, "num_classes": 5}])
@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("build_", [create_model, timm.create_model])
def test_timms_tools_see_the_models_own_input(package, build_, pretrained, options) -> None:
    """The size of pictures, channels and the names of the ends are those of the model itself."""
    model = build_("cct_2_3x2", pretrained=pretrained, **options)
    size = (model.in_chans, *model.config.height_width)
    told = timm.data.resolve_model_data_config(model)
    assert told["input_size"] == size
    assert getattr(model, "default_cfg", model.pretrained_cfg) is model.pretrained_cfg
    assert (told["interpolation"], told["crop_pct"]) == ("bilinear", 1.0)
    if "mean" in model.pretrained_cfg:
        prepared = model.transforms()
        assert (told["mean"], told["std"]) == (prepared.mean, prepared.std)
        picture = Image.new("RGB", (80, 60), (255, 128, 0)).convert("L" if size[0] == 1 else "RGB")
        theirs = timm.data.create_transform(**told)(picture)
        torch.testing.assert_close(theirs, prepared(picture), atol=0.02, rtol=0)
    first, head = (model.pretrained_cfg[name] for name in ("first_conv", "classifier"))
    assert model.get_submodule(first).in_channels == model.in_chans
    assert model.get_submodule(head).out_features == model.num_classes


@pytest.mark.filterwarnings("ignore:.*is deprecated", "ignore:The nodes obtained by tracing")
def test_tools(folder) -> None:
    model, x = CompactTransformer.from_pretrained(folder), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(torch.jit.script(model)(x), model(x))
    program = torch.export.export(model, (x,), strict=True)
    torch.testing.assert_close(program.module()(x), model(x))
    assert copy.deepcopy(model).pretrained_cfg == model.pretrained_cfg
    from torchvision.models.feature_extraction import create_feature_extractor

    tracer = {"leaf_modules": timm.models.get_notrace_modules(), "param_shapes_constant": True}
    graph = create_feature_extractor(model, ["head"], tracer_kwargs=tracer)
    torch.testing.assert_close(graph(x)["head"], model(x))


def test_timm_reads_the_folder(folder) -> None:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert same(model, CompactTransformer.from_pretrained(folder))
    assert model.transforms() == CompactTransformer.from_pretrained(folder).transforms()
    torch.manual_seed(0)
    options = {"num_classes": 5, "img_size": (48, 24), "in_chans": 1}
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, drop_path_rate=0.2, **options)
    assert model.config.drop_path == 0.2
    ours = CompactTransformer.from_pretrained(folder, **options).state_dict()
    for name, tensor in model.state_dict().items():
        assert name.startswith("head.") or torch.equal(tensor, ours[name]), name
    data = timm.data.resolve_model_data_config(timm.create_model(f"local-dir:{folder}"))
    assert (tuple(data["mean"]), data["interpolation"]) == (INPUT["mean"], "bilinear")


def test_timm_notices_damage(folder) -> None:
    state = load_file(folder / "model.safetensors")
    state["norm.bias"][0] += 1
    save_file(state, folder / "model.safetensors")
    for name, options in (
        (f"local-dir:{folder}", {}),
        ("cct_2_3x2", {"pretrained_cfg_overlay": {"file": str(folder / "model.safetensors")}}),
    ):
        with pytest.raises(UsageError, match="do not have the checksum"):
            timm.create_model(name, pretrained=True, **options)
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    overlay = {"file": str(folder / "other.safetensors")}  # of which nothing is known
    model = timm.create_model("cct_2_3x2", pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.norm.bias, state["norm.bias"])
