"""The GPU side of `hc-deploy doctor`: statuses told from made-up machines, and TensorRT-RTX for real."""

import subprocess
import sys

import pytest

from hc_deploy.doctor import Status, gpu
from hc_deploy.engine import plugin_library
from hc_deploy.system.gpu import Gpu


def test_tensorrt_rtx_builds_an_engine_here():
    pytest.importorskip("tensorrt_rtx_libs")
    found = {finding.name: finding for finding in gpu.tensorrt()}
    assert found["tensorrt-rtx"].status is Status.WORKS and "built an engine" in found["tensorrt-rtx"].detail


def test_a_builder_without_an_answer_is_broken(monkeypatch):
    pytest.importorskip("tensorrt_rtx_libs")

    def silent(*command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(gpu.subprocess, "run", silent)
    found = gpu._flavour("tensorrt-rtx", "tensorrt_rtx", needs_gpu=False)
    assert (found.status, found.detail) == (Status.BROKEN, "its builder gave no answer in 60 s")
    assert found.mend == "pip install tensorrt-rtx-cu13 cuda-bindings"


def test_pycuda_without_a_driver_is_broken(monkeypatch, tmp_path):
    """`import pycuda` succeeds without libcuda.so.1; `pycuda.driver` is what engines run through."""
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    (tmp_path / "pycuda" / "driver.py").write_text("raise ImportError('libcuda.so.1: cannot open')")
    (tmp_path / "pycuda-2025.1.dist-info").mkdir()
    (tmp_path / "pycuda-2025.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: pycuda\nVersion: 2025.1\n"
    )
    monkeypatch.setattr(gpu, "_flavour", lambda *a, **k: None)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
        monkeypatch.delitem(sys.modules, name)
    found = next(one for one in gpu.tensorrt() if one is not None and one.name == "pycuda")
    sys.modules.pop("pycuda", None)
    assert (found.name, found.status) == ("pycuda", Status.BROKEN)
    assert found.detail == "2025.1, but: libcuda.so.1: cannot open"


def test_driver(monkeypatch):
    monkeypatch.setattr(gpu, "read_gpu", lambda **_: Gpu("H200", "570.86", 345.0, 1980.0, "9.0"))
    monkeypatch.setattr(gpu, "driver_version", lambda: (13, 0))
    driver, cuda = gpu.driver()
    assert (driver.status, driver.detail) == (Status.WORKS, "570.86, H200, compute capability 9.0")
    assert (cuda.status, cuda.detail) == (Status.WORKS, "up to 13.0")
    monkeypatch.setattr(gpu, "read_gpu", lambda **_: None)
    monkeypatch.setattr(gpu, "driver_version", lambda: None)
    assert [finding.status for finding in gpu.driver()] == [Status.MISSING, Status.MISSING]


def test_plugin(monkeypatch, tmp_path):
    library = tmp_path / "libhc_plugins.so"
    monkeypatch.setattr(plugin_library, "LIBRARY", library)
    assert (gpu.plugins()[0].status, gpu.plugins()[0].mend.split()[:2]) == (Status.MISSING, ["make", "plugin"])
    library.write_bytes(b"no library")
    found = gpu.plugins()[0]
    assert (found.status, found.mend) == (Status.BROKEN, "make plugin") and "libhc_plugins" in found.detail


@pytest.mark.parametrize(("ended", "status"), [((0, "1.7\n", ""), Status.WORKS), ((-6, "", "abort\n"), Status.BROKEN)])
def test_a_builder_that_crashes_is_broken(monkeypatch, ended, status):
    """The real builder is asked in a process of its own, so its death is a finding and not ours."""
    pytest.importorskip("tensorrt_rtx_libs")
    code, out, err = ended
    monkeypatch.setattr(
        gpu.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess([sys.executable], code, out, err)
    )
    found = gpu._flavour("tensorrt-rtx", "tensorrt_rtx", needs_gpu=False)
    assert found.status is status and ("abort" in found.detail) == (status is Status.BROKEN)
