"""Building blocks: tensors in, tensors out; they know nothing but torch."""

from .attention import SelfAttention
from .drop_path import DropPath
from .encoder import MLP, EncoderLayer
from .loss import LabelSmoothingCrossEntropy
from .pooling import ClassToken, SequencePooling
from .positional import PositionalEmbedding, resize_positions, sine_positions
from .tokenizer import ConvTokenizer, PatchTokenizer

__all__ = [
    "MLP",
    "ClassToken",
    "ConvTokenizer",
    "DropPath",
    "EncoderLayer",
    "LabelSmoothingCrossEntropy",
    "PatchTokenizer",
    "PositionalEmbedding",
    "SelfAttention",
    "SequencePooling",
    "resize_positions",
    "sine_positions",
]
