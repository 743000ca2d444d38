"""Tiny data sets in the published formats, and a run. No test reaches network or user's cache."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import pickle
import re
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from compact_vit.models.compact import CompactTransformer
from compact_vit.report.costs import Cost, cost_of
from compact_vit.report.measure import costs_of
from compact_vit.train import TrainResult, loop, objective, train
from compact_vit.train.checkpoint import load_checkpoint
from compact_vit.train.config import TrainConfig

#: what a clock says differs from run to run
CLOCK = ("seconds", "pictures_per_second")
#: nobody listens there
NOWHERE = "http://127.0.0.1:9/"

#: kind -> the modules of a compact transformer that are of it, what is inside them apart
KINDS = {
    "tokenizer": r"tokenizer.*",
    "class token": r"class_token",
    "positions": r"positions",
    "attention, linear maps": r"blocks\.\d+\.attn\..*",
    "attention, products": r"blocks\.\d+\.attn",
    "MLP": r"blocks\.\d+\.mlp.*",
    "norms": r"norm|blocks\.\d+\.norm[12]",
    "pooling": r"pool.*",
    "head": r"head",
    "dropout, drop path": r"dropout|blocks\.\d+(\.drop_path)?",
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    """The folder that packs are kept in during one test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("COMPACT_VIT_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def drawing(monkeypatch) -> Callable[..., None]:
    """The function that draws a run's curves, left out of it: half of a tiny run's time."""
    draw = loop.write_curves
    leave_out_curves(monkeypatch)
    return draw


def leave_out_curves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "write_curves", lambda path, history, config: path.touch())


@pytest.fixture(scope="session")
def by_kind() -> Callable[..., dict[str, Cost]]:
    """Where parameters, MACs and activations of a compact transformer sit, measured on itself."""

    def measured(model: CompactTransformer, input_size: tuple[int, int, int]) -> dict[str, Cost]:
        costs = costs_of(model, input_size)
        return {
            kind: cost_of(cost for name, cost in costs.items() if re.fullmatch(modules, name))
            for kind, modules in KINDS.items()
        }

    return measured


@pytest.fixture(scope="module")
def picked(tmp_path_factory) -> Path:
    """A finished run that picked the second of its four epochs, which did not do as the last."""
    said, evaluate = [50.0, 90.0, 70.0, 60.0], objective.evaluate_model

    def told(*asked, **options):
        found = evaluate(*asked, **options)
        return dataclasses.replace(found, accuracy=said.pop(0)) if said else found

    folder = tmp_path_factory.mktemp("runs") / "picked"
    config = TrainConfig(
        model="cvt_2_8", epochs=4, val_fraction=0.2, device="cpu", precision="fp32"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objective, "evaluate_model", told)
        leave_out_curves(patch)
        train(config, output=folder, quiet=True)
    return folder


@pytest.fixture
def timeless() -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Rows of metrics without what a clock says."""
    return lambda rows: [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


@pytest.fixture
def same() -> Callable[[Any, Any], bool]:
    """Whether two nested values are equal, tensors bit for bit."""

    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, torch.Tensor):
            return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(map(equal, a, b))
        return a == b

    return equal


@pytest.fixture
def assert_same_run(same, timeless) -> Callable[[TrainResult, TrainResult], None]:
    """That two runs ended alike, bit for bit: weights, all state, metrics and summary."""

    def check(a: TrainResult, b: TrainResult) -> None:
        for name in ("last.pt", "best.pt"):
            assert same(*(load_checkpoint(run.output / name) for run in (a, b))), name
        assert timeless(a.history) == timeless(b.history)
        lines = [(run.output / "metrics.jsonl").read_text().splitlines() for run in (a, b)]
        assert timeless(map(json.loads, lines[0])) == timeless(map(json.loads, lines[1]))
        assert timeless([a.summary]) == timeless([b.summary])

    return check


def coloured(labels: np.ndarray, size: int, seed: int, channels: int = 3) -> np.ndarray:
    """Pictures ``uint8 [N,C,size,size]`` whose class shows: a level per channel, and noise."""
    random = np.random.default_rng(seed)
    codes = np.stack([labels * 37 % 101, labels * 53 % 97, labels * 71 % 89], 1)[:, :channels]
    noise = random.integers(0, 100, (len(labels), channels, size, size))
    return (codes[:, :, None, None] + noise + 20).astype(np.uint8)


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote: byte strings, protocol 2, numpy under its old name."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, text: str | bytes) -> None:
        raw = text.encode() if isinstance(text, str) else text
        short = len(raw) < 256
        self.write(b"U" + bytes([len(raw)]) if short else b"T" + struct.pack("<i", len(raw)))
        self.write(raw)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string

    def save_global(self, obj, name=None) -> None:
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(f"c{module}\n{obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch[type] = dispatch[type(coloured)] = save_global


def python2_pickle(value: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def write_tar(path: Path, folder: str, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def patch_cifar(monkeypatch, kind: type, path: Path, files: dict[str, bytes]) -> None:
    """Make torchvision's ``kind`` expect the tiny archive in ``path``."""
    sums = {name: md5(data) for name, data in files.items()}
    for attribute in ("train_list", "test_list"):
        parts = [[name, sums[name]] for name, _ in getattr(kind, attribute)]
        monkeypatch.setattr(kind, attribute, parts)
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums[kind.meta["filename"]]})
    monkeypatch.setattr(kind, "tgz_md5", md5(path.read_bytes()))
    monkeypatch.setattr(kind, "url", NOWHERE + kind.filename)


@pytest.fixture
def tiny_cifar10(tmp_path, monkeypatch) -> Path:
    """A data folder with an archive of CIFAR-10's format: 200 pictures to train, 50 to test."""
    from torchvision.datasets import CIFAR10

    def batch(count: int, seed: int, title: str) -> bytes:
        labels = np.arange(count) % 10
        return python2_pickle(
            {
                "batch_label": title,
                "labels": labels.tolist(),
                "data": coloured(labels, 32, seed).reshape(count, 3072),
                "filenames": [f"picture_s_{i:06d}.png" for i in range(count)],
            }
        )

    names = ["airplane", "automobile", "bird", "cat", "deer"]
    names += ["dog", "frog", "horse", "ship", "truck"]
    meta = {"num_cases_per_batch": 40, "label_names": names, "num_vis": 3072}
    files = {"batches.meta": python2_pickle(meta)}
    for i in range(1, 6):
        files[f"data_batch_{i}"] = batch(40, i, f"training batch {i} of 5")
    files["test_batch"] = batch(50, 0, "testing batch 1 of 1")
    path = tmp_path / "cifar10" / CIFAR10.filename
    write_tar(path, "cifar-10-batches-py", files)
    patch_cifar(monkeypatch, CIFAR10, path, files)
    return path.parent


@pytest.fixture
def tiny_cifar100(tmp_path, monkeypatch) -> Path:
    """A data folder with an archive of CIFAR-100's format: 400 pictures to train, 200 to test."""
    from torchvision.datasets import CIFAR100

    def part(count: int, seed: int, title: str) -> bytes:
        labels = np.arange(count) % 100
        return python2_pickle(
            {
                "filenames": [f"picture_s_{i:06d}.png" for i in range(count)],
                "batch_label": title,
                "fine_labels": labels.tolist(),
                "coarse_labels": (labels // 5).tolist(),
                "data": coloured(labels, 32, seed).reshape(count, 3072),
            }
        )

    meta = {
        "fine_label_names": [f"fine_{i:02d}" for i in range(100)],
        "coarse_label_names": [f"coarse_{i:02d}" for i in range(20)],
    }
    files = {
        "meta": python2_pickle(meta),
        "test": part(200, 0, "testing batch 1 of 1"),
        "train": part(400, 1, "training batch 1 of 1"),
    }
    path = tmp_path / "cifar100" / CIFAR100.filename
    write_tar(path, "cifar-100-python", files)
    patch_cifar(monkeypatch, CIFAR100, path, files)
    return path.parent


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch) -> Path:
    """A data folder with archives of MNIST's format: 60 pictures to train, 20 to test."""
    from torchvision.datasets import MNIST

    folder = tmp_path / "mnist" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    sums = []
    for part, count in (("train", 60), ("t10k", 20)):
        labels = np.arange(count) % 10
        images = coloured(labels, 28, count, channels=1)
        files = {
            f"{part}-images-idx3-ubyte.gz": struct.pack(">4i", 2051, count, 28, 28)
            + images.tobytes(),
            f"{part}-labels-idx1-ubyte.gz": struct.pack(">2i", 2049, count)
            + labels.astype(np.uint8).tobytes(),
        }
        for name, data in files.items():
            (folder / name).write_bytes(gzip.compress(data, mtime=0))
            sums.append((name, md5((folder / name).read_bytes())))
    monkeypatch.setattr(MNIST, "resources", sums)
    monkeypatch.setattr(MNIST, "mirrors", [NOWHERE])
    return folder.parents[1]


@pytest.fixture
def tiny_svhn(tmp_path, monkeypatch) -> Path:
    """A data folder with files of SVHN's format, zeros labelled 10: 40 to train, 20 to test."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    folder = tmp_path / "svhn"
    folder.mkdir()
    table = {}
    for part, count in (("train", 40), ("test", 20)):
        labels = np.arange(count) % 10 + 1
        images = coloured(labels, 32, count).transpose(2, 3, 1, 0)  # [H,W,C,N]
        path = folder / f"{part}_32x32.mat"
        savemat(path, {"X": images, "y": labels[:, None].astype(np.uint8)})
        table[part] = [NOWHERE + path.name, path.name, md5(path.read_bytes())]
    monkeypatch.setattr(SVHN, "split_list", table)
    return folder


@pytest.fixture
def picture_folder(tmp_path) -> Path:
    """A folder data set, ``train`` and ``test``: 3 classes of 12 and 4 pictures of many shapes."""
    from PIL import Image

    root = tmp_path / "pictures"
    shapes = [(32, 32), (40, 32), (32, 50), (64, 48)]
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for label, name in enumerate(("blue", "green", "red")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 120, (*shapes[i % 4], 3)).astype(np.uint8)
                pixels[..., 2 - label] += 120
                path = root / part / name / f"{i:02d}.{('png', 'jpg', 'bmp')[i % 3]}"
                Image.fromarray(pixels).save(path)
    return root
