"""HCArgmax: logits [B,C,h,w] -> labels int32 [B,H,W], the argmax over C of their bilinear (half-pixel) enlargement.

As one op a kernel need not write the enlarged logits. Its size comes from a reference tensor, of which only the
shape is read: a size as value would be a shape tensor in TensorRT.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from hc_deploy.ops import cells, kernels


def reference(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The truth all other implementations are tested against; align_corners is false (half-pixel centres)."""
    enlarged = F.interpolate(
        logits.to(cells.accumulation_dtype(logits)), size=size, mode="bilinear", align_corners=False
    )
    return enlarged.argmax(1).to(torch.int32)


@torch.library.custom_op("hc_deploy::hc_argmax", mutates_args=())
def _hc_argmax(logits: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if logits.ndim != 4 or like.ndim != 4 or logits.shape[0] != like.shape[0]:
        raise ValueError(
            f"hc_argmax: got logits {tuple(logits.shape)} and like {tuple(like.shape)}, "
            "expected [B,C,h,w] and [B,*,H,W]"
        )
    size = (like.shape[2], like.shape[3])
    library = kernels.library_for(logits) if min(size) else None
    return library.argmax(logits, size) if library else reference(logits, size)


@_hc_argmax.register_fake
def _(logits: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return logits.new_empty(logits.shape[0], like.shape[2], like.shape[3], dtype=torch.int32)


def hc_argmax_like(logits: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`hc_argmax` with its size taken from `like` [B,*,H,W]: the form that exports (only the shape is read)."""
    return torch.ops.hc_deploy.hc_argmax(logits, like)


def hc_argmax(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Class of each pixel at `size` (H, W), from logits of any smaller (or larger) size.

    Args:
        logits: [B,C,h,w].
        size: height and width of the result in pixels.

    Returns:
        int32 [B,H,W]; the first largest class wins. Not differentiable.

    Raises:
        ValueError: `logits` is not 4-D.
    """
    return hc_argmax_like(logits, logits.new_empty(logits.shape[0], 1, *size))
