"""The kernels for CPUs under AddressSanitizer and UndefinedBehaviorSanitizer, on every instruction set that is here.

Broken copies show that the sanitizers and the tests would find a mistake.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hc_deploy.ops import ClusterOptions
from plugins.cpu.build import PLUGINS, build
from tests import needs
from tests.plugins.cluster import TAU, check_assign, check_upsample, maps
from tests.plugins.cpu import NAMES, CpuKernels, cpu_kernels, library
from tests.plugins.test_label_kernel import check as check_labels
from tests.plugins.test_label_kernel import random_map

SCRIPT = Path(__file__).with_name("sanitized_cpu_run.py")
CASES = 306


def copied(folder, file, old, new):
    """A copy of the sources with one edit."""
    for part in ("cpu", "onnxruntime"):
        shutil.copytree(PLUGINS / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "cpu" / file
    text = path.read_text()
    assert text.count(old) == 1, f"the edit does not apply to {file}"
    path.write_text(text.replace(old, new))
    return folder


def run(path, name, word=""):
    found = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = {**os.environ, "LD_PRELOAD": found.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, str(SCRIPT), str(path), name, word]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip(needs.COMPILER)
    return build(tmp_path_factory.mktemp("cpu"), compiler="g++", sanitize=True)


@pytest.mark.parametrize("name", NAMES)
def test_sanitizers_find_nothing(sanitized, name):
    cpu_kernels(name)
    done = run(sanitized, name)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "error" not in done.stdout and len(done.stdout.splitlines()) == CASES


def test_sanitizers_find_a_read_past_the_end(tmp_path):
    """A tail read whole gives the same answer, from memory that is not the map's."""
    library()
    folder = copied(
        tmp_path / "sources", "cells.h",
        "if (strip.whole()) return load_pairs(from, even, odd);", "return load_pairs(from, even, odd);",
    )  # fmt: skip
    broken = build(tmp_path, folder=folder, compiler="g++", sanitize=True)
    done = run(broken, next(name for name in NAMES if cpu_kernels(name)), "decode C=1 f32 9x67 +0")
    assert done.returncode != 0 and "AddressSanitizer" in done.stderr


MUTATIONS = {
    "a row of candidates": ("assign.h", "seeds.rows.row(y + Row - 1) + x", "seeds.rows.row(y + Row) + x"),
    "a norm": ("assign.h", "inverse_length(sum) * inverse_tau", "inverse_length(sum)"),
    "a border": ("assign.h", "(cell < 0) | (cell >= w)", "(cell < 0)"),
    "a segment": ("assign.h", "const int start = x / Segment::kCells * Segment::kCells;", "const int start = 0;"),
    "a row kept": ("cells.h", "((y + 3) % 3)", "((y + 3) % 2)"),
    "zeros outside": ("cells.h", "for (int i = width; i < x + kLanes; ++i) to[i] = 0.0f;", ""),
    "the odd columns": ("decode.h", "odd += weights.of[1][n] * value;", "odd += weights.of[0][n] * value;"),
    "the last source": ("argmax.h", "= source[l.w - 1 - columns.left];", "= 0.0f;"),
    "a half pixel": ("argmax.h", "(position + 0.5f) * scale - 0.5f", "position * scale"),
    "rows that swap": ("argmax.h", "upper_row = y.low;", "upper_row = y.high;"),
    "an exponential": ("vector.h", "1.6666665459e-1f", "1.6666e-1f"),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_is_found(tmp_path, mutation, monkeypatch):
    """By the checks of test_cpu_kernels.py, on the best instruction set that is here."""
    library()
    monkeypatch.setattr("plugins.cpu.build.PLAIN", ("-O1",))  # half the time
    path = build(tmp_path, folder=copied(tmp_path / "sources", *MUTATIONS[mutation]))
    kernels = CpuKernels(path, next(name for name in NAMES if cpu_kernels(name)))
    with pytest.raises(AssertionError):
        for size in ((9, 67), (5, 523)):
            features, seeds, coarse = maps(size, channels=7)
            for border in ("zero", "exclude"):
                check_assign(features, seeds, ClusterOptions(TAU, border=border), kernels)
                check_upsample(coarse, features, seeds, ClusterOptions(TAU, border=border), kernels)
        check_labels(random_map(5, (9, 67)), (18, 134), kernels)
        check_labels(torch.ones(1, 3, 1, 1), (3, 5), kernels)
        check_labels(random_map(5, (7, 13)) - 20, (37, 131), kernels)
