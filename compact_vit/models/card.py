"""The model card of a folder of weights: what ``config.json`` says, for people and for the hub."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..tables import duration, in_a_cell
from .config import ModelConfig, config_from_name, name_of

#: What has a row of its own, and what matters in training alone.
_NO_OPTIONS = (
    "num_classes", "img_size", "in_chans", "dropout", "attention_dropout", "drop_path"
)  # fmt: skip


def model_card(card: Mapping[str, Any], name: str) -> str:
    """``README.md`` of the weights ``name``: the hub's header, the facts, how to use them."""
    import yaml

    known, config = card["pretrained_cfg"], ModelConfig(**card["model_args"])
    rows = [
        ("model", f"`{card['architecture']}`"),
        ("options", _options(config)),
        ("parameters", _parameters(card.get("size", {}))),
        ("test accuracy", _accuracy(card.get("results"))),
        ("score", _score(card.get("size", {}))),
        *_training(card.get("training", {})),
        ("input", _input(known)),
        ("classes", ", ".join(known.get("label_names", ())) or str(card["num_classes"])),
        ("stored in", card["dtype"]),
        ("SHA-256 of the tensors", f"`{card['sha256']}`"),
        ("licence of the weights", str(known.get("license") or "").upper()),
    ]
    table = [f"| {title} | {in_a_cell(value)} |" for title, value in rows if value]
    header = yaml.safe_dump(_header(card, name), sort_keys=False, allow_unicode=True)
    source = "CCT2 of compact_vit" if config.family == "cct2" else "arXiv 2104.05704"
    about = known.get("description") or f"A compact vision transformer ({source})."
    return "\n".join(
        [
            f"---\n{header}---\n\n# {name}\n\n{about}\n",
            "| | |\n| --- | --- |",
            *table,
            "\n```python\nfrom compact_vit import CompactTransformer\n",
            f'model = CompactTransformer.from_pretrained("{name}")  # this folder',
            "logits = model(model.transforms()(picture).unsqueeze(0))\n```\n",
        ]
    )


def _header(card: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the hub reads of a card."""
    training, results = card.get("training", {}), card.get("results")
    header: dict[str, Any] = {
        "license": card["pretrained_cfg"].get("license") or "other",
        "library_name": "compact_vit",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "compact-transformer"],
    }
    if "dataset" in training:
        header["datasets"] = [training["dataset"]]
    if results is not None and "dataset" in training:
        dataset, copy = training["dataset"], training.get("copy")
        metric = {"type": "accuracy", "value": round(results["accuracy"], 4)}
        tested = {
            "task": {"type": "image-classification"},
            "dataset": {
                "name": f"{dataset} ({copy})" if copy else dataset,
                "type": dataset,
                "split": results["split"],
            },
            "metrics": [metric],
        }
        header["model-index"] = [{"name": name, "results": [tested]}]
    return header


def _options(config: ModelConfig) -> str:
    """What makes another model of it than its name says, if anything does."""
    name = name_of(config)
    named, own = dataclasses.asdict(config_from_name(name)), dataclasses.asdict(config)
    others = [
        f"{field}={str(value).lower()}"
        for field, value in own.items()
        if field not in _NO_OPTIONS and value != named[field]
    ]
    return f"`{name}` but for {', '.join(others)}" if others else ""


def _parameters(size: Mapping[str, Any]) -> str:
    if not size:
        return ""
    return f"{size['parameters']:,} ({size['parameters_without_positions']:,} without positions)"


def _accuracy(results: Mapping[str, Any] | None) -> str:
    if results is None:
        return ""
    told = (
        f"{results['accuracy']:.2f}% of {results['n']:,} {results['split']} pictures, "
        f"with the weights as they are stored here"
    )
    if "precision" in results:
        told += f", computed in {results['precision']}"
    if "balanced_accuracy" in results:
        told += f"; balanced over the classes {results['balanced_accuracy']:.2f}%"
    return told


def _score(size: Mapping[str, Any]) -> str:
    if "score" not in size:
        return ""
    score = size["score"]
    of = ", of the epoch picked on the validation split" if score.get("accuracy") == "best" else ""
    return (
        f"{score['value']:.1f} = 100 x points above {score['floor']:g}% / million parameters "
        f"without positions{of}"
    )


def _training(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows that say how the weights came about."""
    if not training:
        return []
    copy, credit, seconds = (training.get(key) for key in ("copy", "credit", "seconds"))
    dropped = training.get("attention_dropout")  # as it was, whatever was asked for
    parts = (
        training.get("hardware"),
        training.get("precision"),
        "" if dropped is None else f"attention dropout {dropped:g}",
        "" if seconds is None else duration(seconds),
    )
    machine = ", ".join(part for part in parts if part)
    return [
        ("trained on", ", ".join(part for part in (training.get("dataset"), copy) if part)),
        ("pictures by", credit or ""),
        ("recipe", _recipe(training)),
        ("command", f"`{training['command']}`" if "command" in training else ""),
        ("on", machine),
        ("with", ", ".join(f"{k} {v}" for k, v in training.get("versions", {}).items())),
    ]


def _recipe(training: Mapping[str, Any]) -> str:
    if "recipe" not in training:
        return ""
    epochs = training["epochs"]
    planned = f" of {n} planned" if (n := training.get("planned_epochs")) else ""
    return (
        f"{training['recipe']}, {epochs} epoch{'s' if epochs != 1 else ''}{planned}, "
        f"seed {training['seed']}; these are of epoch {training['epoch']}"
    )


def _input(known: Mapping[str, Any]) -> str:
    channels, height, width = known["input_size"]
    told = f"{height}x{width} pixels, {'gray' if channels == 1 else f'{channels} channels'}"
    if "mean" not in known:
        return told
    mean, std = (", ".join(f"{v:.4f}" for v in known[key]) for key in ("mean", "std"))
    return (
        f"{told}; {known['interpolation']} to cover, {known['crop_mode']} crop "
        f"({known['crop_pct']:g}); mean {mean}, std {std}"
    )
