"""A run that starts from weights there are: which of them, what is new, and going on."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from compact_vit import CompactTransformer, create_model
from compact_vit.errors import UsageError
from compact_vit.experiment import plan_runs, read_experiment
from compact_vit.layers import resize_positions
from compact_vit.models import shipped
from compact_vit.train import load_model, resume, train
from compact_vit.train.cli import main
from compact_vit.train.config import TrainConfig, with_whole_paths
from compact_vit.train.inputs import load_splits
from compact_vit.train.progress import Progress
from compact_vit.train.run import RunFolder
from compact_vit.train.schedule import build_schedule
from compact_vit.train.start import start_from
from compact_vit.train.state import TrainState, build_state


@pytest.fixture
def source(tiny, tmp_path) -> Path:
    """A run of two epochs, best after one of them, by its validation split."""
    train(tiny(val_fraction=0.25), output=tmp_path / "source", quiet=True)
    return tmp_path / "source"


@pytest.fixture
def state(tiny):
    """The state before the first step of a configuration."""

    def built(**values) -> TrainState:
        config = tiny(**values)
        return build_state(config, load_splits(config), torch.device("cpu"))

    return built


def test_the_weights_are_the_runs(source, state, same) -> None:
    started = state(seed=5)
    kept = load_model(source).model.state_dict()
    assert not same(started.model.state_dict(), kept)
    start_from(started, TrainConfig(init_from=str(source)))
    assert same(started.model.state_dict(), kept)
    epoch = load_model(source).epoch
    assert started.choices.notes[-1] == f"starting from epoch {epoch} of {source}"
    shutil.copy(source / "last.pt", source / "best.pt")
    last = load_model(source, "last").model.state_dict()
    start_from(started, TrainConfig(init_from=str(source)))
    assert same(started.model.state_dict(), last)


def test_what_is_said_at_the_start_is_kept(source, tiny, tmp_path, assert_same_run) -> None:
    config = tiny(init_from=str(source), batch_size=20)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    left_out, told = whole.summary["notes"]
    assert left_out.startswith("every epoch leaves out another 16 of the 36")
    assert left_out.endswith("no whole batch of 20: --batch-size 18 leaves out 0")
    assert told == f"starting from epoch {load_model(source).epoch} of {source}"

    def stop(row) -> None:
        raise OSError("the machine goes off")

    with pytest.raises(OSError, match="goes off"):
        train(config, output=tmp_path / "stopped", quiet=True, on_epoch=stop)
    assert_same_run(resume(tmp_path / "stopped", quiet=True), whole)


def test_what_is_held_out_now_was_not_before(source, tiny, state) -> None:
    def told(**values: Any) -> tuple[str, ...]:
        started = state()
        start_from(started, tiny(init_from=str(source), **values))
        return started.choices.notes[1:]

    assert told() == told(seed=5) == told(val_fraction=0.25) == ()  # nothing, or the same
    assert told(val_fraction=0.25, data_dir="elsewhere") == ()
    assert told(val_fraction=0.25, dataset="digits", data_dir=None) == ()
    (note,) = told(test_fraction=0.2)
    assert note.startswith("the test accuracy will be too high")
    here = {"seed": 5, "data_dir": os.path.relpath(tiny().data_dir)}
    for values in ({"seed": 5}, {"val_fraction": 0.5}, {"train_pictures": 24}, here):
        (note,) = told(**{"val_fraction": 0.25, **values})
        assert note.endswith("by val_fraction 0.25, seed 0, train_pictures 0, test_fraction 0.0")


def test_a_head_for_other_classes_is_new(source, state, picture_folder) -> None:
    for split in ("train", "test"):
        shutil.rmtree(picture_folder / split / "red")
    started = state()
    head = {k: v.clone() for k, v in started.model.state_dict().items() if k.startswith("head")}
    start_from(started, TrainConfig(init_from=str(source)))
    kept = load_model(source).model.state_dict()
    for name, value in started.model.state_dict().items():
        assert torch.equal(value, head.get(name, kept[name])), name
    assert head["head.weight"].shape == (2, 128)
    assert started.choices.notes[-1].endswith("; a new head for 2 classes, not 3")


@pytest.mark.parametrize(("before", "after"), [(16, 32), ((16, 32), (24, 16))])
def test_positions_of_another_grid_are_resized(tiny, tmp_path, state, before, after) -> None:
    train(tiny(img_size=before, epochs=1), output=tmp_path / "source", quiet=True)
    started = state(img_size=after)
    start_from(started, TrainConfig(init_from=str(tmp_path / "source")))
    kept = load_model(tmp_path / "source").model.state_dict()
    grids = [
        tuple(side // 8 for side in ((size, size) if isinstance(size, int) else size))
        for size in (before, after)
    ]
    kept["positions.table"] = resize_positions(kept["positions.table"], *grids)
    for name, value in started.model.state_dict().items():
        assert torch.equal(value, kept[name]), name
    (h, w), (height, width) = grids
    said = f"; positions resized from {h}x{w} tokens to {height}x{width}"
    assert started.choices.notes[-1].endswith(said)


def test_only_the_head_learns(source, tiny, tmp_path, assert_same_run) -> None:
    """As a linear layer on features that stay as they are, also where all else would decay."""
    still = {"dropout": 0.0, "drop_path": 0.0, "crop_padding": 0, "flip": 0.0, "clip_grad": 0.5}
    config = tiny(init_from=source, layer_decay=0, seed=3, weight_decay=0.1, **still)
    result = train(config, output=tmp_path / "run", quiet=True)
    kept = load_model(source).model
    before, after = kept.state_dict(), result.model.state_dict()
    assert {n for n in before if not torch.equal(before[n], after[n])} == {
        "head.weight",
        "head.bias",
    }

    splits, linear = load_splits(config), kept.head
    state, normalize = build_state(config, splits, torch.device("cpu")), kept.transforms()
    groups = [{"params": [linear.weight]}, {"params": [linear.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=0.1)
    schedule = build_schedule(optimizer, config, len(state.loader))
    for _ in range(config.epochs):
        for images, labels in state.loader:
            with torch.no_grad():
                features = kept.eval().forward_head(
                    kept.forward_features(normalize(images)), pre_logits=True
                )
            loss = F.cross_entropy(linear(features), labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(linear.parameters(), 0.5)
            optimizer.step()
            schedule.step()
    torch.testing.assert_close(after["head.weight"], linear.weight.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after["head.bias"], linear.bias.detach(), rtol=1e-4, atol=1e-5)

    def stop(row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, output=tmp_path / "stopped", quiet=True, on_epoch=stop)
    assert_same_run(result, resume(tmp_path / "stopped", quiet=True))


def test_batch_norms_below_a_head_that_learns_alone(tiny, tmp_path, same) -> None:
    """Their weights stay, and their running statistics follow the pictures."""
    train(tiny(model="cct2_2_3x2", epochs=1), output=tmp_path / "source", quiet=True)
    config = tiny(model="cct2_2_3x2", init_from=tmp_path / "source", layer_decay=0, epochs=1)
    result = train(config, output=tmp_path / "run", quiet=True)
    before = load_model(tmp_path / "source").model.state_dict()
    after = result.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in changed if not name.startswith("head.")} == {
        name for name in before if name.endswith(("running_mean", "running_var", "batches_tracked"))
    }


def test_a_head_alone_learns_nothing_from_a_new_pooling(tiny, tmp_path) -> None:
    train(tiny(objective="mae", epochs=1), output=tmp_path / "source", quiet=True)
    config = tiny(init_from=tmp_path / "source", layer_decay=0)
    with pytest.raises(UsageError, match="layer_decay must be above 0 from a pretraining, got 0"):
        train(config, output=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["cvt_4_8", "cvt_2_4", "vit_lite_2_8", "cct_2_3x1"])
def test_another_architecture_is_refused(source, tiny, tmp_path, model) -> None:
    config = tiny(model=model, init_from=source)
    said = r"^init_from must be a run of this model, got .*, of cvt_2_8: "
    with pytest.raises(UsageError, match=said) as caught:
        train(config, output=tmp_path / "run", quiet=True)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_is_no_finished_run(tiny, tmp_path, source) -> None:
    def refused(said: str) -> None:
        with pytest.raises(UsageError, match=said):
            train(tiny(init_from=str(source)), output=tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()

    (source / "best.pt").unlink()
    (source / "last.pt").write_bytes(b"nothing")
    refused("is damaged or not a checkpoint")
    (source / "last.pt").unlink()
    refused("no checkpoint at")
    shutil.rmtree(source)
    refused("must be the folder of a run or of weights, .*, which does not exist$")


@pytest.fixture
def weights(tmp_path, monkeypatch) -> CompactTransformer:
    """A model whose weights lie in ``folder``, and in the package under two tags, others."""
    torch.manual_seed(3)
    model = create_model("cvt_2_8", num_classes=3, img_size=16)
    assert isinstance(model, CompactTransformer)
    model.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
    model.save_pretrained(tmp_path / "folder")
    for tag in ("colours", "shapes"):
        torch.nn.init.normal_(model.norm.bias)
        model.save_pretrained(tmp_path / "package" / f"cvt_2_8.{tag}", half=tag == "shapes")
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    return model


@pytest.mark.parametrize(
    ("given", "folder", "told"),
    [
        ("folder", "folder", "the weights in {here}/folder"),
        ("cvt_2_8", "package/cvt_2_8.colours", "the package's weights cvt_2_8.colours"),
        ("cvt_2_8.shapes", "package/cvt_2_8.shapes", "the package's weights cvt_2_8.shapes"),
    ],
)
def test_weights_of_a_folder_and_of_the_package(weights, state, given, folder, told) -> None:
    started = state(seed=5)
    start_from(started, TrainConfig(init_from=given))
    stored = load_file(Path(folder, "model.safetensors"))
    for name, value in started.model.state_dict().items():
        assert torch.equal(value, stored[name].float()), name
    assert started.choices.notes[-1] == f"starting from {told.format(here=Path.cwd())}"


def test_a_folder_of_the_name_goes_before_the_package(weights, state, source, tmp_path) -> None:
    """A folder of weights, one of a run, and one of neither, which is refused."""
    (tmp_path / "folder").rename("cvt_2_8")
    for told in ("the weights in", f"epoch {load_model(source).epoch} of"):
        started = state()
        start_from(started, TrainConfig(init_from="cvt_2_8"))
        assert started.choices.notes[-1] == f"starting from {told} {tmp_path / 'cvt_2_8'}"
        whole = with_whole_paths(
            dataclasses.replace(load_model(source).config, init_from="cvt_2_8")
        )
        assert whole.init_from == str(tmp_path / "cvt_2_8")
        shutil.rmtree("cvt_2_8")
        shutil.copytree(source, "cvt_2_8")
    (tmp_path / "cvt_2_8" / "config.json").unlink()
    with pytest.raises(UsageError, match="got 'cvt_2_8', a folder of something else"):
        start_from(state(), TrainConfig(init_from="cvt_2_8"))


def test_weights_for_other_classes_pixels_and_channels(weights, tmp_path, tiny) -> None:
    """Digits are gray, ten, and here of 32 x 16 pixels."""
    config = TrainConfig(model="cvt_2_8", img_size=(32, 16), device="cpu")
    started = build_state(config, load_splits(config), torch.device("cpu"))
    new = {k: v.clone() for k, v in started.model.state_dict().items() if k.startswith("head")}
    start_from(started, TrainConfig(init_from="folder"))
    kept = load_file(tmp_path / "folder" / "model.safetensors")
    # a gray picture is one whose three channels are the same
    kept["tokenizer.proj.weight"] = kept["tokenizer.proj.weight"].sum(dim=1, keepdim=True)
    kept["positions.table"] = resize_positions(kept["positions.table"], (2, 2), (4, 2))
    for name, value in started.model.state_dict().items():
        torch.testing.assert_close(value, new.get(name, kept[name]))
    assert new["head.weight"].shape == (10, 128)
    assert started.choices.notes[-1] == (
        f"starting from the weights in {Path.cwd()}/folder; "
        "the first convolution adapted from 3 channels to 1; "
        "positions resized from 2x2 tokens to 4x2; a new head for 10 classes, not 3"
    )


def test_weights_without_a_classifier(weights, tiny, tmp_path) -> None:
    weights.reset_classifier(0)
    weights.save_pretrained(tmp_path / "headless")
    config = tiny()
    started = build_state(config, load_splits(config), torch.device("cpu"))
    head = started.model.head.weight.clone()
    start_from(started, TrainConfig(init_from="headless"))
    assert started.choices.notes[-1].endswith("a head, which they have not")
    assert torch.equal(started.model.head.weight, head)
    assert torch.equal(started.model.norm.bias, weights.norm.bias)


def test_weights_that_are_refused(weights, tiny, tmp_path) -> None:
    def refused(said: str, given: str = "folder", **values) -> None:
        with pytest.raises(UsageError, match=said) as caught:
            train(tiny(init_from=given, **values), output="run", quiet=True)
        assert "\n" not in str(caught.value)
        assert not Path("run").exists()

    for model in ("cvt_4_8", "cct_2_3x1", "vit_lite_2_8"):
        refused("^init_from must be weights of this model, got 'folder', of cvt_2_8: ", model=model)
    refused("'cvt_2_8', of cvt_2_8: .* lacks blocks.2", "cvt_2_8", model="cvt_4_8")
    refused("of cvt_2_8: it is a compact transformer", model="mlp_naive")
    refused("residual must be 'published' with these weights, got 'pre_norm'$", residual="pre_norm")
    refused("num_heads must be 2 with these weights, got 4$", model_options={"num_heads": 4})
    refused("'cvt_2_9', which does not exist: did you mean 'cvt_2_8'", "cvt_2_9")
    refused("which does not exist: did you mean 'cvt_2_8.shapes'", "cvt_2_8.shape")
    Path("a.txt").touch()
    refused(r"weights in the package \(cvt_2_8\), got '.*a.txt', a file$", str(tmp_path / "a.txt"))
    refused("got '.*pictures', a folder of something else$", str(tmp_path / "pictures"))
    card = Path("folder", "config.json")
    whole = card.read_bytes()
    card.write_bytes(whole[:100])
    refused("'folder/config.json' is damaged: it is not JSON")
    card.write_text('{"architectures": ["ViT"], "model_type": "vit"}')
    refused("'folder' is not the folder of a run: its config.json is of something else")
    card.write_bytes(whole)
    tensors = Path("folder", "model.safetensors")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    refused("'folder/model.safetensors' is damaged .*: put a whole copy in its place")
    tensors.unlink()
    refused("'folder' has no model.safetensors")


@pytest.mark.parametrize("given", ["folder", "cvt_2_8"])
def test_it_begins_again_from_anywhere(
    weights, everything, tmp_path, monkeypatch, assert_same_run, given
) -> None:
    """Stopped before the first checkpoint, it reads the weights anew."""
    whole = train(everything(init_from=given, epochs=1), output=tmp_path / "whole", quiet=True)
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert config["init_from"] == (given if given == "cvt_2_8" else str(tmp_path / "folder"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with RunFolder.create(tmp_path / "began", TrainConfig.from_dict(config)) as began:
        pass
    assert_same_run(resume(began.path, quiet=True), whole)


def test_an_experiment_leaves_the_name_of_weights_alone(weights, tmp_path) -> None:
    """A folder beside the experiment's file goes before the package."""
    text = "train: {model: cvt_2_8}\ngrid: {init_from: [null, cvt_2_8, folder]}\n"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "exp.yaml").write_text(text)

    def planned() -> list[str | None]:
        runs = plan_runs(read_experiment(tmp_path / "deep" / "exp.yaml"))
        return [run.config.init_from for run in runs]

    beside = str(tmp_path / "deep" / "folder")
    assert planned() == [None, "cvt_2_8", beside]
    (tmp_path / "deep" / "cvt_2_8").mkdir()
    assert planned() == [None, str(tmp_path / "deep" / "cvt_2_8"), beside]


def test_the_weights_in_the_package(tiny, state, tmp_path) -> None:
    """The real ones, under the model that they are of."""
    started = state(model="cct_2_3x3", img_size=32)
    start_from(started, TrainConfig(init_from="cct_2_3x3"))
    expected = create_model("cct_2_3x3", pretrained=True, num_classes=3)
    expected.head.load_state_dict(started.model.head.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(started.model.eval()(x), expected.eval()(x))
    note = "starting from the package's weights cct_2_3x3.cifar10; a new head for 3 classes, not 10"
    assert started.choices.notes[-1] == note


def test_another_residual_of_a_run_is_refused(source, state) -> None:
    """Its weights would fit, and mean something else."""
    said = "must be a run of this model, .*: residual must be 'published' with these weights"
    with pytest.raises(UsageError, match=said):
        start_from(state(residual="pre_norm"), TrainConfig(init_from=str(source)))


def test_it_goes_on_without_the_first_run(source, everything, tmp_path, assert_same_run) -> None:
    """Stopped in the midst, and before the first checkpoint, when it reads the weights anew."""
    config = everything(init_from=source)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    other = train(everything(), output=tmp_path / "other", quiet=True)
    assert whole.history[0]["train_loss"] != other.history[0]["train_loss"]
    with RunFolder.create(tmp_path / "began", whole.config) as began:
        pass
    assert_same_run(resume(began.path, quiet=True), whole)

    original, calls = Progress.end_epoch, []

    def stopped(self, row):
        calls.append(1)
        if len(calls) == 2:
            raise OSError("the machine goes off")
        original(self, row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "end_epoch", stopped)
        with pytest.raises(OSError, match="goes off"):
            train(config, output=tmp_path / "stopped", quiet=True)
    shutil.rmtree(source)
    assert_same_run(resume(tmp_path / "stopped", quiet=True), whole)


def test_from_the_command_line(source, picture_folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "--dataset",
        "folder",
        "--data-dir",
        str(picture_folder),
        "--model",
        "cvt_2_8",
        "--img-size",
        "16",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--batch-size",
        "12",
    ]
    assert main([*words, "--init-from", "source", "--output", "run"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "starting from" in line] == [
        f"starting from epoch {load_model(source).epoch} of {tmp_path / 'source'}"
    ]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["init_from"] == os.path.abspath("source")
    assert main(["--resume", "run"]) == 0
    assert "starting from" not in capsys.readouterr().err
    assert main([*words, "--init-from", "sauce", "--output", "other"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "other").exists()
