"""Modulated deformable 3x3 convolution (DCNv2, Zhu et al., CVPR 2019, Eq. 1): maps in, map out.

    out(p) = sum over the nine kernel points n of weight_n * mask_n(p) * x(p * stride + n + offset_n(p))

Two forms give the same numbers: by sampling, which uses operators that every runtime has, and as one torch op, which
exports as the standard `DeformConv` of ONNX opset 19.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from hc_deploy.ops.cells import recomputed_gradients

KERNEL = 3
ONNX_OPSET = 19


def deform_conv_sampled(
    x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor, stride: int
) -> torch.Tensor:
    """Modulated deformable 3x3 convolution, padding 1, by sampling.

    Args:
        x: [B,N,H,W].
        offset: [B,18,h,w] in input pixels, (dy, dx) of each kernel point, row-major.
        mask: modulation [B,9,h,w].
        weight: [M,N,3,3].

    Returns:
        [B,M,h,w] with h = floor((H-1)/stride) + 1. Samples outside the input count as zero.
    """
    batch, channels, height, width = x.shape
    h, w = offset.shape[2], offset.shape[3]
    rows = torch.arange(h, device=x.device, dtype=x.dtype).reshape(1, h, 1) * stride - 1
    columns = torch.arange(w, device=x.device, dtype=x.dtype).reshape(1, 1, w) * stride - 1
    taps = []
    for n in range(KERNEL * KERNEL):
        y = rows + n // KERNEL + offset[:, 2 * n]
        z = columns + n % KERNEL + offset[:, 2 * n + 1]
        # grid_sample without align_corners: pixel p stands at (2p + 1) / size - 1, which also holds for a size of 1
        grid = torch.stack([(2 * z + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        tap = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        taps.append(tap * mask[:, n : n + 1])
    columns_of = torch.stack(taps, dim=2).reshape(batch, channels * KERNEL * KERNEL, h * w)
    return (weight.reshape(weight.shape[0], -1) @ columns_of).reshape(batch, weight.shape[0], h, w)


@torch.library.custom_op("hc_deploy::deform_conv", mutates_args=())
def _deform_conv(
    x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor, stride: int
) -> torch.Tensor:
    return deform_conv_sampled(x, offset, mask, weight, stride)


@_deform_conv.register_fake
def _(x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], offset.shape[2], offset.shape[3])


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.stride = inputs[4]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    grads = recomputed_gradients(
        lambda x, offset, mask, weight: deform_conv_sampled(x, offset, mask, weight, ctx.stride),
        ctx.saved_tensors,
        grad,
    )
    return (*grads, None)


_deform_conv.register_autograd(_backward, setup_context=_save)


def deform_conv(
    x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor, stride: int
) -> torch.Tensor:
    """`deform_conv_sampled` as one op, for export as `DeformConv`."""
    return torch.ops.hc_deploy.deform_conv(x, offset, mask, weight, stride)
