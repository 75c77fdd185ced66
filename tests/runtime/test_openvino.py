"""OpenVINO beside ONNX Runtime: the same answers, the precision that was asked for, and one error for what fails."""

from dataclasses import replace

import numpy as np
import pytest

from hc_deploy.errors import DeployError, MissingDependencyError, UsageError
from hc_deploy.export.onnx import export_onnx, save_onnx
from hc_deploy.runtime import open_session
from hc_deploy.runtime import openvino as session_module
from hc_deploy.runtime.openvino import OpenVinoSession
from hc_deploy.system.digest import file_sha256
from models.load import new_network
from tests.video.toys import save_toy, toy_spec

pytest.importorskip("openvino")
NETWORKS = {
    "segmentation": ("hcfcn32_resnet18", {"width": 8, "classes": 5, "level": 2}, ("labels", "logits", "superpixels")),
    "superpixels": ("hcssn", {}, ("superpixels",)),
    "depth": ("hcdorn", {"width": 8, "backbone": "resnet18"}, ("depth",)),
}


def images(*shape, seed=0):
    blocks = np.random.default_rng(seed).integers(0, 256, (shape[0], 9, 13, 3)).astype(np.uint8)
    return np.ascontiguousarray(np.kron(blocks, np.ones((1, 16, 16, 1), np.uint8))[:, : shape[1], : shape[2]])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """exported(task, dynamic) -> path; a network of each task, odd sizes."""
    made = {}

    def export(task, dynamic=False):
        if (task, dynamic) not in made:
            arch, options, outputs = NETWORKS[task]
            net, spec = new_network(arch, options)
            sides = {} if dynamic else {"batch": 1, "height": 65, "width": 97}
            path = tmp_path_factory.mktemp("openvino") / "model.onnx"
            save_onnx(export_onnx(net, replace(spec, outputs=outputs, **sides)), path)
            made[task, dynamic] = path
        return made[task, dynamic]

    return export


@pytest.mark.parametrize("task", NETWORKS)
def test_answers_are_onnx_runtimes(exported, task):
    image = images(1, 65, 97)
    with open_session(exported(task)) as reference, open_session(exported(task), provider="openvino") as session:
        truth, given = reference.run(image), session.run(image)
        assert list(given) == list(truth)
        for name, array in given.items():
            assert array.dtype == truth[name].dtype and array.shape == truth[name].shape
            if name in ("labels", "superpixels"):
                assert (array == truth[name]).mean() > 0.999, name
            else:
                assert np.abs(array - truth[name]).max() <= 1e-3 * np.abs(truth[name]).max(), name
        assert session.provider == "openvino" and session.runtime.name == "openvino"
        assert session.runtime.precision == "fp32" and set(session.runtime.found) == {"fp32"}


def test_any_size_and_batch(exported):
    path = exported("segmentation", dynamic=True)
    with open_session(path) as reference, open_session(path, provider="openvino") as session:
        for shape in ((1, 65, 97), (2, 33, 131), (1, 64, 64)):
            image = images(*shape)
            assert (session.run(image)["labels"] == reference.run(image)["labels"]).mean() > 0.999


def test_threads_and_expected_hash(exported):
    path = exported("segmentation")
    with open_session(path, provider="openvino", threads=1, expect_sha256=file_sha256(path)) as session:
        assert session.run(images(1, 65, 97))["labels"].shape == (1, 65, 97)
    with pytest.raises(DeployError, match="it is not opened"):
        open_session(path, provider="openvino", expect_sha256="0" * 64)


def bf16(path):
    try:
        return open_session(path, provider="openvino", precision="bf16")
    except DeployError as error:
        if "computes no bf16" in error.received:
            pytest.skip("this processor computes no bf16")
        raise


def test_bf16_runs_as_bf16(exported):
    with bf16(exported("segmentation")) as session, open_session(exported("segmentation")) as reference:
        found = session.runtime.found
        assert found["bf16"] >= 0.9 * sum(found.values()) and session.runtime.precision_in_words().startswith("bf16")
        image = images(1, 65, 97)
        assert (session.run(image)["labels"] == reference.run(image)["labels"]).mean() > 0.97


def test_wrong_bf16_is_refused(exported, monkeypatch):
    """A processor whose bf16 is wrong: the first answer is not that of fp32."""
    bf16(exported("segmentation")).close()
    fetch = OpenVinoSession._fetch
    monkeypatch.setattr(OpenVinoSession, "_fetch", lambda self: {k: v + (v == v) for k, v in fetch(self).items()})
    with pytest.raises(DeployError, match="bf16 is wrong on this processor") as caught:
        open_session(exported("segmentation"), provider="openvino", precision="bf16")
    assert caught.value.mend == "--precision fp32"


def test_layers_that_run_in_another_precision_are_refused(exported, monkeypatch):
    monkeypatch.setattr(session_module, "_found", lambda compiled: {"fp32": 9, "bf16": 1})
    with pytest.raises(DeployError, match="of 10 convolutions OpenVINO runs 1 in it"):
        bf16(exported("segmentation"))


def test_a_processor_without_bf16(exported, monkeypatch):
    class Core:
        def get_property(self, *_):
            return ["FP32", "INT8"]

    with pytest.raises(DeployError, match="computes no bf16"):
        OpenVinoSession._require_capable(Core(), "bf16")
    OpenVinoSession._require_capable(Core(), "fp32")


@pytest.mark.parametrize("arguments", [{"precision": "int4"}, {"precision": "fp16"}])
def test_other_precisions_are_refused(exported, arguments):
    with pytest.raises(UsageError, match="one of fp32, bf16"):
        open_session(exported("segmentation"), provider="openvino", **arguments)


def test_precision_is_openvinos_alone(exported):
    with pytest.raises(UsageError, match="--provider openvino"):
        open_session(exported("segmentation"), precision="bf16")


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"junk" * 99)
    with pytest.raises(DeployError, match=r"model\.onnx"):
        open_session(tmp_path / "model.onnx", provider="openvino")


def test_without_openvino(exported, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match="openvino cannot be imported") as caught:
        open_session(exported("segmentation"), provider="openvino")
    assert caught.value.mend == "pip install openvino onnx onnx-ir"


def test_a_broken_size_is_one_error(tmp_path):
    path = save_toy(tmp_path / "model.onnx", toy_spec())
    with open_session(path, provider="openvino") as session, pytest.raises(DeployError, match="expected: shape"):
        session.run(np.zeros((1, 3, 4, 4), np.uint8))
