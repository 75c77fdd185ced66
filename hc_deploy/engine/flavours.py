"""Which TensorRT: its name -> the Python module, ready to parse models that hold our plugins.

TensorRT-RTX's wheel has a gap. Its ONNX parser opens `libtensorrt_rtx.so` when it meets the first plugin of a model,
and ends the process where there is none; the wheel (1.7.1) ships `libtensorrt_rtx.so.1` alone. The parser looks beside
the path that it was itself loaded from, so it is loaded here first through a folder of links that has both names. The
libraries are the wheel's own; nothing of the wheel is changed, and a process without `load` is not affected.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from hc_deploy import install
from hc_deploy.errors import DeployError, MissingDependencyError
from hc_deploy.shown import quoted
from hc_deploy.spec import Flavour
from hc_deploy.system.gpu import read_gpu
from hc_deploy.system.temporary import make_temporary_folder

MODULES: dict[Flavour, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
RTX_LIBRARIES = ("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1")
RTX_MISSING_NAME = "libtensorrt_rtx.so"


def load(flavour: Flavour) -> ModuleType:
    """The module `tensorrt` or `tensorrt_rtx`; a second call gives the same one.

    Raises:
        MissingDependencyError: it is not installed, or its libraries do not load.
        DeployError: TensorRT-RTX was imported before, by other means, and its parser would end the process.
    """
    name = MODULES[flavour]
    if name == "tensorrt_rtx" and name not in _loaded:
        _complete_rtx()
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"{name} cannot be imported: {error}",
            expected=f"TensorRT's Python package {name}",
            mend=install.TENSORRT[flavour],
        ) from None
    _loaded.add(name)
    return module


def load_lean() -> ModuleType:
    """The module `tensorrt_lean`: a runtime alone, for engines that were built version-compatible."""
    try:
        return importlib.import_module("tensorrt_lean")
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"neither tensorrt nor tensorrt_lean can be imported: {error}",
            expected="TensorRT, or its lean runtime (enough for a version-compatible engine)",
            mend=f"{install.TENSORRT['tensorrt']}, or {install.TENSORRT_LEAN}",
        ) from None


def require_builder_device(flavour: Flavour) -> None:
    """MissingDependencyError where the flavour's builder needs a GPU and none answers."""
    if flavour == "tensorrt" and read_gpu(clocks=False) is None:
        raise MissingDependencyError(
            "TensorRT's builder needs a GPU, and no driver answers",
            expected="an NVIDIA GPU",
            mend="--engine tensorrt-rtx, which builds without one",
        )


def capabilities_of(trt: Any) -> dict[str, Any]:
    """Compute capabilities that TensorRT-RTX builds for, in order: '8.6' -> its value of `ComputeCapability`."""
    members = trt.ComputeCapability.__members__.items()
    known = {f"{name[2:-1]}.{name[-1]}": value for name, value in members if name.startswith("SM")}
    return dict(sorted(known.items(), key=lambda entry: float(entry[0])))


def error_logger(trt: Any, say: Callable[[str], None]) -> Any:
    """A logger of TensorRT that hands its errors to `say`, and nothing else."""

    class ErrorLogger(trt.ILogger):  # type: ignore[misc]
        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                say(message)

    return ErrorLogger()


_loaded: set[str] = set()
"""A library is in a process once: what `load` has prepared needs no second preparation."""


def _complete_rtx() -> None:
    """Load the parser from a folder where the name that it opens exists. Nothing to do where the wheel has the name."""
    package = importlib.util.find_spec("tensorrt_rtx_libs")
    if package is None or not package.submodule_search_locations:
        return  # TensorRT-RTX from an archive, which has the name
    wheel = Path(package.submodule_search_locations[0])
    if (wheel / RTX_MISSING_NAME).exists() or not all((wheel / library).exists() for library in RTX_LIBRARIES):
        return
    if "tensorrt_rtx_bindings" in sys.modules:
        raise DeployError(
            "tensorrt_rtx is already imported, and its ONNX parser would end the process at the first plugin",
            expected='hc_deploy.engine.flavours.load("tensorrt-rtx") before the first import of tensorrt_rtx',
            mend=f"ln -s {RTX_LIBRARIES[0]} {quoted(wheel / RTX_MISSING_NAME)}",
        )
    folder = make_temporary_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for library in RTX_LIBRARIES:
        (folder / library).symlink_to(wheel / library)
    (folder / RTX_MISSING_NAME).symlink_to(wheel / RTX_LIBRARIES[0])
    try:
        for library in RTX_LIBRARIES:
            ctypes.CDLL(str(folder / library))
    except OSError as error:
        raise MissingDependencyError(
            f"TensorRT-RTX's libraries do not load: {error}",
            expected=f"{' and '.join(RTX_LIBRARIES)} in {wheel}",
            mend="pip install --force-reinstall tensorrt-rtx-cu13",
        ) from None
