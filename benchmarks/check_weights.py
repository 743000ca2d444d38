"""Are the weights in the package as accurate as they say?

    python benchmarks/check_weights.py --dataset folder --data-dir FOLDER

tests those that tell the data set's classes on the whole of its test set, and exits with 1 if any
accuracy is further than ``--within`` points from what its ``config.json`` says.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from _common import above_zero

from compact_vit.cli import Parser, program
from compact_vit.errors import UsageError

if TYPE_CHECKING:
    from compact_vit import CompactTransformer
    from compact_vit.data.pictures import DataSplits


def measured(model: CompactTransformer, splits: DataSplits, device: str) -> float:
    """The percentage of the test pictures that ``model`` gets right."""
    from compact_vit.data.augment import Normalize
    from compact_vit.train.machine import pick_device
    from compact_vit.train.metrics import Evaluating, evaluate_model

    known, where = model.transforms(), pick_device(device)
    how = Evaluating(Normalize(known.mean, known.std), where, "fp32")
    return evaluate_model(model.to(where), splits.test, how).accuracy


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each of the weights."""
    parser = Parser("check-weights", description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", default="cifar10", metavar="NAME", help="default: cifar10")
    parser.add_argument("--data-dir", metavar="FOLDER", help="where the pictures are")
    parser.add_argument(
        "--within", type=above_zero, default=0.05, metavar="X", help="points (0.05)"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, ...")
    args = parser.parse_args(argv)
    from compact_vit import CompactTransformer
    from compact_vit.data import load_dataset
    from compact_vit.models.pretrained import read_card
    from compact_vit.models.shipped import shipped

    checked = wrong = 0
    for name, tags in shipped().items():
        for tag, folder in tags.items():
            model = CompactTransformer.from_pretrained(folder)
            size = model.config.height_width
            splits = load_dataset(args.dataset, data_dir=args.data_dir, img_size=size)
            if splits.classes != model.pretrained_cfg.get("label_names"):
                continue
            said = read_card(folder).get("results")
            if said is None:
                raise UsageError(f"'{folder}' does not say how accurate it is: export it again")
            got = measured(model, splits, args.device)
            checked += 1
            wrong += abs(got - said["accuracy"]) > args.within or len(splits.test) != said["n"]
            print(
                f"{name}.{tag}: says {said['accuracy']:.2f}% of {said['n']:,}, "
                f"measured {got:.2f}% of {len(splits.test):,}"
            )
    if not checked:
        raise UsageError(f"no weights in the package tell the classes of {args.dataset}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
