"""What ``auto`` means on a machine, decided by rule: the same machine always chooses the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import util

import torch
from torch import Tensor, nn

from ..data.packing import cache_dir
from ..layers.attention import FEW_TOKENS
from ..models.arithmetic import largest_activation, tokens
from ..models.config import ModelConfig
from .config import TrainConfig
from .machine import choose_precision
from .metrics import autocast
from .model import model_config

#: Compiling takes a minute or two; steps from which a GPU gets them back.
LONG_ENOUGH = 5_000

#: Bytes from which the C library of Linux returns a freed block to the system at once, so that the
#: next batch pays for touching new pages; smaller ones it keeps for reuse.
RETURNED = 32 * 2**20

#: Calls until a CUDA graph is replayed: one warms up, one records, one replays.
RECORDED = 3


@dataclass(frozen=True)
class Choices:
    """How a run is computed on its machine."""

    precision: str
    """fp32, or bf16 or fp16 mixed precision."""
    compile: bool
    graphs: bool
    """Whether what is compiled is recorded once and replayed: CUDA graphs."""
    parts: int
    """What a batch is computed in, one after the other, their gradients summed."""
    attention_dropout: float | None
    attention: str
    """``fused``, or ``products``: one after the other, the CPU's way of dropping weights, and of
    training few tokens in bf16; or ``unknown``, a baseline's."""
    notes: tuple[str, ...]
    """What a person should know: a line each."""


def choose(
    config: TrainConfig, in_chans: int, device: torch.device, batch_size: int, steps: int
) -> Choices:
    """The choices of a run of ``steps`` steps on ``batch_size`` pictures."""
    precision, precision_note = choose_precision(config.precision, device)
    compile, compile_note = choose_compile(str(config.compile), device, steps)
    graphs, graphs_note = choose_graphs(str(config.compile), device, compile)
    notes = [note for note in (precision_note, compile_note, graphs_note) if note]
    dropout = config.attention_dropout
    if device.type == "cpu" and dropout and not config.cpu_attention_dropout:
        notes.append(
            f"the recipe's attention dropout of {dropout:g} is left out: on a CPU it would slow "
            "attention down (--cpu-attention-dropout keeps it)"
        )
        dropout = 0.0
    model = model_config(config, in_chans=in_chans)
    batch_norm = not isinstance(model, ModelConfig) or model.tokenizer_norm
    if isinstance(config.accumulation, int):
        parts = min(config.accumulation, batch_size)
        if parts < config.accumulation:
            notes.append(
                f"accumulation is {parts}, not {config.accumulation}: a step has no more pictures"
            )
        if parts > 1 and batch_norm:
            notes.append("batch normalisation, if the model has it, sees each part by itself")
    elif isinstance(model, ModelConfig):
        parts = choose_parts(model, batch_size, device, training=True)
    else:  # whole, too, for it may have batch norms
        parts = 1
    attention = "unknown"
    if isinstance(model, ModelConfig):
        few = precision == "bf16" and tokens(model) <= FEW_TOKENS
        attention = "products" if device.type == "cpu" and (dropout or few) else "fused"
    return Choices(
        precision=precision,
        compile=compile,
        graphs=graphs,
        parts=parts,
        attention_dropout=dropout,
        attention=attention,
        notes=tuple(notes),
    )


def choose_compile(wanted: str, device: torch.device, steps: int) -> tuple[bool, str]:
    """Whether to compile, and a line where that was wanted and cannot be.

    ``auto`` compiles long runs on a GPU. On a CPU it gave nothing where it was measured
    (benchmarks/RESULTS.md), so there it has to be asked for.
    """
    if wanted == "off" or (wanted == "auto" and (device.type != "cuda" or steps < LONG_ENOUGH)):
        return False, ""
    if device.type == "cuda" and util.find_spec("triton") is None:
        return False, "not compiled: triton is not installed"
    if device.type == "cpu" and not any(map(shutil.which, _cpp_compilers())):
        return False, "not compiled: there is no C++ compiler (CXX, g++ or clang++)"
    return True, ""


def choose_graphs(wanted: str, device: torch.device, compile: bool) -> tuple[bool, str]:
    """Whether what is compiled is replayed as CUDA graphs, and a line where there are none.

    ``auto`` leaves them out until they have been measured.
    """
    if wanted != "graphs" or not compile:
        return False, ""
    if device.type != "cuda":
        return False, f"compiled without CUDA graphs, which device {device.type} has not"
    return True, ""


def choose_parts(
    model: ModelConfig, batch_size: int, device: torch.device, *, training: bool = False
) -> int:
    """The parts a batch is computed in: on a CPU as many as keep every activation reusable.

    A power of two, at most ``batch_size``. Accelerators take a batch whole, and so, in training,
    do models with batch norms, which look at all of it.
    """
    parts = 1
    if device.type == "cpu" and not (training and model.tokenizer_norm):
        largest = 4 * batch_size * largest_activation(model)  # bytes in float32
        while largest / parts >= RETURNED and 2 * parts <= batch_size:
            parts *= 2
    return parts


def compile_model(model: nn.Module, *, graphs: bool = False) -> nn.Module:
    """``model`` by ``torch.compile``, made anew for each shape; what is made is kept on disk.

    With ``graphs`` each shape is recorded as CUDA graphs, which want to hear ``before_replay``.
    Then all that was compiled before is forgotten: torch would take it over for a model of the
    same class, and says only while it compiles that it leaves graphs out.
    """
    # several models and shapes share one forward: at the usual limit of 8 they would run eager
    torch._dynamo.config.recompile_limit = 256
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "inductor"))
    if graphs:
        torch.compiler.reset()
        return torch.compile(model, dynamic=False, mode="reduce-overhead")  # type: ignore[return-value]
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]


def before_replay(model: nn.Module, parts: int) -> None:
    """Make way for the CUDA graphs of another forward pass of ``model``, one of so many ``parts``.

    A replay writes over all that the last one gave, gradients too, which parameters without any
    would take for their own. Those of several parts add up in memory of their own instead: in the
    graphs' they come out wrong, or are refused (pytorch's issues 96693 and 169545).
    """
    torch.compiler.cudagraph_mark_step_begin()
    if parts > 1:
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


def rehearse(
    forward: nn.Module,
    x: Tensor,
    precision: str,
    *,
    call: Callable[[Tensor], Tensor] | None = None,
    graphs: bool = False,
) -> str:
    """Compile ``forward`` for ``x [B,C,H,W]``, both ways, leaving no trace; what failed, if it did.

    It is called by ``call`` where it takes more than pictures. Afterwards the global generators
    are where they were, the buffers are as they were (batch normalisation counts what it sees), and
    no parameter has a gradient. That torch leaves out ``graphs`` it was asked for is a failure too.
    """
    devices = [x.device] if x.device.type == "cuda" else []
    kept = [(buffer, buffer.clone()) for buffer in forward.buffers()]
    skipped = skipped_graphs() if graphs else 0
    answer = forward if call is None else call  # one compiled has no truth value
    try:
        with torch.random.fork_rng(devices):
            for _ in range(RECORDED if graphs else 1):
                forward.zero_grad(set_to_none=True)
                if graphs:
                    before_replay(forward, parts=1)
                with autocast(x.device, precision):
                    said = answer(x)
                said.float().sum().backward()
    except Exception as error:  # every backend of every compiler has its own
        return " ".join(str(error).split())[:200]
    finally:
        forward.zero_grad(set_to_none=True)
        for buffer, before in kept:
            buffer.copy_(before)
    return "torch left them out" if graphs and skipped_graphs() > skipped else ""


def skipped_graphs() -> int:
    """How often torch has left CUDA graphs out that it was asked for, in silence."""
    from torch._dynamo.utils import counters

    return int(counters["inductor"]["cudagraph_skips"])


def _cpp_compilers() -> tuple[str, ...]:
    own = os.environ.get("CXX")
    return (own,) if own else ("g++", "clang++")
