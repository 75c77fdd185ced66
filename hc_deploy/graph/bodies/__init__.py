"""The four ops of the domain `hc_deploy` as ONNX sees them, one file an op: signature and function body."""

from hc_deploy.graph.bodies import argmax, assign, decode, upsample
from hc_deploy.graph.onnx_op import OnnxOp

ONNX_OPS: tuple[OnnxOp, ...] = (assign.ONNX, decode.ONNX, upsample.ONNX, argmax.ONNX)
