"""The one interface to a loaded model, whatever runs it: images in, named outputs out, in one order of calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

from hc_deploy.errors import DeployError, first_line
from hc_deploy.ran import Runtime
from hc_deploy.runtime.native_ops import Taken
from hc_deploy.spec import ModelSpec
from hc_deploy.system.limits import out_of_memory, says_out_of_memory

Array = NDArray[Any]
Outputs = dict[str, Array]
State = Literal["new", "loaded", "executed", "closed"]


class Session(Protocol):
    """A loaded model. `run` is `load`, `execute`, `fetch`; benchmarks time the three apart.

    The order is `load`, `execute`, `fetch`, on every runtime. After one `load`, `execute` may be repeated, and after
    one `execute`, `fetch`; both give the same again. A new `load` makes the last answer unreadable. `load` copies the
    images, so their array may change as soon as it returns, and what `fetch` returns is the caller's: no later call
    changes it. One thread at a time uses a session.

    Every call may raise DeployError: a wrong order, a closed session, images that do not fit, a runtime that fails.
    After a `load` that failed nothing is loaded; after an `execute` that failed nothing was executed.

    Attributes:
        spec: what the model eats and gives.
        name: short name for reports (the file's folder or stem).
        provider: what really runs it (`cpu`, `cuda`, `torch-cpu`, ...).
        runtime: the library that does, for reports; None where there is none to name.
        kernels: what computes our ops, where that is a choice (a model.onnx); else None.
    """

    spec: ModelSpec
    name: str
    provider: str
    runtime: Runtime | None
    kernels: Taken | None

    def load(self, images: Array) -> None:
        """Copy the input, in the form `spec.input_shape` says; to the device where there is one."""

    def execute(self) -> None:
        """Run the network on the input loaded last; returns when the device is done."""

    def fetch(self) -> Outputs:
        """The outputs of the last `execute` by name, on the host, in arrays of their own."""

    def run(self, images: Array) -> Outputs:
        """`load`, `execute` and `fetch`."""

    def close(self) -> None:
        """Free what the session holds; of the calls here only `close` may follow, and does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class SessionBase:
    """The order of calls, the check of the input and the errors; a runtime fills in `_load`, `_execute`, `_fetch`.

    They are called in the right order only, and may raise anything.
    """

    spec: ModelSpec
    name: str
    provider: str
    runtime: Runtime | None = None
    kernels: Taken | None = None
    _copies: bool = False
    """Whether `_load` copies the images itself, to a device: another copy on the host would only cost time."""
    _state: State = "new"
    _room: Array | None = None

    def _load(self, images: Array) -> None:
        """Take checked images; they stay as they are until the next `_load` or `_close`, unless `_copies`."""
        raise NotImplementedError

    def _execute(self) -> None:
        """Run on what was loaded last."""
        raise NotImplementedError

    def _fetch(self) -> Outputs:
        """The outputs in arrays that nothing else holds."""
        raise NotImplementedError

    def _close(self) -> None:
        """Called once. Nothing to free unless a session says otherwise."""

    @final
    def load(self, images: Array) -> None:
        self._require_open()
        self._state = "new"  # what fails from here on leaves nothing loaded
        with self._failing("taking the images"):
            images = self._checked(images)
            self._load(images if self._copies else self._copied(images))
        self._state = "loaded"

    @final
    def execute(self) -> None:
        self._require_open()
        if self._state == "new":
            raise DeployError(
                f"{self.name}: nothing is loaded",
                expected="load(images) before execute()",
                mend="load(images), or run(images), which is load, execute and fetch",
            )
        self._state = "loaded"
        with self._failing("running"):
            self._execute()
        self._state = "executed"

    @final
    def fetch(self) -> Outputs:
        self._require_open()
        if self._state != "executed":
            since = " since the last load" if self._state == "loaded" else ""
            raise DeployError(
                f"{self.name}: nothing was executed{since}",
                expected="execute() before fetch()",
                mend="execute(), or run(images), which is load, execute and fetch",
            )
        with self._failing("giving the outputs"):
            return self._fetch()

    @final
    def run(self, images: Array) -> Outputs:
        self.load(images)
        self.execute()
        return self.fetch()

    @final
    def close(self) -> None:
        if self._state == "closed":
            return
        self._state, self._room = "closed", None
        with self._failing("closing"):
            self._close()

    @final
    def __enter__(self) -> Self:
        self._require_open()
        return self

    @final
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @final
    def _require_open(self) -> None:
        if self._state == "closed":
            raise DeployError(f"{self.name} is closed", expected="an open session", mend="open the model again")

    @final
    def _unload(self) -> None:
        """Back to where nothing is loaded."""
        self._state = "new"

    @final
    @contextmanager
    def _failing(self, doing: str) -> Iterator[None]:
        """Whatever a runtime raises becomes a DeployError: their classes share no base but Exception."""
        try:
            yield
        except DeployError:
            raise
        except Exception as error:
            raise self._failed(doing, error) from error

    def _failed(self, doing: str, error: Exception) -> DeployError:
        what, said = f"{self.name} failed on {self.provider} while {doing}", first_line(error)
        if says_out_of_memory(error):
            return out_of_memory(what, said)
        return DeployError(
            f"{what}: {said}",
            expected="a model that runs on images of this size",
            mend="another size, or export the model again: python export.py CHECKPOINT -o DIR",
        )

    def _copied(self, images: Array) -> Array:
        """The images in memory of the session's own, kept from load to load.

        A runtime on the CPU reads its input where it lies, so without a copy who fills in the next frame changes this
        frame's answer. To mark the array read-only does not help: who made it may write through what it is a view of.
        The copy takes 0.15 ms for 512x1024 and 0.4 ms for 1024x2048 (2 cores, a frame that is not in the cache), where
        a narrow HC-FCN-32 takes 120 and 400.
        """
        if self._room is None or (self._room.shape, self._room.dtype) != (images.shape, images.dtype):
            self._room = None  # given back before the next is asked for
            self._room = np.empty(images.shape, images.dtype)
        np.copyto(self._room, images)
        return self._room

    def _checked(self, images: Array) -> Array:
        """`images` as a contiguous array, or a DeployError that says what the model takes."""
        spec = self.spec
        wanted = spec.input_shape(batch=spec.batch or -1, height=spec.height or -1, width=spec.width or -1)
        dtype = np.uint8 if spec.input == "uint8" else np.float32
        is_array = isinstance(images, np.ndarray)
        fits = (
            is_array
            and images.ndim == 4
            and all(got > 0 and want in (-1, got) for got, want in zip(images.shape, wanted, strict=True))
        )
        if not fits or images.dtype != dtype:
            shape = ", ".join("any" if size == -1 else str(size) for size in wanted)
            found = (
                f"image of shape {tuple(images.shape)} and type {images.dtype}"
                if is_array
                else f"a {type(images).__name__}"
            )
            raise DeployError(
                f"{self.name}: {found}",
                expected=f"shape ({shape}) and type {np.dtype(dtype)}",
                mend="export with --size and --batch to match, or with --dynamic",
            )
        return np.ascontiguousarray(images)


def session_name(path: Path) -> str:
    """`runs/hcpspnet/model.onnx` -> `hcpspnet`; other stems stay themselves."""
    return path.resolve().parent.name if path.stem == "model" else path.stem
