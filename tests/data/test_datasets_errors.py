"""Archives that are absent, damaged or wrong: one line that says what to do; and downloads."""

from __future__ import annotations

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from compact_vit.data.datasets import load_dataset
from compact_vit.data.packing import cache_dir
from compact_vit.errors import UsageError


def refusal(name: str, **options: object) -> str:
    """The one line that ``load_dataset`` fails with."""
    with pytest.raises(UsageError) as caught:
        load_dataset(name, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_no_network_says_where_to_put_the_archive(tiny_cifar100):
    archive = tiny_cifar100 / "cifar-100-python.tar.gz"
    archive.unlink()
    said = refusal("cifar100", data_dir=tiny_cifar100)
    assert "http://127.0.0.1:9/cifar-100-python.tar.gz" in said
    assert f"put it into {tiny_cifar100}" in said
    assert "could not be downloaded" in said
    assert list(tiny_cifar100.iterdir()) == []
    said = refusal("cifar100", data_dir=tiny_cifar100, download=False)
    assert "downloading is off" in said
    assert "http://127.0.0.1:9/cifar-100-python.tar.gz" in said


def test_a_home_that_is_not_known(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # a folder of the name ~ would be made here
    assert refusal("folder", data_dir="~nobody-of-this-name/x").startswith(
        "data folder ~nobody-of-this-name/x does not exist"
    )
    monkeypatch.setattr("os.path.expanduser", os.fspath)  # as in a container without users
    monkeypatch.delenv("COMPACT_VIT_DATA", raising=False)
    told = "cannot tell which folder {} is: no home folder is known; give {} a path without ~"
    place = "~/.cache/compact_vit/data"
    assert refusal("mnist") == told.format(place, "COMPACT_VIT_DATA")
    for name, value in (("XDG_CACHE_HOME", ""), ("COMPACT_VIT_CACHE", "~/mine")):
        monkeypatch.delenv("COMPACT_VIT_CACHE", raising=False)
        monkeypatch.setenv(name, value)
        with pytest.raises(UsageError) as caught:
            cache_dir()
        assert str(caught.value) == told.format(value or "~/.cache", "COMPACT_VIT_CACHE")
    assert list(tmp_path.iterdir()) == []


def test_what_a_named_set_does_not_take():
    assert refusal("digits", test_fraction=0.5) == (
        "test_fraction must be left out: Handwritten digits (scikit-learn) has test pictures of "
        "its own, got 0.5"
    )
    assert refusal("mnist", test_fraction=0.5, download=False).startswith("test_fraction must be")
    assert refusal("digits", data_dir=Path("pictures")) == (
        "data_dir must not be given: digits are built in, got 'pictures'; for pictures of your own "
        "choose the data set 'folder'"
    )


def test_no_network_names_every_missing_file(tiny_mnist):
    raw = tiny_mnist / "MNIST" / "raw"
    for name in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (raw / name).unlink()
    said = refusal("mnist", data_dir=tiny_mnist)
    assert "http://127.0.0.1:9/train-images-idx3-ubyte.gz" in said
    assert "t10k-labels-idx1-ubyte.gz" in said
    assert "train-labels" not in said


def test_published_addresses_are_torchvisions(tmp_path):
    from torchvision.datasets import CIFAR10, SVHN, Flowers102

    assert CIFAR10.url in refusal("cifar10", data_dir=tmp_path, download=False)
    assert SVHN.split_list["test"][0] in refusal("svhn", data_dir=tmp_path, download=False)
    said = refusal("flowers102", data_dir=tmp_path, download=False)
    assert Flowers102._download_url_prefix + "102flowers.tgz" in said
    assert str(tmp_path / "flowers-102") in said
    assert "FashionMNIST" in refusal("fashion_mnist", data_dir=tmp_path, download=False)
    assert list(tmp_path.iterdir()) == []


def test_truncated_archive_has_the_wrong_checksum(tiny_cifar10):
    archive = tiny_cifar10 / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:1000])
    for download in (True, False):
        said = refusal("cifar10", data_dir=tiny_cifar10, download=download)
        assert f"{archive} is damaged or another file: its MD5 is" in said
    assert archive.stat().st_size == 1000  # the user's file is left alone


def test_damaged_pickle_behind_right_checksums(tiny_cifar10, monkeypatch):
    from torchvision.datasets import CIFAR10

    load_dataset("cifar10", data_dir=tiny_cifar10)
    unpacked = tiny_cifar10 / "cifar-10-batches-py" / "test_batch"
    unpacked.write_bytes(unpacked.read_bytes()[:500])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", None]])
    assert "are damaged" in refusal("cifar10", data_dir=tiny_cifar10)


@pytest.mark.parametrize("archives_kept", [True, False])
def test_damaged_unpacked_mnist(tiny_mnist, archives_kept):
    load_dataset("mnist", data_dir=tiny_mnist)
    if not archives_kept:
        for archive in (tiny_mnist / "MNIST" / "raw").glob("*.gz"):
            archive.unlink()
    unpacked = tiny_mnist / "MNIST" / "raw" / "train-images-idx3-ubyte"
    unpacked.write_bytes(unpacked.read_bytes()[:-100])
    said = refusal("mnist", data_dir=tiny_mnist)
    assert "are damaged" in said
    assert str(unpacked.parent) in said


def test_labels_out_of_range(tiny_svhn, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    path = tiny_svhn / "test_32x32.mat"
    images = np.zeros((32, 32, 3, 2), np.uint8)
    savemat(path, {"X": images, "y": np.array([[3], [12]], np.uint8)})
    table = SVHN.split_list | {"test": [SVHN.split_list["test"][0], path.name, None]}
    monkeypatch.setattr(SVHN, "split_list", table)
    said = refusal("svhn", data_dir=tiny_svhn)
    assert "labels from 0 to 9" in said
    assert "got 12" in said


def test_unequal_numbers_of_pictures_and_labels(tiny_mnist):
    load_dataset("mnist", data_dir=tiny_mnist)
    raw = tiny_mnist / "MNIST" / "raw"
    labels = raw / "t10k-labels-idx1-ubyte"
    labels.write_bytes((raw / "train-labels-idx1-ubyte").read_bytes())
    assert "got 20 pictures and 60 labels" in refusal("mnist", data_dir=tiny_mnist)


# --- downloads, from a server of our own


@pytest.fixture
def served(tmp_path):
    """A folder, and the address that its files are served at."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_download(tiny_cifar100, served, monkeypatch, tmp_path, capfd):
    from torchvision.datasets import CIFAR100

    folder, address = served
    (tiny_cifar100 / CIFAR100.filename).rename(folder / CIFAR100.filename)
    monkeypatch.setattr(CIFAR100, "url", address + CIFAR100.filename)
    splits = load_dataset("cifar100", data_dir=tmp_path / "new" / "place")
    assert len(splits.train) == 400
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")  # not a terminal: no bar either


def test_download_of_something_else_leaves_nothing(tiny_cifar100, served, monkeypatch, tmp_path):
    from torchvision.datasets import CIFAR100

    folder, address = served
    (folder / CIFAR100.filename).write_bytes(b"<html>log in first</html>")
    monkeypatch.setattr(CIFAR100, "url", address + CIFAR100.filename)
    said = refusal("cifar100", data_dir=tmp_path / "new")
    assert "could not be downloaded" in said
    assert not (tmp_path / "new").exists()


def test_download_replaces_a_damaged_archive(tiny_cifar100, served, monkeypatch):
    from torchvision.datasets import CIFAR100

    folder, address = served
    archive = tiny_cifar100 / CIFAR100.filename
    (folder / archive.name).write_bytes(archive.read_bytes())
    archive.write_bytes(b"half an archive")
    monkeypatch.setattr(CIFAR100, "url", address + archive.name)
    assert len(load_dataset("cifar100", data_dir=tiny_cifar100).test) == 200


def test_server_without_the_file(tiny_cifar100, served, monkeypatch, tmp_path):
    from torchvision.datasets import CIFAR100

    monkeypatch.setattr(CIFAR100, "url", served[1] + CIFAR100.filename)
    assert "(File not found)" in refusal("cifar100", data_dir=tmp_path / "new")


def test_data_dir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    said = refusal("cifar10", data_dir=tmp_path / "file" / "data")
    assert "could not be downloaded" in said
    assert "Not a directory" in said
