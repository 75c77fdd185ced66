"""The ops' own kernels for ONNX Runtime on a CPU: which library is there, and whether a session takes it.

`make native` builds `LIBRARY` (plugins/onnxruntime around plugins/cpu). ONNX Runtime takes a registered op before the
function of its name in the file, so the same model.onnx runs with and without.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from hc_deploy.errors import MissingDependencyError, UsageError, first_line

Kernels = Literal["auto", "native", "bodies"]
"""What computes our ops: the native library, their bodies of standard operators, or the library where there is one."""
LIBRARY = Path(__file__).resolve().parents[1] / "lib" / "libhc_cpu.so"
INTERFACE = 1
"""`HC_CPU_INTERFACE` of plugins/cpu/hc_cpu.h."""
BUILD = "make native"


@dataclass(frozen=True)
class Taken:
    """What computes our ops in a session.

    Attributes:
        kind: `native` or `bodies`.
        detail: the instruction set of the library, or why there is none.
    """

    kind: Literal["native", "bodies"]
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})"


def instruction_set(library: Path | None = None) -> str:
    """The instruction set of this CPU that the library uses (`avx512`, `avx2`, `neon`, `serial`).

    Raises:
        MissingDependencyError: it is not built, is no library of ours, or is of another interface.
    """
    path = library or LIBRARY
    if not path.is_file():
        raise MissingDependencyError(f"{path.name} is not built", expected="the ops' kernels for CPUs", mend=BUILD)
    if not _is_whole(path):
        raise MissingDependencyError(
            f"{path} cannot be loaded: it is cut short", expected="a whole library", mend=BUILD
        )
    try:
        loaded = ctypes.CDLL(str(path))
        interface, name = loaded.hc_cpu_interface, loaded.hc_cpu_instruction_set
        _ = loaded.RegisterCustomOps
    except (OSError, AttributeError) as error:
        raise MissingDependencyError(
            f"{path} cannot be loaded: {first_line(error)}", expected="the ops' kernels for this CPU", mend=BUILD
        ) from None
    if interface() != INTERFACE:
        raise MissingDependencyError(
            f"{path} has interface {interface()}", expected=f"interface {INTERFACE}, that of this hc_deploy", mend=BUILD
        )
    name.restype = ctypes.c_char_p
    return str(name().decode())


def _is_whole(path: Path) -> bool:
    """Whether an ELF file holds its last part, the table of sections: the system's loader dies of a shorter one."""
    with path.open("rb") as file:
        header, size = file.read(64), os.fstat(file.fileno()).st_size
    if header[:4] != b"\x7fELF":
        return True  # the loader says what it is
    if len(header) < 64:
        return False
    start, (entry, count) = struct.unpack_from("<Q", header, 40)[0], struct.unpack_from("<HH", header, 58)
    return bool(start + entry * count <= size)


def register(options: Any, asked: Kernels, provider: str) -> Taken:
    """Add the native ops to the options of an ONNX Runtime session, where they are asked for and can be had.

    Args:
        options: onnxruntime.SessionOptions.
        asked: `native` refuses where `auto` takes the bodies.
        provider: of the session. The ops are the CPU's: on another provider their tensors would travel for them.

    Raises:
        UsageError: no such choice, or `native` on another provider. MissingDependencyError: `native` cannot be had.
    """
    if asked not in get_args(Kernels):
        raise UsageError(f"kernels '{asked}'", expected=f"one of {', '.join(get_args(Kernels))}")
    if asked == "bodies":
        return Taken("bodies", "as asked")
    if provider != "cpu":
        if asked == "native":
            raise UsageError(f"native kernels with provider '{provider}'", expected="provider cpu, whose ops they are")
        return Taken("bodies", f"the native ones are for cpu, not {provider}")
    try:
        name = instruction_set()
        _add(options)
    except MissingDependencyError as error:
        if asked == "native":
            raise
        return Taken("bodies", f"{error.received}: {BUILD}")
    return Taken("native", name)


def _add(options: Any) -> None:
    try:
        options.register_custom_ops_library(str(LIBRARY))
    except Exception as error:  # the classes of onnxruntime share no base but Exception
        raise MissingDependencyError(
            f"{LIBRARY} does not register: {first_line(error)}", expected="ONNX Runtime 1.20 or newer", mend=BUILD
        ) from None
