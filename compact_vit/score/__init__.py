"""What accuracies are worth for their sizes: one, or runs ranked, or among the published ones.

``python -m compact_vit.score`` prints it. Importing this package imports no torch.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
