"""DCNv2 as the downsampling layer of a residual block (section 3.3, Appendix A)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from hc_deploy.graph.onnx_op import OPSET
from hc_deploy.ops.deform import KERNEL, ONNX_OPSET, deform_conv, deform_conv_sampled

DeformForm = Literal["sampled", "operator"]


class DeformableConv2d(nn.Module):
    """Modulated deformable 3x3 convolution without bias; offsets and modulation come from a plain 3x3 convolution.

    That convolution starts at zero (offset 0, modulation sigmoid(0) = 0.5), as in DCNv2, so training starts from half a
    regular convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 2, form: DeformForm = "sampled") -> None:
        super().__init__()
        self.stride, self.form = stride, form
        self.onnx_opset = ONNX_OPSET if form == "operator" else OPSET
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, KERNEL, KERNEL))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.offset = nn.Conv2d(in_channels, 3 * KERNEL * KERNEL, KERNEL, stride, padding=1)
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Zero the offset convolution."""
        nn.init.zeros_(self.offset.weight)
        if self.offset.bias is not None:
            nn.init.zeros_(self.offset.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,N,H,W] -> [B,M,ceil(H/stride),ceil(W/stride)]."""
        field = self.offset(x)
        offset, mask = field[:, : 2 * KERNEL * KERNEL], torch.sigmoid(field[:, 2 * KERNEL * KERNEL :])
        convolve = deform_conv if self.form == "operator" else deform_conv_sampled
        return convolve(x, offset, mask, self.weight, self.stride)
