"""Which models fit a budget of parameters, multiply-accumulates or time.

``python -m compact_vit.suggest`` prints them. Importing this package imports no torch.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
