"""The machine, ONNX Runtime's providers (each runs a model of our ops) and the video codecs (each writes a video)."""

from __future__ import annotations

import importlib.util
import platform
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hc_deploy import install
from hc_deploy.bench.environment import read_environment
from hc_deploy.doctor import probe
from hc_deploy.doctor.findings import Finding, Status, attempt, package
from hc_deploy.errors import DeployError, first_line
from hc_deploy.runtime.native_ops import BUILD, LIBRARY, Kernels, instruction_set, register
from hc_deploy.runtime.onnxruntime import INSTALL, PROVIDERS, import_onnxruntime, preload
from hc_deploy.system.temporary import temporary_folder

OLDEST_PYTHON = (3, 11)


def machine() -> Finding:
    """Python and the processor."""
    environment = read_environment()
    detail = f"Python {platform.python_version()}, {environment.cpu}, {environment.usable_cores} cores"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("machine", Status.BROKEN, detail, "everything", True, "install Python 3.11 or newer")
    return Finding("machine", Status.WORKS, detail, "everything", True)


def onnxruntime() -> list[Finding]:
    """The package, and each provider."""
    try:
        ort = import_onnxruntime()
    except DeployError as error:
        absent = importlib.util.find_spec("onnxruntime") is None
        status, detail = (Status.MISSING, "not installed") if absent else (Status.BROKEN, error.received)
        return [Finding("onnxruntime", status, detail, "running models", True, INSTALL["cpu"])]
    found = [Finding("onnxruntime", Status.WORKS, ort.__version__, "running models", True)]
    for provider, name in PROVIDERS.items():
        needed_for, required = f"--provider {provider}", provider == "cpu"
        mend = INSTALL[provider]
        if name not in ort.get_available_providers():
            detail = "not in this onnxruntime"
            found.append(Finding(f"  {provider} provider", Status.MISSING, detail, needed_for, required, mend))
            continue
        preload(ort, provider)
        problem = attempt(partial(_run_ops, ort, name))
        status = Status.BROKEN if problem else Status.WORKS
        detail = problem or "ran a model of our ops"
        found.append(Finding(f"  {provider} provider", status, detail, needed_for, required, mend if problem else None))
    return found


def native_ops() -> Finding:
    """The library that computes our ops in ONNX Runtime on this CPU; it runs the same model as the providers."""
    name, needed_for = "  native ops (CPU)", "our ops at full speed on a CPU"
    if not LIBRARY.is_file():
        detail = "not built: the bodies in model.onnx run instead"
        return Finding(name, Status.MISSING, detail, needed_for, False, BUILD)
    try:
        ort, detail = import_onnxruntime(), instruction_set()
        problem = attempt(partial(_run_ops, ort, PROVIDERS["cpu"], kernels="native"))
    except DeployError as error:
        problem = error.received
    if problem:
        return Finding(name, Status.BROKEN, problem, needed_for, False, BUILD)
    return Finding(name, Status.WORKS, f"{detail}, ran a model of our ops", needed_for)


def _run_ops(ort: Any, provider: str, *, kernels: Kernels = "bodies") -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    register(options, kernels, "cpu")
    session = ort.InferenceSession(probe.model(), options, providers=[provider], enable_fallback=0)
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"onnxruntime fell back to {session.get_providers()[0]}")
    right = probe.answers()
    for name, given in zip(right, session.run(list(right), probe.inputs()), strict=True):
        if not np.array_equal(given, right[name]):
            raise RuntimeError(f"our ops ran and gave wrong {name}")


def openvino() -> Finding:
    """OpenVINO, which needs onnx beside it; it runs a model of our ops in fp32."""
    found = package("openvino", "openvino", "--provider openvino", install.OPENVINO)
    if found.status is not Status.WORKS:
        return found
    problem = attempt(_run_ops_in_openvino)
    if problem:
        return replace(found, status=Status.BROKEN, detail=f"{found.detail}, but: {problem}", mend=install.OPENVINO)
    return replace(found, detail=f"{found.detail}: ran a model of our ops{_bf16()}")


def _run_ops_in_openvino() -> None:
    import onnx

    from hc_deploy.graph.functions import as_standard_operators
    from hc_deploy.runtime.openvino import import_openvino

    model = as_standard_operators(onnx.load_model_from_string(probe.model())).SerializeToString()
    core = import_openvino().Core()
    given = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(probe.inputs())
    for name, right in probe.answers().items():
        if not np.array_equal(given[name], right):
            raise RuntimeError(f"our ops ran and gave wrong {name}")


def _bf16() -> str:
    from hc_deploy.runtime.openvino import capabilities, import_openvino

    able = "BF16" in capabilities(import_openvino().Core())
    return "; this processor computes bf16" if able else "; no bf16 on this processor"


def codecs() -> list[Finding]:
    """Each container our sink offers: a few frames written, read back and counted."""
    try:
        from hc_deploy.video.sinks import CODECS
    except Exception as error:
        return [Finding("video", Status.BROKEN, first_line(error), "videos", False, install.OPENCV)]
    found = []
    with temporary_folder() as folder:
        for suffix in CODECS:
            problem = attempt(partial(_write_video, folder / f"probe{suffix}"))
            status, detail = (Status.BROKEN, problem) if problem else (Status.WORKS, "written and read back")
            mend = "pip install --force-reinstall opencv-python" if problem else None
            found.append(Finding(f"  {suffix} output", status, detail, f"-o NAME{suffix}", False, mend))
    return found


def _write_video(path: Path) -> None:
    from hc_deploy.video.frame import VideoInfo
    from hc_deploy.video.sinks import open_sink, parse_target

    info = VideoInfo(width=64, height=48, fps=25.0, frames=5, name="probe")
    with open_sink(parse_target(str(path)), info) as sink:
        for level in range(5):
            sink.write(np.full((48, 64, 3), 40 * level, np.uint8))
