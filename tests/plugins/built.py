"""The libraries that `make plugin` builds, once a session and only where something changed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).parents[2]
NO_HEADERS = "TensorRT headers were not found"


def run(*command, **options):
    """The command's result; its output is the failure's message."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result


def cmake():
    beside = Path(sys.prefix, "bin", "cmake")
    return beside if beside.exists() else shutil.which("cmake")


@pytest.fixture(scope="session")
def make_plugin():
    """What `make plugin` printed; the test is skipped without nvcc."""
    needs.nvcc()
    return run("make", "plugin").stdout


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
    run(cmake(), "--build", "build/plugins", "--target", "contract", "launches", "finder", "enqueue")
    return ROOT / "build" / "plugins" / "contract"
