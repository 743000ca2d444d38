"""A finished run as one self-contained HTML page, from numbers and tensors.

Importing this package imports neither torch nor a template engine.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
