"""The examples run and say what they promise."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
SAID = {
    "build_your_own.py": "(1, 7)\n(1, 10)\n",
    "cross_validation.py": "of 1,797 digits are told right\n",
    "draw_pictures.py": "ship.png\nairplane.png\n",
    "own_loop.py": "% of 360 digits held out\n",
    "fine_tune.py": "(4, 3)\none step of fine-tuning done\n",
    "train_in_python.py": "of 360 test digits\nsaid [",
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_example(name, capsys, tmp_path, monkeypatch) -> None:
    given = "1" if name == "cross_validation.py" else str(tmp_path)  # epochs, or where to write
    monkeypatch.setattr(sys, "argv", [name, given])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert SAID[name] in capsys.readouterr().out


def test_the_pictures_are_those_that_are_drawn(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["draw_pictures.py", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "draw_pictures.py"), run_name="__main__")
    kept = sorted((EXAMPLES / "pictures").glob("*.png"))
    assert [path.name for path in kept] == ["airplane.png", "ship.png"]
    for path in kept:
        drawn, old = (np.asarray(Image.open(p)).astype(int) for p in (tmp_path / path.name, path))
        assert drawn.shape == old.shape == (96, 96, 3)
        assert abs(drawn - old).mean() < 1  # PIL draws edges a little otherwise from time to time
