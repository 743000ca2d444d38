"""The scripts of ``benchmarks/``: what they print, whom they compare, how they refuse."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from compact_vit import cct_2_3x2, cvt_2_8
from compact_vit.data import DataSplits, Pictures
from compact_vit.errors import UsageError
from compact_vit.models.config import config_from_name
from compact_vit.report import summarize
from compact_vit.train.machine import choose_precision

#: what is chosen on this machine
AUTO, _ = choose_precision("auto", torch.device("cpu"))

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("bench_*.py"))
TINY = ["--model", "cvt_2_8", "--batch-size", "2", "--rounds", "1", "--threads", "1"]
TINY += ["--device", "cpu"]


@pytest.fixture(autouse=True)
def process():
    """A script sets the threads of its process and the global seed: give them back."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture
def script(monkeypatch):
    """Import a file of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def absent(monkeypatch):
    """No peer is installed."""
    for package in ("vit_pytorch", "timm"):
        monkeypatch.setitem(sys.modules, package, None)
        for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, name)


STUB = """
from torch import nn
from .layers import Head

try:
    from timm.models.registry import register_model
except ImportError:
    register_model = None


class {name}(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options, self.register_model = options, register_model
        pixels = options["n_input_channels"] * options["img_size"] ** 2
        self.head = Head(pixels, options["num_classes"])

    def forward(self, x):
        return self.head(x.flatten(1))
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout laid out as the published one, its models a linear map that keeps its options."""
    source = tmp_path / "checkout" / "src"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("from .cct import *\n")
    (source / "layers.py").write_text("from torch.nn import Linear as Head\n")
    for file, name in (("cct", "CCT"), ("cvt", "CVT"), ("vit", "ViTLite")):
        (source / f"{file}.py").write_text(STUB.format(name=name))
    return source.parent


def printed(capsys, module: ModuleType, words: list[str]) -> list[str]:
    status = module.main(words)
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out.splitlines()


def rows(lines: list[str], unit: str) -> dict[str, list[str]]:
    """The table whose title begins with ``unit``: what stands after each name."""
    start = next(i for i, line in enumerate(lines) if line.startswith(unit))
    table = {}
    for line in lines[start + 1 :]:
        if not line:
            break
        name, rest = re.split(r"\s{2,}", line, maxsplit=1)
        table[name] = rest.split() if rest[0].isdigit() else [rest]
    return table


# --- every script


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_needs_no_torch(name):
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{name + '.py'!r}, '--help']\n"
        f"try: runpy.run_path({str(BENCHMARKS / name) + '.py'!r}, run_name='__main__')\n"
        "except SystemExit as done: assert not done.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    paths = ":".join([str(BENCHMARKS), str(BENCHMARKS.parent)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": paths}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--rounds" in done.stdout


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("bench_forward", ["--model", "cvt_2_9x"], "did you mean 'cvt_2_8'?"),
        ("bench_forward", ["--precision", "bf61"], "did you mean 'bf16'?"),
        ("bench_forward", ["--device", "abacus"], "device must be one of this machine's"),
        ("bench_forward", ["--attention-dropout", "1.5"], "attention_dropout must be a prob"),
        ("bench_forward", ["--peer-attention-dropout", "-1"], "attention_dropout must be a prob"),
        ("bench_forward", ["--reference", "nowhere"], "must be a checkout with src/__init__.py"),
        ("bench_forward", ["--all"], "give its checkout, --reference"),
        ("bench_forward", ["--rounds", "0"], "wanted a whole number of at least 1, got '0'"),
        ("bench_train_step", ["--batch-size", "no"], "wanted a whole number of at least 1"),
        ("bench_train_step", ["--memry"], "did you mean '--memory'?"),
        ("bench_train_step", ["--compile", "graphs"], "memory is not told of graphs"),
        ("bench_train_step", ["--model", "cct_2"], "unknown model 'cct_2'"),
        ("bench_epoch", [], "required: --data-dir"),
        ("bench_epoch", ["--data-dir", "nowhere"], "data folder nowhere does not exist"),
        ("bench_epoch", ["--data-dir", ".", "--recipe", "quik"], "did you mean 'quick'?"),
        ("bench_epoch", ["--data-dir", ".", "--limit", "0"], "wanted a whole number of at least 1"),
        ("bench_startup", ["--rounds", "0"], "wanted a whole number of at least 1, got '0'"),
        ("bench_augment", ["--rounds", "0"], "wanted a whole number of at least 1, got '0'"),
        ("bench_augment", ["--data-dir", "nowhere"], "--data-dir must be a folder of pictures"),
    ],
)
def test_bad_input(capsys, script, absent, name, words, said):
    module = script(name)
    try:
        status = module.main(words)
    except SystemExit as done:
        status = done.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert said in captured.err
    assert captured.err.count("\n") == 1


# --- peers side by side


def test_absent_peers_are_said_to_be_absent(capsys, script, absent):
    lines = printed(capsys, script("bench_forward"), TINY)
    assert "1 of " in lines[0]
    assert f"torch {torch.__version__}" in lines[1]
    assert lines[2:5] == [
        "inference, batch 2",
        f"this library: {AUTO}, eager, attention dropout 0.0",
        "the others: fp32, eager, attention dropout 0.1",
    ]
    count = sum(p.numel() for p in cvt_2_8().parameters())
    assert lines[5] == f"cvt_2_8; parameters: compact_vit {count:,}"
    table = rows(lines, "ms a batch")
    assert len(table.pop("compact_vit")) == 5
    assert table == {
        "vit-pytorch CCT": ["not installed"],
        "timm ViT": ["not installed"],
        "published code": ["not given"],
    }


def test_the_table_says_median_spread_and_ratio(capsys, script, absent, checkout, monkeypatch):
    script("bench_forward")
    times = [[0.004, 0.002, 0.003], [0.009, 0.0066, 0.012]]
    monkeypatch.setattr(script("_peers"), "seconds_in_turns", lambda calls, **options: times)
    words = [*TINY, "--reference", str(checkout), "--precision", "bf16"]
    words += ["--attention-dropout", "0", "--peer-attention-dropout", "0.2"]
    lines = printed(capsys, script("bench_forward"), words)
    assert lines[3:5] == [
        "this library: bf16, eager, attention dropout 0.0",
        "the others: fp32, eager, attention dropout 0.2",
    ]
    table = rows(lines, "ms a batch")
    assert table["compact_vit"] == ["3.00", "2.00", "4.00", "3", "1.00x"]
    assert table["published code"] == ["9.00", "6.60", "12.00", "3", "3.00x"]


def test_all_names_the_models_that_are_slower_here(capsys, script, checkout, monkeypatch):
    script("bench_forward")
    given = iter(
        [
            [[0.001], [0.002]],
            # by the median of the turns' ratios (0.5, 0.9, 2), not by the ratio of the medians
            [[0.002, 0.010, 0.003], [0.001, 0.009, 0.006]],
        ]
    )
    names = ["cvt_2_8", "cct_2_7x2", "cct2_2_3x2"]
    monkeypatch.setattr("compact_vit.models.config.named_models", lambda: names)
    monkeypatch.setattr(script("_peers"), "seconds_in_turns", lambda calls, **options: next(given))
    words = [*TINY, "--reference", str(checkout), "--all"]
    lines = printed(capsys, script("bench_forward"), words)
    table = rows(lines, "ms a batch")
    assert table["cvt_2_8"] == ["1.00", "2.00", "2.00x", "2.00x", "2.00x", "1"]
    assert table["cct_2_7x2"] == ["3.00", "6.00", "0.90x", "0.50x", "2.00x", "3"]
    assert lines[-1] == "slower than the published code: cct_2_7x2"


def test_precision_compiling_and_dropouts_reach_whom_they_are_for(script, absent, checkout):
    peers = script("_peers")
    seen = {}

    def make_call(model, x, precision, compile):
        dropout = getattr(model, "options", {}).get("attention_dropout")
        if dropout is None:
            dropout = model.config.attention_dropout
        seen[type(model).__name__] = (tuple(x.shape), precision, compile, dropout)
        return lambda: None

    words = [*TINY, "--reference", str(checkout), "--precision", "bf16", "--compile"]
    words += ["--attention-dropout", "0", "--peer-attention-dropout", "0.2"]
    args = peers.peers_parser("", "").parse_args(words)
    assert peers.compare(args, "nothing", make_call) == ["compact_vit", "published code"]
    assert seen == {
        "CompactTransformer": ((2, 3, 32, 32), "bf16", "on", 0.0),
        "CVT": ((2, 3, 32, 32), "fp32", "off", 0.2),
    }


@pytest.mark.parametrize(
    ("model", "kind", "wanted"),
    [
        (
            "cct_6_3x1",
            "CCT",
            {
                "num_layers": 6, "num_heads": 4, "mlp_ratio": 2, "embedding_dim": 256,
                "kernel_size": 3, "stride": 1, "padding": 1, "n_conv_layers": 1, "img_size": 32,
            },
        ),
        (
            "cct_14_7x2",
            "CCT",
            {
                "num_layers": 14, "num_heads": 6, "mlp_ratio": 3, "embedding_dim": 384,
                "kernel_size": 7, "stride": 2, "padding": 3, "n_conv_layers": 2, "img_size": 224,
            },
        ),
        (
            "vit_lite_2_8",
            "ViTLite",
            {
                "num_layers": 2, "num_heads": 2, "mlp_ratio": 1, "embedding_dim": 128,
                "kernel_size": 8, "img_size": 32,
            },
        ),
    ],
)  # fmt: skip
def test_the_published_model_is_asked_for_as_published(
    script, checkout, monkeypatch, model, kind, wanted
):
    registry = ModuleType("timm.models.registry")
    registry.register_model = print
    monkeypatch.setitem(sys.modules, "timm.models.registry", registry)
    peer = script("_peers").published(config_from_name(model), checkout)
    assert type(peer).__name__ == kind
    always = {
        "num_classes": 10, "n_input_channels": 3, "positional_embedding": "learnable",
        "dropout": 0.0, "attention_dropout": 0.1, "stochastic_depth": 0.1,
    }  # fmt: skip
    assert peer.options == {**wanted, **always}
    assert peer.register_model is None  # its models stay out of timm's table
    assert sys.modules["timm.models.registry"] is registry


def test_a_checkout_that_does_not_import_is_refused_in_one_line(script, checkout):
    (checkout / "src" / "__init__.py").write_text("import no_such_package\n")
    with pytest.raises(UsageError, match="cannot be imported: No module named 'no_such_package'"):
        script("_peers").published(config_from_name("cct_2_3x2"), checkout)


def test_vit_pytorch_is_asked_for_the_same_model(script, monkeypatch):
    package, module = ModuleType("vit_pytorch"), ModuleType("vit_pytorch.cct")
    module.CCT = dict
    monkeypatch.setitem(sys.modules, "vit_pytorch", package)
    monkeypatch.setitem(sys.modules, "vit_pytorch.cct", module)
    build = script("_peers").vit_pytorch
    assert build(config_from_name("cct_7_3x2", num_classes=100, attention_dropout=0.0), None) == {
        "img_size": (32, 32), "embedding_dim": 256, "n_input_channels": 3, "n_conv_layers": 2,
        "kernel_size": 3, "stride": 1, "padding": 1, "num_layers": 7, "num_heads": 4,
        "mlp_ratio": 2.0, "num_classes": 100, "positional_embedding": "learnable",
        "dropout_rate": 0.0, "attention_dropout": 0.0, "stochastic_depth_rate": 0.1,
    }  # fmt: skip
    assert build(config_from_name("cvt_7_4"), None) == "has no such model"


def test_the_published_code_has_no_cct2(script, checkout) -> None:
    peers = script("_peers")
    assert peers.published(config_from_name("cct2_2_3x2"), checkout) == "has no such model"


@pytest.mark.parametrize(
    ("model", "tokens"), [("cct_2_3x1", 256), ("cct_2_3x2", 64), ("vit_lite_2_8", 16)]
)
def test_the_plain_vit_has_as_many_tokens(script, model, tokens):
    pytest.importorskip("timm")
    vit = script("_peers").timm_vit(config_from_name(model), None)
    assert vit.patch_embed.num_patches == tokens
    assert (vit.embed_dim, len(vit.blocks), vit.blocks[0].attn.num_heads) == (128, 2, 2)
    assert vit(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


# --- a training step


def test_a_step_is_what_is_said(script):
    torch.manual_seed(0)
    model, plain = nn.Linear(4, 3), nn.Linear(4, 3)
    plain.load_state_dict(model.state_dict())
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    step = script("_common").train_step(model, torch.optim.AdamW(model.parameters()), "fp32", "off")
    optimizer = torch.optim.AdamW(plain.parameters())
    for _ in range(3):
        step(x, y)
        optimizer.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        optimizer.step()
    assert torch.equal(model.weight, plain.weight)
    assert model.weight.grad is None


def test_our_step_takes_the_parts_that_training_takes(script, monkeypatch):
    """32 pictures of CCT-6/3x1 are 32 MiB of one activation: two parts, one gradient."""
    from compact_vit.train import choices

    x, y = torch.randn(6, 3, 32, 32), torch.randint(10, (6,))
    weights = []
    for limit, parts in ((choices.RETURNED, [6]), (4 * 3 * 64 * 32 * 32 + 1, [3, 3])):
        monkeypatch.setattr(choices, "RETURNED", limit)
        torch.manual_seed(0)
        model, seen = cct_2_3x2(drop_path=0.0, attention_dropout=0.0).double(), []
        model.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(len(args[0])))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        script("_common").train_step(model, optimizer, "fp32", "off")(x.double(), y)
        assert seen == parts
        weights.append(model.state_dict())
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-5, atol=1e-7)


def test_the_others_step_as_torch_gives_it(script):
    module = script("bench_train_step")
    ours, other = module.adamw(cct_2_3x2()), module.adamw(nn.Linear(2, 2))
    assert {group["weight_decay"] for group in ours.param_groups} == {0.0, 0.03}
    (group,) = other.param_groups
    assert (type(other), group["lr"], group["fused"]) == (torch.optim.AdamW, 5e-4, None)


def test_training_step(capsys, script, absent, checkout, monkeypatch):
    module = script("bench_train_step")
    measured = iter([[20.0], [50.0]])
    monkeypatch.setattr(module, "in_own_process", lambda name, args: next(measured))
    lines = printed(capsys, module, [*TINY, "--reference", str(checkout)])
    assert lines[2] == "training step, batch 2"
    assert len(rows(lines, "ms a batch")["published code"]) == 5
    assert rows(lines, "MB above rest") == {
        "compact_vit": ["20.00", "20.00", "20.00", "1", "1.00x"],
        "published code": ["50.00", "50.00", "50.00", "1", "2.50x"],
    }
    lines = printed(capsys, module, [*TINY, "--no-memory", "--precision", "bf16"])
    assert not any(line.startswith("MB") for line in lines)


def test_graphs_that_torch_leaves_out_are_refused(script, monkeypatch):
    """Also those of a second model of a class that was compiled before."""
    from torch._dynamo.utils import counters

    def leaving_out(graph, inputs):
        counters["inductor"]["cudagraph_skips"] += left_out
        return graph.forward

    compiler = torch.compile
    monkeypatch.setattr(
        torch,
        "compile",
        lambda model, *, dynamic, mode: compiler(model, backend=leaving_out, dynamic=dynamic),
    )
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
    called, x = script("_common").called, torch.ones(1, 2)
    left_out = 1
    for _ in range(2):
        with pytest.raises(UsageError, match=r"^--compile graphs: torch leaves them out here: "):
            called(nn.Linear(2, 2), "graphs")(x)
    left_out, model = 0, nn.Linear(2, 2)
    torch.testing.assert_close(called(model, "graphs")(x), model(x))


def test_graphs_that_fail_are_one_line(script, monkeypatch):
    def fails(x):
        raise torch._dynamo.exc.TorchDynamoException("no such back end")

    monkeypatch.setattr(torch, "compile", lambda model, **options: fails)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
    with pytest.raises(UsageError, match="do without it: no such back end"):
        script("_common").called(nn.Linear(2, 2), "graphs")(torch.ones(1, 2))


def test_memory_is_that_of_a_step_which_compiles_and_records_nothing(script, monkeypatch):
    module, calls = script("bench_train_step"), []
    monkeypatch.setattr(module, "build_call", lambda *given: (lambda: calls.append(1), 0))
    monkeypatch.setattr(module, "PROCESS", Path("/nowhere"))
    args = script("_peers").peers_parser("", "").parse_args(TINY)
    assert module.peak_memory("compact_vit", args) is None
    assert len(calls) == 3


def test_the_memory_of_a_step_is_that_of_its_activations(script):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("nobody counts resident memory here")
    module = script("bench_train_step")
    words = ["--model", "cct_2_3x2", "--batch-size", "127", "--threads", "1", "--device", "cpu"]
    args = script("_peers").peers_parser("", "").parse_args([*words, "--attention-dropout", "0"])
    (measured,) = module.in_own_process("compact_vit", args)
    activations = (
        127 * summarize(cct_2_3x2(attention_dropout=0.0), (3, 32, 32)).activation_megabytes
    )
    # attention's products, which the report counts, are not kept; scratch, which it does not, is
    assert 0.6 * activations < measured < 1.6 * activations


# --- a whole epoch


def test_epoch(capsys, script, picture_folder):
    words = [*TINY, "--data-dir", str(picture_folder), "--limit", "8"]
    lines = printed(capsys, script("bench_epoch"), words)
    assert lines[2] == f"cvt_2_8, {AUTO}, eager, batch 2, recipe quick"
    assert re.fullmatch(r"start of 48 pictures: first [\d.]+ s, second [\d.]+ s", lines[3])
    assert lines[4] == "8 pictures an epoch"
    table = rows(lines, "pictures/s")
    assert list(table) == ["step on a fixed batch", "whole epoch", "its batches alone"]
    assert all(len(row) == 5 for row in table.values())
    assert re.fullmatch(r"data cost -?[\d.]+% of the epoch \(-?[\d.]+ to -?[\d.]+\)", lines[-2])


def test_the_three_ways_see_what_they_say(script, monkeypatch):
    module = script("bench_epoch")
    steps = []
    monkeypatch.setattr(module, "train_step", lambda *given: lambda x, y: steps.append((x, y)))
    from compact_vit.train.config import TrainConfig

    labels = torch.arange(14) % 7
    images = torch.arange(14, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32) * 10
    part = Pictures(images.contiguous(), labels)
    splits = DataSplits(part, part, None, tuple("abcdefg"), (0.0,) * 3, (1 / 255,) * 3)
    config = TrainConfig(
        dataset="folder", data_dir=".", model="cvt_2_8", batch_size=4, crop_padding=0
    )
    ways, seen, size = module.three_ways(config, splits, torch.device("cpu"))
    assert (seen, size) == (12, 4)
    ways[module.BARE]()
    assert len(steps) == 3
    assert all(x is steps[0][0] for x, _ in steps)
    steps.clear()
    ways[module.DATA]()
    assert steps == []
    ways[module.EPOCH]()
    values = torch.cat([x[:, 0, 0, 0] for x, _ in steps])
    assert len(values.round().unique()) == 12  # every picture once, two left over
    assert torch.equal(torch.cat([y for _, y in steps]), (values / 10).round().long() % 7)


def test_a_limit_takes_pictures_of_all_classes(script):
    part = Pictures(torch.zeros(36, 3, 2, 2, dtype=torch.uint8), torch.arange(36) // 12)
    splits = DataSplits(part, part, None, ("a", "b", "c"), (0.0,) * 3, (1.0,) * 3)
    limited = script("bench_epoch").limited
    assert limited(splits, 6).train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert limited(splits, None) is limited(splits, 36) is splits


# --- augmentation


def test_augment(capsys, script, monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.setattr(script("bench_augment"), "find_spec", lambda name: None)
    words = ["--batch-size", "2", "--rounds", "1", "--seconds", "0.01", "--device", "cpu"]
    table = rows(printed(capsys, script("bench_augment"), words), "pictures/s")
    assert table.pop("kornia, one sub-policy per batch") == ["not installed"]
    assert len(table) == 3
    assert all(len(row) == 5 for row in table.values())
