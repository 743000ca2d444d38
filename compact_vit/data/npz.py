"""A user's own arrays: one ``.npz`` file with the pictures and the labels of every part.

Letters: N pictures, C channels, H and W the height and width, K classes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError, listed, printable
from .catalog import PARTS, roles_of
from .pictures import DataSplits, Pictures, channel_sums, resize, statistics, warn_of_dark
from .split import stratified_split
from .tree import readable, shown, warn_of_absent

Array = np.ndarray[Any, np.dtype[Any]]


def load_npz(
    data_file: str | os.PathLike[str], size: tuple[int, int], *, test_fraction: float = 0.0
) -> DataSplits:
    """Load a file of arrays, its pictures scaled and cropped to ``size``, (height, width), pixels.

    It holds ``train_images uint8 [N,H,W]`` or ``[N,H,W,C]``, C 1 or 3, and ``train_labels [N]`` or
    ``[N,1]``, whole numbers or text; the same of ``test``, or of ``val``, which is the validation
    part beside ``test`` and tests alone. These are the names in the files of MedMNIST. The classes
    are the training labels, each once, sorted; or those of ``label_names``, text [K], in its order:
    then labels that are numbers count from 0. Gray pictures get three equal channels, as those of a
    folder do. Statistics are those of the training pictures.

    With ``test_fraction`` there is ``train`` alone, of which that share of every class tests,
    always the same while the labels are. ``UsageError`` for whatever is missing, damaged or of
    another form; a warning for classes without pictures, and for pictures that are black.
    """
    path = Path(os.path.expanduser(data_file))
    with _opened(path) as file:
        parts = _used(path, file.files, divided=test_fraction != 0)
        images = {part: _images(path, file, f"{name}_images") for part, name in parts.items()}
        given = {part: _labels(path, file, f"{name}_labels") for part, name in parts.items()}
        names = _names(path, file) if "label_names" in file.files else None
        checksum = _checksum(file, parts)
    classes, labels = _numbered(path, parts, given, names)
    for part, name in parts.items():
        if not 0 < len(images[part]) == len(labels[part]):
            counts = f"{len(images[part]):,} {name}_images and {len(labels[part]):,} {name}_labels"
            raise _wrong(path, f"wanted pictures, and as many labels, got {counts}")
        warn_of_absent(f"{shown(path)}, {name}_labels,", labels[part].tolist(), classes)
    scaled = {part: resize(found, size).expand(-1, 3, -1, -1) for part, found in images.items()}
    loaded = {part: Pictures(scaled[part], labels[part]) for part in parts}
    if test_fraction:
        loaded = _divided(loaded["train"], test_fraction, classes)
    train = loaded["train"].images
    mean, std = statistics(channel_sums(train), len(train) * size[0] * size[1])
    warn_of_dark(shown(path), mean, std, "scale the values to 0..255 first")
    return DataSplits(
        train=loaded["train"],
        test=loaded["test"],
        val=loaded.get("val"),
        classes=classes,
        mean=mean,
        std=std,
        files=checksum,
    )


def roles_inside(data_file: str | os.PathLike[str]) -> dict[str, str]:
    """What the file's pictures that train, test and validate are called, as far as there."""
    with _opened(Path(os.path.expanduser(data_file))) as file:
        return _roles(file.files)


def _divided(pictures: Pictures, fraction: float, classes: Sequence[str]) -> dict[str, Pictures]:
    """The pictures that train, and the ``fraction`` of every class that tests."""
    way_out = "add pictures, remove the class, or give test_images and test_labels"
    kept, held = stratified_split(
        pictures.labels, fraction, 0, classes, name="test_fraction", way_out=way_out
    )
    return {"train": pictures.part(kept), "test": pictures.part(held)}


# --- what is in the file


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The file of arrays at ``path``; what of it cannot be read within is a ``UsageError``."""
    with readable():
        if not path.is_file():
            problem = "is no file" if path.exists() else "does not exist"
            raise UsageError(
                f"data file {shown(path)} {'is a folder' if path.is_dir() else problem}: wanted "
                "an .npz with train_images, train_labels, test_images and test_labels in it, as "
                "numpy.savez writes; if it has moved, --data-dir says where to"
            )
        opened = path.open("rb")
    with opened:
        if opened.read(2) != b"PK" or not zipfile.is_zipfile(opened):
            raise _wrong(path, "is no .npz, or not whole: numpy.savez writes what is wanted")
        opened.seek(0)
        try:
            with np.load(opened, allow_pickle=False) as file:
                yield file
        except (UsageError, MemoryError):
            raise
        except Exception as error:  # zip, its compressions, numpy's headers: each has its own
            reason = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
            if "allow_pickle" in reason:
                reason = "it holds Python objects: save labels as numbers, or as labels.astype(str)"
            raise _wrong(path, f"cannot be read: {printable(reason)}") from None


def _array(path: Path, file: np.lib.npyio.NpzFile, name: str) -> Array:
    """The array called ``name``; numpy gives the bytes of what is none."""
    array: Array = file[name]
    if not isinstance(array, np.ndarray):
        raise _wrong(path, f"{name} is no array: numpy.savez writes what is wanted")
    return array


def _form(array: Array) -> str:
    return f"{array.dtype} [{','.join(map(str, array.shape))}]"


def _roles(there: Sequence[str]) -> dict[str, str]:
    return roles_of([name for name in PARTS if f"{name}_images" in there])


def _used(path: Path, there: Sequence[str], divided: bool) -> dict[str, str]:
    """What trains, tests and, if there is one apart, validates, and what the file calls it."""
    roles = _roles(there)
    if divided and "test" in roles:
        raise UsageError(
            f"test_fraction must be left out: {shown(path)} has {roles['test']}_images"
        )
    if "train" not in roles or not (divided or "test" in roles):
        lacking = "train_images" if "train" not in roles else "test_images or val_images"
        problem = f"wanted {lacking} in it, found {listed(there)}"
        if "train" in roles:
            problem += "; --test-fraction 0.2 takes a fifth of every class to test"
        raise _wrong(path, problem)
    for name in roles.values():
        if f"{name}_labels" not in there:
            raise _wrong(path, f"wanted {name}_labels in it, found {listed(there)}")
    return roles


def _images(path: Path, file: np.lib.npyio.NpzFile, name: str) -> Tensor:
    """The pictures ``uint8 [N,C,H,W]``, C 1 or 3."""
    array = _array(path, file, name)
    gray = array.ndim == 3
    if array.dtype != np.uint8 or not (gray or (array.ndim == 4 and array.shape[3] in (1, 3))):
        advice = ""
        if array.dtype != np.uint8:
            advice = ": scale them to 0..255 first"
        elif array.ndim == 4 and array.shape[1] in (1, 3):
            advice = ": channels come last, images.transpose(0, 2, 3, 1)"
        wanted = "uint8 [N,H,W], [N,H,W,1] or [N,H,W,3]"
        raise _wrong(path, f"{name} must be {wanted}, got {_form(array)}{advice}")
    if 0 in array.shape[1:]:
        raise _wrong(path, f"{name} must be of one pixel at least, got {list(array.shape)}")
    images = torch.from_numpy(array)
    images = images[:, None] if gray else images.permute(0, 3, 1, 2)
    return images.contiguous()  # a picture's bytes together, as a batch gathers them


def _labels(path: Path, file: np.lib.npyio.NpzFile, name: str) -> Array:
    """The labels [N] as they are: whole numbers, or text."""
    array = _array(path, file, name)
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1 or flat.dtype.kind not in "biuU":
        advice = {"f": ": labels.astype(int)", "S": ": labels.astype(str)"}.get(flat.dtype.kind, "")
        wanted = "one whole number or text a picture"
        raise _wrong(path, f"{name} must be {wanted}, got {_form(array)}{advice}")
    return flat


def _names(path: Path, file: np.lib.npyio.NpzFile) -> tuple[str, ...]:
    """What the classes are called, in the order of their labels."""
    array = _array(path, file, "label_names")
    if array.ndim != 1 or array.dtype.kind != "U":
        raise _wrong(path, f"label_names must be text [K], got {_form(array)}")
    return tuple(array.tolist())


def _checksum(file: np.lib.npyio.NpzFile, parts: dict[str, str]) -> str:
    """Of the arrays, by the checksums that the file has of each."""
    names = {f"{name}_{kind}" for name in parts.values() for kind in ("images", "labels")}
    assert file.zip is not None  # it is open
    entries = ((entry.filename.removesuffix(".npy"), entry.CRC) for entry in file.zip.infolist())
    found = sorted(entry for entry in entries if entry[0] in names)
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _numbered(
    path: Path, parts: dict[str, str], given: dict[str, Array], names: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """The classes, and the labels ``int64 [N]`` of every part, which count them from 0."""
    values = np.unique(given["train"]).tolist()
    if names is not None:
        values = list(names if given["train"].dtype.kind == "U" else range(len(names)))
    if len(values) < 2:
        raise _wrong(path, f"wanted two classes or more, got only {listed(map(repr, values))}")
    classes = tuple(printable(str(value)) for value in (values if names is None else names))
    if len(set(classes)) < len(classes):
        raise _wrong(path, f"wanted each class by a name of its own, got {listed(classes)}")
    label_of = {value: label for label, value in enumerate(values)}
    labels = {}
    for part, name in parts.items():
        found = given[part].tolist()
        if strange := sorted(set(found) - label_of.keys()):
            raise _wrong(
                path,
                f"{name}_labels hold {strange[0]!r}, which is no class of "
                f"{'train_labels' if names is None else 'label_names'}: they are "
                f"{listed(map(repr, values))}",
            )
        labels[part] = torch.tensor([label_of[value] for value in found])
    return classes, labels


def _wrong(path: Path, problem: str) -> UsageError:
    return UsageError(f"data file {shown(path)}: {problem}")
