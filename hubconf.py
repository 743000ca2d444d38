"""What ``torch.hub.load`` finds: ``create_model``, and the builder of every named member."""

import compact_vit

dependencies = ["torch", "torchvision", "safetensors"]

_FAMILIES = ("vit_lite_", "cvt_", "cct_", "cct2_")
_ENTRIES = ("create_model", *(name for name in compact_vit.__all__ if name.startswith(_FAMILIES)))
globals().update({name: getattr(compact_vit, name) for name in _ENTRIES})
