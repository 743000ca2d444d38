"""Train on the embedded digits from Python, then use the model: under a minute on a CPU."""

from __future__ import annotations

import tempfile

from compact_vit.data import load_dataset
from compact_vit.data.augment import Normalize
from compact_vit.train import TrainConfig, load_model, train


def main() -> None:
    config = TrainConfig(dataset="digits", epochs=3)
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, output=f"{folder}/run")
        final = result.summary["final"]
        print(f"{final['accuracy']:.1f}% of {final['n']} test digits")

        # any time later: the folder is all there is to keep
        trained = load_model(f"{folder}/run")
        test = load_dataset("digits").test
        normalize = Normalize(trained.mean, trained.std)
        answers = trained.model(normalize(test.images[:8])).argmax(dim=1)
        print("said", answers.tolist())
        print("true", test.labels[:8].tolist())


if __name__ == "__main__":
    main()
