"""What every network of the registry keeps. A new network is one line in SYSTEMS."""

from dataclasses import replace

import pytest
import torch

import models
from hc_deploy.export.checkpoint import CheckpointInfo, load_state, read_checkpoint, save_checkpoint
from hc_deploy.export.networks import METHODS, deployment_of
from hc_deploy.export.onnx import export_onnx, save_onnx
from hc_deploy.export.untouched import Untouched
from hc_deploy.parity.exposed import OnnxUnderTest
from hc_deploy.parity.fidelity import measure_fidelity
from hc_deploy.parity.images import parity_images
from hc_deploy.runtime import open_session
from models.load import new_network
from models.registry import ARCHITECTURES, WHOLE

SMALL = {"width": 4, "classes": 5}
SYSTEMS = {
    **{
        f"{name}_resnet18": SMALL
        for name in ("fcn32", "atrousfcn", "fpn", "pspnet", "deeplabv3", "hcfcn32", "hcfpn", "hcpspnet", "hcdeeplabv3")
    },
    "ssn": {"superpixels": 12, "iterations": 3, "channels": 8},
    "hcssn": {"superpixels": 12, "iterations": 3, "channels": 8, "dim": 8},
    "dorn": {"backbone": "resnet18", "width": 8, "intervals": 6},
    "hcdorn": {"backbone": "resnet18", "width": 8, "intervals": 6, "dim": 8},
}
SIZES = [(97, 131), (64, 96), (33, 61)]


def outputs(net, height, width, batch):
    """What the network answers to a seeded normalised image, by its task."""
    image = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height))
    with torch.no_grad():
        return getattr(net, METHODS[deployment_of(net, "").task])(image)


def test_every_architecture_is_held_to_it():
    assert {name.split("_")[0] for name in SYSTEMS} == {*ARCHITECTURES, *WHOLE}


@pytest.mark.parametrize("name", SYSTEMS)
def test_odd_sizes_and_batches(name):
    """Any size; and an image's answer does not depend on what else is in the batch."""
    net = models.build(name, **SYSTEMS[name]).eval()
    for size in SIZES:
        three = outputs(net, *size, batch=3)
        assert three.shape[0] == 3 and torch.isfinite(three.double()).all()
        image = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(size[0]))[:1]
        with torch.no_grad():
            given = net(torch.cat([image, -image])), net(image)
        torch.testing.assert_close(given[0][:1], given[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_gradient_reaches_every_parameter(name):
    torch.manual_seed(0)
    options = {**SYSTEMS[name], "aux": True} if "classes" in SYSTEMS[name] else SYSTEMS[name]
    net = models.build(name, **options).train()
    given = (net.forward_with_aux if "aux" in options else net.forward)(torch.randn(2, 3, 97, 131))
    sum(value.square().sum() for value in ([given] if isinstance(given, torch.Tensor) else given)).backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("fixed", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_export_matches_torch_in_onnx_runtime(name, fixed, tmp_path):
    """Static at batch 3; dynamic at batches 1 and 2 and at two sizes (`parity_images`)."""
    net, spec = new_network(name, SYSTEMS[name])
    if fixed:
        spec = replace(spec, batch=3, height=65, width=97)
    model = export_onnx(net, spec)
    save_onnx(model, tmp_path / "model.onnx")
    with OnnxUnderTest(model.proto, model.spec, tmp_path / "model.onnx", open_session) as candidate:
        given = measure_fidelity(Untouched(net, spec), candidate, parity_images(spec, size=(97, 161)))
    assert given.failures() == [] and given.images == 3


@pytest.mark.parametrize("name", SYSTEMS)
def test_save_and_load(name, tmp_path):
    torch.manual_seed(1)
    net = models.build(name, **SYSTEMS[name]).eval()
    save_checkpoint(tmp_path / "net.safetensors", net, CheckpointInfo(arch=name, options=SYSTEMS[name]))
    checkpoint = read_checkpoint(tmp_path / "net.safetensors")
    twin = models.build(checkpoint.info.arch, **checkpoint.info.options).eval()
    load_state(twin, checkpoint, arch=name)
    assert torch.equal(outputs(net, 64, 96, 1), outputs(twin, 64, 96, 1))
