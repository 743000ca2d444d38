"""What the child processes of tests run: a module of its own, so that they can import it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from compact_vit.train import epoch, loop
from compact_vit.train.config import TrainConfig


def go_on(config: TrainConfig, output: str, started) -> None:
    """Begin, or resume what is there."""
    import torch

    torch.set_num_threads(1)
    epoch.SAVE_SECONDS = -1.0
    loop.write_curves = lambda path, history, config: path.touch()
    started.set()
    folder = Path(output)
    if (folder / "config.json").exists():
        loop.resume(folder, quiet=True)
    else:
        loop.train(config, output=folder, quiet=True)


def join(rank: int, count: int, port: int) -> None:
    """Be the process ``rank`` of ``count``, as ``torchrun`` would have it."""
    import torch

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def together(rank: int, count: int, port: int, config: TrainConfig, output: str, die: int) -> None:
    """One of several processes of a run; the last of them dies in step ``die``, if that is one."""
    join(rank, count, port)
    loop.write_curves = lambda path, history, config: path.touch()
    original, calls = epoch.train_step, []

    def counted(*args):
        calls.append(1)
        if len(calls) == die and rank == count - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args)

    epoch.train_step = counted
    go_on(config, output, _Nobody())


def steps(
    rank: int, count: int, port: int, config: TrainConfig, dtype_name: str, output: str
) -> None:
    """Take the steps of one epoch in a precision; the first process saves the weights."""
    import torch

    from compact_vit.train.distributed import processes
    from compact_vit.train.inputs import build_train_batch, load_splits
    from compact_vit.train.state import build_state, compiled_forward

    join(rank, count, port)
    dtype = getattr(torch, dtype_name)
    with processes() as many:
        splits = load_splits(config)
        state = build_state(config, splits, torch.device("cpu"), many)
        state.model.to(dtype)
        state.ema.to(dtype)
        forward, batch = compiled_forward(state), build_train_batch(config, splits)
        for images, labels in state.loader:
            state.reseed()
            x, targets = batch(images, labels, 0, state.augmentation)
            epoch.train_step(state, config, forward, x.to(dtype), targets)
        if many.first:
            torch.save((state.model.state_dict(), state.ema.state_dict()), output)


class _Nobody:
    """An event that nobody waits for."""

    def set(self) -> None:
        pass


def differ(rank: int, count: int, port: int, config: TrainConfig, output: str) -> None:
    """The second of two machines has one label that the first has not."""
    import pytest

    from compact_vit.errors import UsageError
    from compact_vit.train import inputs

    join(rank, count, port)
    load = inputs.load_splits

    def loaded(config: TrainConfig):
        splits = load(config)
        splits.train.labels[0] += rank
        return splits

    inputs.load_splits = loaded
    with pytest.raises(UsageError, match="must read the same pictures"):
        loop.train(config, output=output, quiet=True)


def crowd(rank: int, count: int, port: int, config: TrainConfig, output: str) -> None:
    """Two processes on a machine that says it has one GPU."""
    import pytest
    import torch

    from compact_vit.errors import UsageError

    join(rank, count, port)
    loop.pick_device = lambda name: torch.device("cuda")
    torch.cuda.device_count = lambda: 1
    with pytest.raises(UsageError, match="start at most 1 there"):
        loop.train(config, output=output, quiet=True)


def quarrel(rank: int, count: int, port: int) -> None:
    """What processes do together: the first's result, everybody's error, turns on a machine."""
    import torch

    from compact_vit.errors import UsageError
    from compact_vit.train.distributed import processes

    def refuse() -> None:
        raise UsageError(f"refused by {rank}")

    def error(make) -> str:
        try:
            make()
        except UsageError as raised:
            return str(raised)
        return "none"

    join(rank, count, port)
    with processes() as many:
        assert many.share(lambda: rank) == 0
        assert many.agree(lambda: rank) == rank
        assert many.in_turns(lambda: rank) == rank
        assert error(lambda: many.share(refuse)) == "refused by 0"
        assert error(lambda: many.agree(refuse if rank == 1 else int)) == "refused by 1"
        assert many.most(10 * rank) == 10 * (count - 1)
        rows = many.gather(torch.full((rank,), rank))
        assert rows.tolist() == [n for n in range(count) for _ in range(n)]
