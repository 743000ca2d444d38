"""The recipe and the run: ``train(TrainConfig(...))`` is ``python -m compact_vit.train``."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
