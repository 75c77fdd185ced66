"""The one interface to a loaded model, whatever runs it: images in, named outputs out."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.ran import Runtime
from hc_deploy.shown import quoted
from hc_deploy.spec import ModelSpec
from hc_deploy.system.digest import checked_sha256

Array = NDArray[Any]
Outputs = dict[str, Array]
KINDS = "a model.onnx or model.engine"


class Session(Protocol):
    """A loaded model. `run` is `load`, `execute`, `fetch`; benchmarks time the three apart.

    Attributes:
        spec: what the model eats and gives.
        name: short name for reports (the file's folder or stem).
        provider: what really runs it (`cpu`, `cuda`, `torch-cpu`, ...).
        runtime: the library that does, for reports; None where there is none to name.
    """

    spec: ModelSpec
    name: str
    provider: str
    runtime: Runtime | None

    def load(self, images: Array) -> None:
        """Hand over the input, in the form `spec.input_shape` says; copies it to the device where there is one."""

    def execute(self) -> None:
        """Run the network on the input loaded last; returns when the device is done."""

    def fetch(self) -> Outputs:
        """The outputs by name, on the host."""

    def run(self, images: Array) -> Outputs:
        """`load`, `execute` and `fetch`."""

    def close(self) -> None:
        """Free what the session holds; it cannot be used afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class SessionBase:
    """What the sessions share: `run`, the context manager and the check of the input."""

    spec: ModelSpec
    name: str
    runtime: Runtime | None = None

    def load(self, images: Array) -> None:
        raise NotImplementedError

    def execute(self) -> None:
        raise NotImplementedError

    def fetch(self) -> Outputs:
        raise NotImplementedError

    def run(self, images: Array) -> Outputs:
        self.load(images)
        self.execute()
        return self.fetch()

    def close(self) -> None:
        """Nothing to free unless a session says otherwise."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self, images: Array) -> Array:
        """`images` as a contiguous array, or a DeployError that says what the model takes."""
        spec = self.spec
        wanted = spec.input_shape(batch=spec.batch or -1, height=spec.height or -1, width=spec.width or -1)
        dtype = np.uint8 if spec.input == "uint8" else np.float32
        fits = images.ndim == 4 and all(
            got > 0 and want in (-1, got) for got, want in zip(images.shape, wanted, strict=True)
        )
        if not fits or images.dtype != dtype:
            shape = ", ".join("any" if size == -1 else str(size) for size in wanted)
            raise DeployError(
                f"{self.name}: image of shape {tuple(images.shape)} and type {images.dtype}",
                expected=f"shape ({shape}) and type {np.dtype(dtype)}",
                mend="export with --size and --batch to match, or with --dynamic",
            )
        return np.ascontiguousarray(images)


def open_session(
    path: Path | str, *, provider: str | None = None, threads: int | None = None, expect_sha256: str | None = None
) -> Session:
    """Open a model file.

    Args:
        path: `model.onnx` or `model.engine` made by `export.py`, or the folder that holds the former.
        provider: for a model.onnx, `cpu` (the default), `cuda` or `tensorrt` of ONNX Runtime. What was asked for runs,
            or this fails. An engine has its own runtime.
        threads: threads of one run on a CPU; None leaves it to the runtime (all cores).
        expect_sha256: what the file's hash must be (64 hexadecimal digits), checked before a byte of it is parsed;
            None: not checked.

    Raises:
        DeployError: the file is missing, truncated, of another kind, or carries no metadata of ours; an engine that
            is not the one of its sidecar, or was built for another TensorRT or GPU.
        MissingDependencyError: the provider, the runtime or a GPU that it needs is not there.
    """
    path = Path(path)
    if expect_sha256 is not None:
        expect_sha256 = checked_sha256(expect_sha256)
    if path.is_dir() and (path / "model.onnx").exists():
        path = path / "model.onnx"
    if not path.exists():
        raise DeployError(f"{path} does not exist", expected=f"{KINDS}, or the folder that holds a model.onnx")
    if path.suffix == ".onnx":
        from hc_deploy.runtime.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(path, provider=provider or "cpu", threads=threads, expect_sha256=expect_sha256)
    if path.suffix == ".engine":
        if provider is not None or threads is not None:
            option = "--provider" if provider is not None else "--threads"
            raise UsageError(f"{option} with the engine {path}", expected=f"no {option}: an engine has its own runtime")
        from hc_deploy.runtime.tensorrt import TensorRtSession

        return TensorRtSession(path, expect_sha256=expect_sha256)
    if path.is_dir():
        raise UsageError(f"{path}: no runtime for a folder without model.onnx", expected=KINDS)
    raise UsageError(
        f"{path} is no model that runs (by its name a checkpoint, which is exported first)",
        expected=KINDS,
        mend=f"python export.py {quoted(path)} -o {quoted(path.with_suffix(''))}",
    )


def session_name(path: Path) -> str:
    """`runs/hcpspnet/model.onnx` -> `hcpspnet`; other stems stay themselves."""
    return path.resolve().parent.name if path.stem == "model" else path.stem
