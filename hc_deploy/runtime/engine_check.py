"""What must fit before an engine is opened: its TensorRT, its GPU, its plugin. A sidecar enters, errors leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hc_deploy.engine import flavours, plugin_library
from hc_deploy.engine.sidecar import FileRecord, Sidecar
from hc_deploy.errors import DeployError, MissingDependencyError
from hc_deploy.runtime.device import installed_layers
from hc_deploy.runtime.graph_check import Tensor, check_graph
from hc_deploy.system.gpu import read_gpu

RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""GPUs that TensorRT-RTX 1.7 runs on. Not Hopper (9.0)."""
OLDEST_AMPERE = (8, 0)


def why_not_here(sidecar: Sidecar) -> str | None:
    """Why the engine cannot run on this machine, in a few words; None where nothing is known against it."""
    gpu = read_gpu(clocks=False)
    if gpu is None:
        return "no GPU here"
    if not installed_layers():
        return "neither pycuda nor cuda-bindings is installed"
    try:
        if gpu.compute_capability is not None:
            require_device(sidecar, gpu.name, gpu.compute_capability)
    except DeployError as error:
        return error.received
    return None


def require_version(sidecar: Sidecar, installed: str) -> None:
    """DeployError unless a runtime of version `installed` may open the engine.

    TensorRT opens engines of its very own version, and of later ones if they were built version-compatible;
    TensorRT-RTX those of its own version.
    """
    if installed == sidecar.version or (
        sidecar.options.version_compatible and _parts(installed) >= _parts(sidecar.version)
    ):
        return
    raise DeployError(
        f"the engine was built by {sidecar.options.flavour} {sidecar.version}, installed is {installed}",
        expected="the same version",
        mend=sidecar.rebuild(),
    )


def require_device(sidecar: Sidecar, name: str, capability: str) -> None:
    """DeployError unless the engine was built for a GPU of compute capability `capability`."""
    options, built = sidecar.options, sidecar.device
    if options.flavour == "tensorrt-rtx":
        wanted = options.compute_capabilities or RTX_CAPABILITIES
        fits = capability in wanted
    elif built is None or built.compute_capability is None:
        return
    elif options.hardware == "ampere_plus":
        wanted = ("8.0 and newer",)
        fits = _parts(capability) >= OLDEST_AMPERE or capability == built.compute_capability
    else:
        wanted = (f"{built.compute_capability} ({built.name})",)
        fits = capability == built.compute_capability
    if fits:
        return
    raise DeployError(
        f"the engine was built for compute capability {', '.join(wanted)}; this GPU is {name}, {capability}",
        expected="the GPU that it was built for",
        mend=sidecar.rebuild(),
    )


def runtime_module(sidecar: Sidecar) -> Any:
    """The TensorRT that runs the engine: its own flavour, or the lean runtime for a version-compatible engine."""
    try:
        return flavours.load(sidecar.options.flavour)
    except MissingDependencyError:
        if not sidecar.options.version_compatible:
            raise
        return flavours.load_lean()


def register_plugins(trt: Any, sidecar: Sidecar, library: Path | None) -> None:
    """Plugins that do not travel in the engine.

    TensorRT's header speaks of carried plugins for version-compatible engines only. For others the library is loaded
    beside, if it is the one that the engine was built with.
    """
    options = sidecar.options
    if sidecar.plugin is None:
        return
    surely_carried = sidecar.carries_plugin and (options.flavour == "tensorrt-rtx" or options.version_compatible)
    if surely_carried or (sidecar.carries_plugin and not (library or plugin_library.LIBRARY).exists()):
        return
    path = plugin_library.find(library)
    found = FileRecord.of(path)
    if found.sha256 == sidecar.plugin.sha256:
        plugin_library.register(trt, path)
    elif not sidecar.carries_plugin:
        raise DeployError(
            f"{path} has sha256 {found.sha256[:12]}…",
            expected=f"the plugin that the engine was built with, {sidecar.plugin.sha256[:12]}…",
            mend=sidecar.rebuild(),
        )


def require_truth(sidecar: Sidecar, trt: Any, engine: Any, *, source: str) -> None:
    """DeployError unless the opened engine's inputs and outputs are those of the sidecar's spec."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
        sides = tuple(None if side < 0 else int(side) for side in engine.get_tensor_shape(name))
        is_output = engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
        (outputs if is_output else inputs).append(Tensor(name, dtype, sides))
    profile = sidecar.options.profile  # where it leaves no choice, an engine may show either
    pairs = zip(profile.least.sides(), profile.most.sides(), strict=True)
    batch, height, width = (low if low == high else None for low, high in pairs)
    check_graph(replace(sidecar.spec, batch=batch, height=height, width=width), inputs, outputs, source=source)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
