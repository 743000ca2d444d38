"""Stands in for the process that trains: writes what a run leaves in a moment, without torch.

Its figures follow from the configuration. It fails for an lr of 1,000 or more, and before it has
begun with ``$OUTSIDE``, and notes its starts in the file ``$STARTS``. If its run is named in
``$KILLED`` it is killed once, after an epoch, and with ``$KILLED_TOO`` the command that started it
as well.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path


def accuracy(config: dict, epoch: int) -> float:
    """Percent; best in the epoch before the last."""
    best = 60 + 4 * config["seed"] - 1000 * abs(config["lr"] - 0.01)
    return max(0.0, best - abs(epoch - (config["epochs"] - 1)))


def row(config: dict, epoch: int) -> dict:
    watched = "val" if config["val_fraction"] else "learnt" if config["overfit"] else "test"
    figures = {"loss": 3 - accuracy(config, epoch) / 50, "accuracy": accuracy(config, epoch)}
    return {
        "epoch": epoch,
        "lr": config["lr"],
        "train_loss": 1.0,
        "train_accuracy": 50.0,
        **{f"{watched}_{key}": value for key, value in figures.items()},
        "pictures_per_second": 100.0,
        "seconds": 2.0,
    }


def summary(config: dict) -> dict:
    last = config["epochs"]
    split = "train" if config["overfit"] else config["report_on"]
    final = {"split": split, "n": 360, "epoch": last}
    final["accuracy"] = accuracy(config, last)
    best = {**final, "picked_on": None}
    if config["val_fraction"]:
        best |= {"picked_on": "val", "epoch": last - 1, "accuracy": accuracy(config, last - 1)}
        best["val_accuracy"] = accuracy(config, last - 1)
    return {
        "final": final,
        "best": best,
        "parameters": 1000,
        "parameters_without_positions": 900,
        "score": {"value": 7.0},
        "seconds": 2.0 * last,
    }


def follower(told: dict, output: Path):
    """What hears of an epoch, and says whether a trial ends there."""
    if told.get("trial", {"pruner": "none"})["pruner"] == "none":
        return lambda row: False
    from compact_vit.experiment.journal import NotWorthIt, follow

    on_epoch = follow(told["trial"], output)

    def hear(row: dict) -> bool:
        try:
            on_epoch(row)
        except NotWorthIt:
            return True
        return False

    return hear


def main() -> int:
    told = json.loads(sys.stdin.readline())
    config, output = told["config"], Path(told["output"])
    with open(os.environ["STARTS"], "a") as file:
        print(output.name, told["threads"], os.environ["OMP_NUM_THREADS"], file=file)
    if os.environ.get("OUTSIDE"):
        print("error: no network, and no archive", file=sys.stderr)
        return 3
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.json").write_text(json.dumps(config))
    if config["lr"] >= 1000:
        print("error: the loss of epoch 1 is not finite", file=sys.stderr)
        return 3
    hear = follower(told, output)
    log = output / "metrics.jsonl"
    done = len(log.read_text().splitlines()) if log.exists() else 0
    for epoch in range(done + 1, config["epochs"] + 1):
        with open(log, "a") as file:
            print(json.dumps(row(config, epoch)), file=file)
        if not done and output.name in os.environ.get("KILLED", "").split():
            if os.environ.get("KILLED_TOO"):
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        if hear(row(config, epoch)):
            return 4
    (output / "summary.json").write_text(json.dumps(summary(config)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
