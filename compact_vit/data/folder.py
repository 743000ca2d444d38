"""A user's own folder of pictures: ``train/<class>/`` and ``test/<class>/`` or ``val/<class>/``."""

from __future__ import annotations

import logging
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from ..errors import UsageError, nearest
from .decoding import FORMATS, BadPicturesError, printable
from .packing import Packed, PictureFile, pack
from .pictures import DataSplits, Pictures

_log = logging.getLogger(__name__)

#: what desktops leave in folders, besides hidden files
_STRAYS = ("thumbs.db", "desktop.ini")
#: where a file or folder lies, whatever it is called
_Place = tuple[int, int]


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
    for a folder that is missing, unreadable, empty, or of a class that ``train`` does not have;
    a warning for classes that are not tested.
    """
    root = Path(data_dir).expanduser()
    try:
        folders = _shared(root) if test_fraction else _parts(root)
        names = _classes(folders["train"])
        if test_fraction:
            found = _divided(*_pictures(folders["train"], names), test_fraction, names)
        else:
            found = {part: _pictures(folder, names) for part, folder in folders.items()}
    except OSError as error:
        raise UsageError(
            f"cannot read {printable(str(error.filename))}: {error.strerror}"
        ) from None
    files = {part: inside for part, (inside, _) in found.items()}
    packs = _packs(root, folders, files, size, skip)
    loaded = {
        part: _labelled(folders[part], packs[part], labels, names)
        for part, (_, labels) in found.items()
    }
    bad = [
        (files[part][row].path, reason)
        for part, packed in packs.items()
        for row, reason in packed.bad.items()
    ]
    if bad:
        total = sum(map(len, files.values()))
        _log.warning("warning: %s", BadPicturesError(bad, total, "left out"))
    return DataSplits(
        train=loaded["train"],
        test=loaded["test"],
        val=loaded.get("val"),
        classes=tuple(map(printable, names)),
        mean=packs["train"].mean,
        std=packs["train"].std,
        skipped=len(bad),
    )


# --- which files there are


def files_in(folder: str | os.PathLike[str]) -> list[str]:
    """Every file in ``folder`` and below, sorted, but for hidden ones and those of desktops."""
    root = Path(folder)
    try:
        above = [_place(os.stat(parent)) for parent in root.resolve().parents]
        return sorted(file.path for file in _walk(str(root), root.name, above))
    except OSError as error:
        raise UsageError(
            f"cannot read {printable(str(error.filename))}: {error.strerror}"
        ) from None


def _parts(root: Path) -> dict[str, Path]:
    """The folders that train, test and, if there is one apart, validate."""
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UsageError(
            f"data folder {_shown(root)} {problem}: wanted one with train/ and test/ in it; if it "
            "has moved, --data-dir says where to"
        )
    here = {name for name in ("train", "test", "val") if (root / name).is_dir()}
    if "train" not in here or len(here) < 2:
        wanted = "train/<class>/" if "train" not in here else "test/<class>/ or val/<class>/"
        inside = _subfolders(root)
        problem = f"wanted {wanted} in it, found {_listed(f'{name}/' for name in inside)}"
        if inside and not here & {"test", "val"}:
            problem += "; --test-fraction 0.2 takes a fifth of every class to test"
        raise UsageError(f"data folder {_shown(root)}: {problem}")
    parts = {"train": root / "train", "test": root / ("test" if "test" in here else "val")}
    return parts | ({"val": root / "val"} if len(here) == 3 else {})


def _shared(root: Path) -> dict[str, Path]:
    """The one folder of classes in ``root`` that both trains and tests."""
    for part in ("test", "val"):
        if (root / part).is_dir():
            raise UsageError(f"test_fraction must be left out: {_shown(root)} has a {part}/")
    whole = root / "train" if (root / "train").is_dir() else root
    if not whole.is_dir():
        raise UsageError(f"data folder {_shown(root)} does not exist: wanted one of class folders")
    return {"train": whole, "test": whole}


def _divided(
    files: list[PictureFile], labels: list[int], fraction: float, classes: tuple[str, ...]
) -> dict[str, tuple[list[PictureFile], list[int]]]:
    """The files and labels that train, and the ``fraction`` of every class that tests."""
    from .datasets import stratified_split

    train, test = stratified_split(torch.tensor(labels), fraction, 0, classes)
    return {
        part: ([files[row] for row in rows], [labels[row] for row in rows])
        for part, rows in (("train", train.tolist()), ("test", test.tolist()))
    }


def _classes(train: Path) -> tuple[str, ...]:
    names = tuple(_subfolders(train))
    if len(names) < 2:
        raise UsageError(
            f"{_shown(train)}: wanted a folder for each of two or more classes,"
            f" found {_listed(names)}"
        )
    return names


def _pictures(part: Path, classes: tuple[str, ...]) -> tuple[list[PictureFile], list[int]]:
    """The files of one part, class by class, and their labels."""
    label_of = {name: label for label, name in enumerate(classes)}
    above = [_place(os.stat(folder)) for folder in (part, *part.resolve().parents)]
    files: list[PictureFile] = []
    labels: list[int] = []
    for name in _subfolders(part):
        if name not in label_of:
            near = nearest(name, classes)
            hint = f"did you mean {near!r}?" if near else f"they are {_listed(classes)}"
            if near and unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", name):
                hint = "its accents are in another Unicode form there: give both one name"
            raise UsageError(f"{_shown(part / name)}: {name!r} is not a class of train/: {hint}")
        inside = sorted(_walk(str(part / name), name, above))
        if not inside:
            raise UsageError(
                f"class folder {_shown(part / name)}: wanted pictures"
                f" ({', '.join(FORMATS).lower().replace('jpeg', 'jpg')}), found none"
            )
        files += inside
        labels += [label_of[name]] * len(inside)
    if not files:
        raise UsageError(f"{_shown(part)}: wanted a folder of pictures for each class, found none")
    return files, labels


def _walk(folder: str, name: str, above: Iterable[_Place]) -> Iterator[PictureFile]:
    """Every file in ``folder`` and below, ``name`` its path inside the part.

    A link to one of the folders that it lies in counts as a file, which decoding refuses: to
    follow it would not end.
    """
    left = [(folder, name, frozenset(above))]
    while left:
        path, name, around = left.pop()
        try:
            found = os.stat(path)
        except OSError:
            found = os.lstat(path)  # of a link to nowhere, which decoding refuses
        if not stat.S_ISDIR(found.st_mode) or _place(found) in around:
            yield PictureFile.of(path, name, found)
            continue
        around |= {_place(found)}
        for inner in os.listdir(path):
            if not inner.startswith(".") and inner.lower() not in _STRAYS:
                left.append((os.path.join(path, inner), f"{name}/{inner}", around))


def _subfolders(folder: Path) -> list[str]:
    """The names of the folders in ``folder``, sorted; a link to nowhere may have been one."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not os.path.exists(entry.path):
                raise UsageError(
                    f"{printable(entry.path)} is a link to nowhere: repair or remove it"
                )
            if entry.is_dir():
                names.append(entry.name)
    return sorted(names)


def _place(found: os.stat_result) -> _Place:
    return found.st_dev, found.st_ino


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
            f"class folder {_shown(part / classes[label])}: wanted pictures, and none of its"
            f" {labels.count(label):,} files is one that can be read: repair or remove it"
        )
    if absent := sorted(set(range(len(classes))) - set(good)):
        _log.warning(
            "warning: %s has no pictures of %s of the %s classes: %s",
            _shown(part),
            f"{len(absent):,}",
            f"{len(classes):,}",
            _listed(classes[label] for label in absent),
        )
    return Pictures(packed.images, torch.tensor(good))


def _shown(path: Path) -> str:
    return printable(str(path))


def _listed(names: Iterable[str], most: int = 8) -> str:
    shown = list(map(printable, names))
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return (", ".join(shown[:most]) + more) or "none"
