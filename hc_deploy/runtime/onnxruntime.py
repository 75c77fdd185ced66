"""A Session on ONNX Runtime: `model.onnx` in, outputs through I/O binding out.

The provider that was asked for runs, or opening fails. `tensorrt` leaves nodes that it does not take to CUDA, one by
one; where ONNX Runtime tells which provider got which nodes (1.24 and newer), a provider that got none is refused.
Older ones do not tell: there a model that TensorRT takes nothing of runs on CUDA alone under the name `tensorrt`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hc_deploy import install
from hc_deploy.errors import DeployError, MissingDependencyError, UsageError, first_line
from hc_deploy.graph.external_data import external_files, largest_beside, require_external_data
from hc_deploy.ran import Runtime
from hc_deploy.runtime.graph_check import Tensor, check_graph
from hc_deploy.runtime.native_ops import Kernels, register
from hc_deploy.runtime.session import Array, Outputs, SessionBase, session_name
from hc_deploy.spec import METADATA_KEY, ModelSpec
from hc_deploy.system.digest import require_sha256
from hc_deploy.system.files import require_file
from hc_deploy.system.limits import out_of_memory, says_out_of_memory
from hc_deploy.system.names import openable

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
INSTALL = {"cpu": install.ONNXRUNTIME, "cuda": install.ONNXRUNTIME_GPU, "tensorrt": install.ONNXRUNTIME_GPU}
RECORD_NODES = "session.record_ep_graph_assignment_info"
THREADS_PER_CORE = 4
MOST_EMBEDDED = 2**31
"""Bytes of a tensor that ONNX Runtime cannot keep in a graph that it has laid out anew, so its layout stays."""
SILENT = 4  # fatal ones only: an error comes as an exception as well, and warnings are about its own optimisations
NUMPY_TYPES = {"float": "float32", "double": "float64"}


def import_onnxruntime() -> Any:
    """The onnxruntime module, or a MissingDependencyError with the install line."""
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"onnxruntime cannot be imported ({error})", expected="ONNX Runtime", mend=INSTALL["cpu"]
        ) from None
    return onnxruntime


def preload(ort: Any, provider: str) -> None:
    """Load the CUDA and cuDNN of NVIDIA's wheels, which ONNX Runtime (1.21 and newer) does not find by itself.

    It prints what it does not find. That is no result of ours; the provider's own failure tells what was needed.
    """
    if provider != "cpu" and hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()


class OnnxRuntimeSession(SessionBase):
    """One `model.onnx` on one execution provider; see `open_session` for arguments and errors."""

    def __init__(
        self,
        path: Path,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        kernels: Kernels = "auto",
        expect_sha256: str | None = None,
    ) -> None:
        require_file(path, what="a model.onnx made by export.py")
        if provider not in PROVIDERS:
            raise UsageError(f"provider '{provider}'", expected=f"one of {', '.join(PROVIDERS)}")
        most = THREADS_PER_CORE * (os.cpu_count() or 1)
        if threads is not None and not 1 <= threads <= most:
            raise UsageError(f"{threads} threads", expected=f"1 to {most} on this machine")
        ort = import_onnxruntime()
        data = None if expect_sha256 is None else expected_bytes(path, expect_sha256)
        beside = require_external_data(path) if data is None else []
        options = _options(ort, threads)
        if beside and largest_beside(path) >= MOST_EMBEDDED:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        self.kernels = register(options, kernels, provider)
        self._session: Any = _open(ort, path, provider, options, data)
        self.spec = _spec(self._session, path)
        self.name, self.provider = session_name(path), provider
        self.runtime = Runtime("onnxruntime", ort.__version__, kernels=str(self.kernels))
        self._values: Any = ort.OrtValue
        self._device = "cpu" if provider == "cpu" else "cuda"
        self._copies = self._device != "cpu"
        self._binding = self._session.io_binding()
        self._names = [output.name for output in self._session.get_outputs()]
        self._input: Any = None

    def _load(self, images: Array) -> None:
        self._binding.clear_binding_inputs()
        if self._copies:
            self._upload(images)
            self._binding.bind_ortvalue_input("image", self._input)
            self._binding.synchronize_inputs()
        else:
            self._input = images  # bound as it lies: it must live until the run
            self._binding.bind_cpu_input("image", images)
        self._binding.clear_binding_outputs()
        for name in self._names:
            self._binding.bind_output(name, self._device)

    def _execute(self) -> None:
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def _fetch(self) -> Outputs:
        return dict(zip(self._names, self._binding.copy_outputs_to_cpu(), strict=True))

    def _close(self) -> None:
        self._binding = self._session = self._input = None

    def _upload(self, images: Array) -> None:
        """Copy to the device, into the same memory as long as the shape stays."""
        if self._input is not None and tuple(self._input.shape()) == images.shape:
            self._input.update_inplace(images)
        else:
            self._input = self._values.ortvalue_from_numpy(images, self._device, 0)


def expected_bytes(path: Path, expected: str) -> bytes:
    """The model's bytes, whose hash is the one that was expected; they are opened, not the file a second time."""
    data = path.read_bytes()
    require_sha256(path, hashlib.sha256(data).hexdigest(), expected)
    if others := external_files(data, source=path):
        raise DeployError(
            f"{path} has weights in other files, which its hash does not vouch for: {', '.join(others)[:200]}",
            expected="a model in one file",
            mend="leave --expect-sha256 away, or use an engine, which is one file",
        )
    return data


def _options(ort: Any, threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.add_session_config_entry(RECORD_NODES, "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _open(ort: Any, path: Path, provider: str, options: Any, data: bytes | None = None) -> Any:
    """A session of ONNX Runtime on the file, or on its bytes where they have been read."""
    wanted = PROVIDERS[provider]
    if wanted not in ort.get_available_providers():
        raise MissingDependencyError(
            f"this ONNX Runtime {ort.__version__} has no {wanted}",
            expected=f"one of {', '.join(ort.get_available_providers())}",
            mend=INSTALL[provider],
        )
    model, providers = (data, [wanted]) if provider != "tensorrt" else _for_tensorrt(path, data)
    preload(ort, provider)
    try:  # without the fallback, which prints to standard output, hides the reason and opens the model again elsewhere
        with openable(path) as name:
            session = ort.InferenceSession(model or name, options, providers=providers, enable_fallback=0)
    except DeployError:
        raise
    except Exception as error:  # the classes of onnxruntime share no base but Exception
        if says_out_of_memory(error):
            raise out_of_memory(f"{path} cannot be opened", first_line(error)) from None
        if isinstance(error, RuntimeError | ValueError) and provider != "cpu":  # a bad model raises other classes
            raise MissingDependencyError(
                f"{wanted} does not start: {first_line(error)}", expected=f"{wanted} to load", mend="hc-deploy doctor"
            ) from None
        raise DeployError(
            f"{path} cannot be opened by ONNX Runtime: {first_line(error)}",
            expected=f"a whole model.onnx that {wanted} takes",
            mend="export it again: python export.py CHECKPOINT -o DIR",
        ) from None
    _require_provider(session, wanted, path)
    return session


def _require_provider(session: Any, wanted: str, path: Path) -> None:
    """The provider loaded, and nodes of the model are its own as far as ONNX Runtime tells."""
    actual = session.get_providers()[0]
    if actual != wanted:
        raise MissingDependencyError(
            f"ONNX Runtime fell back from {wanted} to {actual}",
            expected=f"{wanted} to load",
            mend="hc-deploy doctor",
        )
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return
    takers = {part.ep_name for part in session.get_provider_graph_assignment_info()}
    if takers and wanted not in takers:
        raise DeployError(
            f"{wanted} takes no node of {path}: all would run on {', '.join(sorted(takers))}",
            expected="a provider that runs the model",
            mend="--provider cuda, or hc-deploy doctor",
        )


def _for_tensorrt(path: Path, data: bytes | None) -> tuple[bytes, list[Any]]:
    """The model and the providers: TensorRT with our plugin, and CUDA for the nodes that TensorRT leaves.

    The provider opens the libraries of `trt_extra_plugin_lib_paths` and does no more, so ours is also put into the
    plugin registry through the tensorrt package: one libnvinfer serves both in a process.
    """
    from hc_deploy.engine import flavours, plugin_library
    from hc_deploy.graph.provider import for_tensorrt_provider

    model, needs_plugin = for_tensorrt_provider(path, data)
    options: dict[str, str] = {}
    if needs_plugin:
        library = plugin_library.find()
        plugin_library.register(flavours.load("tensorrt"), library)
        options["trt_extra_plugin_lib_paths"] = str(library)
    return model, [(PROVIDERS["tensorrt"], options), PROVIDERS["cuda"]]


def _spec(session: Any, path: Path) -> ModelSpec:
    """The metadata, which fits the graph."""
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        inputs, outputs = _tensors(session.get_inputs()), _tensors(session.get_outputs())
    except UnicodeDecodeError:
        raise DeployError(
            f"{path} holds names or metadata that are not text",
            expected="a model.onnx made by export.py",
            mend="export it again: python export.py CHECKPOINT -o DIR",
        ) from None
    if METADATA_KEY not in metadata:
        raise DeployError(
            f"{path} is an ONNX model without '{METADATA_KEY}' metadata",
            expected="a model.onnx made by export.py",
            mend="python export.py CHECKPOINT -o DIR",
        )
    spec = ModelSpec.from_json(metadata[METADATA_KEY], source=str(path))
    check_graph(spec, inputs, outputs, source=str(path))
    return spec


def _tensors(arguments: Sequence[Any]) -> list[Tensor]:
    """What ONNX Runtime tells: 'tensor(float)', and a shape of numbers and names ([] where it knows none)."""
    found = []
    for argument in arguments:
        kind = argument.type.removeprefix("tensor(").removesuffix(")")
        sides = tuple(side if isinstance(side, int) and side >= 0 else None for side in argument.shape)
        found.append(Tensor(argument.name, NUMPY_TYPES.get(kind, kind), sides or None))
    return found
