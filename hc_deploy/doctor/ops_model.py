"""Makes the model that `hc-deploy doctor` runs: `python -m hc_deploy.doctor.ops_model`, after the bodies changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx.checker
import onnx.helper
from onnx import TensorProto

import hc_deploy.doctor
from hc_deploy.doctor import probe
from hc_deploy.graph.functions import IR_VERSION, add_function_bodies, register_schemas
from hc_deploy.graph.onnx_op import DOMAIN, DOMAIN_VERSION, OPSET, PLUGIN_ATTRIBUTES
from hc_deploy.system.files import write_bytes

HARD: dict[str, Any] = {"tau": 0.07, "similarity": "cosine", "border": "exclude", "assignment": "hard"}
SOFT: dict[str, Any] = {"tau": 0.07, "similarity": "cosine", "border": "zero", "assignment": "soft"}


def doctor_model() -> onnx.ModelProto:
    """The four ops with their bodies; see `hc_deploy.doctor.probe` for what enters and leaves."""
    register_schemas()
    ours: dict[str, Any] = {"domain": DOMAIN, **PLUGIN_ATTRIBUTES}
    node = onnx.helper.make_node
    nodes = [
        node("HCAssign", ["features", "seeds"], ["hard"], **ours, **HARD),
        node("HCDecode", ["cells", "hard"], ["decoded"], **ours),
        node("Squeeze", ["decoded", "channel"], ["whole"]),
        node("Cast", ["whole"], ["ids"], to=TensorProto.INT32),
        node("HCUpsample", ["numbers", "features", "seeds"], ["logits"], **ours, **SOFT),
        node("HCArgmax", ["logits", "features"], ["labels"], **ours),
    ]
    h, w = probe.COARSE
    cells = onnx.helper.make_tensor("cells", TensorProto.FLOAT, [1, 1, h, w], range(h * w))
    channel = onnx.helper.make_tensor("channel", TensorProto.INT64, [1], [1])
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "doctor",
        [value(name, TensorProto.FLOAT, array.shape) for name, array in probe.inputs().items()],
        [value(name, TensorProto.INT32, array.shape) for name, array in probe.answers().items()],
        [cells, channel],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    add_function_bodies(model)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    target = Path(hc_deploy.doctor.__file__).with_name("ops.onnx")
    write_bytes(target, doctor_model().SerializeToString())
