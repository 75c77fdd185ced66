"""The GPU's side: driver, kernels, plugin, and each TensorRT. What can crash is tried in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

from hc_deploy import install
from hc_deploy.doctor.findings import Finding, Status, attempt, package
from hc_deploy.engine import nvrtc, plugin_library
from hc_deploy.errors import DeployError, first_line
from hc_deploy.spec import Flavour
from hc_deploy.system.gpu import driver_version, read_gpu

SECONDS = 60
PROBE = """
from hc_deploy.engine import flavours, plugin_library
trt = flavours.load({flavour!r})
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(0)
image = network.add_input("x", trt.float32, (1, 3, 8, 8))
network.mark_output(network.add_identity(image).get_output(0))
engine = builder.build_serialized_network(network, builder.create_builder_config())
assert engine is not None and engine.nbytes > 0, "no engine came out"
{plugin}
print(trt.__version__)
"""
WITH_PLUGIN = "plugin_library.register(trt, plugin_library.find())"


def driver() -> list[Finding]:
    """The GPU that answers, and the CUDA version that its driver speaks."""
    gpu = read_gpu()
    if gpu is None:
        found = Finding("NVIDIA driver", Status.MISSING, "no GPU answers", "GPU inference")
    else:
        detail = f"{gpu.driver}, {gpu.name}, compute capability {gpu.compute_capability or 'unknown'}"
        found = Finding("NVIDIA driver", Status.WORKS, detail, "GPU inference")
    return [found, _cuda()]


def _cuda() -> Finding:
    version = driver_version()
    if version is None:
        return Finding("CUDA", Status.MISSING, "no libcuda.so.1: it comes with the driver", "GPU inference")
    return Finding("CUDA", Status.WORKS, f"up to {version[0]}.{version[1]}", "GPU inference")


def kernels() -> Finding:
    """The library that torch's ops call on CUDA tensors; it loads without a GPU."""
    name, needed_for = "CUDA kernels", "fast hc_deploy.ops on CUDA tensors"
    try:
        from hc_deploy.ops import kernels as library
    except Exception as error:  # torch without its CUDA libraries raises OSError
        status = Status.MISSING if isinstance(error, ImportError) else Status.BROKEN
        return Finding(name, status, f"torch: {first_line(error)}", needed_for, False, install.TORCH)
    if not library.LIBRARY.is_file():
        detail = "not built: the torch reference runs instead"
        return Finding(name, Status.MISSING, detail, needed_for, False, library.BUILD)
    problem = attempt(lambda: library.KernelLibrary(library.LIBRARY))
    status, mend = (Status.BROKEN, library.BUILD) if problem else (Status.WORKS, None)
    return Finding(name, status, problem or str(library.LIBRARY), needed_for, False, mend)


def plugins() -> list[Finding]:
    """The compiled plugin, and the compiler for the road without one."""
    needed_for = "HC networks in TensorRT"
    try:
        path = plugin_library.find()
        problem = attempt(lambda: ctypes.CDLL(str(path)).getCreators)
        status, detail = (Status.BROKEN, problem) if problem else (Status.WORKS, str(path))
        mend = "make plugin" if problem else None
    except DeployError as error:
        status, detail, mend = Status.MISSING, error.received, error.mend
    found = [Finding("TensorRT plugin", status, detail, needed_for, False, mend)]
    try:
        compiler = nvrtc.Nvrtc()
        found.append(Finding("NVRTC", Status.WORKS, ".".join(map(str, compiler.version)), "--plugin python"))
    except DeployError as error:
        found.append(Finding("NVRTC", Status.MISSING, error.received, "--plugin python", False, error.mend))
    return found


def tensorrt() -> list[Finding]:
    """Each flavour: TensorRT-RTX builds an engine here and takes the plugin; the others need a GPU for that."""
    return [
        _flavour("tensorrt", "tensorrt", needs_gpu=True),
        _flavour("tensorrt-rtx", "tensorrt_rtx", needs_gpu=False),
        package("tensorrt_lean", "tensorrt_lean", "running version-compatible engines", install.TENSORRT_LEAN),
        package("pycuda", "pycuda.driver", "running engines", install.PYCUDA),
        package("cuda-bindings", "cuda.bindings.driver", "running engines without pycuda", install.CUDA_BINDINGS),
    ]


def _flavour(flavour: Flavour, module: str, *, needs_gpu: bool) -> Finding:
    name, needed_for, line = flavour, f"--engine {flavour}", install.TENSORRT[flavour]
    installed = package(module, module, needed_for, line)
    if installed.status is not Status.WORKS:
        return Finding(name, installed.status, installed.detail, needed_for, False, line)
    if needs_gpu and read_gpu(clocks=False) is None:
        return Finding(name, installed.status, f"{installed.detail}; building needs a GPU", needed_for)
    has_plugin = plugin_library.LIBRARY.exists()
    code = PROBE.format(flavour=flavour, plugin=WITH_PLUGIN if has_plugin else "")
    command = [sys.executable, "-c", code]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding(name, Status.BROKEN, f"its builder gave no answer in {SECONDS} s", needed_for, False, line)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        return Finding(name, Status.BROKEN, f"its builder failed: {last}", needed_for, False, line)
    detail = f"{ended.stdout.split()[-1]}, built an engine" + (", took the plugin" if has_plugin else "")
    return Finding(name, Status.WORKS, detail, needed_for)
