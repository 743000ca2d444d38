"""How many pictures a second are augmented for training, beside the usual ways to do it?

AutoAugment (CIFAR-10 policy), random crop with padding 4, horizontal flip and normalisation; the
peers take turns within one run:

    python benchmarks/bench_augment.py --batch-size 512 --threads 1
    python benchmarks/bench_augment.py --batch-size 4096 --device cuda
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from _common import above_zero, print_head, print_table

from compact_vit.bench import at_least_one
from compact_vit.cli import Parser, program
from compact_vit.errors import UsageError
from compact_vit.timing import Call, seconds_in_turns

if TYPE_CHECKING:
    from torch import Tensor

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


@program
def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("bench-augment", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--batch-size", type=at_least_one, default=512, help="pictures a batch (512)"
    )
    parser.add_argument(
        "--size", type=at_least_one, default=32, help="height and width in pixels (32)"
    )
    parser.add_argument("--rounds", type=at_least_one, default=7, help="turns each peer takes (7)")
    parser.add_argument(
        "--seconds", type=above_zero, default=0.5, help="least time of a turn (0.5)"
    )
    parser.add_argument("--threads", type=at_least_one, default=1, help="CPU threads (1)")
    parser.add_argument("--device", default="cpu", help="where batches live: cpu, cuda (cpu)")
    parser.add_argument("--data-dir", type=Path, help="folder of pictures (smoothed noise)")
    args = parser.parse_args(argv)
    import torch

    from compact_vit.train.machine import pick_device

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = pick_device(args.device)
    images = read_folder(args) if args.data_dir else smoothed_noise(args)
    peers = {
        "PIL + torchvision, one by one": pil(images),
        "torchvision v2 tensors, one by one": tensors(images),
        "kornia, one sub-policy per batch": kornia(images.to(device)),
        "compact_vit, whole batch": ours(images.to(device)),
    }
    print_head(device, ("pillow", "kornia"))
    kind = f"pictures of {args.data_dir.name}" if args.data_dir else "smoothed noise"
    print(f"{kind}, {list(images.shape)}, turns of {args.seconds} s")
    there = {name: call for name, call in peers.items() if call}
    seconds = seconds_in_turns(
        list(there.values()), rounds=args.rounds, device=device, turn=args.seconds
    )
    speeds = {
        name: [len(images) / s for s in taken] for name, taken in zip(there, seconds, strict=True)
    }
    rows = {name: speeds.get(name, "not installed") for name in peers}
    print_table("pictures/s", rows, digits=0)
    return 0


def pil(images: Tensor) -> Call:
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


def tensors(images: Tensor) -> Call:
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


def kornia(images: Tensor) -> Call | None:
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


def ours(images: Tensor) -> Call:
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


if __name__ == "__main__":
    sys.exit(main())
