"""``python -m compact_vit.predict RUN PICTURE...``: what a finished run sees in pictures."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .cli import Parser, program
from .errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from .train.run import TrainedModel


def predict_pictures(
    run: str | os.PathLike[str] | TrainedModel,
    pictures: Sequence[str | os.PathLike[str]],
    *,
    top: int = 5,
    checkpoint: str | None = None,
    device: str = "auto",
) -> list[list[tuple[str, float]]]:
    """The ``top`` classes of each picture file and their probabilities, the likeliest first.

    ``run`` is a run's folder, or what ``load_model`` returned. A picture is scaled to cover the
    model's size and its centre is cropped, as in training on a folder. Raises ``UsageError`` for a
    file that cannot be read.
    """
    import torch

    from .data.augment import Normalize
    from .train.machine import pick_device
    from .train.run import TrainedModel, load_model

    if not isinstance(top, int) or top < 1:
        raise UsageError(f"top must be a whole number of at least 1, got {top!r}")
    trained = run if isinstance(run, TrainedModel) else load_model(run, checkpoint)
    where = pick_device(device)
    model = trained.model.to(where).eval()
    normalize = Normalize(trained.mean, trained.std)
    answers = []
    with torch.inference_mode():
        for path in pictures:
            image = read_for_model(path, trained).to(where)
            probabilities = model(normalize(image)).float().softmax(dim=1)[0]
            ranked = probabilities.topk(min(top, len(trained.classes)))
            answers.append(
                [
                    (trained.classes[index], value)
                    for value, index in zip(
                        ranked.values.tolist(), ranked.indices.tolist(), strict=True
                    )
                ]
            )
    return answers


def read_for_model(path: str | os.PathLike[str], trained: TrainedModel) -> Tensor:
    """The picture in ``path`` as ``uint8 [1,C,H,W]``, gray if the model sees gray."""
    import torch

    from .data.decoding import read_picture

    height, width = trained.model.config.height_width
    image = torch.from_numpy(read_picture(os.fspath(path), height, width).copy())  # [H,W,3]
    image = image.permute(2, 0, 1).unsqueeze(0)
    if trained.model.config.in_chans == 1:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # luma of ITU-R BT.601
        image = (image * weights).sum(dim=1, keepdim=True).round().to(torch.uint8)
    return image


def _parser() -> Parser:
    parser = Parser("predict", description="The most likely classes of pictures.")
    parser.add_argument("run", metavar="RUN", help="the folder that training wrote")
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="picture files")
    parser.add_argument("--top", metavar="N", type=int, default=5, help="classes (default: 5)")
    parser.add_argument("--checkpoint", metavar="NAME", help="last or best, as in evaluate")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print the top classes of each picture with their probabilities."""
    args = _parser().parse_args(argv)
    answers = predict_pictures(
        args.run, args.pictures, top=args.top, checkpoint=args.checkpoint, device=args.device
    )
    if args.json:
        rows = [
            {"picture": path, "classes": [{"class": c, "probability": p} for c, p in answer]}
            for path, answer in zip(args.pictures, answers, strict=True)
        ]
        print(json.dumps(rows, indent=2))
        return 0
    for path, answer in zip(args.pictures, answers, strict=True):
        print(path)
        for name, probability in answer:
            print(f"  {100 * probability:6.2f}%  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
