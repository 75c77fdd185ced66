"""The libraries that `make plugin` builds, only where something changed and by one test process at a time."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "build" / "plugins" / "ptxas.txt"
"""What ptxas told of each kernel when it was last compiled."""
NO_HEADERS = "TensorRT headers were not found"


def run(*command, **options):
    """The command's result; its output is the failure's message."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result


def cmake():
    beside = Path(sys.prefix, "bin", "cmake")
    return beside if beside.exists() else shutil.which("cmake")


def build(*command, **options):
    """As `run`; other test processes wait until it is done."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    with (folder / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return run(*command, **options)


@pytest.fixture(scope="session")
def make_plugin():
    """What `make plugin` printed; the test is skipped without nvcc."""
    needs.nvcc()
    return made().stdout


def start_ahead():
    """Compile in a process of its own, two minutes on two cores, while tests that need no library run."""
    if needs.found_nvcc():
        subprocess.Popen([sys.executable, "-c", "from tests.plugins.built import made; made()"], cwd=ROOT)


def made():
    """`make plugin`, and once more where its report is missing: then other hands built it."""
    done = _make()
    if not COMPILED.exists():
        shutil.rmtree(COMPILED.parent)
        done = _make()
    return done


def _make():
    done = build("make", "plugin", env={**os.environ, "NVCC_APPEND_FLAGS": "-Xptxas=-v"})
    if "Compiling entry function" in done.stderr:
        COMPILED.write_text(done.stderr)
    return done


@pytest.fixture(scope="session")
def kernels_library(make_plugin):
    return ROOT / "hc_deploy" / "lib" / "libhc_kernels.so"


@pytest.fixture(scope="session")
def plugins_library(make_plugin):
    """libhc_plugins.so; the test is skipped without TensorRT's headers."""
    if NO_HEADERS in make_plugin:
        pytest.skip(needs.TENSORRT_HEADERS)
    return ROOT / "hc_deploy" / "lib" / "libhc_plugins.so"


@pytest.fixture(scope="session")
def contract_programs(plugins_library):
    """Folder of the programs contract and launches, of libfinder.so and libenqueue.so."""
    build(cmake(), "--build", "build/plugins", "--target", "contract", "launches", "finder", "enqueue")
    return ROOT / "build" / "plugins" / "contract"
