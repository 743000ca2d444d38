"""Models by name: one line for each named member, and a grammar for all the others."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, overload

from .compact import CompactTransformer
from .config import ModelConfig, config_from_name
from .names import all_models, config_of

if TYPE_CHECKING:
    from ..baselines import Baseline
    from .names import AnyConfig

    #: What ``create_model`` builds; for annotations.
    AnyModel = CompactTransformer | Baseline


class Builder(Protocol):
    """What ``cct_6_3x1`` and its like are: functions from options to a model."""

    __name__: str

    def __call__(
        self,
        *,
        pretrained: bool | str = False,
        num_classes: int | None = None,
        img_size: int | tuple[int, int] | None = None,
        in_chans: int | None = None,
        positional_embedding: str | None = None,
        dropout: float | None = None,
        attention_dropout: float | None = None,
        drop_path: float | None = None,
        residual: str | None = None,
        mlp_kernel: int | None = None,
        tokenizer_norm: bool | None = None,
    ) -> CompactTransformer: ...


@overload
def create_model(
    name: str,
    *,
    pretrained: bool | str = False,
    positional_embedding: str | None,
    **options: Any,
) -> CompactTransformer: ...


@overload
def create_model(name: str, *, pretrained: bool | str = False, **options: Any) -> AnyModel: ...


def create_model(name: str, *, pretrained: bool | str = False, **options: Any) -> AnyModel:
    """Build any model by its name, listed or not: ``cct_6_5x3``, ``resnet_38_cifar``, ``rn_4``.

    ``options`` are the fields of its configuration: ``ModelConfig`` of the compact transformers,
    in ``compact_vit.baselines`` those of the others. None stands for the name's own value, or for
    that of the weights.

    ``pretrained`` asks for weights: True for those in the package, or a tag of them
    (``"cifar10"``); no network is needed. They are adapted to another ``img_size`` (positions
    resized), other ``in_chans`` (first convolution) and other ``num_classes`` (a new classifier).
    For ``timm/`` models it is their own option. Raises ``UsageError`` naming the nearest right
    model or option, or the weights that there are.
    """
    if pretrained is None or pretrained is False:
        return model_of(config_of(name, **options))
    if not isinstance(config_of(name), ModelConfig):
        return model_of(config_of(name, pretrained=pretrained, **options))
    from .pretrained import build_pretrained, read_folder
    from .shipped import shipped_folder

    return build_pretrained(read_folder(shipped_folder(name, pretrained)), **options)


def model_of(config: AnyConfig) -> AnyModel:
    """Build the model that ``config`` describes."""
    if isinstance(config, ModelConfig):
        return CompactTransformer(config)
    from ..baselines import Baseline

    return Baseline(config)


def list_models(filter: str | Sequence[str] = "*", *, pretrained: bool = False) -> list[str]:
    """The named members that match a glob, or any of several: ``list_models("cct_*")``.

    With ``pretrained`` the models that have weights in the package, also those without a builder,
    such as ``cct_2_3x3``. A glob that begins with ``timm/`` finds timm's models, which no other
    does.
    """
    patterns = [filter] if isinstance(filter, str) else filter
    if pretrained:
        from .shipped import shipped

        return [n for n in shipped() if any(_matches(n, p) for p in patterns)]
    names = all_models()
    if any(pattern.startswith("timm/") for pattern in patterns):
        import timm

        names += [f"timm/{name}" for name in timm.list_models()]
    return [n for n in names if any(_matches(n, p) for p in patterns)]


def _matches(name: str, pattern: str) -> bool:
    foreign = name.startswith("timm/") and not pattern.startswith("timm/")
    return fnmatch.fnmatchcase(name, pattern) and not foreign


def _builder(name: str) -> Builder:
    def build(
        *,
        pretrained: bool | str = False,
        num_classes: int | None = None,
        img_size: int | tuple[int, int] | None = None,
        in_chans: int | None = None,
        positional_embedding: str | None = None,
        dropout: float | None = None,
        attention_dropout: float | None = None,
        drop_path: float | None = None,
        residual: str | None = None,
        mlp_kernel: int | None = None,
        tokenizer_norm: bool | None = None,
    ) -> CompactTransformer:
        return create_model(
            name,
            pretrained=pretrained,
            num_classes=num_classes,
            img_size=img_size,
            in_chans=in_chans,
            positional_embedding=positional_embedding,
            dropout=dropout,
            attention_dropout=attention_dropout,
            drop_path=drop_path,
            residual=residual,
            mlp_kernel=mlp_kernel,
            tokenizer_norm=tokenizer_norm,
        )

    family, *size = name.rsplit("_", 2)
    title = {"vit_lite": "ViT-Lite"}.get(family, family.upper()) + "-" + "/".join(size)
    source = "this library" if family == "cct2" else "arXiv 2104.05704"
    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""{title} of {source}: ``[B, in_chans, H, W] -> [B, num_classes]``.

    ``img_size`` None means {config_from_name(name).img_size} pixels. The options are the fields
    of ``ModelConfig``, and ``pretrained`` as in ``create_model``.
    """
    return build


vit_lite_2_4 = _builder("vit_lite_2_4")
vit_lite_2_8 = _builder("vit_lite_2_8")
vit_lite_2_16 = _builder("vit_lite_2_16")
vit_lite_4_4 = _builder("vit_lite_4_4")
vit_lite_4_8 = _builder("vit_lite_4_8")
vit_lite_4_16 = _builder("vit_lite_4_16")
vit_lite_6_4 = _builder("vit_lite_6_4")
vit_lite_6_8 = _builder("vit_lite_6_8")
vit_lite_6_16 = _builder("vit_lite_6_16")
vit_lite_7_4 = _builder("vit_lite_7_4")
vit_lite_7_8 = _builder("vit_lite_7_8")
vit_lite_7_16 = _builder("vit_lite_7_16")
vit_lite_8_4 = _builder("vit_lite_8_4")
vit_lite_8_8 = _builder("vit_lite_8_8")
vit_lite_8_16 = _builder("vit_lite_8_16")
cvt_2_4 = _builder("cvt_2_4")
cvt_2_8 = _builder("cvt_2_8")
cvt_2_16 = _builder("cvt_2_16")
cvt_4_4 = _builder("cvt_4_4")
cvt_4_8 = _builder("cvt_4_8")
cvt_4_16 = _builder("cvt_4_16")
cvt_6_4 = _builder("cvt_6_4")
cvt_6_8 = _builder("cvt_6_8")
cvt_6_16 = _builder("cvt_6_16")
cvt_7_4 = _builder("cvt_7_4")
cvt_7_8 = _builder("cvt_7_8")
cvt_7_16 = _builder("cvt_7_16")
cvt_8_4 = _builder("cvt_8_4")
cvt_8_8 = _builder("cvt_8_8")
cvt_8_16 = _builder("cvt_8_16")
cct_2_3x1 = _builder("cct_2_3x1")
cct_2_3x2 = _builder("cct_2_3x2")
cct_2_7x2 = _builder("cct_2_7x2")
cct_4_3x1 = _builder("cct_4_3x1")
cct_4_3x2 = _builder("cct_4_3x2")
cct_4_7x2 = _builder("cct_4_7x2")
cct_6_3x1 = _builder("cct_6_3x1")
cct_6_3x2 = _builder("cct_6_3x2")
cct_6_7x2 = _builder("cct_6_7x2")
cct_7_3x1 = _builder("cct_7_3x1")
cct_7_3x2 = _builder("cct_7_3x2")
cct_7_7x2 = _builder("cct_7_7x2")
cct_8_3x1 = _builder("cct_8_3x1")
cct_8_3x2 = _builder("cct_8_3x2")
cct_8_7x2 = _builder("cct_8_7x2")
cct_14_3x1 = _builder("cct_14_3x1")
cct_14_3x2 = _builder("cct_14_3x2")
cct_14_7x2 = _builder("cct_14_7x2")
cct2_2_3x1 = _builder("cct2_2_3x1")
cct2_2_3x2 = _builder("cct2_2_3x2")
cct2_4_3x1 = _builder("cct2_4_3x1")
cct2_4_3x2 = _builder("cct2_4_3x2")
cct2_6_3x1 = _builder("cct2_6_3x1")
cct2_6_3x2 = _builder("cct2_6_3x2")
cct2_7_3x1 = _builder("cct2_7_3x1")
cct2_7_3x2 = _builder("cct2_7_3x2")
