"""What machine a measurement ran on, as far as it can be read without privileges. Standard library only."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hc_deploy.system.gpu import Gpu, read_gpu

PACKAGES = (
    "hc-deploy", "numpy", "opencv-python", "opencv-python-headless", "onnx", "onnxruntime", "onnxruntime-gpu",
    "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-lean", "tensorrt-lean-cu12", "tensorrt-lean-cu13",
    "tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "torch",
)  # fmt: skip
CPUINFO = Path("/proc/cpuinfo")
CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")


@dataclass(frozen=True)
class Environment:
    """One machine at one moment.

    Attributes:
        cpu: model name. cores: logical cores of the machine. usable_cores: those this process may use.
        clock_mhz, governor: of the first core, None where not readable.
        load: runnable processes, mean over the last minute; above 0 before a run, something else was at work.
        gpu: None without an NVIDIA driver.
        packages: installed versions of those that matter for speed.
    """

    cpu: str
    cores: int
    usable_cores: int
    clock_mhz: float | None
    governor: str | None
    load: float | None
    gpu: Gpu | None
    os: str
    python: str
    packages: dict[str, str]


def read_environment() -> Environment:
    """The machine this process runs on."""
    cpuinfo = _cpuinfo(_text(CPUINFO) or "")
    return Environment(
        cpu=cpuinfo.get("model name") or platform.processor() or platform.machine() or "unknown",
        cores=os.cpu_count() or 1,
        usable_cores=_usable_cores(),
        clock_mhz=_number(cpuinfo.get("cpu MHz")),
        governor=_text(CPUFREQ / "scaling_governor"),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        gpu=read_gpu(),
        os=platform.platform(),
        python=platform.python_version(),
        packages=installed_packages(),
    )


def installed_packages() -> dict[str, str]:
    """Versions of `PACKAGES`, read from their metadata: nothing is imported."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpuinfo(text: str) -> dict[str, str]:
    """The first core's entries."""
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
