"""HCUpsample in standard operators: HCAssign and HCDecode, one after the other."""

from __future__ import annotations

from hc_deploy.cluster_options import ClusterOptions
from hc_deploy.graph import onnx_op
from hc_deploy.graph.bodies.assign import assignment_body
from hc_deploy.graph.bodies.decode import decode_body


def _body(options: ClusterOptions) -> str:
    return (
        onnx_op.sizes("features", "seeds")
        + assignment_body(options)
        + decode_body()
        + onnx_op.channels_first("decoded", "out", "coarse")
    )


ONNX = onnx_op.OnnxOp(
    name="HCUpsample",
    inputs=(("coarse", "T"), ("features", "T"), ("seeds", "T")),
    output=("out", "T"),
    attributes=onnx_op.CLUSTER_ATTRIBUTES,
    body=_body,
)
