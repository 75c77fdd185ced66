"""The built libraries, and the plugin through the registries of TensorRT 10.16 and 11.4 (tests/plugins/contract)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.built import ROOT, cmake, run

LAUNCHERS = {"hc_assign", "hc_decode", "hc_upsample", "hc_argmax", "hc_error_string"}


def passes(*command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    verdict = re.search(r"^(\d+) checks, 0 failures$", result.stdout, re.MULTILINE)
    assert result.returncode == 0 and verdict, f"{result.returncode}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"
    return int(verdict[1]), result


@pytest.mark.parametrize("major", [10, 11])
def test_contract_in_the_registry_of(major, contract_programs, plugins_library):
    tensorrt = Path(sys.prefix, f"tensorrt-{major}", "tensorrt_lean_libs", f"libnvinfer_lean.so.{major}")
    checks, result = passes(
        contract_programs / "contract", tensorrt, plugins_library, contract_programs / "libfinder.so"
    )
    assert checks > 3000
    assert f"TensorRT {major}" in result.stdout
    # Twice on purpose while no logger is set; all other messages went to the logger.
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["hc_deploy"] * 2


def test_enqueue_calls_the_launchers_with_the_right_sizes(contract_programs):
    _, result = passes(contract_programs / "launches")
    assert result.stderr == 'hc_deploy: HCDecode "node": the kernel was not queued: the reason\n'


def exports(library):
    lines = run("nm", "-D", "--defined-only", library).stdout.splitlines()
    return {line.split()[-1] for line in lines}


def needed(library):
    return re.findall(r"NEEDED.*\[(.+)\]", run("readelf", "-d", library).stdout)


def test_kernels_library_exports_the_launchers_alone(kernels_library):
    assert exports(kernels_library) == LAUNCHERS


def test_plugins_library_needs_no_tensorrt(plugins_library):
    assert exports(plugins_library) == {"getCreators", "setLoggerFinder"}
    assert not [name for name in needed(plugins_library) if "nvinfer" in name or "cuda" in name]


def test_a_second_make_plugin_builds_nothing(plugins_library, kernels_library):
    before = [path.stat().st_mtime_ns for path in (plugins_library, kernels_library)]
    assert "Building" not in run("make", "plugin").stdout
    assert [path.stat().st_mtime_ns for path in (plugins_library, kernels_library)] == before


def configure(folder, *options, **environment):
    return subprocess.run(
        [cmake(), "-S", ROOT / "plugins", "-B", folder, *options],
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


def test_without_headers_the_kernels_are_built_alone(make_plugin, tmp_path):
    ignored = "/usr/local/tensorrt/include;/usr/include;/usr/include/x86_64-linux-gnu;/usr/include/aarch64-linux-gnu"
    result = configure(tmp_path, f"-DCMAKE_IGNORE_PATH={ignored}", TENSORRT_INCLUDE_DIR="")
    assert result.returncode == 0, result.stderr
    assert "libhc_kernels.so is built, libhc_plugins.so is not" in result.stdout
    targets = run(cmake(), "--build", tmp_path, "--target", "help").stdout
    assert "hc_kernels" in targets and "hc_plugins" not in targets


def test_wrong_headers_folder_is_refused(make_plugin, tmp_path):
    result = configure(tmp_path / "build", f"-DTENSORRT_INCLUDE_DIR={tmp_path}")
    assert result.returncode != 0
    assert f"TENSORRT_INCLUDE_DIR={tmp_path} holds no NvInferRuntime.h" in " ".join(result.stderr.split())


def test_missing_nvcc_is_named(make_plugin, tmp_path):
    result = configure(tmp_path, CUDACXX="/no/such/nvcc")
    assert result.returncode != 0
    assert "nvcc was not found. Install the CUDA toolkit, or name it:" in " ".join(result.stderr.split())
