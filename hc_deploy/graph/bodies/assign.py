"""HCAssign in standard operators: the products of each pixel with its nine candidates, scaled, and a softmax."""

from __future__ import annotations

from hc_deploy.cluster_options import NORM_FLOOR, ClusterOptions
from hc_deploy.graph import onnx_op


def assignment_body(options: ClusterOptions) -> str:
    """ONNX text that defines `weights` [B,h,2,w,2,9] from `features` and `seeds`; `sizes` must stand before it."""
    return (
        onnx_op.channels_last("features", "x")
        + onnx_op.channels_last("seeds", "s")
        + onnx_op.pixel_cells("x", "pixels")
        + _SCALES[options.similarity]
        + onnx_op.candidate_cells("centres", "seed")
        + """
    seed_t = Transpose <perm = [0, 1, 2, 3, 5, 4]> (seed)
    products = MatMul (pixels, seed_t)
    scaled = Div (products, scale)"""
        + _ranked(options)
        + _WEIGHTS[options.assignment]
    )


_SCALES = {
    "cosine": f"""
    given = Constant <value_float: float = @tau> ()
    tau = Cast <to = 1> (given)
    floor = {onnx_op.number(NORM_FLOOR)}
    s_length = ReduceL2 <keepdims = 1> (s, rest)
    s_safe = Max (s_length, floor)
    centres = Div (s, s_safe)
    x_length = ReduceL2 <keepdims = 1> (pixels, rest)
    x_safe = Max (x_length, floor)
    scale = Mul (x_safe, tau)""",
    "dot": """
    centres = Identity (s)
    given = Constant <value_float: float = @tau> ()
    scale = Cast <to = 1> (given)""",
}

_WEIGHTS = {
    "soft": """
    weights = Softmax <axis = -1> (ranked)""",
    "hard": f"""
    first = ArgMax <axis = -1, keepdims = 1> (ranked)
    numbers = {onnx_op.integers(*range(9))}
    chosen = Equal (first, numbers)
    weights = Cast <to = 1> (chosen)""",
}


def _ranked(options: ClusterOptions) -> str:
    """`ranked` from `scaled`: candidates outside the map are pushed below all others where the border excludes them."""
    if options.border == "zero":
        return """
    ranked = Identity (scaled)"""
    return (
        f"""
    unit = {onnx_op.number(1.0)}
    lowest = {onnx_op.number(-3.0e38)}
    ones_shape = Concat <axis = 0> (one, h, w, one)
    ones = Expand (unit, ones_shape)"""
        + onnx_op.candidate_cells("ones", "inside")
        + """
    inside_t = Transpose <perm = [0, 1, 2, 3, 5, 4]> (inside)
    outside = Sub (unit, inside_t)
    penalty = Mul (outside, lowest)
    ranked = Add (scaled, penalty)"""
    )


def _body(options: ClusterOptions) -> str:
    return (
        onnx_op.sizes("features", "seeds")
        + assignment_body(options)
        + onnx_op.channels_first("weights", "out", "features")
    )


ONNX = onnx_op.OnnxOp(
    name="HCAssign",
    inputs=(("features", "T"), ("seeds", "T")),
    output=("out", "T"),
    attributes=onnx_op.CLUSTER_ATTRIBUTES,
    body=_body,
)
