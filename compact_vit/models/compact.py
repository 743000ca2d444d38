"""ViT-Lite, CVT and CCT: a tokenizer, an encoder, a pooling, a classifier (arXiv 2104.05704).

Letters: B batch, C channels, H x W pixels, h x w token grid, P prefix tokens (1 class token in
ViT-Lite, else 0), N = P + h * w tokens, D width, K classes.
"""

# annotations stay objects: torch.fx copies them into its graphs, where TorchScript reads them
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..checks import checked_classes
from ..errors import UsageError
from ..layers import (
    ClassToken,
    ConvTokenizer,
    EncoderLayer,
    PatchTokenizer,
    PositionalEmbedding,
    SequencePooling,
)
from .arithmetic import HIDDEN_CHANNELS
from .config import ModelConfig
from .preprocessing import OF_CLASSES, Preprocess, pretrained_cfg


class CompactTransformer(nn.Module):
    """A compact vision transformer: ``[B, C, H, W] -> [B, K]`` logits.

    Pictures of another size than ``config.img_size`` are served by resizing the positions. The
    methods are those of timm's models.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embed_dim
        self.num_classes, self.in_chans = config.num_classes, config.in_chans
        self.embed_dim = self.num_features = self.head_hidden_size = width
        self.num_prefix_tokens = int(config.class_token)
        self.grad_checkpointing = False
        #: What is known of the weights and of their input, by timm's names; of new ones their size.
        self.pretrained_cfg = pretrained_cfg(config)

        self.tokenizer: PatchTokenizer | ConvTokenizer
        if config.num_convs:
            self.tokenizer = ConvTokenizer(
                config.in_chans,
                width,
                config.kernel_size,
                config.num_convs,
                hidden_dim=HIDDEN_CHANNELS,
                batch_norm=config.tokenizer_norm,
            )
        else:
            self.tokenizer = PatchTokenizer(config.in_chans, width, config.kernel_size)
        self.class_token = ClassToken(width) if config.class_token else nn.Identity()
        self.positions: PositionalEmbedding | None = None
        if config.positional_embedding != "none":
            grid = self.tokenizer.grid_size(*config.height_width)
            self.positions = PositionalEmbedding(
                config.positional_embedding, width, grid, self.num_prefix_tokens
            )
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            EncoderLayer(
                width,
                config.num_heads,
                config.mlp_ratio,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                drop_path=rate,
                residual=config.residual,
                mlp_kernel=config.mlp_kernel,
            )
            for rate in config.drop_path_rates
        )
        self.norm = nn.LayerNorm(width)
        self.pool: nn.Module | None = None if config.class_token else SequencePooling(width)
        self.head: nn.Module = nn.Identity()
        self.apply(_initialise)
        self.reset_classifier(config.num_classes)

        self.feature_info = [
            {"module": f"blocks.{i}", "num_chs": width, "reduction": self.tokenizer.reduction}
            for i in range(config.depth)
        ]

    def grid_of(self, x: Tensor) -> tuple[int, int]:
        """The token grid ``(h, w)`` of pictures ``[B, C, H, W]``.

        Of another form they are an ``AssertionError``, as from timm's models.
        """
        torch._assert(
            x.dim() == 4,
            f"pictures must be [B, C, H, W], got {x.dim()} dimensions: one picture is x[None]",
        )
        torch._assert(
            x.shape[1] == self.in_chans,
            f"pictures must have {self.in_chans} channels, got {x.shape[1]}: "
            "a model of others is made with in_chans",
        )
        return self.tokenizer.grid_size(x.shape[2], x.shape[3])

    def embed(self, x: Tensor) -> Tensor:
        """Pictures to tokens with their positions: ``[B, C, H, W] -> [B, N, D]``."""
        grid = self.grid_of(x)
        x = self.class_token(self.tokenizer(x))
        if self.positions is not None:
            x = self.positions(x, grid)
        else:  # under autocast, too, tokens are added up in the weights' precision
            x = x.to(self.blocks[0].norm1.weight.dtype)  # type: ignore
        return self.dropout(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """The encoder's normalised tokens: ``[B, C, H, W] -> [B, N, D]``."""
        grid = self.grid_of(x)
        x = self.embed(x)
        return self.norm(self.encode(x, grid))

    def encode(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """All layers over tokens: ``[B, N, D] -> [B, N, D]``; ``grid`` if they fill one."""
        for block in self.blocks:
            if self.grad_checkpointing and not torch.jit.is_scripting():  # type: ignore[attr-defined]
                x = checkpoint(block, x, grid, use_reentrant=False)
            else:
                x = block(x, grid)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens ``[B, N, D]`` to logits ``[B, K]``, or to the pooled ``[B, D]`` before them."""
        x = x[:, 0] if self.pool is None else self.pool(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The tokens after chosen layers, as timm's models give them.

        ``indices`` are layers (negative ones from the end), a number of last layers, or None for
        all. Each intermediate is ``[B, D, h, w]`` (``output_fmt="NCHW"``) or ``[B, h * w, D]``
        (``"NLC"``), normalised if ``norm``, paired with its prefix tokens ``[B, P, D]`` if
        ``return_prefix_tokens``. Returns ``(final tokens, intermediates)``, or the intermediates.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise UsageError(f"output_fmt must be 'NCHW' or 'NLC', got {output_fmt!r}")
        wanted = _layer_indices(indices, len(self.blocks))
        grid = self.grid_of(x)
        x = self.embed(x)
        intermediates: list[Any] = []
        for i, block in enumerate(self.blocks):
            if stop_early and i > max(wanted):
                break
            if self.grad_checkpointing:
                x = checkpoint(block, x, grid, use_reentrant=False)
            else:
                x = block(x, grid)
            if i in wanted:
                tokens = self.norm(x) if norm else x
                prefix = tokens[:, : self.num_prefix_tokens]
                tokens = tokens[:, self.num_prefix_tokens :]
                if output_fmt == "NCHW":
                    tokens = tokens.transpose(1, 2).unflatten(2, grid).contiguous()
                intermediates.append((tokens, prefix) if return_prefix_tokens else tokens)
        return intermediates if intermediates_only else (self.norm(x), intermediates)

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] | None = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Drop the layers above the chosen ones, and what else the features do not need."""
        wanted = _layer_indices(indices, len(self.blocks))
        self.blocks = self.blocks[: max(wanted) + 1]
        if prune_norm:
            self.norm = nn.Identity()  # type: ignore[assignment]
        if prune_head:
            self.pool = nn.Identity()
            self.reset_classifier(0)
        return wanted

    def get_classifier(self) -> nn.Module:
        """The last linear map, or an identity when there are no classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the model a new classifier; 0 classes leave the pooled features ``[B, D]``.

        What ``pretrained_cfg`` says of the old one's classes goes with it.
        """
        if global_pool is not None:
            raise UsageError(f"the pooling is the family's own, global_pool={global_pool!r} is not")
        num_classes = checked_classes(num_classes)
        for said in OF_CLASSES:
            self.pretrained_cfg.pop(said, None)
        self.num_classes = num_classes
        self.head = nn.Linear(self.embed_dim, num_classes) if num_classes else nn.Identity()
        _initialise(self.head)
        parameter = next(self.parameters())
        self.head.to(parameter.device, parameter.dtype)

    def no_weight_decay(self) -> set[str]:
        """Parameters of two and more dimensions that take no decay: positions and class token."""
        names = {"positions.table", "class_token.token"}
        return names & {name for name, _ in self.named_parameters()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Regular expressions that sort parameters into layers, for layer-wise learning rates."""
        return {
            "stem": r"^(?:tokenizer|class_token|positions)",  # timm reads groups as layer numbers
            "blocks": [(r"^blocks\.(\d+)", None), (r"^(?:norm|pool)", (99999,))],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations."""
        self.grad_checkpointing = enable

    def transforms(self) -> Preprocess:
        """The preprocessing that the weights want: of pictures of PIL, and of tensors.

        ``UsageError`` if the weights are new and none is known.
        """
        return Preprocess.of(self.pretrained_cfg, self.in_chans, self.config.height_width)

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        half: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write ``model.safetensors``, ``config.json`` and a model card to ``folder``.

        What ``pretrained_cfg`` says goes with the weights, and ``facts`` beside; ``half`` rounds
        them to float16. Returns the content of ``config.json``.
        """
        from .saving import save_pretrained

        return save_pretrained(self, folder, half=half, facts=facts)

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike[str], *, revision: str | None = None, **options: Any
    ) -> "CompactTransformer":
        """The model in the folder ``source``, of the package, or ``user/name`` on the hub.

        In evaluation mode. ``options`` are fields of ``ModelConfig``: another ``img_size`` resizes
        the positions, other ``in_chans`` adapt the first convolution, of other ``num_classes`` the
        classifier is new. Raises ``UsageError`` for what is damaged, missing or of another model.
        """
        from .pretrained import from_pretrained

        return from_pretrained(source, revision, **options)


def _initialise(module: nn.Module) -> None:
    """Linear maps: truncated normal 0.02, bias 0; the rest comes right from its own constructor."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _layer_indices(indices: int | Sequence[int] | None, depth: int) -> list[int]:
    """Layer numbers from what timm's callers pass: None for all, an int for that many last ones."""
    if indices is None:
        return list(range(depth))
    if isinstance(indices, int):
        wanted = set(range(depth - indices, depth))
    else:
        wanted = {i + depth if i < 0 else i for i in indices}
    if not wanted or not all(0 <= i < depth for i in wanted):
        raise UsageError(f"indices must name layers among {depth}, got {indices!r}")
    return sorted(wanted)
