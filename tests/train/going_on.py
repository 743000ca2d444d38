"""What the child processes of tests run: a module of its own, so that they can import it."""

from __future__ import annotations

import dataclasses
import hashlib
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
    from datetime import timedelta

    import torch
    import torch.distributed as dist

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
    begin, given = dist.init_process_group, {}

    def noted(*args, **options) -> None:
        given.update(options)
        begin(*args, **options)

    dist.init_process_group = noted
    with processes() as many:
        assert given["timeout"] >= timedelta(hours=12)  # one may decode for so long
        assert many.each(str(rank)) == [str(other) for other in range(count)]
        assert many.share(lambda: rank) == 0
        assert many.agree(lambda: rank) == rank
        assert many.in_turns(lambda: rank) == rank
        assert error(lambda: many.share(refuse)) == "refused by 0"
        assert error(lambda: many.agree(refuse if rank == 1 else int)) == "refused by 1"
        assert many.most(10 * rank) == 10 * (count - 1)
        rows = many.gather(torch.full((rank,), rank))
        assert rows.tolist() == [n for n in range(count) for _ in range(n)]


def vanish(rank: int, count: int, port: int, config: TrainConfig, output: str) -> None:
    """The last of the processes is killed while it reads the pictures."""
    import pytest

    from compact_vit.errors import UsageError
    from compact_vit.train import inputs

    join(rank, count, port)
    load = inputs.load_splits

    def loaded(config: TrainConfig):
        if rank == count - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(config)

    inputs.load_splits = loaded
    with pytest.raises(UsageError, match="out of reach: start all of them again, with --resume"):
        loop.train(config, output=output, quiet=True)


def depart(rank: int, count: int, port: int, config: TrainConfig, output: str) -> None:
    """All stop at a time limit, and the first is slow to write."""
    import pytest

    from compact_vit.errors import Stopped
    from compact_vit.train import save

    join(rank, count, port)
    write = save.save_checkpoint

    def slowly(*args, **options) -> None:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)
        write(*args, **options)

    save.save_checkpoint = slowly
    with pytest.raises(Stopped, match="saved: go on with --resume"):
        loop.train(config, output=output, quiet=True, time_limit=1e-3)
    assert Path(output, "last.pt").exists()


def compile_apart(rank: int, count: int, port: int, config: TrainConfig) -> None:
    """The second of two cannot compile, or finds that it fails; in the end nobody does."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from compact_vit.train import state as states
    from compact_vit.train.distributed import processes
    from compact_vit.train.inputs import load_splits

    join(rank, count, port)
    rehearse, splits = states.rehearse, load_splits(config)
    states.compile_model = lambda model, graphs: model

    def compiled(can: bool, failure: str, together) -> states.TrainState:
        state = states.build_state(config, splits, torch.device("cpu"), together)
        state.choices = dataclasses.replace(state.choices, compile=can, notes=())
        states.rehearse = lambda *args, **options: failure or rehearse(*args, **options)
        assert isinstance(states.compiled_forward(state), DistributedDataParallel)
        return state

    with processes() as many:
        state = compiled(rank == 0, "", many)
        left_out = ("not compiled: another process of the run cannot",)
        assert (state.choices.compile, state.choices.notes) == (False, ((), left_out)[rank == 0])
        state = compiled(True, "no room" if rank == 1 else "", many)
        assert not state.choices.compile
        assert state.choices.notes == ("not compiled: torch.compile fails here: no room",)
        assert compiled(True, "", many).choices.compile


def ask_apart(rank: int, count: int, port: int, config: TrainConfig, output: str) -> None:
    """Machines that are each given a command of their own, the first without ``output``."""
    import pytest

    from compact_vit.errors import UsageError

    join(rank, count, port)
    own = dataclasses.replace(config, lr=(1 + rank) / 100)
    with pytest.raises(UsageError, match=r"same, got lr 0\.01 and 0\.02: give every machine the"):
        loop.train(own, output=output if rank else None, quiet=True)


def overflow(rank: int, count: int, port: int, config: TrainConfig, output: str) -> None:
    """The second's loss is infinite in two steps, and the gradient of it is not."""
    import torch

    from compact_vit.train import objective

    join(rank, count, port)
    real, calls = objective.Classification.loss, []

    def loss(*args):
        calls.append(1)
        infinite = rank == 1 and len(calls) in (1, 2)
        return real(*args) + (torch.inf if infinite else 0.0)

    objective.Classification.loss = loss
    result = loop.train(config, output=output, quiet=True)
    weights = result.model.state_dict().values()
    torch.save([w.cpu() for w in weights], f"{output}-{rank}.pt")
