"""Compact vision transformers (ViT-Lite, CVT, CCT, CCT2) for little data and small machines.

The public names are listed in ``__init__.pyi``; each imports its module on first use.
"""

from ._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
