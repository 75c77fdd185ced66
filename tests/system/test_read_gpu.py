"""`read_gpu` against drivers made up in C: CUDA's device 0 is named, whatever nvidia-smi lists first."""

import subprocess
import sys

import pytest

from hc_deploy.bench.environment import read_environment
from hc_deploy.system import gpu as module
from hc_deploy.system.gpu import Gpu, driver_version, parse_tool, read_gpu

DRIVER = """
#include <string.h>
static int ready;
int cuInit(unsigned flags) { return ready = !flags, INIT; }
int cuDeviceGet(int* device, int index) { return *device = 40 + index, index || !ready; }
int cuDeviceGetName(char* text, int size, int device) { return strncpy(text, "NVIDIA T4", size), device != 40; }
int cuDriverGetVersion(int* version) { return *version = 12080, 0; }
int cuDeviceGetAttribute(int* value, int which, int device) {
    return *value = which == 75 ? 7 : which == 76 ? 5 : -1, device != 40;
}
#ifdef BUS
int cuDeviceGetPCIBusId(char* text, int size, int device) { return strncpy(text, "0000:0f:00.0", size), device != 40; }
#endif
"""
TOOL = """#!/bin/sh
[ "$1" = --id=0000:0f:00.0 ] && [ "$2" = --query-gpu=driver_version,clocks.sm,clocks.max.sm ] || exit 6
"""


def compiled(path, code, *macros):
    """`path`, now a library of this C code."""
    command = ["gcc", "-shared", "-fPIC", *macros, "-x", "c", "-", "-o", path]
    subprocess.run(command, input=code, text=True, check=True)
    return str(path)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """machine(tool, *macros): a driver compiled with `macros`, and nvidia-smi as a shell script's last lines."""

    def made(tool=None, *macros):
        library = compiled(tmp_path / "libcuda.so.1", DRIVER, *macros)
        script = tmp_path / "nvidia-smi"
        if tool is not None:
            script.write_text(TOOL + tool)
            script.chmod(0o755)
        monkeypatch.setattr(module, "LIBRARY", library)
        monkeypatch.setattr(module.shutil, "which", lambda name: None if tool is None else str(script))

    return made


def test_the_device_of_cuda(machine):
    machine("echo '570.86, 345, 1590'", "-DINIT=0", "-DBUS")
    assert read_gpu() == Gpu("NVIDIA T4", "570.86", 345.0, 1590.0, "7.5")
    assert read_environment().gpu == read_gpu()


@pytest.mark.parametrize(
    ("tool", "macros"),
    [(None, ["-DBUS"]), ("exit 9", ["-DBUS"]), ("true", ["-DBUS"]), ("echo no such GPU", ["-DBUS"]),
     ("echo '[N/A], [N/A], [N/A]'", ["-DBUS"]), ("printf '\\377\\376'", ["-DBUS"]), ("echo '570.86, 345, 1590'", [])],
    ids=["absent", "fails", "silent", "odd", "does not tell", "not text", "a driver that tells no place"],
)  # fmt: skip
def test_without_an_answer_of_nvidia_smi(machine, tool, macros):
    machine(tool, "-DINIT=0", *macros)
    assert read_gpu() == Gpu("NVIDIA T4", "CUDA 12.8", None, None, "7.5")


def test_no_gpu(machine, tmp_path, monkeypatch):
    machine("echo '570.86, 345, 1590'", "-DINIT=100", "-DBUS")  # CUDA_ERROR_NO_DEVICE
    assert read_gpu() is None
    monkeypatch.setattr(module, "LIBRARY", str(tmp_path / "none.so"))
    assert read_gpu() is None
    (tmp_path / "text.so").write_text("no library")
    monkeypatch.setattr(module, "LIBRARY", str(tmp_path / "text.so"))
    assert read_gpu() is None
    monkeypatch.setattr(module, "LIBRARY", compiled(tmp_path / "empty.so", "int nothing;"))
    assert read_gpu() is None


def test_a_line_of_nvidia_smi():
    assert parse_tool("570.86, 345, 1980") == ("570.86", 345.0, 1980.0)
    assert parse_tool("570.86, [N/A], 1980") == ("570.86", None, 1980.0)
    assert parse_tool("No devices were found") is None


def test_the_answer_of_this_machine():
    """Where there is a GPU, torch names the same one; where there is no driver, nothing crashes."""
    code = "from hc_deploy.system.gpu import read_gpu; print(read_gpu())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    import torch

    if torch.cuda.is_available():
        assert torch.cuda.get_device_name(0) in ended.stdout
    elif ended.stdout.strip() != "None":
        assert "compute_capability" in ended.stdout


@pytest.mark.parametrize(("number", "error", "expected"), [(12040, 0, (12, 4)), (13010, 0, (13, 1)), (0, 100, None)])
def test_driver_version(tmp_path, number, error, expected):
    code = f"int cuDriverGetVersion(int* v) {{ *v = {number}; return {error}; }}"
    assert driver_version(compiled(tmp_path / "libcuda.so", code)) == expected


def test_no_driver(tmp_path):
    assert driver_version(str(tmp_path / "libcuda.so.1")) is None
