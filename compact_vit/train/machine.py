"""The machine a run is on: which device, how it is described, which versions."""

from __future__ import annotations

import os
import platform
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
    except (RuntimeError, AssertionError, ImportError):  # each kind of device has its own
        raise UsageError(
            f"device must be one of this machine's, got {name!r}: try 'cpu' or 'auto'"
        ) from None
    if device.type == "meta":
        raise UsageError("device must be one that computes, got 'meta': try 'cpu' or 'auto'")
    return device


def hardware(device: torch.device) -> str:
    """One line about what computes."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    return f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
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
        "numpy": metadata.version("numpy"),
    }
