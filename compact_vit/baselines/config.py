"""What the baselines are made of: a frozen, checked dataclass for each kind. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from ..checks import is_real, is_whole, plain_fields
from ..errors import UsageError, unknown

ACTIVATIONS = ("relu", "leaky_relu", "elu", "silu", "gelu", "tanh", "sigmoid")

#: Forms of a shortcut where the shape changes: options A and B of arXiv 1512.03385, section 4.1.
SHORTCUTS = ("identity", "projection")

#: The type of a field that holds widths, as it is written.
_WIDTHS = "tuple[int, ...]"


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """What every baseline has: its pictures, its classes, its activation, its dropout.

    Lists, as JSON brings them, are taken for tuples, and one width for a tuple of it. What cannot
    be built is a ``UsageError`` that names the field.
    """

    num_classes: int = 10
    """Outputs of the classifier; 0 gives the features before it."""
    img_size: int | tuple[int, int] = 32
    """Side, or height and width, of the pictures in pixels."""
    in_chans: int = 3
    activation: str = "relu"
    """One of ``ACTIVATIONS``."""
    dropout: float = 0.0
    """Dropout of the features that linear maps are given; pictures are never dropped from."""

    any_size: ClassVar[bool] = False
    """Whether the model built takes pictures of other sizes than ``img_size`` too."""

    def __post_init__(self) -> None:
        plain_fields(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == _WIDTHS and is_whole(value, 1):
                object.__setattr__(self, field.name, (value,))
        self._check()

    @property
    def height_width(self) -> tuple[int, int]:
        """``img_size`` as height and width in pixels."""
        size = self.img_size
        return (size, size) if isinstance(size, int) else size

    def _check(self) -> None:
        """Refuse what cannot be built; each kind adds its own."""
        self._need(is_whole(self.num_classes, 0), "num_classes", "a whole number, 0 for features")
        self._need(is_whole(self.in_chans, 1), "in_chans", "a whole number of at least 1")
        size = self.img_size if isinstance(self.img_size, tuple) else (self.img_size,) * 2
        self._need(
            len(size) == 2 and all(is_whole(side, 1) for side in size),
            "img_size",
            "a side or (height, width) of at least 1 pixel",
        )
        self._one_of("activation", ACTIVATIONS)
        self._probability("dropout")

    def _need(self, ok: bool, field: str, wanted: str) -> None:
        if not ok:
            raise UsageError(f"{field} must be {wanted}, got {getattr(self, field)!r}")

    def _one_of(self, field: str, choices: tuple[str, ...]) -> None:
        if getattr(self, field) not in choices:
            raise unknown(field, str(getattr(self, field)), choices)

    def _probability(self, field: str) -> None:
        value = getattr(self, field)
        self._need(is_real(value) and 0.0 <= value < 1.0, field, "a probability in [0, 1)")

    def _switch(self, field: str) -> None:
        self._need(isinstance(getattr(self, field), bool), field, "true or false")

    def _widths(self, field: str, least: int = 0) -> None:
        widths = getattr(self, field)
        wanted = "one or more whole numbers" if least else "whole numbers"
        self._need(
            isinstance(widths, tuple)
            and len(widths) >= least
            and all(is_whole(w, 1) for w in widths),
            field,
            f"a tuple of {wanted} of at least 1",
        )


@dataclass(frozen=True, kw_only=True)
class MLPConfig(BaselineConfig):
    """``(linear, norm, activation, dropout)`` for each width, linear, of the flattened picture."""

    widths: tuple[int, ...] = (256, 256, 256)
    """Outputs of the hidden linear maps; none is a linear classifier."""
    batch_norm: bool = False

    def _check(self) -> None:
        super()._check()
        self._widths("widths")
        self._switch("batch_norm")


@dataclass(frozen=True, kw_only=True)
class ConvConfig(BaselineConfig):
    """``[(conv, activation) x P, pool] x (N / P), (linear, activation) x M, linear``.

    N is the number of ``filters`` times ``layers_per_block``, P is ``pool_every``, M the number of
    ``hidden`` widths. Where P does not divide N, the convolutions left over follow the last pool.
    Convolutions keep the size of the picture, each pool (the maximum of 2 x 2) halves it.
    """

    filters: tuple[int, ...] = (32, 64)
    """Output channels of the convolutions, block by block (K)."""
    layers_per_block: int = 2
    """Convolutions with the same number of filters after one another (L)."""
    pool_every: int = 2
    """Convolutions from one pool to the next (P)."""
    hidden: tuple[int, ...] = (100,)
    """Widths of the hidden linear maps (H)."""
    kernel_size: int = 3
    batch_norm: bool = False
    """After each convolution."""
    dropout_2d: float = 0.0
    """Dropout of whole channels after each convolution's activation."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each of the N convolutions."""
        return tuple(k for k in self.filters for _ in range(self.layers_per_block))

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width after the last pool."""
        height, width = self.height_width
        shrunk = 2 ** (len(self.channels) // self.pool_every)
        return height // shrunk, width // shrunk

    def _check(self) -> None:
        super()._check()
        self._widths("filters", least=1)
        self._widths("hidden")
        for field in ("layers_per_block", "pool_every"):
            self._need(is_whole(getattr(self, field), 1), field, "a whole number of at least 1")
        odd = is_whole(self.kernel_size, 1) and self.kernel_size % 2 == 1
        self._need(odd, "kernel_size", "an odd whole number")
        self._switch("batch_norm")
        self._probability("dropout_2d")
        pools = len(self.channels) // self.pool_every
        self._need(min(self.grid) >= 1, "img_size", f"{2**pools} pixels or more for {pools} pools")


@dataclass(frozen=True, kw_only=True)
class ResidualConvConfig(ConvConfig):
    """A ``ConvConfig`` with a shortcut around every P convolutions, and those left over.

    Where the channels change, the shortcut is a projection by a 1x1 convolution.
    """

    batch_norm: bool = True
    bottleneck: int = 1
    """What the channels within a block are divided by, between 1x1 convolutions; 1 for none."""

    def _check(self) -> None:
        super()._check()
        divisor = self.bottleneck
        fits = is_whole(divisor, 1) and all(width % divisor == 0 for width in self.filters)
        self._need(fits, "bottleneck", f"a whole number that divides the filters {self.filters}")


@dataclass(frozen=True, kw_only=True)
class ResidualEncoderConfig(ConvConfig):
    """Residual blocks at the picture's full size, then the ``ConvConfig``.

    A 1x1 convolution to ``width`` channels, then ``blocks`` of two convolutions each, to
    ``inner_width`` channels and back, with identity shortcuts.
    """

    blocks: int = 1
    width: int = 16
    inner_width: int = 32
    sees_picture: bool = False
    """Whether each block's convolutions are given the picture too, as additional channels."""
    filters: tuple[int, ...] = (32, 64, 128)
    layers_per_block: int = 1
    pool_every: int = 1
    hidden: tuple[int, ...] = ()
    batch_norm: bool = True

    def _check(self) -> None:
        super()._check()
        for field in ("blocks", "width", "inner_width"):
            self._need(is_whole(getattr(self, field), 1), field, "a whole number of at least 1")
        self._switch("sees_picture")


@dataclass(frozen=True, kw_only=True)
class CifarResNetConfig(BaselineConfig):
    """The residual networks for small pictures of arXiv 1512.03385, section 4.2.

    Of 6n + 2 layers, in three stages of n blocks with 16, 32 and 64 channels.
    """

    depth: int = 20
    shortcut: str = "identity"
    """Where the shape changes: ``identity`` (option A, the published one: every second pixel, new
    channels zero, no parameters) or ``projection`` (option B: a 1x1 convolution)."""
    pre_activation: bool = False
    """Normalisation and activation before each convolution (arXiv 1603.05027), not after it."""

    any_size: ClassVar[bool] = True

    def _check(self) -> None:
        super()._check()
        fits = is_whole(self.depth, 8) and self.depth % 6 == 2
        self._need(fits, "depth", "6n + 2 with n of at least 1, such as 20, 32, 44, 56, 110")
        self._one_of("shortcut", SHORTCUTS)
        self._switch("pre_activation")


@dataclass(frozen=True, kw_only=True)
class TimmConfig(BaselineConfig):
    """A model of timm, pictures resized to what it was made for, an MLP for its classifier."""

    timm_name: str
    """As timm has it: ``resnet50``, or ``resnet50.a1_in1k`` for particular weights."""
    pretrained: bool | str = False
    """Whether to start from timm's weights; or the path of the file that holds them."""
    head: tuple[int, ...] = ()
    """Widths of hidden linear maps between timm's features and the classifier."""
    input_size: int | tuple[int, int] | None = None
    """Pixels that pictures are resized to, side or (height, width); None for the model's own."""

    any_size: ClassVar[bool] = True

    def _check(self) -> None:
        super()._check()
        named = isinstance(self.timm_name, str) and self.timm_name != ""
        self._need(named, "timm_name", "a name, such as resnet50")
        source = self.pretrained
        known = isinstance(source, bool) or (isinstance(source, str) and source != "")
        self._need(known, "pretrained", "True, False or the path of a file of weights")
        self._widths("head")
        size = self.input_size
        sides = size if isinstance(size, tuple) else (size, size)
        fits = size is None or (len(sides) == 2 and all(is_whole(side, 1) for side in sides))
        self._need(fits, "input_size", "a side or (height, width) in pixels, or None")
