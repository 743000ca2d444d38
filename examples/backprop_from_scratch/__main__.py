"""``python -m backprop_from_scratch``: train an MLP on the digits or on a folder of pictures."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from compact_vit.cli import program
from compact_vit.data import Pictures, load_dataset, stratified_split
from compact_vit.errors import UsageError

from .layers import MLP
from .options import build_parser
from .trainer import Trainer


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Fit, then look once at the test pictures; or learn a few pictures by heart."""
    args = build_parser().parse_args(argv)
    generator = Generator().manual_seed(args.seed)
    splits = load_dataset(args.dataset, data_dir=args.data_dir)
    train, val = splits.train, splits.val
    if args.overfit:
        if args.overfit > len(train):
            raise UsageError(f"--overfit: wanted at most {len(train)} pictures, got {args.overfit}")
        train = val = _part(train, torch.randperm(len(train), generator=generator)[: args.overfit])
    elif val is None:
        kept, held = stratified_split(train.labels, 0.1, args.seed)
        train, val = _part(train, kept), _part(train, held)

    widths = [train.images[0].numel(), *args.hidden, len(splits.classes)]
    model = MLP(widths, generator, args.activation, args.dropout)
    optimizer, usual_lr = args.optimizer
    trainer = Trainer(
        model,
        optimizer(model.params, args.lr or usual_lr, args.weight_decay),
        partial(to_vectors, mean=splits.mean, std=splits.std),
        generator,
        args.batch_size,
    )
    count = sum(parameter.value.numel() for parameter in model.params)
    print(f"MLP {'-'.join(map(str, widths))}: {count:,} parameters, {len(train):,} pictures")
    if not _fit(trainer, train, val, args):
        return 1
    if not args.overfit:
        test = trainer.evaluate(splits.test)
        print(f"test accuracy {test.accuracy:.2f}% of {test.n:,} pictures, loss {test.loss:.3f}")
    return 0


def _fit(trainer: Trainer, train: Pictures, val: Pictures, args: Namespace) -> bool:
    """A line an epoch; whether what was asked for was reached."""
    seen = "the same" if args.overfit else "held out"
    began = time.perf_counter()
    for epoch, (learned, told) in enumerate(trainer.fit(train, val, args.epochs), start=1):
        print(
            f"epoch {epoch:3}  training loss {learned.loss:.3f} {learned.accuracy:6.2f}%"
            f"  {seen} {told.loss:.3f} {told.accuracy:6.2f}%  {time.perf_counter() - began:.1f} s"
        )
        if args.overfit and told.right == told.n:
            print(f"all {told.n} pictures known by heart after {epoch} epochs")
            return True
    if args.overfit:
        print(f"not all {args.overfit} pictures are known after {args.epochs} epochs")
    return not args.overfit


def to_vectors(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pictures as standardised vectors: ``uint8 [B,C,H,W] -> float32 [B,C·H·W]``."""
    centre, scale = torch.tensor([mean, std])[:, :, None, None]  # [C,1,1] each
    return ((images / 255 - centre) / scale).flatten(start_dim=1)


def _part(pictures: Pictures, rows: Tensor) -> Pictures:
    return Pictures(pictures.images[rows], pictures.labels[rows])


if __name__ == "__main__":
    sys.exit(main())
