"""A Session on ONNX Runtime: `model.onnx` in, outputs through I/O binding out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hc_deploy.errors import DeployError, MissingDependencyError, UsageError
from hc_deploy.files import require_file
from hc_deploy.runtime.session import Array, Outputs, SessionBase, session_name
from hc_deploy.spec import METADATA_KEY, ModelSpec

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
INSTALL = {"cpu": "pip install onnxruntime", "cuda": "pip install onnxruntime-gpu"}
THREADS_PER_CORE = 4
WARNING_SEVERITY = 3  # errors only: ONNX Runtime's warnings are about its own optimisations


def import_onnxruntime() -> Any:
    """The onnxruntime module, or a MissingDependencyError with the install line."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"onnxruntime cannot be imported ({error})", expected="ONNX Runtime", mend=INSTALL["cpu"]
        ) from None
    return onnxruntime


class OnnxRuntimeSession(SessionBase):
    """One `model.onnx` on one execution provider; see `open_session` for arguments and errors."""

    def __init__(self, path: Path, *, provider: str = "cpu", threads: int | None = None) -> None:
        require_file(path, what="a model.onnx made by export.py")
        if provider not in PROVIDERS:
            raise UsageError(f"provider '{provider}'", expected=f"one of {', '.join(PROVIDERS)}")
        most = THREADS_PER_CORE * (os.cpu_count() or 1)
        if threads is not None and not 1 <= threads <= most:
            raise UsageError(f"{threads} threads", expected=f"1 to {most} on this machine")
        ort = import_onnxruntime()
        self._session: Any = _open(ort, path, provider, threads)
        self.spec = _spec(self._session, path)
        self.name, self.provider = session_name(path), provider
        self._values: Any = ort.OrtValue
        self._device = "cpu" if provider == "cpu" else "cuda"
        self._binding = self._session.io_binding()
        self._names = [output.name for output in self._session.get_outputs()]
        self._input: Any = None

    def load(self, images: Array) -> None:
        images = self._checked(images)
        self._binding.clear_binding_inputs()
        if self._device == "cpu":
            self._input = images  # bound as it lies: it must live until the run
            self._binding.bind_cpu_input("image", images)
        else:
            self._upload(images)
            self._binding.bind_ortvalue_input("image", self._input)
            self._binding.synchronize_inputs()
        self._binding.clear_binding_outputs()
        for name in self._names:
            self._binding.bind_output(name, self._device)

    def execute(self) -> None:
        if self._input is None:
            raise DeployError(f"{self.name}: nothing is loaded", expected="load(images) before execute()")
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def fetch(self) -> Outputs:
        return dict(zip(self._names, self._binding.copy_outputs_to_cpu(), strict=True))

    def close(self) -> None:
        self._binding = self._session = self._input = None

    def _upload(self, images: Array) -> None:
        """Copy to the device, into the same memory as long as the shape stays."""
        if self._input is not None and tuple(self._input.shape()) == images.shape:
            self._input.update_inplace(images)
        else:
            self._input = self._values.ortvalue_from_numpy(images, self._device, 0)


def _open(ort: Any, path: Path, provider: str, threads: int | None) -> Any:
    wanted = PROVIDERS[provider]
    if wanted not in ort.get_available_providers():
        raise MissingDependencyError(
            f"this ONNX Runtime {ort.__version__} has no {wanted}",
            expected=f"one of {', '.join(ort.get_available_providers())}",
            mend=INSTALL.get(provider, INSTALL["cuda"]),
        )
    options = ort.SessionOptions()
    options.log_severity_level = WARNING_SEVERITY
    if threads is not None:
        options.intra_op_num_threads = threads
    model, providers = (str(path), [wanted]) if provider != "tensorrt" else _for_tensorrt(path)
    try:
        session = ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # onnxruntime raises classes of its own that share no base but Exception
        raise DeployError(
            f"{path} cannot be opened by ONNX Runtime: {_first_line(error)}",
            expected="a whole model.onnx",
            mend="export it again: python export.py CHECKPOINT -o DIR",
        ) from None
    actual = session.get_providers()[0]
    if actual != wanted:
        raise MissingDependencyError(
            f"ONNX Runtime fell back from {wanted} to {actual}",
            expected=f"{wanted} to load",
            mend="hc-deploy doctor",
        )
    return session


def _for_tensorrt(path: Path) -> tuple[bytes, list[Any]]:
    """The model and the providers: TensorRT with our plugin, and CUDA for the nodes that TensorRT leaves."""
    from hc_deploy.engine import plugin_library
    from hc_deploy.engine.provider_graph import for_tensorrt_provider

    model, needs_plugin = for_tensorrt_provider(path)
    options = {"trt_extra_plugin_lib_paths": str(plugin_library.find())} if needs_plugin else {}
    return model, [(PROVIDERS["tensorrt"], options), PROVIDERS["cuda"]]


def _spec(session: Any, path: Path) -> ModelSpec:
    metadata = session.get_modelmeta().custom_metadata_map
    if METADATA_KEY not in metadata:
        raise DeployError(
            f"{path} is an ONNX model without '{METADATA_KEY}' metadata",
            expected="a model.onnx made by export.py",
            mend="python export.py CHECKPOINT -o DIR",
        )
    return ModelSpec.from_json(metadata[METADATA_KEY], source=str(path))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
