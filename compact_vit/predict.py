"""``python -m compact_vit.predict RUN PICTURE...``: what a model sees in pictures.

The model is a finished run's, or with ``--pretrained cct_2_3x2`` one whose weights are at hand.
"""

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

    from .baselines import BaselineConfig
    from .models.compact import CompactTransformer
    from .models.config import ModelConfig
    from .models.zoo import AnyModel
    from .train.run import TrainedModel


def predict_pictures(
    run: str | os.PathLike[str] | TrainedModel | CompactTransformer,
    pictures: Sequence[str | os.PathLike[str]],
    *,
    top: int = 5,
    checkpoint: str | None = None,
    device: str = "auto",
) -> list[list[tuple[str, float]]]:
    """The ``top`` classes of each picture file and their probabilities, the likeliest first.

    ``run`` is a run's folder, what ``load_model`` returned, or a model whose ``pretrained_cfg``
    tells how pictures are prepared; classes without names are numbers. A picture is scaled to
    cover the model's size and its centre is cropped, as in training on a folder. The model
    is left in evaluation mode, on ``device``. Raises ``UsageError`` for a file that cannot be read,
    and for weights that do not answer in finite numbers.
    """
    import torch

    from .data.augment import Normalize
    from .train.machine import pick_device
    from .train.metrics import check_finite

    if not isinstance(top, int) or top < 1:
        raise UsageError(f"top must be a whole number of at least 1, got {top!r}")
    model, classes, mean, std = _opened(run, checkpoint)
    where = pick_device(device)
    model = model.to(where).eval()
    normalize = Normalize(mean, std)
    answers = []
    with torch.inference_mode():
        for path in pictures:
            image = _read(path, model.config).to(where)
            probabilities = check_finite(model(normalize(image)).float()).softmax(dim=1)[0]
            ranked = probabilities.topk(min(top, len(classes)))
            answers.append(
                [
                    (classes[index], value)
                    for value, index in zip(
                        ranked.values.tolist(), ranked.indices.tolist(), strict=True
                    )
                ]
            )
    return answers


def _opened(
    run: str | os.PathLike[str] | TrainedModel | CompactTransformer, checkpoint: str | None
) -> tuple[AnyModel, Sequence[str], tuple[float, ...], tuple[float, ...]]:
    """The model, what its answers mean, and the mean and deviation of its pictures."""
    from .models.compact import CompactTransformer
    from .train.run import TrainedModel, load_model

    if isinstance(run, CompactTransformer):
        prepared = run.transforms()
        names = run.pretrained_cfg.get("label_names", ())
        if not run.num_classes:
            raise UsageError("the model has no classes: give it some with reset_classifier")
        prepared.check_as_runs()
        if len(names) != run.num_classes:  # a new classifier
            names = [str(number) for number in range(run.num_classes)]
        return run, names, prepared.mean, prepared.std
    trained = run if isinstance(run, TrainedModel) else load_model(run, checkpoint)
    return trained.model, trained.classes, trained.mean, trained.std


def read_for_model(path: str | os.PathLike[str], trained: TrainedModel) -> Tensor:
    """The picture in ``path`` as ``uint8 [1,C,H,W]``, gray if the model sees gray."""
    return _read(path, trained.model.config)


def _read(path: str | os.PathLike[str], config: ModelConfig | BaselineConfig) -> Tensor:
    import torch

    from .data.decoding import read_picture

    height, width = config.height_width
    image = torch.from_numpy(read_picture(os.fspath(path), height, width).copy())  # [H,W,3]
    image = image.permute(2, 0, 1).unsqueeze(0)
    if config.in_chans == 1:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # luma of ITU-R BT.601
        image = (image * weights).sum(dim=1, keepdim=True).round().to(torch.uint8)
    return image


def pretrained_model(name: str) -> CompactTransformer:
    """The model of which ``name`` says where its weights are.

    In the package (``cct_2_3x2``, ``cct_2_3x2.cifar10``), in a folder that ``save_pretrained``
    wrote, or on the Hugging Face hub (``USER/NAME``).
    """
    from .models.compact import CompactTransformer
    from .models.pretrained import build_pretrained, read_folder
    from .models.shipped import shipped_folder

    if os.path.isdir(name) or "/" in name or os.sep in name:
        return CompactTransformer.from_pretrained(name)
    model, _, tag = name.partition(".")
    return build_pretrained(read_folder(shipped_folder(model, tag or True)))


def _parser() -> Parser:
    parser = Parser(
        "predict",
        description="The most likely classes of pictures.",
        usage="compact-vit predict [options] (RUN | --pretrained NAME) PICTURE ...",
    )
    parser.add_argument(
        "words", metavar="RUN PICTURE", nargs="+", help="what training wrote, and picture files"
    )
    parser.add_argument(
        "--pretrained",
        metavar="NAME",
        help="instead of a RUN: weights in the package (cct_2_3x2), in a folder, or on the hub",
    )
    parser.add_argument("--top", metavar="N", type=int, default=5, help="classes (default: 5)")
    parser.add_argument("--checkpoint", metavar="NAME", help="last or best, as in evaluate")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print the top classes of each picture with their probabilities."""
    parser = _parser()
    args = parser.parse_args(argv)
    run, pictures = args.words[0], args.words[1:]
    if args.pretrained is not None:
        if args.checkpoint is not None:
            raise UsageError("--checkpoint is of a run: leave it out with --pretrained")
        run, pictures = pretrained_model(args.pretrained), args.words
    elif not pictures:
        parser.error("the following arguments are required: PICTURE")
    answers = predict_pictures(
        run, pictures, top=args.top, checkpoint=args.checkpoint, device=args.device
    )
    if args.json:
        rows = [
            {"picture": path, "classes": [{"class": c, "probability": p} for c, p in answer]}
            for path, answer in zip(pictures, answers, strict=True)
        ]
        print(json.dumps(rows, indent=2))
        return 0
    for path, answer in zip(pictures, answers, strict=True):
        print(path)
        for name, probability in answer:
            print(f"  {100 * probability:6.2f}%  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
