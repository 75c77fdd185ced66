"""The plugin's enqueue in the registries of TensorRT 10.16 and 11.4, its kernels compiled for the CPU, against float64.

What a GPU adds to this is the GPU alone: `python -m benchmarks.kernels --tensorrt` runs the same cases on one.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.emulator.build import EMULATOR, FLAGS, LAUNCHERS, PLAIN, cuda_headers
from tests.plugins.built import ROOT, run

PLUGIN = ROOT / "plugins" / "tensorrt"
CODE = """
import json, sys
from pathlib import Path
import torch
from benchmarks.kernels.measure import Findings, check_plugin
from benchmarks.kernels.plugin import PluginFiles, PluginRoad
found = Findings()
check_plugin(PluginRoad(PluginFiles(*map(Path, sys.argv[1:]))), torch.device("cpu"), found)
wrong = [[one.name, one.error] for one in found.checks if not one.passed]
print(json.dumps([len(found.checks), wrong]))
"""


@pytest.fixture(scope="module")
def emulated_plugins(plugins_library, tmp_path_factory):
    """The plugin's sources and the kernels for the CPU as one library; the headers are those that made the real one."""
    cache = (ROOT / "build" / "plugins" / "CMakeCache.txt").read_text()
    folder = next(
        (line.partition("=")[2] for line in cache.splitlines() if line.startswith("TENSORRT_INCLUDE_DIR:")), ""
    )
    library = tmp_path_factory.mktemp("plugins") / "libhc_plugins_emulated.so"
    headers = [folder or "/usr/local/tensorrt/include", "/usr/local/cuda/include", str(cuda_headers())]
    run(
        "g++", *FLAGS, *PLAIN, "-I", EMULATOR / "headers", *(f"-isystem{path}" for path in headers),
        *sorted(PLUGIN.glob("*.cpp")), "-x", "c++", LAUNCHERS, f"-Wl,--version-script={PLUGIN / 'exports.map'}",
        "-o", library,
    )  # fmt: skip
    return library


@pytest.mark.parametrize("major", [10, 11])
def test_enqueue_gives_what_the_ops_are(major, contract_programs, emulated_plugins):
    tensorrt = Path(sys.prefix, f"tensorrt-{major}", "tensorrt_lean_libs", f"libnvinfer_lean.so.{major}")
    command = [sys.executable, "-c", CODE, contract_programs / "libenqueue.so", tensorrt, emulated_plugins]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    count, wrong = json.loads(done.stdout)
    assert count > 90 and wrong == []
