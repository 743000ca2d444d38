"""Architectures: compact transformers by configuration and by name."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
