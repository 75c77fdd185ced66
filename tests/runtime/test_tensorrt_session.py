"""What the TensorRT session does with its buffers, graphs and shapes, on doubles of the GPU and of TensorRT.

What they cannot show is a GPU: `test_session.py` runs the contract on one where there is one.
"""

import numpy as np
import pytest

from hc_deploy.engine.options import BuildOptions
from hc_deploy.errors import DeployError
from hc_deploy.ran import Runtime
from hc_deploy.runtime import engine_check, open_session, tensorrt
from hc_deploy.runtime.device_interface import CudaError
from tests.runtime.doubles import PROFILE, Context, GpuDouble, module, write


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """(session, gpu, runtime) of an engine that carries its plugin."""
    gpu, runtimes = GpuDouble(), []
    monkeypatch.setattr(tensorrt, "open_device", lambda: gpu)
    monkeypatch.setattr(engine_check.flavours, "load", lambda flavour: module(gpu, runtimes))
    write(tmp_path / "model.engine", b"engine")
    with open_session(tmp_path / "model.engine") as session:
        yield session, gpu, runtimes[0]


def test_what_runs_and_in_which_precision_is_told(opened):
    session, _, _ = opened
    assert session.runtime == Runtime("tensorrt", "10.9.0", "fp16", {"fp16": 4, "fp32": 1}, "network")
    assert session.runtime.precision_in_words() == "fp16; network: fp16 80%, fp32 20%"


def picture(seed, shape=(1, 8, 8, 3)):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def test_runs_of_one_shape_become_one_graph(opened):
    session, gpu, _ = opened
    for seed in range(6):
        image = picture(seed)
        np.testing.assert_array_equal(session.run(image)["labels"], image[..., 0] + 1)
    assert len(gpu.graphs) == 1 and gpu.launched == 5, "the first run is queued, later ones are launched"
    assert session.no_graph_because is None


@pytest.mark.parametrize("by", ["tensorrt", "driver"])
def test_an_engine_that_cannot_be_captured_runs_without_a_graph(opened, monkeypatch, by):
    """TensorRT refuses to queue what may not be captured, or the driver ends the capture with an error."""
    session, gpu, _ = opened
    if by == "driver":
        gpu.refusal = CudaError("cuStreamEndCapture failed: operation failed due to a previous error (901)")
    queue = Context.execute_async_v3
    if by == "tensorrt":
        monkeypatch.setattr(Context, "execute_async_v3", lambda *given: gpu.capturing is None and queue(*given))
    for shape, tries in (((1, 8, 8, 3), 1), ((1, 8, 8, 3), 1), ((1, 4, 5, 3), 2), ((1, 4, 5, 3), 2)):
        image = picture(tries, shape)
        np.testing.assert_array_equal(session.run(image)["labels"], image[..., 0] + 1)
        assert (gpu.captures, gpu.launched, gpu.graphs) == (tries, 0, [])
        assert ("(901)" if by == "driver" else "failed on the GPU") in session.no_graph_because
    gpu.refusal = None
    monkeypatch.setattr(Context, "execute_async_v3", queue)
    for _ in range(2):
        session.run(picture(0))
    assert gpu.launched == 1 and session.no_graph_because is None, "another shape is tried again"


def test_shapes_change(opened):
    session, gpu, _ = opened
    for seed, shape in enumerate(
        [(1, 8, 8, 3), (2, 16, 16, 3), (1, 4, 5, 3), (1, 4, 5, 3), (1, 4, 5, 3), (2, 9, 3 + 2, 3)]
    ):
        image = picture(seed, shape)
        np.testing.assert_array_equal(session.run(image)["labels"], image[..., 0] + 1)
        assert session._buffers.shapes["image"] == shape and len(gpu.graphs) == 1
    assert len(gpu.memory) == 2 and gpu.launched == 2


def test_answers_stay_as_they_were(opened):
    session, _, _ = opened
    kept = [session.run(picture(seed))["labels"] for seed in range(4)]
    for seed, labels in enumerate(kept):
        np.testing.assert_array_equal(labels, picture(seed)[..., 0] + 1)


@pytest.mark.parametrize("shape", [(1, 3, 8, 3), (3, 8, 8, 3), (1, 8, 17, 3)])
def test_a_shape_out_of_the_profile_names_the_profile(opened, shape):
    session, _, _ = opened
    with pytest.raises(DeployError, match="1x4x4 to 2x16x16, tuned for 1x8x8"):
        session.load(np.zeros(shape, np.uint8))


def test_order_is_enforced(opened):
    session, _, _ = opened
    with pytest.raises(DeployError, match="nothing is loaded"):
        session.execute()
    session.load(picture(0))
    with pytest.raises(DeployError, match="nothing was executed"):
        session.fetch()


def test_host_code_runs_only_in_an_engine_that_carries_the_plugin(opened, tmp_path):
    _, _, runtime = opened
    assert runtime.engine_host_code_allowed is True
    write(tmp_path / "plain.engine", b"engine", plugin=None)
    with open_session(tmp_path / "plain.engine") as session:
        assert session._runtime.engine_host_code_allowed is False


def test_tensorrt_rtx_captures_by_itself(opened, tmp_path):
    _, gpu, _ = opened
    write(tmp_path / "rtx.engine", b"engine", options=BuildOptions("tensorrt-rtx", "fp16", PROFILE))
    with open_session(tmp_path / "rtx.engine") as session:
        for seed in range(3):
            session.run(picture(seed))
    assert gpu.strategies == [None, "whole"] and gpu.launched == 0


def test_a_version_compatible_engine_holds_host_code(opened, tmp_path):
    options = BuildOptions("tensorrt", "fp16", PROFILE, plugin="none", version_compatible=True)
    write(tmp_path / "vc.engine", b"engine", plugin=None, options=options)
    with open_session(tmp_path / "vc.engine") as session:
        assert session._runtime.engine_host_code_allowed is True


def test_out_of_memory_leaves_a_session_that_still_works(opened, monkeypatch):
    session, gpu, _ = opened
    session.run(picture(0))
    real = gpu.allocate
    monkeypatch.setattr(gpu, "allocate", lambda size: (_ for _ in ()).throw(DeployError("the GPU is out of memory")))
    for _ in range(2):
        with pytest.raises(DeployError, match="out of memory"):
            session.load(picture(1, (2, 16, 16, 3)))
    monkeypatch.setattr(gpu, "allocate", real)
    image = picture(1, (2, 16, 16, 3))
    np.testing.assert_array_equal(session.run(image)["labels"], image[..., 0] + 1)


def test_layers_are_timed_without_the_graph(opened):
    """And the session runs on: a new context, a new graph, an image of its own."""
    session, gpu, _ = opened
    for _ in range(2):
        session.run(picture(0))
    times = session.profile_layers(picture(1), runs=3)
    assert [(time.name, time.milliseconds) for time in times] == [("slice", 2.0), ("add", 1.0)]
    assert gpu.launched == 1 and gpu.graphs == []
    with pytest.raises(DeployError, match="nothing is loaded"):
        session.execute()
    for seed in range(2, 4):
        np.testing.assert_array_equal(session.run(picture(seed))["labels"], picture(seed)[..., 0] + 1)
    assert gpu.launched == 2 and len(gpu.graphs) == 1


def test_everything_is_freed(opened):
    session, gpu, _ = opened
    for seed in range(4):
        session.run(picture(seed))
    memory = session.memory()
    assert memory.engine == 64 and memory.buffers == 192 + 64
    session.close()
    assert gpu.memory == {} and gpu.graphs == [] and gpu.closed
    session.close()
    for use in (lambda: session.load(picture(0)), session.memory, lambda: session.profile_layers(picture(0))):
        with pytest.raises(DeployError, match="is closed"):
            use()


def test_an_engine_that_tensorrt_refuses(opened, tmp_path):
    write(tmp_path / "other.engine", b"rubbish")
    _, gpu, _ = opened
    gpu.closed = False
    with pytest.raises(DeployError, match=r"other.engine cannot be opened by tensorrt 10.9.0"):
        open_session(tmp_path / "other.engine")
    assert gpu.closed, "a session that does not open leaves nothing open"
