"""The model as ONNX Runtime's TensorRT provider takes it. The provider itself needs a GPU."""

import onnx
import pytest

from hc_deploy.errors import DeployError
from hc_deploy.graph.functions import single_op_model
from hc_deploy.graph.provider import PROVIDER_DOMAIN, for_tensorrt_provider

FLOAT, BYTE = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8


def test_custom_ops_change_their_domain(tmp_path):
    options = {"tau": 0.07, "similarity": "dot", "border": "zero", "assignment": "soft"}
    inputs = [("f", FLOAT, [1, 4, 7, 9]), ("s", FLOAT, [1, 4, 4, 5])]
    path = tmp_path / "model.onnx"
    onnx.save(single_op_model("HCAssign", inputs, (FLOAT, [1, 9, 7, 9]), options), path)
    data, custom = for_tensorrt_provider(path)
    model = onnx.load_model_from_string(data)
    (node,) = model.graph.node
    assert custom and (node.domain, node.op_type) == (PROVIDER_DOMAIN, "HCAssign") and not model.functions
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert attributes["plugin_namespace"] == b"hc_deploy" and attributes["similarity"] == b"dot"
    assert {entry.domain for entry in model.opset_import} == {"", PROVIDER_DOMAIN}


def test_a_plain_model_has_none(tmp_path):
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Cast", ["image"], ["out"], to=FLOAT)],
        "plain",
        [onnx.helper.make_tensor_value_info("image", BYTE, [1])],
        [onnx.helper.make_tensor_value_info("out", FLOAT, [1])],
    )
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    assert for_tensorrt_provider(path)[1] is False
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DeployError, match="not a whole ONNX file"):
        for_tensorrt_provider(path)
