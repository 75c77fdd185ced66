"""HCArgmax in standard operators: a Resize and an ArgMax."""

from __future__ import annotations

import dataclasses

from hc_deploy.cluster_options import ClusterOptions
from hc_deploy.graph import onnx_op


def _body(_: ClusterOptions) -> str:
    # Channels last: at 19 classes and 512x1024 the enlargement and argmax take 4.9 ms there, 11.7 ms channels first.
    return onnx_op.channels_last("logits", "x") + _enlarged_argmax(axis=3, sides="[1, 2]")


def _body_channels_first(_: ClusterOptions) -> str:
    return """
    x = Cast <to = 1> (logits)""" + _enlarged_argmax(axis=1, sides="[2, 3]")


def _enlarged_argmax(*, axis: int, sides: str) -> str:
    return f"""
    size = Shape <start = 2, end = 4> (like)
    enlarged = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel", axes = {sides}> (x, , , size)
    best = ArgMax <axis = {axis}, keepdims = 0> (enlarged)
    out = Cast <to = 6> (best)"""


ONNX = onnx_op.OnnxOp(
    name="HCArgmax", inputs=(("logits", "T"), ("like", "L")), output=("out", "tensor(int32)"), attributes=(), body=_body
)
CHANNELS_FIRST = dataclasses.replace(ONNX, body=_body_channels_first)
"""The body for TensorRT, whose own layout this is. TensorRT-RTX 1.7.1 cannot build a dynamic PSPNet with the other."""
