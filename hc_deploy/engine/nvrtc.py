"""CUDA source in, PTX out, by NVIDIA's run-time compiler (NVRTC): no toolkit, no host compiler, no GPU.

Found in the wheels of CUDA 12 or 13, else in a toolkit under /usr/local/cuda. Of two the older one is taken: PTX runs
on a driver of the same or a newer CUDA version, never on an older one.

By ctypes, not by cuda-core: to compile, its `Program` (1.2.2) loads the driver, which a machine without a GPU lacks.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hc_deploy.errors import DeployError, MissingDependencyError

INSTALL = "pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12"
OLDEST = "compute_75"
"""Turing. PTX of this architecture runs on every newer one."""

_HEADER = "cuda_fp16.h"
_WHEELS = (("cuda_nvrtc", "cuda_runtime"), ("cu13", "cu13"))
"""Folders of the package `nvidia` with the library and the headers: CUDA 12, CUDA 13."""
_TOOLKIT = Path("/usr/local/cuda")

Version = tuple[int, int]


@dataclass(frozen=True)
class Toolchain:
    """Where NVRTC lies.

    Attributes:
        library: libnvrtc.so.*. include: folder of its headers, which kernels of half types include.
    """

    library: Path
    include: Path


def find_toolchain(nvidia: Iterable[Path] | None = None, *, toolkit: Path = _TOOLKIT) -> Toolchain:
    """The NVRTC of this environment.

    Args:
        nvidia: folders of the Python package `nvidia`; by default those on the path.
        toolkit: root of an installed CUDA toolkit, looked at last.

    Raises:
        MissingDependencyError: the library or its headers are absent; the message names what was found of them.
    """
    folders = _nvidia_folders() if nvidia is None else list(nvidia)
    places = [(root / library / "lib", root / headers / "include") for library, headers in _WHEELS for root in folders]
    places += [(toolkit / "lib64", toolkit / "include"), (toolkit / "lib", toolkit / "include")]
    halves = []
    for libraries, include in places:
        library = next(iter(sorted(libraries.glob("libnvrtc.so.[0-9]*"))), None)
        header = include / _HEADER
        if library is not None and header.exists():
            return Toolchain(library, include)
        halves += [str(path) for path in (library, header) if path is not None and path.exists()]
    found = f"; found only {', '.join(dict.fromkeys(halves))}" if halves else ""
    raise MissingDependencyError(
        f"NVRTC, which compiles the kernels for an engine, is not installed{found}",
        expected=f"libnvrtc.so and {_HEADER}, in NVIDIA's wheels or in {toolkit}",
        mend=INSTALL,
    )


def _nvidia_folders() -> list[Path]:
    spec = importlib.util.find_spec("nvidia")
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


class Nvrtc:
    """One loaded NVRTC.

    Args:
        toolchain: where it lies; by default that of the environment.

    Raises:
        MissingDependencyError: it is absent, or the system cannot load it.
    """

    def __init__(self, toolchain: Toolchain | None = None) -> None:
        self.toolchain = toolchain or find_toolchain()
        try:
            self._library = ctypes.CDLL(str(self.toolchain.library))
        except OSError as error:
            raise MissingDependencyError(
                f"{self.toolchain.library} cannot be loaded: {error}", expected="NVRTC for this system", mend=INSTALL
            ) from error
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    @property
    def version(self) -> Version:
        """Version of CUDA whose PTX this compiler writes: (major, minor)."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        return major.value, minor.value

    def compile(self, source: str, *, architecture: str = OLDEST, include: Sequence[Path] = ()) -> bytes:
        """PTX of `source`.

        Args:
            source: CUDA C++17. architecture: `compute_75` and the like. include: folders for its `#include`s.

        Raises:
            DeployError: the source or the architecture was refused; the message holds the compiler's log.
        """
        program = ctypes.c_void_p()
        self._check(
            self._library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
        )
        try:
            options = [f"--gpu-architecture={architecture}", "--std=c++17"]
            options += [f"--include-path={folder}" for folder in (*include, self.toolchain.include)]
            texts = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            with _locale_kept():
                failed = self._library.nvrtcCompileProgram(program, len(options), texts)
            if failed:
                log = self._text(program, "ProgramLog").decode(errors="replace").strip()
                raise DeployError(
                    f"{self._name()} refused the source for {architecture} ({self._error(failed)}):\n{log}",
                    expected=f"an architecture and a source that {self._name()} knows",
                    mend=INSTALL.replace("install", "install --upgrade"),
                )
            return self._text(program, "PTX")
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _text(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        text = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, f"nvrtcGet{what}")(program, text))
        return text.value

    def _check(self, error: int) -> None:
        if error:
            raise DeployError(f"{self._name()}: {self._error(error)}", expected="a working NVRTC", mend=INSTALL)

    def _error(self, error: int) -> str:
        return self._library.nvrtcGetErrorString(error).decode()

    def _name(self) -> str:
        return self.toolchain.library.name


@contextlib.contextmanager
def _locale_kept() -> Iterator[None]:
    """NVRTC 12.4 leaves the thread in the locale C, where Python then reads every text as ASCII."""
    libc = ctypes.CDLL(None)
    libc.uselocale.restype, libc.uselocale.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = libc.uselocale(None)
    try:
        yield
    finally:
        libc.uselocale(before)


def check_driver(compiler: Version, driver: Version | None) -> None:
    """Refuse PTX that the driver could not load: the failure would come after the whole build, as an unreadable engine.

    Raises:
        DeployError: `compiler` is newer than `driver`. Where there is no driver, nothing can be said.
    """
    if driver is None or compiler <= driver:
        return
    package = "nvidia-cuda-{0}-cu12=={1}.{2}.*" if driver[0] == 12 else "nvidia-cuda-{0}=={1}.{2}.*"
    wanted = " ".join(f'"{package.format(part, *driver)}"' for part in ("nvrtc", "runtime"))
    raise DeployError(
        f"NVRTC of CUDA {compiler[0]}.{compiler[1]} with a driver for CUDA {driver[0]}.{driver[1]}",
        expected="a compiler that is not newer than the driver: the driver must read its PTX",
        mend=f"pip install {wanted}" if driver[0] >= 12 else "a driver for CUDA 12 or newer",
    )
