"""Archives with wrong checksums: every file of every data set, named with what to do."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from compact_vit import files
from compact_vit.cli import main
from compact_vit.data import archives
from compact_vit.data.datasets import load_dataset
from compact_vit.errors import UsageError

MNIST = [f"MNIST/raw/{part}-{kind}-ubyte.gz"
         for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]  # fmt: skip
ARCHIVES = [
    ("cifar10", "tiny_cifar10", "cifar-10-python.tar.gz"),
    ("cifar100", "tiny_cifar100", "cifar-100-python.tar.gz"),
    *(("mnist", "tiny_mnist", name) for name in MNIST),
    *(("fashion_mnist", "tiny_fashion_mnist", "Fashion" + name) for name in MNIST),
    *(("svhn", "tiny_svhn", f"{part}_32x32.mat") for part in ("train", "test")),
]


@pytest.fixture
def tiny_fashion_mnist(tiny_mnist, monkeypatch) -> Path:
    """The tiny archives of MNIST where those of Fashion-MNIST belong."""
    from torchvision.datasets import MNIST, FashionMNIST

    (tiny_mnist / "MNIST").rename(tiny_mnist / "FashionMNIST")
    monkeypatch.setattr(FashionMNIST, "resources", MNIST.resources)
    monkeypatch.setattr(FashionMNIST, "mirrors", MNIST.mirrors)
    return tiny_mnist


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(("name", "fixture", "archive"), ARCHIVES)
@pytest.mark.parametrize("damage", [flipped, cut, emptied])
def test_a_wrong_checksum_is_named(request, name, fixture, archive, damage):
    root = request.getfixturevalue(fixture)
    path = root / archive
    right = hashlib.md5(path.read_bytes()).hexdigest()
    damage(path)
    wrong = path.read_bytes()
    for download in (True, False):
        with pytest.raises(UsageError) as caught:
            load_dataset(name, data_dir=root, img_size=8, download=download)
        said = str(caught.value)
        assert len(said.splitlines()) == 1
        assert (
            f"{path} is damaged or another file: its MD5 is {hashlib.md5(wrong).hexdigest()},"
            f" wanted {right}; delete it, or replace it by http://127.0.0.1:9/" in said
        )
        assert path.read_bytes() == wrong  # the user's file is left alone


@pytest.mark.parametrize("name", ["cifar10", "mnist", "svhn"])
def test_by_the_command(request, name, tmp_path, capsys):
    root = request.getfixturevalue(f"tiny_{name}")
    archive = next(archive for named, _, archive in ARCHIVES if named == name)
    flipped(root / archive)
    words = ["train", "--dataset", name, "--data-dir", str(root), "--output", str(tmp_path / "run")]
    assert main(words) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert f"{root / archive} is damaged or another file" in shown.err
    assert not (tmp_path / "run").exists()


def test_who_comes_while_another_fetches_waits_and_downloads_nothing(
    tiny_cifar100, tmp_path, monkeypatch
):
    folder, waiting = tmp_path / "data", threading.Event()
    folder.mkdir()
    monkeypatch.setattr(files, "time", SimpleNamespace(sleep=lambda seconds: waiting.set()))
    with ThreadPoolExecutor(1) as pool:
        with files.alone_with(folder / ".fetching", "nobody"):
            loading = pool.submit(load_dataset, "cifar100", data_dir=folder)
            assert waiting.wait(60)
            load_dataset("cifar100", data_dir=tiny_cifar100)  # unpacks, there
            shutil.copytree(tiny_cifar100, folder, dirs_exist_ok=True)
        assert len(loading.result(60).train) == 400
    assert not (folder / ".fetching").exists()


def test_who_waited_is_alone_too(tmp_path, monkeypatch):
    """The file that the first deletes is the one that the second waits for."""
    path, waiting, within, done = tmp_path / "lock", *(threading.Event() for _ in range(3))
    monkeypatch.setattr(files, "time", SimpleNamespace(sleep=lambda seconds: waiting.set()))

    def second() -> bool:
        with files.alone_with(path, "the first") as waited:
            within.set()
            return done.wait(60) and waited

    with ThreadPoolExecutor(1) as pool:
        with files.alone_with(path, "nobody"):
            coming = pool.submit(second)
            assert waiting.wait(60)
        try:
            assert within.wait(60)
            with path.open("ab") as third:
                assert not files.lock(third.fileno())
        finally:
            done.set()
        assert coming.result(60)
    assert not path.exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
        MemoryError("no memory"),
    ],
)
def test_what_the_system_refuses_is_not_called_damage(tiny_cifar100, monkeypatch, error):
    """Whole files of somebody else's must not be deleted for it."""

    def refused(*given):
        raise error

    source = dataclasses.replace(archives._SOURCES["cifar100"], read=refused)
    monkeypatch.setitem(archives._SOURCES, "cifar100", source)
    with pytest.raises(UsageError, match="CIFAR-100: cannot read or unpack it in") as caught:
        load_dataset("cifar100", data_dir=tiny_cifar100)
    assert str(getattr(error, "strerror", None) or error) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value)
    assert list(tiny_cifar100.glob("*.tar.gz"))
