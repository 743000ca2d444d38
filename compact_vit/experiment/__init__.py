"""Grids of runs and searches among them, as one YAML file says: resumable, compared at the end.

``python -m compact_vit.experiment`` runs them. Importing this package imports no torch.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
