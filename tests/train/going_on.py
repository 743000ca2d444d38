"""What the child processes of test_kill.py run: a module of its own, so that they can import it."""

from __future__ import annotations

from pathlib import Path

from compact_vit.train import loop
from compact_vit.train.config import TrainConfig


def go_on(config: TrainConfig, output: str, started) -> None:
    """The child: begin, or resume what is there."""
    import torch

    torch.set_num_threads(1)
    loop.SAVE_SECONDS = -1.0
    loop.write_curves = lambda path, history, config: path.touch()
    started.set()
    folder = Path(output)
    if (folder / "config.json").exists():
        loop.resume(folder, quiet=True)
    else:
        loop.train(config, output=folder, quiet=True)
