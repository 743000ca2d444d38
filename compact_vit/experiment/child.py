"""One run of an experiment in a process of its own, which leaves with the one that started it.

It is told what to do in the first line on its standard input, which then stays open: its end says
that the experiment is gone, and the run is saved and stops.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cli import program
from ..errors import Stopped, UsageError

#: Exit statuses of a run that cannot be, whoever tries it again, and of one not worth going on.
REFUSED, PRUNED = 3, 4


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Train the run that standard input tells of, or go on with it."""
    with open(0, "rb", buffering=0, closefd=False) as words:
        job = json.loads(words.readline())
    threading.Thread(target=_leave_with_the_experiment, daemon=True).start()
    return run(job)


def run(job: Mapping[str, Any]) -> int:
    """Do what ``job`` says: ``config``, ``output``, ``threads``, and of a search its ``trial``."""
    import torch

    from ..train.config import TrainConfig
    from ..train.loop import resume, train
    from .journal import NotWorthIt, follow

    torch.set_num_threads(job["threads"])
    output = Path(job["output"])
    try:
        on_epoch = follow(job["trial"], output) if "trial" in job else None
        if (output / "config.json").exists():
            resume(output, quiet=True, on_epoch=on_epoch)
        else:
            config = TrainConfig.from_dict(job["config"])
            train(config, output=output, quiet=True, on_epoch=on_epoch)
    except UsageError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return REFUSED
    except NotWorthIt:
        return PRUNED
    except Stopped as stop:  # the same experiment goes on with it
        raise Stopped(str(stop).partition(": go on")[0], stop.status) from None
    return 0


def _leave_with_the_experiment() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
