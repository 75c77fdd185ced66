"""Models of a few nodes whose metadata may say anything, and commands run with their memory measured."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
"""Against a hang: what is refused is refused in one or two, but a test machine may be busy."""
MOST_MB = 500


def spec_fields(**changed):
    """The metadata that tells the truth about `save`'s graph, with changes; a value of ... takes the field away."""
    fields = {
        "schema": 1, "arch": "fcn32", "classes": ["a", "b"], "palette": [[0, 0, 0], [1, 1, 1]], "task": "segmentation",
        "input": "uint8", "outputs": ["labels"], "mean": [0.5] * 3, "std": [0.5] * 3, "batch": 1, "height": 8,
        "width": 8, "level": 0, "options": {},
    } | changed  # fmt: skip
    return {name: value for name, value in fields.items() if value is not ...}


IMAGE, LABELS = (TensorProto.UINT8, [1, 8, 8, 3]), (TensorProto.UINT8, [1, 8, 8])


def save(path, metadata, *, image=IMAGE, labels=LABELS, logits=None):
    """`labels` is the largest channel of `image`; `logits`, where given as a shape, are zeros."""
    nodes = [helper.make_node("ReduceMax", ["image"], ["largest"], keepdims=0, axes=[3])]
    nodes.append(helper.make_node("Cast", ["largest"], ["labels"], to=labels[0]))
    outputs = [helper.make_tensor_value_info("labels", *labels)]
    if logits is not None:
        value = helper.make_tensor("zeros", TensorProto.FLOAT, logits, [0.0] * math.prod(logits))
        nodes.append(helper.make_node("Constant", [], ["logits"], value=value))
        outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("image", *image)], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    model.metadata_props.add(key="hc_deploy", value=text)
    onnx.save(model, path)
    return path


@dataclass(frozen=True)
class Ended:
    """A command that came to its end, and the most memory that it held."""

    code: int
    out: str
    err: str
    peak_mb: float


def run(*arguments, cwd):
    """`python ARGUMENTS` from the project's root on the path: one error at most, no traceback, little memory."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    measured = (
        "import resource, subprocess, sys\n"
        f"ended = subprocess.run([sys.executable, *sys.argv[1:]], timeout={SECONDS})\n"
        "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n"
        "sys.exit(ended.returncode)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", measured, *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=2 * SECONDS,
    )  # fmt: skip
    err, _, peak = ended.stderr.rpartition("PEAK ")
    found = Ended(ended.returncode, ended.stdout, err, int(peak) / 1024)
    assert "Traceback" not in err and "onnxruntime:" not in err, err
    assert found.peak_mb < MOST_MB, found
    return found
