"""What compact transformers are compared with: MLPs, CNNs, ResNets, and timm's models."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
