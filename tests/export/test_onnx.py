"""Exported models: what the file holds, and that ONNX Runtime gives what torch gives."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from hc_deploy.errors import DeployError, GateError, UsageError
from hc_deploy.export.deployed import DeployedNet, superpixel_ids
from hc_deploy.export.diagnose import describe, divergences
from hc_deploy.export.onnx import export_onnx, save_onnx
from hc_deploy.export.untouched import Untouched
from hc_deploy.parity.exposed import OnnxUnderTest
from hc_deploy.parity.fidelity import measure_fidelity, require_fidelity
from hc_deploy.parity.images import parity_images
from hc_deploy.runtime import open_session
from hc_deploy.spec import METADATA_KEY, ModelSpec
from models.load import new_network

WIDTH = ("width", 4)
STATIC = {"batch": 1, "height": 65, "width": 97}


def compare(net, model, path, size=(65, 97)):
    with OnnxUnderTest(model.proto, model.spec, path, open_session) as candidate:
        return measure_fidelity(Untouched(net, model.spec), candidate, parity_images(model.spec, size=size))


@pytest.mark.parametrize(
    "options",
    [
        {"assignment": "hard"},
        {"similarity": "dot", "tau": 2.0},
        {"border": "exclude"},
        {"level": 4},
        {"level": 0},
        {"branch": "residual", "dim": 16},
        {"downsample": "dcnv2"},
        {"downsample": "dcnv2", "deform": "operator"},
        {"aux": True},
    ],
    ids=str,
)
def test_parity_of_options(options, export_small, tmp_path):
    net, model = export_small("hcfcn32_resnet18", (WIDTH, *options.items()), **STATIC)
    save_onnx(model, tmp_path / "model.onnx")
    assert compare(net, model, tmp_path / "model.onnx").failures() == []


def test_dcnv2_exports_in_both_forms(export_small):
    """As operators that every runtime has, or as the DeformConv of opset 19; the auxiliary head is in neither."""
    options = (WIDTH, ("downsample", "dcnv2"), ("aux", True))
    _, sampled = export_small("fcn32_resnet18", options, **STATIC)
    _, operator = export_small("fcn32_resnet18", (*options, ("deform", "operator")), **STATIC)
    counts = [[node.op_type for node in model.proto.graph.node] for model in (sampled, operator)]
    assert (counts[0].count("GridSample"), counts[0].count("DeformConv")) == (27, 0)
    assert (counts[1].count("GridSample"), counts[1].count("DeformConv")) == (0, 3)
    assert max(entry.version for entry in operator.proto.opset_import if not entry.domain) == 19
    assert not [entry.name for entry in sampled.proto.graph.initializer if ".aux." in entry.name]


@pytest.mark.parametrize("kind", ["uint8", "float"])
@pytest.mark.parametrize(
    "outputs", [("labels",), ("logits",), ("labels", "superpixels"), ("superpixels", "logits"), ("superpixels",)]
)
def test_inputs_and_outputs(kind, outputs, export_small, tmp_path):
    net, model = export_small("hcpspnet_resnet18", (WIDTH,), **STATIC, input=kind, outputs=outputs)
    save_onnx(model, tmp_path / "model.onnx")
    assert compare(net, model, tmp_path / "model.onnx").failures() == []
    with open_session(tmp_path / "model.onnx") as session:
        given = session.run(next(parity_images(session.spec, size=(65, 97))))
    assert tuple(given) == outputs
    shapes = {"labels": (1, 65, 97), "logits": (1, 19, 9, 13), "superpixels": (1, 65, 97)}
    types = {"labels": np.uint8, "logits": np.float32, "superpixels": np.int32}
    assert all(given[name].shape == shapes[name] and given[name].dtype == types[name] for name in outputs)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 33), (257, 353)])
def test_dynamic_model_takes_any_size(size, export_small, tmp_path):
    net, model = export_small("hcpspnet_resnet18", (WIDTH,))
    save_onnx(model, tmp_path / "model.onnx")
    assert compare(net, model, tmp_path / "model.onnx", size=size).failures() == []


def test_the_file_describes_itself(export_small):
    _, model = export_small("hcpspnet_resnet18", (WIDTH,))
    proto = model.proto
    onnx.checker.check_model(proto, full_check=True)
    custom = [node for node in proto.graph.node if node.domain == "hc_deploy"]
    assert [node.op_type for node in custom] == ["HCUpsample", "HCUpsample", "HCArgmax"]
    for node in custom:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert attributes["plugin_namespace"] == b"hc_deploy" and attributes["plugin_version"] == b"1"
    assert sorted(function.name for function in proto.functions) == ["HCArgmax", "HCUpsample"]
    assert {(entry.domain, entry.version) for entry in proto.opset_import} >= {("", 18), ("hc_deploy", 1)}
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert ModelSpec.from_json(metadata[METADATA_KEY], source="test") == model.spec
    assert b"/" + b"models" + b"/" not in proto.SerializeToString(), "paths of the exporting machine"


def test_normalisation_is_inside_the_graph(export_small):
    """uint8 in equals float in after the textbook normalisation."""
    net, spec = new_network("fcn32_resnet18", {"width": 4})
    spec = replace(spec, outputs=("logits",))
    picture = next(parity_images(replace(spec, **STATIC), size=(65, 97)))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = ((torch.from_numpy(picture) / 255.0 - mean) / std).permute(0, 3, 1, 2)
    (inside,) = DeployedNet(net, spec)(torch.from_numpy(picture))
    (outside,) = DeployedNet(net, replace(spec, input="float"))(normal)
    torch.testing.assert_close(inside, outside, rtol=1e-4, atol=1e-4)


def test_superpixel_ids_by_hand():
    """One cluster level: each pixel's id is that of its most similar candidate inside the map."""
    features, seeds = torch.randn(1, 3, 5, 6), torch.randn(1, 3, 3, 3)
    ids = superpixel_ids([(features, seeds)], torch.zeros(1, 3, 9, 11), stride=2)  # sizes that 2 does not divide
    assert ids.dtype == torch.int32 and ids.shape == (1, 9, 11)
    for i in range(5):
        for j in range(6):
            cells = [(i // 2 + dy, j // 2 + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            cells = [(y, x) for y, x in cells if 0 <= y < 3 and 0 <= x < 3]
            best = max(cells, key=lambda c: torch.cosine_similarity(features[0, :, i, j], seeds[0, :, c[0], c[1]], 0))
            assert (ids[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] == best[0] * 3 + best[1]).all()


def test_superpixels_need_clusters(export_small):
    for arch, options in (("fcn32_resnet18", (WIDTH,)), ("hcfcn32_resnet18", (WIDTH, ("level", 0)))):
        with pytest.raises(UsageError, match="level 1 to 4"):
            export_small(arch, options, **STATIC, outputs=("superpixels", "labels"))


def test_a_wrong_model_fails_the_gate_and_its_operator_is_named(export_small, tmp_path):
    """Negating the seed embedding turns every assignment around: the first HCUpsample is where it shows."""
    net, good = export_small("hcfcn32_resnet18", (WIDTH, ("level", 1)), **STATIC)
    proto = onnx.ModelProto()
    proto.CopyFrom(good.proto)
    weight = next(entry for entry in proto.graph.initializer if entry.name.endswith("conv5_x.seed.weight"))
    weight.raw_data = (-np.frombuffer(weight.raw_data, np.float32)).tobytes()
    bad = replace(good, proto=proto)
    save_onnx(bad, tmp_path / "model.onnx")
    fidelity = compare(net, bad, tmp_path / "model.onnx")
    assert fidelity.failures()
    image = next(parity_images(good.spec, size=(65, 97)))
    with OnnxUnderTest(bad.proto, bad.spec, tmp_path / "model.onnx", open_session) as candidate:
        found = divergences(bad, image, candidate.run_proto)
    with pytest.raises(GateError, match=r"worst operator: Conv .*") as caught:
        require_fidelity(fidelity, candidate="hcfcn32", cause=describe(found))
    assert caught.value.exit_code == 3
    clean = [entry for entry in found if entry.error > 1e-3]
    assert clean[0].operator == "Conv" and {"HCUpsample"} <= {entry.operator for entry in clean}


class Untraceable(torch.nn.Module):
    def forward(self, image):
        return image[:, :2] if image.sum() > 0 else image


def test_a_network_that_cannot_be_traced_is_refused():
    spec = ModelSpec(arch="mine", classes=("a", "b"), palette=((0, 0, 0), (1, 1, 1)), **STATIC)
    with pytest.raises(DeployError, match="mine cannot be exported"):
        export_onnx(Untraceable(), spec)
