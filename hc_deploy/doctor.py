"""What is installed, what really works, and the install line of what is missing. The machine enters, findings leave.

Nothing is believed from a version number alone where it can be tried: a provider runs a model, a codec writes a video.
"""

from __future__ import annotations

import base64
import importlib
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from hc_deploy.bench.environment import read_environment
from hc_deploy.errors import DeployError
from hc_deploy.runtime.onnxruntime import INSTALL, PROVIDERS, import_onnxruntime

IDENTITY_MODEL = base64.b64decode(
    b"CAgSADo3ChAKAXgSAXkiCElkZW50aXR5EgFwWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQDQ=="
)
"""An ONNX model of one Identity node on float32 [1]."""
OLDEST_PYTHON = (3, 11)


class Status(StrEnum):
    """works; missing (not installed, or no such device); broken (installed, but fails when it is tried)."""

    WORKS = "works"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what. status, detail: how it is, and its version or what went wrong.
        needed_for: what a user cannot do without it. required: nothing at all works without it.
        mend: the line that puts it right, None where there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    needed_for: str
    required: bool = False
    mend: str | None = None


def examine() -> list[Finding]:
    """All findings, in the order of the pipeline."""
    return [
        _machine(),
        _package("numpy", "numpy", "everything", "pip install numpy", required=True),
        _package("opencv-python", "cv2", "frames and videos", "pip install opencv-python", required=True),
        *_onnxruntime(),
        *_codecs(),
        *(
            _package(name, module, "export", "pip install torch onnx onnxscript safetensors")
            for name, module in (
                ("torch", "torch"), ("onnx", "onnx"), ("onnxscript", "onnxscript"), ("safetensors", "safetensors"),
            )
        ),
        _gpu(),
        _package("tensorrt", "tensorrt", "TensorRT engines", "pip install tensorrt pycuda"),
        _package("pycuda", "pycuda", "TensorRT engines", "pip install tensorrt pycuda"),
    ]  # fmt: skip


def _machine() -> Finding:
    environment = read_environment()
    detail = f"Python {platform.python_version()}, {environment.cpu}, {environment.usable_cores} cores"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("machine", Status.BROKEN, detail, "everything", True, "install Python 3.11 or newer")
    return Finding("machine", Status.WORKS, detail, "everything", True)


def _package(name: str, module: str, needed_for: str, install: str, *, required: bool = False) -> Finding:
    try:
        number = version(name)
    except PackageNotFoundError:
        number = None
    try:
        importlib.import_module(module)
    except ImportError as error:
        if number is None:
            return Finding(name, Status.MISSING, "not installed", needed_for, required, install)
        return Finding(name, Status.BROKEN, f"{number}, but: {error}", needed_for, required, install)
    return Finding(name, Status.WORKS, number or "version unknown", needed_for, required)


def _onnxruntime() -> list[Finding]:
    try:
        ort = import_onnxruntime()
    except DeployError as error:
        detail = error.received if "onnxruntime" in sys.modules else "not installed"
        return [Finding("onnxruntime", Status.MISSING, detail, "running models", True, INSTALL["cpu"])]
    found = [Finding("onnxruntime", Status.WORKS, ort.__version__, "running models", True)]
    for provider, name in PROVIDERS.items():
        needed_for, required = f"--provider {provider}", provider == "cpu"
        mend = INSTALL.get(provider, INSTALL["cuda"])
        if name not in ort.get_available_providers():
            detail = "not in this onnxruntime"
            found.append(Finding(f"  {provider} provider", Status.MISSING, detail, needed_for, required, mend))
            continue
        problem = _try(partial(_run_identity, ort, name))
        status = Status.BROKEN if problem else Status.WORKS
        detail = problem or "ran a model"
        found.append(Finding(f"  {provider} provider", status, detail, needed_for, required, mend if problem else None))
    return found


def _run_identity(ort: Any, provider: str) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(IDENTITY_MODEL, options, providers=[provider])
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"onnxruntime fell back to {session.get_providers()[0]}")
    value = np.full(1, 3.5, np.float32)
    if session.run(None, {"x": value})[0] != value:
        raise RuntimeError("an Identity node changed its input")


def _codecs() -> list[Finding]:
    """Each container our sink offers: a few frames written, read back and counted."""
    try:
        from hc_deploy.video.sinks import CODECS
    except ImportError as error:
        return [Finding("video", Status.BROKEN, str(error), "videos", False, "pip install opencv-python")]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in CODECS:
            problem = _try(partial(_write_video, Path(folder) / f"probe{suffix}"))
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


def _gpu() -> Finding:
    gpu = read_environment().gpu
    if gpu is None:
        return Finding("NVIDIA driver", Status.MISSING, "no GPU answers", "GPU inference", False, None)
    return Finding("NVIDIA driver", Status.WORKS, f"{gpu.driver}, {gpu.name}", "GPU inference")


def _try(action: Callable[[], None]) -> str:
    """'' when `action` works, else the first line of what went wrong."""
    try:
        action()
    except Exception as error:  # whatever a broken install raises is the finding
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return ""
