"""Which files a folder of pictures holds: its parts, their classes, what is behind links."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import UsageError, listed, nearest, printable
from .catalog import PARTS, roles_of
from .decoding import FORMATS
from .packing import PictureFile

_log = logging.getLogger(__name__)

#: what desktops leave in folders, besides hidden files
_STRAYS = ("thumbs.db", "desktop.ini")
#: what the parts of a data set are called, here and elsewhere
_MEANT = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
#: where a file or folder lies, whatever it is called
_Place = tuple[int, int]


def files_in(folder: str | os.PathLike[str]) -> list[str]:
    """Every file in ``folder`` and below, sorted, but for hidden ones and those of desktops."""
    root = Path(folder)
    with readable():
        above = [_place(os.stat(parent)) for parent in root.resolve().parents]
        return sorted(file.path for file in _walk(str(root), root.name, above))


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """What of files and folders cannot be read within is a ``UsageError``."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot read {printable(str(error.filename))}: {error.strerror}"
        ) from None


def roles_in(root: Path) -> dict[str, str]:
    """What the folders in ``root`` that train, test and validate are called, as far as there."""
    return roles_of([name for name in PARTS if (root / name).is_dir()])


def parts_of(root: Path) -> dict[str, Path]:
    """The folders that train, test and, if there is one apart, validate."""
    _check_there(root, "one with train/ and test/ in it")
    roles = roles_in(root)
    if not {"train", "test"} <= roles.keys():
        wanted = "train/<class>/" if "train" not in roles else "test/<class>/ or val/<class>/"
        inside = _subfolders(root)
        problem = f"wanted {wanted} in it, found {listed(f'{name}/' for name in inside)}"
        if inside and "test" not in roles:
            problem += "; --test-fraction 0.2 takes a fifth of every class to test"
        raise UsageError(f"data folder {shown(root)}: {problem}")
    return {role: root / name for role, name in roles.items()}


def _check_there(root: Path, wanted: str) -> None:
    """Refuse what is no folder, and parts that are called otherwise, or they would be classes."""
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        way_out = "if it has moved, --data-dir says where to"
        if root.suffix == ".npz":
            way_out = "a file of arrays is --dataset npz"
        raise UsageError(f"data folder {shown(root)} {problem}: wanted {wanted}; {way_out}")
    meant = {name: _MEANT.get(name.lower()) for name in _subfolders(root)}
    for name, part in meant.items():
        if part not in (None, name) and "train" in meant.values():
            raise UsageError(
                f"data folder {shown(root)}: wanted train/, test/ and val/ in it, found {name}/: "
                f"rename it to {part}"
            )


def check_apart(parts: dict[str, Path]) -> None:
    """Refuse two ``parts`` that are one folder, or one in the other, behind their links."""
    real = {part: Path(os.path.realpath(folder)) for part, folder in parts.items()}
    for one, other in itertools.permutations(real, 2):
        if real[other].is_relative_to(real[one]):
            raise UsageError(
                f"{one} and {other} must be different pictures, got {shown(parts[other])}, which "
                f"lies in {shown(parts[one])}: give each its own, or one folder of classes with "
                "--test-fraction 0.2"
            )


def shared_folder(root: Path) -> dict[str, Path]:
    """The one folder of classes in ``root`` that both trains and tests."""
    roles = roles_in(root)
    if "test" in roles:
        raise UsageError(f"test_fraction must be left out: {shown(root)} has a {roles['test']}/")
    _check_there(root, "one of class folders")
    whole = root / "train" if "train" in roles else root
    return {"train": whole, "test": whole}


def classes_of(train: Path) -> tuple[str, ...]:
    """The names of the class folders, sorted; ``UsageError`` for fewer than two."""
    names = tuple(_subfolders(train))
    if len(names) < 2:
        raise UsageError(
            f"{shown(train)}: wanted a folder for each of two or more classes,"
            f" found {listed(names)}"
        )
    return names


def pictures_of(
    part: Path, classes: Sequence[str], known_to: str = "train/"
) -> tuple[list[PictureFile], list[int]]:
    """The files of one part, class by class, and their labels by the ``classes`` that are known."""
    label_of = {printable(name): label for label, name in enumerate(classes)}
    above = [_place(os.stat(folder)) for folder in (part, *part.resolve().parents)]
    files: list[PictureFile] = []
    labels: list[int] = []
    for name in _subfolders(part):
        if printable(name) not in label_of:
            near = nearest(name, classes)
            hint = f"did you mean {near!r}?" if near else f"they are {listed(classes)}"
            if near and unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", name):
                hint = "its accents are in another Unicode form there: give both one name"
            raise UsageError(f"{shown(part / name)}: {name!r} is not a class of {known_to}: {hint}")
        inside = sorted(_walk(str(part / name), name, above))
        if not inside:
            raise UsageError(
                f"class folder {shown(part / name)}: wanted pictures"
                f" ({', '.join(FORMATS).lower().replace('jpeg', 'jpg')}), found none"
            )
        files += inside
        labels += [label_of[printable(name)]] * len(inside)
    if not files:
        raise UsageError(f"{shown(part)}: wanted a folder of pictures for each class, found none")
    warn_of_absent(shown(part), labels, classes)
    return files, labels


def warn_of_absent(where: str, labels: Iterable[int], classes: Sequence[str]) -> None:
    """Say of which ``classes`` there is no picture among the ``labels`` of ``where``."""
    if absent := sorted(set(range(len(classes))) - set(labels)):
        _log.warning(
            "warning: %s has no pictures of %s of the %s classes: %s",
            where,
            f"{len(absent):,}",
            f"{len(classes):,}",
            listed(classes[label] for label in absent),
        )


def warn_of_loose(parts: Iterable[Path]) -> None:
    """Say which files lie beside the class folders of ``parts``: they have no class."""
    loose = [
        os.path.join(part.name, entry)
        for part in parts
        for entry in sorted(os.listdir(part))
        if _counts(entry) and not (part / entry).is_dir()
    ]
    if loose:
        told = "warning: left out, for they lie beside the class folders, %s in all: %s"
        _log.warning(told, f"{len(loose):,}", listed(loose))


def _counts(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _STRAYS


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
            if _counts(inner):
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


def shown(path: Path) -> str:
    """``path`` on one line that any stream takes."""
    return printable(str(path))
