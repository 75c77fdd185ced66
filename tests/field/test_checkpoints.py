"""Checkpoints as people have them: wrappers, prefixes, companions. Each loads the right values or is refused."""

import argparse
import collections
import datetime
import json
import pathlib
import pickle
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch

import models
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.export.checkpoint import CheckpointInfo, load_state, read_checkpoint, save_checkpoint
from models.load import load_network
from tests.field.nets import Net, build, trained

NET = trained()
STATE = NET.state_dict()


def saved(tmp_path, content, name="net.pth", **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, tmp_path / name, **how)
    return tmp_path / name


def loads(path, expected=None, **how):
    """The notes; the values are those of `expected`, bit by bit."""
    key = how.pop("state_key", None)
    checkpoint = read_checkpoint(path, state_key=key)
    net = Net()
    notes = [*checkpoint.notes, *load_state(net, checkpoint, arch="mine", **how)]
    for name, tensor in (expected or STATE).items():
        assert torch.equal(net.state_dict()[name], tensor), name
    return notes


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("form", ["zip", "stream", "pickle"])
def test_every_form_that_python_writes(tmp_path, form, protocol):
    if form == "pickle":
        path = tmp_path / "net.pkl"
        path.write_bytes(pickle.dumps(STATE, protocol=protocol))
    else:
        path = saved(tmp_path, STATE, pickle_protocol=protocol, _use_new_zipfile_serialization=form == "zip")
    loads(path)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module.", "model.net.", "a.b.c.d."],
)
def test_prefixes(tmp_path, prefix):
    notes = loads(saved(tmp_path, {prefix + name: value for name, value in STATE.items()}))
    assert any("stripped" in note for note in notes)


@pytest.mark.parametrize("inside", ["body._orig_mod.0.weight", "body.module.0.weight"])
def test_wrappers_around_a_part(tmp_path, inside):
    part = inside.removesuffix("0.weight")
    loads(saved(tmp_path, {name.replace("body.", part): value for name, value in STATE.items()}))


def test_a_networks_own_module_is_no_wrapper(tmp_path):
    """A network whose attribute is called `module` keeps it."""
    outer = torch.nn.Module()
    outer.module, outer.model = trained(), torch.nn.Linear(2, 2)
    twin = torch.nn.Module()
    twin.module, twin.model = Net(), torch.nn.Linear(2, 2)
    assert load_state(twin, read_checkpoint(saved(tmp_path, outer.state_dict())), arch="mine") == []
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in outer.state_dict().items())


@pytest.mark.parametrize(
    "key",
    ["state_dict", "model", "model_state", "model_state_dict", "net", "network", "module", "weights", "what_ever"],
)
def test_wrapping_dicts(tmp_path, key):
    record = {"epoch": 3, "best": 0.71, "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}}, key: STATE}
    assert f"taken from '{key}'" in loads(saved(tmp_path, record))[0]


def test_two_dicts_down_and_lists(tmp_path):
    loads(saved(tmp_path, {"checkpoint": {"model": STATE, "step": 1}}))
    loads(saved(tmp_path, [STATE]))


def test_of_several_the_one_taken_is_said_and_another_can_be_chosen(tmp_path):
    average = {name: value + 1 if value.is_floating_point() else value for name, value in STATE.items()}
    path = saved(tmp_path, {"model": STATE, "model_ema": average})
    assert "taken from 'model' (also there: model_ema; --state-key chooses)" in loads(path)
    loads(path, average, state_key="model_ema")
    with pytest.raises(UsageError, match="one of model, model_ema"):
        read_checkpoint(path, state_key="ema")
    with pytest.raises(UsageError, match="several state dicts: a, b"):
        read_checkpoint(saved(tmp_path, {"a": STATE, "b": average}))


class Arguments(dict):
    """What Lightning, mmengine and others derive from dict."""


def test_harmless_companions_are_set_aside(tmp_path):
    record = {
        "state_dict": STATE, "epoch": np.float64(3), "mean": np.arange(3.0), "args": argparse.Namespace(lr=0.1),
        "path": pathlib.PurePosixPath("/x"), "when": datetime.datetime.now(), "counts": collections.Counter("abc"),
        "history": collections.defaultdict(list, {"loss": [1.0]}), "hyper": Arguments(lr=1), "kind": torch.float16,
        "names": {"a", "b"}, "frozen": frozenset([1]), "big": 10**30, "function": json.dumps, "class": Arguments,
    }  # fmt: skip
    for protocol in (2, 4):
        loads(saved(tmp_path, record, pickle_protocol=protocol))


def test_a_whole_pickled_network(tmp_path):
    """Its class need not exist, and is not imported: the weights lie in the attributes of torch.nn.Module."""
    loads(saved(tmp_path, NET))
    loads(saved(tmp_path, {"model": NET, "epoch": 1}))


def test_arrays_of_numpy(tmp_path):
    path = tmp_path / "net.pkl"
    path.write_bytes(pickle.dumps({"model": {name: value.numpy() for name, value in STATE.items()}, "author": "x"}))
    loads(path)


def test_entries_that_are_no_tensors(tmp_path):
    notes = loads(saved(tmp_path, {**STATE, "_extra_state": None, "version": "1.2"}))
    assert any("2 entries that are no tensors set aside: _extra_state, version" in note for note in notes)


@pytest.mark.parametrize(
    "name", ["a.ckpt", "a.pt", "a.pth.tar", "a.bin", "a.tar", "A.PTH", "weights", "a.safetensors.bak"]
)
def test_the_content_decides_what_a_file_is(tmp_path, name):
    loads(saved(tmp_path, STATE, name))
    safetensors.torch.save_file(STATE, tmp_path / name)
    loads(tmp_path / name)


def test_sharded_safetensors(tmp_path):
    names = list(STATE)
    parts = {"m-1.safetensors": names[:5], "m-2.safetensors": names[5:]}
    for file, held in parts.items():
        safetensors.torch.save_file({name: STATE[name] for name in held}, tmp_path / file)
    index = tmp_path / "m.safetensors.index.json"
    weights = {name: file for file, held in parts.items() for name in held}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weights}))
    assert loads(index) == ["2 shards"]
    for bad in ({**weights, names[0]: "../m-1.safetensors"}, {**weights, "lost": "m-1.safetensors"}):
        index.write_text(json.dumps({"weight_map": bad}))
        with pytest.raises(DeployError, match="beside it|lack lost"):
            read_checkpoint(index)


def test_foreign_extra_keys(tmp_path):
    path = saved(tmp_path, {**STATE, "criterion.weight": torch.ones(4), "aux.w": torch.ones(1)})
    with pytest.raises(DeployError, match=r"unexpected \(2\): aux.w, criterion.weight") as caught:
        loads(path)
    assert "--ignore-keys" in caught.value.mend
    assert "ignored: aux.w, criterion.weight" in loads(path, ignore_keys=["criterion.*", "aux.*"])
    with pytest.raises(UsageError, match=r"--ignore-keys nothing\.\*"):
        loads(path, ignore_keys=["criterion.*", "aux.*", "nothing.*"])
    short = {name: value for name, value in STATE.items() if name != "head.bias"}
    with pytest.raises(DeployError, match=r"missing \(1\): head.bias"):
        loads(saved(tmp_path, short), ignore_keys=[])


def test_extra_keys_beside_a_prefix(tmp_path):
    """Lightning keeps the loss beside the network: `model.` and `criterion.` in one dict."""
    state = {f"model.{name}": value for name, value in STATE.items()} | {"criterion.weight": torch.ones(4)}
    loads(saved(tmp_path, {"state_dict": state}), ignore_keys=["criterion.*"])


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_weights_that_are_no_numbers(tmp_path, value, word):
    state = {name: tensor.clone() for name, tensor in STATE.items()}
    state["head.bias"][1] = value
    with pytest.raises(DeployError, match=rf"head\.bias: 1 of 4 values are {word}"):
        loads(saved(tmp_path, state))


def test_whole_numbers_are_no_weights(tmp_path):
    """Weights packed to int8 have the names and shapes of the real ones."""
    state = {**STATE, "head.weight": (STATE["head.weight"] * 100).to(torch.int8)}
    with pytest.raises(DeployError, match=r"head\.weight int8, expected floats"):
        loads(saved(tmp_path, state))


def test_halves_and_doubles_load(tmp_path):
    half = {name: value.half() if value.is_floating_point() else value for name, value in STATE.items()}
    loads(saved(tmp_path, half), {name: value.to(STATE[name].dtype) for name, value in half.items()})


def test_torchscript_is_named_with_the_way_out(tmp_path):
    torch.jit.trace(NET, torch.zeros(1, 3, 32, 32)).save(str(tmp_path / "net.pt"))
    with pytest.raises(DeployError, match="TorchScript") as caught:
        read_checkpoint(tmp_path / "net.pt")
    assert "torch.jit.load" in caught.value.mend


@pytest.mark.parametrize(
    ("start", "word"),
    [
        (b"\x1f\x8b\x08", "gzip"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\x89HDF\r\n", "Keras"),
        (b"\x89PNG\r\n", "an image"),
        (b"\xff\xd8\xff\xe0", "an image"),
        (b"%PDF-1.7", "a PDF"),
        (b"\0" * 257 + b"ustar", "tar file"),
        (b"hello, this is text", "refused"),
    ],
)
def test_what_is_taken_for_a_checkpoint_is_named(tmp_path, start, word):
    (tmp_path / "net.pth").write_bytes(start + b"\0" * 600)
    with pytest.raises(DeployError, match=word):
        read_checkpoint(tmp_path / "net.pth")


def test_no_state_dict_lists_the_keys(tmp_path):
    with pytest.raises(DeployError, match="no state dict; its keys: epoch, lr"):
        read_checkpoint(saved(tmp_path, {"epoch": 3, "lr": 0.1}))


class Trap:
    """A pickle that would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_of_a_file_runs(tmp_path):
    trap = tmp_path / "trap"
    loads(saved(tmp_path, {"state_dict": STATE, "evil": Trap(trap)}))
    shell = f"cos\nsystem\n(S'touch {trap}'\ntR.".encode()
    stacked = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x14open('trap', 'w')....\x85R."
    for data in (shell, stacked, pickle.dumps(Trap(trap))):
        (tmp_path / "evil.pth").write_bytes(data)
        with pytest.raises(DeployError):
            read_checkpoint(tmp_path / "evil.pth")
    assert not trap.exists() and not pathlib.Path("trap").exists()


@pytest.mark.parametrize(
    "arch", ["os:system", "subprocess:Popen", "os:_exit", "this:x", "tests.field.nets:build", "fcn32"]
)
def test_a_file_names_no_factory(tmp_path, arch):
    """What a file says of its architecture is a name of the registry or nothing, and is not repeated to be typed."""
    trap = tmp_path / "trap"
    net = models.build("fcn32_resnet18", width=4)
    save_checkpoint(tmp_path / "a.safetensors", net, CheckpointInfo(arch=arch, options={"command": f"touch {trap}"}))
    with pytest.raises(DeployError, match="not one of this project's") as caught:
        load_network(tmp_path / "a.safetensors")
    assert arch not in caught.value.mend and arch not in str(caught.value.received) and not trap.exists()


@pytest.mark.parametrize("arch", ["os:system", "subprocess:Popen"])
def test_a_files_options_reach_no_factory(tmp_path, arch):
    """Not even the one that the user names, where the file names the same."""
    trap = tmp_path / "trap"
    options = {"command": f"touch {trap}", "args": ["touch", str(trap)]}
    save_checkpoint(tmp_path / "a.safetensors", build(), CheckpointInfo(arch=arch, options=options))
    with pytest.raises(UsageError, match="TypeError"):
        load_network(tmp_path / "a.safetensors", arch=arch)
    assert not trap.exists()


def test_a_factory_gets_what_its_user_says_alone(tmp_path):
    arch, net = "tests.field.nets:build", trained(classes=7)
    save_checkpoint(tmp_path / "a.safetensors", net, CheckpointInfo(arch=arch, options={"kind": "dict", "classes": 7}))
    loaded = load_network(tmp_path / "a.safetensors", arch=arch, options={"classes": 7})
    assert type(loaded.net) is Net and any("--option NAME=VALUE" in note for note in loaded.notes)


def test_a_files_options_are_checked_before_anything_is_built(tmp_path):
    net = models.build("fcn32_resnet18", width=4)
    for options, word in (({"width": 4, "evil": 1}, "no option evil"), ({"width": 4096}, "options that fit")):
        save_checkpoint(tmp_path / "a.safetensors", net, CheckpointInfo(arch="fcn32_resnet18", options=options))
        with pytest.raises(DeployError, match=word):
            load_network(tmp_path / "a.safetensors")


def test_bombs_are_refused(tmp_path):
    """No more is allocated than the file holds."""
    import zipfile

    path = tmp_path / "bomb.pth"
    count = 2**40
    for data in (
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        pickle.BYTEARRAY8 + b"\xff\xff\xff\xff\x00\x00\x00\x00.",
        b"\x80\x02}r\xff\xff\xff\xff.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03"
        b"\x00\x00\x00cpu\x8a\x06"
        + count.to_bytes(6, "little")
        + b"tQK\x00(\x8a\x06"
        + count.to_bytes(6, "little")
        + b"t(K\x01t\x89N}tR.",
    ):
        path.write_bytes(data)
        with pytest.raises(DeployError):
            read_checkpoint(path)
    good = saved(tmp_path, {"w": torch.zeros(1)}, "good.pth")
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(
                entry.filename, b"\0" * 50_000_000 if entry.filename.endswith("data/0") else source.read(entry)
            )
    with pytest.raises(DeployError, match="unfold"):
        read_checkpoint(path)


def test_own_networks_take_the_same_road(tmp_path):
    path = saved(tmp_path, {"epoch": 4, "model": {f"module.{name}": value for name, value in STATE.items()}})
    loaded = load_network(path, arch="tests.field.nets:build")
    assert all(torch.equal(value, loaded.net.state_dict()[name]) for name, value in STATE.items())
    assert isinstance(loaded.net, Net) and build().state_dict().keys() == STATE.keys()
