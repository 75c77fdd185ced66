"""What an op is to ONNX: its signature and, as text, the function body of standard operators.

Constants stand in them as tensors (`value = int64[2] {1, 2}`). The shape inference of ONNX Runtime 1.20 to 1.24 takes
what `value_ints` gives in a function for a scalar, and refuses the model ("'pads' input must be a 1D"); onnxslim turns
a `value_float` into a double (so `tau`, which only an attribute can give, is cast).

Bodies are kept as text so that importing an op needs no onnx; `hc_deploy.graph.functions` parses them. They work on
maps laid out [B,H,W,C], where a pixel's channels are contiguous, and multiply each pixel pair with its nine candidates
by one broadcast MatMul ([B,h,2,w,2,K] x [B,h,1,w,K,9]). On 2 cores at fine map 64x128, K=64, C=19 that takes 3.3 ms in
ONNX Runtime; a MatMul over cells of four pixels took 8.5 ms (its transposes cost more than the products).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hc_deploy.cluster_options import ClusterOptions

DOMAIN = "hc_deploy"
DOMAIN_VERSION = 1
OPSET = 18

AttributeKind = Literal["float", "string"]
CLUSTER_ATTRIBUTES: tuple[tuple[str, AttributeKind], ...] = (
    ("tau", "float"),
    ("similarity", "string"),
    ("border", "string"),
    ("assignment", "string"),
)
PLUGIN_ATTRIBUTES = {"plugin_namespace": DOMAIN, "plugin_version": "1"}
"""TensorRT's parser looks a plugin up by these; without them it expands the function body."""


@dataclass(frozen=True)
class OnnxOp:
    """One custom op as ONNX sees it.

    Attributes:
        name: op type. inputs: (name, type variable) each; all of type variable `T` are float tensors.
        output: (name, type) of the single output. attributes: (name, kind) each, besides the plugin attributes.
        body: text of the function body for one choice of the string attributes; `tau` is referenced as @tau.
    """

    name: str
    inputs: tuple[tuple[str, str], ...]
    output: tuple[str, str]
    attributes: tuple[tuple[str, AttributeKind], ...]
    body: Callable[[ClusterOptions], str]


def integers(*values: int) -> str:
    """A Constant of the one-dimensional int64 tensor of `values`."""
    return f"Constant <value = int64[{len(values)}] {{{', '.join(map(str, values))}}}> ()"


def number(value: float) -> str:
    """A Constant of a float32 scalar."""
    return f"Constant <value = float {{{value!r}}}> ()"


def channels_last(source: str, out: str) -> str:
    """float32 [B,C,H,W] -> [B,H,W,C]; accumulation is in float32 whatever the I/O type."""
    return f"""
    {out}_f = Cast <to = 1> ({source})
    {out} = Transpose <perm = [0, 2, 3, 1]> ({out}_f)"""


def sizes(fine: str, coarse: str) -> str:
    """Defines H, W, h, w (one-element int64 vectors) of the NCHW maps `fine` and `coarse`, and common constants."""
    return f"""
    H = Shape <start = 2, end = 3> ({fine})
    W = Shape <start = 3, end = 4> ({fine})
    h = Shape <start = 2, end = 3> ({coarse})
    w = Shape <start = 3, end = 4> ({coarse})
    zero = {integers(0)}
    one = {integers(1)}
    two = {integers(2)}
    nine = {integers(9)}
    rest = {integers(-1)}
    hh = Mul (h, two)
    ww = Mul (w, two)
    row_pad = Sub (hh, H)
    column_pad = Sub (ww, W)
    odd_pads = Concat <axis = 0> (zero, zero, zero, zero, zero, row_pad, column_pad, zero)
    pixel_shape = Concat <axis = 0> (zero, h, two, w, two, rest)
    candidate_shape = Concat <axis = 0> (zero, h, one, w, nine, rest)
    map_shape = Concat <axis = 0> (zero, hh, ww, rest)"""


def pixel_cells(source: str, out: str) -> str:
    """[B,H,W,C] -> [B,h,2,w,2,C]; odd sizes are padded."""
    return f"""
    {out}_even = Pad ({source}, odd_pads)
    {out} = Reshape ({out}_even, pixel_shape)"""


def candidate_cells(source: str, out: str) -> str:
    """[B,h,w,C] -> [B,h,1,w,9,C]: each cell's nine neighbours, zeros outside the map."""
    ends = (-2, -1, 2**63 - 1)
    lines = [
        f"{out}_pads = {integers(0, 1, 1, 0, 0, 1, 1, 0)}",
        f"{out}_padded = Pad ({source}, {out}_pads)",
        f"{out}_axes = {integers(1, 2)}",
    ]
    for n in range(9):
        lines += [
            f"{out}_start{n} = {integers(n // 3, n % 3)}",
            f"{out}_end{n} = {integers(ends[n // 3], ends[n % 3])}",
            f"{out}_{n} = Slice ({out}_padded, {out}_start{n}, {out}_end{n}, {out}_axes)",
        ]
    lines += [
        f"{out}_all = Concat <axis = 3> ({', '.join(f'{out}_{n}' for n in range(9))})",
        f"{out} = Reshape ({out}_all, candidate_shape)",
    ]
    return "".join(f"\n    {line}" for line in lines)


def channels_first(source: str, out: str, like: str) -> str:
    """[B,h,2,w,2,C] -> [B,C,H,W] in the type of `like`."""
    return f"""
    {out}_map = Reshape ({source}, map_shape)
    {out}_start = {integers(0, 0)}
    {out}_axes = {integers(1, 2)}
    {out}_end = Concat <axis = 0> (H, W)
    {out}_cut = Slice ({out}_map, {out}_start, {out}_end, {out}_axes)
    {out}_f = Transpose <perm = [0, 3, 1, 2]> ({out}_cut)
    {out} = CastLike ({out}_f, {like})"""
