"""Which operator makes an exported model differ from torch: both run with every intermediate value recorded.

The exporter names ONNX values after the nodes of the traced torch program, so values are matched by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import fx

from hc_deploy.export.onnx import ExportedModel
from hc_deploy.graph.expose import expose_values

TOLERANCE = 1e-3


@dataclass(frozen=True)
class Divergence:
    """One value that differs: error is the largest |difference| over the largest |value| of torch."""

    value: str
    operator: str
    error: float


def divergences(
    model: ExportedModel,
    image: np.ndarray[Any, Any],
    run_onnx: Callable[[onnx.ModelProto, np.ndarray[Any, Any]], dict[str, np.ndarray[Any, Any]]],
) -> list[Divergence]:
    """Every recorded value of the model, in graph order, with its error against torch.

    Args:
        model: the exported model and its torch program.
        image: one input batch.
        run_onnx: runs an ONNX model on the image and gives all its graph outputs by name.
    """
    recorder = _Recorder(model.program.module())
    with torch.no_grad():
        recorder.run(torch.from_numpy(image))
    operators = {name: node.op_type for node in model.proto.graph.node for name in node.output}
    names = [name for name in operators if name in recorder.values]
    given = run_onnx(expose_values(model.proto, names), image)
    found = []
    for name in names:
        if name in given:
            truth = recorder.values[name].numpy()
            if truth.shape == given[name].shape:
                found.append(Divergence(name, operators[name], _error(truth, given[name])))
    return found


def worst(found: list[Divergence]) -> float:
    """The largest error of all values; 0 where none was compared."""
    return max((entry.error for entry in found), default=0.0)


def describe(found: list[Divergence]) -> str:
    """One line that names the first operator that differs and the worst one."""
    off = [entry for entry in found if not entry.error <= TOLERANCE]
    if not off:
        return "no single operator differs: the error builds up slowly"
    most = max(off, key=lambda entry: entry.error)
    text = f"worst operator: {most.operator} ('{most.value}', error {most.error:.1e} of its range)"
    if off[0] != most:
        text += f"; first to differ: {off[0].operator} ('{off[0].value}', {off[0].error:.1e})"
    return text


def _error(truth: np.ndarray[Any, Any], given: np.ndarray[Any, Any]) -> float:
    difference = np.abs(truth.astype(np.float64) - given.astype(np.float64))
    if not np.isfinite(difference).all():
        return float("inf")
    return float(difference.max(initial=0.0) / max(float(np.abs(truth).max(initial=0.0)), 1e-12))


class _Recorder(fx.Interpreter):
    """Runs a traced program and keeps every float tensor by its node's name."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.values[n.name] = result.detach().clone()
        return result
