"""The inspector's JSON, in the forms that TensorRT's documentation shows."""

import json

import pytest

from hc_deploy.engine.build import _BuilderState, _take
from hc_deploy.engine.inspected import engine_layers
from hc_deploy.engine.sidecar import Layers


def layer(kind, text):
    return {"Name": kind.lower(), "LayerType": kind, "Inputs": [{"Name": "x", "Format/Datatype": text}]}


def test_types():
    layers = [
        layer("Reformat", "Row major linear FP32"),
        layer("CaskConvolution", "Channel major FP16 format where channel % 8 == 0"),
        layer("CaskConvolution", "Half"),
        layer("kgen", "BFloat16"),
        layer("PluginV3", "Row major linear FP16 format"),
        {"Name": "constant", "LayerType": "Constant", "Inputs": [], "Outputs": [{"Format/Datatype": "Float"}]},
        layer("Shuffle", "Int64"),
        {"Name": "wait", "LayerType": "Wait", "Inputs": [], "Outputs": []},
    ]
    assert engine_layers(json.dumps({"Layers": layers, "Bindings": ["image"]})) == {
        "source": "engine",
        "count": 8,
        "types": {"fp32": 2, "fp16": 3, "bf16": 1},
        "computing": {"fp16": 3, "bf16": 1},
    }


@pytest.mark.parametrize("text", ['{"Layers": ["conv1", "conv2"]}', "{}", "no JSON"])
def test_no_layer_information(text):
    with pytest.raises(ValueError, match="layer information|Expecting value"):
        engine_layers(text)


def test_the_engine_s_counts_take_the_place_of_the_network_s():
    told = _BuilderState()
    network = {
        "source": "network",
        "count": 9,
        "plugins": {"HCUpsample": 2},
        "types": {"fp16": 9},
        "computing": {"fp16": 9},
    }
    _take({"event": "layers", **network}, told)
    _take({"event": "layers", **engine_layers('{"Layers": []}')}, told)
    assert Layers(**told.layers) == Layers("engine", 0, {"HCUpsample": 2}, {}, {})
