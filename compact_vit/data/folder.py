"""A user's own folder of pictures: ``train/<class>/`` and ``test/<class>/`` or ``val/<class>/``."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import torch

from ..errors import UsageError, printable
from .decoding import BadPicturesError
from .packing import Packed, PictureFile, pack
from .pictures import DataSplits, Pictures, warn_of_dark
from .split import stratified_split
from .tree import (
    check_apart,
    classes_of,
    parts_of,
    pictures_of,
    readable,
    shared_folder,
    shown,
    warn_of_loose,
)

_log = logging.getLogger(__name__)


def load_folder(
    data_dir: str | os.PathLike[str],
    size: tuple[int, int],
    *,
    skip: bool = False,
    test_fraction: float = 0.0,
) -> DataSplits:
    """Load ``train/<class>/`` and ``test/<class>/`` or ``val/<class>/`` as pictures of ``size``.

    ``size`` is (height, width) in pixels: the shorter side is scaled to it, the centre kept. With
    both ``test`` and ``val`` the latter is the validation part; alone it tests. The classes are
    the folders of ``train``, sorted by name, what cannot be printed of it escaped; pictures may
    lie in folders within and behind links. Statistics are those of the training pictures.

    With ``test_fraction`` there is no ``test`` nor ``val``: that share of every class, always the
    same while the files are, is taken from ``train`` to test. Without a ``train`` either, the
    folders in ``data_dir`` are the classes.

    Every file in a class folder counts as a picture, whatever its name, but for hidden ones and
    those of desktops (``Thumbs.db``): a picture left out for its ending would be missed by nobody.
    Those that are no readable pictures are refused together, before anything is trained; with
    ``skip`` they are left out, counted in ``skipped`` and named in a warning. ``UsageError`` too
    for a folder that is missing, unreadable, empty, of a class that ``train`` does not have, or
    that is another part by a link; a warning for classes that are not tested, for files that lie
    beside the class folders, and for pictures that are black.
    """
    root = Path(os.path.expanduser(data_dir))  # leaves a ~ that is nobody's home
    with readable():
        folders = shared_folder(root) if test_fraction else parts_of(root)
        names = classes_of(folders["train"])
        warn_of_loose(dict.fromkeys(folders.values()))
        if test_fraction:
            found = _divided(*pictures_of(folders["train"], names), test_fraction, names)
        else:
            check_apart(folders)
            found = {part: pictures_of(folder, names) for part, folder in folders.items()}
    files = {part: inside for part, (inside, _) in found.items()}
    packs = _packs(root, folders, files, size, skip)
    loaded = {
        part: _labelled(folders[part], packs[part], labels, names)
        for part, (_, labels) in found.items()
    }
    bad = [(files[part][row].path, why) for part in packs for row, why in packs[part].bad.items()]
    if bad:
        total = sum(map(len, files.values()))
        stay = "; keep them there, for the test pictures are drawn among them"
        told = "left out" + (stay if test_fraction else "")
        _log.warning("warning: %s", BadPicturesError(bad, total, told))
    advice = "of 16-bit files the upper 8 bits are read: stretch what has fewer first"
    warn_of_dark(shown(root), packs["train"].mean, packs["train"].std, advice)
    return DataSplits(
        train=loaded["train"],
        test=loaded["test"],
        val=loaded.get("val"),
        classes=tuple(map(printable, names)),
        mean=packs["train"].mean,
        std=packs["train"].std,
        skipped=len(bad),
        files=_checksum(files, packs),
    )


def _divided(
    files: list[PictureFile], labels: list[int], fraction: float, classes: tuple[str, ...]
) -> dict[str, tuple[list[PictureFile], list[int]]]:
    """The files and labels that train, and the ``fraction`` of every class that tests."""
    train, test = stratified_split(
        torch.tensor(labels),
        fraction,
        0,
        classes,
        name="test_fraction",
        way_out="add pictures, remove the class, or give folders train/ and test/",
    )
    return {
        part: ([files[row] for row in rows], [labels[row] for row in rows])
        for part, rows in (("train", train.tolist()), ("test", test.tolist()))
    }


def _checksum(files: dict[str, list[PictureFile]], packs: dict[str, Packed]) -> str:
    """Of the names of all pictures in their order, by which those that are held out are drawn."""
    names = [
        [part, *(file.name for row, file in enumerate(files[part]) if row not in packs[part].bad)]
        for part in sorted(files)
    ]
    return hashlib.sha256(repr(names).encode()).hexdigest()


# --- what is in them


def _packs(
    root: Path,
    folders: dict[str, Path],
    files: dict[str, list[PictureFile]],
    size: tuple[int, int],
    skip: bool,
) -> dict[str, Packed]:
    """The pictures of every part; all are looked at before any is refused."""
    packs: dict[str, Packed] = {}
    bad: list[tuple[str, str]] = []
    for part, folder in folders.items():
        title, source = f"{root.name}/{folder.name}", os.path.realpath(folder)
        if list(folders.values()).count(folder) > 1:
            title, source = f"{root.name}, {part}", f"{source}#{part}"
        try:
            packs[part] = pack(files[part], size, title, source, skip=skip)
        except BadPicturesError as error:
            bad += error.found
    if bad:
        then = "repair or remove what is bad"
        if not skip:
            then += ", or train with --on-bad-picture skip to leave it out"
        raise BadPicturesError(bad, sum(map(len, files.values())), then)
    return packs


def _labelled(part: Path, packed: Packed, labels: list[int], classes: tuple[str, ...]) -> Pictures:
    """The pictures of one part with the ``labels`` of its files, without those of the bad ones."""
    good = [label for row, label in enumerate(labels) if row not in packed.bad]
    for label in sorted(set(labels) - set(good)):
        raise UsageError(
            f"class folder {shown(part / classes[label])}: wanted pictures, and none of its"
            f" {labels.count(label):,} files is one that can be read: repair or remove it"
        )
    return Pictures(packed.images, torch.tensor(good))
