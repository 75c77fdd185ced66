"""`import tensorrt` without TensorRT: its real Python bindings and plugin layer, and the real plugin registry.

The packages of bindings and lean runtime are real wheels (tests/plugins/tensorrt-*.txt); `stub.c` fills in for the
libraries that no registry of packages has. There is no builder and no parser in it.
"""

import ctypes
import importlib
import subprocess
import sys
from pathlib import Path

from hc_deploy.engine import nvrtc

HERE = Path(__file__).parent
EMULATOR = HERE.parents[1] / "plugins" / "emulator"
HEADERS = Path("/usr/local/tensorrt/include")
STUBS = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")


def packages(major):
    """Where the wheels of TensorRT `major` lie."""
    return Path(sys.prefix) / f"tensorrt-{major}"


def build(folder):
    """Compile the stubs of both majors and the host into `folder`."""
    for major in (10, 11):
        lean = packages(major) / "tensorrt_lean_libs"
        for stub in STUBS:
            name = f"{stub}.so.{major}"
            links = (
                ["-Wl,--no-as-needed", f"-L{lean}", f"-l:libnvinfer_lean.so.{major}", f"-Wl,-rpath,{lean}"]
                if stub == "libnvinfer"
                else []
            )
            _run("gcc", "-shared", "-fPIC", "-Wall", "-Werror", f"-D{stub.upper()}", f"-Wl,-soname,{name}",
                 str(HERE / "stub.c"), "-o", str(folder / name), *links)  # fmt: skip
    headers = (HEADERS, nvrtc.find_toolchain().include, EMULATOR / "headers")
    _run("g++", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Werror", *(f"-isystem{place}" for place in headers),
         str(HERE / "quick_host.cpp"), "-o", str(folder / "host.so"))  # fmt: skip


def _run(*command):
    result = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"


def install(major, folder):
    """Make `import tensorrt` give the bindings of `major`, on the stubs in `folder`; returns it."""
    for stub in STUBS:
        ctypes.CDLL(str(folder / f"{stub}.so.{major}"), mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(packages(major)))
    trt = sys.modules["tensorrt"] = importlib.import_module("tensorrt_bindings")
    sys.modules["tensorrt.plugin"] = trt.plugin = importlib.import_module("tensorrt_bindings.plugin")
    return trt
