"""HCDecode in standard operators: the product of each pixel's nine weights with the nine cells' values."""

from __future__ import annotations

from hc_deploy.cluster_options import ClusterOptions
from hc_deploy.graph import onnx_op


def decode_body() -> str:
    """ONNX text that defines `decoded` [B,h,2,w,2,C] from `weights` [B,h,2,w,2,9] and `coarse`."""
    text = onnx_op.channels_last("coarse", "c") + onnx_op.candidate_cells("c", "value")
    return (
        text
        + """
    decoded = MatMul (weights, value)"""
    )


def _body(_: ClusterOptions) -> str:
    return (
        onnx_op.sizes("assignment", "coarse")
        + onnx_op.channels_last("assignment", "a")
        + onnx_op.pixel_cells("a", "weights")
        + decode_body()
        + onnx_op.channels_first("decoded", "out", "coarse")
    )


ONNX = onnx_op.OnnxOp(
    name="HCDecode", inputs=(("coarse", "T"), ("assignment", "T")), output=("out", "T"), attributes=(), body=_body
)
