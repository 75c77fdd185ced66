"""The one interface to a loaded model, whatever runs it: images in, named outputs out."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from hc_deploy.errors import DeployError
from hc_deploy.ran import Runtime
from hc_deploy.spec import ModelSpec

Array = NDArray[Any]
Outputs = dict[str, Array]


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


def session_name(path: Path) -> str:
    """`runs/hcpspnet/model.onnx` -> `hcpspnet`; other stems stay themselves."""
    return path.resolve().parent.name if path.stem == "model" else path.stem
