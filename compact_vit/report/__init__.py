"""Sizes and costs of models: parameters, multiply-accumulates, memory.

``python -m compact_vit.report NAME`` prints them. Importing this package imports no torch.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
