"""What a run is at one moment: everything that a checkpoint must hold for it to go on."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from ..data.loader import BatchLoader
from ..data.pictures import DataSplits
from ..errors import UsageError
from ..models.masked import MaskedAutoencoder
from .balance import class_weights, told_of_unequal
from .choices import Choices, choose, compile_model, rehearse
from .config import TrainConfig
from .distributed import ALONE, Processes
from .health import Health
from .likeness import difference
from .model import build_model, tell_pictures
from .objective import Objective, build_objective, pretraining
from .optim import build_optimizer
from .schedule import Plateau, build_schedule
from .teacher import load_teacher

if TYPE_CHECKING:
    from ..models.zoo import AnyModel

_NOT_COMPILED = "not compiled: torch.compile fails"


@dataclass
class TrainState:
    """The moving parts of a run, each able to say and to take back its state."""

    model: AnyModel
    """What tells classes in the end."""
    module: nn.Module
    """What is trained: the model, or what it is a part of."""
    objective: Objective
    ema: AveragedModel | None
    optimizer: Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler
    loader: BatchLoader
    order: torch.Generator
    augmentation: torch.Generator
    """Seeded anew for every step, as the global generator is."""
    device: torch.device
    choices: Choices
    """How the machine is used."""
    health: Health
    seed: int
    processes: Processes
    before: tuple[str, ...] = ()
    """What the calls before this one that went on with the run had to tell."""
    epoch: int = 0
    """Epochs done."""
    best: dict[str, Any] | None = None
    """The figures of the best epoch so far, by the validation split."""
    unfinished: dict[str, Any] | None = None
    """What the epoch under way has come to: its learning rate, its sums, its seconds, and whether
    all its steps are done; None between two epochs."""

    @property
    def answers(self) -> bool:
        """Whether what is learnt is to answer, rightly or wrongly."""
        return self.module is self.model

    @property
    def evaluated(self) -> nn.Module:
        """The module whose figures count: the averaged one if there is one."""
        return self.module if self.ema is None else self.ema.module

    @property
    def result(self) -> AnyModel:
        """The model of the module whose figures count."""
        whole = self.evaluated
        return whole.encoder if isinstance(whole, MaskedAutoencoder) else whole  # type: ignore[return-value]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the run, each thing once: a line each."""
        return tuple(dict.fromkeys((*self.before, *self.choices.notes)))

    def end_epoch(self, loss: float) -> None:
        """Count the epoch under way as done, after which the watched split had this ``loss``."""
        if isinstance(self.schedule, Plateau):
            self.schedule.end_epoch(loss)
        self.epoch += 1
        self.unfinished = None

    def reseed(self) -> None:
        """Seed the next step's draws: by the run's seed, the step and the process, nothing else.

        So nothing of them has to be kept for a run to go on, with any number of processes.
        """
        key = (self.health.steps, self.processes.rank)
        draws = np.random.SeedSequence(self.seed, spawn_key=key).generate_state(2, np.uint64)
        self.augmentation.manual_seed(int(draws[0]))
        torch.manual_seed(int(draws[1]))

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, from which ``load_state_dict`` goes on exactly."""
        return {
            "model": self.module.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": _plain(self.schedule.state_dict()),
            "scaler": self.scaler.state_dict(),
            "order": self.order.get_state(),
            "loader": self.loader.state_dict(),
            "health": self.health.state_dict(),
            "best": self.best,
            "unfinished": self.unfinished,
        }

    def load_state_dict(self, state: dict[str, Any], epoch: int) -> None:
        """Become what ``state_dict`` described, after ``epoch`` epochs.

        ``ValueError`` for what it did not: a seal only says that nothing has changed since.
        """
        own = self.state_dict()
        own["loader"]["order"] = None  # the loader knows its own
        for name, example in _EXAMPLES.items():
            own[name] = None if state[name] is None else example
        if not state["scaler"]:  # of a precision that scales nothing: a new one begins
            own["scaler"] = {}
        problem = difference(state, own)
        if problem is not None or int(state["health"]["steps"]) < 0:
            raise ValueError(problem or "health.steps must be at least 0")
        self.module.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.order.set_state(state["order"].cpu())
        self.health.load_state_dict(state["health"])
        self.best, self.epoch, self.unfinished = state["best"], epoch, state["unfinished"]
        if self.unfinished is not None and not self.unfinished["trained"]:
            self.loader.load_state_dict(state["loader"])


#: What may be None, when it is not.
_EXAMPLES: dict[str, Any] = {
    "best": {"epoch": 1, "val_accuracy": 0.0},
    "unfinished": {"lr": 0.0, "sums": None, "seconds": 0.0, "trained": True},
}


def _plain(value: Any) -> Any:
    """A schedule's state without what a checkpoint does not keep: methods, and the milestones.

    These are a ``Counter``, which would come back as another kind; they stay as they were built.
    """
    if isinstance(value, dict):
        moving = {k: v for k, v in value.items() if not (callable(v) or isinstance(v, Counter))}
        return {k: _plain(v) for k, v in moving.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def build_state(
    config: TrainConfig,
    splits: DataSplits,
    device: torch.device,
    processes: Processes = ALONE,
    *,
    fetch: bool = True,
) -> TrainState:
    """The state before the first step, the same in all processes; ``fetch`` pretrained weights."""
    weights, order = (int(s) for s in np.random.SeedSequence(config.seed).generate_state(2))
    order_generator = torch.Generator().manual_seed(order)
    batch_size = _batch_size(config.batch_size, len(splits.train), processes.count)
    loader = BatchLoader(
        splits.train,
        batch_size,
        shuffle=True,
        generator=order_generator,
        drop_last=True,
        device=device,
        share=(processes.rank, processes.count),
    )
    share, steps = batch_size // processes.count, config.epochs * len(loader)
    choices = choose(config, len(splits.mean), device, share, steps)
    left = _left_out(len(splits.train), batch_size, processes.count)
    told = (*choices.notes, *left, *told_of_unequal(config, splits))
    choices = dataclasses.replace(choices, notes=told)
    torch.manual_seed(weights)
    model = build_model(
        dataclasses.replace(config, attention_dropout=choices.attention_dropout),
        len(splits.classes),
        len(splits.mean),
        fetch=fetch,
    ).to(device)
    tell_pictures(model, splits.mean, splits.std, splits.classes)
    module = pretraining(model, config).to(device) if config.objective == "mae" else model
    weight = class_weights(config, splits, device)  # of the whole set, in every process
    objective = build_objective(
        config, module, lambda name: load_teacher(name, splits, device, choices.precision), weight
    )
    optimizer = build_optimizer(module, config)
    return TrainState(
        model=model,
        module=module,
        objective=objective,
        ema=AveragedModel(module) if config.ema else None,
        optimizer=optimizer,
        schedule=build_schedule(optimizer, config, len(loader)),
        scaler=torch.amp.GradScaler(device.type, enabled=choices.precision == "fp16"),
        loader=loader,
        order=order_generator,
        augmentation=torch.Generator(device),
        device=device,
        choices=choices,
        health=Health(device),
        seed=config.seed,
        processes=processes,
    )


def _batch_size(wanted: int, pictures: int, processes: int) -> int:
    """The pictures in a batch of ``wanted`` where there are so many; all processes' together."""
    size = min(wanted, pictures)
    if size % processes:
        fits = f": the {pictures:,} training pictures make one, take {size - size % processes}"
        raise UsageError(
            f"batch_size must be a multiple of the {processes} processes, got {wanted}"
            f"{fits if size < wanted else ''}"
        )
    return size


def _left_out(pictures: int, batch_size: int, processes: int) -> list[str]:
    """A line where an epoch, which has whole batches only, leaves out many of its ``pictures``."""
    left = pictures % batch_size
    if left <= pictures / 10:
        return []
    sizes = range(batch_size, batch_size // 2, -processes)
    fits = min(sizes, key=lambda size: pictures % size)
    way_out = f": --batch-size {fits} leaves out {pictures % fits}" if fits < batch_size else ""
    return [
        f"every epoch leaves out another {left} of the {pictures:,} training pictures, which make "
        f"no whole batch of {batch_size}{way_out}"
    ]


def compiled_forward(state: TrainState) -> nn.Module:
    """The model as training calls it: compiled if that was chosen and works, else as it is."""
    model, choices, together = state.model, state.choices, state.processes
    module, notes, alone = state.module.train(), choices.notes, together.count == 1
    compile = not together.most(not choices.compile)  # or they would wait for different things
    if choices.compile and not compile:
        notes += ("not compiled: another process of the run cannot",)
    share = state.loader.batch_size // together.count
    shape = (share, model.in_chans, *model.config.height_width)
    parts = torch.zeros(shape, device=state.device).tensor_split(choices.parts)
    shapes = {len(part): part for part in parts}.values()  # each is compiled by itself
    if compile and choices.graphs and not alone:
        notes += ("compiled without CUDA graphs: several processes average between them",)
    ways = () if not compile else (True, False) if choices.graphs and alone else (False,)
    for graphs in ways:
        forward = compile_model(module, graphs=graphs)

        def call(x: Tensor, forward: nn.Module = forward) -> Tensor:
            labels = torch.zeros(len(x), dtype=torch.int64, device=state.device)
            targets = state.objective.targets(x, labels, state.augmentation)  # seeded every step
            return state.objective.outputs(forward, x, targets)

        tried = (rehearse(module, x, choices.precision, call=call, graphs=graphs) for x in shapes)
        failure = max(together.each(next(filter(None, tried), "")))
        if not failure:
            state.choices = dataclasses.replace(choices, graphs=graphs, notes=notes)
            return together.wrap(forward)
        left = "compiled without CUDA graphs: they fail" if graphs else _NOT_COMPILED
        notes += (f"{left} here: {failure}",)
    state.choices = dataclasses.replace(choices, compile=False, graphs=False, notes=notes)
    return together.wrap(module)
