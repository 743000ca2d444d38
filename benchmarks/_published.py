"""An epoch of the published code's recipe, as its script trains.

Letters: B batch, C channels, H x W pixels, N pictures.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from _peers import published
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from compact_vit.data.pictures import DataSplits, Pictures
from compact_vit.errors import UsageError
from compact_vit.models.config import ModelConfig
from compact_vit.timing import finish
from compact_vit.train.config import TrainConfig
from compact_vit.train.model import model_config


class Transformed(Dataset):
    """Pictures one by one as PIL's, transformed in a worker: ``uint8 [C,H,W]`` and its label."""

    def __init__(self, pictures: Pictures, transform: Callable[..., Tensor]) -> None:
        images = pictures.at(torch.arange(len(pictures)))
        self.arrays = images.permute(0, 2, 3, 1).contiguous().numpy()  # [N,H,W,C]
        self.labels = pictures.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def loaders(config: TrainConfig, splits: DataSplits, workers: int) -> tuple[DataLoader, DataLoader]:
    """Training and evaluation, whose workers give bytes: they become floats on the device."""
    augment = T.Compose(
        [
            T.RandomCrop(splits.train.images.shape[2:], padding=config.crop_padding),
            T.RandomHorizontalFlip(config.flip),
            T.AutoAugment(T.AutoAugmentPolicy.CIFAR10),
            T.PILToTensor(),
        ]
    )
    size = min(config.batch_size, len(splits.train))
    how = {"batch_size": size, "num_workers": workers, "persistent_workers": workers > 0}
    evaluated = splits.test if splits.val is None else splits.val
    return (
        DataLoader(Transformed(splits.train, augment), shuffle=True, drop_last=True, **how),
        DataLoader(Transformed(evaluated, T.PILToTensor()), **how),
    )


def published_epoch(
    config: TrainConfig, splits: DataSplits, reference: Path, workers: int, device: torch.device
) -> Callable[[], float]:
    """A call that trains, evaluates and saves the published model once over, and says its seconds.

    As in the script: AdamW, label smoothing, fp16 with a scaled loss on a GPU, the loss asked for
    and the device waited for in every step. The learning rate stays as it is, which takes no time.
    """
    own = model_config(config, len(splits.classes), len(splits.mean))
    assert isinstance(own, ModelConfig)
    model = published(own, reference)
    if isinstance(model, str):
        raise UsageError(f"the published code {model}")
    model.to(device)
    training, evaluation = loaders(config, splits, workers)
    mean, std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1) * 255
        for values in (splits.mean, splits.std)
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    mixed = device.type == "cuda"
    scaler = torch.amp.GradScaler(device.type, enabled=mixed)

    def batches(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in loader:
            x = images.to(device, non_blocking=True).float().sub_(mean).div_(std)  # [B,C,H,W]
            yield x, labels.to(device, non_blocking=True)

    def answer(x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.float16, enabled=mixed):
            return model(x)

    def epoch() -> float:
        begin = time.perf_counter()
        model.train()
        for x, labels in batches(training):
            loss = F.cross_entropy(answer(x), labels, label_smoothing=config.label_smoothing)
            loss.item()
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            finish(device)
        model.eval()
        with torch.no_grad():
            for x, labels in batches(evaluation):
                logits = answer(x)
                F.cross_entropy(logits, labels).item()
                (logits.argmax(dim=1) == labels).sum().item()
                finish(device)
        with tempfile.TemporaryFile() as file:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        return time.perf_counter() - begin

    def tuned_epoch() -> float:
        with tuned():
            return epoch()

    return tuned_epoch


@contextmanager
def tuned() -> Iterator[None]:
    """Within: cuDNN tries its algorithms, as the script lets it."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
