"""A user's own folder of pictures: ``train/<class>/`` and ``test/<class>/`` or ``val/<class>/``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from ..errors import UsageError, nearest
from .packing import PictureFile, pack
from .pictures import DataSplits, Pictures

#: endings of the files that are read, in lower or upper case
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")


def load_folder(data_dir: str | os.PathLike[str], size: tuple[int, int]) -> DataSplits:
    """Load ``train/<class>/`` and ``test/<class>/`` or ``val/<class>/`` as pictures of ``size``.

    ``size`` is (height, width) in pixels: the shorter side is scaled to it, the centre kept. With
    both ``test`` and ``val`` the latter is the validation part; alone it tests. The classes are
    the folders of ``train``, sorted by name; pictures may lie in folders within. Hidden files and
    files of other kinds are passed over. Statistics are those of the training pictures.
    ``UsageError`` for a folder that is missing, empty or of an unknown class.
    """
    root = Path(data_dir).expanduser()
    try:
        folders = _parts(root)
        classes = _classes(folders["train"])
        found = {part: _pictures(folder, classes) for part, folder in folders.items()}
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}") from None
    packs = {
        part: pack(
            files, size, f"{root.name}/{folders[part].name}", os.path.realpath(folders[part])
        )
        for part, (files, _) in found.items()
    }
    loaded = {
        part: Pictures(packs[part].images, torch.tensor(labels))
        for part, (_, labels) in found.items()
    }
    return DataSplits(
        train=loaded["train"],
        test=loaded["test"],
        val=loaded.get("val"),
        classes=classes,
        mean=packs["train"].mean,
        std=packs["train"].std,
    )


def _parts(root: Path) -> dict[str, Path]:
    """The folders that train, test and, if there is one apart, validate."""
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UsageError(f"data folder {root} {problem}: wanted one with train/ and test/ in it")
    here = {name for name in ("train", "test", "val") if (root / name).is_dir()}
    if "train" not in here or len(here) < 2:
        wanted = "train/<class>/" if "train" not in here else "test/<class>/ or val/<class>/"
        others = _listed(f"{name}/" for name in _subfolders(root))
        raise UsageError(f"data folder {root}: wanted {wanted} in it, found {others}")
    parts = {"train": root / "train", "test": root / ("test" if "test" in here else "val")}
    return parts | ({"val": root / "val"} if len(here) == 3 else {})


def _classes(train: Path) -> tuple[str, ...]:
    names = tuple(_subfolders(train))
    if len(names) < 2:
        raise UsageError(
            f"{train}: wanted a folder for each of two or more classes, found {_listed(names)}"
        )
    return names


def _pictures(part: Path, classes: tuple[str, ...]) -> tuple[list[PictureFile], list[int]]:
    """The pictures of one part, class by class, and their labels."""
    label_of = {name: label for label, name in enumerate(classes)}
    files: list[PictureFile] = []
    labels: list[int] = []
    for name in _subfolders(part):
        if name not in label_of:
            near = nearest(name, classes)
            hint = f"did you mean {near!r}?" if near else f"they are {_listed(classes)}"
            raise UsageError(f"{part / name}: {name!r} is not a class of train/: {hint}")
        inside = sorted(_walk(str(part / name), name))
        if not inside:
            kinds = " ".join(suffix[1:] for suffix in SUFFIXES)
            raise UsageError(f"class folder {part / name}: wanted pictures ({kinds}), found none")
        files += inside
        labels += [label_of[name]] * len(inside)
    if not files:
        raise UsageError(f"{part}: wanted a folder of pictures for each class, found none")
    return files, labels


def _walk(folder: str, name: str) -> Iterator[PictureFile]:
    """Every picture in ``folder`` and below; ``name`` is its path inside the part."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            inner = f"{name}/{entry.name}"
            if entry.is_dir():
                yield from _walk(entry.path, inner)
            elif entry.name.lower().endswith(SUFFIXES):
                yield PictureFile.of(entry.path, inner, entry.stat())


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _listed(names: Iterable[str], most: int = 8) -> str:
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return (", ".join(shown[:most]) + more) or "none"
