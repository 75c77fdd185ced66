"""The four custom ops: tensors in, tensor out. Each stands in one file: torch reference, torch op, ONNX body."""

from hc_deploy.ops import argmax, assign, decode, upsample
from hc_deploy.ops.argmax import hc_argmax, hc_argmax_like
from hc_deploy.ops.assign import hc_assign
from hc_deploy.ops.decode import hc_decode
from hc_deploy.ops.onnx_op import OnnxOp
from hc_deploy.ops.options import ClusterOptions
from hc_deploy.ops.upsample import hc_upsample

ONNX_OPS: tuple[OnnxOp, ...] = (assign.ONNX, decode.ONNX, upsample.ONNX, argmax.ONNX)

__all__ = [
    "ONNX_OPS",
    "ClusterOptions",
    "OnnxOp",
    "hc_argmax",
    "hc_argmax_like",
    "hc_assign",
    "hc_decode",
    "hc_upsample",
]
