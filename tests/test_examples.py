"""The examples run and say what they promise."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SAID = {
    "build_your_own.py": "(1, 7)\n(1, 10)\n",
    "fine_tune.py": "(4, 3)\none step of fine-tuning done\n",
    "train_in_python.py": "of 360 test digits\nsaid [",
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_example(name, capsys) -> None:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert SAID[name] in capsys.readouterr().out
