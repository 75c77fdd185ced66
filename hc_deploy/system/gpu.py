"""The GPU that CUDA calls device 0: what runs engines, and so what is named in reports and sidecars.

It is asked for through the driver's own library, which is there wherever a GPU can be used (in containers and on Jetson
too, where nvidia-smi is often missing) and heeds CUDA_VISIBLE_DEVICES, as nvidia-smi does not. No context is made, so
no memory of the GPU is taken. nvidia-smi adds the driver's version and the clocks.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass

LIBRARY = "libcuda.so.1"
QUERY = "driver_version,clocks.sm,clocks.max.sm"
SECONDS = 10
_COMPUTE_CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, of cuda.h."""


@dataclass(frozen=True)
class Gpu:
    """A GPU: clocks of its multiprocessors in MHz, compute capability as "9.0"; None where the driver does not tell.

    `driver` is the driver's version, or "CUDA 13.0" (the newest that it runs) where nvidia-smi does not tell it.
    """

    name: str
    driver: str
    clock_mhz: float | None
    max_clock_mhz: float | None
    compute_capability: str | None = None


class _Refused(Exception):
    """The driver answered a call with an error."""


def read_gpu(*, clocks: bool = True) -> Gpu | None:
    """CUDA's device 0; None without a driver, or without a device that it shows to this process.

    Args:
        clocks: ask nvidia-smi, a process, for them and for the driver's number; without it, `driver` is CUDA's version.
    """
    try:
        driver = ctypes.CDLL(LIBRARY)
        _call(driver, "cuInit", ctypes.c_uint(0))
        device = ctypes.c_int()
        _call(driver, "cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        name = _text(driver, "cuDeviceGetName", device)
        major, minor = (_attribute(driver, which, device) for which in _COMPUTE_CAPABILITY)
    except (OSError, AttributeError, _Refused):  # no library; one without these calls; no device
        return None
    cuda = driver_version()
    if cuda is None:
        return None
    number, clock, most = (_ask_tool(_bus(driver, device)) if clocks else None) or (None, None, None)
    return Gpu(name, number or f"CUDA {cuda[0]}.{cuda[1]}", clock, most, f"{major}.{minor}")


def driver_version(library: str | None = None) -> tuple[int, int] | None:
    """The newest CUDA version, (major, minor), that the driver runs; None without a driver that tells it.

    Args:
        library: file name of the driver's library, where it is not the system's.
    """
    number = ctypes.c_int()
    try:
        _call(ctypes.CDLL(library or LIBRARY), "cuDriverGetVersion", ctypes.byref(number))
    except (OSError, AttributeError, _Refused):
        return None
    return number.value // 1000, number.value % 1000 // 10


def parse_tool(line: str) -> tuple[str | None, float | None, float | None] | None:
    """Driver's version, clock and largest clock in MHz of one line of nvidia-smi's answer to `QUERY`."""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != len(QUERY.split(",")):
        return None
    return parts[0] if parts[0][:1].isdecimal() else None, _number(parts[1]), _number(parts[2])


def _ask_tool(bus: str | None) -> tuple[str | None, float | None, float | None] | None:
    """What nvidia-smi says of the GPU at `bus`; its own numbers are not CUDA's, so without `bus` it is not asked."""
    command = shutil.which("nvidia-smi")
    if command is None or bus is None:
        return None
    try:
        answer = subprocess.run(
            [command, f"--id={bus}", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, errors="replace", timeout=SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.strip().splitlines()
    return parse_tool(lines[0]) if lines else None


def _bus(driver: ctypes.CDLL, device: ctypes.c_int) -> str | None:
    """The GPU's place, as 0000:0f:00.0; None where the driver does not tell."""
    try:
        return _text(driver, "cuDeviceGetPCIBusId", device) or None
    except (AttributeError, _Refused):
        return None


def _text(driver: ctypes.CDLL, call: str, device: ctypes.c_int) -> str:
    buffer = ctypes.create_string_buffer(256)
    _call(driver, call, buffer, ctypes.c_int(len(buffer)), device)
    return buffer.value.decode(errors="replace")


def _attribute(driver: ctypes.CDLL, which: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(which), device)
    return value.value


def _call(driver: ctypes.CDLL, name: str, *arguments: object) -> None:
    code = getattr(driver, name)(*arguments)
    if code:
        raise _Refused(f"{name}: error {code}")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
