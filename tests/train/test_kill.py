"""A real process killed (SIGKILL) at random moments and resumed ends as the run never killed.

With mixup, cutmix, averaged weights, AutoAugment, erasing, dropout and drop path on, and a
checkpoint after every step, so that kills also meet the writing of one.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from pathlib import Path

from compact_vit.train import loop, train
from compact_vit.train.run import RunFolder

KILLS = 32


def test_killed_and_resumed(everything, tmp_path, monkeypatch, assert_same_run) -> None:
    import torch

    monkeypatch.syspath_prepend(Path(__file__).parent)  # where the children look, too
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        config = everything(epochs=3)
        whole = train(config, output=tmp_path / "whole", quiet=True)
        seconds = sum(row["seconds"] for row in whole.history)
        kills, runs, draw = 0, 0, random.Random(0)
        while kills < KILLS:
            runs += 1
            output = tmp_path / f"killed{runs}"
            kills += killed_until_done(config, output, draw, 2 * seconds)
            folder = RunFolder.open(output)
            result = loop.resume(output, quiet=True)  # finished: it is read
            assert (folder.path / "summary.json").is_file()
            assert_same_run(whole, result)
        print(f"{kills} kills in {runs} runs")
    finally:
        torch.set_num_threads(threads)


def killed_until_done(config, output: Path, draw: random.Random, longest: float) -> int:
    """Start the run again and again, each time killing it after a while; how often it took."""
    from going_on import go_on

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["compact_vit.train.loop", "torch._dynamo"])
    kills = 0
    while True:
        started = context.Event()
        child = context.Process(target=go_on, args=(config, str(output), started))
        child.start()
        assert started.wait(120)
        child.join(draw.uniform(0.0, longest))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
            longest *= 1.05  # on a machine that has become slower it must end, too
        child.join()
        if child.exitcode == 0:
            return kills
        assert child.exitcode == -signal.SIGKILL
