"""A compact transformer that learns from pictures alone: a masked autoencoder (arXiv 2111.06377).

Letters: B batch, C channels, H x W pixels, G = g * g' blocks, b side of a block in pixels, s in
tokens, V visible blocks, P prefix tokens (the class token), D width of the encoder, E of the
decoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from ..layers import EncoderLayer, PositionalEmbedding
from .compact import CompactTransformer, _initialise

#: channels of a head and MLP ratio of the decoder, those of the paper's (appendix A.1)
HEAD_DIM, MLP_RATIO = 32, 4.0


class MaskedAutoencoder(nn.Module):
    """Tells the pixels of hidden blocks from the visible ones: ``[B, C, H, W] -> [B, G, b*b*C]``.

    The masked autoencoder of He et al. (arXiv 2111.06377, section 3): the encoder sees the visible
    part alone, and a small decoder, thrown away afterwards, tells the rest. What is trained is
    ``encoder``, in place. ``block`` is the side in pixels of what is hidden together, a whole
    number of tokens; blocks and their pixels (row, column, channel) run row by row.

    It differs from the paper in three points. Convolutional tokenizers overlap, so hidden pixels
    are set to 0, the mean colour, before them, and can be seen by nobody. The decoder has a token
    a block, not a token of the encoder's: those of a block are joined side by side, which loses
    nothing where their mean would not know its own pixels, and costs the decoder the fewest tokens.
    And the class token stays with the encoder.

    Raises ``UsageError`` for an encoder whose tokens do not divide its pictures evenly, and for a
    ``block``, a ``decoder_dim`` (a multiple of 32) or a ``decoder_depth`` that does not fit.
    """

    def __init__(
        self,
        encoder: CompactTransformer,
        *,
        block: int = 4,
        decoder_dim: int = 128,
        decoder_depth: int = 1,
    ) -> None:
        super().__init__()
        token = _token_side(encoder)
        height, width = encoder.config.height_width
        _check_block(block, token, height, width)
        _check_decoder(decoder_dim, decoder_depth)
        self.config, self.in_chans = encoder.config, encoder.in_chans
        self.num_classes = encoder.num_classes
        self.block, self.block_tokens = block, block // token
        self.grid_size = height // block, width // block
        self.num_blocks = self.grid_size[0] * self.grid_size[1]
        self.encoder = encoder

        joined = self.block_tokens**2 * encoder.embed_dim
        self.decoder_embed = nn.Linear(joined, decoder_dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder_dim))
        self.decoder_positions = PositionalEmbedding("sine", decoder_dim, self.grid_size)
        self.decoder_blocks = nn.ModuleList(
            EncoderLayer(decoder_dim, decoder_dim // HEAD_DIM, MLP_RATIO, residual="pre_norm")
            for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_dim)
        self.decoder_head = nn.Linear(decoder_dim, block * block * encoder.in_chans)
        for part in (self.decoder_embed, self.decoder_blocks, self.decoder_head):
            part.apply(_initialise)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def num_hidden(self, ratio: float) -> int:
        """How many of a picture's G blocks are hidden at ``ratio``: at least 1, at most G - 1."""
        if not (isinstance(ratio, (int, float)) and 0 < ratio < 1):
            raise UsageError(f"ratio must be a number between 0 and 1, got {ratio!r}")
        return max(1, min(self.num_blocks - 1, round(ratio * self.num_blocks)))

    def draw(self, count: int, ratio: float, generator: torch.Generator) -> Tensor:
        """Which blocks of ``count`` pictures are hidden: bool ``[B, G]``, as many in every row.

        Any choice is equally likely (section 3, masking); it is made on the generator's device.
        """
        shape = count, self.num_blocks
        order = torch.rand(shape, generator=generator, device=generator.device).argsort(dim=1)
        hidden = torch.zeros_like(order, dtype=torch.bool)
        return hidden.scatter(1, order[:, : self.num_hidden(ratio)], True)

    def forward(self, x: Tensor, hidden: Tensor, num_hidden: int | None = None) -> Tensor:
        """The pixels of every block as ``targets`` has them: ``[B, G, b*b*C]``.

        ``x`` are normalised pictures ``[B, C, H, W]`` and ``hidden`` is bool ``[B, G]``, with the
        same number of blocks in every row. Where that is given as ``num_hidden``, no value is
        looked at: a GPU is not waited for, and the shapes are known when compiling. Raises
        ``UsageError`` for other shapes, and without ``num_hidden`` for rows that differ.
        """
        self._check_shapes(x, hidden)
        if num_hidden is None:
            num_hidden = _hidden_in_each(hidden)
        order = hidden.byte().argsort(dim=1, stable=True)  # [B, G], the visible first
        visible = order[:, : self.num_blocks - num_hidden]
        tokens = self.decoder_embed(self._encode(self.without(x, hidden), visible))  # [B, V, E]
        unseen = self.mask_token.expand(len(x), num_hidden, -1)
        tokens = _take(torch.cat((tokens, unseen), dim=1), order.argsort(dim=1))  # [B, G, E]
        tokens = self.decoder_positions(tokens, self.grid_size)
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.decoder_head(self.decoder_norm(tokens))

    def targets(self, x: Tensor) -> Tensor:
        """Each block's pixels, of mean 0 and variance 1: ``[B, C, H, W] -> [B, G, b*b*C]``.

        The paper's normalised pixels (section 3, reconstruction target), over all channels at once:
        all zeros is a block of one value; one of one colour keeps how its channels differ.
        """
        height, width = x.shape[2:]
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # [B, C, H, W] -> [B, H*W, C]
        pixels = _blocks(pixels, height, width, self.block)  # [B, G, b*b*C]
        return F.layer_norm(pixels, pixels.shape[-1:], eps=1e-6)

    def loss(self, predicted: Tensor, x: Tensor, hidden: Tensor) -> Tensor:
        """Mean squared error over the hidden blocks of each picture: ``[B]`` (section 3).

        ``predicted`` ``[B, G, b*b*C]`` is ``forward``'s, ``hidden`` what it was called with, at
        least one block in every row. Half precision is computed in float32.
        """
        wanted = self.targets(x.to(torch.promote_types(x.dtype, torch.float32)))
        error = (predicted - wanted).square().mean(dim=2)  # [B, G]
        return (error * hidden).sum(dim=1) / hidden.sum(dim=1)

    def without(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Pictures ``[B, C, H, W]`` whose hidden blocks are 0, the mean colour."""
        rows, columns = self.grid_size
        grid = hidden.view(-1, 1, rows, 1, columns, 1)  # [B, G] -> [B, 1, g, 1, g', 1]
        grid = grid.expand(-1, -1, -1, self.block, -1, self.block)  # [B, 1, g, b, g', b]
        return x.masked_fill(grid.flatten(4).flatten(2, 3), 0.0)  # [B, 1, H, W]

    def rebuilt(self, predicted: Tensor, x: Tensor, hidden: Tensor) -> Tensor:
        """Pictures whose hidden blocks are what was told of them: ``[B, C, H, W]``.

        ``predicted``, ``x`` and ``hidden`` as in ``loss``. As in the paper's pictures, a block gets
        back the true mean and deviation that ``targets`` takes from it.
        """
        height, width = x.shape[2:]
        true = _blocks(x.permute(0, 2, 3, 1).flatten(1, 2), height, width, self.block)
        mean = true.mean(dim=2, keepdim=True)  # [B, G, 1]
        deviation = (true.var(dim=2, correction=0, keepdim=True) + 1e-6).sqrt()
        pixels = torch.where(hidden.unsqueeze(2), predicted * deviation + mean, true)
        grid = pixels.unflatten(2, (self.block, self.block, -1)).unflatten(1, self.grid_size)
        rows = grid.permute(0, 5, 1, 3, 2, 4)  # [B, g, g', b, b, C] -> [B, C, g, b, g', b]
        return rows.flatten(4).flatten(2, 3)

    def no_weight_decay(self) -> set[str]:
        """Parameters of two and more dimensions that take no decay: the encoder's, mask token."""
        return {f"encoder.{name}" for name in self.encoder.no_weight_decay()} | {"mask_token"}

    def extra_repr(self) -> str:
        rows, columns = self.grid_size
        return f"block={self.block}, grid {rows}x{columns}"

    def _encode(self, x: Tensor, visible: Tensor) -> Tensor:
        """The encoder's normalised tokens of the visible blocks alone: ``[B, V, s*s*D]``."""
        encoder, prefix = self.encoder, self.encoder.num_prefix_tokens
        tokens = encoder.embed(x)  # [B, P + h*w, D]
        rows, columns = (side * self.block_tokens for side in self.grid_size)
        blocks = _blocks(tokens[:, prefix:], rows, columns, self.block_tokens)  # [B, G, s*s*D]
        seen = _take(blocks, visible).unflatten(2, (-1, encoder.embed_dim))  # [B, V, s*s, D]
        tokens = torch.cat((tokens[:, :prefix], seen.flatten(1, 2)), dim=1)  # [B, P + V*s*s, D]
        tokens = encoder.norm(encoder.encode(tokens))[:, prefix:]
        return tokens.unflatten(1, (-1, self.block_tokens**2)).flatten(2)

    def _check_shapes(self, x: Tensor, hidden: Tensor) -> None:
        height, width = self.config.height_width
        if list(x.shape) != [len(x), self.in_chans, height, width]:
            raise UsageError(
                f"x must be [B, {self.in_chans}, {height}, {width}], got {list(x.shape)}"
            )
        if hidden.dtype != torch.bool or list(hidden.shape) != [len(x), self.num_blocks]:
            raise UsageError(
                f"hidden must be bool [{len(x)}, {self.num_blocks}], "
                f"got {str(hidden.dtype).removeprefix('torch.')} {list(hidden.shape)}"
            )


def _blocks(cells: Tensor, rows: int, columns: int, side: int) -> Tensor:
    """Cells row by row, put together in blocks: ``[B, rows*columns, D] -> [B, G, side*side*D]``."""
    grid = cells.unflatten(1, (rows // side, side, columns // side, side))
    return grid.transpose(2, 3).flatten(3).flatten(1, 2)  # [B, g, g', side, side, D]


def _take(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens of each picture by their number: ``[B, N, D], [B, V] -> [B, V, D]``."""
    return tokens.gather(1, index.unsqueeze(2).expand(-1, -1, tokens.shape[2]))


def _hidden_in_each(hidden: Tensor) -> int:
    """The number of hidden blocks, read from the mask."""
    counts = hidden.sum(dim=1).tolist()
    low, high = min(counts), max(counts)
    if low != high or high == hidden.shape[1]:
        wanted = "the same number of blocks in every picture, and not all"
        raise UsageError(f"hidden must hide {wanted}, got {low} to {high} of {hidden.shape[1]}")
    return low


def _token_side(encoder: CompactTransformer) -> int:
    """Side in pixels of what becomes one token of the encoder's pictures."""
    if not isinstance(encoder, CompactTransformer):
        raise UsageError(
            f"encoder must be a compact transformer, got a {type(encoder).__name__}: "
            "choose a vit_lite, cvt or cct"
        )
    if encoder.config.mlp_kernel:
        raise UsageError(
            "a masked autoencoder leaves out tokens that a convolution within the MLP needs, "
            f"got mlp_kernel={encoder.config.mlp_kernel}: set mlp_kernel=0 (--model-options "
            "mlp_kernel=0), here and in the model that starts from it"
        )
    height, width = encoder.config.height_width
    rows, columns = encoder.tokenizer.grid_size(height, width)
    side = height // rows
    if (rows * side, columns * side) != (height, width) or rows * columns == 1:
        raise UsageError(
            f"a masked autoencoder needs two tokens or more that divide the picture evenly, got "
            f"{rows}x{columns} of {height}x{width} pixels: change img_size or the model"
        )
    return side


def _check_block(block: int, token: int, height: int, width: int) -> None:
    """Require a block of whole tokens that divides the picture and leaves something to see."""
    # below the longer side, since a square picture is no block of itself
    sides = range(token, max(height, width), token)
    fitting = [side for side in sides if height % side == 0 == width % side]
    if not isinstance(block, int) or block not in fitting:
        raise UsageError(
            f"block must divide the {height}x{width} pixels into whole tokens of {token}: "
            f"one of {', '.join(map(str, fitting))}, got {block!r}"
        )


def _check_decoder(dim: int, depth: int) -> None:
    """Require a width of whole heads and at least one layer."""
    if not isinstance(dim, int) or dim < 1 or dim % HEAD_DIM:
        raise UsageError(
            f"decoder_dim must be a multiple of {HEAD_DIM}, the channels of a head, got {dim!r}"
        )
    if not isinstance(depth, int) or depth < 1:
        raise UsageError(f"decoder_depth must be a whole number of at least 1, got {depth!r}")
