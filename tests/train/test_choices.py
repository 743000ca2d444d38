"""What `auto` chooses on which machine: the machines are described, not owned."""

from __future__ import annotations

import pytest
import torch

from compact_vit import create_model
from compact_vit.models.arithmetic import largest_activation
from compact_vit.models.config import config_from_name, named_models
from compact_vit.train import choices
from compact_vit.train.choices import choose, choose_compile, choose_parts
from compact_vit.train.config import TrainConfig
from compact_vit.train.loop import train
from compact_vit.train.machine import choose_precision
from compact_vit.train.metrics import autocast

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.fixture
def cpu_with(monkeypatch):
    """A CPU that has just these instructions."""

    def have(*names):
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True), raising=False
        )

    return have


@pytest.fixture
def gpu_of(monkeypatch):
    """A GPU of this compute capability."""

    def be(major, minor):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))

    return be


@pytest.mark.parametrize(
    ("instructions", "chosen"),
    [
        (("avx2",), "fp32"),
        (("avx512_f", "avx512_vnni"), "fp32"),  # wide, but without multiplication in bf16
        (("avx512_f", "avx512_bf16"), "bf16"),
        (("amx_bf16",), "bf16"),
    ],
)
def test_precision_of_a_cpu(cpu_with, instructions, chosen) -> None:
    cpu_with(*instructions)
    assert choose_precision("auto", CPU) == (chosen, "")
    assert choose_precision("fp32", CPU) == ("fp32", "")
    name, note = choose_precision("bf16", CPU)
    assert name == "bf16"  # what is asked for is done
    assert bool(note) == (chosen == "fp32")
    assert "\n" not in note
    said = f"precision fp16: a CPU trains slowly in it, and {chosen} would be faster"
    assert choose_precision("fp16", CPU) == ("fp16", said)


@pytest.mark.parametrize(("capability", "chosen"), [((7, 5), "fp32"), ((8, 0), "bf16")])
def test_precision_of_a_gpu(gpu_of, capability, chosen) -> None:
    gpu_of(*capability)
    name, note = choose_precision("auto", CUDA)
    assert name == chosen
    assert ("--precision fp16" in note) == (chosen == "fp32")
    assert choose_precision("fp16", CUDA) == ("fp16", "")


def test_precision_elsewhere() -> None:
    assert choose_precision("auto", MPS) == ("fp32", "")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_autocast_follows(cpu_with, precision) -> None:
    cpu_with(*["avx512_bf16"] * (precision == "bf16"))
    with autocast(CPU, "auto"):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
def test_compiling_is_for_long_runs_on_a_gpu(monkeypatch, device) -> None:
    monkeypatch.setattr(choices.util, "find_spec", lambda name: name)
    for steps in (1, choices.LONG_ENOUGH - 1, choices.LONG_ENOUGH):
        long_on_gpu = device is CUDA and steps >= choices.LONG_ENOUGH
        assert choose_compile("auto", device, steps) == (long_on_gpu, "")
        assert choose_compile("off", device, steps) == (False, "")


def test_compiling_without_a_compiler_says_so(monkeypatch) -> None:
    monkeypatch.setattr(choices.util, "find_spec", lambda name: None)
    monkeypatch.setattr(choices.shutil, "which", lambda name: None)
    assert choose_compile("on", CUDA, 1) == (False, "not compiled: triton is not installed")
    assert choose_compile("on", CPU, 1) == (
        False,
        "not compiled: there is no C++ compiler (CXX, g++ or clang++)",
    )
    monkeypatch.setattr(choices.shutil, "which", lambda name: name == "mine")
    monkeypatch.setenv("CXX", "mine")
    assert choose_compile("on", CPU, 1) == (True, "")


@pytest.mark.parametrize("name", named_models())
def test_the_largest_activation_is_the_largest(name) -> None:
    """Against the tensors that really come out of the modules."""
    config = config_from_name(name, img_size=32)
    sizes = []
    model = create_model(name, img_size=32).eval()
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            module.register_forward_hook(lambda module, args, out: sizes.append(out.numel()))
    with torch.inference_mode():
        model(torch.randn(1, 3, 32, 32))
    assert largest_activation(config) == max(sizes)


def test_parts_by_hand() -> None:
    """CCT-6/3x1's convolution gives 256 channels of 32 x 32: 1 MiB a picture in float32."""
    config = config_from_name("cct_6_3x1")
    assert [choose_parts(config, n, CPU) for n in (1, 16, 31, 32, 128)] == [1, 1, 1, 2, 8]
    assert choose_parts(config, 128, CUDA) == 1
    large = config_from_name("cct_14_7x2", img_size=1024)
    assert choose_parts(large, 3, CPU) == 2  # never parts of nothing


def test_the_summary_says_which_attention_ran(tiny, tmp_path, capsys) -> None:
    config = tiny(epochs=1, recipe="published-200", precision="fp32")
    result = train(config, output=tmp_path / "recipe")
    assert result.config.attention_dropout == 0.1
    assert result.summary["attention"] == "fused"
    assert result.summary["attention_dropout"] == 0.0
    assert {b.attn.attention_dropout for b in result.model.blocks} == {0.0}
    assert "attention dropout of 0.1 is left out" in capsys.readouterr().err

    config = tiny(epochs=1, recipe="published-200", attention_dropout=0.1, precision="fp32")
    result = train(config, output=tmp_path / "asked")
    assert result.summary["attention"] == "products"
    assert result.summary["attention_dropout"] == 0.1
    assert {b.attn.attention_dropout for b in result.model.blocks} == {0.1}
    assert "left out" not in capsys.readouterr().err


@pytest.mark.parametrize("img_size", [32, 40])  # 256 and 400 tokens
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_attention_told_is_the_attention_run(precision, img_size, monkeypatch) -> None:
    config = TrainConfig(
        dataset="cifar10", model="cct_6_3x1", img_size=img_size, precision=precision
    )
    decided = choose(config, 3, CPU, batch_size=2, steps=1)
    fused, calls = torch.nn.functional.scaled_dot_product_attention, []
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: calls.append(1) or fused(*args, **kwargs),
    )
    model = create_model("cct_2_3x1", img_size=img_size)
    with autocast(CPU, precision):
        model(torch.randn(2, 3, img_size, img_size))
    assert decided.attention == ("fused" if calls else "products")


def test_defaults_choose_for_themselves() -> None:
    config = TrainConfig()
    assert (config.precision, config.compile, config.accumulation) == ("auto",) * 3
    assert (TrainConfig(compile=True).compile, TrainConfig(compile=False).compile) == ("on", "off")
