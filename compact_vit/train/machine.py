"""The machine a run is on: which device, in which precision, its description, versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

import torch

from .._version import __version__
from ..errors import UsageError


def pick_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is the accelerator if there is one, else the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # each kind has its own
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise UsageError(
            f"device must be one of this machine's, got {name!r} ({reason:.120}): try 'cpu' or "
            "'auto'"
        ) from None
    if device.type == "meta":
        raise UsageError("device must be one that computes, got 'meta': try 'cpu' or 'auto'")
    return device


@contextmanager
def learning(deterministic: bool) -> Iterator[None]:
    """Within: gradients, whatever the caller has switched off, and the same bits if asked for.

    The caller's generator of random numbers on the CPU is afterwards as it was. ``UsageError``
    where torch would make weights of another type than float32.
    """
    dtype = torch.get_default_dtype()
    if dtype != torch.float32:
        raise UsageError(
            f"torch's default dtype must be float32 to train, got {dtype}: give it back by "
            "torch.set_default_dtype; mixed precision is --precision"
        )
    own_draws = torch.random.fork_rng(devices=[])
    with torch.inference_mode(False), torch.enable_grad(), own_draws, exactly(deterministic):
        yield


@contextmanager
def exactly(wanted: bool) -> Iterator[None]:
    """Within: the same bits in every run on the same machine, also on a GPU, if ``wanted``.

    torch refuses operations of which it has no such form, and is slower. On a CPU nothing changes.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's condition
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def choose_precision(wanted: str, device: torch.device) -> tuple[str, str]:
    """The precision, and a line where what was wanted is slow here or what is fast is missing.

    ``auto`` is bf16 where the hardware multiplies in it, else fp32. fp16 has to be asked for.
    """
    native = multiplies_bf16(device)
    if wanted == "auto":
        if device.type == "cuda" and not native:
            return "fp32", "precision fp32: this GPU has no bf16 (--precision fp16 may be faster)"
        return ("bf16" if native else "fp32"), ""
    if wanted == "bf16" and not native and device.type == "cpu":
        return wanted, "precision bf16: this CPU only emulates it, and fp32 would be faster"
    if wanted == "fp16" and device.type == "cpu":
        faster = "bf16" if native else "fp32"
        return wanted, f"precision fp16: a CPU trains slowly in it, and {faster} would be faster"
    return wanted, ""


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies in bf16; a CPU without it emulates it, slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        has = torch.cpu.get_capabilities()
        return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def hardware(device: torch.device) -> str:
    """One line about what computes."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    return f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """What a result depends on."""
    return {
        "compact_vit": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": metadata.version("torchvision"),
        "timm": metadata.version("timm"),
        "numpy": metadata.version("numpy"),
    }
