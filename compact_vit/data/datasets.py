"""Every named data set, loaded whole: uint8 pictures, labels, class names and statistics.

Letters: N pictures, C channels, H and W the height and width.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError, unknown
from .catalog import ON_BAD_PICTURE, DatasetInfo, check_source, dataset_info
from .pictures import DataSplits, Pictures, channel_sums, height_width, resize, statistics

_log = logging.getLogger(__name__)

#: classes that a warning names
_NAMED = 8
#: the digits have no official test part: this seed draws the fifth that serves as one
_DIGITS_SEED = 0


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    img_size: int | tuple[int, int] | None = None,
    download: bool = True,
    on_bad_picture: str = "refuse",
    test_fraction: float = 0.0,
) -> DataSplits:
    """Load a data set of the catalogue, its pictures resized to ``img_size`` (pixels).

    ``img_size`` is a side or (height, width); None is the data set's own default. ``data_dir``
    holds the pictures of ``folder``, is the file of ``npz``, and holds the archives of the others
    (None: ``$COMPACT_VIT_DATA``, else ``~/.cache/compact_vit/data``); ``digits`` takes none. An
    archive that is not there is downloaded if ``download`` allows it. ``UsageError`` for whatever
    is missing or damaged; with ``on_bad_picture`` ``"skip"`` a ``folder`` is loaded without what is
    no readable picture. With ``test_fraction`` that share of the one set of pictures in a folder or
    file tests; other sets have their own.
    """
    info = dataset_info(name)
    if on_bad_picture not in ON_BAD_PICTURE:
        raise unknown("on_bad_picture", str(on_bad_picture), ON_BAD_PICTURE)
    check_source(info, data_dir, test_fraction)
    size = height_width(info.img_size if img_size is None else img_size)
    if name == "digits":
        splits = _digits(size)
    elif info.own == "file":
        from .npz import load_npz

        assert data_dir is not None
        splits = load_npz(data_dir, size, test_fraction=test_fraction)
    elif info.own == "folder":
        from .folder import load_folder

        assert data_dir is not None
        skip = on_bad_picture == "skip"
        splits = load_folder(data_dir, size, skip=skip, test_fraction=test_fraction)
    else:
        from .archives import load_archive
        from .packing import at_home

        root = data_dir or os.environ.get("COMPACT_VIT_DATA") or "~/.cache/compact_vit/data"
        splits = load_archive(info, at_home(root, "COMPACT_VIT_DATA"), size, download)
    return _checked(info, splits)


def parts_of_own(info: DatasetInfo, data_dir: str | os.PathLike[str]) -> list[str]:
    """Which of train, test and val there are of the user's pictures in ``data_dir``."""
    if info.own == "file":
        from .npz import parts_in

        return parts_in(data_dir)
    parts = ("train", "test", "val")
    return [part for part in parts if os.path.isdir(os.path.join(data_dir, part))]


def _digits(size: tuple[int, int]) -> DataSplits:
    from sklearn.datasets import load_digits

    bundled = load_digits()
    values = np.rint(bundled.images * (255 / 16)).astype(np.uint8)  # [N,H,W], published as 0..16
    images = resize(torch.from_numpy(values)[:, None], size)  # [N,1,H,W]
    labels = torch.from_numpy(bundled.target).long()
    train, test = stratified_split(labels, 0.2, _DIGITS_SEED)
    mean, std = statistics(channel_sums(images[train]), len(train) * size[0] * size[1])
    return DataSplits(
        train=Pictures(images[train], labels[train]),
        test=Pictures(images[test], labels[test]),
        val=None,
        classes=tuple("0123456789"),
        mean=mean,
        std=std,
    )


def _checked(info: DatasetInfo, splits: DataSplits) -> DataSplits:
    """``splits``, when every picture has a label and every label a class."""
    last = len(splits.classes) - 1
    for part, pictures in (("train", splits.train), ("test", splits.test), ("val", splits.val)):
        if pictures is None:
            continue
        images, labels = pictures.images, pictures.labels
        if not 0 < len(images) == len(labels):
            raise UsageError(
                f"{info.title}: wanted as many labels as pictures in its {part} part,"
                f" got {len(images)} pictures and {len(labels)} labels"
            )
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > last:
            raise UsageError(
                f"{info.title}: wanted labels from 0 to {last} in its {part} part,"
                f" got {low if low < 0 else high}"
            )
    return splits


def stratified_split(
    labels: Tensor,
    fraction: float,
    seed: int,
    classes: Sequence[str] = (),
    *,
    name: str = "held-out fraction",
    of: Tensor | None = None,
    way_out: str = "add pictures or remove the class",
) -> tuple[Tensor, Tensor]:
    """Indices, ascending, of the part kept and of the ``fraction`` held out, alike in every class.

    ``labels int64 [N]`` -> two disjoint ``int64`` vectors that together hold 0..N-1. Where there
    are many of some classes and few of others, a part may be without one, which a warning says. It
    and a ``UsageError`` name ``classes``; that names the fraction too, and of a class that is too
    small the pictures it had among all labels ``of`` the data set, and a ``way_out``.
    """
    from sklearn.model_selection import train_test_split

    labels = torch.as_tensor(labels)  # or numpy's
    if not 0 < fraction < 1:
        raise UsageError(f"{name}: wanted a number between 0 and 1, got {fraction}")
    present, counts = labels.unique(return_counts=True)
    if len(labels) and int(counts.min()) < 2:
        rare = int(present[counts.argmin()])
        had = 1 if of is None else int((of == rare).sum())
        raise UsageError(
            f"{name}: wanted at least 2 pictures of every class to divide,"
            f" got 1 of class {repr(classes[rare]) if classes else rare}"
            f"{f', which has {had:,}: the rest tests or is not used' if had > 1 else ''}: {way_out}"
        )
    try:
        kept, held = train_test_split(
            np.arange(len(labels)),
            test_size=fraction,
            random_state=seed % 2**32,
            stratify=labels.numpy(),
        )
    except ValueError:
        least, total = len(present), len(labels)
        shares = (percent / 100 for percent in range(1, 100))
        right = [share for share in shares if least <= math.ceil(share * total) <= total - least]
        raise UsageError(
            f"{name}: wanted every one of {least} classes in both parts of {total}"
            f" pictures, got {fraction}: give between {right[0]} and {right[-1]}"
        ) from None
    for part, rows in (("held out", held), ("kept", kept)):
        if missing := sorted(set(present.tolist()) - set(labels[torch.from_numpy(rows)].tolist())):
            named = ", ".join(str(classes[k] if classes else k) for k in missing[:_NAMED])
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            _log.warning(
                "warning: of the %s pictures %s none is of %s of the %s classes: %s%s",
                *(f"{len(rows):,}", part, f"{len(missing):,}", f"{len(present):,}", named, more),
            )
    return torch.from_numpy(np.sort(kept)), torch.from_numpy(np.sort(held))
