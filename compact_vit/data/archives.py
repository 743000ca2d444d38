"""Published archives, fetched and read by torchvision with its checksums; one line if that fails.

Letters: N pictures, C channels, H and W the height and width.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import UsageError
from ..files import alone_with
from .catalog import DatasetInfo
from .decoding import BadPicturesError, of_the_system
from .packing import PictureFile, pack
from .pictures import DataSplits, Pictures, resize

#: seconds without an answer after which a server counts as absent
_PATIENCE = 30.0


@dataclass(frozen=True)
class _Archive:
    """A published file: where it belongs, where it comes from, its MD5."""

    path: Path
    url: str
    md5: str
    #: what it unpacks to, where torchvision takes that as it is, without a checksum
    unpacked: Path | None = None

    def intact(self) -> bool:
        from torchvision.datasets.utils import check_integrity

        return check_integrity(self.path, self.md5)

    def present(self) -> bool:
        return self.path.exists() or (self.unpacked is not None and self.unpacked.exists())


class _Parts(NamedTuple):
    """What is read from an archive; the statistics only where none are published."""

    train: Pictures
    test: Pictures
    classes: tuple[str, ...]
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None


@dataclass(frozen=True)
class _Source:
    """A data set of torchvision: its class there, and how that class is asked."""

    kind: str
    archives: Callable[[Any, Path], list[_Archive]]
    #: (class, root, size, download) -> the parts
    read: Callable[[Any, Path, tuple[int, int], bool], _Parts]


def load_archive(
    info: DatasetInfo, root: Path, size: tuple[int, int], download: bool
) -> DataSplits:
    """The data set ``info`` from its archives in ``root``, pictures resized to ``size`` (H, W)."""
    parts = _read(info, root, size, download)
    train, test = (Pictures(resize(p.images, size), p.labels) for p in (parts.train, parts.test))
    if parts.statistics:
        mean, std = parts.statistics
    else:
        assert info.mean, f"{info.name}: no mean published or measured"
        assert info.std, f"{info.name}: no deviation published or measured"
        mean, std = info.mean, info.std
    return DataSplits(train, test, None, parts.classes, mean, std)


def _read(info: DatasetInfo, root: Path, size: tuple[int, int], download: bool) -> _Parts:
    """Read what is unpacked in ``root``, else unpack what is there, else download it."""
    import torchvision.datasets

    source = _SOURCES[info.name]
    kind = getattr(torchvision.datasets, source.kind)
    if _is_unpacked(kind, root):
        root = root.resolve().parent
    archives = source.archives(kind, root)
    read = functools.partial(source.read, kind, root, size)
    with contextlib.suppress(Exception):  # whatever is wrong shows again below
        return read(False)
    had_root = root.exists()
    if download:
        with contextlib.suppress(OSError):  # which shows again below
            root.mkdir(parents=True, exist_ok=True)
    try:
        doing = f"another process that fetches or unpacks into {root}"
        with alone_with(root / ".fetching", doing) as waited:  # two would damage one another's
            if waited:
                with contextlib.suppress(Exception):
                    return read(False)
            return _fetched(info, archives, read, download)
    finally:
        if not had_root:  # the empty folders that were made, of what came to nothing
            for folder, _, _ in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)


def _is_unpacked(kind: Any, root: Path) -> bool:
    """Whether ``root`` is what an archive of CIFAR was unpacked to, not the folder it lies in."""
    inside = getattr(kind, "meta", {}).get("filename")
    return inside is not None and (root / inside).is_file()


def _fetched(
    info: DatasetInfo, archives: list[_Archive], read: Callable[[bool], _Parts], download: bool
) -> _Parts:
    """What ``read`` gives of ``archives`` that have to be unpacked, or downloaded before."""
    before = {archive.path for archive in archives if archive.path.exists()}
    try:
        # archives that somebody put there are unpacked by torchvision's download, without a network
        unpack = download or all(archive.intact() for archive in archives)
        return read(unpack)
    except BadPicturesError as error:
        folder = os.path.dirname(error.found[0][0])
        raise UsageError(f"{info.title}: {error}: delete {folder} and run again") from None
    except UsageError:
        raise
    except Exception as error:  # unpickling, unzipping, parsing: damage has no common class
        for archive in archives:  # a download that broke off
            if archive.path.exists() and archive.path not in before and not archive.intact():
                archive.path.unlink()
        raise _diagnosis(info, archives, download, error) from None


def _diagnosis(
    info: DatasetInfo, archives: list[_Archive], download: bool, error: Exception
) -> UsageError:
    """Why ``archives`` could not be read, and what to do about it."""
    from torchvision.datasets.utils import calculate_md5

    reason = str(getattr(error, "reason", error)).strip() or type(error).__name__
    reason = reason.splitlines()[-1].strip("<>. ")
    for archive in archives:
        if archive.path.is_file() and not os.access(archive.path, os.R_OK):
            return UsageError(f"{info.title}: cannot read {archive.path}: {reason}")
        if archive.path.is_file() and not archive.intact():
            return UsageError(
                f"{info.title}: {archive.path} is damaged or another file: its MD5 is"
                f" {calculate_md5(archive.path)}, wanted {archive.md5}; delete it, or replace it"
                f" by {archive.url}"
            )
    folder = archives[0].path.parent
    absent = [archive for archive in archives if not archive.present()]
    if absent:
        names = ", ".join(archive.path.name for archive in absent)
        urls = ", ".join(archive.url for archive in absent)
        why = f"could not be downloaded ({reason})" if download else "downloading is off"
        return UsageError(
            f"{info.title}: wanted {names} in {folder}, not found there, and {why}:"
            f" fetch {urls} and put {'it' if len(absent) == 1 else 'them'} into {folder}"
        )
    if of_the_system(error):  # a right, a disk, memory: the files may be whole
        return UsageError(
            f"{info.title}: cannot read or unpack it in {folder} ({reason}): mend that, or put its "
            "archives where there is room to unpack them, and give --data-dir"
        )
    return UsageError(
        f"{info.title}: its unpacked files in {folder} are damaged ({reason}):"
        " delete them and run again"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on standard output, progress only on a terminal, no endless wait for a server."""
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            if not sys.stderr.isatty():
                stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield
    finally:
        socket.setdefaulttimeout(patience)


# --- CIFAR-10 and CIFAR-100: one tar of pickled rows, red, green and blue planes in turn


def _cifar_archives(kind: Any, root: Path) -> list[_Archive]:
    return [_Archive(root / kind.filename, kind.url, kind.tgz_md5)]


def _read_cifar(kind: Any, root: Path, size: tuple[int, int], download: bool) -> _Parts:
    with _quiet():
        train = kind(root, train=True, download=download)
        test = kind(root, train=False)
    return _Parts(_from_rows(train), _from_rows(test), tuple(train.classes))


def _from_rows(part: Any) -> Pictures:
    images = torch.from_numpy(part.data).permute(0, 3, 1, 2)  # [N,H,W,C] -> [N,C,H,W]
    return Pictures(images.contiguous(), torch.tensor(part.targets))


# --- MNIST and Fashion-MNIST: four gzipped files of bytes behind a short header


def _mnist_archives(kind: Any, root: Path) -> list[_Archive]:
    folder = root / kind.__name__ / "raw"
    return [
        _Archive(folder / name, kind.mirrors[0] + name, md5, (folder / name).with_suffix(""))
        for name, md5 in kind.resources
    ]


def _read_mnist(kind: Any, root: Path, size: tuple[int, int], download: bool) -> _Parts:
    with _quiet():
        train = kind(root, train=True, download=download)
        test = kind(root, train=False)
    classes = tuple(name.split(" - ")[0] for name in kind.classes)  # MNIST's are "0 - zero"
    return _Parts(_from_grey(train), _from_grey(test), classes)


def _from_grey(part: Any) -> Pictures:
    return Pictures(part.data[:, None], part.targets)  # [N,H,W] -> [N,1,H,W]


# --- SVHN: a MATLAB file for each part


def _svhn_archives(kind: Any, root: Path) -> list[_Archive]:
    files = (kind.split_list[part] for part in ("train", "test"))
    return [_Archive(root / name, url, md5) for url, name, md5 in files]


def _read_svhn(kind: Any, root: Path, size: tuple[int, int], download: bool) -> _Parts:
    with _quiet():
        train = kind(root, split="train", download=download)
        test = kind(root, split="test", download=download)
    return _Parts(_from_planes(train), _from_planes(test), tuple("0123456789"))


def _from_planes(part: Any) -> Pictures:
    images = np.ascontiguousarray(part.data)  # [N,C,H,W], read as [H,W,C,N]
    return Pictures(torch.from_numpy(images), torch.from_numpy(part.labels))


# --- Oxford 102 Flowers: a tar of JPEGs of all sizes, labels and parts in MATLAB files


def _flowers_archives(kind: Any, root: Path) -> list[_Archive]:
    prefix, files = kind._download_url_prefix, kind._file_dict.values()
    return [_Archive(root / "flowers-102" / name, prefix + name, md5) for name, md5 in files]


def _read_flowers(kind: Any, root: Path, size: tuple[int, int], download: bool) -> _Parts:
    with _quiet():
        train = kind(root, split="train", download=download, loader=str)
        val = kind(root, split="val", loader=str)
        test = kind(root, split="test", loader=str)
    fitted, mean, std = _from_files([train, val], size, "flowers102/train")
    tested, _, _ = _from_files([test], size, "flowers102/test")
    return _Parts(fitted, tested, tuple(kind.classes), (mean, std))


def _from_files(
    parts: Sequence[Any], size: tuple[int, int], title: str
) -> tuple[Pictures, tuple[float, ...], tuple[float, ...]]:
    """Pictures and statistics of parts that give a path and a label for every picture."""
    pairs = [part[index] for part in parts for index in range(len(part))]
    files = [PictureFile.of(path, os.path.basename(path), os.stat(path)) for path, _ in pairs]
    packed = pack(files, size, title)
    labels = torch.tensor([label for _, label in pairs])
    return Pictures(packed.images, labels), packed.mean, packed.std


_SOURCES = {
    "cifar10": _Source("CIFAR10", _cifar_archives, _read_cifar),
    "cifar100": _Source("CIFAR100", _cifar_archives, _read_cifar),
    "mnist": _Source("MNIST", _mnist_archives, _read_mnist),
    "fashion_mnist": _Source("FashionMNIST", _mnist_archives, _read_mnist),
    "svhn": _Source("SVHN", _svhn_archives, _read_svhn),
    "flowers102": _Source("Flowers102", _flowers_archives, _read_flowers),
}
