"""Adaptive average pooling of people's networks, at any size: a translation for torch's exporter.

torch takes the windows of the size that it traces, and the result is wrong at every other. As two small products with
the windows' weights it is exact at all of them (as `models.heads.adaptive_average`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnxscript import opset18

op: Any = opset18


def adaptive_average(x: Any, output_size: Sequence[Any]) -> Any:
    """aten::adaptive_avg_pool2d: [B,N,H,W] -> [B,N,rows,columns]; each of them an int or a scalar of the graph."""
    rows, columns = output_size
    if all(isinstance(bins, int) and bins == 1 for bins in output_size):
        return op.ReduceMean(x, op.Constant(value_ints=[2, 3]), keepdims=1)
    return op.MatMul(op.MatMul(_weights(x, 2, rows), x), op.Transpose(_weights(x, 3, columns), perm=[1, 0]))


def _weights(x: Any, axis: int, bins: Any) -> Any:
    """[bins,size]: row i averages the places floor(i*size/bins) to ceil((i+1)*size/bins) - 1."""
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    rows, columns = op.Constant(value_ints=[0]), op.Constant(value_ints=[1])
    count = op.Constant(value_int=bins) if isinstance(bins, int) else bins
    size = op.Squeeze(op.Shape(x, start=axis, end=axis + 1), rows)
    at = op.Mul(op.Unsqueeze(op.Range(zero, size, one), rows), count)
    index = op.Unsqueeze(op.Range(zero, count, one), columns)
    after = op.Greater(op.Add(at, count), op.Mul(index, size))
    before = op.Less(at, op.Mul(op.Add(index, one), size))
    inside = op.CastLike(op.And(after, before), x)
    return op.Div(inside, op.ReduceSum(inside, columns, keepdims=1))
