"""Pictures of runs, models and data, each a function that returns a matplotlib figure.

They take numbers and tensors, and know nothing of where those come from; ``save_figure`` writes
any of them. Importing this package imports neither torch nor matplotlib.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
