"""What tests need and a machine may lack: the reasons they are skipped with, which end the test run in plain words."""

import os
import shutil

import pytest

NVCC = (
    "nvcc is missing, so neither the kernels nor the plugin were compiled: install the CUDA toolkit (12.8 or newer), "
    "then make test"
)
TENSORRT_HEADERS = (
    "TensorRT's headers are missing, so the plugin was not compiled: git clone --depth 1 "
    "https://github.com/NVIDIA/TensorRT, then TENSORRT_INCLUDE_DIR=TensorRT/include make test"
)
COMPILER = "no C++ compiler is here, so the kernels for CPUs were not compiled: apt-get install g++, then make test"
GPU = "no NVIDIA GPU is here, so nothing ran on one: make test on a machine that has one"
REASONS = (NVCC, TENSORRT_HEADERS, COMPILER, GPU)


def found_nvcc():
    """Path of nvcc, or None."""
    return os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def nvcc():
    """Path of nvcc, or the test is skipped."""
    found = found_nvcc()
    if not found:
        pytest.skip(NVCC)
    return found


def summary(skipped):
    """The last lines of a run: how many tests each missing thing kept from running. `skipped` are pytest's reports."""
    counts = dict.fromkeys(REASONS, 0)
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        for known in REASONS:
            counts[known] += known in reason
    return [f"{count} not run: {reason}" for reason, count in counts.items() if count]
