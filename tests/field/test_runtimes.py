"""ONNX Runtimes that people have: what the doctor says of them is what happens to a model of ours."""

import subprocess
import sys

import numpy as np
import onnx
import pytest

from hc_deploy.doctor import probe, runtimes
from hc_deploy.doctor.findings import Status
from hc_deploy.doctor.ops_model import doctor_model
from hc_deploy.runtime.onnxruntime import import_onnxruntime


def test_the_shipped_model_is_what_its_script_makes():
    """python -m hc_deploy.doctor.ops_model"""
    shipped = onnx.ModelProto()
    shipped.ParseFromString(probe.model())
    assert shipped == doctor_model()
    assert {node.op_type for node in shipped.graph.node if node.domain} == {
        "HCAssign", "HCDecode", "HCUpsample", "HCArgmax",
    }  # fmt: skip


def test_its_answers_are_those_of_torch():
    import torch

    from hc_deploy.ops import hc_argmax, hc_assign, hc_decode, hc_upsample

    features, seeds, numbers = (torch.from_numpy(array) for array in probe.inputs().values())
    hard = hc_assign(features, seeds, border="exclude", assignment="hard")
    ids = hc_decode(torch.arange(12.0).reshape(1, 1, 3, 4), hard)[:, 0].int()
    labels = hc_argmax(hc_upsample(numbers, features, seeds), (5, 7))
    np.testing.assert_array_equal(probe.answers()["ids"], ids.numpy())
    np.testing.assert_array_equal(probe.answers()["labels"], labels.numpy())
    assert len(np.unique(ids)) > 10, "a runtime that mixes candidates up is seen"


def cpu():
    (finding,) = (entry for entry in runtimes.onnxruntime() if entry.name.strip() == "cpu provider")
    return finding


def test_this_runtime_runs_it():
    assert (cpu().status, cpu().detail) == (Status.WORKS, "ran a model of our ops")


def test_openvino_runs_it(monkeypatch):
    pytest.importorskip("openvino")
    assert runtimes.openvino().status is Status.WORKS and "ran a model of our ops" in runtimes.openvino().detail
    right = probe.answers()
    right["ids"] = right["ids"] + 1
    monkeypatch.setattr(probe, "answers", lambda: right)
    assert runtimes.openvino().status is Status.BROKEN and "wrong ids" in runtimes.openvino().detail


@pytest.mark.parametrize("name", ["ids", "labels"])
def test_a_runtime_that_answers_wrongly_is_broken(monkeypatch, name):
    right = probe.answers()
    right[name] = right[name] + 1
    monkeypatch.setattr(probe, "answers", lambda: right)
    assert cpu().status == Status.BROKEN and f"wrong {name}" in cpu().detail


def test_a_runtime_that_refuses_our_bodies_is_broken(monkeypatch):
    """As ONNX Runtime 1.20 to 1.24 refused them once, while it ran a toy."""
    ort = import_onnxruntime()
    real = ort.InferenceSession

    def refusing(model, *given, **named):
        if b"HCAssign" in model:
            raise RuntimeError("[ShapeInferenceError] 'pads' input must be a 1D")
        return real(model, *given, **named)

    monkeypatch.setattr(ort, "InferenceSession", refusing)
    assert cpu().status == Status.BROKEN and "'pads' input must be a 1D" in cpu().detail


def test_the_doctor_needs_neither_torch_nor_onnx():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "from hc_deploy.doctor import runtimes; print([f.status.name for f in runtimes.onnxruntime()][:2])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "['WORKS', 'WORKS']", result.stderr
