"""What the TensorRT session does with its buffers, graphs and shapes, on doubles of the GPU and of TensorRT.

The doubles hold memory by address and run work only where the session queued it, so a wrong address, slot, shape or
order shows. What they cannot show is a GPU: `test_session.py` runs the contract on one where there is one.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.engine.sidecar import FileRecord, Layers, Sidecar
from hc_deploy.errors import DeployError
from hc_deploy.ran import Runtime
from hc_deploy.runtime import engine_check, open_session, tensorrt
from hc_deploy.spec import ModelSpec
from hc_deploy.system.gpu import Gpu

PROFILE = ShapeRange(Shape(1, 4, 4), Shape(1, 8, 8), Shape(2, 16, 16))


class Memory:
    def __init__(self, gpu, size):
        self.gpu, self.data = gpu, np.full(size, 0xA5, np.uint8)
        gpu.next += 1 << 20
        self.address = gpu.next
        gpu.memory[self.address] = self.data

    def __int__(self):
        return self.address

    def free(self):
        del self.gpu.memory[self.address]


class Graph:
    def __init__(self, gpu, work):
        self.gpu, self.work = gpu, work
        gpu.graphs.append(self)

    def launch(self):
        self.gpu.launched += 1
        self.gpu.queue += self.work

    def free(self):
        self.gpu.graphs.remove(self)


class GpuDouble:
    """The interface of CudaDevice: queued work runs when it is synchronised."""

    name, compute_capability, stream = "Double", "8.6", 7

    def __init__(self):
        self.memory, self.queue, self.graphs, self.strategies = {}, [], [], []
        self.next, self.launched, self.depth, self.closed, self.capturing = 0, 0, 0, False, None

    @contextmanager
    def active(self):
        self.depth += 1
        yield
        self.depth -= 1

    def allocate(self, size):
        assert self.depth
        return Memory(self, size)

    def pinned(self, shape, dtype):
        return np.full(shape, 0x5A, dtype)

    def upload(self, target, source):
        self.queue.append(lambda: target.data.__setitem__(slice(source.nbytes), source.view(np.uint8).reshape(-1)))

    def download(self, target, source):
        self.queue.append(
            lambda: target.view(np.uint8).reshape(-1).__setitem__(slice(None), source.data[: target.nbytes])
        )

    def put(self, work):
        (self.queue if self.capturing is None else self.capturing).append(work)

    def synchronize(self):
        work, self.queue = self.queue, []
        for item in work:
            item()

    def capture(self, queue):
        assert not self.queue, "captured while work was under way"
        self.capturing = []
        queue()
        work, self.capturing = self.capturing, None
        return Graph(self, work)

    def free_bytes(self):
        return 1000

    def close(self):
        self.closed = True


class Context:
    def __init__(self, gpu):
        self.gpu, self.addresses, self.shape = gpu, {}, None

    def set_input_shape(self, name, shape):
        self.shape = tuple(shape)
        return True

    def get_tensor_shape(self, name):
        return self.shape[:3]

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        """labels = the red channel + 1, from and to the addresses of this moment."""
        assert stream == self.gpu.stream and self.gpu.depth
        source, target, shape = self.addresses["image"], self.addresses["labels"], self.shape

        def work():
            image = self.gpu.memory[source][: int(np.prod(shape))].reshape(shape)
            self.gpu.memory[target][: int(np.prod(shape[:3]))] = (image[..., 0] + 1).reshape(-1)

        self.gpu.put(work)
        return True


def module(gpu, opened):
    """A TensorRT of one engine with the tensors `image` and `labels`."""
    names = ["image", "labels"]

    class Engine:
        num_io_tensors = 2
        device_memory_size_v2 = 64
        get_tensor_name = staticmethod(names.__getitem__)
        get_tensor_mode = staticmethod(lambda name: "in" if name == "image" else "out")
        get_tensor_dtype = staticmethod(lambda name: np.uint8)
        get_tensor_shape = staticmethod(lambda name: (-1, -1, -1, 3) if name == "image" else (-1, -1, -1))
        create_runtime_config = staticmethod(SimpleNamespace)

        @staticmethod
        def create_execution_context(config=None):
            gpu.strategies.append(getattr(config, "cuda_graph_strategy", None))
            return Context(gpu)

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger):
            opened.append(self)

        def deserialize_cuda_engine(self, data):
            return Engine() if data.startswith(b"engine") else None

    class Logger:
        pass

    return SimpleNamespace(
        __name__="tensorrt", __version__="10.9.0", Runtime=Runtime, ILogger=Logger, nptype=lambda kind: kind,
        TensorIOMode=SimpleNamespace(OUTPUT="out"), CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole"),
    )  # fmt: skip


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """(session, gpu, runtime) of an engine that carries its plugin."""
    gpu, runtimes = GpuDouble(), []
    monkeypatch.setattr(tensorrt, "open_device", lambda: gpu)
    monkeypatch.setattr(engine_check.flavours, "load", lambda flavour: module(gpu, runtimes))
    write(tmp_path / "model.engine", b"engine")
    with open_session(tmp_path / "model.engine") as session:
        yield session, gpu, runtimes[0]


def write(path, data, **changed):
    path.write_bytes(data)
    fields = {
        "spec": ModelSpec("fcn", ("road",), ((1, 2, 3),)),
        "options": BuildOptions("tensorrt", "fp16", PROFILE),
        "version": "10.9.0",
        "engine": FileRecord.of(path),
        "onnx": FileRecord("model.onnx", 3, "ab"),
        "layers": Layers("network", 5, {"HCUpsample": 2}, computing={"fp16": 4, "fp32": 1}),
        "plugin": FileRecord("libhc_plugins.so", 4, "cd"),
        "device": Gpu("Double", "1", None, None, "8.6"),
        "seconds": 1.5,
        "created": "2026",
    }
    Sidecar(**{**fields, **changed}).write(path)


def test_what_runs_and_in_which_precision_is_told(opened):
    session, _, _ = opened
    assert session.runtime == Runtime("tensorrt", "10.9.0", "fp16", {"fp16": 4, "fp32": 1}, "network")
    assert session.runtime.precision_in_words() == "fp16; network: fp16 80%, fp32 20%"


def picture(seed, shape=(1, 8, 8, 3)):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def test_runs_of_one_shape_become_one_graph_a_slot(opened):
    session, gpu, _ = opened
    for seed in range(6):
        image = picture(seed)
        np.testing.assert_array_equal(session.run(image)["labels"], image[..., 0] + 1)
    assert len(gpu.graphs) == 2 and gpu.launched == 4, "a slot's first run is queued, its later ones are launched"


def test_shapes_change(opened):
    session, gpu, _ = opened
    for seed, shape in enumerate(
        [(1, 8, 8, 3), (2, 16, 16, 3), (1, 4, 5, 3), (1, 4, 5, 3), (1, 4, 5, 3), (2, 9, 3 + 2, 3)]
    ):
        image = picture(seed, shape)
        np.testing.assert_array_equal(session.run(image)["labels"], image[..., 0] + 1)
        assert all(slot.shapes.get("image") == shape for slot in session._slots if slot.graph is not None)
    assert len(gpu.memory) == 4, "two slots of two tensors"


def test_the_next_image_may_be_loaded_before_the_last_answer_is_read(opened):
    session, _, _ = opened
    first, second = picture(1), picture(2)
    session.run(picture(0))
    session.load(first)
    session.execute()
    session.load(second)
    np.testing.assert_array_equal(session.fetch()["labels"], first[..., 0] + 1)
    session.execute()
    np.testing.assert_array_equal(session.fetch()["labels"], second[..., 0] + 1)


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


def test_everything_is_freed(opened):
    session, gpu, _ = opened
    for seed in range(4):
        session.run(picture(seed))
    memory = session.memory()
    assert memory.engine == 64 and memory.buffers == 2 * (192 + 64)
    session.close()
    assert gpu.memory == {} and gpu.graphs == [] and gpu.closed
    session.close()
    with pytest.raises(DeployError, match="is closed"):
        session.load(picture(0))


def test_an_engine_that_tensorrt_refuses(opened, tmp_path):
    write(tmp_path / "other.engine", b"rubbish")
    _, gpu, _ = opened
    gpu.closed = False
    with pytest.raises(DeployError, match=r"other.engine cannot be opened by tensorrt 10.9.0"):
        open_session(tmp_path / "other.engine")
    assert gpu.closed, "a session that does not open leaves nothing open"
