"""Checkpoints: round trip, and every bad file refused with a message and nothing loaded."""

import json
import pickle

import pytest
import safetensors.torch
import torch

import models
from hc_deploy.errors import DeployError
from hc_deploy.export.checkpoint import CheckpointInfo, load_state, read_checkpoint, save_checkpoint

ARCH = "hcfcn32_resnet18"
OPTIONS = {"width": 4, "level": 1}


@pytest.fixture
def saved(tmp_path):
    net = models.build(ARCH, **OPTIONS)
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, net, CheckpointInfo(arch=ARCH, options=OPTIONS, training={"steps": 3}))
    return net, path


def test_round_trip(saved):
    net, path = saved
    checkpoint = read_checkpoint(path)
    assert checkpoint.info == CheckpointInfo(arch=ARCH, options=OPTIONS, training={"steps": 3})
    twin = models.build(checkpoint.info.arch, **checkpoint.info.options)
    load_state(twin, checkpoint, arch=ARCH)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[name]), name


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
def test_pth(tmp_path, wrap):
    net = models.build(ARCH, **OPTIONS)
    torch.save(wrap(net.state_dict()), tmp_path / "net.pth")
    checkpoint = read_checkpoint(tmp_path / "net.pth")
    assert checkpoint.info.arch is None
    load_state(models.build(ARCH, **OPTIONS), checkpoint, arch=ARCH)


def test_misfits_are_listed_and_nothing_is_loaded(saved, tmp_path):
    net, _ = saved
    state = {**net.state_dict(), "extra.weight": torch.zeros(1), "backbone.bn1.weight": torch.zeros(9)}
    del state["head.classify.bias"]
    torch.save(state, tmp_path / "bad.pth")
    other = models.build(ARCH, **OPTIONS)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(DeployError) as caught:
        load_state(other, read_checkpoint(tmp_path / "bad.pth"), arch=ARCH)
    message = str(caught.value)
    assert "missing (1): head.classify.bias" in message
    assert "unexpected (1): extra.weight" in message
    assert "mis-shaped (1): backbone.bn1.weight (9,), expected (4,)" in message
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_checkpoint_for_another_arch_says_which(saved):
    _, path = saved
    with pytest.raises(DeployError, match=f"it says that it is of {ARCH}"):
        load_state(models.build("pspnet_resnet18", width=4), read_checkpoint(path), arch="pspnet_resnet18")


class Payload:
    """A pickle that would create a file when it is loaded without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("writer", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_pickle_with_code_never_runs(tmp_path, writer):
    trap = tmp_path / "trap"
    writer({"weight": Payload(trap)}, tmp_path / "evil.pth")
    with pytest.raises(DeployError, match="no state dict"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not trap.exists()


def write(path, data):
    path.write_bytes(data)
    return path


def truncated(path, share):
    data = path.read_bytes()
    return write(path.with_name("cut" + path.suffix), data[: int(len(data) * share)])


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_truncated_files(saved, tmp_path, share):
    net, path = saved
    with pytest.raises(DeployError, match="whole safetensors"):
        read_checkpoint(truncated(path, share))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    with pytest.raises(DeployError, match="not a whole checkpoint"):
        read_checkpoint(truncated(tmp_path / "net.pth", share))


def test_wrong_kinds(tmp_path):
    for name, data in (("a.safetensors", b"hello, this is text"), ("a.pth", b"hello, this is text"), ("a.bin", b"x")):
        with pytest.raises(DeployError):
            read_checkpoint(write(tmp_path / name, data))
    with pytest.raises(DeployError, match="does not exist"):
        read_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(DeployError, match="empty"):
        read_checkpoint(write(tmp_path / "empty.safetensors", b""))
    with pytest.raises(DeployError, match="folder"):
        read_checkpoint(tmp_path)
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(DeployError, match="no state dict"):
        read_checkpoint(tmp_path / "list.pth")


@pytest.mark.parametrize(
    "changed",
    [{"arch": 5}, {"options": "abc"}, {"training": [1]}, {"classes": "letters"}, {"mean": ["a", "b", "c"]},
     {"std": [0, 0, 0]}, {"palette": [["red", 0, 0]]}, {"surplus": 1}],
    ids=str,
)  # fmt: skip
def test_metadata_of_a_wrong_kind(saved, tmp_path, changed):
    net, path = saved
    with safetensors.safe_open(path, framework="pt") as file:
        fields = json.loads(file.metadata()["hc_deploy"])
    text = json.dumps({**fields, **changed})
    safetensors.torch.save_file(net.state_dict(), tmp_path / "a.safetensors", metadata={"hc_deploy": text})
    with pytest.raises(DeployError, match=r"a\.safetensors: its 'hc_deploy' metadata"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_keys_that_are_no_names(tmp_path):
    torch.save({1: torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(DeployError, match="no state dict"):
        read_checkpoint(tmp_path / "a.pth")
