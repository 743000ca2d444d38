"""What a report says of one model, and of several side by side. Imports no torch by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..models.arithmetic import token_grid, tokens
from ..models.config import ModelConfig
from ..tables import Block, Notes, Table
from .costs import Cost, ModelSummary, costs_by_kind, costs_by_module, summary_of

if TYPE_CHECKING:
    from ..models.names import AnyConfig
    from .measured import Measured

GROUPINGS = ("kind", "module")

CONVENTIONS = Notes(
    [
        "Parameters: published counts of compact transformers leave the positions out.",
        "MACs: multiply-accumulates of one forward pass of one picture, by formulas that equal "
        "torch.utils.flop_counter (torchinfo's are far too low for transformers, and left out); "
        "some published figures leave out the attention products: queries by keys, weights by "
        "values, tokens by pooling weights.",
        "Activations: what autograd keeps of one picture for the backward pass in training, in "
        "float32, with attention written out and dropout as the model is built (of attention 0.1, "
        "if nothing else is said); a fused attention kernel keeps little of what its products do.",
        "Weights: all parameters in float32. MB: 10^6 bytes.",
    ]
)


class _Quantity(NamedTuple):
    title: str
    of: Callable[[Cost | ModelSummary], float]
    written: Callable[[float], str]

    def seen(self, value: float) -> bool:
        """Whether it is more than a zero as it is written."""
        return bool(self.written(value).strip("0."))


_QUANTITIES = (
    _Quantity("parameters", lambda cost: cost.parameters, lambda n: f"{n:,}"),
    _Quantity("MACs (M)", lambda cost: cost.macs, lambda n: f"{n / 1e6:,.2f}"),
    _Quantity("activations (MB)", lambda cost: cost.activation_megabytes, lambda n: f"{n:,.2f}"),
)


_OVERVIEW = (
    "model",
    "classes",
    "pixels",
    "tokens\nN",
    "parameters",
    "without\npositions",
    "MACs",
    "without\nattention",
    "activations\nMB",
    "weights\nMB",
)


@dataclass(frozen=True)
class Model:
    """One model of the report: what it was asked for by, and what that means."""

    name: str
    config: AnyConfig

    @cached_property
    def summary(self) -> ModelSummary:
        if isinstance(self.config, ModelConfig):
            return summary_of(self.config)
        return self._measured.summary

    def costs(self, by: str) -> dict[str, Cost]:
        """The costs of its parts by one of ``GROUPINGS``."""
        if isinstance(self.config, ModelConfig):
            return costs_by_kind(self.config) if by == "kind" else costs_by_module(self.config)
        return self._measured.by_kind() if by == "kind" else self._measured.by_module()

    @property
    def tokens(self) -> int | None:
        """N, what the encoder sees; None for a baseline."""
        return tokens(self.config) if isinstance(self.config, ModelConfig) else None

    @property
    def positions(self) -> str | None:
        """The positional embedding; None for a baseline."""
        config = self.config
        return config.positional_embedding if isinstance(config, ModelConfig) else None

    @property
    def attention_weights(self) -> int | None:
        """How many numbers attention weighs tokens with: what the number of tokens costs."""
        if not isinstance(self.config, ModelConfig):
            return None
        return self.config.depth * self.config.num_heads * tokens(self.config) ** 2

    @cached_property
    def _measured(self) -> Measured:
        from .measured import Measured

        assert not isinstance(self.config, ModelConfig)
        return Measured(self.config)


def entry(model: Model) -> dict[str, Any]:
    """One model for machines; ``img_size`` is always (height, width)."""
    return {
        "model": model.name,
        "num_classes": model.config.num_classes,
        "img_size": model.config.height_width,
        "in_chans": model.config.in_chans,
        "positional_embedding": model.positions,
        "tokens": model.tokens,
        "attention_weights": model.attention_weights,
        **asdict(model.summary),
        "kinds": {kind: asdict(cost) for kind, cost in model.costs("kind").items()},
        "modules": {module: asdict(cost) for module, cost in model.costs("module").items()},
    }


def records(models: Sequence[Model], by: str) -> list[dict[str, Any]]:
    """A row for each part of each model, and one for its total; shares are in percent."""
    rows = []
    for model in models:
        height, width = model.config.height_width
        for part, cost in (*model.costs(by).items(), ("total", model.summary)):
            row = {
                "model": model.name,
                "num_classes": model.config.num_classes,
                "height": height,
                "width": width,
                "in_chans": model.config.in_chans,
                "positional_embedding": model.positions,
                "tokens": model.tokens,
                by: part,
            }
            for key in ("parameters", "macs", "activation_megabytes"):
                value, whole = getattr(cost, key), getattr(model.summary, key)
                row |= {key: value, f"{key}_percent": round(100 * value / whole, 3)}
            rows.append(row)
    return rows


def detail(model: Model, layers: str) -> list[Block]:
    """Everything about one model: its layers, its kinds of parts, its modules, its totals."""
    config, summary = model.config, model.summary
    height, width = config.height_width
    totals = [
        ("total", ""),
        ("Parameters", f"{summary.parameters:,}"),
        ("  trainable", f"{summary.trainable_parameters:,}"),
        ("  without positions", f"{summary.parameters_without_positions:,}"),
        ("MACs", _millions(summary.macs)),
        ("  without attention products", _millions(summary.macs_without_attention)),
        ("Activations", _megabytes(summary.activation_megabytes)),
        ("Weights", _megabytes(summary.weight_megabytes)),
    ]
    if model.tokens is not None:
        products = model.costs("kind")["attention, products"].activation_megabytes
        totals.insert(-1, ("  of attention products", _megabytes(products)))
    positions = "" if model.positions is None else f", positions {model.positions}"
    return [
        f"{model.name}: {config.num_classes} classes, {height}x{width} pixels, "
        f"{config.in_chans} channels{positions}",
        layers,
        *(_parts_of(model, by) for by in GROUPINGS),
        *_attention([model]),
        Table(totals),
        CONVENTIONS,
    ]


def comparison(models: Sequence[Model], by: str) -> list[Block]:
    """A row per model with its totals, then a table per quantity with a column per model."""
    rows = [_OVERVIEW]
    for model in models:
        config, summary = model.config, model.summary
        height, width = config.height_width
        rows.append(
            (
                model.name,
                f"{config.num_classes:,}",
                f"{height}x{width}",
                "-" if model.tokens is None else f"{model.tokens:,}",
                f"{summary.parameters:,}",
                f"{summary.parameters_without_positions:,}",
                _millions(summary.macs),
                _millions(summary.macs_without_attention),
                f"{summary.activation_megabytes:,.2f}",
                f"{summary.weight_megabytes:,.2f}",
            )
        )
    tables = (_side_by_side(models, by, quantity) for quantity in _QUANTITIES)
    return [Table(rows), *tables, *_attention(models), CONVENTIONS]


def _side_by_side(models: Sequence[Model], by: str, quantity: _Quantity) -> Table:
    """One quantity of every part, each with its share of its model in percent."""
    costs = [model.costs(by) for model in models]
    header = [quantity.title]
    for model in models:
        header += [model.name, "%"]
    rows = [header]
    for part in _in_order(costs):
        values = [quantity.of(cost[part]) if part in cost else 0 for cost in costs]
        if any(map(quantity.seen, values)):
            row = [part]
            for model, value in zip(models, values, strict=True):
                share = _share(value, quantity.of(model.summary))
                row += [quantity.written(value), share] if value else ["-", ""]
            rows.append(row)
    total = ["total"]
    for model in models:
        total += [quantity.written(quantity.of(model.summary)), "100.0"]
    return Table([*rows, total])


def _parts_of(model: Model, by: str) -> Table:
    """Where parameters, MACs and activations of one model sit, each with its share in percent."""
    rows = [[by]]
    for quantity in _QUANTITIES:
        rows[0] += [quantity.title, "%"]
    for part, cost in model.costs(by).items():
        if any(quantity.seen(quantity.of(cost)) for quantity in _QUANTITIES):
            row = [part]
            for quantity in _QUANTITIES:
                value = quantity.of(cost)
                row += [quantity.written(value), _share(value, quantity.of(model.summary))]
            rows.append(row)
    return Table(rows)


def _in_order(costs: Sequence[Mapping[str, Cost]]) -> list[str]:
    """The parts of all models, in the order that they have in each."""
    order: list[str] = []
    for cost in costs:
        place = 0
        for part in cost:
            if part in order:
                place = order.index(part) + 1
            else:
                order.insert(place, part)
                place += 1
    return order


def _attention(models: Sequence[Model]) -> list[Block]:
    """What the number of tokens costs, it is squared; nothing where no model has tokens."""
    rows = [
        ["attention", "layers", "heads", "grid", "N", "weights =\nlayers x heads x N x N", "MB"]
    ]
    for model in models:
        config = model.config
        if not isinstance(config, ModelConfig):
            continue
        height, width = token_grid(config)
        rows.append(
            [
                model.name,
                f"{config.depth}",
                f"{config.num_heads}",
                f"{height}x{width}" + (" + 1" if config.class_token else ""),
                f"{tokens(config):,}",
                f"{model.attention_weights:,}",
                f"{4 * (model.attention_weights or 0) / 1e6:,.2f}",
            ]
        )
    return [Table(rows)] if len(rows) > 1 else []


def _millions(number: int) -> str:
    return f"{number / 1e6:,.2f}M"


def _megabytes(number: float) -> str:
    return f"{number:,.2f} MB"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}"
