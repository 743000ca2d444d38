r"""What does the published code reach with its own script, on the pictures that this library has?

    python benchmarks/published_script.py --reference PATH --data-dir FOLDER --rows cct_2_3x2 \
        --seeds 0 1 --output RUNS

runs ``examples/main.py`` of a checkout unchanged, with the pictures of FOLDER where it would
download CIFAR's: its model, augmentation, optimiser and schedule, each run in a process of its own.
What a copy of the pictures costs is then the same on both sides. A run leaves what the script said
(``log.txt``) and ``summary.json``; what is finished in ``--output`` on the same pictures is left
alone. The script has no seed of its own, nor does it save before its end: stopped, it begins again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import re
import runpy
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from compact_vit.bench import at_least_one
from compact_vit.cli import Parser, program
from compact_vit.errors import UsageError
from compact_vit.files import check_is_folder, read_json, write_whole
from compact_vit.models.config import ModelConfig, config_from_name
from compact_vit.scoring import mean_and_spread

if TYPE_CHECKING:
    from compact_vit.data.pictures import DataSplits

#: What the script says of an epoch when it has evaluated it.
_EPOCH = re.compile(r"\[Epoch (\d+)\] \t \t Top-1 +([\d.]+)")


@program
def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    args.device = the_device(args.device)
    script = args.reference / "examples" / "main.py"
    if not script.is_file():
        raise UsageError(f"--reference must be a checkout with examples/main.py, got '{script}'")
    check_is_folder(args.output)
    configs = {name: config_from_name(name) for name in args.rows}
    for name, config in configs.items():
        if config.family == "cct2":
            raise UsageError(f"--rows must be models that the published code has, got {name}")
    args.pictures = digest(args)
    for name, config in configs.items():
        accuracies = [one(name, config, seed, args) for seed in args.seeds]
        mean, deviation, _ = mean_and_spread(accuracies)
        spread = "" if deviation is None else f" ± {deviation:.2f}"
        runs = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies)
        print(f"{name}: {mean:.2f}%{spread} after {args.epochs} epochs ({runs})")
    return 0


def the_device(name: str) -> str:
    """What the script will compute on: the first GPU, or the CPU; it knows no others."""
    from compact_vit.train.machine import pick_device

    kind = pick_device(name).type
    return kind if kind == "cuda" else "cpu"


def digest(args: argparse.Namespace) -> str:
    """A checksum of the pictures and labels, by which a run is known wherever they have moved."""
    splits = the_pictures(args)
    sha = hashlib.sha256(str(splits.marks()["labels"]).encode())
    for part in (splits.train, splits.test):
        for start in range(0, len(part), 1000):  # which may be too large to copy whole
            sha.update(part.at(slice(start, start + 1000)).numpy().tobytes())
    return sha.hexdigest()


def the_pictures(args: argparse.Namespace) -> DataSplits:
    """What the script is given in CIFAR's place."""
    from compact_vit.train.config import TrainConfig
    from compact_vit.train.inputs import load_splits

    return load_splits(TrainConfig(dataset=args.dataset, data_dir=args.data_dir, img_size=32))


def _parser() -> argparse.ArgumentParser:
    parser = Parser("published-script", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--reference", type=Path, required=True, metavar="PATH", help="checkout of it")
    add("--dataset", default="folder", metavar="NAME", help="cifar10, cifar100 (folder: ten kinds)")
    add("--data-dir", metavar="FOLDER", help="holds train/ and test/, or a named set's archives")
    add("--rows", nargs="+", default=["cct_2_3x2"], metavar="MODEL", help="models (cct_2_3x2)")
    add("--seeds", nargs="+", type=int, default=[0], metavar="N", help="default: 0")
    add("--epochs", type=at_least_one, default=200, metavar="N", help="(200)")
    add("--warmup", type=int, default=None, metavar="N", help="epochs (5; 10 for depth 6 and up)")
    add("--workers", type=int, default=4, metavar="N", help="of its DataLoader (4, as published)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda (auto)")
    add("--threads", type=at_least_one, metavar="N", help="CPU threads (torch's default)")
    add("--output", type=Path, default=Path("runs/published_script"), metavar="FOLDER")
    return parser


def one(name: str, config: ModelConfig, seed: int, args: argparse.Namespace) -> float:
    """The last epoch's accuracy (percent) of one run, which is made if it is not there."""
    folder = args.output / f"{name}-seed{seed}"
    words = [*model_words(config), *recipe_words(config, args)]
    wanted = {"model": name, "seed": seed, "epochs": args.epochs, "words": words}
    wanted |= {"dataset": args.dataset, "pictures": args.pictures}
    if (folder / "summary.json").exists():
        found = read_json(folder / "summary.json", f"delete '{folder}'")
        if any(found.get(key) != value for key, value in wanted.items()):
            raise UsageError(f"'{folder}' is of another run: delete it, or choose another --output")
        return found["accuracy"]
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        try:
            facts = pool.submit(run_script, folder, seed, words, args).result()
        except (Exception, SystemExit) as error:  # of somebody else's code
            line = " ".join(str(error).split())
            raise UsageError(
                f"the published script failed: {line or type(error).__name__}"
            ) from None
    text = (folder / "log.txt").read_text()
    epochs = [float(accuracy) for _, accuracy in _EPOCH.findall(text)]
    if len(epochs) != args.epochs:
        raise UsageError(f"'{folder}/log.txt' tells of {len(epochs)} epochs, wanted {args.epochs}")
    summary = wanted | facts | {"accuracy": epochs[-1], "accuracies": epochs}
    summary["seconds"] = round(time.perf_counter() - begin, 1)
    write_whole(folder / "summary.json", f"{json.dumps(summary, indent=2)}\n".encode())
    return epochs[-1]


def model_words(config: ModelConfig) -> list[str]:
    """The script's flags for a model.

    Its ``--patch-size`` reaches nothing: what cuts patches is ``--conv-size`` too.
    """
    family = "vit" if config.family == "vit_lite" else config.family
    words = ["--model", f"{family}_{config.depth}", "--conv-size", str(config.kernel_size)]
    if config.family == "cct":
        words += ["--conv-layers", str(config.num_convs)]
    return words


def recipe_words(config: ModelConfig, args: argparse.Namespace) -> list[str]:
    """Its flags for the length of the training; a longer warm-up for six layers, as published."""
    warmup = args.warmup if args.warmup is not None else (10 if config.depth >= 6 else 5)
    return ["--epochs", str(args.epochs), "--warmup", str(warmup), "--workers", str(args.workers)]


def run_script(
    folder: Path, seed: int, words: list[str], args: argparse.Namespace
) -> dict[str, Any]:
    """Run the script in this process, its words on ``folder``'s ``log.txt``; what computed."""
    import random

    import numpy as np
    import torch
    import torchvision
    from _published import Transformed

    from compact_vit.train.machine import hardware, versions

    if args.threads:
        torch.set_num_threads(args.threads)
    splits = the_pictures(args)

    def pictures(root: str, train: bool, download: bool, transform: Any) -> Transformed:
        return Transformed(splits.train if train else splits.test, transform)

    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(seed)
    dataset = "cifar100" if len(splits.classes) == 100 else "cifar10"
    given = ["--dataset", dataset, "--checkpoint-path", str(folder / "weights.pth"), *words]
    given += ["--no-cuda"] if args.device == "cpu" else []
    examples = (args.reference / "examples").resolve()
    sys.path[:0] = [str(examples), str(examples.parent)]
    script = str(examples / "main.py")
    with (
        # line by line, so that it can be read while it grows
        open(folder / "log.txt", "w", buffering=1, encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        patch.object(torchvision.datasets, dataset.upper(), pictures),
        patch.object(sys, "argv", [script, *given, str(args.data_dir)]),
        # with today's timm the checkout would hide half of its models
        patch.dict(sys.modules, {"timm.models.registry": None}),
    ):
        runpy.run_path(script, run_name="__main__")
    computed_on = hardware(torch.device(args.device))
    return {"n": len(splits.test), "hardware": computed_on, "versions": versions()}


if __name__ == "__main__":
    sys.exit(main())
