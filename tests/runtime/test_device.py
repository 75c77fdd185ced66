"""The device under a TensorRT session on a real GPU, by each layer that is installed: copies, streams, graphs."""

import ctypes

import numpy as np
import pytest

from hc_deploy.errors import DeployError, MissingDependencyError
from hc_deploy.runtime import device
from hc_deploy.runtime.device import LAYERS, installed_layers, open_device
from hc_deploy.system.gpu import read_gpu
from tests import needs


def opened(layer):
    if read_gpu(clocks=False) is None:
        pytest.skip(needs.GPU)
    if layer not in installed_layers():
        pytest.skip(f"{layer} is not installed")
    return open_device(layer=layer)


def test_the_first_installed_layer_is_taken(monkeypatch):
    there = set()
    monkeypatch.setattr(device, "_installed", lambda module: module in there)
    assert installed_layers() == []
    with pytest.raises(MissingDependencyError, match="neither pycuda nor cuda-bindings"):
        open_device()
    there.add("cuda.bindings")
    assert installed_layers() == ["cuda-bindings"]
    there.add("pycuda")
    assert installed_layers() == ["pycuda", "cuda-bindings"]


@pytest.mark.parametrize("layer", LAYERS)
def test_copies_and_captured_work(layer):
    """Bytes go there and back; a captured copy runs when launched, again after the input has changed, not before."""
    gpu = opened(layer)
    driver, count = ctypes.CDLL("libcuda.so.1"), 100_003
    with gpu.active():
        free = gpu.free_bytes()
        source, target = gpu.allocate(count), gpu.allocate(count)
        host, back = gpu.pinned((count,), np.dtype(np.uint8)), gpu.pinned((count,), np.dtype(np.uint8))

        def copy():
            arguments = ctypes.c_uint64(int(target)), ctypes.c_uint64(int(source)), ctypes.c_size_t(count)
            assert driver.cuMemcpyDtoDAsync_v2(*arguments, ctypes.c_void_p(gpu.stream)) == 0

        rng = np.random.default_rng(0)
        host[:] = rng.integers(1, 255, count)
        back[:] = 0
        gpu.upload(source, host)
        graph = gpu.capture(copy)
        gpu.download(back, target)
        gpu.synchronize()
        assert not np.array_equal(back, host)
        for _ in range(3):
            host[:] = rng.integers(1, 255, count)
            gpu.upload(source, host)
            graph.launch()
            gpu.download(back, target)
            gpu.synchronize()
            assert np.array_equal(back, host)
        with pytest.raises(ZeroDivisionError):
            gpu.capture(lambda: 1 / 0)
        second = gpu.capture(copy)  # the stream is usable after a capture that failed
        second.launch()
        gpu.synchronize()
        for thing in (graph, second, source, target):
            thing.free()
        del host, back
        assert gpu.free_bytes() >= free - (4 << 20)
    with pytest.raises(DeployError, match="out of memory"), gpu.active():
        gpu.allocate(1 << 50)
    gpu.close()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_device_that_is_not_there_is_named(layer):
    opened(layer).close()
    with pytest.raises(DeployError, match="GPU 99"):
        open_device(99, layer=layer)
