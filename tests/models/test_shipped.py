"""The weights in the package: what they say of themselves, and what they say of pictures."""

from __future__ import annotations

import json
import re
import shlex
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

import compact_vit.timm  # noqa: F401  # registers the models
from compact_vit import CompactTransformer, create_model
from compact_vit.models import list_models
from compact_vit.models.pretrained import read_card
from compact_vit.models.shipped import SHIPPED, shipped
from compact_vit.predict import main, predict_pictures
from compact_vit.report import summarize
from compact_vit.scoring import size_accuracy_score
from compact_vit.train.cli import build_parser

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "examples" / "pictures").glob("*.png"))
#: weights -> picture -> logits, as they were when the weights were put there
GOLDEN = ROOT / "tests" / "golden" / "shipped.json"
ALL = [(name, tag) for name, tags in shipped().items() for tag in tags]

of_all = pytest.mark.parametrize(("name", "tag"), ALL, ids=[".".join(both) for both in ALL])


def by_hand(name: str, tag: str, path: Path) -> torch.Tensor:
    """The logits of the weights for a square picture, from the files, step by step."""
    card = json.loads((SHIPPED / f"{name}.{tag}" / "config.json").read_text())
    state = load_file(SHIPPED / f"{name}.{tag}" / "model.safetensors")
    model = CompactTransformer(create_model(name, **card["model_args"]).config).eval()
    model.load_state_dict({key: tensor.float() for key, tensor in state.items()})
    _, *size = card["pretrained_cfg"]["input_size"]
    small = np.asarray(Image.open(path).resize(size[::-1], Image.Resampling.BILINEAR)) / 255
    x = (small - card["pretrained_cfg"]["mean"]) / card["pretrained_cfg"]["std"]
    with torch.no_grad():
        return model(torch.from_numpy(x).permute(2, 0, 1)[None].float())[0]


@of_all
@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_what_they_see_in_pictures(name, tag, path, capsys) -> None:
    logits = by_hand(name, tag, path)
    model = create_model(name, pretrained=tag).eval()
    with torch.no_grad():
        got = model(model.transforms()(Image.open(path))[None])[0]
    torch.testing.assert_close(got, logits, atol=1e-4, rtol=1e-4)
    kept = torch.tensor(json.loads(GOLDEN.read_text())[f"{name}.{tag}"][path.name])
    torch.testing.assert_close(got, kept, atol=2e-3, rtol=1e-3)
    (answer,) = predict_pictures(model, [path], top=10, device="cpu")
    names = model.pretrained_cfg["label_names"]
    expected = dict(zip(names, logits.softmax(0).tolist(), strict=True))
    assert dict(answer) == pytest.approx(expected, abs=1e-4)
    assert main(["--pretrained", f"{name}.{tag}", str(path), "--top", "1", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.split()[-1] == answer[0][0]


@of_all
def test_what_they_say_of_themselves(name, tag) -> None:
    folder = shipped()[name][tag]
    card, model = read_card(folder), create_model(name, pretrained=tag)
    training, results, size = card["training"], card["results"], card["size"]
    assert card["architecture"] == name
    assert card["dtype"] == "float16"
    assert card["pretrained_cfg"]["license"] == "mit"
    assert card["pretrained_cfg"]["tag"] == training["dataset"] == tag
    assert training["copy"]
    assert training["credit"]
    assert {"torch", "compact_vit", "python"} <= training["versions"].keys()
    words = shlex.split(training["command"])
    given = vars(build_parser().parse_args(words[3:]))
    assert (given["model"], given["recipe"]) == (name, training["recipe"])
    if tag == "cifar10":
        assert (results["split"], results["n"]) == ("test", 10_000)
    counted = summarize(model, card["pretrained_cfg"]["input_size"])
    for key in ("parameters", "parameters_without_positions", "macs"):
        assert size[key] == getattr(counted, key)
    score = size_accuracy_score(results["accuracy"], counted.parameters_without_positions)
    assert size["score"]["value"] == pytest.approx(score)
    most = 1e6 if counted.parameters < 450_000 else 7e6
    assert (folder / "model.safetensors").stat().st_size < most
    for path in folder.iterdir():
        assert not re.search(rb"/(tmp|home|root|work|Users)/", path.read_bytes())
    assert f"{results['accuracy']:.2f}% of {results['n']:,}" in (folder / "README.md").read_text()


@of_all
def test_timm_has_them(name, tag) -> None:
    ours = create_model(name, pretrained=tag).state_dict()
    for given in (name, f"{name}.{tag}"):
        theirs = timm.create_model(given, pretrained=True)
        assert theirs.pretrained_cfg["tag"] in shipped()[name]
        if theirs.pretrained_cfg["tag"] == tag:
            state = theirs.state_dict()
            assert all(torch.equal(state[key], ours[key]) for key in ours)
            known = create_model(name, pretrained=tag).pretrained_cfg
            assert theirs.pretrained_cfg["mean"] == known["mean"]
    assert f"{name}.{tag}" in timm.list_pretrained(f"{name}.*")
    features = timm.create_model(f"{name}.{tag}", pretrained=True, features_only=True, in_chans=1)
    assert features.model.tokenizer is not None


def test_those_that_are_listed() -> None:
    there = sorted(path.name for path in SHIPPED.glob("*/"))
    assert there == sorted(".".join(both) for both in ALL)
    assert sorted(list_models(pretrained=True)) == sorted({name for name, _ in ALL})


def test_the_package_holds_them(monkeypatch) -> None:
    setuptools = pytest.importorskip("setuptools")
    monkeypatch.chdir(ROOT)
    distribution = setuptools.Distribution()
    distribution.parse_config_files()
    build = distribution.get_command_obj("build_py")
    build.ensure_finalized()
    packed = {
        Path(source, name).relative_to("compact_vit")
        for _, source, _, names in build.data_files
        for name in names
    }
    assert Path("published.json") in packed
    wanted = {f"{name}.{tag}" for name, tag in ALL}
    for folder in wanted:
        for name in ("model.safetensors", "config.json"):
            assert Path("weights", folder, name) in packed
            assert (resources.files("compact_vit") / "weights" / folder / name).is_file()
    assert {path.parts[1] for path in packed if path.parts[0] == "weights"} == wanted


if __name__ == "__main__":  # keeps what the weights say now, after some were put there
    kept = {
        ".".join(both): {
            path.name: [round(value, 5) for value in by_hand(*both, path).tolist()]
            for path in PICTURES
        }
        for both in ALL
    }
    GOLDEN.write_text(f"{json.dumps(kept, indent=1)}\n")
