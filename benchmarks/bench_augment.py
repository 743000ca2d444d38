"""How many pictures a second are augmented for training, beside the usual ways to do it?

AutoAugment (CIFAR-10 policy), random crop with padding 4, horizontal flip and normalisation; the
peers take turns within one run:

    python benchmarks/bench_augment.py --batch-size 512 --threads 1
    python benchmarks/bench_augment.py --batch-size 4096 --device cuda
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from compact_vit.cli import Parser, program
from compact_vit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PACKAGES = ("torch", "torchvision", "pillow", "kornia", "compact-vit")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}

Run = Callable[[], object]


@program
def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("bench-augment", description=__doc__.split("\n\n")[0])
    parser.add_argument("--batch-size", type=int, default=512, help="pictures a batch (512)")
    parser.add_argument("--size", type=int, default=32, help="height and width in pixels (32)")
    parser.add_argument("--rounds", type=int, default=7, help="turns each peer takes (7)")
    parser.add_argument("--seconds", type=float, default=0.5, help="least time of a turn (0.5)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--device", default="cpu", help="where batches live: cpu, cuda (cpu)")
    parser.add_argument("--data-dir", type=Path, help="folder of pictures (smoothed noise)")
    args = parser.parse_args(argv)
    for field in ("batch_size", "size", "rounds", "threads"):
        if getattr(args, field) < 1:
            option = field.replace("_", "-")
            raise UsageError(f"--{option} must be at least 1, got {getattr(args, field)}")

    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.device != "cpu" and not torch.cuda.is_available():
        raise UsageError(f"--device {args.device}: no such device here, use --device cpu")
    images = read_folder(args) if args.data_dir else smoothed_noise(args)
    print(hardware(args))
    print("  ".join(f"{name} {installed(name)}" for name in PACKAGES))
    kind = f"pictures of {args.data_dir.name}" if args.data_dir else "smoothed noise"
    print(f"{kind}, {list(images.shape)}, {args.rounds} rounds in turns of {args.seconds} s\n")
    peers = {
        "PIL + torchvision, one by one": pil(images),
        "torchvision v2 tensors, one by one": tensors(images),
        "kornia, one sub-policy per batch": kornia(images.to(args.device)),
        "compact_vit, whole batch": ours(images.to(args.device)),
    }
    report(peers, len(images), args.rounds, args.seconds, args.device)
    return 0


def pil(images: Tensor) -> Run:
    """What a torchvision data set and a DataLoader worker do for each picture."""
    import torch
    from PIL import Image
    from torchvision import transforms as T

    transform = T.Compose(
        [
            T.RandomCrop(images.shape[2], padding=4),
            T.RandomHorizontalFlip(),
            T.AutoAugment(T.AutoAugmentPolicy.CIFAR10),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    return lambda: torch.stack([transform(Image.fromarray(array)) for array in arrays])


def tensors(images: Tensor) -> Run:
    import torch
    from torchvision.transforms import v2 as T

    transform = T.Compose(
        [
            T.RandomCrop(images.shape[2], padding=4),
            T.RandomHorizontalFlip(),
            T.AutoAugment(T.AutoAugmentPolicy.CIFAR10),
            T.ToDtype(torch.float32, scale=True),
            T.Normalize(MEAN, STD),
        ]
    )
    return lambda: torch.stack([transform(image) for image in images])


def kornia(images: Tensor) -> Run | None:
    if not find_spec("kornia"):
        return None
    import torch
    from kornia import augmentation as K

    transform = torch.nn.Sequential(
        K.RandomCrop(tuple(images.shape[2:]), padding=4),
        K.RandomHorizontalFlip(),
        K.auto.AutoAugment("cifar10"),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    ).to(images.device)
    return lambda: transform(images.float() / 255)


def ours(images: Tensor) -> Run:
    import torch

    from compact_vit.data import augment as A

    transform = A.Compose(
        [
            A.RandomCrop(4),
            A.RandomHorizontalFlip(),
            A.AutoAugment("cifar10"),
            A.Normalize(MEAN, STD),
        ]
    )
    generator = torch.Generator(images.device).manual_seed(0)
    return lambda: transform(images, generator)


def report(
    peers: dict[str, Run | None], pictures: int, rounds: int, seconds: float, device: str
) -> None:
    """Take turns, then print each peer's median, spread and ratio to the first."""
    speeds: dict[str, list[float]] = {name: [] for name in peers}
    for run in peers.values():
        if run:
            run()  # tables and kernels are made once
    for _ in range(rounds):
        for name, run in peers.items():
            if run:
                speeds[name].append(pictures_per_second(run, pictures, seconds, device))
    base = statistics.median(next(iter(speeds.values())))
    print(f"{'pictures/s':<36}{'median':>11}{'min':>11}{'max':>11}{'n':>4}{'ratio':>8}")
    for name, values in speeds.items():
        if not values:
            print(f"{name:<36}{'not installed':>13}")
            continue
        middle = statistics.median(values)
        numbers = f"{middle:>11,.0f}{min(values):>11,.0f}{max(values):>11,.0f}{len(values):>4}"
        print(f"{name:<36}{numbers}{middle / base:>7.1f}x")


def pictures_per_second(run: Run, pictures: int, seconds: float, device: str) -> float:
    import torch

    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < seconds:
        for _ in range(10 if device.startswith("cuda") else 1):
            run()
            calls += 1
        wait()
    return pictures * calls / (time.perf_counter() - start)


def smoothed_noise(args: argparse.Namespace) -> Tensor:
    import torch

    noise = torch.rand(args.batch_size, 3, args.size, args.size) * 400 - 70
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1).clamp(0, 255).to(torch.uint8)


def read_folder(args: argparse.Namespace) -> Tensor:
    """The first pictures of a folder, resized; repeated if there are fewer than a batch."""
    import numpy as np
    import torch
    from PIL import Image

    if not args.data_dir.is_dir():
        raise UsageError(f"--data-dir must be a folder of pictures, got {str(args.data_dir)!r}")
    paths = sorted(p for p in args.data_dir.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise UsageError(f"--data-dir {str(args.data_dir)!r} holds no picture")
    step = max(1, len(paths) // args.batch_size)
    pictures = [
        np.asarray(Image.open(path).convert("RGB").resize((args.size, args.size)))
        for path in paths[::step][: args.batch_size]
    ]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return images[torch.arange(args.batch_size) % len(images)]


def hardware(args: argparse.Namespace) -> str:
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    cpu = f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
    gpu = f"; {torch.cuda.get_device_name()}" if args.device.startswith("cuda") else ""
    software = f"{platform.system()}, Python {platform.python_version()}"
    return f"{cpu}{gpu}, {args.threads} thread(s), {software}"


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
