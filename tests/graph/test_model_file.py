"""Weights in a file of their own, as for a model of more than 2 GiB: written, opened, moved, replaced, damaged."""

import hashlib
import os
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx.numpy_helper import to_array

import export
from hc_deploy.bench.report import describe_file
from hc_deploy.console import run_app
from hc_deploy.describe import describe
from hc_deploy.errors import DeployError
from hc_deploy.export.onnx import export_onnx, save_onnx
from hc_deploy.graph import model_file
from hc_deploy.graph.functions import as_standard_operators
from hc_deploy.graph.model_file import drop_weights, on_trial, read_model, structure, weight_files, write_model
from hc_deploy.graph.precision import with_precision
from hc_deploy.runtime import open_session
from models.load import new_network


@pytest.fixture(scope="module")
def model():
    net, spec = new_network("hcfcn32_resnet18", {"width": 8, "classes": 5})
    return export_onnx(net, replace(spec, batch=1, height=64, width=96))


@pytest.fixture
def small_limit(monkeypatch):
    """A limit that the model's weights exceed."""
    monkeypatch.setattr(model_file, "LARGEST", 100_000)


@pytest.fixture
def stored(model, small_limit, tmp_path):
    """(model.onnx, file of its weights)"""
    path = tmp_path / "model.onnx"
    return path, save_onnx(model, path)


def labels(path):
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    with open_session(path) as session:
        return session.run(images)["labels"]


def test_two_files_give_what_one_gives(model, stored, tmp_path):
    path, weights = stored
    assert weight_files(path) == [weights] and weights.parent == path.parent
    assert path.stat().st_size < 300_000 < weights.stat().st_size
    whole = tmp_path / "one" / "model.onnx"
    whole.parent.mkdir()
    whole.write_bytes(model.proto.SerializeToString())
    assert np.array_equal(labels(path), labels(whole))
    for found, tensor in zip(read_model(path).graph.initializer, model.proto.graph.initializer, strict=True):
        assert found.name == tensor.name and np.array_equal(to_array(found), to_array(tensor))


def test_each_weight_starts_at_a_page(stored):
    path, weights = stored
    model = onnx.load(str(path), load_external_data=False)
    outside = [tensor for tensor in model.graph.initializer if tensor.external_data]
    places = [{entry.key: entry.value for entry in tensor.external_data} for tensor in outside]
    assert len(places) > 10 and {place["location"] for place in places} == {weights.name}
    assert {place["checksum"] for place in places} == {hashlib.sha1(weights.read_bytes()).hexdigest()}
    assert all(int(place["offset"]) % 4096 == 0 for place in places)
    assert all(len(tensor.raw_data) <= 4096 for tensor in model.graph.initializer)


def test_the_two_files_move_together(stored, tmp_path):
    path, weights = stored
    truth = labels(path)
    there = tmp_path / "there"
    there.mkdir()
    path.rename(there / "renamed.onnx")
    with pytest.raises(DeployError, match=rf"(?s)weights in '{weights.name}'.*copy all files"):
        open_session(there / "renamed.onnx")
    weights.rename(there / weights.name)
    assert np.array_equal(labels(there / "renamed.onnx"), truth)


@pytest.mark.parametrize("damage", ["changed", "cut", "longer"])
@pytest.mark.parametrize("read", [open_session, read_model, describe])
def test_other_weights_are_refused(stored, damage, read):
    path, weights = stored
    data = bytearray(weights.read_bytes())
    if damage == "changed":
        data[len(data) // 2] ^= 1
    weights.write_bytes({"changed": data, "cut": data[:-4096], "longer": data + b"\0"}[damage])
    with pytest.raises(DeployError, match=rf"weights in '{weights.name}', which has SHA-1") as caught:
        read(path)
    assert "as the model says" in caught.value.expected and "copy all files" in caught.value.mend


def test_inspect_and_reports_count_both(stored):
    path, weights = stored
    assert ("weights in", f"{weights.name}, {weights.stat().st_size / 1e6:.2f} MB") in describe(path)
    assert describe_file(path).bytes == path.stat().st_size + weights.stat().st_size


def test_passes_keep_the_weights(model, small_limit, tmp_path):
    """Types, bodies in place of ops and checks work on a model that onnx cannot serialise."""
    typed = as_standard_operators(with_precision(model.proto, "fp16"))
    assert not [node for node in typed.graph.node if node.domain]
    write_model(typed, tmp_path / "typed.onnx")
    assert len(weight_files(tmp_path / "typed.onnx")) == 1
    near = labels(tmp_path / "typed.onnx") == labels(saved(model, tmp_path / "model.onnx"))
    assert near.mean() > 0.98


def saved(model, path):
    write_model(model.proto, path)
    return path


def test_structure_has_all_but_values(model):
    bare = structure(model.proto)
    assert len(bare.SerializeToString()) < 300_000
    for tensor, other in zip(bare.graph.initializer, model.proto.graph.initializer, strict=True):
        assert (tensor.name, tensor.data_type, list(tensor.dims)) == (other.name, other.data_type, list(other.dims))
    del bare.graph.initializer[:]
    rest = onnx.ModelProto()
    rest.CopyFrom(model.proto)
    del rest.graph.initializer[:]
    assert bare.SerializeToString() == rest.SerializeToString()


def test_a_failed_trial_leaves_nothing_new(model, small_limit, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(KeyboardInterrupt), on_trial(model.proto, path):
        assert len(weight_files(path)) == 1
        raise KeyboardInterrupt
    assert list(tmp_path.glob("weights-*")) == []
    save_onnx(model, path)
    with pytest.raises(ValueError), on_trial(model.proto, path):  # the file was there before: another model's
        raise ValueError
    assert len(list(tmp_path.glob("weights-*"))) == 1


def test_weights_of_a_replaced_model_go_unless_another_has_them(stored):
    path, weights = stored
    (path.parent / "other.onnx").write_bytes(path.read_bytes())
    path.write_bytes(b"new")
    drop_weights([weights])
    assert weights.exists()
    (path.parent / "other.onnx").unlink()
    drop_weights([weights])
    assert not weights.exists()


def test_a_full_disk_leaves_no_file(model, small_limit, tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(type(tmp_path), "replace", full)
    with pytest.raises(DeployError, match=r"model\.onnx: No space left"):
        save_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command_exports_verifies_and_replaces(small_limit, tmp_path, capsys):
    """Two files, then others in their place, and an engine of them."""

    def run(width, *more):
        network = ["--random-init", "--arch", "hcfcn32_resnet18", "--size", "64x96", "-o", str(tmp_path)]
        with pytest.raises(SystemExit) as ended:
            run_app(export.app, [*network, "--width", str(width), *more])
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        (weights,) = tmp_path.glob("weights-*")
        assert weight_files(tmp_path / "model.onnx") == [weights]
        assert f"{weights}  {weights.stat().st_size / 1e6:.1f} MB, which belongs to it" in said.out
        return weights

    assert run(8) != run(4, "--engine", "tensorrt-rtx", "--plugin", "none", "--precision", "fp32")
    assert (tmp_path / "model.engine").exists()
