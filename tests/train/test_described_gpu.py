"""A batch's way, a step and an evaluation on a GPU that is described, not owned.

torch's fake tensors have a device and no values: whatever would lie on two devices is refused, and
so is whatever asks for a value, which on a GPU makes the host wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from compact_vit.data import DataSplits, Pictures
from compact_vit.data.augment import _batch, ops, policies
from compact_vit.train.choices import choose
from compact_vit.train.config import TrainConfig
from compact_vit.train.health import Health
from compact_vit.train.inputs import build_train_batch
from compact_vit.train.metrics import Evaluating
from compact_vit.train.optim import build_optimizer
from compact_vit.train.schedule import build_schedule
from compact_vit.train.state import TrainState, build_state
from compact_vit.train.step import train_step

GPU = torch.device("cuda")
CLASSES = tuple("abcdefghij")


class Generator(torch.Generator):
    """One that says it is the GPU's."""

    device = property(lambda self: GPU)


@pytest.fixture
def gpu(monkeypatch) -> Iterator[FakeTensorMode]:
    """A GPU with bf16 and room for all, on which nothing has a value."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**36, 2**36))
    # what is kept for a GPU is copied there once, as on a real one
    monkeypatch.setattr(_batch, "_numbers", lambda: True)
    yield FakeTensorMode()
    for module in (_batch, ops, policies):  # what they keep for a device is of this one
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


def there(value: Tensor) -> Tensor:
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=GPU)


def moved(module: nn.Module) -> nn.Module:
    """``module`` with its parameters and buffers on the GPU."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(there(parameter), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = there(buffer)
    return module


def state_there(config: TrainConfig, splits: DataSplits, mode: FakeTensorMode) -> TrainState:
    """What ``build_state`` makes, its weights drawn on the CPU, on the GPU."""
    state = build_state(config, splits, torch.device("cpu"))
    with mode:
        moved(state.module)
        if state.ema is not None:
            moved(state.ema.module)
            del state.ema.n_averaged
            state.ema.n_averaged = 0  # it counts on the CPU, where values may be asked for
        state.device, state.augmentation, state.health = GPU, Generator(), Health(GPU)
        state.optimizer = build_optimizer(state.module, config)
        state.schedule = build_schedule(state.optimizer, config, 4)
        state.choices = choose(config, 3, GPU, 8, 8)
    return state


class NoCopies(TorchDispatchMode):
    """Within: nothing is copied to the GPU from memory that is not pinned, which waits for it."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [value for value in args if isinstance(value, Tensor)]
        copies = function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        if copies and {tensors[-1].device.type, result.device.type} == {"cpu", "cuda"}:
            raise AssertionError(f"copied between the host and the GPU: {function}")
        return result


def batch_of(count: int, device: str) -> tuple[Tensor, Tensor]:
    """Pictures and labels."""
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8, device=device)
    return images, torch.zeros(count, dtype=torch.int64, device=device)


#: Before, torch cannot describe a draw of Beta.
OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 15)

EVERYTHING: dict[str, dict[str, Any]] = {
    "AutoAugment": {"recipe": "published-200"},
    "mixing": {"recipe": "published-300", "erasing": 0.5, "mask_ratio": 0.5},
    "TrivialAugment": {"auto_augment": "trivial", "erasing": 0.5, "min_crop_area": 0.5},
    "parts": {"accumulation": 2, "ema": 0.9, "clip_grad": 1.0},
    "half": {"precision": "fp16"},
    "class token": {"model": "vit_lite_6_4", "dropout": 0.1},
    "batch norms": {"model": "resnet_20_cifar"},
    "convolution within the MLPs": {"model": "cct2_2_3x2", "ema": 0.99},
    "masked": {"objective": "mae"},
    "a record": {"recipe": "speedrun"},
}


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("values", EVERYTHING.values(), ids=EVERYTHING)
def test_nothing_waits_and_nothing_lies_elsewhere(gpu, monkeypatch, values) -> None:
    if OLD and values.get("recipe") == "published-300":
        pytest.skip("torch describes no draw of Beta before 2.15")
    config = TrainConfig(
        dataset="cifar10", **{"model": "cct_2_3x2"} | values | {"batch_size": 8, "epochs": 2}
    )
    part = Pictures(torch.zeros(32, 3, 32, 32, dtype=torch.uint8), torch.zeros(32).long())
    splits = DataSplits(part, part, None, CLASSES, (0.0,) * 3, (1.0,) * 3)
    state, batch = state_there(config, splits, gpu), build_train_batch(config, splits)

    def backward(loss: Tensor) -> None:  # autograd would start a GPU's thread
        assert (loss.device.type, loss.requires_grad) == ("cuda", True)
        for parameter in state.module.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(Tensor, "backward", backward)

    def step() -> Tensor:
        x, targets = batch(*batch_of(8, "cuda"), 0, state.augmentation)
        targets = state.objective.targets(x, targets, state.augmentation)
        return train_step(state, config, state.module.train(), x, targets)

    with gpu:
        step()  # makes what is kept on the device
        with NoCopies():
            assert step().device.type == "cuda"
        how = Evaluating(batch.normalize, GPU, state.choices.precision)
        # figures are values, for which it is right to wait once all is computed
        with pytest.raises(DataDependentOutputException):
            state.objective.evaluate(state.evaluated, Pictures(*batch_of(600, "cpu")), how)


def test_waiting_is_noticed(gpu) -> None:
    with gpu:
        there, here = torch.zeros(2, device=GPU), torch.zeros(2)
        with pytest.raises(DataDependentOutputException):
            bool(there.sum().isfinite())
        with NoCopies():
            there.add_(there.to(torch.bfloat16))
            for copy in (lambda: here.to(GPU), lambda: there.copy_(here), lambda: there.cpu()):
                with pytest.raises(AssertionError, match="copied between"):
                    copy()
