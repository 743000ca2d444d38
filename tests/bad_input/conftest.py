"""A place where everything is right, and a way to ask wrongly in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from compact_vit.cli import main
from compact_vit.train import train
from compact_vit.train.config import TrainConfig


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A finished run on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(TrainConfig(model="cvt_2_8", epochs=1, device="cpu"), output=folder, quiet=True)
    return folder


@pytest.fixture
def place(tmp_path, finished, monkeypatch) -> Path:
    """The current folder: ``run``, ``pictures`` with two classes, ``a.png`` and ``note.txt``."""
    here = tmp_path / "here"
    shutil.copytree(finished, here / "run")
    for part in ("train", "test"):
        for name, colour in (("cats", (200, 0, 0)), ("dogs", (0, 0, 200))):
            (here / "pictures" / part / name).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (20, 16), colour).save(here / f"pictures/{part}/{name}/{i}.png")
    Image.new("L", (16, 16), 90).save(here / "a.png")
    (here / "note.txt").write_text("not a picture\n")
    (here / "empty").mkdir()
    monkeypatch.chdir(here)
    return here


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def refusal(capsys) -> Callable[[str | list[str]], str]:
    """The one line that a command fails with; nothing else comes of it."""

    def refused(words: str | list[str]) -> str:
        before = contents(Path())
        capsys.readouterr()
        try:
            status = main(words.split() if isinstance(words, str) else words)
        except SystemExit as leaving:
            status = leaving.code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1, captured.err
        assert captured.err.endswith("\n")
        assert "error: " in captured.err
        assert "Traceback" not in captured.err
        assert status == 2
        assert contents(Path()) == before
        return captured.err

    return refused
