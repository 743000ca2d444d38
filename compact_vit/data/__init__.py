"""Named data sets and folders as uint8 pictures in memory, and their augmentation."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
