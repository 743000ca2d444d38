"""Every named data set, loaded whole: uint8 pictures, labels, class names and statistics.

Letters: N pictures, C channels, H and W the height and width.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from ..errors import UsageError, unknown
from .catalog import ON_BAD_PICTURE, DatasetInfo, check_source, dataset_info
from .pictures import DataSplits, Pictures, channel_sums, height_width, resize, statistics
from .split import stratified_split

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


def own_roles(info: DatasetInfo, data_dir: str | os.PathLike[str]) -> dict[str, str]:
    """What the user's pictures in ``data_dir`` that train, test and validate are called there.

    What there is none of is not in it; ``val`` alone tests.
    """
    if info.own == "file":
        from .npz import roles_inside

        return roles_inside(data_dir)
    from .tree import roles_in

    return roles_in(Path(os.path.expanduser(data_dir)))


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
