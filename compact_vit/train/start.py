"""The weights a run starts from: another run's, those in a folder, those in the package."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..models.compact import CompactTransformer
from ..models.config import name_of
from ..models.pretrained import adapted, build_pretrained, check_unseen, read_folder
from ..models.reference import load_reference_state_dict
from ..models.shipped import weights_at
from .config import TrainConfig, with_whole_paths
from .rules import need_source
from .state import TrainState
from .trained import load_model

if TYPE_CHECKING:
    from ..models.zoo import AnyModel


@dataclass(frozen=True)
class _Source:
    """A trained model, and what is said of it."""

    model: AnyModel
    name: str
    """What model it is, ``cct_2_3x3``."""
    kind: str
    """``a run`` or ``weights``."""
    told: str
    """Which of them, ``epoch 3 of RUN``."""
    config: TrainConfig | None = None
    """How it was trained, if that is known."""

    @property
    def answers(self) -> bool:
        """Whether it has learnt to tell classes."""
        return self.config is None or self.config.objective == "classify"


def start_from(state: TrainState, config: TrainConfig) -> None:
    """Give the model ``config.init_from``: a run, a folder of weights, or their name.

    Of a run they are the best epoch's if it picked one; a name is that of weights in the package.
    A head for another number of classes stays new, positions of another token grid are resized,
    a first convolution of other channels is adapted; a note in ``state.choices`` says so, and
    another that a run has seen what is held out now. Pictures are normalised by the data set's own
    statistics, whatever the weights saw. Raises ``UsageError`` for any other model, for damage,
    and for what is none of the three.
    """
    source = config.init_from
    if source is None:
        return
    trained = _opened(source)
    if not config.layer_decay and not trained.answers:
        raise UsageError(
            "layer_decay must be above 0 from a pretraining, got 0: its pooling is new, and has to "
            "learn as the head does"
        )
    try:
        if isinstance(trained.model, CompactTransformer):
            changes = _take(state.model, trained.model, trained.answers)
        else:
            changes = _take_baseline(state.model, trained.model)
    except (UsageError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()  # torch's last line names a tensor
        raise UsageError(
            f"init_from must be {trained.kind} of this model, got '{source}', of {trained.name}: "
            f"{reason}{_way_out(state.model, trained)}"
        ) from None
    note = "; ".join([f"starting from {trained.told}", *changes])
    notes = (*state.choices.notes, note, *_seen(config, trained))
    state.choices = dataclasses.replace(state.choices, notes=notes)


def _seen(config: TrainConfig, trained: _Source) -> list[str]:
    """A line where what ``config`` holds out of the training set was trained on before."""
    now, before = with_whole_paths(config), trained.config
    if before is None or not trained.answers:
        return []
    if (now.dataset, now.data_dir) != (before.dataset, before.data_dir):
        return []
    drawn = {
        "test": ("test_fraction",),
        "validation": ("val_fraction", "seed", "train_pictures", "test_fraction"),
    }
    notes = []
    for part, names in drawn.items():
        differs = any(getattr(now, name) != getattr(before, name) for name in names)
        if differs and getattr(now, names[0]):
            values = ", ".join(f"{name} {getattr(before, name)}" for name in names)
            notes.append(
                f"the {part} accuracy will be too high: the run it starts from has trained on some "
                f"of these pictures; it held out others, or none, by {values}"
            )
    return notes


def _way_out(model: AnyModel, trained: _Source) -> str:
    """What to do where ``model`` is not the one that was ``trained``."""
    if isinstance(model, CompactTransformer) and name_of(model.config) == trained.name:
        return ""
    return f"; --model {trained.name} is what it fits"


def _opened(source: str) -> _Source:
    """What ``source`` says: a folder, and if there is none of that name weights in the package."""
    need_source(source)
    folder, place = weights_at(source), os.path.abspath(os.path.expanduser(source))
    if folder is not None:
        stored = read_folder(folder)
        here = os.path.isdir(source)
        told = f"the weights in {place}" if here else f"the package's weights {folder.name}"
        return _Source(build_pretrained(stored), stored.name, "weights", told)
    run = load_model(source, pretrained=True)
    told = f"epoch {run.epoch} of {place}"
    return _Source(run.model, run.config.model, "a run", told, run.config)


def _take(model: AnyModel, trained: CompactTransformer, answers: bool) -> list[str]:
    """Give ``model`` the weights of ``trained``, without those of ``answers`` it has not learnt.

    Returns what had to change.
    """
    if not isinstance(model, CompactTransformer):
        raise UsageError("it is a compact transformer")
    check_unseen(model.config, trained.config)
    weights = adapted(trained.state_dict(), model, trained.config)
    if not answers:  # nor has it a pooling
        own = model.state_dict()
        weights |= {name: own[name] for name in own if name.startswith(("head.", "pool."))}
    grid = None if trained.positions is None else trained.positions.grid_size
    report = load_reference_state_dict(model, weights, grid_size=grid)
    changes = []
    if model.in_chans != trained.in_chans:
        changes.append(
            f"the first convolution adapted from {trained.in_chans} channels to {model.in_chans}"
        )
    if report.positions_resized is not None:
        old, new = (f"{height}x{width}" for height, width in report.positions_resized)
        changes.append(f"positions resized from {old} tokens to {new}")
    if not answers:
        changes.append("its pretraining, so with a new pooling and head")
    if not trained.config.num_classes:
        changes.append("a head, which they have not")
    if report.head_changed is not None:
        changes.append("a new head for {1} classes, not {0}".format(*report.head_changed))
    return changes


def _take_baseline(model: AnyModel, trained: AnyModel) -> list[str]:
    """The same of a baseline: all but a head for another number of classes is taken."""
    weights, changes = trained.state_dict(), []
    if trained.num_classes != model.num_classes:
        own = model.state_dict()
        weights |= {name: own[name] for name in own if name.startswith("head.")}
        changes.append(f"a new head for {model.num_classes} classes, not {trained.num_classes}")
    model.load_state_dict(weights)
    return changes
