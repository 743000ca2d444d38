"""What a test takes besides a run: weights, folders of class folders, one's own splits.

Letters: N pictures, C channels, H x W pixels.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .data.catalog import dataset_info
from .errors import UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from .data.packing import PictureFile
    from .data.pictures import Pictures
    from .models.names import AnyConfig
    from .train.config import TrainConfig
    from .train.trained import TrainedModel

_log = logging.getLogger(__name__)


def open_pictures(
    run: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    checkpoint: str | None = None,
    on_bad_picture: str = "refuse",
) -> tuple[TrainedModel, Pictures]:
    """The model of a run or of weights, and all pictures in the class folders of ``folder``.

    They are read as the model takes them, ``uint8 [N,C,H,W]``, with the labels that their classes
    have in the model; a warning names those without any, and another says that the run was trained
    on what lies there. Raises ``UsageError`` for a class that the model does not know, and for a
    file that is no readable picture; with ``on_bad_picture`` ``"skip"`` those are left out, and a
    warning names them.
    """
    from .data.catalog import ON_BAD_PICTURE
    from .data.pictures import Pictures
    from .data.tree import shown

    if on_bad_picture not in ON_BAD_PICTURE:
        raise unknown("on_bad_picture", str(on_bad_picture), ON_BAD_PICTURE)
    root = Path(os.path.expanduser(folder))
    trained = _open_model(run, checkpoint, root)
    config = trained.model.config
    check_channels(config)
    files, labels = _labelled(root, trained.classes)
    if holds_training(trained, root):
        _log.warning(
            "warning: %s holds pictures that '%s' was trained on, so these figures are no test: "
            "what it held out is tested without --pictures",
            shown(root),
            run,
        )
    images, kept = _decoded(root, files, config.height_width, on_bad_picture == "skip")
    labels = [labels[row] for row in kept]
    import torch

    from .resampling import gray

    return trained, Pictures(gray(images) if config.in_chans == 1 else images, torch.tensor(labels))


def check_channels(config: AnyConfig) -> None:
    """``UsageError`` for a model that sees other things than gray or coloured pictures."""
    if config.in_chans not in (1, 3):
        raise UsageError(
            f"the model must see gray or coloured pictures, it sees {config.in_chans} channels"
        )


def holds_training(trained: TrainedModel, folder: str | os.PathLike[str]) -> bool | None:
    """Whether ``folder`` is, holds or lies in what the run of ``trained`` was trained on.

    It is told by its place, which says nothing of copies; None of weights, which know no place.
    """
    config = trained.config
    if not trained.marks:
        return None
    if config.dataset != "folder" or config.data_dir is None:
        return False
    root = os.path.expanduser(config.data_dir)
    part = os.path.join(root, "train")
    learnt = Path(os.path.realpath(part if os.path.isdir(part) else root))
    here = Path(os.path.realpath(os.path.expanduser(folder)))
    return here == learnt or here in learnt.parents or learnt in here.parents


def _open_model(
    source: str | os.PathLike[str], checkpoint: str | None, folder: Path
) -> TrainedModel:
    """The model of a run or of weights, the latter as a run on ``folder`` would have left it."""
    from .models.shipped import nothing_at, weights_at
    from .train.trained import load_model

    if weights_at(source) is not None:
        return open_weights(source, checkpoint, "folder", str(folder))
    if not os.path.isdir(os.path.expanduser(source)):
        raise nothing_at(source, "run must be the folder of a run or of weights")
    return load_model(source, checkpoint)


def open_weights(
    source: str | os.PathLike[str], checkpoint: str | None, dataset: str, data_dir: str | None
) -> TrainedModel:
    """The model of weights, as a run on ``dataset`` would have left it."""
    from .models.config import name_of
    from .models.pretrained import build_pretrained, read_folder
    from .models.shipped import nothing_at, weights_at
    from .train.config import TrainConfig
    from .train.trained import TrainedModel

    folder = weights_at(source)
    if folder is None and os.path.isfile(os.path.join(source, "config.json")):
        raise UsageError(
            f"dataset is for weights, which '{source}' is not: leave it out where that is a run, "
            "which knows its own"
        )
    if folder is None:
        raise nothing_at(source, "with dataset, run must be the folder of weights")
    if checkpoint is not None:
        raise UsageError("checkpoint is of a run: leave it out with weights")
    stored = read_folder(folder)
    model, training = build_pretrained(stored).eval(), stored.card.get("training")
    prepared, classes = model.transforms(), model.pretrained_cfg.get("label_names")
    if classes is None:
        raise UsageError(f"'{source}' does not name its classes: set label_names in pretrained_cfg")
    prepared.check_as_runs()
    config = TrainConfig(
        dataset=dataset,
        data_dir=data_dir,
        model=name_of(model.config),
        img_size=model.config.height_width,
    )
    epoch = training.get("epoch") if isinstance(training, dict) else None
    return TrainedModel(model, config, classes, prepared.mean, prepared.std, epoch)


def check_own_splits(config: TrainConfig) -> None:
    """Refuse a folder or file without the splits that a trained model is tested on.

    What loading it says is for who trains, who may take a part of the training pictures to test.
    """
    from .data.datasets import own_roles
    from .data.tree import shown

    info, share = dataset_info(config.dataset), config.test_fraction
    if info.own is None or config.data_dir is None:
        return
    place, file = Path(os.path.expanduser(config.data_dir)), info.own == "file"
    roles = own_roles(info, place)
    if share and "test" in roles:
        has = f"{roles['test']}_images" if file else f"a {roles['test']}/"
        problem = f"the run tested on {share} of a {info.own} without splits, but it has {has}"
    elif not share and not {"train", "test"} <= roles.keys() and (file or place.is_dir()):
        parts = "train_images, and test_images or val_images,"
        folders = "train/<class>/ and test/<class>/ or val/<class>/"
        problem = f"wanted {parts if file else folders} in it"
    else:
        return
    if not file:
        alone = shown(place / roles.get("test", ""))
        problem += f": evaluate --pictures {alone} tests on class folders alone"
    raise UsageError(f"data {info.own} {shown(place)}: {problem}")


# --- the files


def _labelled(root: Path, classes: Sequence[str]) -> tuple[list[PictureFile], list[int]]:
    """Every file in the class folders of ``root``, and the label of each."""
    from .data.tree import pictures_of, readable, shown

    if not root.is_dir():
        got = "a file" if root.exists() else "which does not exist"
        raise UsageError(f"pictures must be a folder of class folders, got {shown(root)}, {got}")
    for part in ("test", "val", "train"):
        if part not in classes and (root / part).is_dir():
            raise UsageError(
                f"pictures must be a folder of class folders, got {shown(root)}: give "
                f"{shown(root / part)} if they are in it"
            )
    with readable():
        return pictures_of(root, classes, "the model")


def _decoded(
    root: Path, files: Sequence[PictureFile], size: tuple[int, int], skip: bool
) -> tuple[Tensor, list[int]]:
    """The pictures ``uint8 [N,3,H,W]``, and which of the files they are: the bad ones left out."""
    from .data.decoding import BadPicturesError
    from .data.packing import pack

    try:
        packed = pack(files, size, root.name, os.path.realpath(root), skip=skip)
    except BadPicturesError as error:
        then = "repair or remove what is bad"
        then += "" if skip else ", or leave it out with --on-bad-picture skip"
        raise BadPicturesError(error.found, error.total, then) from None
    if packed.bad:
        bad = [(files[row].path, reason) for row, reason in packed.bad.items()]
        _log.warning("warning: %s", BadPicturesError(bad, len(files), "left out"))
    return packed.images, [row for row in range(len(files)) if row not in packed.bad]
