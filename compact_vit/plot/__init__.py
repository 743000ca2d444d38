"""Pictures of runs, of a recipe and of what a model does, from the files they come from.

``python -m compact_vit.plot PICTURE ...`` writes them. Importing this package imports no torch.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
