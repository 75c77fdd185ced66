"""The kernels under AddressSanitizer and UndefinedBehaviorSanitizer, on the CPU: no access outside a buffer, no
misaligned one, no overflow; and the bits of the plain build. A broken copy shows that they would be found."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plugins.emulator.build import build
from tests.plugins.emulated import edited_sources, kernels

SCRIPT = Path(__file__).with_name("sanitized_run.py")


def run(library, word="", *, sanitizer=True):
    environment = dict(os.environ)
    if sanitizer:
        preload = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
        # Python's own leaks are none of ours; a fiber's stack is none that the sanitizer knows.
        environment |= {
            "LD_PRELOAD": preload.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        }
    command = [sys.executable, str(SCRIPT), str(library), word]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def break_reads_and_stores(folder):
    """Two mistakes that change no result: a read of the pixel right of the map, which nobody uses, and a store of four
    labels where they do not lie on 16 bytes."""
    edited_sources(folder, "cells.cuh", lambda text: text.replace("cell.right ? here[1] : zero<T>()", "here[1]"))
    labels = folder / "kernels" / "argmax.cuh"
    text = labels.read_text()
    start = text.index("const bool wide =")
    aligned = text[start : text.index(";", start)]
    labels.write_text(text.replace(aligned, "const bool wide = W % kLabelsPerThread == 0"))
    assert labels.read_text() != text
    return folder / "kernels" / "launch.cu"


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """The sanitized build (14 s) of the kernels and of a broken copy, side by side."""
    folder = tmp_path_factory.mktemp("sanitized")
    broken = break_reads_and_stores(folder / "sources")
    with ThreadPoolExecutor() as pool:
        right = pool.submit(build, folder / "right", sanitize=True)
        wrong = pool.submit(build, folder / "wrong", source=broken, sanitize=True)
        return right.result(), wrong.result()


def test_sanitizers_find_nothing(libraries):
    done = run(libraries[0])
    assert done.returncode == 0, done.stderr[-3000:]
    assert "error" not in done.stdout
    assert len(done.stdout.splitlines()) == 306
    assert done.stdout == run(kernels().path, sanitizer=False).stdout


def test_sanitizers_find_a_read_past_the_end(libraries):
    done = run(libraries[1], "decode C=1 f32 9x67 +0")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def test_sanitizers_find_a_misaligned_store(libraries):
    done = run(libraries[1], "argmax f32 9x66 18x132 +1")
    assert done.returncode != 0
    assert "misaligned address" in done.stderr
