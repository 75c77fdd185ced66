"""The custom ops: tensors in, tensor out. Each stands in one file: torch reference and torch op
(`hc_deploy.graph.bodies` has what ONNX sees of it).

On CUDA tensors the four ops of the domain call the CUDA kernels once `make plugin` has built them (`kernels.py`).
The deformable convolution stands beside the four of the domain `hc_deploy`: ONNX has an operator of its own for it.
"""

from hc_deploy.cluster_options import ClusterOptions
from hc_deploy.ops.argmax import hc_argmax, hc_argmax_like
from hc_deploy.ops.assign import hc_assign
from hc_deploy.ops.decode import hc_decode
from hc_deploy.ops.deform import deform_conv, deform_conv_sampled
from hc_deploy.ops.upsample import hc_upsample

__all__ = [
    "ClusterOptions",
    "deform_conv",
    "deform_conv_sampled",
    "hc_argmax",
    "hc_argmax_like",
    "hc_assign",
    "hc_decode",
    "hc_upsample",
]
