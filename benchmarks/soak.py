"""Does a run that is killed again and again end as the run that never was? For as long as you like.

A tiny run with everything on, a checkpoint after every step, is killed at random moments (SIGKILL,
SIGTERM or SIGINT, drawn from the seed) and resumed until it has finished. Its weights, optimiser,
averages, metrics and summary must be, bit for bit, those of the run that nobody killed. Then the
next run begins. Its curves and page are left out: they would take longer.

    python benchmarks/soak.py --minutes 20 --seed 0

Exits with 1 if a run ended otherwise, or could not go on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _common import above_zero
from _tiny import draw_pictures, words_of

from compact_vit.cli import Parser, program

SIDE, EPOCHS, BATCH = 16, 3, 12

#: Where a process is when it is killed: before the program runs, before its first step, ...
PHASES = ("starting", "loading", "step", "evaluation", "saving", "between")

#: signal -> how often it is drawn, and the statuses it may leave a run with, besides 0: too late.
#: Those below 0 come of a signal before the run listens; before the program does it may be 1.
SIGNALS = {
    signal.SIGKILL: (6, {-signal.SIGKILL}),
    signal.SIGTERM: (2, {143, -signal.SIGTERM}),
    signal.SIGINT: (2, {130, -signal.SIGINT}),
}

#: Seconds after which a process that was asked to stop hangs.
PATIENCE = 120.0


def work(words: Sequence[str], phase: Any) -> None:
    """The process that is killed: ``compact-vit train`` with ``words``, telling its ``phase``."""
    phase.value = 0
    import torch

    from compact_vit.train import epoch, loop, objective, save
    from compact_vit.train.cli import main as train

    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    epoch.SAVE_SECONDS = -1.0
    loop.write_curves = lambda path, history, config: path.touch()
    loop.write_page = lambda *args: None
    for owner, name, number in (
        (epoch, "train_step", 2),
        (objective, "evaluate_model", 3),
        (save, "save_checkpoint", 4),
    ):
        setattr(owner, name, _told(getattr(owner, name), phase, number))
    phase.value = 1
    status = train(words)
    os._exit(status)  # what comes after is no part of the run


def _told(call: Callable[..., Any], phase: Any, number: int) -> Callable[..., Any]:
    """``call``, saying in ``phase`` that it is under way."""

    def telling(*args: Any, **options: Any) -> Any:
        phase.value = number
        try:
            return call(*args, **options)
        finally:
            phase.value = 5

    return telling


class Soak:
    """Starts, kills and counts."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.draw = folder, random.Random(seed)
        pictures = draw_pictures(folder / "pictures", SIDE, 12, 4)
        self.words = words_of(pictures, SIDE, EPOCHS, BATCH)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["compact_vit.train.loop", "torch._dynamo"])
        self.runs = self.starts = 0
        self.kills: Counter[tuple[str, str]] = Counter()
        """(signal, phase) -> how often."""
        self.late = 0
        """Signals that came when the run had finished."""
        self.wrong: list[str] = []
        self.lost: list[str] = []

    def start(self, run: Path) -> tuple[Any, Any]:
        """A process that begins the run, or goes on with what is there of it."""
        begun = (run / "config.json").exists()
        words = ["--resume", str(run), "--quiet"] if begun else [*self.words, "--output", str(run)]
        phase = self.context.RawValue("i", -1)
        process = self.context.Process(target=work, args=(words, phase))
        process.start()
        self.starts += 1
        while phase.value < 0 and process.is_alive():
            process.join(0.001)
        return process, phase

    def unkilled(self) -> float:
        """Make the run that the others are compared with; the seconds it takes."""
        for name in ("first", "whole"):  # the first warms all caches
            process, _ = self.start(self.folder / name)
            began = time.perf_counter()
            process.join()
            if process.exitcode:
                raise RuntimeError(f"the run itself fails, with status {process.exitcode}")
        return time.perf_counter() - began

    def killed(self, run: Path, longest: float, until: float) -> bool:
        """Kill and resume until the run has finished; whether it has."""
        while True:
            process, phase = self.start(run)
            number = self.draw.choices(list(SIGNALS), [often for often, _ in SIGNALS.values()])[0]
            process.join(self.draw.uniform(0, longest) if time.perf_counter() < until else None)
            where = PHASES[phase.value]
            if not process.is_alive():
                allowed = {0}
            else:
                os.kill(process.pid, number)
                process.join(PATIENCE)
                allowed = {0} | SIGNALS[number][1] | ({1} if where == PHASES[0] else set())
            if process.is_alive():
                process.kill()
                process.join()
                self.lost.append(f"{run}: {number.name} in {where}, and it hangs")
                return False
            status = process.exitcode
            if status not in allowed:
                self.lost.append(f"{run}: status {status}, {number.name} in {where}")
                return False
            if status == 0:
                self.late += allowed != {0}
                return True
            self.kills[number.name, where] += 1

    def soak(self, minutes: float) -> None:
        """Run after run, for so many minutes."""
        longest = 0.7 * self.unkilled()  # most are killed, and those that go on have less to do
        until = time.perf_counter() + 60 * minutes
        while time.perf_counter() < until:
            self.runs += 1
            run = self.folder / f"run{self.runs}"
            if not self.killed(run, longest, until):
                continue
            difference = compare(run, self.folder / "whole")
            if difference:
                self.wrong.append(f"{run}: {difference}")
            else:
                shutil.rmtree(run)


def compare(run: Path, whole: Path) -> str:
    """In what two runs differ that finished; clocks apart."""
    from compact_vit.train.checkpoint import load_checkpoint

    for name in ("last.pt", "best.pt"):
        if not same(load_checkpoint(run / name), load_checkpoint(whole / name)):
            return name
    logs = ([timeless(json.loads(line)) for line in (folder / "metrics.jsonl").open()]
            for folder in (run, whole))  # fmt: skip
    if not same(*logs):
        return "metrics.jsonl"
    summaries = (json.loads((folder / "summary.json").read_bytes()) for folder in (run, whole))
    return "" if same(*map(timeless, summaries)) else "summary.json"


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    """A row, or a summary, without what a clock says."""
    return {k: v for k, v in row.items() if k not in ("seconds", "pictures_per_second")}


def same(a: Any, b: Any) -> bool:
    """Whether two nested values are equal, tensors bit for bit."""
    import torch

    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Soak, and say what came of it."""
    parser = Parser("soak", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=above_zero, default=20.0, metavar="X", help="default: 20")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of kills (default: 0)")
    args = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="compact-vit-soak-"))
    os.environ["COMPACT_VIT_CACHE"] = str(folder / "cache")
    # who is killed cannot give back its locks: that is said at the end, and means nothing here
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"
    soak = Soak(folder, args.seed)
    try:
        soak.soak(args.minutes)
        print(report(soak))
    finally:
        if soak.wrong or soak.lost:
            print(f"kept for a look: {folder}")
        else:
            shutil.rmtree(folder)
    return int(bool(soak.wrong or soak.lost))


def report(soak: Soak) -> str:
    """The counts, a line for each signal."""
    lines = [
        f"{soak.runs} runs, {soak.starts} processes, {soak.kills.total()} killed on the way, "
        f"{soak.late} too late",
        f"{'':<9}" + "".join(f"{phase:>12}" for phase in PHASES),
    ]
    for number in SIGNALS:
        counts = "".join(f"{soak.kills[number.name, phase]:>12}" for phase in PHASES)
        lines.append(f"{number.name:<9}{counts}")
    saves = sum(soak.kills[number.name, "saving"] for number in SIGNALS)
    lines.append(f"saves interrupted: {saves}")
    lines += [f"mismatch: {line}" for line in soak.wrong] + [f"lost: {line}" for line in soak.lost]
    return "\n".join([*lines, f"mismatches: {len(soak.wrong)}, lost: {len(soak.lost)}"])


if __name__ == "__main__":
    sys.exit(main())
