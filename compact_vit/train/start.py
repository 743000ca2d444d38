"""The weights a run starts from, where they are another run's."""

from __future__ import annotations

import dataclasses

from ..errors import UsageError
from ..models.compact import CompactTransformer
from ..models.reference import load_reference_state_dict
from .run import TrainedModel, load_model
from .state import TrainState


def start_from(state: TrainState, run: str | None) -> None:
    """Give the model the weights of the finished ``run``: the best epoch's if it picked one.

    A head for another number of classes stays new, and positions of another token grid are
    resized; a note in ``state.choices`` says so. Raises ``UsageError`` for any other model.
    """
    if run is None:
        return
    trained = load_model(run, pretrained=True)
    if not isinstance(trained.model, CompactTransformer):
        _start_baseline(state, trained, run)
        return
    if not isinstance(state.model, CompactTransformer):
        raise _other_model(run, trained, "it is a compact transformer")
    positions, weights = trained.model.positions, trained.model.state_dict()
    answers = trained.config.objective == "classify"
    if not answers:  # nor has it a pooling
        own = state.model.state_dict()
        weights |= {name: own[name] for name in own if name.startswith(("head.", "pool."))}
    try:
        report = load_reference_state_dict(
            state.model,
            weights,
            grid_size=None if positions is None else positions.grid_size,
        )
    except UsageError as error:
        raise _other_model(run, trained, str(error)) from None
    told = [f"starting from epoch {trained.epoch} of {run}"]
    if report.positions_resized is not None:
        old, new = (f"{height}x{width}" for height, width in report.positions_resized)
        told.append(f"positions resized from {old} tokens to {new}")
    if not answers:
        told.append("its pretraining, so with a new pooling and head")
    if report.head_changed is not None:
        told.append("a new head for {1} classes, not {0}".format(*report.head_changed))
    _tell(state, told)


def _start_baseline(state: TrainState, trained: TrainedModel, run: str) -> None:
    """The same of a baseline: all but a head for another number of classes is taken."""
    weights, told = trained.model.state_dict(), [f"starting from epoch {trained.epoch} of {run}"]
    old, new = trained.model.num_classes, state.model.num_classes
    if old != new:
        own = state.model.state_dict()
        weights |= {name: own[name] for name in own if name.startswith("head.")}
        told.append(f"a new head for {new} classes, not {old}")
    try:
        state.model.load_state_dict(weights)
    except RuntimeError as error:
        raise _other_model(run, trained, str(error).splitlines()[-1].strip()) from None
    _tell(state, told)


def _tell(state: TrainState, told: list[str]) -> None:
    """Leave a note of where the run starts from."""
    notes = (*state.choices.notes, "; ".join(told))
    state.choices = dataclasses.replace(state.choices, notes=notes)


def _other_model(run: str, trained: TrainedModel, reason: str) -> UsageError:
    return UsageError(
        f"init_from must be a run of this model, got '{run}', of {trained.config.model}: {reason}"
    )
