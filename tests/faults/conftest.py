"""Runs of a moment: twelve pictures of 8x8, the smallest model; and what a command answers."""

from __future__ import annotations

import hashlib
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compact_vit.cli import main
from compact_vit.train import loop, train
from compact_vit.train.config import TrainConfig


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder data set: two classes of 4 pictures to train and 2 to test, 8x8."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    random = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("cats", "dogs")):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 200, (8, 8, 3)) + 50 * label
                path = folder / part / name / f"{i}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope="session")
def few(pictures) -> Callable[..., TrainConfig]:
    """A configuration on those, two steps an epoch; other values by keyword."""

    def configured(**values: Any) -> TrainConfig:
        base = {
            "dataset": "folder",
            "data_dir": str(pictures),
            "model": "cvt_2_8",
            "img_size": 8,
            "epochs": 2,
            "batch_size": 4,
            "device": "cpu",
        }
        return TrainConfig(**base | values)

    return configured


@pytest.fixture(scope="session")
def flags() -> Callable[[TrainConfig], list[str]]:
    """The words after ``train`` that ask for a configuration of ``few``."""
    names = ("dataset", "data_dir", "model", "img_size", "epochs", "batch_size", "device")

    def worded(config: TrainConfig) -> list[str]:
        pairs = ((f"--{name.replace('_', '-')}", str(getattr(config, name))) for name in names)
        return [word for pair in pairs for word in pair]

    return worded


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    """A run's curves and page are left out: they take longer than the run."""
    leave_out(monkeypatch)


def leave_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "write_curves", lambda path, history, config: path.touch())
    patch.setattr(loop, "write_page", lambda *args: None)


@pytest.fixture(scope="session")
def _finished(tmp_path_factory, few) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPACT_VIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        leave_out(patch)
        folder = tmp_path_factory.mktemp("runs") / "run"
        train(few(), output=folder, quiet=True)
    return folder


@pytest.fixture
def place(tmp_path, _finished, monkeypatch) -> Path:
    """The current folder: a finished run ``run``, a picture ``a.png`` and a stranger's file."""
    here = tmp_path / "here"
    shutil.copytree(_finished, here / "run")
    Image.new("RGB", (9, 8), (200, 10, 10)).save(here / "a.png")
    (here / "mine.txt").write_text("nobody else's\n")
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def answer(capsys) -> Callable[..., SimpleNamespace]:
    """What a command answers, run here: status, what it printed, and what it complained of.

    Whatever it raises is a failure of the test, and so is more than one line of complaint.
    """

    def answered(*words: str) -> SimpleNamespace:
        capsys.readouterr()
        try:
            status = main(words)
        except SystemExit as leaving:
            status = leaving.code
        captured = capsys.readouterr()
        if status == 2:
            assert captured.err.count("\n") == 1, captured.err
            assert "error: " in captured.err
        return SimpleNamespace(status=status, out=captured.out, err=captured.err)

    return answered


@pytest.fixture
def once(monkeypatch) -> Callable[..., None]:
    """Have something done before call number ``call`` of ``owner.name``."""

    def arrange(owner: object, name: str, call: int, act: Callable[[], object]) -> None:
        original, calls = getattr(owner, name), []

        def counted(*args: Any, **options: Any) -> Any:
            calls.append(1)
            if len(calls) == call:
                act()
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    return arrange


class Hang(BaseException):
    """It took too long."""


@pytest.fixture
def soon() -> Callable[[int], Any]:
    """A context that may take so many seconds, many times what it needs."""

    @contextmanager
    def limited(seconds: int) -> Iterator[None]:
        def give_up(number: int, frame: object) -> None:
            raise Hang

        before = signal.signal(signal.SIGALRM, give_up)
        signal.alarm(seconds)
        try:
            yield
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    return limited


@pytest.fixture
def surroundings() -> Callable[[Path], dict[str, str]]:
    """Everything under a folder but what is in ``run``: names, and what files hold."""

    def listed(folder: Path) -> dict[str, str]:
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            for path in sorted(folder.rglob("*"))
            if "run" not in path.relative_to(folder).parts[:-1]
        }

    return listed
