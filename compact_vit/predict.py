"""``python -m compact_vit.predict RUN PICTURE...``: what a model sees in pictures.

A folder stands for every file in it and below.

The model is a finished run's, or with ``--pretrained cct_2_3x2`` one whose weights are at hand.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from .cli import Parser, program
from .errors import UsageError, printable, unknown
from .labelled import check_channels
from .tables import comma_separated

if TYPE_CHECKING:
    from torch import Tensor

    from .models.compact import CompactTransformer
    from .models.names import AnyConfig
    from .models.zoo import AnyModel
    from .train.trained import TrainedModel

    _Answers = list[tuple[str, list[tuple[str, float]]]]

_log = logging.getLogger(__name__)

#: pictures shown to a model at a time
_BATCH = 64


def predict_pictures(
    run: str | os.PathLike[str] | TrainedModel | CompactTransformer,
    pictures: Iterable[str | os.PathLike[str]],
    *,
    top: int = 5,
    checkpoint: str | None = None,
    device: str = "auto",
    on_bad_picture: str = "refuse",
) -> list[list[tuple[str, float]]]:
    """The ``top`` classes of each picture file and their probabilities, the likeliest first.

    ``run`` is a run's folder, what ``load_model`` returned, or a model whose ``pretrained_cfg``
    tells how pictures are prepared; classes without names are numbers. A picture is scaled to
    cover the model's size and its centre is cropped, as in training on a folder, and seen in the
    precision of the weights: float32 with a run, whatever its own. The model is left in evaluation
    mode, on ``device``.
    Raises ``UsageError`` for a file that cannot be read, of which with ``on_bad_picture``
    ``"skip"`` there are no classes and a warning instead, and for weights that do not answer in
    finite numbers.
    """
    import torch

    from .data.augment import Normalize
    from .data.catalog import ON_BAD_PICTURE
    from .train.machine import pick_device
    from .train.metrics import check_finite

    if on_bad_picture not in ON_BAD_PICTURE:
        raise unknown("on_bad_picture", str(on_bad_picture), ON_BAD_PICTURE)
    if isinstance(pictures, str | os.PathLike):
        raise UsageError(f"pictures must be a list of files, got one: [{str(pictures)!r}]")
    pictures = list(pictures)
    if not isinstance(top, int) or top < 1:
        raise UsageError(f"top must be a whole number of at least 1, got {top!r}")
    model, classes, mean, std = _opened(run, checkpoint)
    check_channels(model.config)
    where = pick_device(device)
    model = model.to(where).eval()
    normalize = Normalize(mean, std, next(model.parameters()).dtype)
    answers: list[list[tuple[str, float]]] = [[] for _ in pictures]
    with torch.inference_mode():
        for places, images in _batches(pictures, model.config, on_bad_picture == "skip"):
            logits = check_finite(model(normalize(images.to(where))).float())
            if logits.shape[1] != len(classes):
                raise UsageError(
                    f"the model must answer with the {len(classes)} classes that are known, got "
                    f"{logits.shape[1]}: give it another classifier by reset_classifier"
                )
            ranked = logits.softmax(dim=1).topk(min(top, len(classes)))
            for place, values, indices in zip(
                places, ranked.values.tolist(), ranked.indices.tolist(), strict=True
            ):
                named = [classes[index] for index in indices]
                answers[place] = list(zip(named, values, strict=True))
    return answers


def find_pictures(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The files that ``paths`` name, in their order; a folder stands for all in it and below.

    Those are sorted by name, without hidden ones. Raises ``UsageError`` for a folder with none.
    """
    from .data.tree import files_in

    found = []
    for given in paths:
        path = os.path.expanduser(given)
        if not os.path.isdir(path):
            found.append(path)
            continue
        inside = files_in(path)
        if not inside:
            raise UsageError(f"folder '{path}': wanted pictures in it, found none")
        found += inside
    return found


def _batches(
    paths: Sequence[str | os.PathLike[str]], config: AnyConfig, skip: bool
) -> Iterator[tuple[list[int], Tensor]]:
    """The pictures as the model takes them, ``uint8 [B,C,H,W]``, and the place of each.

    Bad ones are refused or, to ``skip`` them, named in a warning at the end; unless all are bad.
    """
    import torch
    from tqdm import tqdm

    from .data.decoding import BadPicturesError

    bad: list[tuple[str, str]] = []
    places: list[int] = []
    images: list[Tensor] = []
    for place, path in enumerate(tqdm(paths, unit="pic", disable=None, leave=False)):
        try:
            images.append(_read(path, config))
            places.append(place)
        except BadPicturesError as error:
            if not skip:
                then = "repair or remove it, or leave it out with --on-bad-picture skip"
                raise BadPicturesError(error.found, 1, then) from None
            bad += error.found
        if images and (len(images) == _BATCH or place == len(paths) - 1):
            yield places, torch.cat(images)
            places, images = [], []
    if bad and len(bad) == len(paths):
        raise BadPicturesError(bad, len(paths))
    if bad:
        _log.warning("warning: %s", BadPicturesError(bad, len(paths), "left out"))


def _opened(
    run: str | os.PathLike[str] | TrainedModel | CompactTransformer, checkpoint: str | None
) -> tuple[AnyModel, Sequence[str], tuple[float, ...], tuple[float, ...]]:
    """The model, what its answers mean, and the mean and deviation of its pictures."""
    from .models.compact import CompactTransformer
    from .train.trained import TrainedModel, load_model

    run = getattr(run, "_orig_mod", run)  # compiled: what was compiled
    if checkpoint is not None and isinstance(run, CompactTransformer | TrainedModel):
        raise UsageError(f"checkpoint is for a run's folder, got {checkpoint!r} beside a model")
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


def _read(path: str | os.PathLike[str], config: AnyConfig) -> Tensor:
    import torch

    from .data.decoding import read_picture
    from .resampling import gray

    if not isinstance(path, str | os.PathLike):
        raise UsageError(
            f"a picture must be the path of its file, got {type(path).__name__}: of one in memory "
            "model(model.transforms()(picture)[None]).softmax(1) are the probabilities"
        )
    height, width = config.height_width
    pixels = read_picture(os.path.expanduser(path), height, width)  # [H,W,3]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).unsqueeze(0)
    if config.in_chans == 1:
        image = gray(image)
    return image


def _parser() -> Parser:
    parser = Parser(
        "predict",
        description="The most likely classes of pictures.",
        usage="compact-vit predict [options] (RUN | --pretrained NAME) PICTURE ...",
    )
    parser.add_argument(
        "words",
        metavar="RUN PICTURE",
        nargs="+",
        help="what training wrote, and picture files, or folders of them",
    )
    parser.add_argument(
        "--pretrained",
        metavar="NAME",
        help="instead of a RUN: weights in the package (cct_2_3x2), in a folder, or on the hub",
    )
    parser.add_argument("--top", metavar="N", type=int, default=5, help="classes (default: 5)")
    parser.add_argument("--checkpoint", metavar="NAME", help="last or best, as in evaluate")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument(
        "--on-bad-picture",
        metavar="WHAT",
        default="refuse",
        help="refuse or skip files that are none (default: refuse)",
    )
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--json", action="store_true", help="print JSON")
    printed.add_argument(
        "--csv", action="store_true", help="print CSV: picture, rank, class, probability"
    )
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
        from .models.compact import CompactTransformer

        run, pictures = CompactTransformer.from_pretrained(args.pretrained), args.words
    elif not pictures:
        parser.error("the following arguments are required: PICTURE")
    paths = find_pictures(pictures)
    given = {k: getattr(args, k) for k in ("top", "checkpoint", "device", "on_bad_picture")}
    found = predict_pictures(run, paths, **given)
    answers = [(path, answer) for path, answer in zip(paths, found, strict=True) if answer]
    print((_as_json if args.json else _as_csv if args.csv else _told)(answers))
    return 0


def _as_json(answers: _Answers) -> str:
    rows = [
        {"picture": path, "classes": [{"class": c, "probability": p} for c, p in answer]}
        for path, answer in answers
    ]
    return json.dumps(rows, indent=2)


def _as_csv(answers: _Answers) -> str:
    return comma_separated(
        [
            {"picture": path, "rank": rank, "class": name, "probability": probability}
            for path, answer in answers
            for rank, (name, probability) in enumerate(answer, 1)
        ]
    )


def _told(answers: _Answers) -> str:
    return "\n".join(
        line
        for path, answer in answers
        for line in (printable(path), *(f"  {100 * p:6.2f}%  {name}" for name, p in answer))
    )


if __name__ == "__main__":
    sys.exit(main())
