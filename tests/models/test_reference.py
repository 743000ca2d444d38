"""Checkpoints of the published layout: what is read, what is adapted, what is refused."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from compact_vit import CompactTransformer, UsageError, create_model, load_reference_state_dict
from compact_vit.layers import resize_positions, sine_positions
from compact_vit.train import TrainConfig, load_model, train

State = dict[str, Tensor]

OURS_TO_PUBLISHED = (
    ("tokenizer.proj.", "tokenizer.conv_layers.0.0."),
    ("tokenizer.convs.0.", "tokenizer.conv_layers.0.0."),
    ("tokenizer.convs.1.", "tokenizer.conv_layers.1.0."),
    ("class_token.token", "classifier.class_emb"),
    ("positions.table", "classifier.positional_emb"),
    ("pool.attention.", "classifier.attention_pool."),
    (".norm1.", ".pre_norm."),
    (".norm2.", ".norm1."),
    (".attn.", ".self_attn."),
    (".mlp.fc", ".linear"),
    ("blocks.", "classifier.blocks."),
    ("head.", "classifier.fc."),
)


def published(model: CompactTransformer) -> State:
    """The model's tensors under the published keys."""
    state = {}
    for name, value in model.state_dict().items():
        key = "classifier." + name if name.startswith("norm.") else name
        for ours, theirs in OURS_TO_PUBLISHED:
            key = key.replace(ours, theirs)
        state[key] = value.clone()
    return state


def random_model(name: str = "cct_2_3x2", **options) -> CompactTransformer:
    model = create_model(name, **options).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("name", ["vit_lite_2_4", "cvt_2_4", "cct_2_3x2"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_every_tensor_finds_its_place(name: str, prefix: str) -> None:
    source, model, x = random_model(name), random_model(name), torch.randn(2, 3, 32, 32)
    state = {prefix + key: value for key, value in published(source).items()}
    report = load_reference_state_dict(model, state)
    assert (report.positions_resized, report.head_changed) == (None, None)
    assert torch.equal(model(x), source(x))


@pytest.mark.parametrize("name", ["vit_lite_2_4", "cvt_2_4", "cct_2_3x1"])
def test_positions_are_resized_and_the_class_token_is_not(name: str) -> None:
    source, model = random_model(name), random_model(name, img_size=(48, 24))
    report = load_reference_state_dict(model, published(source))
    old, new = source.positions.grid_size, model.positions.grid_size
    assert report.positions_resized == (old, new)
    prefix = source.num_prefix_tokens
    expected = resize_positions(source.positions.table, old, new, prefix)
    assert torch.equal(model.positions.table, expected)
    assert torch.equal(model.positions.table[:, :prefix], source.positions.table[:, :prefix])
    # so the model serves pictures of its size as the source does by resizing as it runs
    x = torch.randn(1, 3, 48, 24)
    torch.testing.assert_close(model(x), source(x))


def test_a_rectangular_checkpoint_says_its_grid() -> None:
    source, model = random_model("cvt_2_4", img_size=(48, 24)), random_model("cvt_2_4")
    with pytest.raises(UsageError, match=r"72 positions do not fill a grid of 8x8: pass grid_size"):
        load_reference_state_dict(model, published(source))
    with pytest.raises(UsageError, match="72 positions do not fill a grid of 9x9"):
        load_reference_state_dict(model, published(source), grid_size=(9, 9))
    report = load_reference_state_dict(model, published(source), grid_size=(12, 6))
    assert report.positions_resized == ((12, 6), (8, 8))
    expected = resize_positions(source.positions.table, (12, 6), (8, 8))
    assert torch.equal(model.positions.table, expected)


def test_a_grid_of_as_many_tokens_and_another_shape_is_resized() -> None:
    source = random_model("cvt_2_4", img_size=(64, 16))
    model = random_model("cvt_2_4", img_size=32)
    report = load_reference_state_dict(model, published(source), grid_size=(16, 4))
    assert report.positions_resized == ((16, 4), (8, 8))


def test_published_positions_are_of_a_square_also_where_another_grid_has_as_many() -> None:
    source = random_model("cct_2_3x1")
    state, model = published(source), random_model("cct_2_3x1", img_size=(64, 16))
    report = load_reference_state_dict(model, state)
    assert report.positions_resized == ((16, 16), (32, 8))
    x = torch.randn(1, 3, 64, 16)
    torch.testing.assert_close(model(x), source(x))


def test_a_state_of_the_same_model_has_its_grid() -> None:
    source, model = (random_model("cct_2_3x1", img_size=(64, 16)) for _ in range(2))
    report = load_reference_state_dict(model, source.state_dict())
    assert report.positions_resized is None
    assert torch.equal(model.positions.table, source.positions.table)


@pytest.mark.parametrize(("theirs", "ours"), [(100, 10), (10, 100), (10, 0)])
def test_a_head_of_other_classes_is_left_as_it_was(theirs: int, ours: int) -> None:
    source, model = random_model(num_classes=theirs), random_model(num_classes=ours)
    before = {k: v.clone() for k, v in model.state_dict().items() if k.startswith("head")}
    report = load_reference_state_dict(model, published(source))
    assert report.head_changed == (theirs, ours)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.forward_features(x), source.forward_features(x))


@pytest.mark.parametrize("side", [32, 48])
def test_sine_stays_sine(side: int) -> None:
    source = random_model(positional_embedding="sine")
    model = random_model(positional_embedding="sine", img_size=side)
    report = load_reference_state_dict(model, published(source))
    assert report.positions_resized is None
    tokens = model.positions.table.shape[1]
    assert torch.equal(model.positions.table, sine_positions(tokens, 128))
    assert not model.positions.table.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["cct_2_3x2", "vit_lite_2_4"])
def test_sine_is_known_in_every_precision(name: str, dtype: torch.dtype) -> None:
    source = random_model(name, positional_embedding="sine")
    model = random_model(name, positional_embedding="sine")
    table = model.positions.table.clone()
    load_reference_state_dict(model, {k: v.to(dtype) for k, v in published(source).items()})
    assert torch.equal(model.positions.table, table)
    model.to(dtype)
    load_reference_state_dict(model, model.state_dict())
    assert torch.equal(model.positions.table, table.to(dtype))


def test_what_cannot_be_filled(tmp_path) -> None:
    with pytest.raises(UsageError, match="model must be a CompactTransformer, got a Baseline"):
        load_reference_state_dict(create_model("mlp"), {})
    refuse(create_model("cct_2_3x2"), tmp_path, "is a folder: give the path of a file in it")
    refuse(create_model("cct_2_3x2"), None, "state must be a checkpoint's dict .*, got a NoneType")


def refuse(model: CompactTransformer, state: State | str | Path, message: str) -> None:
    """The load fails with one line that has ``message``, and the model is as it was."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UsageError, match=message) as caught:
        load_reference_state_dict(model, state)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_learnt_table_is_refused_by_a_sine_model(dtype: torch.dtype) -> None:
    refuse(
        random_model(positional_embedding="sine"),
        published(random_model().to(dtype)),
        "positions are learnt, not sine: build the model with positional_embedding='learnable'",
    )


def without(key: str) -> Callable[[State], object]:
    return lambda state: state.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("classifier.norm.bias"), "it lacks norm.bias$"),
        (without("classifier.positional_emb"), "it lacks positions.table$"),
        (without("classifier.fc.weight"), "it lacks head.weight$"),
        (
            lambda s: (s.pop("classifier.norm.bias"), s.pop("classifier.norm.weight")),
            r"it lacks norm.weight \(and 1 more differences\)",
        ),
        (
            lambda s: s.update({"classifier.extra": torch.zeros(1)}),
            "it has classifier.extra, which the model lacks",
        ),
        (
            lambda s: s.update({"classifier.norm.bias": torch.zeros(64)}),
            r"it has norm.bias of shape \[64\], the model \[128\]",
        ),
        (
            lambda s: s.update({"classifier.fc.weight": torch.tensor(1.0)}),
            r"it has head.weight of shape \[\], the model \[10, 128\]",
        ),
        (
            lambda s: s.update({"classifier.positional_emb": torch.zeros(1, 64, 64)}),
            r"it has positions.table of shape \[1, 64, 64\]",
        ),
        (
            lambda s: s.update({"classifier.norm.bias": [0.0] * 128}),
            "entry 'classifier.norm.bias' must be a tensor, got list",
        ),
        (lambda s: s.clear(), "it lacks tokenizer.convs.0.weight"),
    ],
)
def test_strict(change: Callable[[State], object], message: str) -> None:
    state = published(random_model())
    change(state)
    refuse(random_model(), state, message)


@pytest.mark.parametrize("other", ["cct_4_3x2", "cct_2_3x1", "cvt_2_4", "cct_6_3x2"])
def test_a_checkpoint_of_another_member_is_refused(other: str) -> None:
    refuse(random_model(), published(random_model(other)), "the checkpoint is of another model")


def test_a_model_without_positions_takes_none() -> None:
    model = random_model(positional_embedding="none")
    refuse(model, published(random_model()), "it has positions.table, which the model lacks")


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
@pytest.mark.parametrize("kind", [str, Path])
def test_files(tmp_path: Path, wrap, kind) -> None:
    source, model, x = random_model(), random_model(), torch.randn(2, 3, 32, 32)
    torch.save(wrap(published(source)), tmp_path / "model.pth")
    load_reference_state_dict(model, kind(tmp_path / "model.pth"))
    assert torch.equal(model(x), source(x))


@pytest.mark.parametrize(
    ("plain", "averaged"), [("state_dict", "state_dict_ema"), ("model", "model_ema")]
)
def test_averaged_weights_are_taken_where_there_are_both(tmp_path, plain, averaged) -> None:
    """As timm takes them, of files that its training script and the published one wrote."""
    source, mean, model = random_model(), random_model(), random_model()
    path = tmp_path / "model.pth"
    torch.save({plain: published(source), averaged: published(mean), "epoch": 3}, path)
    load_reference_state_dict(model, path)
    assert torch.equal(model.head.weight, mean.head.weight)
    theirs = timm.models.load_state_dict(path)
    assert torch.equal(theirs["classifier.fc.weight"], mean.head.weight)
    torch.save({plain: published(source), averaged: None}, path)  # where nothing was averaged
    load_reference_state_dict(model, path)
    assert torch.equal(model.head.weight, source.head.weight)


def test_torchs_own_averages_are_taken(tmp_path) -> None:
    """Which keep a count beside the weights, as in the files of torchvision's training script."""
    source, model, other = (create_model("cct_2_3x2") for _ in range(3))
    average = torch.optim.swa_utils.AveragedModel(source).state_dict()
    assert "n_averaged" in average
    load_reference_state_dict(model, average)
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": create_model("cct_2_3x2").state_dict(), "model_ema": average}, path)
    load_reference_state_dict(other, path)
    for filled in (model, other):
        assert torch.equal(filled.head.weight, source.head.weight)


def test_a_checkpoint_of_a_training_script(tmp_path: Path) -> None:
    """timm's saver, which the published ``train.py`` uses, keeps its arguments in the file."""
    source, model, x = random_model(), random_model(), torch.randn(2, 3, 32, 32)
    timm.utils.CheckpointSaver(
        torch.nn.ModuleDict({"tokenizer": source.tokenizer}),
        torch.optim.SGD(source.parameters(), lr=0.1),
        args=argparse.Namespace(model="cct_2_3x2_32", lr=5e-4),
        checkpoint_dir=tmp_path,
        recovery_dir=tmp_path,
    ).save_checkpoint(0, metric=1.0)
    written = torch.load(tmp_path / "last.pth.tar", weights_only=False)
    assert isinstance(written["args"], argparse.Namespace)
    torch.save(written | {"state_dict": published(source)}, tmp_path / "script.pth.tar")
    load_reference_state_dict(model, tmp_path / "script.pth.tar")
    assert torch.equal(model(x), source(x))


@pytest.mark.parametrize("wrapped", ["model", "state_dict", "state_dict_ema"])
def test_a_checkpoint_that_was_read_already(wrapped) -> None:
    source, model, x = random_model(), random_model(), torch.randn(2, 3, 32, 32)
    load_reference_state_dict(model, {wrapped: published(source), "epoch": 3})
    assert torch.equal(model(x), source(x))
    wanted = "entry 'net' must be a tensor, got dict: give the dict of the model's tensors"
    refuse(model, {"net": published(source)}, wanted)


def test_a_whole_model_in_a_file(tmp_path: Path) -> None:
    torch.save(random_model(), tmp_path / "model.pth")
    wanted = (
        r"it holds a compact_vit\.models\.compact\.CompactTransformer: save the model's state_d"
    )
    refuse(random_model(), tmp_path / "model.pth", wanted)


def test_a_run_is_read_otherwise(tmp_path: Path) -> None:
    """Its files have a checksum, which nothing but ``load_model`` looks at."""
    config = TrainConfig(model="cvt_2_8", epochs=1, train_pictures=100, device="cpu")
    run = train(config, output=tmp_path / "run", quiet=True).output
    trained = load_model(run).model
    model = random_model("cvt_2_8", num_classes=5, img_size=16, in_chans=1)
    way = r"is of a run: give load_model\(RUN\)\.model\.state_dict\(\), of compact_vit\.train$"
    for name in ("best.pt", "last.pt"):
        refuse(model, run / name, way)
        refuse(model, torch.load(run / name, weights_only=True), way)
    report = load_reference_state_dict(model, trained.state_dict())
    assert report.head_changed == (10, 5)
    assert torch.equal(model.norm.weight, trained.norm.weight)


class Payload:
    """What a malicious checkpoint would be: unpickled, it makes a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"model": Payload(str(tmp_path / "made"))}, tmp_path / "evil.pth")
    refuse(random_model(), tmp_path / "evil.pth", "is not a checkpoint of plain tensors")
    assert not (tmp_path / "made").exists()


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    model, path = random_model(), tmp_path / "model.pth"
    refuse(model, path, f"no checkpoint at {re.escape(repr(str(path)))}")
    for garbage in (b"", b"hello", b"\x80\x02garbage", bytes(range(256)) * 20):
        path.write_bytes(garbage)
        refuse(model, path, "is not a checkpoint of plain tensors")
    torch.save(published(random_model()), path)
    whole = path.read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:cut])
        refuse(model, path, "is not a checkpoint of plain tensors")
    torch.save([torch.zeros(1)], path)
    refuse(model, path, "must hold a dict of tensors, got a list")
